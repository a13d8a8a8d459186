package terminal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// ErrJournal says that a record could not be made durable. The gate stays shut.
var ErrJournal = &citygate.Code{Name: "terminal.journal", Kind: citygate.Unavailable, Title: "The journal cannot be written; free or replace the terminal's storage."}

// ErrCorrupt says that a journal lost records it had made durable. Taps may be
// missing, so nothing is repaired silently.
var ErrCorrupt = &citygate.Code{Name: "terminal.journal_corrupt", Kind: citygate.Internal, Title: "The journal is damaged in its middle; copy the directory away for inspection and enrol the terminal with a new key."}

const (
	segmentPrefix = "journal-"
	segmentMagic  = "CTJ1"
	segmentHead   = 16      // magic, terminal key id, first sequence number
	segmentMax    = 1 << 20 // bytes after which the next segment starts, unless set otherwise
	frameHead     = 8       // length, CRC-32C of length and record
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A journal is a row of append-only segment files. A record is one frame,
// written by one Write and synced before anything else is, so at most the last
// frame can be torn.
type journal struct {
	files    Files
	terminal uint32
	max      int64
	segments []segment
	next     uint64 // number of the next record

	active File // the last segment, nil before the first record
	size   int64
	broken error // set when it is not known what the disk holds: reopen
}

type segment struct {
	name  string
	first uint64
	last  uint64 // first-1 while empty
	keep  int64  // replay memory needs its records until then
}

func segmentName(first uint64) string { return fmt.Sprintf("%s%016x", segmentPrefix, first) }

// openJournal reads every segment, cuts a torn tail, and hands each record to
// visit, which returns until when the record must stay. Records up to acked
// may be missing: they were acknowledged and removed.
func openJournal(files Files, terminal uint32, acked uint64, visit func(*tap.Record) int64) (*journal, error) {
	j := &journal{files: files, terminal: terminal, max: segmentMax, next: acked + 1}
	names, err := files.List()
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, segmentPrefix) })
	slices.Sort(names)
	for i, name := range names {
		if err := j.load(name, i == len(names)-1, acked, visit); err != nil {
			j.close()
			return nil, err
		}
	}
	return j, nil
}

func (j *journal) load(name string, isLast bool, acked uint64, visit func(*tap.Record) int64) error {
	data, err := j.files.ReadFile(name)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	first, ok := j.head(name, data)
	if !ok {
		if isLast && !anyFrame(data) {
			return nil // created, and not synced when power went: it never held a record
		}
		return ErrCorrupt.Because(nil, "%s has no head", name)
	}
	after := uint64(0) // number of the last record before this segment
	if n := len(j.segments); n > 0 {
		after = j.segments[n-1].last
	}
	if first <= after || first > after+1 && first > acked+1 {
		return ErrCorrupt.Because(nil, "%s starts at %d after record %d", name, first, after)
	}
	s := segment{name: name, first: first, last: first - 1}
	end := segmentHead
	for {
		record, size := frame(data[end:])
		if size == 0 {
			break
		}
		r, err := tap.ParseRecord(record)
		if err != nil || r.Terminal != j.terminal || r.Seq != s.last+1 {
			return ErrCorrupt.Because(err, "%s: frame at %d is not record %d", name, end, s.last+1)
		}
		s.last = r.Seq
		s.keep = max(s.keep, visit(&r))
		end += size
	}
	if end < len(data) && (!isLast || anyFrame(data[end+1:])) {
		return ErrCorrupt.Because(nil, "%s: damaged at %d", name, end)
	}
	j.segments = append(j.segments, s)
	j.next = max(j.next, s.last+1)
	if !isLast {
		return nil
	}
	return j.resume(name, end, len(data))
}

// resume opens the last segment for appending and cuts its torn tail.
func (j *journal) resume(name string, end, size int) error {
	f, err := j.files.Append(name)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.active, j.size = f, int64(end)
	if end < size {
		if err := f.Truncate(int64(end)); err != nil { // the next record's sync covers it
			return fmt.Errorf("cut torn tail of %s: %w", name, err)
		}
	}
	return nil
}

func (j *journal) head(name string, data []byte) (first uint64, ok bool) {
	if len(data) < segmentHead || string(data[:4]) != segmentMagic || binary.BigEndian.Uint32(data[4:]) != j.terminal {
		return 0, false
	}
	first = binary.BigEndian.Uint64(data[8:])
	return first, first > 0 && name == segmentName(first)
}

