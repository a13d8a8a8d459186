package intake_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func TestSameBatchAgainRepeatsTheFirstReceipt(t *testing.T) {
	g, d := newGateway(t), newDevice(1)
	forged := ok(2, 2)
	forged.Evidence[11] = 0
	refused := ok(3, 3)
	refused.Accepted, refused.Reason = false, code.Denied
	raw := d.batch(t, ok(1, 1), forged, refused)
	g.want(t, raw, "recorded", "refused bad_device_signature", "refused denied")
	g.verified.Clear()
	for range 2 { // the reply was lost, twice
		g.want(t, raw, "duplicate", "duplicate bad_device_signature", "duplicate denied")
	}
	g.verified.Range(func(any, any) bool { t.Error("a duplicate was verified again"); return false })
	if len(g.jobs) != 1 || g.jobs[0] != `pricing.batch {"tenant":1001,"terminal":1,"first_seq":1,"count":3}` {
		t.Errorf("jobs %q", g.jobs)
	}
	if c := g.balance(t); c.Uploaded != 9 || c.Recorded != 1 || c.Duplicate != 6 || c.Refused[code.Denied] != 1 {
		t.Errorf("%+v", c)
	}
	// The same taps in another batch are the same taps.
	d.next, d.prev = 1, [32]byte{}
	g.want(t, d.batch(t, ok(1, 1), forged), "duplicate", "duplicate bad_device_signature")
	g.balance(t)
}

func TestUploadsAtOnceRecordOnce(t *testing.T) {
	g := newGateway(t)
	var records []tap.Record
	for i := range uint16(600) {
		records = append(records, ok(uint32(i), 1))
	}
	raw := newDevice(1).batch(t, records...)
	slices.Reverse(records) // the same displays at another terminal, in another order
	forwarded := newDevice(2).batch(t, records...)
	var mu sync.Mutex
	counts := map[string]int{}
	var wg sync.WaitGroup
	for _, b := range [][]byte{raw, forwarded, raw, forwarded, raw, forwarded} {
		wg.Go(func() {
			r, err := g.recorder.Record(context.Background(), tenant, b)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, i := range r.Results {
				counts[string(i.Outcome)]++
			}
		})
	}
	wg.Wait()
	if counts["recorded"] != 600 || counts["refused"] != 600 || counts["duplicate"] != 2400 {
		t.Errorf("%v", counts)
	}
	if n := g.recordings.Load(); n != 6 {
		t.Errorf("%d transactions for 6 uploads: batches waited for each other in a circle", n)
	}
	if c := g.balance(t); c.Recorded != 600 || c.Refused[code.DoubleUse] != 600 {
		t.Errorf("%+v", c)
	}
}

