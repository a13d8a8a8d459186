// Package sandbox is a payment provider that lives inside the process: for
// demos, for trying Citygate without an account anywhere, and for tests. It
// moves no money; it keeps a book of what a provider would have moved.
//
// It behaves like a good provider: one id is one payment, the same again is
// answered as before, other content under a known id is refused, refunds never
// exceed the charge, every day has a bill. And it fails when told to: a [Script]
// declines riders, loses replies, does not know, or is away between two
// instants; a [BillFault] falsifies a bill and never the book. Everything goes
// by the ids, riders and codes in the script and by the injected clock, never by order
// of arrival or chance, so the same script gives the same book.
//
// The book is a file of JSON lines in a directory the host opened. A line is
// synced before the payment is answered, so that a restart loses nothing; a torn
// last line, which was never answered, is cut off on opening. Bills are files
// beside it, written once. One process opens a directory at a time.
//
// Limits: the whole book is held in memory, and bills are cut by days of a fixed
// offset from UTC.
package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A Config is a contract with the sandbox.
type Config struct {
	FeePPM           int64  `json:"fee_ppm" optional:"1"`            // of each charge, in millionths; kept on refunds
	UTCOffsetMinutes int    `json:"utc_offset_minutes" optional:"1"` // where the bill's day is cut
	BillDelayMinutes int    `json:"bill_delay_minutes" optional:"1"` // from the end of the day to its bill
	BatchMax         int    `json:"batch_max" optional:"1"`          // 0 = 100
	PollSeconds      int    `json:"poll_seconds" optional:"1"`       // 0 = 60
	FirstRide        bool   `json:"first_ride" optional:"1"`         // it pays insured first rides of riders it declines
	Recoveries       bool   `json:"recoveries" optional:"1"`         // it is told which debits ask for a debt again, and of which decline
	Script           Script `json:"script" optional:"1"`
}

// A Script says how the sandbox fails.
type Script struct {
	Decline   []Refusal `json:"decline" optional:"1"`
	LoseReply []string  `json:"lose_reply" optional:"1"` // riders: acts, but the first answer about each of their payments is lost
	Unsure    []string  `json:"unsure" optional:"1"`     // riders: the first attempt of each of their payments is not acted upon and nobody can say
	Outages   []Span    `json:"outages" optional:"1"`    // nothing connects
	Codes     []Code    `json:"codes" optional:"1"`      // codes of its own that it knows the riders of
}

// A Refusal declines a rider, for good or between two instants.
type Refusal struct {
	Rider string `json:"rider"`
	Span
}

// A Span is From inclusive to Until exclusive; a zero end is open.
type Span struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

func (s Span) holds(at time.Time) bool {
	return !at.Before(s.From) && (s.Until.IsZero() || at.Before(s.Until))
}

// A Provider is the sandbox. It is safe for concurrent use.
type Provider struct {
	config Config
	clock  citygate.Clock
	root   *os.Root

	mu      sync.Mutex
	book    book
	decline map[string][]Span
	lose    map[string]bool
	unsure  map[string]bool
	codes   map[string]string // rider by code
	asked   map[string]bool   // questions about codes, by id
	outages []Span
	faults  []BillFault
	next    trick
	dead    bool
}

var (
	_ driver.Provider = (*Provider)(nil)
	_ driver.Refunder = (*Provider)(nil)
	_ driver.Biller   = (*Provider)(nil)
)

// Open opens the sandbox whose book is in dir, or starts an empty one. raw is a
// [Config]; nothing at all means the zero Config.
func Open(dir *os.Root, clock citygate.Clock, raw json.RawMessage) (*Provider, error) {
	if dir == nil || clock == nil {
		return nil, errors.New("sandbox: needs a directory and a clock")
	}
	p := &Provider{clock: clock, root: dir}
	if len(raw) > 0 {
		if err := decode(raw, &p.config); err != nil {
			return nil, fmt.Errorf("sandbox: configuration: %w", err)
		}
	}
	if p.config.FeePPM < 0 || p.config.FeePPM > 1_000_000 {
		return nil, fmt.Errorf("sandbox: fee_ppm %d is not between 0 and 1000000", p.config.FeePPM)
	}
	if err := p.book.open(dir); err != nil {
		return nil, err
	}
	p.SetScript(p.config.Script)
	return p, nil
}

// Close closes the book.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.book.close()
}

