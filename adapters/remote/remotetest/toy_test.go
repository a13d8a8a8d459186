package remotetest

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
)

// A product is a payment product in memory with every ability that the protocol
// carries, and its own test system.
type product struct {
	mu      sync.Mutex
	now     time.Time
	known   map[string]entry
	moves   []remote.Move
	decline bool
	partial bool
	pushed  []driver.DenyChange
	secret  string // the last one it was given
	notify  string // where notifications go, as it was told last
	shown   string // the last payment code
	cards   drawer
	pays    citygate.Money // what the last refund gives back to the payer

	limits func(*driver.Limits) // nil: as it is

	agreements map[string]string
	wallets    map[string]driver.CardState
	asked      driver.AgreementRequest // the last one
}

type entry struct {
	minor   int64
	charge  string // of a refund
	outcome driver.Outcome
	mark    string
	pays    int64 // in MOP, at a quote
}

func newProduct() *product {
	p := &product{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	_ = p.Reset()
	return p
}

func (p *product) Reset() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.moves, p.decline, p.partial = map[string]entry{}, nil, false, false
	p.agreements = map[string]string{}
	p.cards = drawer{}
	p.wallets = map[string]driver.CardState{}
	return nil
}

func (p *product) Moves() ([]remote.Move, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.moves), nil
}

func (p *product) EndDay() (citygate.Date, error) { return citygate.DateOf(p.now), nil }
func (p *product) DeclineNext() error             { p.mu.Lock(); defer p.mu.Unlock(); p.decline = true; return nil }
func (p *product) PartialNext() error             { p.mu.Lock(); defer p.mu.Unlock(); p.partial = true; return nil }

func (p *product) Describe() driver.Description {
	about := driver.Description{
		Name: "toy", Version: "1", Currencies: []citygate.Currency{"HKD"}, BatchMax: 3, IDMax: 64, ResubmitSafe: true,
		PollEvery: time.Second, Deadline: 10 * time.Second, Limits: driver.Limits{ByAgreement: true, FirstRide: true},
		PaymentCodes: []driver.CodeForm{{From: "77", To: "79", Min: 10, Max: 20}},
	}
	if p.limits != nil {
		p.limits(&about.Limits)
	}
	return about
}

func (p *product) Submit(_ context.Context, debits []driver.Debit) ([]driver.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	decline, partial := p.decline, p.partial
	p.decline, p.partial = false, false
	results := make([]driver.Result, len(debits))
	for i, d := range debits {
		results[i] = driver.Result{OurID: d.OurID}
		p.shown = string(d.AuthCode.Reveal())
		old, again := p.known[d.OurID]
		switch {
		case d.Amount.Currency != "HKD":
			return nil, driver.ErrCurrencyUnsupported
		case d.Amount.Minor <= 0:
			return nil, driver.ErrNotPerformed
		case again && (old.minor != d.Amount.Minor || old.charge != "" || old.mark != d.Mark || old.pays != d.Quote.Pays.Minor):
			results[i].ReasonCode = "other_content"
			continue
		case again:
			results[i].Outcome, results[i].ReasonCode = old.outcome, old.why()
			continue
		case partial && i == 1:
			continue
		case decline, partial && i == 2, !p.agreed(d.RiderRef):
			results[i].Outcome, results[i].ReasonCode = driver.Declined, "no_money"
		default:
			results[i].Outcome, results[i].Amount = driver.Succeeded, d.Amount
			p.moves = append(p.moves, remote.Move{ID: d.OurID, Amount: d.Amount})
		}
		results[i].Exchange = exchanged(d.Quote)
		p.known[d.OurID] = entry{minor: d.Amount.Minor, outcome: results[i].Outcome, mark: d.Mark, pays: d.Quote.Pays.Minor}
	}
	return results, nil
}

// Mark implements [driver.Marker]: it knows a payment by its id and the second.
func (p *product) Mark(at time.Time) string { return at.UTC().Format("060102150405") }

func (p *product) Query(_ context.Context, r driver.Ref) (driver.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.known[r.OurID]
	if !ok || e.mark != r.Mark {
		return driver.Result{OurID: r.OurID, Outcome: driver.Absent}, nil
	}
	if r.Amount.Minor != 0 && r.Amount.Minor != e.minor || r.Quote.Pays.Minor != e.pays {
		return driver.Result{OurID: r.OurID, ReasonCode: "other_content"}, nil
	}
	return driver.Result{OurID: r.OurID, Outcome: e.outcome, ReasonCode: e.why()}, nil
}

// why is the reason of a decline.
func (e entry) why() string {
	if e.outcome == driver.Declined {
		return "no_money"
	}
	return ""
}

