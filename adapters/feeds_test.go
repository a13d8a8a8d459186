package adapters_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

func TestFollowingIsRead(t *testing.T) {
	for config, want := range map[string]adapters.Following{
		`{}`: {Scheme: "opaque", Owner: "alipay", Lists: time.Minute, Bills: 10 * time.Minute},
		`[]`: {Scheme: "opaque", Owner: "alipay", Lists: time.Minute, Bills: 10 * time.Minute},
		`{"deny_every":"90m","keys_every":"1h","keys_scheme":"mot-sm2","keys_kind":"root_ca","lists_within":"5s","bills_within":"1h"}`: {
			Deny: 90 * time.Minute, Keys: time.Hour, Scheme: "mot-sm2", Kind: "root_ca", Lists: 5 * time.Second, Bills: time.Hour},
	} {
		if got, err := adapters.FollowingOf("alipay", json.RawMessage(config)); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", config, got, err, want)
		}
	}
	for _, config := range []string{`{"deny_every":"soon"}`, `{"deny_every":"59s"}`, `{"keys_every":"-1h"}`, `{"lists_within":"999ms"}`, `{"bills_within":"61m"}`, `{"keys_scheme":"Opaque"}`} {
		if _, err := adapters.FollowingOf("alipay", json.RawMessage(config)); !errors.Is(err, adapters.ErrFeeds) {
			t.Errorf("%s: %v; want ErrFeeds", config, err)
		}
	}
}

// A slow provider gives nothing until its context ends.
type slow struct{ driver.Provider }

func (slow) Describe() driver.Description { return driver.Description{Name: "slow"} }

func (slow) PullDeny(ctx context.Context) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }

func (slow) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (slow) FetchBill(ctx context.Context, _ citygate.Date) (driver.Bill, error) {
	<-ctx.Done()
	return driver.Bill{}, ctx.Err()
}

func (slow) ParseBill(driver.Bill) ([]driver.BillLine, error) { return nil, nil }

func (slow) BillDay(time.Time) citygate.Date { return citygate.Date{} }

// Lists and bills have deadlines of their own, which the contract names.
func TestListsAndBillsHaveDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := adapters.Set{"slow": {Open: func(adapters.Deps) (driver.Provider, error) { return slow{}, nil }}}
		p, err := set.Open("slow", adapters.Deps{Clock: time.Now, Config: json.RawMessage(`{"lists_within":"7s","bills_within":"2m"}`)})
		if err != nil {
			t.Fatal(err)
		}
		deny, _ := p.DenyFeed()
		keys, _ := p.KeyFeed()
		bills, _ := p.Biller()
		for what, c := range map[string]struct {
			do   func(context.Context) error
			want time.Duration
		}{
			"riders": {func(ctx context.Context) error { _, err := deny.PullDeny(ctx); return err }, 7 * time.Second},
			"keys":   {func(ctx context.Context) error { _, err := keys.PullKeys(ctx); return err }, 7 * time.Second},
			"a bill": {func(ctx context.Context) error { _, err := bills.FetchBill(ctx, citygate.Date{}); return err }, 2 * time.Minute},
		} {
			begun := time.Now()
			err := c.do(t.Context())
			if took := time.Since(begun); !errors.Is(err, adapters.ErrOpen) || !errors.Is(err, context.DeadlineExceeded) || took < c.want || took > c.want+time.Second {
				t.Errorf("%s: given up after %s by %v; want after %s", what, took, err, c.want)
			}
		}
	})
}
