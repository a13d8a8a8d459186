package credential_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// fetch opens the latest list of the week as a validator does.
func (o *office) fetch(tenant citygate.TenantID, list uint16) *denylist.List {
	o.t.Helper()
	var raw []byte
	o.in(tenant, func(tx *pg.Tx) (err error) {
		var etag string
		raw, etag, err = credential.LatestList(o.t.Context(), tx, list)
		if sum := sha256.Sum256(raw); err == nil && etag != hex.EncodeToString(sum[:]) {
			o.t.Errorf("entity tag %s is not the SHA-256 of the bytes", etag)
		}
		return err
	})
	published := o.keysOf(tenant, keys.DenyList)
	l, err := denylist.Open(raw, func(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
		k, ok := published[kid].(ed25519.PublicKey)
		return k, ok && issuer == citygate.Issuer(100+tenant)
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return l
}

func (o *office) deny(reason string, t credential.Targets) {
	o.t.Helper()
	o.in(harbour, func(tx *pg.Tx) error { return credential.Deny(o.t.Context(), tx, "test", reason, t) })
}

func (o *office) lift(reason string, t credential.Targets) {
	o.t.Helper()
	o.in(harbour, func(tx *pg.Tx) error { return credential.Lift(o.t.Context(), tx, "test", reason, t) })
}

func accountsOf(accounts ...credential.Account) credential.Targets {
	var t credential.Targets
	for _, a := range accounts {
		t.Accounts = append(t.Accounts, a.ID)
	}
	return t
}

func TestDeniedAccountIsOnTheNextListAndOffAfterRecovery(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 3)
	var riders []citygate.Rider
	for _, a := range []int{0, 1, 2, 1} { // account 1 holds a phone and a band
		riders = append(riders, o.mustIssue(harbour, accounts[a]).Rider)
	}
	week := riders[0].List
	state := func(step string, seq uint32, denied ...int) {
		t.Helper()
		l := o.fetch(harbour, week)
		var want []uint32
		for _, i := range denied {
			want = append(want, riders[i].Index)
		}
		slices.Sort(want)
		if got := slices.Collect(l.All); l.Seq != seq || !slices.Equal(got, want) {
			t.Errorf("%s: seq %d denies %v, want seq %d and %v", step, l.Seq, got, seq, want)
		}
	}
	o.publish(harbour)
	state("nobody", 1)
	if l := o.fetch(harbour, week); l.Issued != 256 || l.Issuer != 120 || l.ValidUntil-l.BuiltAt != 72*3600 {
		t.Errorf("%+v", l.Header)
	}
	if again := o.publish(harbour); len(again) != 0 {
		t.Errorf("nothing changed, and %d lists were published", len(again))
	}
	o.deny("declined", accountsOf(accounts[1]))
	state("before publication", 1)
	o.publish(harbour)
	state("declined", 2, 1, 3)
	o.deny("declined", accountsOf(accounts[1])) // again: nothing
	o.deny("lost", accountsOf(accounts[1]))
	o.deny("clone", credential.Targets{Riders: riders[2:3]})
	o.publish(harbour)
	state("a clone too", 3, 1, 2, 3)
	o.lift("declined", accountsOf(accounts[1]))
	if again := o.publish(harbour); len(again) != 0 {
		t.Errorf("denied for two reasons, one lifted: %d lists", len(again))
	}
	o.lift("lost", accountsOf(accounts[1]))
	o.lift("lost", accountsOf(accounts[1]))
	o.lift("clone", accountsOf(accounts[0]))
	o.publish(harbour)
	state("recovered", 4, 2)
	o.lift("clone", credential.Targets{Riders: riders[2:3]})
	o.publish(harbour)
	state("all lifted", 5)

	// A renewed credential of an account that is denied later is on the list.
	o.clock.move(time.Second)
	riders = append(riders, o.mustIssue(harbour, accounts[1]).Rider)
	o.deny("declined", accountsOf(accounts[1]))
	o.publish(harbour)
	state("denied again", 6, 1, 3, 4)

	o.in(harbour, func(tx *pg.Tx) error {
		got, err := credential.Entries(t.Context(), tx, accounts[1].ID, citygate.UUID{}, 10)
		if err != nil {
			return err
		}
		if len(got) == 3 {
			if page, err := credential.Entries(t.Context(), tx, accounts[1].ID, got[0].ID, 1); err != nil || len(page) != 1 || page[0] != got[1] {
				t.Errorf("the entry behind the first: %+v, %v", page, err)
			}
		}
		if len(got) != 3 || got[0].LiftedAt.IsZero() || !got[2].LiftedAt.IsZero() || got[2].Reason != "declined" || !got[2].WholeAccount {
			t.Errorf("history: %+v", got)
		}
		return err
	})
}

func TestDenyRefusals(t *testing.T) {
	o := open(t)
	account := o.accounts(harbour, 1)[0]
	rider := o.mustIssue(harbour, account).Rider
	foreign := o.accounts(hill, 1)[0]
	never, other := rider, rider
	never.Index, other.Issuer = rider.Index^1, 121
	for name, test := range map[string]struct {
		reason string
		t      credential.Targets
		want   error
	}{
		"never issued":             {"clone", credential.Targets{Riders: []citygate.Rider{rider, never}}, credential.ErrNotIssued},
		"another issuer's":         {"clone", credential.Targets{Riders: []citygate.Rider{other}}, credential.ErrNotIssued},
		"another tenant's account": {"declined", accountsOf(account, foreign), credential.ErrNoAccount},
		"no word":                  {"He lost it", accountsOf(account), credential.ErrBadReason},
	} {
		err := o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
			return credential.Deny(t.Context(), tx, "test", test.reason, test.t)
		})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if n := pgtest.Owner(t, o.db).Count(harbour, `SELECT count(*) FROM deny_entries WHERE tenant_id = 20`); n != 0 {
		t.Errorf("%d entries after refusals", n)
	}
}

