package terminal

import (
	"fmt"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
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
	// Schemes are the code schemes this build can read; the policy may allow fewer.
	Schemes *code.Dispatcher
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
	// or the amount the driver entered. No currency means it is not known.
	Fare          citygate.Money
	TariffVersion uint64
	Context       uint16 // vehicle binding, 0 = none
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
	journal *journal
	replay  *replayMemory
	up      *upload
	buffer  []byte // decoded code of the tap in hand
	encoded []byte // its record
}

// Open reads the terminal's directory and takes up where it stopped, whatever
// stopped it: the replay memory and the clock's floor come back from the
// journal.
func Open(c Config) (*Verifier, error) {
	v := &Verifier{config: c, replay: newReplayMemory(), buffer: make([]byte, 0, 512)}
	var err error
	if v.up, err = openUpload(c.Files); err != nil {
		return nil, err
	}
	if v.trust, err = openTrust(c.Files, c.Tenant); err != nil {
		return nil, err
	}
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

// restore takes one record back into memory. An accepted code that cannot be
// parsed any more (a scheme left the build) cannot be accepted either.
func (v *Verifier) restore(r *tap.Record) (keep int64) {
	if !r.Accepted {
		return 0
	}
	v.clock.restored(r.EventTime)
	var c code.Code
	if v.config.Schemes.Parse(r.Evidence, &c) != nil {
		return 0
	}
	if c.Timeless {
		c.Place(r.EventTime / 1000)
		if v.trust.bundle != nil {
			v.config.Schemes.Verify(&c, v.trust.bundle, nil) // to know again which display it was
		}
	}
	v.replay.add(&c, v.clock.floor())
	return keepUntil(&c)
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
	r := v.record(at, in)
	if !sure {
		r.Clock = tap.ClockUnknown
	}
	var c code.Code
	r.Reason = v.decide(&c, &r, scanned, in)
	r.Accepted = r.Reason == ""
	r.Party = c.Party

	var err error
	if v.encoded, err = r.AppendTo(v.encoded[:0]); err != nil {
		return Decision{Reason: code.InternalError}, fmt.Errorf("tap: %w", err)
	}
	keep := int64(0)
	if r.Accepted {
		keep = keepUntil(&c)
	}
	if err := v.journal.append(v.encoded, keep); err != nil {
		return Decision{Reason: code.InternalError}, err
	}
	if r.Accepted {
		v.clock.accepted(at, in.MonotonicMS)
		v.replay.add(&c, v.clock.floor())
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
		r.BundleVersion, r.PolicyVersion = v.trust.bundle.Number, v.trust.rules.Version
	}
	return r
}

// decide runs the checks in the order of the package doc, cheap ones first.
func (v *Verifier) decide(c *code.Code, r *tap.Record, scanned []byte, in Input) code.Reason {
	r.Evidence = scanned[:min(len(scanned), tap.EvidenceMax)]
	if len(scanned) > tap.EvidenceMax {
		return code.Malformed
	}
	raw, err := v.config.Schemes.Binary(v.buffer[:0], scanned)
	if err != nil {
		return code.ReasonOf(err)
	}
	if len(raw) > 0 && len(raw) <= tap.EvidenceMax {
		r.Evidence = raw
	}
	t := v.trust
	d := Decider{Schemes: v.config.Schemes, Credentials: v.config.Credentials, Seen: v.replay.seen}
	facts := accept.Facts{At: r.EventTime, ClockOK: r.Clock != tap.ClockUnknown, Mode: v.config.Mode, Kind: in.Kind,
		Fare: in.Fare, Context: in.Context}
	if t.bundle != nil {
		d.Rules, d.Keys = t.rules, t.bundle
		facts.TrustExpired = r.EventTime >= t.bundle.Expires*1000
	}
	d.Denied = func(c *code.Code) code.Reason { return t.standing(c, r, facts) }
	return d.Decide(c, raw, facts).Reason // of a deferred code too: nobody can be asked here
}
