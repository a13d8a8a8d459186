package credential_test

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func (o *office) listKeys(tenant citygate.TenantID) denylist.Keys {
	published := o.keysOf(tenant, keys.DenyList)
	return func(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
		k, ok := published[kid].(ed25519.PublicKey)
		return k, ok && issuer == citygate.Issuer(100+tenant)
	}
}

func (o *office) updates(have ...credential.Held) (needs []credential.Update, ended []uint16) {
	o.t.Helper()
	o.in(harbour, func(tx *pg.Tx) (err error) {
		needs, ended, err = credential.Updates(o.t.Context(), tx, have)
		return err
	})
	return needs, ended
}

// catchUp brings a list up to date as a validator does and gives how many objects
// and bytes that took.
func (o *office) catchUp(held *denylist.List) (*denylist.List, int) {
	o.t.Helper()
	needs, _ := o.updates(credential.Held{List: held.List, Seq: held.Seq})
	if len(needs) == 0 {
		return held, 0
	}
	if len(needs) != 1 {
		o.t.Fatalf("one list needs %+v", needs)
	}
	n := needs[0]
	var raw []byte
	o.in(harbour, func(tx *pg.Tx) (err error) {
		if n.From > 0 {
			raw, _, err = credential.DeltaTo(o.t.Context(), tx, n.List, n.From, n.Seq)
		} else {
			raw, _, err = credential.ListAt(o.t.Context(), tx, n.List, n.Seq)
		}
		return err
	})
	if len(raw) != n.Size {
		o.t.Errorf("%d bytes, said were %d", len(raw), n.Size)
	}
	if n.From == 0 {
		l, err := denylist.Open(raw, o.listKeys(harbour))
		if err != nil {
			o.t.Fatal(err)
		}
		return l, n.Size
	}
	d, err := denylist.OpenDelta(raw, o.listKeys(harbour))
	if err != nil {
		o.t.Fatal(err)
	}
	next, err := d.Apply(held)
	if err != nil {
		o.t.Fatalf("from %d to %d on %d: %v", d.From, d.Seq, held.Seq, err)
	}
	return next, n.Size
}

// Vehicles that parked at any time within a week need one object each, and it is
// small as long as little happened; whatever they held, they end with the same
// list as those that fetch it whole.
func TestParkedVehiclesNeedOneObject(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 700)
	o.clock.move(-48 * time.Hour) // a Thursday: the first day of a list
	requests := make([]credential.Request, len(accounts))
	for i := range requests {
		requests[i], _ = band(t)
		requests[i].Account, requests[i].TTLHours = accounts[i].ID, 400
	}
	if _, err := o.IssueBatch(t.Context(), "test", harbour, requests); err != nil {
		t.Fatal(err)
	}
	list := credential.Week(o.clock.now())
	o.deny("closed", accountsOf(accounts[300:700]...)) // a list that is worth a delta
	o.publish(harbour)
	parked := []*denylist.List{o.fetch(harbour, list)}
	for i := range 60 { // every three hours for more than a week
		o.clock.move(3 * time.Hour)
		o.deny("declined", accountsOf(accounts[i]))
		if i%3 == 2 {
			o.lift("declined", accountsOf(accounts[i-1])) // came and went within two publications
		}
		o.publish(harbour)
		parked = append(parked, o.fetch(harbour, list))
		if i%20 != 19 {
			continue
		}
		now := parked[len(parked)-1]
		for back, held := range slices.Backward(parked) {
			got, size := o.catchUp(held)
			if got.Seq != now.Seq || got.Hash() != now.Hash() {
				t.Fatalf("parked at %d: ends with sequence %d, another list than %d", held.Seq, got.Seq, now.Seq)
			}
			if whole := len(now.Bytes()); len(parked)-back <= 9 && size >= whole/2 { // the last day
				t.Errorf("parked at %d of %d: %d bytes, the list has %d", held.Seq, now.Seq, size, whole)
			}
		}
	}
	if needs, ended := o.updates(credential.Held{List: list - 1, Seq: 7}); len(needs) != 1 || needs[0].From != 0 || !slices.Equal(ended, []uint16{list - 1}) {
		t.Errorf("a vehicle with the list of the week before: %+v, %v", needs, ended)
	}
	if needs, _ := o.updates(credential.Held{List: list, Seq: 9999}); len(needs) != 1 || needs[0].From != 0 {
		t.Errorf("a version that was never published: %+v", needs)
	}
}