// The entry and the debt are one transaction: without the commit, no entry.
func TestDenyJoinsTheCallersTransaction(t *testing.T) {
	o := open(t)
	account := o.accounts(harbour, 1)[0]
	boom := errors.New("the debt could not be written")
	err := o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
		if err := (credential.Denier{Actor: "system:collect"}).DenyAccounts(t.Context(), tx, []citygate.UUID{account.ID}, "declined"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	o.mustIssue(harbour, account)
}

func TestListIsRenewedHalfWayAndDroppedAtTheEnd(t *testing.T) {
	o := open(t)
	rider := o.mustIssue(harbour, o.accounts(harbour, 1)[0]).Rider
	o.publish(harbour)
	o.clock.move(36*time.Hour - time.Second)
	if got := o.publish(harbour); len(got) != 0 {
		t.Errorf("published %d lists before half of the validity", len(got))
	}
	o.clock.move(time.Second)
	if got := o.publish(harbour); len(got) != 1 || got[0].Seq != 2 {
		t.Errorf("half-way: %v", got)
	}
	lists := func() (got []credential.Published) {
		o.in(harbour, func(tx *pg.Tx) (err error) {
			got, err = credential.Lists(t.Context(), tx)
			return err
		})
		return got
	}
	if got := lists(); len(got) != 1 || got[0].List != rider.List || got[0].Seq != 2 || got[0].ETag == "" {
		t.Errorf("lists %+v", got)
	}
	o.clock.move(168 * time.Hour)
	if got := o.publish(harbour); len(got) != 0 || len(lists()) != 0 {
		t.Errorf("the last credential has run out, and the list lives on: %v", got)
	}
}

func TestPublishersRunningTogetherLoseNothing(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 8)
	var wg sync.WaitGroup
	for _, a := range accounts {
		o.mustIssue(harbour, a)
		wg.Go(func() {
			err := o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
				return credential.Deny(t.Context(), tx, "test", "declined", accountsOf(a))
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := o.PublishLists(t.Context(), harbour); err != nil && !errors.Is(err, credential.ErrBusy) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	o.publish(harbour)
	if l := o.fetch(harbour, credential.Week(o.clock.now())); l.Count() != 8 {
		t.Errorf("seq %d denies %d, want 8", l.Seq, l.Count())
	}
}

// A slow publisher that knows less takes the sequence number of one that knows
// more: the one that knows more must publish again.
func TestSlowPublisherHidesNothing(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 2)
	var second citygate.Rider
	for _, a := range accounts {
		second = o.mustIssue(harbour, a).Rider
	}
	slowHasRead, slowMayStore, slowIsDone := make(chan bool), make(chan bool), make(chan bool)
	calls := 0 // the three calls follow one another by the channels
	o.signer.onCall = func() {
		switch calls++; calls {
		case 1: // the slow one, before the denial
			close(slowHasRead)
			<-slowMayStore
		case 2: // the fast one, after it
			close(slowMayStore)
			<-slowIsDone
		}
	}
	go func() {
		defer close(slowIsDone)
		if _, err := o.PublishLists(t.Context(), harbour); err != nil {
			t.Error(err)
		}
	}()
	<-slowHasRead
	o.deny("declined", accountsOf(accounts[1]))
	o.publish(harbour)
	if l := o.fetch(harbour, credential.Week(o.clock.now())); !l.Denied(second.Index) || l.Seq != 2 {
		t.Errorf("seq %d, denied: %v", l.Seq, l.Denied(second.Index))
	}
}

func TestNoListIsNamed(t *testing.T) {
	o := open(t)
	err := o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
		_, _, err := credential.LatestList(t.Context(), tx, 3)
		return err
	})
	if !errors.Is(err, credential.ErrNoList) {
		t.Errorf("%v", err)
	}
}
