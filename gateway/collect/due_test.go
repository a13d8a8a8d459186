package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func payer(n int) string { return fmt.Sprintf("payer%06d", n) }

func (c *city) provider() *adapters.Provider { return adapters.New(c.box, c.clock.now) }

func TestOneChargePerAccountAndDay(t *testing.T) {
	c := newCity(t)
	for i := range 7 {
		c.claim(metro, ride(10+i, 1, uint32(i), 1, 500))
		c.claim(bus, ride(30+i, 1, uint32(i), 2, 250))
	}
	c.due()
	if len(c.box.Book()) != 0 {
		t.Error("charged before the day was over")
	}
	c.clock.set(closed)
	c.due()
	c.due()
	book := c.box.Book()
	if len(book) != 7 {
		t.Errorf("%d charges, want 7", len(book))
	}
	for i, e := range book {
		if e.Amount.Minor != 750 || e.Rider != payer(i) || len(e.OurID) != 32 {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	c.settled()
}

func TestLimitsCloseEarly(t *testing.T) {
	c := newCity(t)
	c.rules.AmountLimit, c.rules.CountLimit = 1000, 3
	c.claim(metro, ride(1, 1, 1, 1, 999))
	c.claim(metro, ride(2, 1, 2, 1, 1000))
	c.claim(metro, ride(3, 1, 3, 1, 10), ride(4, 1, 3, 2, 10), ride(5, 1, 3, 3, 10))
	c.due()
	c.wantStates("aggregations", "open", "settled", "settled")
	c.claim(metro, ride(6, 1, 3, 4, 10)) // the same day goes on in another aggregation
	c.wantStates("aggregations", "open", "settled", "settled", "open")
	c.clock.set(closed)
	c.due()
	c.settled()
}

func TestNothingToCollectIsNoCharge(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.claim(metro, ride(1, 2, 1, 1, 0))
	c.clock.set(closed)
	c.due()
	c.wantStates("aggregations", "closed_zero")
	c.wantStates("charges")
	c.settled()
}

func TestLostReplyIsFoundByAsking(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{LoseReply: []string{payer(1)}, Unsure: []string{payer(2)}})
	c.claim(metro, ride(1, 1, 1, 1, 500), ride(2, 1, 2, 1, 700), ride(3, 1, 3, 1, 900))
	c.clock.set(closed)
	c.due()
	c.clock.add(time.Hour)
	c.due()
	if n := c.count(); n.UnknownSeen != 2 || n.Succeeded != 3 {
		t.Errorf("counters %+v", n)
	}
	c.settled()
}

func TestOutageSendsNothingAndIsOver(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Outages: []sandbox.Span{{From: closed, Until: closed.Add(time.Hour)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	c.due()
	c.wantStates("charges", "charge created")
	if n := c.count(); n.UnknownSeen != 0 {
		t.Errorf("what was never sent is not unknown: %+v", n)
	}
	c.clock.add(time.Hour)
	c.due()
	c.settled()
}

// The process dies after the intent was committed, before anything was sent.
func TestDeathBeforeTheCall(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	if err := r.closeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantStates("charges", "charge created")
	c.due()
	c.settled()
}

// The process dies between marking the charge and the call, or between the call
// and its outcome; a second process finds the row and must not charge twice.
func TestDeathAroundTheCall(t *testing.T) {
	for _, called := range []bool{false, true} {
		t.Run(fmt.Sprintf("called %v", called), func(t *testing.T) {
			c := newCity(t)
			c.claim(metro, ride(1, 1, 1, 1, 500), ride(2, 1, 2, 1, 600))
			c.clock.set(closed)
			r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
			if err := r.closeDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			var batch []charge
			c.in(func(tx *pg.Tx) (err error) {
				batch, err = takeNext(t.Context(), tx, "box", 10, tx.Now.Add(time.Minute))
				return err
			})
			if called {
				var debits []driver.Debit
				for i := range batch {
					debits = append(debits, batch[i].debit())
				}
				if _, err := c.provider().Submit(t.Context(), debits); err != nil {
					t.Fatal(err)
				}
			}
			c.due() // the lease of the dead process still runs
			c.wantStates("charges", "charge sent", "charge sent")
			c.clock.add(2 * time.Minute)
			c.due()
			if n := c.count(); n.UnknownSeen != 2 || n.Succeeded != 2 {
				t.Errorf("counters %+v", n)
			}
			if len(c.box.Book()) != 2 {
				t.Errorf("the provider has %d entries, want 2", len(c.box.Book()))
			}
			c.settled()
		})
	}
}

// What is sent again is equal byte for byte, although the journey was decided
// again with more taps meanwhile.
func TestResubmissionIsEqual(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	if err := r.closeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	take := func() (d driver.Debit) {
		c.in(func(tx *pg.Tx) error {
			batch, err := takeNext(t.Context(), tx, "box", 10, tx.Now)
			if err == nil && len(batch) == 1 {
				d = batch[0].debit()
			}
			return err
		})
		return d
	}
	first := take()
	c.clock.add(time.Minute)
	two := ride(1, 2, 1, 1, 650)
	two.Taps = append(two.Taps, ride(2, 1, 1, 2, 0).Taps...)
	c.claim(metro, two)
	if n := pgtest.Owner(t, c.DB).Exec(issuer, `UPDATE charges SET state = 'unknown', next_do = 'resubmit' WHERE tenant_id = 1`); n != 1 {
		t.Fatalf("%d charges", n)
	}
	second := take()
	if first.OurID == "" || fmt.Sprintf("%+v", first) != fmt.Sprintf("%+v", second) {
		t.Errorf("sent %+v, then %+v", first, second)
	}
	if len(first.Evidence) != 1 || string(first.Evidence[0]) != "1/1#1" {
		t.Errorf("evidence %q", first.Evidence)
	}
}

func TestRunsAtOnceChargeOnce(t *testing.T) {
	c := newCity(t)
	for i := range 40 {
		c.claim(metro, ride(i, 1, uint32(i), 1, 500))
	}
	c.clock.set(closed)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := c.RunDue(t.Context(), issuer); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.due()
	if n := len(c.box.Book()); n != 40 {
		t.Errorf("%d charges, want 40", n)
	}
	c.settled()
}

func TestDeclineIsADebtUntilItIsPaid(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: closed.Add(30 * time.Hour)}}, {Rider: payer(2)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500), ride(2, 1, 2, 1, 700), ride(3, 1, 3, 1, 900))
	c.clock.set(closed)
	c.due()
	if n := c.count(); n.DebtsOpened != 2 || n.DebtsOpen != 2 || n.Declined != 2 || n.Money["HKD"].Debt != 1200 {
		t.Errorf("counters %+v", n)
	}
	if !c.bank.denied[accountID(1)] || !c.bank.denied[accountID(2)] || c.bank.denied[accountID(3)] {
		t.Errorf("denied %v", c.bank.denied)
	}
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"fee": 5, "uncollected": 1200})
	c.clock.add(25 * time.Hour) // first try: still declined
	c.due()
	if n := c.count(); n.DebtsOpen != 2 {
		t.Errorf("counters %+v", n)
	}
	c.clock.add(25 * time.Hour) // second: one pays
	c.due()
	if n := c.count(); n.DebtsOpen != 1 || n.DebtsRecovered != 1 || n.Money["HKD"].Debt != 700 {
		t.Errorf("counters %+v", n)
	}
	if c.bank.denied[accountID(1)] || !c.bank.denied[accountID(2)] {
		t.Errorf("denied %v", c.bank.denied)
	}
	for range 4 {
		c.clock.add(25 * time.Hour)
		c.due()
	}
	if n := c.count(); n.Declined != 2+1+3 { // the first try of both, and the other's second and third
		t.Errorf("%d declined, want 6: three tries and no more", n.Declined)
	}
	c.in(func(tx *pg.Tx) error {
		n, err := c.RetryDebts(t.Context(), tx, "usr_test", accountID(2))
		if n != 1 {
			t.Errorf("%d debts are due again", n)
		}
		return err
	})
	c.box.SetScript(sandbox.Script{})
	c.due()
	c.passBack()
	c.wantAdvice(metro, map[string]int64{"fee": 5 + 3 + 4, "uncollected": 1200, "recovered": 1200})
	c.settled()
}

