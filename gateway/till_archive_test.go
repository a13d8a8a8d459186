package gateway

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/gateway/archive"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// A shop that moves to another gateway, with its keys, takes its payments along as they
// stand: cleared and not, declined, taken back, waiting for a PIN, with a refund whose
// answer was lost. Over there nothing is charged or given back twice, what was open
// is finished, and the shop is paid out what it is owed.
func TestPaymentsAtATillMoveToAnotherGateway(t *testing.T) {
	var store keyStore
	c := counterIn(openWith(t, func(o *office) keyStore {
		store = localStore(o)
		return store
	}), alipaysim.Faults{RetryAfter: 20 * time.Second})
	giveBack := func(at *counter, p edge.TillPayment, minor int64) {
		t.Helper()
		at.send(http.MethodPost, busPath("till-payments/"+p.ID+"/refunds"), map[string]any{"name": "one tea", "amount_minor": minor, "reason": "cold"}, nil)
	}
	cleared := c.pay("R-1", 2000)
	giveBack(c, cleared, 500)
	c.until("paid out", func() bool { return len(list[edge.Payout](c.office, "payouts")) > 0 })
	uncleared := c.pay("R-2", 700)
	c.sim.ArmNext(alipaysim.ArmDecline)
	declined := c.pay("R-3", 800)
	c.sim.ArmNext(alipaysim.ArmWait)
	gone := c.pay("R-4", 900)
	c.send(http.MethodPost, busPath("till-payments/"+gone.ID+"/cancel"), map[string]any{"reason": "he left"}, nil)
	c.sim.ArmNext(alipaysim.ArmWait)
	pin := c.pay("R-5", 1100)
	c.sim.ArmNext(alipaysim.ArmLose) // the money goes back, and nobody hears of it
	c.line.next("", "lost", "lost")
	giveBack(c, uncleared, 200)
	c.settleDown()
	c.line.next()
	if p := c.find(uncleared.ID); p.Refunded.Minor != 200 || p.Returned.Minor != 0 {
		t.Fatalf("the refund is not open: %+v", p)
	}
	states := map[string]edge.TillPayment{"paid": uncleared, "declined": declined, "closed": gone, "paying": pin}
	for state, p := range states {
		c.want("before", p, state)
	}

	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	c.must(err)
	defer func() { _ = root.Close() }()
	_, err = archive.Exporter{DB: c.DB, Tenants: c.Tenants, Ring: c.Ring, PayoutFiles: c.Files.FS(), Clock: c.now}.Export(t.Context(), root, bus)
	c.must(err)
	there := &counter{office: openWith(t, func(*office) keyStore { return store }), sim: c.sim, line: c.line, told: 50}
	there.HTTP = c.line
	there.micro.Store(c.micro.Load())
	_, err = archive.Import(t.Context(), there.DB, there.Tenants, actor, os.DirFS(dir))
	c.must(err)
	there.booksHold()
	unchanged(t, "the way through an export", c.rows("device_challenges"), there.rows("device_challenges"))
	if a, b := asJSON(t, c.balances()), asJSON(t, there.balances()); a != b {
		t.Errorf("balances %s, elsewhere %s", a, b)
	}
	for state, p := range states {
		there.want("elsewhere", p, state)
	}

	orders := len(c.sim.Book())
	if again := there.pay("R-2", 700); again.ID != uncleared.ID || len(c.sim.Book()) != orders {
		t.Errorf("the same order elsewhere is %+v, and the platform has %d orders; it had %d", again, len(c.sim.Book()), orders)
	}
	giveBack(there, uncleared, 200)
	for range 6 { // he types his PIN
		c.move(5 * time.Second)
		there.move(5 * time.Second)
		there.must(there.Till.RunDue(t.Context(), bus))
	}
	there.want("confirmed after the move", pin, "paid")
	before := len(list[edge.Payout](there.office, "payouts"))
	for range 24 {
		c.move(3 * time.Hour) // which is the platform's clock
		there.move(3 * time.Hour)
		there.settleDown()
		if len(list[edge.Payout](there.office, "payouts")) > before {
			break
		}
	}
	if p := there.find(uncleared.ID); p.Returned.Minor != 200 || len(p.Refunds) != 1 {
		t.Errorf("the refund that was under way: %+v", p)
	}
	var given int64
	for _, e := range c.sim.Book() {
		for _, r := range e.Refunds {
			given += r.Amount.Minor
		}
	}
	if given != 500+200 {
		t.Errorf("the platform has given %d back", given)
	}
	var paid int64
	for _, p := range list[edge.Payout](there.office, "payouts") {
		paid += p.Amount.Minor
	}
	if want := int64(2000 - 12 - 500 + 700 - 4 - 200 + 1100 - 7); paid != want {
		t.Errorf("paid out %d on both sides of the move; want %d", paid, want)
	}
	if items := list[edge.ReconItem](there.office, "reconciliation"); len(items) != 0 {
		t.Errorf("open reconciliation items: %+v", items)
	}
	there.booksHold()
}