func TestBadBatchStoresNothing(t *testing.T) {
	g := newGateway(t)
	good := newDevice(1).batch(t, ok(1, 1))
	foreign := &device{tenant: other, id: 1, next: 1}
	unknown := newDevice(100).batch(t, ok(1, 1))
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1
	altered := slices.Clone(good)
	altered[100] ^= 1
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"other tenant":   {foreign.batch(t, ok(1, 1)), intake.ErrOtherTenant},
		"unknown":        {unknown, intake.ErrUnknownTerminal},
		"forged":         {forged, tap.ErrBatchSignature},
		"altered":        {altered, tap.ErrBatchSignature},
		"cut":            {good[:len(good)-1], tap.ErrMalformed},
		"too large":      {make([]byte, tap.BatchBytesMax+1), tap.ErrBatchTooLarge},
		"number too big": {(&device{tenant: tenant, id: 1, next: 1 << 63}).batch(t, ok(1, 1)), tap.ErrMalformed},
	} {
		if _, err := g.recorder.Record(context.Background(), tenant, c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if c := g.balance(t); c.Uploaded != 0 || len(g.jobs) != 0 {
		t.Errorf("%+v, jobs %v", c, g.jobs)
	}
}

func TestTenantsDoNotMeet(t *testing.T) {
	g := newGateway(t)
	g.want(t, newDevice(1).batch(t, ok(1, 1)), "recorded")
	// The same terminal number, sequence number and display in another tenant.
	foreign := &device{tenant: other, id: 1, next: 1}
	r, err := g.recorder.Record(context.Background(), other, foreign.batch(t, ok(1, 1)))
	if err != nil || r.Results[0].Outcome != intake.Recorded {
		t.Errorf("%+v, %v", r, err)
	}
	if c := g.balance(t); c.Uploaded != 1 {
		t.Errorf("%+v", c)
	}
}

// Case L of the fare rules: after a clone two devices report the same number. The
// second content is kept apart and refused, and the device is flagged.
func TestCaseL(t *testing.T) {
	g, d := newGateway(t), newDevice(1)
	g.want(t, d.batch(t, ok(1, 1), ok(2, 2)), "recorded", "recorded")
	d.next, d.prev = 1, [32]byte{}
	changed := d.batch(t, ok(3, 3), ok(2, 2))
	g.want(t, changed, "refused sequence_conflict", "duplicate")
	g.want(t, changed, "refused sequence_conflict", "duplicate")
	if f := g.flags(t); f["1 sequence_conflict"] != 2 || f["1 batch_fork"] != 1 {
		t.Errorf("flags %v", f)
	}
	if n := pgtest.Owner(t, g.db).Count(tenant, `SELECT count(*) FROM tap_conflicts WHERE tenant_id = 1001 AND length(record) > 60`); n != 1 {
		t.Errorf("%d conflicting records kept, want 1", n)
	}
	if c := g.balance(t); c.Recorded != 2 || c.Refused[code.SequenceConflict] == 0 {
		t.Errorf("%+v", c)
	}
	// The display of the refused content was not used up.
	g.want(t, newDevice(2).batch(t, ok(3, 3)), "recorded")
}

func TestForwardedClonedAndReplayed(t *testing.T) {
	g, one, two := newGateway(t), newDevice(1), newDevice(2)
	g.want(t, one.batch(t, ok(1, 1), ok(2, 1)), "recorded", "recorded")
	cloned := ok(2, 1)
	cloned.Evidence = toyCode(2, 1, base+5, 1, 7) // same key and counter, another display
	g.want(t, two.batch(t, ok(1, 1), cloned), "refused double_use", "refused clone")
	g.want(t, one.batch(t, ok(1, 1), cloned, ok(9, 1), ok(9, 1)), "refused replayed", "refused clone", "recorded", "refused replayed")
	twin := ok(10, 1)
	twin.Evidence = toyCode(10, 1, base+5, 1, 7)
	inOne := two.batch(t, ok(10, 1), twin)
	g.want(t, inOne, "recorded", "refused clone")
	g.want(t, inOne, "duplicate", "duplicate clone")
	// Each copy is told once, with the code that was first and the one that was not.
	var told []string
	for _, c := range g.copies {
		told = append(told, fmt.Sprintf("%s#%d %s %x, %s %x", c.Rider, c.Counter, c.First.ID, sha256.Sum256(c.First.Evidence), c.Second.ID, sha256.Sum256(c.Second.Evidence)))
		if c.First.At.IsZero() || c.Second.At.IsZero() {
			t.Errorf("a copy without times: %+v", c)
		}
	}
	first, second := sha256.Sum256(ok(2, 1).Evidence), sha256.Sum256(cloned.Evidence)
	third, fourth := sha256.Sum256(ok(10, 1).Evidence), sha256.Sum256(twin.Evidence)
	if want := []string{
		fmt.Sprintf("%s#1 tap_1_2 %x, tap_2_2 %x", rider(2), first, second), fmt.Sprintf("%s#1 tap_1_2 %x, tap_1_4 %x", rider(2), first, second),
		fmt.Sprintf("%s#1 tap_2_3 %x, tap_2_4 %x", rider(10), third, fourth),
	}; !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	ids := []citygate.TapID{{Terminal: 1, Seq: 2}, {Terminal: 2, Seq: 2}, {Terminal: 2, Seq: 99}}
	g.tx(t, func(tx *pg.Tx) error {
		raw, err := intake.Evidence(context.Background(), tx, ids)
		if len(raw) != 2 || raw[ids[0]][12] != 0 || raw[ids[1]][12] != 7 {
			t.Errorf("both evidences of the clone: %x", raw)
		}
		return err
	})
	digest := tap.EvidenceDigest(cloned.Evidence)
	g.tx(t, func(tx *pg.Tx) error {
		found, err := intake.Answers(context.Background(), tx, [][32]byte{digest}, g.now, g.now)
		if a := found[digest]; len(a) != 2 || a[0].Reason != code.Clone || a[0].ID != (citygate.TapID{Terminal: 1, Seq: 4}) {
			t.Errorf("answers %+v", found)
		}
		return err
	})
}

func TestIntakeDecidesLikeATerminalWould(t *testing.T) {
	g, d := newGateway(t), newDevice(1)
	change := func(f func(*tap.Record)) tap.Record {
		r := ok(d.id, uint16(d.next)+50)
		f(&r)
		return r
	}
	expired := change(func(r *tap.Record) { r.EventTime += 61_000 })
	future := change(func(r *tap.Record) { r.EventTime -= 31_000 })
	unsure := change(func(r *tap.Record) { r.EventTime -= 600_000; r.Clock = tap.ClockUnknown })
	over := change(func(r *tap.Record) { r.Entered = citygate.Money{Minor: 1001, Currency: "CNY"} })
	garbage := change(func(r *tap.Record) { r.Evidence = []byte("T?") })
	empty := change(func(r *tap.Record) { r.Evidence = nil; r.Accepted, r.Reason = false, code.Malformed })
	odd := change(func(r *tap.Record) { r.Accepted, r.Reason = false, "of_a_newer_terminal" })
	late := change(func(r *tap.Record) {
		r.EventTime -= 31 * 24 * 3600 * 1000
		r.Evidence = toyCode(8, 8, r.EventTime/1000, 1, 0)
	})
	ahead := change(func(r *tap.Record) {
		r.EventTime = (pgtest.Epoch.Unix() + 121) * 1000
		r.Evidence = toyCode(8, 9, r.EventTime/1000, 1, 0)
	})
	g.want(t, d.batch(t, expired, future, unsure, over, garbage, empty, odd, late, ahead),
		"refused expired_code", "refused not_yet_valid", "recorded", "refused amount_over_cap", "refused malformed",
		"refused malformed", "refused of_a_newer_terminal", "refused too_late", "refused clock_suspect")
	g.tx(t, func(tx *pg.Tx) error {
		taps, err := intake.BatchTaps(context.Background(), tx, 1, 1, 9)
		if len(taps) != 9 || taps[3].Entered.Minor != 1001 || taps[3].Accepted || !taps[2].Accepted || taps[2].Product != 5 ||
			taps[4].Rider != (citygate.Rider{}) || taps[2].Date.String() != "2026-11-21" {
			t.Errorf("%+v", taps)
		}
		return err
	})
	if n := pgtest.Owner(t, g.db).Count(tenant, `SELECT count(*) FROM taps WHERE tenant_id = 1001 AND clock_suspect`); n != 1 {
		t.Errorf("%d taps of an unsure clock marked, want 1", n)
	}
}

func TestChainIsCheckedWhenTheGapCloses(t *testing.T) {
	g, d := newGateway(t), newDevice(1)
	first, second, third := d.batch(t, ok(1, 1)), d.batch(t, ok(1, 2)), d.batch(t, ok(1, 3))
	chains := func() string {
		var all string
		for _, row := range pgtest.Owner(t, g.db).Rows(tenant, `SELECT chain FROM tap_batches WHERE tenant_id = 1001 ORDER BY first_seq`) {
			all += fmt.Sprint(row[0], " ")
		}
		return all
	}
	g.want(t, third, "recorded")
	g.want(t, first, "recorded")
	if got := chains(); got != "ok gap " {
		t.Errorf("chain %q", got)
	}
	due := func() {
		if err := g.recorder.Due(context.Background(), tenant); err != nil {
			t.Fatal(err)
		}
	}
	due()
	if f := g.flags(t); len(f) != 0 {
		t.Errorf("flagged before the grace is over: %v", f)
	}
	g.now = g.now.Add(intake.GapGrace + time.Minute)
	due()
	due()
	if f := g.flags(t); f["1 batch_gap"] != 1 {
		t.Errorf("a lasting gap is not flagged once: %v", f)
	}
	g.want(t, second, "recorded")
	if got := chains(); got != "ok ok ok " {
		t.Errorf("chain %q", got)
	}
	g.want(t, second, "duplicate")
	if f := g.flags(t); len(f) != 1 {
		t.Errorf("flags %v", f)
	}
	fork := newDevice(1)
	fork.next, fork.prev = 2, hashOf(t, first)
	g.want(t, fork.batch(t, ok(1, 2), ok(4, 4)), "duplicate", "refused sequence_conflict")
	if f := g.flags(t); f["1 batch_fork"] != 1 {
		t.Errorf("flags %v", f)
	}
}

func hashOf(t *testing.T, raw []byte) [32]byte {
	t.Helper()
	b, err := tap.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b.Hash
}

func TestWrongClockIsNamedByTheMedian(t *testing.T) {
	g, d, right := newGateway(t), newDevice(1), newDevice(2)
	var wrong, good []tap.Record
	for i := range uint16(9) {
		r := ok(uint32(i), 100)
		r.EventTime += 3600_000 // an hour ahead: every code looks expired to it
		r.Accepted, r.Reason = false, code.ExpiredCode
		if i == 0 { // an attacker's old code among them moves nothing
			r.Evidence = toyCode(0, 100, base-50_000, 1, 0)
		}
		wrong = append(wrong, r)
		good = append(good, ok(100+uint32(i), 100))
	}
	forged := wrong[1]
	forged.Evidence = toyCode(1, 100, base-900_000, 0, 0) // proves nothing about time
	g.record(t, d.batch(t, append(wrong[:4:4], forged, forged, forged)...))
	if f := g.flags(t); len(f) != 0 {
		t.Errorf("flagged by four taps: %v", f)
	}
	g.record(t, d.batch(t, wrong[4:]...))
	g.record(t, right.batch(t, good...))
	if f := g.flags(t); len(f) != 1 || f["1 clock_wrong"] != 1 {
		t.Errorf("flags %v", f)
	}
	g.tx(t, func(tx *pg.Tx) error {
		known, err := fleet.Get(context.Background(), tx, 1)
		if known.ClockOffset == nil || *known.ClockOffset != time.Hour || known.Software != "1" {
			t.Errorf("the fleet knows %+v", known)
		}
		return err
	})
}

func TestVerdictsChangeTheFinalAnswer(t *testing.T) {
	g, d := newGateway(t), newDevice(1)
	on, off, single := ok(1, 1), ok(1, 2), ok(1, 3)
	on.Kind, off.Kind = tap.On, tap.Off
	raw := d.batch(t, on, off, single)
	g.record(t, raw)
	rider := []citygate.Rider{{Issuer: issuer, List: 1, Index: 1}, {Issuer: issuer, List: 1, Index: 2}}
	at := func(n int64) time.Time { return time.Unix(base+n, 0) }
	read := func(from, to int64) (seqs []uint64) {
		g.tx(t, func(tx *pg.Tx) error {
			taps, err := intake.TapsOfRiders(context.Background(), tx, rider, at(from), at(to))
			for _, x := range taps {
				seqs = append(seqs, x.ID.Seq)
			}
			return err
		})
		return seqs
	}
	if got := read(1, 3); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("taps that pair: %v", got)
	}
	if got := read(2, 3); !slices.Equal(got, []uint64{2}) {
		t.Errorf("from the second on: %v", got)
	}
	for range 2 { // a message may come twice; the first verdict stands
		g.tx(t, func(tx *pg.Tx) error {
			return intake.WriteVerdicts(context.Background(), tx, "issuer:20", []intake.Verdict{{ID: citygate.TapID{Terminal: 1, Seq: 2}, Reason: code.DoubleUse}})
		})
	}
	if got := read(1, 3); !slices.Equal(got, []uint64{1}) {
		t.Errorf("after the verdict: %v", got)
	}
	g.tx(t, func(tx *pg.Tx) error {
		taps, err := intake.TapsByID(context.Background(), tx, []citygate.TapID{{Terminal: 1, Seq: 2}})
		if len(taps) != 1 || taps[0].Accepted || taps[0].Reason != code.DoubleUse {
			t.Errorf("%+v", taps)
		}
		return err
	})
	if c := g.balance(t); c.Recorded != 2 || c.Refused[code.DoubleUse] != 1 {
		t.Errorf("%+v", c)
	}
	// The receipt repeats what was said first.
	g.want(t, raw, "duplicate", "duplicate", "duplicate")
}

