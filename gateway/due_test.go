package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/jobs"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A moody provider is the sandbox, but for its bills.
type moody struct {
	driver.Provider
	driver.Refunder
	driver.Biller
	away  atomic.Bool // nobody answers
	empty atomic.Bool // bills have no rows
}

var errAway = errors.New("the provider is away")

func (m *moody) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	if m.away.Load() {
		return driver.Bill{}, errAway
	}
	return m.Biller.FetchBill(ctx, day)
}

func (m *moody) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	lines, err := m.Biller.ParseBill(bill)
	if m.empty.Load() {
		lines = nil
	}
	return lines, err
}

// moodily puts a moody provider in the sandbox's place.
func (o *office) moodily() *moody {
	m := &moody{}
	var open adapters.Constructor
	open = o.Products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := open(d)
		if err != nil {
			return nil, err
		}
		m.Provider, m.Refunder, m.Biller = p, p.(driver.Refunder), p.(driver.Biller)
		return m, nil
	})
	return m
}

// listSeq gives the newest version of the issuer's deny lists.
func (o *office) listSeq() (seq uint32) {
	o.t.Helper()
	var heads struct {
		Lists []edge.ListHead `json:"lists"`
	}
	o.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", issuer), nil, &heads)
	for _, l := range heads.Lists {
		seq = max(seq, l.Seq)
	}
	return seq
}

// A provider that is away holds up its own bills and nothing else: payees get the
// money that is here, and validators the riders that were denied.
func TestFailingStepKeepsNoOtherFromItsWork(t *testing.T) {
	o := open(t)
	m := o.moodily()
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	first := o.board(v, credential, "phone")
	o.upload(first)
	b, err := tap.ParseBatch(first)
	o.must(err)
	o.must(v.Ack(b.Hash))
	o.until("collected", func() bool { return len(list[edge.Charge](o, "charges")) == 1 })
	if got := o.upload(o.board(v, o.credential("watch"), "watch")); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("the second ride: %v", got)
	}
	o.until("cleared", func() bool { return len(o.audit.Rows(0, `SELECT 1 FROM receipts WHERE kind = 'cleared'`)) == 1 })
	if len(list[edge.Charge](o, "charges")) != 2 || len(list[edge.Payout](o, "payouts")) != 0 {
		t.Fatal("the second charge is not made, or the first one is paid out already")
	}
	m.away.Store(true)
	before := o.listSeq()
	for _, j := range list[edge.Journey](o, "journeys") {
		var of, listed, index int
		_, err := fmt.Sscanf(j.Rider, "%d/%d/%d", &of, &listed, &index)
		o.must(err)
		o.send(http.MethodPost, busPath("denials"), map[string]any{"list": listed, "index": index, "reason": "lost"}, nil)
	}
	o.move(18 * time.Hour) // the bill of the second charge and the payout of the first are both due
	o.must(o.Tick(t.Context()))
	if err := o.Drain(t.Context()); !errors.Is(err, jobs.ErrFailed) {
		t.Fatalf("draining: %v; want the provider to be missed", err)
	}
	if got := o.listSeq(); got <= before {
		t.Errorf("the deny list is still version %d", got)
	}
	if n := len(list[edge.Payout](o, "payouts")); n != 1 {
		t.Errorf("%d payouts; want the one that was due", n)
	}
}

// However often the gateway is woken, one job waits for a tenant, unless it does
// not come: then whoever was to do it may have died.
func TestTickAsksOnceForWhatWaits(t *testing.T) {
	o := open(t)
	o.onboard()
	o.settleDown()
	other, err := New(t.Context(), o.Config) // another process, which works no jobs
	o.must(err)
	defer func() { o.must(other.Close(context.Background())) }()
	asked := func() (n int) {
		conn, err := pgx.Connect(t.Context(), o.JobsURL)
		o.must(err)
		defer func() { o.must(conn.Close(context.Background())) }()
		o.must(conn.QueryRow(t.Context(), `SELECT count(*) FROM river.river_job WHERE args ->> 'name' = 'due'`).Scan(&n))
		return n
	}
	before := asked()
	for range 3 {
		o.must(other.Tick(t.Context()))
	}
	if got := asked() - before; got != 1 {
		t.Errorf("three wakings asked for %d jobs; want 1", got)
	}
	o.must(o.Drain(t.Context()))
	o.move(askAgain - time.Microsecond)
	o.must(other.Tick(t.Context()))
	o.move(time.Microsecond)
	o.must(other.Tick(t.Context()))
	o.must(other.Tick(t.Context()))
	if got := asked() - before; got != 2 {
		t.Errorf("after %s there were %d jobs; want 2", askAgain, got)
	}
	o.must(o.Drain(t.Context()))
	for range 2 { // whoever sees the job done asks again at once
		o.settleDown()
	}
	if got := asked() - before; got != 4 {
		t.Errorf("with the work done there were %d jobs; want 4", got)
	}
	o.move(-time.Hour) // a clock that was set back holds nothing up
	o.must(other.Tick(t.Context()))
	if got := asked() - before; got != 5 {
		t.Errorf("with the clock set back there were %d jobs; want 5", got)
	}
	o.must(o.Drain(t.Context()))
}

// A charge that no bill has is held until a person decides; then its operator is
// paid, and the books say who owes what.
func TestDecidedExceptionLetsTheMoneyGo(t *testing.T) {
	o := open(t)
	m := o.moodily()
	m.empty.Store(true)
	o.onboard()
	credential := o.credential("phone")
	o.upload(o.board(o.validator(), credential, "phone"))
	o.settleDown()
	o.until("missed", func() bool { return len(list[edge.ReconItem](o, "reconciliation")) == 1 })
	item := list[edge.ReconItem](o, "reconciliation")[0]
	if item.Kind != "missing_provider" || item.Diff != -price || item.Currency != "CNY" {
		t.Errorf("the exception: %+v", item)
	}
	o.booksHold()
	for range 24 {
		o.move(3 * time.Hour)
		o.settleDown()
	}
	if n := len(list[edge.Payout](o, "payouts")); n != 0 {
		t.Fatalf("%d payouts of money that is held", n)
	}
	const fee = 3
	o.send(http.MethodPost, busPath("reconciliation/"+url.PathEscape(item.Item)+"/resolve"),
		edge.ResolveRecon{Contract: item.Contract, Resolution: "accept_ours", Reason: "the provider pays with its next bill"}, nil)
	o.booksHold()
	if open := list[edge.ReconItem](o, "reconciliation"); len(open) != 0 {
		t.Errorf("still open: %+v", open)
	}
	resolved := list[edge.ReconItem](o, "reconciliation?state=resolved")
	if len(resolved) != 1 || resolved[0].Resolution != "accept_ours" || resolved[0].Reason == "" {
		t.Errorf("resolved: %+v", resolved)
	}
	if _, next := page[edge.ReconItem](o, "reconciliation?state=resolved&limit=1"); next != "" {
		t.Errorf("behind the last one there is another page: %s", next)
	}
	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) == 1 })
	o.booksHold()
	want := map[string]int64{ledger.Suspense("sandbox"): price - fee, ledger.Bank(): -(price - fee)}
	if got := o.balances(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("in the end there is %v; want %v", got, want)
	}
}
