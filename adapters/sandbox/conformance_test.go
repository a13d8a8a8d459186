package sandbox

import (
	"bytes"
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// A clock that a test sets.
type handClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *handClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *handClock) set(at time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.at = at }

type harness struct {
	p     *Provider
	clock *handClock
}

func openDir(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func open(t *testing.T, root *os.Root, clock citygate.Clock, config Config) *Provider {
	t.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(root, clock, raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func newHarness(t *testing.T) *harness {
	clock := &handClock{at: noon}
	return &harness{open(t, openDir(t, t.TempDir()), clock.now, Config{FeePPM: 6000, Recoveries: true, Script: Script{Codes: []Code{{Code: []byte("ann's code"), Rider: "ann"}}}}), clock}
}

func (h *harness) Provider() driver.Provider { return h.p }

func (h *harness) Debit(ourID string, minor int64) driver.Debit {
	return driver.Debit{
		OurID: ourID, RiderRef: "rider1", Amount: citygate.Money{Minor: minor, Currency: "HKD"},
		TripTime: noon, Subject: "a ride", Evidence: [][]byte{[]byte("code")}, Attempted: noon,
	}
}

func (h *harness) Question(ourID string, known bool) (driver.CodeQuestion, string) {
	q := driver.CodeQuestion{OurID: ourID, Scheme: "opaque", Evidence: []byte("nobody's"), At: noon}
	if !known {
		return q, ""
	}
	q.Evidence = []byte("ann's code")
	return q, "ann"
}

func (h *harness) LoseNextReply() { h.p.arm(loseReply) }
func (h *harness) DieNext()       { h.p.arm(die) }
func (h *harness) DelayNext()     { h.p.arm(delay) }
func (h *harness) GarbleNext()    { h.p.arm(garble) }
func (h *harness) DeclineNext()   { h.p.arm(decline) }
func (h *harness) PartialNext()   { h.p.arm(partial) }
func (h *harness) Secrets() []string {
	return nil // it is given none
}

func (h *harness) Moved() []drivertest.Move {
	var moves []drivertest.Move
	for _, e := range h.p.Book() {
		if e.Outcome == driver.Succeeded {
			moves = append(moves, drivertest.Move{OurID: e.OurID, Refund: e.Kind == Refund, Amount: e.Amount})
		}
	}
	return moves
}

func (h *harness) EndDay() citygate.Date {
	h.clock.set(noon.Add(24 * time.Hour))
	return citygate.DateOf(noon)
}

func (h *harness) TamperBill(b driver.Bill) driver.Bill {
	lines := bytes.SplitAfter(b.Body, []byte("\n"))
	b.Body = bytes.Join(append(lines[:2:2], lines[3:]...), nil)
	return b
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newHarness(t) })
}