func TestEvidenceIsReachedThroughTheParentOnly(t *testing.T) {
	g := newGateway(t)
	g.record(t, newDevice(1).batch(t, ok(1, 1)))
	err := g.db.InTenant(context.Background(), tenant, func(tx *pg.Tx) error {
		_, err := tx.Exec(context.Background(), `SELECT raw FROM tap_evidence_202611 WHERE tenant_id = $1`, tx.Tenant)
		return err
	})
	if pg.SQLState(err) != pg.StateInsufficientRights {
		t.Errorf("reading a partition: %v", err)
	}
}

// A genuine signature over an index that was not issued on the day the credential
// says is somebody's who has the key. What is known of an issuer's blocks may be
// old: it is read again before anybody is refused, once a batch.
func TestIndicesThatWereNotIssuedAreRefused(t *testing.T) {
	g := newGateway(t)
	day := denylist.Day(base - 40*24*3600) // of the toy's credentials
	reads := 0
	g.blocks = func(_ uint16, now bool) denylist.Blocks {
		b := denylist.Blocks{{Day: day - 1, First: 0, Size: 10}, {Day: day, First: 10, Size: 10}}
		if now {
			reads++
			b = append(b, denylist.Block{Day: day, First: 20, Size: 10}) // opened meanwhile
		}
		return b
	}
	d := newDevice(1)
	forged := ok(40, 5)
	forged.Evidence[11] = 0
	refused := ok(41, 6)
	refused.Accepted, refused.Reason = false, code.Denied
	g.want(t, d.batch(t, ok(12, 1), ok(25, 2), ok(30, 3), ok(5, 4), forged, refused),
		"recorded", "recorded", "refused not_issued", "refused not_issued", "refused bad_device_signature", "refused denied")
	if reads != 1 {
		t.Errorf("the blocks were read again %d times", reads)
	}
	g.want(t, d.batch(t, ok(13, 7)), "recorded")
	if reads != 1 {
		t.Errorf("the blocks were read again for an index that is known")
	}
	g.blocks = nil // an issuer of whom nothing is known
	g.want(t, d.batch(t, ok(77, 8)), "recorded")
}

