package adapters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// fake answers what a test tells it to.
type fake struct {
	about  driver.Description
	submit func(context.Context, []driver.Debit) ([]driver.Result, error)
	query  driver.Result
	calls  int
}

func (f *fake) Describe() driver.Description { return f.about }

func (f *fake) Submit(ctx context.Context, d []driver.Debit) ([]driver.Result, error) {
	f.calls++
	return f.submit(ctx, d)
}

func (f *fake) Query(context.Context, driver.Ref) (driver.Result, error) { return f.query, nil }

type fakeRefunder struct{ *fake }

func (f fakeRefunder) Refund(_ context.Context, r driver.Refund) (driver.Result, error) {
	return driver.Result{OurID: r.OurID, Outcome: driver.Succeeded}, nil
}

func (f fakeRefunder) QueryRefund(context.Context, driver.Refund) (driver.Result, error) {
	return driver.Result{OurID: "another", Outcome: driver.Succeeded}, nil
}

var (
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	still = citygate.Clock(func() time.Time { return noon })
	about = driver.Description{Name: "fake", Currencies: []citygate.Currency{"HKD"}, BatchMax: 2, IDMax: 8}
)

func hkd(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "HKD"} }

func debits(ids ...string) (all []driver.Debit) {
	for _, id := range ids {
		all = append(all, driver.Debit{OurID: id, Amount: hkd(100)})
	}
	return all
}

// A provider that does not keep the contract is not believed.
func TestLyingProviderMakesTheOutcomeUnknown(t *testing.T) {
	ok := driver.Succeeded
	for name, answer := range map[string][]driver.Result{
		"too few":      {{OurID: "a", Outcome: ok}},
		"too many":     {{OurID: "a", Outcome: ok}, {OurID: "b", Outcome: ok}, {OurID: "c", Outcome: ok}},
		"other order":  {{OurID: "b", Outcome: ok}, {OurID: "a", Outcome: ok}},
		"other amount": {{OurID: "a", Outcome: ok, Amount: hkd(99)}, {OurID: "b", Outcome: driver.Declined, Amount: citygate.Money{Minor: 100, Currency: "CNY"}}},
		"other word":   {{OurID: "a", Outcome: "ok"}, {OurID: "b", Outcome: "SUCCESS"}},
		"none":         nil,
	} {
		f := &fake{about: about, submit: func(context.Context, []driver.Debit) ([]driver.Result, error) { return answer, nil }}
		results, err := New(f, still).Submit(t.Context(), debits("a", "b"))
		if Certain(err) {
			t.Errorf("%s: err = %v, which claims certainty", name, err)
		}
		if len(results) != 2 || results[0].OurID != "a" || results[1].OurID != "b" {
			t.Fatalf("%s: results %+v; want one for each debit, in order", name, results)
		}
		for _, r := range results {
			if r.Outcome != driver.Unknown {
				t.Errorf("%s: %s is %q; want unknown", name, r.OurID, r.Outcome)
			}
		}
	}
}

func TestHonestAnswersComeThrough(t *testing.T) {
	f := &fake{about: about, submit: func(_ context.Context, d []driver.Debit) ([]driver.Result, error) {
		return []driver.Result{{OurID: d[0].OurID, Outcome: driver.Succeeded, Amount: hkd(100)}, {OurID: d[1].OurID, Outcome: driver.Declined}}, nil
	}}
	results, err := New(f, still).Submit(t.Context(), debits("a", "b"))
	if err != nil || results[0].Outcome != driver.Succeeded || results[1].Outcome != driver.Declined {
		t.Errorf("results %+v, %v", results, err)
	}
	f.query = driver.Result{OurID: "another", Outcome: driver.Declined}
	if r, err := New(f, still).Query(t.Context(), driver.Ref{OurID: "a"}); err != nil || r.Outcome != driver.Unknown {
		t.Errorf("an answer about another id: %+v, %v; want unknown", r, err)
	}
}

