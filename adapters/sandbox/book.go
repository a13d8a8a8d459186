package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The kinds of an [Entry].
const (
	Charge = "charge"
	Refund = "refund"
)

// An Entry is a line of the book: a payment or a refund and what became of it.
// A charge with the outcome Unknown was not acted upon and may come again.
type Entry struct {
	Kind        string         `json:"kind"`
	OurID       string         `json:"our_id"`
	ChargeID    string         `json:"charge_id,omitempty"` // of a refund
	ProviderRef string         `json:"provider_ref"`
	Rider       string         `json:"rider,omitempty"`
	Amount      citygate.Money `json:"amount"`
	Outcome     driver.Outcome `json:"outcome,omitempty"`
	Reason      string         `json:"reason,omitempty"`
	At          time.Time      `json:"at"`
	Digest      string         `json:"digest,omitempty"`

	Recovery driver.Recovery `json:"recovery,omitempty"` // how a debt was asked for again
	Recovers string          `json:"recovers,omitempty"` // and the decline that it is of
}

const bookFile = "book.jsonl"

// A book is the append-only file and what follows from it.
type book struct {
	file     *os.File
	entries  []Entry // final ones, in the order they happened
	charges  map[string]Entry
	refunds  map[string]Entry
	refunded map[string]int64 // by charge
	repaid   map[string]bool  // declined charges whose debt was recovered
	broken   error            // a write failed: what is on disk is not known any more
}

// open reads the book to its last whole line and cuts off what follows.
func (b *book) open(dir *os.Root) error {
	b.charges, b.refunds, b.refunded, b.repaid = map[string]Entry{}, map[string]Entry{}, map[string]int64{}, map[string]bool{}
	f, err := dir.OpenFile(bookFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("sandbox: opening the book: %w", err)
	}
	whole, err := b.replay(f)
	if err == nil {
		err = f.Truncate(whole)
	}
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("sandbox: reading the book: %w", err), f.Close())
	}
	b.file = f
	return nil
}

// replay applies every whole line and gives their length in bytes.
func (b *book) replay(f io.Reader) (whole int64, err error) {
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return whole, nil // a line without its end was never answered
		}
		if err != nil {
			return 0, err
		}
		var e Entry
		if err := decode(line, &e); err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		b.apply(e)
		whole += int64(len(line))
	}
}

// add puts entries on disk, then into the book.
func (b *book) add(entries []Entry) error {
	if b.broken != nil {
		return b.broken
	}
	if len(entries) == 0 {
		return nil
	}
	var lines bytes.Buffer
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("sandbox: writing the book: %w", err)
		}
		lines.Write(line)
		lines.WriteByte('\n')
	}
	_, err := b.file.Write(lines.Bytes())
	if err == nil {
		err = b.file.Sync()
	}
	if err != nil {
		b.broken = fmt.Errorf("sandbox: the book cannot be written any more: %w", err)
		return b.broken
	}
	for _, e := range entries {
		b.apply(e)
	}
	return nil
}

func (b *book) apply(e Entry) {
	switch e.Kind {
	case Charge:
		b.charges[e.OurID] = e
		if e.Recovers != "" && e.Outcome == driver.Succeeded {
			b.repaid[e.Recovers] = true
		}
	case Refund:
		b.refunds[e.OurID] = e
		if e.Outcome == driver.Succeeded {
			b.refunded[e.ChargeID] += e.Amount.Minor
		}
	}
	if e.Outcome != driver.Unknown {
		b.entries = append(b.entries, e)
	}
}

func (b *book) charge(ourID string) (Entry, bool) {
	e, ok := b.charges[ourID]
	return e, ok
}

// owed gives what of a declined charge was not recovered.
func (b *book) owed(ourID string) int64 {
	e := b.charges[ourID]
	if e.Outcome != driver.Declined || b.repaid[ourID] {
		return 0
	}
	return e.Amount.Minor
}

func (b *book) refund(ourID string) (Entry, bool) {
	e, ok := b.refunds[ourID]
	return e, ok
}

func (b *book) close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file, b.broken = nil, errors.New("sandbox: the book is closed")
	return err
}

// Book gives every payment and refund with a final outcome, in the order they
// happened: the sandbox's own side of a reconciliation.
func (p *Provider) Book() []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Entry(nil), p.book.entries...)
}

// syncDir makes the names in dir durable.
func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