func (p *product) Refund(_ context.Context, r driver.Refund) (driver.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	charge := p.known[r.Charge.OurID]
	if charge.mark != r.Charge.Mark {
		return driver.Result{OurID: r.OurID, Outcome: driver.Declined, ReasonCode: "no_such_payment"}, nil
	}
	if r.Amount.Currency != "HKD" || r.Amount.Minor <= 0 {
		return driver.Result{}, driver.ErrNotPerformed
	}
	if e, ok := p.known[r.OurID]; ok {
		if e.minor != r.Amount.Minor || e.mark != r.Mark {
			return driver.Result{OurID: r.OurID, ReasonCode: "other_content"}, nil
		}
		return driver.Result{OurID: r.OurID, Outcome: e.outcome}, nil
	}
	left := charge.minor
	if charge.outcome != driver.Succeeded {
		left = 0
	}
	for _, e := range p.known {
		if e.charge == r.Charge.OurID && e.outcome == driver.Succeeded {
			left -= e.minor
		}
	}
	p.pays = r.Pays
	e := entry{minor: r.Amount.Minor, charge: r.Charge.OurID, outcome: driver.Succeeded, mark: r.Mark}
	if r.Amount.Minor > left {
		e.outcome = driver.Declined
	} else {
		p.moves = append(p.moves, remote.Move{ID: r.OurID, Refund: true, Amount: r.Amount})
	}
	p.known[r.OurID] = e
	return driver.Result{OurID: r.OurID, Outcome: e.outcome}, nil
}

func (p *product) QueryRefund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return p.Query(ctx, driver.Ref{OurID: r.OurID, Mark: r.Mark})
}

func (p *product) Reverse(_ context.Context, r driver.Ref) (driver.Reversal, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.known[r.OurID]; ok && e.outcome == driver.Succeeded {
		return driver.ReversalRefused, "paid", nil
	}
	p.known[r.OurID] = entry{outcome: driver.Declined}
	return driver.ReversalClosed, "", nil
}

func (p *product) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.UTC()) }

func (p *product) FetchBill(_ context.Context, day citygate.Date) (driver.Bill, error) {
	if day != citygate.DateOf(p.now) {
		return driver.Bill{}, driver.ErrBillNotReady
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var body strings.Builder
	for _, m := range p.moves {
		fmt.Fprintf(&body, "%s %t %d\n", m.ID, m.Refund, m.Amount.Minor)
	}
	return driver.Bill{Day: day, Name: "toy.txt", Currency: "HKD", Body: []byte(body.String())}, nil
}

func (p *product) ParseBill(b driver.Bill) (lines []driver.BillLine, err error) {
	for row := range strings.Lines(string(b.Body)) {
		f := strings.Fields(row)
		minor, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, err
		}
		l := driver.BillLine{Line: len(lines) + 1, OurID: f[0], At: p.now}
		if f[1] == "true" {
			l.Refund, l.RefundID, l.OurID, minor = true, f[0], p.known[f[0]].charge, -minor
		}
		l.Amount = citygate.Money{Minor: minor, Currency: "HKD"}
		if pays := p.known[f[0]].pays; pays != 0 {
			l.Exchange = driver.Exchange{Paid: citygate.Money{Minor: pays, Currency: "MOP"}}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func (p *product) PullDeny(context.Context) ([]string, error) { return []string{"thief"}, nil }

func (p *product) PushDeny(_ context.Context, c driver.DenyChange) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pushed = append(p.pushed, c)
	return nil
}

func (p *product) PullKeys(context.Context) ([]driver.FeedKey, error) {
	return []driver.FeedKey{{ID: 7, Material: []byte{1, 2}}}, nil
}

func (p *product) ResolveCode(_ context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
	if string(q.Evidence) == "ann's code" {
		return driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeKnown, RiderRef: "ann"}, nil
	}
	return driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeRefused}, nil
}

func (p *product) RiderState(_ context.Context, q driver.RiderQuestion) (driver.RiderStatus, error) {
	return driver.RiderStatus{RiderRef: q.RiderRef, State: driver.RiderOverdue, Owes: citygate.Money{Minor: 470, Currency: "HKD"}}, nil
}

var errForged = errors.New("forged")

func (p *product) ParseNotify(_ context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	if string(n.Body) != "paid c1" || n.Method != http.MethodPost || n.Target != "/n?x=1" || n.Header["X-Toy"][0] != "yes" {
		return driver.Notice{}, driver.Ack{Status: 400, Body: []byte("fail")}, errForged
	}
	return driver.Notice{ID: "n1", Kind: driver.NoticePayment, Result: driver.Result{OurID: "c1", Outcome: driver.Succeeded}},
		driver.Ack{Status: 200, ContentType: "text/plain", Body: []byte("success")}, nil
}

