package intake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
)

// A batch is one upload on its way through the checks.
type batch struct {
	*tap.Batch
	terminal Terminal
	keys     code.KeySource
	calendar citygate.Calendar
	rules    map[uint64]*accept.Rules // by the version the terminal named
	schemes  map[uint64]*code.Dispatcher
	abroad   Abroad // nil = nobody is
	items    []item
}

// An item is one record with what the gateway found out about it before it
// looked into the database.
type item struct {
	tap.Record
	encoded []byte
	digest  [32]byte

	parsed   bool
	proven   bool            // both signatures hold: the code's own time can be believed
	asks     *interbook.Code // a code of another scheme: who rides its issuer is to say
	rider    citygate.Rider
	counter  uint16
	product  uint16
	shown    uint8  // riders the code itself states
	medium   string // what it was shown on
	madeAt   int64  // code time, unix milliseconds
	issuedAt int64  // of the credential, unix seconds
	policy   *accept.Rules
	schemes  *code.Dispatcher
	days     int64       // after the event in which the terms with its issuer take it; 0 = nothing is said
	reason   code.Reason // without what only the transaction knows
	rule     string      // of the policy, that decided: ours on a tap that the terminal accepted
	evidence [32]byte
	meta     []byte // the record without its evidence
}

// read parses the records and gathers what verifying them takes.
func (r *Recorder) read(ctx context.Context, b *tap.Batch, terminal Terminal) (*batch, error) {
	records, err := b.Records()
	if err != nil {
		return nil, err
	}
	in := &batch{Batch: b, terminal: terminal, rules: map[uint64]*accept.Rules{}, schemes: map[uint64]*code.Dispatcher{}, items: make([]item, len(records))}
	if in.keys, err = r.config.Trust.Keys(ctx, b.Tenant); err != nil {
		return nil, fmt.Errorf("issuer keys: %w", err)
	}
	if in.calendar, err = r.config.Calendars.Calendar(ctx, b.Tenant); err != nil {
		return nil, fmt.Errorf("calendar: %w", err)
	}
	if r.config.Abroad != nil {
		if in.abroad, err = r.config.Abroad(ctx, b.Tenant); err != nil {
			return nil, fmt.Errorf("roaming terms: %w", err)
		}
	}
	for i, encoded := range b.Encoded() {
		it := &in.items[i]
		it.Record, it.encoded, it.digest = records[i], encoded, tap.Digest(encoded)
		version := it.PolicyVersion
		if in.rules[version] == nil {
			if in.rules[version], err = r.config.Trust.Rules(ctx, b.Tenant, version); err != nil {
				return nil, fmt.Errorf("acceptance rules %d: %w", version, err)
			}
			if in.schemes[version], err = r.schemes(ctx, b.Tenant, in.rules[version]); err != nil {
				return nil, fmt.Errorf("code schemes of rules %d: %w", version, err)
			}
		}
		it.policy, it.schemes = in.rules[version].InForce(it.EventTime), in.schemes[version]
		// A reader may be behind, but not ahead: it is given versions before they hold.
		if it.EventTime < it.policy.From-accept.SkewMax*1000 {
			if it.policy, err = r.config.Trust.RulesAt(ctx, b.Tenant, it.EventTime); err != nil {
				return nil, fmt.Errorf("acceptance rules in force at a tap: %w", err)
			}
		}
	}
	return in, nil
}

func (r *Recorder) schemes(ctx context.Context, tenant citygate.TenantID, rules *accept.Rules) (*code.Dispatcher, error) {
	if r.config.SchemesOf == nil {
		return r.config.Schemes, nil
	}
	return r.config.SchemesOf(ctx, tenant, rules)
}

// verify runs every check that needs no database, on all cores, for the records
// that were not received before.
func (r *Recorder) verify(in *batch, known map[uint64]first) {
	const share = 16 // records a worker takes at a time
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(share)) - share
			if from >= len(in.items) {
				return
			}
			for i := from; i < min(from+share, len(in.items)); i++ {
				it := &in.items[i]
				if old, ok := known[it.Seq]; !ok || old.digest != it.digest {
					r.check(in, it)
				}
			}
		}
	}
	var wg sync.WaitGroup
	for range min(r.config.Workers, (len(in.items)+share-1)/share) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}

