package intake

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A first is the first answer to a tap.
type first struct {
	digest [32]byte
	reason code.Reason // "" = recorded
}

// A stored is one fresh record with its final verdict.
type stored struct {
	*item
	final   code.Reason
	waiting bool // recorded, and its rider is still to be named
}

// record stores a batch and gives its receipt. It may run more than once.
func (r *Recorder) record(ctx context.Context, tx *pg.Tx, in *batch) ([]ItemResult, error) {
	held, err := hold(ctx, tx, in)
	if err != nil {
		return nil, err
	}
	results := make([]ItemResult, len(in.items))
	var fresh []stored
	var conflicts []*item
	for i := range in.items {
		it := &in.items[i]
		old, known := held.seen[it.Seq]
		switch {
		case !known:
			fresh = append(fresh, stored{item: it, final: it.reason})
		case old.digest == it.digest:
			results[i] = ItemResult{it.Seq, Duplicate, old.reason}
		default:
			conflicts = append(conflicts, it)
			results[i] = ItemResult{it.Seq, Refused, code.SequenceConflict}
		}
	}
	for i := range fresh {
		if s := &fresh[i]; s.final == "" {
			s.final = s.timely(tx.Now)
		}
	}
	if err := r.name(ctx, tx, fresh); err != nil {
		return nil, err
	}
	copies, err := settle(ctx, tx, fresh)
	if err != nil {
		return nil, err
	}
	accepted := 0
	for _, s := range fresh {
		result := ItemResult{s.Seq, Recorded, ""}
		if s.final != "" {
			result = ItemResult{s.Seq, Refused, s.final}
		} else if !s.waiting {
			accepted++
		}
		results[s.Seq-in.First] = result
	}
	if err := write(ctx, tx, in, held, fresh, conflicts, results); err != nil {
		return nil, err
	}
	if accepted > 0 {
		if err := tx.Enqueue(ctx, BatchJob{tx.Tenant, in.Terminal, in.First, in.Count}); err != nil {
			return nil, err
		}
	}
	if err := r.askNames(ctx, tx, fresh); err != nil {
		return nil, err
	}
	if err := r.tellDenied(ctx, tx, fresh); err != nil {
		return nil, err
	}
	if len(copies) > 0 && r.config.Copies != nil { // last: others wait for what it locks
		err = r.tellCopies(ctx, tx, copies)
	}
	return results, err
}

// tellDenied passes on who came to a reader and was refused as denied: of each rider
// the last time in the batch.
func (r *Recorder) tellDenied(ctx context.Context, tx *pg.Tx, fresh []stored) error {
	if r.config.Denied == nil {
		return nil
	}
	last := map[citygate.Rider]Denied{}
	for _, s := range fresh {
		if s.Accepted || s.Reason != code.Denied || !s.parsed || s.rider.Foreign() {
			continue
		}
		if at := time.UnixMilli(s.EventTime).UTC(); at.After(last[s.rider].At) {
			last[s.rider] = Denied{s.rider, s.counter, Shown{citygate.TapID{Terminal: s.Terminal, Seq: s.Seq}, at, s.Evidence}}
		}
	}
	if len(last) == 0 {
		return nil
	}
	told := make([]Denied, 0, len(last))
	for _, rider := range slices.SortedFunc(maps.Keys(last), citygate.Rider.Compare) {
		told = append(told, last[rider])
	}
	return r.config.Denied(ctx, tx, told)
}

// settle gives the fresh records the verdicts that need the uses of displays that
// were recorded before.
// Of copied credentials it gives the display that was used and by whom.
func settle(ctx context.Context, tx *pg.Tx, fresh []stored) ([]copied, error) {
	uses := make([]*stored, 0, len(fresh))
	for i := range fresh {
		s := &fresh[i]
		if s.final == "" && !s.waiting {
			uses = append(uses, s)
		}
	}
	// In key order, so that two batches never wait for each other in a circle;
	// inside a batch the lower number has the display.
	slices.SortFunc(uses, func(a, b *stored) int {
		return cmp.Or(a.rider.Compare(b.rider), cmp.Compare(a.counter, b.counter), cmp.Compare(a.Seq, b.Seq))
	})
	taken, err := claimUses(ctx, tx, uses)
	if err != nil {
		return nil, err
	}
	var copies []copied
	for _, s := range uses {
		if u, ok := taken[code.Use{Rider: s.rider, Counter: s.counter}]; ok && !u.is(s.item) {
			if s.final = u.reason(s.item); s.final == code.Clone {
				copies = append(copies, copied{s.item, u})
			}
		}
	}
	return copies, nil
}

