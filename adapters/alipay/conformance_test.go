package alipay_test

import (
	"archive/zip"
	"bytes"
	"io"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

// harness lets the kit play with the simulator.
type harness struct {
	*world
	t *testing.T
}

func (h *harness) Provider() driver.Provider { return h.provider }
func (h *harness) Debit(id string, minor int64) driver.Debit {
	return h.debit(h.t, id, minor)
}
func (h *harness) LoseNextReply() { h.sim.ArmNext(alipaysim.ArmLose) }
func (h *harness) DropNext()      { h.sim.ArmNext(simserve.Drop) }

func (h *harness) ShedNext() time.Duration {
	h.sim.ArmNext(simserve.Shed)
	return simserve.ShedFor
}

func (h *harness) DieNext()     { h.sim.ArmNext(alipaysim.ArmDie) }
func (h *harness) DelayNext()   { h.sim.ArmNext(alipaysim.ArmDelay) }
func (h *harness) GarbleNext()  { h.sim.ArmNext(alipaysim.ArmGarble) }
func (h *harness) DeclineNext() { h.sim.ArmNext(alipaysim.ArmDecline) }
func (h *harness) PartialNext() { h.sim.ArmNext(alipaysim.ArmPartial) }

// settling is a harness of offlinepay, which says of each order when to send it again.
type settling struct{ *harness }

func (h settling) BusyNext()            { h.sim.ArmNext(alipaysim.ArmBusy) }
func (h settling) BusyUntil() time.Time { return h.clock.now().Add(time.Minute) }
func (h settling) Wait()                { h.clock.set(h.BusyUntil()) }

// Moved reads the platform's own book, in the order in which it acted.
func (h *harness) Moved() []drivertest.Move {
	type move struct {
		seq int
		drivertest.Move
	}
	var moves []move
	for _, t := range h.sim.Book() {
		if t.Paid {
			moves = append(moves, move{t.Seq, drivertest.Move{OurID: t.OutTradeNo, Amount: t.Amount}})
		}
		for _, r := range t.Refunds {
			moves = append(moves, move{r.Seq, drivertest.Move{OurID: r.OutRequestNo, Refund: true, Amount: r.Amount}})
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
	day := h.provider.BillDay(h.clock.now())
	h.clock.set(start.Add(24 * time.Hour))
	return day
}

func (h *harness) Secrets() []string {
	return []string{merchantKey.D.String(), "sign=", "bill/download", "2088000000000099"}
}

// TamperBill drops the first payment and leaves the totals.
func (h *harness) TamperBill(bill driver.Bill) driver.Bill {
	bill.Body = rezip(h.t, bill.Body, func(text string) string {
		lines := strings.SplitAfter(text, "\r\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "2026") {
				return strings.Join(append(lines[:i:i], lines[i+1:]...), "")
			}
		}
		return text
	})
	return bill
}

// rezip changes the files of a bill, byte for byte as they are stored.
func rezip(t testing.TB, body []byte, change func(string) string) []byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.Name, NonUTF8: true, Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, change(string(text))); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestConformance(t *testing.T) {
	for name, finds := range map[string]bool{"query finds offlinepay orders": true, "query does not find them": false} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) drivertest.Harness {
				w := newWorld(t, func(c *alipaysim.Config) { c.FindOffline = finds })
				w.provider = w.contract(t, func(c *alipay.Config) { c.CardType = "T0370301" })
				return settling{&harness{world: w, t: t}}
			})
		})
	}
}

func (h settling) Card(ref string) driver.CardState {
	return driver.CardState{CardRef: ref, RiderRef: rider, At: h.clock.now()}
}

// Cards reads the wallets.
func (h settling) Cards() (list []driver.CardState) {
	for _, c := range h.sim.Cards(appID) {
		list = append(list, driver.CardState{CardRef: c.CardNo, RiderRef: c.UserID, Disabled: c.Disabled, Overdue: c.DisabledCode == "CARD_OVERDUE"})
	}
	return list
}

func (h settling) Record() []byte { return []byte(h.sim.Record(rider)) }