// A terminal that says by which list it decided is held to the rule of its policy;
// what it says is kept.
func TestListAgeIsHeldToThePolicy(t *testing.T) {
	g := newGateway(t)
	with := func(idx uint32, counter uint16, seq uint64, at int64) tap.Record {
		r := ok(idx, counter)
		r.ListVersion, r.ListAt = seq, at
		return r
	}
	d := newDevice(1)
	g.want(t, d.batch(t, with(1, 1, 4, base-3600), with(2, 2, 4, base-7201), with(3, 3, 5, base-60), ok(4, 4)),
		"recorded", "refused stale_list", "recorded", "recorded")
	g.want(t, newDevice(2).batch(t, ok(5, 5)), "recorded") // says nothing of a list
	late := with(6, 6, 3, base-7000)
	late.EventTime -= 30_000
	g.want(t, d.batch(t, late), "recorded")
	g.tx(t, func(tx *pg.Tx) error {
		used, err := fleet.UsedLists(t.Context(), tx, time.Unix(base-100, 0), 1, 2)
		if err != nil || len(used) != 1 || len(used[1]) != 1 {
			t.Errorf("%+v, %v", used, err)
			return err
		}
		if u := used[1][0]; u.Seq != 5 || u.Issuer != issuer || u.List != 1 || u.Age() != 63*time.Second {
			t.Errorf("%+v, %v old", u, u.Age())
		}
		return nil
	})
	g.now = g.now.Add(61 * 24 * time.Hour)
	if err := g.recorder.Due(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	g.tx(t, func(tx *pg.Tx) error {
		used, err := fleet.UsedLists(t.Context(), tx, time.Unix(0, 0), 1)
		if len(used) != 0 {
			t.Errorf("after two months: %+v", used)
		}
		return err
	})
}

func TestAPartIsMissing(t *testing.T) {
	if _, err := intake.New(intake.Config{}); !errors.Is(err, intake.ErrConfig) {
		t.Errorf("put together of nothing: %v", err)
	}
}

// TestRidersAreNeverFewerThanShown: a tap counts those whom the code states, which
// its holder signed, and more only where the operator counted them, up to a bound;
// what the code was shown on and what it stated are kept with the tap.
func TestRidersAreNeverFewerThanShown(t *testing.T) {
	g, d := newGateway(t), newDevice(1)
	with := func(counter uint16, record, shown uint8) tap.Record {
		r := ok(uint32(counter), counter)
		r.Party, r.Evidence = record, toyCode(uint32(counter), counter, base+int64(counter), 1, 100+shown)
		return r
	}
	g.want(t, d.batch(t, with(1, 1, 3), with(2, 4, 1), with(3, 20, 20), with(4, tap.PartyMax+1, 1), with(5, 0, 2)),
		"recorded", "recorded", "recorded", "refused over_limit", "recorded")
	var got []string
	g.tx(t, func(tx *pg.Tx) error {
		taps, err := intake.BatchTaps(t.Context(), tx, 1, 1, 5)
		for _, x := range taps {
			got = append(got, fmt.Sprintf("%d %d %s %t", x.Party, x.Shown, x.Medium, x.Accepted))
		}
		return err
	})
	if want := []string{"3 3 toy true", "4 1 toy true", "20 20 toy true", "16 1 toy false", "2 2 toy true"}; !slices.Equal(got, want) {
		t.Errorf("taps %q, want %q", got, want)
	}
}
