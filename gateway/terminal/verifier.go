package terminal

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// Config is what a terminal is set up with. Everything else it gets by signed
// objects.
type Config struct {
	Files    Files
	Tenant   citygate.TenantID // the operator
	KeyID    uint32            // of the terminal's own key
	Sign     tap.Sign          // with that key
	Mode     accept.Mode
	Software string

	BootID uint32 // another one after each start
	// Schemes are the code schemes this build reads without being told how; the
	// policy may allow fewer.
	Schemes *code.Dispatcher
	// Plugins are the schemes it reads where the trust bundle says how: see
	// [Schemes]. None = those of Schemes alone.
	Plugins []code.Plugin
	// Secrets is the terminal's secure module, nil = it has none: then codes that
	// rest on a shared secret are refused as unknown_issuer.
	Secrets Secrets
	// Credentials remembers riders whose issuer signature held; nil works.
	Credentials code.CredentialCache

	// Roots and Threshold verify the first trust bundle; each bundle then says
	// what verifies the next.
	Roots     []bundle.RootKey
	Threshold int

	// SegmentBytes is the size after which the journal starts another file; 0
	// means 1 MiB. Acknowledged records go file by file.
	SegmentBytes int64
}

// An Input is what the terminal knows about one presentation.
type Input struct {
	MonotonicMS uint64 // since boot
	Clock       tap.ClockSource
	Kind        tap.Kind

	Stop, Route, Trip      string
	Vehicle, Driver, Shift string

	// Fare is what the tap costs if that is known at the reader: the flat fare
	// or the amount the driver entered. No currency means it is not known: then a
	// single tap has the price of the tariff in force by the trust bundle, where that
	// needs no exit, and TariffVersion, if 0, is that version.
	Fare          citygate.Money
	TariffVersion uint64
	Context       uint16 // vehicle binding, 0 = none
	// Riders is how many the operator says ride on the code, for codes that cannot say
	// it themselves: at most [tap.PartyMax], 0 = as the code says. A code that states
	// more counts for more. Fare is what all of them cost.
	Riders uint8
}

// A Decision is the answer to one tap.
type Decision struct {
	Open   bool
	Reason code.Reason // why not, "" when open
	Record tap.Record  // as it is in the journal
}

// A Verifier is one terminal. Open makes it.
type Verifier struct {
	config Config

	mu      sync.Mutex
	clock   clock
	trust   *trust
	schemes *code.Dispatcher // of the bundle held
	keys    code.KeySource   // of the bundle held, nil before there is one
	unread  []Unread
	profile bundle.TerminalProfile // of this terminal, in the bundle held
	fares   *fare.EntryFares       // of the bundle held, nil = it has none that this build reads
	journal *journal
	replay  *replayMemory
	riders  *riderMemory
	up      *upload
	buffer  []byte // decoded code of the tap in hand
	encoded []byte // its record
}

// Open reads the terminal's directory and takes up where it stopped, whatever
// stopped it: the replay memory and the clock's floor come back from the
// journal.
func Open(c Config) (*Verifier, error) {
	v := &Verifier{config: c, replay: newReplayMemory(), riders: newRiderMemory(), buffer: make([]byte, 0, 512)}
	var err error
	if v.up, err = openUpload(c.Files); err != nil {
		return nil, err
	}
	if v.trust, err = openTrust(c.Files, c.Tenant); err != nil {
		return nil, err
	}
	v.readBy(v.trust.bundle, v.trust.rules)
	if v.journal, err = openJournal(c.Files, c.KeyID, v.up.acked, v.restore); err != nil {
		return nil, err
	}
	if c.SegmentBytes > 0 {
		v.journal.max = c.SegmentBytes
	}
	if b := v.trust.bundle; b != nil {
		v.clock.saw(b.Issued * 1000)
	}
	for _, l := range v.trust.lists {
		v.clock.saw(l.BuiltAt * 1000)
	}
	for _, h := range v.trust.beats {
		v.clock.saw(h.At * 1000)
	}
	return v, nil
}

// readBy has codes read by a bundle from now on; nil is none.
func (v *Verifier) readBy(b *bundle.Bundle, rules *accept.Rules) {
	v.schemes, v.keys, v.unread, v.profile, v.fares = v.config.Schemes, nil, nil, bundle.TerminalProfile{}, nil
	if b == nil {
		return
	}
	v.profile, _ = b.ProfileOf(v.config.KeyID)
	if raw, ok := b.FaresFor(v.config.Tenant); ok {
		v.fares, _ = fare.ParseEntry(raw) // one of a newer gateway says more than this build reads: gates stay open without prices
	}
	v.keys = Keyring(b, v.config.Secrets)
	if len(v.config.Plugins) > 0 {
		v.schemes, v.unread = Schemes(b, rules, v.config.Schemes, v.config.Plugins)
	}
}

// restore takes one record back into memory. An accepted code that cannot be
// parsed any more (a scheme left the build) cannot be accepted either.
func (v *Verifier) restore(r *tap.Record) (keep int64) {
	if !r.Accepted {
		return 0
	}
	v.clock.restored(r.EventTime)
	var c code.Code
	if v.schemes.Parse(r.Evidence, &c) != nil {
		return 0
	}
	if c.Timeless {
		c.Place(r.EventTime / 1000)
		if v.keys != nil {
			v.schemes.Verify(&c, v.keys, nil) // to know again which display it was
		}
	}
	v.replay.add(&c, v.clock.floor())
	v.riders.add(v.trust.rules, &c, r.EventTime, r.Entered)
	return v.keepUntil(&c, r.EventTime)
}

