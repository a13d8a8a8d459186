package terminal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// ErrNotOutstanding says that an acknowledgement names no batch that is out.
var ErrNotOutstanding = &citygate.Code{Name: "terminal.not_outstanding", Kind: citygate.Conflict, Title: "The acknowledged batch is not the one that was handed out; ask for the next batch and send that."}

const (
	chainFile  = "chain"
	outboxFile = "outbox"
	chainMagic = "CTC1"
	chainSize  = 4 + 8 + 32 + 4
)

// upload is the sending end: what was acknowledged, and the one batch that is
// out. A batch is on disk before anyone sees it, so that after a crash the same
// bytes go out again and the chain does not fork.
type upload struct {
	files Files
	acked uint64   // every record up to here is at the gateway
	prev  [32]byte // hash of the last acknowledged batch

	out *tap.Batch
}

func openUpload(files Files) (*upload, error) {
	u := &upload{files: files}
	data, err := readFile(files, chainFile)
	if err != nil {
		return nil, err
	}
	if data != nil {
		sum := len(data) - 4
		if len(data) != chainSize || string(data[:4]) != chainMagic ||
			crc32.Checksum(data[:sum], castagnoli) != binary.BigEndian.Uint32(data[sum:]) {
			return nil, ErrCorrupt.Because(nil, "%s", chainFile)
		}
		u.acked = binary.BigEndian.Uint64(data[4:])
		copy(u.prev[:], data[12:])
	}
	raw, err := readFile(files, outboxFile)
	if err != nil || raw == nil {
		return u, err
	}
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return nil, ErrCorrupt.Because(err, "%s", outboxFile)
	}
	if b.First == u.acked+1 && b.Prev == u.prev {
		u.out = b
	} // else it was acknowledged and only its removal was lost
	return u, nil
}

func (u *upload) keep(b *tap.Batch) error {
	if err := replaceFile(u.files, outboxFile, b.Raw()); err != nil {
		return err
	}
	u.out = b
	return nil
}

func (u *upload) ack() error {
	b := u.out
	acked := b.First + uint64(b.Count) - 1
	data := binary.BigEndian.AppendUint64([]byte(chainMagic), acked)
	data = append(data, b.Hash[:]...)
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
	if err := replaceFile(u.files, chainFile, data); err != nil {
		return err
	}
	u.acked, u.prev, u.out = acked, b.Hash, nil
	return nil
}

// NextBatch gives the signed batch to upload, or nil when every record was
// acknowledged. Until [Verifier.Ack] it gives the same bytes again, also after
// a crash. It holds at most limit taps; 0 means as many as a batch may.
func (v *Verifier) NextBatch(limit int) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.up.out != nil {
		return v.up.out.Raw(), nil
	}
	if v.up.acked+1 == v.journal.next {
		return nil, nil
	}
	if limit <= 0 || limit > tap.BatchTapsMax {
		limit = tap.BatchTapsMax
	}
	const frameRoom = 256 // head and signature
	records, err := v.journal.read(v.up.acked+1, limit, tap.BatchBytesMax-frameRoom)
	if err != nil {
		return nil, err
	}
	head := tap.Header{Tenant: v.config.Tenant, Terminal: v.config.KeyID, First: v.up.acked + 1, Prev: v.up.prev}
	raw, err := tap.EncodeBatch(head, records, v.config.Sign)
	if err != nil {
		return nil, fmt.Errorf("next batch: %w", err)
	}
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return nil, fmt.Errorf("next batch: %w", err)
	}
	if err := v.up.keep(b); err != nil {
		return nil, fmt.Errorf("next batch: %w", err)
	}
	return b.Raw(), nil
}

// Ack records that the gateway has batch, which NextBatch gave, on disk. The
// journal then forgets its records, except those the replay memory needs after
// a reboot. Acknowledging the last batch again does nothing.
func (v *Verifier) Ack(batch [32]byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.up.out == nil && v.up.chainedTo(batch) {
		return nil
	}
	if v.up.out == nil || v.up.out.Hash != batch {
		return ErrNotOutstanding
	}
	if err := v.up.ack(); err != nil {
		return fmt.Errorf("acknowledge batch: %w", err)
	}
	return v.journal.release(v.up.acked, v.clock.floor())
}

func (u *upload) chainedTo(batch [32]byte) bool { return u.acked > 0 && u.prev == batch }

// Pending gives the number of records the gateway has not acknowledged.
func (v *Verifier) Pending() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return int(v.journal.next - v.up.acked - 1)
}

// A Status is what a terminal can say about itself.
type Status struct {
	NextSeq  uint64
	Acked    uint64 // every record up to here is at the gateway
	Segments int    // journal files on disk
	Bundle   uint64 // 0 = none yet
	Policy   uint64
	Lists    []ListStatus // by issuer and number
	Replay   int          // displays remembered, so that none is taken twice
	Floor    int64        // of the clock, unix milliseconds
	Unread   []Unread     // schemes of the policy whose codes are unsupported here
}

// Status reports what the terminal holds.
func (v *Verifier) Status() Status {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Status{NextSeq: v.journal.next, Acked: v.up.acked, Segments: len(v.journal.segments), Replay: v.replay.size(), Floor: v.clock.floor()}
	if v.trust.bundle != nil {
		s.Bundle, s.Policy = v.trust.bundle.Number, v.trust.rules.Version
	}
	s.Lists, s.Unread = v.trust.status(), slices.Clone(v.unread)
	return s
}