// A copied is a tap that proves a copied credential, and who used the display first.
type copied struct {
	*item
	by use
}

// tellCopies passes copies on with both codes. One whose first code is not kept
// any more proves nothing and is left out.
func (r *Recorder) tellCopies(ctx context.Context, tx *pg.Tx, copies []copied) error {
	ids := make([]citygate.TapID, len(copies))
	for i, c := range copies {
		ids[i] = c.by.id()
	}
	evidence, err := Evidence(ctx, tx, ids)
	if err != nil {
		return err
	}
	taps, err := TapsByID(ctx, tx, ids)
	if err != nil {
		return err
	}
	at := make(map[citygate.TapID]time.Time, len(taps))
	for _, t := range taps {
		at[t.ID] = t.At
	}
	told := make([]Copy, 0, len(copies))
	for _, c := range copies {
		first := c.by.id()
		if evidence[first] == nil {
			continue
		}
		told = append(told, Copy{Rider: c.rider, Counter: c.counter,
			First:  Shown{first, at[first], evidence[first]},
			Second: Shown{citygate.TapID{Terminal: c.Terminal, Seq: c.Seq}, time.UnixMilli(c.EventTime).UTC(), c.Evidence}})
	}
	return r.config.Copies(ctx, tx, told)
}

// A use is who used a display first.
type use struct {
	terminal uint32
	seq      uint64
	digest   [32]byte // of the code's bytes
}

func (u use) id() citygate.TapID { return citygate.TapID{Terminal: u.terminal, Seq: u.seq} }

func (u use) is(it *item) bool { return u.terminal == it.Terminal && u.seq == it.Seq }

// reason says what showing the display again is: other bytes under one counter
// need the key and the counter, so the credential was copied. A code of another
// scheme may be encoded again by anyone.
func (u use) reason(it *item) code.Reason {
	switch {
	case u.digest != it.evidence && !it.rider.Foreign():
		return code.Clone
	case u.terminal == it.Terminal:
		return code.Replayed
	}
	return code.DoubleUse
}

// A chain says how a batch hangs together with the ones before.
type chain string

const (
	chainOK   chain = "ok"
	chainGap  chain = "gap"  // the one before may still come
	chainLost chain = "lost" // the one before did not come in time
	chainFork chain = "fork"
)

// A link is a stored batch next to the one in hand.
type link struct {
	hash, prev [32]byte
	first      uint64
	taps       int
	chain      chain
}

// judge says how the batch in hand follows from its neighbours, and which of
// the batches that wait for it go on from it.
func judge(in *batch, near []link) (own chain, follow []link) {
	own = chainGap
	if in.Prev == [32]byte{} {
		own = chainOK // the first batch of a terminal key
		if in.First != 1 {
			own = chainFork // a first batch that starts in the middle
		}
	}
	for _, l := range near {
		if l.hash == in.Hash {
			continue
		}
		if l.hash == in.Prev && own == chainGap {
			own = chainOK
			if l.first+uint64(l.taps) != in.First {
				own = chainFork
			}
		}
		if l.prev == in.Prev {
			own = chainFork // two batches say that they come next
		}
		if l.prev == in.Hash && (l.chain == chainGap || l.chain == chainLost) {
			l.chain = chainOK
			if l.first != in.First+uint64(in.Count) {
				l.chain = chainFork
			}
			follow = append(follow, l)
		}
	}
	return own, follow
}