func TestContradictionIsAnErrorAndChangesNothing(t *testing.T) {
	c := newCity(t)
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1)}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	c.due()
	id := c.box.Book()[0].OurID
	c.in(func(tx *pg.Tx) error {
		bad, err := c.ResolveByBill(t.Context(), tx, "box", []BillProof{{OurID: id}, {OurID: "nobody"}})
		if len(bad) != 2 || !errors.Is(bad[0], ErrLost) {
			t.Errorf("contradictions %v", bad)
		}
		return err
	})
	c.wantStates("charges", "charge declined")
	c.settled()
}

func TestBillResolvesWhatNobodyKnew(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	if err := r.closeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	var batch []charge
	c.in(func(tx *pg.Tx) (err error) {
		batch, err = takeNext(t.Context(), tx, "box", 10, tx.Now.Add(time.Hour))
		return err
	})
	if _, err := c.provider().Submit(t.Context(), []driver.Debit{batch[0].debit()}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.in(func(tx *pg.Tx) error {
			bad, err := c.ResolveByBill(t.Context(), tx, "box", []BillProof{{OurID: batch[0].OurID, ProviderRef: "B1"}})
			if len(bad) > 0 {
				t.Error(bad)
			}
			return err
		})
	}
	c.in(func(tx *pg.Tx) error {
		all, err := ChargesForBill(t.Context(), tx, "box", morning, closed.Add(time.Hour), "", 0)
		if len(all) != 1 || all[0].State != "succeeded" || all[0].ProviderRef != "B1" || all[0].Fee != 3 {
			t.Errorf("entries %+v", all)
		}
		return err
	})
	c.settled()
}

