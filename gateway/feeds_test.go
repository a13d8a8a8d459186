package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A lister is a provider that refuses riders.
type lister struct {
	driver.Provider
	riders []string
	err    error
	asked  int
}

func (l *lister) Describe() driver.Description { return driver.Description{Name: "lister"} }

func (l *lister) PullDeny(context.Context) ([]string, error) {
	l.asked++
	return l.riders, l.err
}

// Riders whom a contract's provider refuses are denied and, when they have left
// its list, let go; a list that cannot be read changes nothing.
func TestProvidersListIsFollowed(t *testing.T) {
	o := open(t)
	l := &lister{}
	o.Products.Replace("listed", func(d adapters.Deps) (driver.Provider, error) { return l, nil })
	o.onboard()
	o.settleDown()
	var ann credential.Account
	o.in(bus, func(tx *pg.Tx) error {
		if err := collect.AddContract(t.Context(), tx, actor, collect.Contract{Name: "listed", Adapter: "listed", Config: json.RawMessage(`{"deny_every":"1h"}`)}); err != nil {
			return err
		}
		accounts, err := credential.OpenAccounts(t.Context(), tx, actor, []credential.Account{
			{Contract: "listed", RiderRef: "2088ann", Category: "adult"}, {Contract: "listed", RiderRef: "2088bob", Category: "adult"},
		})
		if err == nil {
			ann = accounts[0]
		}
		return err
	})
	follow := func() {
		t.Helper()
		o.must(o.followLists(t.Context(), bus))
	}
	denied := func(want ...string) {
		t.Helper()
		var got []string
		for _, row := range o.audit.Rows(bus, `SELECT a.rider_ref || ' ' || d.reason FROM deny_entries d
			JOIN accounts a ON a.tenant_id = d.tenant_id AND a.account_id = d.account_id
			WHERE d.lifted_at IS NULL ORDER BY 1`) {
			got = append(got, fmt.Sprint(row[0]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("denied are %q; want %q", got, want)
		}
	}
	l.riders = []string{"2088ann", "2088bob", "2088nobody", "2088ann2"}
	follow()
	follow()
	if l.asked != 1 {
		t.Errorf("the list was read %d times within the hour", l.asked)
	}
	denied("2088ann provider_list", "2088bob provider_list")

	o.in(bus, func(tx *pg.Tx) error { // ann's account is denied for another reason too
		return credential.Deny(t.Context(), tx, actor, "lost", credential.Targets{Accounts: []citygate.UUID{ann.ID}})
	})
	o.move(61 * time.Minute)
	l.err, l.riders = errors.New("half a page"), nil
	follow()
	denied("2088ann lost", "2088ann provider_list", "2088bob provider_list")
	if n := o.audit.Count(bus, `SELECT failures FROM provider_feeds`); n != 1 {
		t.Errorf("%d failures; want 1", n)
	}

	o.move(11 * time.Minute) // it is asked again sooner than the hour
	l.err, l.riders = nil, []string{"2088bob"}
	follow()
	denied("2088ann lost", "2088bob provider_list")

	o.move(61 * time.Minute)
	l.riders = nil // nobody is refused any more
	follow()
	denied("2088ann lost")
	if n := o.audit.Count(bus, `SELECT items FROM provider_feeds WHERE failures = 0`); n != 0 {
		t.Errorf("%d on the list; want none", n)
	}
}

// A contract that follows a list that its provider has not got says so, and follows the
// lists of others.
func TestListThatIsNotThereIsSaid(t *testing.T) {
	o := open(t)
	l := &lister{}
	o.Products.Replace("listed", func(adapters.Deps) (driver.Provider, error) { return l, nil })
	o.onboard()
	o.in(bus, func(tx *pg.Tx) error {
		err := collect.AddContract(t.Context(), tx, actor, collect.Contract{Name: "a", Adapter: "listed", Config: json.RawMessage(`{"keys_every":"1h"}`)})
		if err == nil {
			err = collect.AddContract(t.Context(), tx, actor, collect.Contract{Name: "b", Adapter: "listed", Config: json.RawMessage(`{"deny_every":"1h"}`)})
		}
		return err
	})
	if err := o.followLists(t.Context(), bus); !errors.Is(err, ErrFeed) || l.asked != 1 {
		t.Errorf("%v, and %d lists were read; want ErrFeed and one", err, l.asked)
	}
}

// A hanging list is given up by its own deadline: what else the tenant has to do with
// providers gets the place it had.
func TestListThatHangsFreesItsPlace(t *testing.T) {
	o := open(t)
	b := collect.NewBulkhead(1, o.now, func(error) {}) // one place for the tenant
	defer b.Stop()
	o.bulkhead = b
	h := &hanging{asked: make(chan struct{})}
	o.Products.Replace("hanging", func(adapters.Deps) (driver.Provider, error) { return h, nil })
	o.onboard()
	o.in(bus, func(tx *pg.Tx) error {
		return collect.AddContract(t.Context(), tx, actor, collect.Contract{Name: "hanging", Adapter: "hanging", Config: json.RawMessage(`{"keys_every":"1h","lists_within":"5s"}`)})
	})
	o.must(o.followLists(t.Context(), bus))
	<-h.asked
	other := func() bool {
		done := make(chan struct{})
		o.must(b.Do(t.Context(), collect.TaskCharges, bus, "other", func(context.Context) error { close(done); return nil }))
		select {
		case <-done:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	}
	o.move(4 * time.Second)
	if other() {
		t.Fatal("the list has its place no more, before its time was over")
	}
	o.move(2 * time.Second)
	for !other() { // the test's own deadline ends this
		<-time.After(10 * time.Millisecond)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM provider_feeds WHERE feed = 'keys' AND failures = 1 AND error LIKE '%adapters.outcome_open%'`); n != 1 {
		t.Errorf("%d rows tell of it", n)
	}
}

// A hanging provider answers nothing.
type hanging struct {
	driver.Provider
	asked chan struct{}
}

func (*hanging) Describe() driver.Description { return driver.Description{Name: "hanging"} }

func (h *hanging) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	close(h.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}
