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

func TestFeedTimesAreChecked(t *testing.T) {
	for config, want := range map[string]time.Duration{`{}`: 0, `{"deny_every":""}`: 0, `{"deny_every":"90m"}`: 90 * time.Minute, `[]`: 0} {
		if got, err := denyEvery(collect.Contract{Config: json.RawMessage(config)}); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", config, got, err, want)
		}
	}
	for _, config := range []string{`{"deny_every":"soon"}`, `{"deny_every":"59s"}`, `{"deny_every":"-1h"}`} {
		if _, err := denyEvery(collect.Contract{Config: json.RawMessage(config)}); !errors.Is(err, ErrFeed) {
			t.Errorf("%s: %v; want ErrFeed", config, err)
		}
	}
}