// SetScript replaces the script from now on.
func (p *Provider) SetScript(s Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decline, p.lose, p.unsure = map[string][]Span{}, map[string]bool{}, map[string]bool{}
	for _, r := range s.Decline {
		p.decline[r.Rider] = append(p.decline[r.Rider], r.Span)
	}
	for _, rider := range s.LoseReply {
		p.lose[rider] = true
	}
	for _, rider := range s.Unsure {
		p.unsure[rider] = true
	}
	p.outages = append([]Span(nil), s.Outages...)
	p.codes, p.asked = map[string]string{}, map[string]bool{}
	for _, c := range s.Codes {
		p.codes[string(c.Code)] = c.Rider
	}
}

// Describe implements [driver.Provider].
func (p *Provider) Describe() driver.Description {
	d := driver.Description{
		Name: "sandbox", Version: "1", BatchMax: p.config.BatchMax, IDMax: 64, ResubmitSafe: true, Limits: driver.Limits{FirstRide: p.config.FirstRide},
		PollEvery: time.Duration(p.config.PollSeconds) * time.Second, Deadline: 10 * time.Second,
	}
	if d.BatchMax <= 0 {
		d.BatchMax = 100
	}
	if d.PollEvery <= 0 {
		d.PollEvery = time.Minute
	}
	if p.config.Recoveries {
		d.Limits.Recoveries = driver.Recoveries{ByMerchant: true, ByRider: true, ByTap: true}
	}
	return d
}

// errAway is what a caller sees of a provider that is not there.
var errAway = fmt.Errorf("%w: the sandbox is away", driver.ErrNotPerformed)

// errBroken is what a caller sees of a connection that broke.
var errBroken = errors.New("sandbox: the connection broke before the answer")

// reach says why nothing can be sent now, if so. p.mu is held.
func (p *Provider) reach(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	now := p.clock()
	for _, o := range p.outages {
		if o.holds(now) {
			return errAway
		}
	}
	if p.dead {
		return errAway
	}
	return nil
}

// Submit implements [driver.Provider].
func (p *Provider) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	p.mu.Lock()
	results, how, err := p.submit(ctx, debits)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := how.answer(ctx); err != nil {
		return nil, err
	}
	return results, nil
}

func (p *Provider) submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, trick, error) {
	if err := p.reach(ctx); err != nil {
		return nil, none, err
	}
	how := p.take()
	now := p.clock().UTC()
	results := make([]driver.Result, len(debits))
	var fresh []Entry
	mine := map[string]Entry{} // of this call: nothing is in the book before it is on disk
	for i, d := range debits {
		old, known := p.book.charge(d.OurID)
		if !known {
			old, known = mine[d.OurID]
		}
		e := Entry{
			Kind: Charge, OurID: d.OurID, Rider: d.RiderRef, Amount: d.Amount, At: now,
			ProviderRef: reference(d.OurID), Digest: digest(d), Recovery: d.Recovery, Recovers: d.Recovers.OurID,
		}
		switch {
		case known && old.Digest != e.Digest:
			results[i] = driver.Result{OurID: d.OurID, ReasonCode: "content_differs"}
			continue
		case known && old.Outcome != driver.Unknown:
			results[i] = result(old)
			continue
		}
		e.Outcome, e.Reason = p.decide(d, known, how, i)
		fresh = append(fresh, e)
		mine[d.OurID] = e
		results[i] = result(e)
		if p.lose[d.RiderRef] {
			results[i] = driver.Result{OurID: d.OurID, ReasonCode: "reply_lost"}
		}
	}
	if err := p.book.add(fresh); err != nil {
		return nil, none, err
	}
	p.dead = p.dead || how == die
	return results, how, nil
}

// decide says what becomes of a debit that is new, or that the sandbox said it
// was unsure about before.
func (p *Provider) decide(d driver.Debit, again bool, how trick, i int) (driver.Outcome, string) {
	switch {
	case how == decline, how == partial && i == 2:
		return driver.Declined, "scripted"
	case how == partial && i == 1, p.unsure[d.RiderRef] && !again:
		return driver.Unknown, "unsure"
	case d.Amount.Minor <= 0:
		return driver.Declined, "bad_amount"
	case d.Recovery != "" && p.book.owed(d.Recovers.OurID) < d.Amount.Minor:
		return driver.Declined, "no_such_debt"
	case d.FirstRide && p.config.FirstRide:
		return driver.Succeeded, ""
	}
	for _, s := range p.decline[d.RiderRef] {
		if s.holds(p.clock()) {
			return driver.Declined, "insufficient_funds"
		}
	}
	return driver.Succeeded, ""
}

