// Package remotetest runs the conformance kit of adapters/drivertest against a
// program that speaks the provider protocol of adapters/remote, wherever it
// runs and whatever it is written in. The program stands beside a test system
// (manifest.test); lost, late and spoilt answers are played here, on the line.
package remotetest

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/remote"
)

// A Target is a program and how to speak with it.
type Target struct {
	URL     string
	KeyID   string // of Signer, as the program knows it
	Signer  crypto.Signer
	Keys    []remote.ProgramKey
	Config  json.RawMessage
	Secrets map[string]citygate.Secret
	Clock   citygate.Clock
	Random  io.Reader
}

// ErrNoTestSystem says that the program has no test system, so that nothing can
// be tried on it.
var ErrNoTestSystem = errors.New("the program's manifest has no \"test\": start it beside a test system")

// Examine runs every case against the program: those of the kit, and those of the
// protocol, which say whom a program listens to.
func Examine(ctx context.Context, t Target) (drivertest.Report, error) {
	client := &http.Client{}
	m, err := remote.FetchManifest(ctx, client, t.URL)
	if err != nil {
		return drivertest.Report{}, err
	}
	if m.Test == nil {
		return drivertest.Report{}, ErrNoTestSystem
	}
	if _, err := newHarness(ctx, t, m); err != nil { // what no case could be tried with is no case's fault
		return drivertest.Report{}, err
	}
	report := drivertest.Examine(ctx, func(ctx context.Context) (drivertest.Harness, error) { return newHarness(ctx, t, m) })
	examineLine(ctx, t, m, &report)
	return report, nil
}

// harness is one case's view of the program.
type harness struct {
	driver *remote.Driver
	line   *remote.Faults
	plain  *remote.TestClient // over a line without faults
	test   *remote.TestSystem
	config []string
	at     time.Time
}

func newHarness(ctx context.Context, t Target, m remote.Manifest) (drivertest.Harness, error) {
	dead := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	h := &harness{test: m.Test, line: &remote.Faults{HTTP: &http.Client{Transport: &http.Transport{}}, Dead: redial{dead}}, at: t.Clock()}
	open := func(line driver.Doer) (*remote.Driver, error) {
		return remote.Open(remote.Config{
			Contract: remote.Contract{URL: t.URL, KeyID: t.KeyID, Keys: t.Keys, Manifest: m, Config: t.Config},
			Secrets:  t.Secrets, Signer: t.Signer, HTTP: line, Clock: t.Clock, Random: t.Random,
		})
	}
	var err error
	if h.driver, err = open(h.line); err != nil {
		return nil, err
	}
	plain, err := open(&http.Client{})
	if err != nil {
		return nil, err
	}
	h.plain, _ = plain.TestClient()
	for _, s := range t.Secrets {
		h.config = append(h.config, string(s.Reveal()))
	}
	if err := h.plain.Reset(ctx); err != nil {
		return nil, fmt.Errorf("resetting the program's test system: %w", err)
	}
	return h, nil
}

// redial sends every request to a port that nobody listens on.
type redial struct{ client *http.Client }

func (r redial) Do(req *http.Request) (*http.Response, error) {
	gone := req.Clone(req.Context())
	gone.URL.Host = "127.0.0.1:1"
	return r.client.Do(gone) //nolint:gosec // to nobody, on this machine
}

func (h *harness) Provider() driver.Provider { return h.driver }

func (h *harness) Debit(ourID string, minor int64) driver.Debit {
	d := driver.Debit{
		OurID: ourID, RiderRef: h.test.Rider, Amount: citygate.Money{Minor: minor, Currency: citygate.Currency(h.test.Currency)},
		TripTime: h.at, Subject: "a ride", Evidence: [][]byte{[]byte("a code")}, Attempted: h.at,
	}
	if len(h.driver.Describe().PaymentCodes) > 0 {
		d.AuthCode = citygate.NewSecret([]byte(h.test.PaymentCode))
	}
	return d
}

func (h *harness) Question(ourID string, known bool) (driver.CodeQuestion, string) {
	q := driver.CodeQuestion{OurID: ourID, Scheme: h.test.Scheme, Evidence: []byte("somebody else's"), At: h.at}
	if !known {
		return q, ""
	}
	q.Evidence = h.test.Code
	return q, h.test.Rider
}

// Record is the test system's; a program that names none fails the cases of records.
func (h *harness) Record() []byte { return h.test.Record }

// Agree has the test system's rider confirm: what a phone opens is the product's own.
func (h *harness) Agree(i driver.Invitation) {
	h.tell(func(ctx context.Context) error { return h.plain.Agree(ctx, i.OurID) })
}

// Card is of the test system's rider, who has a wallet.
func (h *harness) Card(ref string) driver.CardState {
	return driver.CardState{CardRef: ref, RiderRef: h.test.Rider, At: h.at}
}

func (h *harness) Cards() (list []driver.CardState) {
	h.tell(func(ctx context.Context) (err error) { list, err = h.plain.Cards(ctx); return err })
	return list
}

func (h *harness) LoseNextReply() { h.line.Arm(remote.Lose) }
func (h *harness) DropNext()      { h.line.Arm(remote.Drop) }

func (h *harness) ShedNext() time.Duration {
	h.line.Arm(remote.Busy)
	return remote.BusyFor
}

func (h *harness) DieNext()    { h.line.Arm(remote.Die) }
func (h *harness) BusyNext()   { h.line.Arm(remote.Busy) }
func (h *harness) DelayNext()  { h.line.Arm(remote.Delay) }
func (h *harness) GarbleNext() { h.line.Arm(remote.Garble) }

// ctx is for the kit's own talk with the test system: the interface has none.
func (h *harness) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

func (h *harness) tell(do func(context.Context) error) {
	ctx, done := h.ctx()
	defer done()
	if err := do(ctx); err != nil {
		panic(fmt.Sprintf("the program's test system: %v", err)) // the examiner reports it as the case's fault
	}
}

func (h *harness) DeclineNext() { h.tell(h.plain.DeclineNext) }
func (h *harness) PartialNext() { h.tell(h.plain.PartialNext) }

// Tap is of the test system's card; a program that names none fails the cases of cards.
func (h *harness) Tap() driver.CardTap {
	return driver.CardTap{Token: h.test.Card, Chip: []byte("what a chip says"), Terminal: "kit", At: h.at}
}

func (h *harness) Moved() []drivertest.Move { return h.ask(h.plain.Moves) }
func (h *harness) Held() []drivertest.Move  { return h.ask(h.plain.Holds) }

func (h *harness) ask(what func(context.Context) ([]remote.Move, error)) (moves []drivertest.Move) {
	h.tell(func(ctx context.Context) error {
		got, err := what(ctx)
		for _, m := range got {
			moves = append(moves, drivertest.Move{OurID: m.ID, Refund: m.Refund, Amount: m.Amount})
		}
		return err
	})
	return moves
}

func (h *harness) EndDay() (day citygate.Date) {
	h.tell(func(ctx context.Context) (err error) { day, err = h.plain.EndDay(ctx); return err })
	return day
}

func (h *harness) Secrets() []string { return h.config }

// TamperBill takes the second line, which is the first row, out.
func (h *harness) TamperBill(b driver.Bill) driver.Bill {
	lines := strings.SplitAfter(string(b.Body), "\n")
	if len(lines) > 2 {
		b.Body = []byte(strings.Join(append(lines[:1:1], lines[2:]...), ""))
	}
	return b
}