func TestWhatTheProviderCannotTakeIsNotSent(t *testing.T) {
	f := &fake{about: about}
	p := New(f, still)
	foreign := debits("a")
	foreign[0].Amount.Currency = "CNY"
	free := debits("a")
	free[0].Amount.Minor = 0
	for name, c := range map[string]struct {
		debits []driver.Debit
		want   error
	}{
		"batch too large":      {debits("a", "b", "c"), ErrBatchTooLarge},
		"id too long":          {debits("a12345678"), ErrInvalid},
		"no id":                {debits(""), ErrInvalid},
		"id with a dash":       {debits("a-b"), ErrInvalid},
		"one id twice":         {debits("a", "a"), ErrInvalid},
		"nothing to pay":       {free, ErrInvalid},
		"currency_unsupported": {foreign, ErrCurrencyUnsupported},
	} {
		if _, err := p.Submit(t.Context(), c.debits); !errors.Is(err, c.want) || !Certain(err) {
			t.Errorf("%s: err = %v; want %v, certain", name, err, c.want)
		}
	}
	if f.calls != 0 {
		t.Errorf("the driver was called %d times", f.calls)
	}
	if results, err := p.Submit(t.Context(), nil); err != nil || len(results) != 0 || f.calls != 0 {
		t.Errorf("no debits: %v, %v", results, err)
	}
}

func TestErrorsAreSortedByCertainty(t *testing.T) {
	for _, c := range []struct {
		give error
		want error
		sure bool
	}{
		{fmt.Errorf("dial: %w", driver.ErrNotPerformed), ErrNotSent, true},
		{driver.ErrCurrencyUnsupported, ErrCurrencyUnsupported, true},
		{fmt.Errorf("today: %w", driver.ErrBillNotReady), ErrBillNotReady, false},
		{errors.New("connection reset"), ErrOpen, false},
		{context.DeadlineExceeded, ErrOpen, false},
	} {
		f := &fake{about: about, submit: func(context.Context, []driver.Debit) ([]driver.Result, error) {
			return []driver.Result{{OurID: "a", Outcome: driver.Succeeded}}, c.give
		}}
		results, err := New(f, still).Submit(t.Context(), debits("a"))
		if !errors.Is(err, c.want) || !errors.Is(err, c.give) || Certain(err) != c.sure {
			t.Errorf("%v became %v", c.give, err)
		}
		if results[0].Outcome != driver.Unknown {
			t.Errorf("%v: the result beside an error is %q; want unknown", c.give, results[0].Outcome)
		}
	}
}

// A driver that panics leaves the outcome open, and says where it was: not with what,
// which may be a rider's or a secret.
func TestAPanicLeavesTheOutcomeOpen(t *testing.T) {
	const secret = "sk_live_1"
	var none []string
	for _, fault := range []func(){func() { panic(secret) }, func() { _ = none[len(none)] }} {
		f := &fake{about: about, submit: func(context.Context, []driver.Debit) ([]driver.Result, error) { fault(); return nil, nil }}
		results, err := New(f, still).Submit(t.Context(), debits("a", "b"))
		if !errors.Is(err, ErrOpen) || Certain(err) || len(results) != 2 || results[0].Outcome != driver.Unknown || results[1].OurID != "b" {
			t.Fatalf("%v, %v", results, err)
		}
		if text := err.Error(); strings.Contains(text, secret) || !strings.Contains(text, "provider_test.go:") {
			t.Errorf("the error says %q", text)
		}
	}
	r, ok := New(fakeRefunder{&fake{about: about}}, still).Refunder()
	if !ok {
		t.Fatal("no refunder")
	}
	r.d = panics{}
	if got, err := r.Refund(t.Context(), driver.Refund{OurID: "r", Charge: driver.Ref{OurID: "a"}, Amount: hkd(1)}); !errors.Is(err, ErrOpen) || got.Outcome != driver.Unknown {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := (Set{"fake": {Open: func(Deps) (driver.Provider, error) { panic("at once") }}}).Open("fake", Deps{Clock: still}); err == nil {
		t.Error("a driver that panics when it is made is open")
	}
}

type panics struct{}

func (panics) Refund(context.Context, driver.Refund) (driver.Result, error) {
	panic(errors.New("refund"))
}

func (panics) QueryRefund(context.Context, driver.Refund) (driver.Result, error) {
	panic(errors.New("query"))
}

// The deadline runs on the injected clock: it ends a call when that clock has
// passed it, and a clock that stands still ends nothing.
func TestDeadlineRunsOnTheInjectedClock(t *testing.T) {
	var now atomic.Int64
	clock := func() time.Time { return noon.Add(time.Duration(now.Load())) }
	withDeadline := about
	withDeadline.Deadline = 10 * time.Millisecond
	entered := make(chan struct{}, 1)
	f := &fake{about: withDeadline, submit: func(ctx context.Context, d []driver.Debit) ([]driver.Result, error) {
		entered <- struct{}{}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(60 * time.Millisecond):
			return []driver.Result{{OurID: d[0].OurID, Outcome: driver.Succeeded}}, nil
		}
	}}
	p := New(f, clock)
	if results, err := p.Submit(t.Context(), debits("a")); err != nil || results[0].Outcome != driver.Succeeded {
		t.Errorf("with a clock that stands still: %+v, %v", results, err)
	}
	<-entered
	go func() { <-entered; now.Store(int64(time.Second)) }()
	_, err := p.Submit(t.Context(), debits("a"))
	if !errors.Is(err, ErrOpen) || !errors.Is(err, context.DeadlineExceeded) || Certain(err) {
		t.Errorf("after the deadline: %v; want ErrOpen by DeadlineExceeded", err)
	}
}