// flags says what somebody should look at after this batch.
func (in *batch) flags(own chain, follow []link, conflicts int) map[fleet.Flag]string {
	raised := map[fleet.Flag]string{}
	if conflicts > 0 {
		raised[fleet.SequenceConflict] = fmt.Sprintf("%d taps of the batch from %d on have other content than before", conflicts, in.First)
	}
	if own == chainFork {
		raised[fleet.BatchFork] = fmt.Sprintf("the batch from %d on does not follow from the ones before", in.First)
	}
	for _, l := range follow {
		if l.chain == chainFork {
			raised[fleet.BatchFork] = fmt.Sprintf("the batch from %d on does not follow from the ones before", l.first)
		}
	}
	return raised
}

// sightings gives the first and the last tap under each bundle in a row: which
// one a terminal held says whether it was set back.
func (in *batch) sightings() (taps []fleet.Sighting) {
	for i := range in.items {
		it := &in.items[i]
		s := fleet.Sighting{Seq: it.Seq, Bundle: it.BundleVersion}
		if it.Clock != tap.ClockUnknown {
			s.At = time.UnixMilli(it.EventTime).UTC()
		}
		if n := len(taps); n > 1 && taps[n-1].Bundle == s.Bundle && taps[n-2].Bundle == s.Bundle {
			taps[n-1] = s
		} else {
			taps = append(taps, s)
		}
	}
	return taps
}

// report tells the fleet what the batch showed of its terminal: what it runs,
// how its clock stands, and what is wrong with it. A batch without news shows
// nothing: anybody may send it again.
func report(ctx context.Context, tx *pg.Tx, in *batch, news bool, last []int64, raised map[fleet.Flag]string) error {
	terminal, newest := in.Terminal, &in.items[len(in.items)-1]
	if news {
		wrong, err := fleet.Reported(ctx, tx, terminal, fleet.Report{Software: newest.SoftwareVersion, Taps: in.sightings()})
		if err != nil {
			return fmt.Errorf("report terminal: %w", err)
		}
		maps.Copy(raised, wrong)
	}
	if used := in.lists(tx.Now); len(used) > 0 {
		if err := fleet.ReportLists(ctx, tx, terminal, used); err != nil {
			return fmt.Errorf("report terminal's deny lists: %w", err)
		}
	}
	if median, known, off := clockOff(last, newest.policy); known {
		if err := fleet.Offset(ctx, tx, terminal, -time.Duration(median)*time.Millisecond); err != nil {
			return fmt.Errorf("report terminal's clock: %w", err)
		}
		if off {
			raised[fleet.ClockWrong] = fmt.Sprintf("codes are %d s ahead of the taps' times, in the median of the last %d", median/1000, len(last))
		}
	}
	for _, f := range slices.Sorted(maps.Keys(raised)) {
		if err := fleet.Raise(ctx, tx, terminal, f, raised[f]); err != nil {
			return fmt.Errorf("flag terminal: %w", err)
		}
	}
	return nil
}

// lists gives the deny list of each issuer and number that the batch's last tap
// with it was decided by.
func (in *batch) lists(now time.Time) []fleet.UsedList {
	last := map[citygate.Rider]fleet.UsedList{} // by issuer and list
	for i := range in.items {
		it := &in.items[i]
		if !it.parsed || it.ListAt == 0 || it.ListVersion > math.MaxUint32 {
			continue
		}
		at := time.UnixMilli(min(it.EventTime, now.UnixMilli())) // a clock that is ahead must not outdo later taps
		key := citygate.Rider{Issuer: it.rider.Issuer, List: it.rider.List}
		if old, ok := last[key]; !ok || !at.Before(old.UsedAt) {
			last[key] = fleet.UsedList{
				Issuer: key.Issuer, List: key.List, Seq: uint32(it.ListVersion), ProvenAt: time.Unix(min(it.ListAt, at.Unix()), 0), UsedAt: at,
			}
		}
	}
	keys := slices.SortedFunc(maps.Keys(last), citygate.Rider.Compare)
	used := make([]fleet.UsedList, len(keys))
	for i, k := range keys {
		used[i] = last[k]
	}
	return used
}