// What is old goes: deltas and snapshots after 64 publications, all of a list's
// when it has ended, heartbeats after a day.
func TestOldObjectsGo(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 70)
	for _, a := range accounts {
		o.mustIssue(harbour, a)
	}
	list := credential.Week(o.clock.now())
	for _, a := range accounts {
		o.clock.move(time.Second)
		o.deny("declined", accountsOf(a))
		o.publish(harbour)
	}
	at := func(seq uint32) error {
		return o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
			_, _, err := credential.ListAt(t.Context(), tx, list, seq)
			return err
		})
	}
	if err := errors.Join(at(7), at(70)); err != nil {
		t.Errorf("one of the last 64: %v", err)
	}
	if err := at(6); !errors.Is(err, credential.ErrNoList) {
		t.Errorf("the one before: %v", err)
	}
	owner := pgtest.Owner(t, o.db)
	count := func(sql string, args ...any) int { return int(owner.Count(harbour, sql, args...)) }
	if n := count(`SELECT count(*) FROM deny_snapshots WHERE tenant_id = 20`); n != 70 {
		t.Errorf("%d records of publications, want all 70", n)
	}
	if n := count(`SELECT count(*) FROM deny_deltas WHERE tenant_id = 20 AND to_seq <= 6`); n != 0 {
		t.Errorf("%d old deltas", n)
	}
	if n := count(`SELECT count(DISTINCT to_seq) FROM deny_deltas WHERE tenant_id = 20 AND from_seq = to_seq - 1`); n < 60 { // a delta as large as its list is left out
		t.Errorf("%d of the last 64 publications have a delta from the one before", n)
	}
	o.clock.move(10 * 24 * time.Hour)
	o.mustIssue(harbour, o.accounts(harbour, 71)[70])
	o.publish(harbour)
	if n := count(`SELECT count(*) FROM deny_deltas WHERE tenant_id = 20`) + count(`SELECT count(*) FROM deny_changes WHERE tenant_id = 20`); n != 0 {
		t.Errorf("%d deltas and changes of a list that has ended", n)
	}
	if n := count(`SELECT count(*) FROM deny_heartbeats WHERE tenant_id = 20`); n != 1 {
		t.Errorf("%d heartbeats", n)
	}
}

func TestHeartbeatSaysThatThereIsNothingNewer(t *testing.T) {
	o := open(t)
	account := o.accounts(harbour, 1)[0]
	beat := func() *denylist.Heartbeat {
		t.Helper()
		var raw []byte
		o.in(harbour, func(tx *pg.Tx) (err error) {
			raw, _, err = credential.LatestHeartbeat(t.Context(), tx)
			return err
		})
		h, err := denylist.OpenHeartbeat(raw, o.listKeys(harbour))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	o.publish(harbour) // nothing issued: no list, no heartbeat
	err := o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
		_, _, err := credential.LatestHeartbeat(t.Context(), tx)
		return err
	})
	if !errors.Is(err, credential.ErrNoList) {
		t.Errorf("a heartbeat of nothing: %v", err)
	}
	o.mustIssue(harbour, account)
	list := credential.Week(o.clock.now())
	o.publish(harbour)
	first := beat()
	if b, ok := first.Of(list); !ok || b.Seq != 1 || !b.Empty() || first.Issuer != 120 || first.At != o.clock.now().Unix() {
		t.Errorf("%+v", first)
	}
	// It says on which day each index was given out.
	if now := o.clock.now().Unix(); len(first.Blocks) != 1 || first.NeverIssued(list, 0, now) || !first.NeverIssued(list, 0, now-86_400) || !first.NeverIssued(list, 256, now-3600) {
		t.Errorf("the blocks are %+v", first.Blocks)
	}
	o.clock.move(5*time.Minute - time.Second)
	o.publish(harbour)
	if h := beat(); h.At != first.At {
		t.Error("a heartbeat before its time")
	}
	o.clock.move(time.Second)
	o.publish(harbour)
	if h := beat(); h.At != first.At+300 || h.Beats[0] != first.Beats[0] {
		t.Errorf("after five minutes %+v", h)
	}
	o.deny("declined", accountsOf(account))
	o.clock.move(time.Second)
	o.publish(harbour)
	held := o.fetch(harbour, list)
	if b, _ := beat().Of(list); b.Seq != 2 || b.Mark != held.Mark() || b.Empty() {
		t.Errorf("after a denial %+v", b)
	}
	// A list that cannot be signed gets no heartbeat that would call the old one new.
	o.lift("declined", accountsOf(account))
	o.clock.move(10 * time.Minute)
	o.signer.fail = errors.New("sealed")
	at := beat().At
	if _, err := o.PublishLists(t.Context(), harbour); err == nil || beat().At != at {
		t.Errorf("sealed: %v, heartbeat at %d", err, beat().At)
	}
}