// party is a key pair with its id.
type party struct {
	id      string
	private ed25519.PrivateKey
}

func newParty(t *testing.T, id string) party {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return party{id, private}
}

func (p party) key(t *testing.T) remote.ProgramKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(p.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return remote.ProgramKey{ID: p.id, Public: der}
}

// genuine is a record of the product's own.
const genuine = "a record of the toy's"

func (p *product) CheckEvidence(_ context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
	if string(record) == genuine {
		return driver.EvidenceGenuine, "", nil
	}
	return driver.EvidenceRefused, "forged", nil
}

const secret = "the merchant's api key"

// serve runs a product as a program and gives how to reach it.
func serve(t *testing.T, p *product, change func(*remote.Program)) Target {
	t.Helper()
	return serveBehind(t, p, change, func(h http.Handler) http.Handler { return h })
}

// serveBehind is serve with something before the program.
func serveBehind(t *testing.T, p *product, change func(*remote.Program), front func(http.Handler) http.Handler) Target {
	t.Helper()
	gateway, program := newParty(t, "citygate-1"), newParty(t, "toy-1")
	m := remote.ManifestOf(p)
	m.BillZone, m.Secrets = "UTC", []string{"api_key"}
	m.ConfigSchema = json.RawMessage(`{"type":"object","required":["merchant"],"properties":{"merchant":{"type":"string"}},"additionalProperties":false}`)
	m.Test = &remote.TestSystem{Rider: "ann", Currency: "HKD", Code: []byte("ann's code"), Scheme: "toy", Record: []byte(genuine), PaymentCode: "7712345678", Card: toyCard}
	served := remote.Program{
		Open: func(terms remote.Terms) (driver.Provider, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.secret, p.notify = string(terms.Secrets["api_key"].Reveal()), terms.NotifyURL
			return p, nil
		},
		Manifest: m, Gateways: map[string]crypto.PublicKey{gateway.id: gateway.private.Public()},
		KeyID: program.id, Signer: program.private, Clock: time.Now, Test: p,
	}
	if change != nil {
		change(&served)
	}
	handler, err := remote.NewHandler(served)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front(handler))
	t.Cleanup(server.Close)
	return Target{
		URL: server.URL, KeyID: gateway.id, Signer: gateway.private, Keys: []remote.ProgramKey{program.key(t)},
		Config: json.RawMessage(`{"merchant":"m1"}`), Secrets: map[string]citygate.Secret{"api_key": citygate.NewSecret([]byte(secret))},
		Clock: time.Now, Random: rand.Reader,
	}
}

// open, query and close of agreements: how they stand is "asked", "agreed" or "over".

func (p *product) OpenAgreement(_ context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = r
	if p.agreements[r.OurID] == "" {
		p.agreements[r.OurID] = "asked"
	}
	return driver.Invitation{OurID: r.OurID, URL: "toy://agree?" + r.OurID}, nil
}

func (p *product) Agree(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.agreements[id] == "asked" {
		p.agreements[id] = "agreed"
	}
	return nil
}

func (p *product) QueryAgreement(_ context.Context, of driver.Agreement) (driver.Agreement, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := cmp.Or(of.OurID, strings.TrimPrefix(of.ID, "N-"))
	a := driver.Agreement{OurID: id, ID: of.ID, State: map[string]driver.AgreementState{
		"asked": driver.AgreementPending, "agreed": driver.AgreementActive, "over": driver.AgreementEnded,
	}[p.agreements[id]]}
	if a.State == driver.AgreementActive || a.State == driver.AgreementEnded {
		a.ID, a.RiderRef, a.ValidFrom, a.SingleMax, a.ReasonCode = "N-"+id, "ann", p.now, citygate.Money{Minor: 5000, Currency: "HKD"}, "signed"
	}
	return a, nil
}

func (p *product) CloseAgreement(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
	p.mu.Lock()
	if id := cmp.Or(of.OurID, strings.TrimPrefix(of.ID, "N-")); p.agreements[id] == "agreed" {
		p.agreements[id] = "over"
	}
	p.mu.Unlock()
	return p.QueryAgreement(ctx, of)
}

// agreed reports whether a payer may be debited: ann always, others by the number of an
// agreement in force.
func (p *product) agreed(payer string) bool {
	id, numbered := strings.CutPrefix(payer, "N-")
	return !numbered || p.agreements[id] == "agreed"
}
