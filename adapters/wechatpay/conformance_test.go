package wechatpay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"sort"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/simserve"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// harness lets the kit play with the simulator.
type harness struct {
	*world
	given driver.Provider
}

func (h *harness) Provider() driver.Provider                 { return h.given }
func (h *harness) Debit(id string, minor int64) driver.Debit { return h.debit(id, minor) }
func (h *harness) LoseNextReply()                            { h.sim.ArmNext(wechatpaysim.ArmLose) }
func (h *harness) DropNext()                                 { h.sim.ArmNext(simserve.Drop) }

func (h *harness) ShedNext() time.Duration {
	h.sim.ArmNext(simserve.Shed)
	return simserve.ShedFor
}

func (h *harness) DieNext()     { h.sim.ArmNext(wechatpaysim.ArmDie) }
func (h *harness) DelayNext()   { h.sim.ArmNext(wechatpaysim.ArmDelay) }
func (h *harness) GarbleNext()  { h.sim.ArmNext(wechatpaysim.ArmGarble) }
func (h *harness) DeclineNext() { h.sim.ArmNext(wechatpaysim.ArmDecline) }
func (h *harness) PartialNext() {} // one debit a call
func (h *harness) BusyNext()    { h.sim.ArmNext(wechatpaysim.ArmBusy) }

// Moved reads the platform's own book, in the order in which it acted.
func (h *harness) Moved() []drivertest.Move {
	type move struct {
		seq int
		drivertest.Move
	}
	var moves []move
	for _, o := range h.sim.Book() {
		if o.Paid {
			moves = append(moves, move{o.Seq, drivertest.Move{OurID: o.OutTradeNo, Amount: o.Amount}})
		}
		for _, r := range o.Refunds {
			moves = append(moves, move{r.Seq, drivertest.Move{OurID: r.OutRefundNo, Refund: true, Amount: r.Amount}})
		}
	}
	sort.Slice(moves, func(i, j int) bool { return moves[i].seq < moves[j].seq })
	var list []drivertest.Move
	for _, m := range moves {
		list = append(list, m.Move)
	}
	return list
}

func (h *harness) EndDay() citygate.Date {
	day := citygate.DateOf(start.In(time.FixedZone("", 8*60*60)))
	h.clock.set(start.Add(24 * time.Hour))
	return day
}

func (h *harness) Secrets() []string {
	return []string{merchantKey.D.String(), apiV3, apiV2, "signature=", "WECHATPAY2", "billdownload", riderID, "130061098828009406"}
}

// TamperBill drops the first payment and leaves the totals.
func (h *harness) TamperBill(bill driver.Bill) driver.Bill {
	r, err := gzip.NewReader(bytes.NewReader(bill.Body))
	if err != nil {
		return driver.Bill{}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return driver.Bill{}
	}
	lines := bytes.SplitAfter(text, []byte("\r\n"))
	bill.Body = bytes.Join(append(lines[:1:1], lines[2:]...), nil)
	return bill
}

// patient asks about what was accepted, as the gateway does: these products tell
// the outcome only when they are asked. It adds nothing else.
type patient struct {
	driver.Provider
	driver.Refunder
	driver.Biller
}

func (p patient) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	results, err := p.Provider.Submit(ctx, debits)
	if err == nil && len(results) == 1 && results[0].Outcome == driver.Accepted {
		r, err := p.Query(ctx, ref(debits[0]))
		return []driver.Result{r}, err
	}
	return results, err
}

func (p patient) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	r, err := p.Refunder.Refund(ctx, refund)
	if err == nil && r.Outcome == driver.Accepted {
		return p.QueryRefund(ctx, refund)
	}
	return r, err
}

func TestConformance(t *testing.T) {
	for _, product := range []wechatpay.Product{wechatpay.Ride, wechatpay.RideV2, wechatpay.CodePay, wechatpay.Global} {
		t.Run(string(product), func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) drivertest.Harness {
				w := newWorld(t, product, nil)
				h := &harness{w, w.provider}
				if product == wechatpay.RideV2 || product == wechatpay.Global {
					h.given = patient{w.provider, w.provider.(driver.Refunder), w.provider.(driver.Biller)}
				}
				return h
			})
		})
	}
}