// Ids that a provider sees follow from who rode when, not from what arrived first.
func TestIDsDoNotDependOnArrival(t *testing.T) {
	var books [2]string
	for turn := range books {
		c := newCity(t)
		order := []uint32{1, 2, 3, 4, 5}
		if turn == 1 {
			order = []uint32{4, 1, 5, 3, 2}
		}
		for _, r := range order {
			c.claim(metro, ride(int(r), 1, r, 1, int64(100*r)))
		}
		c.clock.set(closed)
		c.due()
		books[turn] = fmt.Sprint(c.box.Book())
	}
	if books[0] != books[1] {
		t.Errorf("two orders of arrival gave\n%s\n%s", books[0], books[1])
	}
}

func TestContractTermsDoNotChange(t *testing.T) {
	c := newCity(t)
	c.in(func(tx *pg.Tx) error {
		if err := AddContract(t.Context(), tx, "test", Contract{Name: "box", Adapter: "sandbox", FeePPM: feePPM}); err != nil {
			t.Error(err)
		}
		if err := AddContract(t.Context(), tx, "test", Contract{Name: "box", Adapter: "sandbox", FeePPM: 1}); !errors.Is(err, ErrContract) {
			t.Errorf("got %v, want %v", err, ErrContract)
		}
		return nil
	})
}

func namesTenant(sql string) bool { return strings.Contains(sql, "tenant_id") }

// playedStatements plays a bit of everything and gives the statements seen.
func playedStatements(t *testing.T) []string {
	var mu sync.Mutex
	seen := map[string]bool{}
	c := newCity(t, pgtest.WithStatements(func(sql string) { mu.Lock(); seen[sql] = true; mu.Unlock() }))
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: closed.Add(time.Hour)}}}, LoseReply: []string{payer(2)}})
	c.claim(metro, ride(1, 1, 1, 1, 500), ride(2, 1, 2, 1, 700), ride(3, 1, 1, 1, 5))
	c.clock.set(closed)
	c.due()
	c.claim(metro, ride(1, 2, 1, 1, 400), ride(2, 2, 2, 1, 600))
	c.passBack()
	c.clock.add(25 * time.Hour)
	c.due()
	c.release()
	c.settled()
	if got := c.net(ledger.PrefixUncollected); got != 0 {
		t.Errorf("uncollected %d", got)
	}
	var out []string
	for sql := range seen {
		out = append(out, sql)
	}
	if len(out) < 30 {
		t.Errorf("only %d statements were seen", len(out))
	}
	return out
}

// release releases whatever is not held.
func (c *city) release(held ...citygate.UUID) {
	c.t.Helper()
	var ids []citygate.UUID
	c.in(func(tx *pg.Tx) (err error) { ids, err = Unreleased(c.t.Context(), tx); return err })
	var free []citygate.UUID
	for _, id := range ids {
		if len(held) == 0 || id != held[0] {
			free = append(free, id)
		}
	}
	if err := c.Release(c.t.Context(), issuer, free); err != nil {
		c.t.Fatal(err)
	}
}

func (c *city) chargeIDs() (ids []citygate.UUID) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) (err error) { ids, err = Unreleased(c.t.Context(), tx); return err })
	return ids
}

// takeNext takes the next charges due to be sent, as a run would before it dies.
func takeNext(ctx context.Context, tx *pg.Tx, contract string, limit int, lease time.Time) ([]charge, error) {
	due, err := dueToSend(ctx, tx, contract)
	if err != nil {
		return nil, err
	}
	return takeToSend(ctx, tx, due[:min(limit, len(due))], lease)
}