// frame gives the record at the start of data and the size of its frame, or 0
// when there is no whole frame.
func frame(data []byte) (record []byte, size int) {
	if len(data) < frameHead {
		return nil, 0
	}
	n := int(binary.BigEndian.Uint32(data))
	if n == 0 || n > tap.RecordMax || n > len(data)-frameHead {
		return nil, 0
	}
	sum := crc32.Update(crc32.Checksum(data[:4], castagnoli), castagnoli, data[frameHead:frameHead+n])
	if sum != binary.BigEndian.Uint32(data[4:]) {
		return nil, 0
	}
	return data[frameHead : frameHead+n], frameHead + n
}

// anyFrame tells damage in the middle from a torn tail: behind a torn tail
// there is nothing whole.
func anyFrame(data []byte) bool {
	for i := range data {
		if record, size := frame(data[i:]); size > 0 {
			if _, err := tap.ParseRecord(record); err == nil {
				return true
			}
		}
	}
	return false
}

// append makes one record durable. On an error nothing of it is left, or the
// journal is broken and takes no more until it is opened again.
func (j *journal) append(record []byte, keep int64) error {
	if j.broken != nil {
		return ErrJournal.Because(j.broken, "an earlier write failed; open the journal again")
	}
	if j.active == nil || j.size >= j.max {
		if err := j.rotate(); err != nil {
			return ErrJournal.Because(err, "start segment")
		}
	}
	framed := make([]byte, frameHead, frameHead+len(record))
	binary.BigEndian.PutUint32(framed, uint32(len(record)))
	sum := crc32.Update(crc32.Checksum(framed[:4], castagnoli), castagnoli, record)
	binary.BigEndian.PutUint32(framed[4:], sum)
	framed = append(framed, record...)
	if _, err := j.active.Write(framed); err != nil {
		if undo := j.active.Truncate(j.size); undo != nil {
			j.broken = undo
		}
		return ErrJournal.Because(err, "write record %d", j.next)
	}
	if err := j.active.Sync(); err != nil {
		// After a failed sync nobody knows what the disk holds, and a second
		// sync may report success for pages that were dropped.
		j.broken = errors.Join(err, j.active.Truncate(j.size))
		return ErrJournal.Because(err, "sync record %d", j.next)
	}
	j.size += int64(len(framed))
	s := &j.segments[len(j.segments)-1]
	s.last, s.keep = j.next, max(s.keep, keep)
	j.next++
	return nil
}

// rotate starts the segment of the next record. Its name is durable before it
// takes one.
func (j *journal) rotate() error {
	name := segmentName(j.next)
	f, err := j.files.Create(name)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32([]byte(segmentMagic), j.terminal)
	head = binary.BigEndian.AppendUint64(head, j.next)
	_, err = f.Write(head) // the first record's sync makes the head durable too
	if err == nil {
		err = j.files.SyncDir()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if j.active != nil {
		if err := j.active.Close(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	j.active, j.size = f, segmentHead
	if n := len(j.segments); n > 0 && j.segments[n-1].first == j.next {
		j.segments = j.segments[:n-1]
	}
	j.segments = append(j.segments, segment{name: name, first: j.next, last: j.next - 1})
	return nil
}

// read gives the encoded records from first on, at most taps of them and at
// most size bytes.
func (j *journal) read(first uint64, taps, size int) ([][]byte, error) {
	var records [][]byte
	for _, s := range j.segments {
		if s.last < first {
			continue
		}
		data, err := j.files.ReadFile(s.name)
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		at := segmentHead
		for seq := s.first; seq <= s.last; seq++ {
			if at > len(data) {
				return nil, ErrCorrupt.Because(nil, "%s ends before record %d", s.name, seq)
			}
			record, n := frame(data[at:])
			if n == 0 {
				return nil, ErrCorrupt.Because(nil, "%s: record %d is gone", s.name, seq)
			}
			at += n
			if seq < first {
				continue
			}
			if size -= len(record) + 4; size < 0 || len(records) == taps {
				return records, nil
			}
			records = append(records, record)
		}
	}
	return records, nil
}

// release removes segments that were acknowledged and that the replay memory
// would not need after a reboot at time floor or later. The active one stays,
// and so does the last accepted tap, which is part of the floor, until a later
// signed time takes its place: its code's window ends after it.
func (j *journal) release(acked uint64, floor int64) error {
	for len(j.segments) > 1 && j.segments[0].last <= acked && j.segments[0].keep < floor {
		if err := j.files.Remove(j.segments[0].name); err != nil {
			return fmt.Errorf("remove acknowledged segment: %w", err)
		}
		j.segments = j.segments[1:]
	}
	return nil
}

func (j *journal) close() error {
	if j.active == nil {
		return nil
	}
	f := j.active
	j.active = nil
	if j.broken == nil {
		j.broken = errors.New("journal is closed")
	}
	return f.Close()
}
