package load

import (
	"bufio"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Line is the operator's readers: each numbers its taps and chains its batches.
// A Line is for one goroutine.
type Line struct {
	readers []reader
	next    int
}

type reader struct {
	id   uint32
	key  ed25519.PrivateKey
	bus  string
	seq  uint64 // of the last tap
	prev [32]byte
}

// NewLine gives the readers of an operator that have not uploaded anything yet.
func NewLine(seed uint64, terminals int) *Line {
	l := &Line{}
	for i := range terminals {
		l.readers = append(l.readers, reader{id: terminalID(i), key: terminalKey(seed, i), bus: bus(i)})
	}
	return l
}

// A Ride says how a crowd rides: every rider once in each round, the readers in
// turn, batches of Batch taps. A round lasts Lasts and starts at From plus its
// number times Lasts.
type Ride struct {
	Crowd  *Crowd
	Rounds int
	Batch  int
	From   time.Time
	Lasts  time.Duration
	Most   int // taps at most; 0 = every rider in every round
}

// Taps signs the batches of a ride on all cores and hands each to yield, in
// order. Each batch is a new slice.
func (l *Line) Taps(r Ride, yield func(raw []byte) error) error {
	const ahead = 64 // batches signed at a time
	left := r.Most
	if left == 0 {
		left = r.Rounds * r.Crowd.Len()
	}
	if r.From.Before(r.Crowd.issued) {
		return fmt.Errorf("load: taps of %s with credentials of %s", r.From, r.Crowd.issued)
	}
	for round := range r.Rounds {
		r.Crowd.counter++
		order := r.Crowd.order(r.Crowd.counter)
		from := r.From.Add(time.Duration(round) * r.Lasts)
		for at := 0; at < len(order) && left > 0; {
			n := min(ahead*r.Batch, len(order)-at, left)
			if err := l.sign(r, order, at, n, from, yield); err != nil {
				return err
			}
			at, left = at+n, left-n
		}
	}
	return nil
}

// sign makes the batches of riders order[at:at+n].
func (l *Line) sign(r Ride, order []int, at, n int, from time.Time, yield func([]byte) error) error {
	codes, times := make([][]byte, n), make([]time.Time, n)
	err := parallel(n, func(i int) (err error) {
		times[i] = from.Add(r.Lasts * time.Duration(at+i) / time.Duration(len(order)))
		codes[i], err = r.Crowd.display(order[at+i], times[i])
		return err
	})
	if err != nil {
		return err
	}
	for i := 0; i < n; i += r.Batch {
		to := min(i+r.Batch, n)
		raw, err := l.turn().batch(codes[i:to], times[i:to])
		if err != nil {
			return err
		}
		if err := yield(raw); err != nil {
			return err
		}
	}
	return nil
}

func (l *Line) turn() *reader {
	r := &l.readers[l.next%len(l.readers)]
	l.next++
	return r
}

// display makes the code of a rider's next showing.
func (c *Crowd) display(i int, at time.Time) ([]byte, error) {
	key, err := deviceKey(c.seed, c.first+i)
	if err != nil {
		return nil, err
	}
	sign, err := ct1.Signer(key)
	if err != nil {
		return nil, err
	}
	return ct1.Display(c.partsA[i], ct1.Dynamic{GeneratedAt: at.Unix(), Counter: c.counter, Party: 1, Medium: code.MediumPhone}, sign)
}

func (r *reader) batch(codes [][]byte, times []time.Time) ([]byte, error) {
	records := make([][]byte, len(codes))
	first := r.seq + 1
	for i := range codes {
		r.seq++
		record := tap.Record{
			Terminal: r.id, Seq: r.seq, Kind: tap.Single, Accepted: true, EventTime: times[i].UnixMilli(), BootID: 1, MonotonicMS: r.seq * 1000,
			Clock: tap.ClockGNSS, Route: route, Vehicle: r.bus, Party: 1, BundleVersion: 1, PolicyVersion: 1, TariffVersion: 1,
			SoftwareVersion: "load/1", Evidence: codes[i],
		}
		var err error
		if records[i], err = record.AppendTo(nil); err != nil {
			return nil, err
		}
	}
	raw, err := tap.EncodeBatch(tap.Header{Tenant: Tenant, Terminal: r.id, First: first, Prev: r.prev}, records,
		func(m []byte) ([]byte, error) { return ed25519.Sign(r.key, m), nil })
	if err != nil {
		return nil, err
	}
	b, err := tap.ParseBatch(raw)
	if err != nil {
		return nil, err
	}
	r.prev = b.Hash
	return raw, nil
}

// Write puts batches into a stream that [Read] reads.
func Write(w io.Writer) func(raw []byte) error {
	return func(raw []byte) error {
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(raw)))
		if _, err := w.Write(size[:]); err != nil {
			return err
		}
		_, err := w.Write(raw)
		return err
	}
}

// Read hands the batches of a stream to yield, each in a new slice, until the
// stream ends or yield has had enough.
func Read(r io.Reader, yield func(raw []byte) (more bool, err error)) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > tap.BatchBytesMax {
			return fmt.Errorf("load: a batch of %d bytes", n)
		}
		raw := make([]byte, n)
		if _, err := io.ReadFull(in, raw); err != nil {
			return err
		}
		if more, err := yield(raw); err != nil || !more {
			return err
		}
	}
}