// The age of a denial that no list has yet is a figure, and it is about the
// denial and not about the last publication.
func TestPublishLatency(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 3)
	for _, a := range accounts {
		o.mustIssue(harbour, a)
	}
	o.publish(harbour)
	latency := func() (l credential.Latency) {
		t.Helper()
		o.in(harbour, func(tx *pg.Tx) (err error) {
			l, err = credential.PublishLatency(t.Context(), tx)
			return err
		})
		return l
	}
	if l := latency(); l != (credential.Latency{Standing: credential.OnTime}) {
		t.Errorf("nothing denied: %+v", l)
	}
	o.deny("declined", accountsOf(accounts[0]))
	o.clock.move(40 * time.Second)
	if l := latency(); l.Pending != 1 || l.Oldest != 40*time.Second || l.Standing != credential.OnTime {
		t.Errorf("40 s: %+v", l)
	}
	o.publish(harbour)
	if l := latency(); l != (credential.Latency{Published: 1, Worst: 40 * time.Second, Standing: credential.OnTime}) {
		t.Errorf("published: %+v", l)
	}
	o.signer.fail = errors.New("sealed")
	o.deny("declined", accountsOf(accounts[1]))
	o.lift("declined", accountsOf(accounts[0]))
	for _, step := range []struct {
		after time.Duration
		want  credential.Standing
	}{{61 * time.Second, credential.Late}, {30 * time.Minute, credential.Alarm}, {30 * time.Minute, credential.Breach}} {
		o.clock.move(step.after)
		if _, err := o.PublishLists(t.Context(), harbour); err == nil {
			t.Error("a sealed signer published")
		}
		if l := latency(); l.Pending != 2 || l.Standing != step.want {
			t.Errorf("want %s: %+v", step.want, l)
		}
	}
	o.signer.fail = nil
	// A denial that changes no list, since the rider is on it already, is published too.
	o.deny("lost", accountsOf(accounts[1]))
	o.publish(harbour)
	if l := latency(); l.Pending != 0 || l.Published != 3 || l.Standing != credential.OnTime {
		t.Errorf("at last: %+v", l)
	}
	if l := latency(); l.Worst != 61*time.Second+time.Hour {
		t.Errorf("the worst took %v", l.Worst)
	}
	o.in(hill, func(tx *pg.Tx) error {
		l, err := credential.PublishLatency(t.Context(), tx)
		if l.Published != 0 {
			t.Errorf("another tenant's figure: %+v", l)
		}
		return err
	})
}

// What nobody has asked for is not read again: a publisher that looks every few
// seconds costs a few rows, also with a list of millions.
func TestAnIdlePublisherReadsNoList(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 2)
	o.mustIssue(harbour, accounts[0])
	o.deny("declined", accountsOf(accounts[0]))
	o.publish(harbour)
	var statements []string
	o.db = pgtest.Reopen(t, o.db, pgtest.WithClock(o.clock.now), pgtest.WithStatements(func(sql string) { statements = append(statements, sql) }))
	o.Registry = credential.New(credential.Config{DB: o.db, Ring: o.ring, Directory: directory{}})
	reads := func() (n int) {
		statements = nil
		o.publish(harbour)
		for _, sql := range statements {
			if sql == credential.DeniedOfList {
				n++
			}
		}
		return n
	}
	if n := reads(); n != 0 {
		t.Errorf("idle: the list was read %d times", n)
	}
	o.mustIssue(harbour, accounts[1])
	if n := reads(); n != 1 {
		t.Errorf("after a credential was issued: read %d times", n)
	}
	o.deny("declined", accountsOf(accounts[1]))
	if n := reads(); n != 1 {
		t.Errorf("after a denial: read %d times", n)
	}
	if n := reads(); n != 0 {
		t.Errorf("idle again: the list was read %d times", n)
	}
}