// keepUntil is how long the record of an accepted code must stay in the journal:
// for the replay memory, and for limits that ask about a rider's earlier taps.
func (v *Verifier) keepUntil(c *code.Code, at int64) int64 {
	return max(int64(keepUntil(c))*1000, v.riders.keepUntil(v.trust.rules, at))
}

// Close releases the journal's file. Taps after it are refused.
func (v *Verifier) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.journal.close()
}

// Tap decides on one presentation: now is the wall clock in unix milliseconds,
// scanned is what the reader read, as bytes or as the text form of a code. The
// record is on disk when Tap returns. With an error the gate is shut and the
// tap may not be in the journal.
func (v *Verifier) Tap(now int64, scanned []byte, in Input) (Decision, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, sure := v.clock.at(now, in.MonotonicMS)
	in = v.placed(in)
	r := v.record(at, in)
	if !sure {
		r.Clock = tap.ClockUnknown
	}
	var c code.Code
	r.Reason, r.Rule = v.decide(&c, &r, scanned, &in)
	r.Accepted = r.Reason == ""
	r.Party = max(c.Party, in.Riders)

	var err error
	if v.encoded, err = r.AppendTo(v.encoded[:0]); err != nil {
		return Decision{Reason: code.InternalError}, fmt.Errorf("tap: %w", err)
	}
	keep := int64(0)
	if r.Accepted {
		keep = v.keepUntil(&c, at)
	}
	if err := v.journal.append(v.encoded, keep); err != nil {
		return Decision{Reason: code.InternalError}, err
	}
	if r.Accepted {
		v.clock.accepted(at, in.MonotonicMS)
		v.replay.add(&c, v.clock.floor())
		v.riders.add(v.trust.rules, &c, at, in.Fare)
	}
	r.Evidence = append([]byte(nil), r.Evidence...) // it aliased the reader's buffer
	return Decision{Open: r.Accepted, Reason: r.Reason, Record: r}, nil
}

func (v *Verifier) record(at int64, in Input) tap.Record {
	r := tap.Record{
		Terminal: v.config.KeyID, Seq: v.journal.next, Kind: in.Kind,
		EventTime: at, BootID: v.config.BootID, MonotonicMS: in.MonotonicMS, Clock: in.Clock,
		Stop: in.Stop, Route: in.Route, Trip: in.Trip, Vehicle: in.Vehicle, Driver: in.Driver, Shift: in.Shift,
		Entered: in.Fare, TariffVersion: in.TariffVersion, SoftwareVersion: v.config.Software,
	}
	if v.trust.bundle != nil {
		r.BundleVersion, r.PolicyVersion = v.trust.bundle.Number, v.trust.rules.InForce(at).Version
	}
	return r
}

// decide runs the checks in the order of the package doc, cheap ones first.
func (v *Verifier) decide(c *code.Code, r *tap.Record, scanned []byte, in *Input) (reason code.Reason, rule string) {
	r.Evidence = scanned[:min(len(scanned), tap.EvidenceMax)]
	if len(scanned) > tap.EvidenceMax {
		return code.Malformed, ""
	}
	if in.Riders > tap.PartyMax {
		return code.OverLimit, ""
	}
	raw, err := v.schemes.Binary(v.buffer[:0], scanned)
	if err != nil {
		return code.ReasonOf(err), ""
	}
	if len(raw) > 0 && len(raw) <= tap.EvidenceMax {
		r.Evidence = raw
	}
	t := v.trust
	v.price(c, r, raw, in)
	d := Decider{Schemes: v.schemes, Credentials: v.config.Credentials, Seen: v.replay.seen}
	facts := accept.Facts{At: r.EventTime, ClockOK: r.Clock != tap.ClockUnknown, Mode: v.mode(), Kind: in.Kind,
		Fare: in.Fare, Riders: in.Riders, Context: in.Context, Stop: in.Stop, Route: in.Route}
	if t.bundle != nil {
		d.Rules, d.Keys = t.rules, v.keys
		facts.TrustExpired = r.EventTime >= t.bundle.Expires*1000
	}
	d.Denied = func(c *code.Code) code.Reason { return t.standing(c, r, facts) }
	if t.rules != nil {
		d.Memory = func(c *code.Code, f accept.Facts) accept.Memory { return v.riders.about(t.rules, c, f) }
	}
	if reason := v.narrowed(*in); reason != "" {
		return reason, ""
	}
	verdict := d.Decide(c, raw, facts)
	if verdict.Outcome != code.Reject && len(v.profile.Schemes) > 0 && !slices.Contains(v.profile.Schemes, c.Scheme) {
		return code.Unsupported, ""
	}
	if verdict.Outcome == code.Defer { // nobody can be asked here: the policy says what then
		reason := t.rules.Deferring(c, facts)
		r.Deferred = reason == ""
		return reason, verdict.Rule
	}
	return verdict.Reason, verdict.Rule
}