func TestAbilitiesAreFoundOnTheDriver(t *testing.T) {
	plain := New(&fake{about: about}, still)
	if _, ok := plain.Refunder(); ok {
		t.Error("a driver without refunds got them")
	}
	if _, ok := plain.Biller(); ok {
		t.Error("a driver without bills got them")
	}
	able, ok := New(fakeRefunder{&fake{about: about}}, still).Refunder()
	if !ok {
		t.Fatal("the refunds of the driver were lost")
	}
	refund := driver.Refund{OurID: "r", Charge: driver.Ref{OurID: "a", Amount: hkd(100)}, Amount: hkd(100)}
	if r, err := able.Refund(t.Context(), refund); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Refund = %+v, %v", r, err)
	}
	if r, err := able.QueryRefund(t.Context(), refund); err != nil || r.Outcome != driver.Unknown {
		t.Errorf("an answer about another refund: %+v, %v; want unknown", r, err)
	}
	refund.Amount = hkd(101)
	if _, err := able.Refund(t.Context(), refund); !errors.Is(err, ErrInvalid) {
		t.Errorf("a refund of more than was charged: %v; want ErrInvalid", err)
	}
}

func TestSetOpensWhatItKnows(t *testing.T) {
	set := Set{"tool": {Name: "tool"}}
	set.Replace("fake", func(d Deps) (driver.Provider, error) {
		if string(d.Config) != "{}" {
			return nil, errors.New("no such configuration")
		}
		return &fake{about: about}, nil
	})
	deps := Deps{Config: json.RawMessage("{}"), Clock: still}
	if p, err := set.Open("fake", deps); err != nil || p.Describe().Name != "fake" {
		t.Errorf("Open = %v, %v", p, err)
	}
	if _, err := set.Open("fame", deps); !errors.Is(err, ErrUnknownProduct) || !strings.Contains(err.Error(), "fake") {
		t.Errorf("err = %v; want ErrUnknownProduct that names fake", err)
	}
	if _, err := set.Open("tool", deps); !errors.Is(err, ErrUnknownProduct) || strings.Contains(err.Error(), "are tool") {
		t.Errorf("a product that no contract can be of: %v", err)
	}
	if _, err := set.Open("fake", Deps{}); err == nil {
		t.Error("opened without a clock")
	}
}

// A recovery that the product does not know as such, or that names no decline it could
// be of, is not sent as one.
func TestARecoveryIsOfAWayThatTheProductKnows(t *testing.T) {
	hkd := func(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "HKD"} }
	d := new(fake)
	d.about = driver.Description{Name: "fake", BatchMax: 1, IDMax: 64, Limits: driver.Limits{Recoveries: driver.Recoveries{ByRider: true}}}
	p := New(d, still)
	of := driver.Ref{OurID: "declined", Amount: hkd(470)}
	for _, c := range []struct {
		way    driver.Recovery
		of     driver.Ref
		amount int64
		taken  bool
	}{{driver.RecoverByRider, of, 470, true}, {driver.RecoverByTap, of, 470, false}, {driver.RecoverByRider, of, 471, false}, {driver.RecoverByRider, driver.Ref{}, 470, false}, {"", driver.Ref{}, 470, true}} {
		err := p.Check(driver.Debit{OurID: "again", Amount: hkd(c.amount), Recovery: c.way, Recovers: c.of})
		if (err == nil) != c.taken || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("a recovery by %q of %d: %v", c.way, c.amount, err)
		}
	}
}
