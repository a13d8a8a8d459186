package adapters

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// An asking driver sends everything to one address, and makes of the answer what it is
// told to.
type asking struct {
	*fake
	t    *testing.T
	at   string
	says func(status int) (driver.Result, error)
}

func (a asking) ask(ctx context.Context, id string) (driver.Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.at, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	got, err := wire.Do(http.DefaultClient, req, wire.CallLimit)
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := a.says(got.Status)
	r.OurID = id
	return r, err
}

func (a asking) Submit(ctx context.Context, d []driver.Debit) ([]driver.Result, error) {
	r, err := a.ask(ctx, d[0].OurID)
	return []driver.Result{r}, err
}

func (a asking) Query(ctx context.Context, r driver.Ref) (driver.Result, error) {
	return a.ask(ctx, r.OurID)
}
func (a asking) Refund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return a.ask(ctx, r.OurID)
}
func (a asking) QueryRefund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return a.ask(ctx, r.OurID)
}

// What a far side says by Retry-After is when the gateway asks again, whatever the
// adapter makes of the answer, and for what is not final alone.
func TestRetryAfterIsHeeded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	later, own, week := noon.Add(90*time.Second), noon.Add(time.Minute), noon.AddDate(0, 0, 7)
	refund := driver.Refund{OurID: "r1", Charge: driver.Ref{OurID: "a", Amount: hkd(100)}, Amount: hkd(100)}
	for name, c := range map[string]struct {
		r    driver.Result
		err  error
		want time.Time
	}{
		"an error":            {err: errors.New("HTTP status 503"), want: later},
		"certainly not done":  {err: driver.ErrNotPerformed, want: later},
		"open":                {want: later},
		"taken":               {r: driver.Result{Outcome: driver.Accepted}, want: later},
		"its own instant":     {r: driver.Result{RetryAt: own}, want: own},
		"a week ahead":        {r: driver.Result{RetryAt: week}, want: week},
		"years ahead":         {r: driver.Result{RetryAt: noon.AddDate(70, 0, 0)}, want: week},
		"final":               {r: driver.Result{Outcome: driver.Succeeded}},
		"final the other way": {r: driver.Result{Outcome: driver.Declined}},
	} {
		p := New(asking{&fake{about: about}, t, server.URL, func(int) (driver.Result, error) { return c.r, c.err }}, still)
		check := func(what string, r driver.Result) {
			if !r.RetryAt.Equal(c.want) {
				t.Errorf("%s: %s says to ask again at %s; want %s", name, what, r.RetryAt, c.want)
			}
		}
		results, err := p.Submit(t.Context(), debits("a"))
		check("Submit", results[0])
		if (err != nil) != (c.err != nil) {
			t.Errorf("%s: %v", name, err)
		}
		r, _ := p.Query(t.Context(), driver.Ref{OurID: "a"})
		check("Query", r)
		refunder, _ := p.Refunder()
		r, _ = refunder.Refund(t.Context(), refund)
		check("Refund", r)
		r, _ = refunder.QueryRefund(t.Context(), refund)
		check("QueryRefund", r)
	}
	open := driver.Result{OurID: "a", RetryAt: later}
	for _, e := range []Event{Lost, Queried} {
		if got := After(Unknown, e, open, about, noon, noon); got != (Action{Query, later}) {
			t.Errorf("after %s: %+v; want a question then", e, got)
		}
	}
	if got := After(Created, NotSent, open, about, noon, noon); got != (Action{Submit, later}) {
		t.Errorf("certainly not sent: %+v; want it sent then", got)
	}
}