// Query implements [driver.Provider].
func (p *Provider) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.reach(ctx); err != nil {
		return driver.Result{}, err
	}
	e, ok := p.book.charge(ref.OurID)
	if !ok || e.Outcome == driver.Unknown {
		return driver.Result{OurID: ref.OurID, Outcome: driver.Absent}, nil
	}
	return result(e), nil
}

// Refund implements [driver.Refunder].
func (p *Provider) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	p.mu.Lock()
	r, how, err := p.refund(ctx, refund)
	p.mu.Unlock()
	if err != nil {
		return driver.Result{}, err
	}
	return r, how.answer(ctx)
}

func (p *Provider) refund(ctx context.Context, refund driver.Refund) (driver.Result, trick, error) {
	if err := p.reach(ctx); err != nil {
		return driver.Result{}, none, err
	}
	how := p.take()
	charge, charged := p.book.charge(refund.Charge.OurID)
	e := Entry{
		Kind: Refund, OurID: refund.OurID, ChargeID: refund.Charge.OurID, Rider: charge.Rider,
		Amount: refund.Amount, At: p.clock().UTC(), ProviderRef: reference(refund.OurID), Outcome: driver.Succeeded,
	}
	if old, known := p.book.refund(refund.OurID); known {
		if old.ChargeID != e.ChargeID || old.Amount != e.Amount {
			return driver.Result{OurID: refund.OurID, ReasonCode: "content_differs"}, how, nil
		}
		return result(old), how, nil
	}
	switch {
	case !charged || charge.Outcome != driver.Succeeded:
		e.Outcome, e.Reason = driver.Declined, "no_such_charge"
	case refund.Amount.Currency != charge.Amount.Currency || refund.Amount.Minor <= 0:
		e.Outcome, e.Reason = driver.Declined, "bad_amount"
	case refund.Amount.Minor > charge.Amount.Minor-p.book.refunded[charge.OurID]:
		e.Outcome, e.Reason = driver.Declined, "more_than_paid"
	}
	if err := p.book.add([]Entry{e}); err != nil {
		return driver.Result{}, none, err
	}
	p.dead = p.dead || how == die
	return result(e), how, nil
}

// QueryRefund implements [driver.Refunder].
func (p *Provider) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.reach(ctx); err != nil {
		return driver.Result{}, err
	}
	e, ok := p.book.refund(refund.OurID)
	if !ok {
		return driver.Result{OurID: refund.OurID, Outcome: driver.Absent}, nil
	}
	return result(e), nil
}

func result(e Entry) driver.Result {
	r := driver.Result{OurID: e.OurID, Outcome: e.Outcome, ReasonCode: e.Reason}
	if e.Outcome == driver.Succeeded {
		r.ProviderRef, r.Amount = e.ProviderRef, e.Amount
	}
	return r
}

// reference makes the sandbox's own number for an id: the same every time.
func reference(ourID string) string {
	sum := sha256.Sum256([]byte("sandbox\x00" + ourID))
	return "SBX" + hex.EncodeToString(sum[:8])
}

// digest covers all of a debit that is content.
func digest(d driver.Debit) string {
	h := sha256.New()
	field := func(b []byte) { _, _ = fmt.Fprintf(h, "%d:%s", len(b), b) }
	field([]byte(d.OurID))
	field([]byte(d.RiderRef))
	field(fmt.Append(nil, d.Amount.Minor, d.Amount.Currency, d.TripTime.UnixNano()))
	field([]byte(d.Subject))
	if d.FirstRide {
		field([]byte("first ride"))
	}
	if d.Recovery != "" {
		field([]byte(d.Recovery))
		field([]byte(d.Recovers.OurID))
		field(d.Shown)
	}
	for _, e := range d.Evidence {
		field(e)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A trick is a failure of one call. Tests arm it.
type trick int

const (
	none trick = iota
	loseReply
	die
	delay
	garble
	decline
	partial
)

// take gives the trick for this call and disarms it. p.mu is held.
func (p *Provider) take() trick {
	how := p.next
	p.next = none
	return how
}

func (p *Provider) arm(how trick) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = how
}

// answer is how the answer of a call that was acted upon comes back.
func (how trick) answer(ctx context.Context) error {
	switch how {
	case loseReply, die:
		return errBroken
	case garble:
		return errors.New("sandbox: the answer makes no sense")
	case delay:
		timer := time.NewTimer(2 * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("sandbox: waiting for the answer: %w", ctx.Err())
		}
	case none, decline, partial: // these are in the answer itself
	}
	return nil
}
