package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// asTaken does something while a transaction that takes all of a payment back is open: that
// is committed once the other is done, or waits for it.
func (c *counter) asTaken(p edge.TillPayment, do func()) {
	c.t.Helper()
	taken, commit, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	var both sync.WaitGroup
	both.Go(func() {
		if err := c.DB.InTenant(c.t.Context(), bus, func(tx *pg.Tx) error {
			defer func() { <-commit }()
			defer once.Do(func() { close(taken) })
			return c.Collector.ReverseByBill(c.t.Context(), tx, collect.Reversal{Contract: p.Contract, Reference: "CB-1", Charge: p.OurID, Amount: p.Amount})
		}); err != nil {
			c.t.Error(err)
		}
	})
	<-taken
	both.Go(func() {
		defer close(done)
		do()
	})
	select {
	case <-done:
	case <-time.After(time.Second):
	}
	close(commit)
	both.Wait()
}

// The provider declines a refund in the moment in which the bank takes the payment back:
// the payment held that money, so the shop bears it, and nothing is claimed.
func TestARefundIsDeclinedAsItsPaymentIsTaken(t *testing.T) {
	c, how := counterWhere(t)
	tea := c.pay("R-1", 2000)
	c.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "a part", "amount_minor": 500, "reason": "cold"}, nil)
	how.Store(declined)
	c.asTaken(tea, func() {
		if err := c.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
	c.settleDown()
	if n := len(list[edge.Refund](c.office, "refunds?state=declined")); n != 1 {
		t.Fatalf("%d refunds are declined", n)
	}
	if claimed := c.balances()[ledger.Suspense("alipay")]; claimed != 0 || c.owes() != -12 {
		t.Errorf("%d are claimed, and the shop is owed %d", claimed, c.owes())
	}
	c.booksHold()
}

// Somebody has a declined refund tried again in that moment: the customer has the money by
// what was taken, and does not get it twice.
func TestARefundIsTriedAgainAsItsPaymentIsTaken(t *testing.T) {
	c, how := counterWhere(t)
	tea := c.pay("R-1", 2000)
	c.send(http.MethodPost, busPath("till-payments/"+tea.ID+"/refunds"), map[string]any{"name": "a part", "amount_minor": 500, "reason": "cold"}, nil)
	how.Store(declined)
	c.settleDown()
	no := list[edge.Refund](c.office, "refunds?state=declined")
	if len(no) != 1 {
		t.Fatalf("declined: %+v", no)
	}
	how.Store(asEver)
	var got *httptest.ResponseRecorder
	c.asTaken(tea, func() { got = c.ask(http.MethodPost, busPath("refunds/"+no[0].ID+"/retry"), "", nil) })
	c.settleDown()
	if got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "collect.taken_back") {
		t.Errorf("tried again: %d %s", got.Code, got.Body)
	}
	if p := c.find(tea.ID); p.Returned.Minor != 0 || c.balances()[ledger.Suspense("alipay")] != 0 || c.owes() != -12 {
		t.Errorf("%+v, the shop is owed %d: %v", p, c.owes(), c.balances())
	}
	c.booksHold()
}