// check decides on one record as a terminal would, whatever the terminal did.
func (r *Recorder) check(in *batch, it *item) {
	it.evidence = tap.EvidenceDigest(it.Evidence)
	bare := it.Record
	bare.Evidence = nil
	meta, err := bare.AppendTo(make([]byte, 0, len(it.encoded)-len(it.Evidence)))
	if err != nil { // a parsed record has an encoding; without its evidence too
		it.reason = code.InternalError
		return
	}
	it.meta = meta
	var c code.Code
	if err := it.schemes.Parse(it.Evidence, &c); err != nil {
		it.reason = it.refusal(code.ReasonOf(err))
		return
	}
	c.Place(it.EventTime / 1000)
	it.parsed, it.rider, it.counter, it.product, it.madeAt, it.issuedAt = true, c.Rider, c.Counter, c.Product, c.GeneratedAt*1000, c.IssuedAt
	// Riders are those of the code, which its holder signed, and those that the
	// operator counted beyond them: never fewer than were shown.
	it.shown, it.medium = c.Party, accept.MediumOf(&c)
	it.Party = max(it.Party, c.Party)
	foreign := c.Account != [32]byte{}
	if !it.Accepted {
		it.reason, it.rule = it.Reason, it.Rule
		// A wrong clock shows in these two: their codes are genuine.
		if it.Reason == code.ExpiredCode || it.Reason == code.NotYetValid {
			it.proven = it.schemes.Verify(&c, in.keys, r.config.Credentials).Outcome == code.Accept && !c.Timeless
		}
		return
	}
	if it.Party > max(c.Party, tap.PartyMax) {
		it.reason = code.OverLimit
		return
	}
	facts := accept.Facts{At: it.EventTime, ClockOK: it.Clock != tap.ClockUnknown, Mode: in.terminal.Mode, Kind: it.Kind,
		Fare: it.Entered, Riders: it.Party, Context: in.terminal.Context, Stop: it.Stop, Route: it.Route}
	it.reason, it.rule = it.policy.Judge(&c, facts)
	for _, mode := range in.terminal.Modes { // it may have decided by a bundle that gave it another
		if it.reason == "" {
			break
		}
		other := facts
		other.Mode = mode
		if reason, rule := it.policy.Judge(&c, other); reason == "" {
			it.reason, it.rule, facts = "", rule, other
		}
	}
	if it.reason != "" {
		return
	}
	if in.abroad != nil {
		reason, rule, days := in.abroad(&c, it.EventTime, it.Entered)
		if it.days = days; reason != "" {
			it.reason, it.rule = reason, rule
			return
		}
	}
	if it.ListAt != 0 { // the terminal says how old its list was: then it is held to the rule
		if it.reason = it.policy.Freshness(&c, facts, accept.List{Held: true, At: it.ListAt}); it.reason != "" {
			return
		}
	}
	verdict := it.schemes.Verify(&c, in.keys, r.config.Credentials)
	it.reason = verdict.Reason
	it.proven = verdict.Outcome == code.Accept && !c.Timeless
	if verdict.Outcome == code.Defer {
		it.reason = it.policy.Deferring(&c, facts)
	}
	if foreign && it.reason == "" {
		it.madeAt, it.issuedAt = c.GeneratedAt*1000, c.IssuedAt // what the check proved
		it.ask(&c, verdict.Outcome == code.Accept)
	}
}

// issued refuses genuine codes whose index was not issued on the day the
// credential says: whoever has an issuer's stolen key and dates credentials back
// does not know what was issued then. What was issued at all only the issuer
// knows, and says when it gets the claim.
func (r *Recorder) issued(ctx context.Context, in *batch) error {
	if r.config.Blocks == nil {
		return nil
	}
	type listKey struct {
		issuer citygate.Issuer
		list   uint16
	}
	type known struct {
		blocks denylist.Blocks
		now    bool // read for this batch
	}
	lists := map[listKey]known{}
	for i := range in.items {
		it := &in.items[i]
		if !it.proven || !it.Accepted || it.reason != "" || it.asks != nil {
			continue
		}
		key := listKey{it.rider.Issuer, it.rider.List}
		k, ok := lists[key]
		for !ok || len(k.blocks) > 0 && !k.now && !k.blocks.Hold(it.rider.Index, it.issuedAt) {
			// What is known may be of before the block was opened.
			blocks, err := r.config.Blocks(ctx, key.issuer, key.list, ok)
			if err != nil {
				return err
			}
			k, ok = known{blocks, ok}, true
			lists[key] = k
		}
		if len(k.blocks) > 0 && !k.blocks.Hold(it.rider.Index, it.issuedAt) {
			it.reason = code.NotIssued
		}
	}
	return nil
}

// refusal is the terminal's reason if it refused, else the gateway's.
func (it *item) refusal(own code.Reason) code.Reason {
	if !it.Accepted {
		return it.Reason
	}
	return own
}

// timely holds an accepted tap to the time of its receipt.
func (it *item) timely(now time.Time) code.Reason {
	age := now.UnixMilli() - it.EventTime
	switch {
	case age < -it.policy.ClockSuspectSeconds*1000:
		return code.ClockSuspect
	case age > min(it.policy.LateUploadDays*24*3600*1000, tenants.TapsWithin.Milliseconds()), it.days > 0 && age > it.days*24*3600*1000: // beyond, it may be erased
		return code.TooLate
	}
	return ""
}

// offsetsKept is how many of a terminal's last taps its clock is judged by, and
// offsetsMin how many it takes to judge.
const (
	offsetsKept = 64
	offsetsMin  = 5
)

// offsets gives code time minus event time of the batch's fresh genuine taps.
func offsets(fresh []stored) []int64 {
	var out []int64
	for _, it := range fresh {
		if it.proven {
			out = append(out, it.madeAt-it.EventTime)
		}
	}
	return out
}

// clockOff gives the median offset of a terminal's last taps, if they are
// enough, and whether it is more than the rules take for a clock that is right.
func clockOff(last []int64, rules *accept.Rules) (median int64, known, off bool) {
	if len(last) < offsetsMin {
		return 0, false, false
	}
	sorted := slices.Clone(last)
	slices.Sort(sorted)
	median = sorted[len(sorted)/2]
	limit := rules.ClockSuspectSeconds * 1000
	return median, true, median > limit || median < -limit
}
