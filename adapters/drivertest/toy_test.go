package drivertest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// toy is a far side behind HTTP that does what its harness arms it to do, and
// toyDriver an honest adapter for it. The broken adapters of mutants_test.go are
// toyDriver with one thing changed.

const (
	toySecret = "toy-secret-key"
	toyCode   = "a code of the far side's own"
	toyPayer  = "payer-1"
	toyRecord = "a record of the far side's own"
	toyShown  = "281234567890123456" // a payment code
)

type item struct {
	ID       string `json:"id"`
	Charge   string `json:"charge,omitempty"` // set on refunds
	Minor    int64  `json:"minor"`
	Currency string `json:"currency"`
	Code     string `json:"code,omitempty"`   // set on questions about codes
	Rider    string `json:"rider,omitempty"`  // whose the code is
	Record   []byte `json:"record,omitempty"` // set on questions about records
	Payer    string `json:"payer,omitempty"`
	State    string `json:"state"` // done, refused, unsure, conflict, absent

	Agreement string `json:"agreement,omitempty"` // what is asked of one: open, query or close
	Number    string `json:"number,omitempty"`    // its
	Mark      string `json:"mark,omitempty"`      // names it beside its id
	Way       string `json:"way,omitempty"`       // of a recovery
	Recovers  string `json:"recovers,omitempty"`

	Step  string `json:"step,omitempty"` // of an authorisation
	Of    string `json:"of,omitempty"`
	First bool   `json:"first,omitempty"`

	Card *driver.CardState `json:"card,omitempty"` // to be shown
}

type toy struct {
	*httptest.Server
	mu    sync.Mutex
	next  string
	known map[string]item
	moved []Move

	agreements map[string]string // how they stand: asked, agreed or over
	wallets    map[string]driver.CardState

	held    []Move // of cards
	insured bool   // the card's first ride was
}

func newToy(t *testing.T) *toy {
	far := &toy{known: map[string]item{}, agreements: map[string]string{}, wallets: map[string]driver.CardState{}}
	far.Server = httptest.NewServer(http.HandlerFunc(far.serve))
	t.Cleanup(far.Close)
	return far
}

func (far *toy) arm(trick string) { far.mu.Lock(); far.next = trick; far.mu.Unlock() }

func (far *toy) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	far.mu.Lock()
	defer far.mu.Unlock()
	switch r.URL.Path {
	case "/query":
		id := r.URL.Query().Get("id")
		it, ok := far.known[id]
		if !ok || it.Mark != r.URL.Query().Get("mark") {
			it = item{ID: id, State: "absent"}
		}
		reply(w, []item{it})
		return
	case "/bill":
		_, _ = w.Write(far.bill())
		return
	case "/feed":
		_, _ = io.WriteString(w, `["one","two"]`)
		return
	case "/reverse":
		reply(w, []item{far.reverse(r.URL.Query().Get("id"))})
		return
	}
	var items []item
	if err := json.Unmarshal(body, &items); err != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	trick := far.next
	far.next = ""
	if trick == "shed" {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
		return
	}
	if trick == "busy" {
		w.Header().Set("Retry-After", toyLater.Format(http.TimeFormat))
		http.Error(w, "too many", http.StatusTooManyRequests)
		return
	}
	if trick == "drop" {
		far.answer(w, r, "lose", nil)
		return
	}
	for i := range items {
		far.act(&items[i], trick, i)
	}
	far.answer(w, r, trick, items)
}

func (far *toy) answer(w http.ResponseWriter, r *http.Request, trick string, items []item) {
	switch trick {
	case "die":
		_ = far.Listener.Close()
		fallthrough
	case "lose":
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return
	case "garble":
		_, _ = io.WriteString(w, "<html>try again later</html>")
		return
	case "delay":
		far.mu.Unlock()
		select {
		case <-time.After(2 * time.Second):
		case <-r.Context().Done(): // nobody waits any more
		}
		far.mu.Lock()
	case "partial":
		slices.Reverse(items)
	}
	reply(w, items)
}

func reply(w io.Writer, items []item) { _ = json.NewEncoder(w).Encode(items) }

func (far *toy) reverse(id string) item {
	it, ok := far.known[id]
	if !ok || it.State != "done" {
		return item{ID: id, State: "closed"}
	}
	if _, before := far.known[id+"r"]; !before {
		far.known[id+"r"] = item{ID: id + "r", Charge: id, Minor: it.Minor, State: "done"}
		far.moved = append(far.moved, Move{id + "r", true, citygate.Money{Minor: it.Minor, Currency: citygate.Currency(it.Currency)}})
	}
	return item{ID: id, State: "returned"}
}

// act does what one item asks for.
func (far *toy) act(it *item, trick string, i int) {
	if it.Card != nil {
		far.show(it)
		return
	}
	if it.Agreement != "" {
		far.agreement(it)
		return
	}
	if it.Step != "" {
		far.step(it, trick)
		return
	}
	if it.Record != nil {
		if it.State = "forged"; string(it.Record) == toyRecord {
			it.State = "genuine"
		}
		return
	}
	if it.Code != "" {
		if it.State = "refused"; it.Code == toyCode {
			it.State, it.Rider = "known", toyPayer
		}
		return
	}
	if old, ok := far.known[it.ID]; ok {
		if old.Minor != it.Minor || old.Charge != it.Charge || old.Mark != it.Mark || old.Way != it.Way || old.Recovers != it.Recovers {
			it.State = "conflict"
			return
		}
		*it = old
		return
	}
	switch {
	case it.Minor <= 0 || it.Minor > toyMost || !slices.Contains(toyCurrencies, citygate.Currency(it.Currency)):
		it.State = "refused"
		return
	case trick == "decline", trick == "partial" && i == 2, it.Charge != "" && it.Minor > far.left(it.Charge), it.Way != "" && it.Minor > far.owed(it.Recovers), !far.mayPay(it.Payer):
		it.State = "refused"
	case trick == "partial" && i == 1:
		it.State = "unsure"
		return
	default:
		it.State = "done"
		far.moved = append(far.moved, Move{it.ID, it.Charge != "", citygate.Money{Minor: it.Minor, Currency: citygate.Currency(it.Currency)}})
	}
	far.known[it.ID] = *it
}

func (far *toy) left(charge string) int64 {
	left := far.known[charge].Minor
	if far.known[charge].State != "done" {
		return 0
	}
	for _, it := range far.known {
		if it.Charge == charge && it.State == "done" {
			left -= it.Minor
		}
	}
	return left
}

// owed gives what of a declined payment was not recovered.
func (far *toy) owed(id string) int64 {
	if far.known[id].State != "refused" {
		return 0
	}
	for _, it := range far.known {
		if it.Recovers == id && it.State == "done" {
			return 0
		}
	}
	return far.known[id].Minor
}

// bill lists what was moved, one JSON object a line, after a line with the sum.
func (far *toy) bill() []byte {
	var sum int64
	var rows bytes.Buffer
	for _, m := range far.moved {
		it := far.known[m.OurID]
		if m.Refund {
			it.Minor = -it.Minor
		}
		sum += it.Minor
		line, _ := json.Marshal(it)
		rows.Write(append(line, '\n'))
	}
	return append(fmt.Appendf(nil, "%d\n", sum), rows.Bytes()...)
}

// toyDriver is the honest adapter.
type toyDriver struct {
	base string
	http driver.Doer
}

var toyNoon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// toyLater is when the toy wants to be asked again.
var toyLater = toyNoon.Add(90 * time.Second)

var toyCurrencies = []citygate.Currency{"HKD", "JPY", "KWD"}

const toyMost = 1_000_000_000

func (d *toyDriver) Describe() driver.Description {
	return driver.Description{
		Name: "toy", Currencies: slices.Clone(toyCurrencies), BatchMax: 3, IDMax: 64, ResubmitSafe: true,
		PaymentCodes: []driver.CodeForm{{From: "28", To: "28", Min: 16, Max: 18}},
		Limits:       driver.Limits{AmountMax: toyMost, ByAgreement: true, FirstRide: true, Notices: driver.SuccessOnly, Recoveries: driver.Recoveries{ByMerchant: true, ByRider: true, ByTap: true}},
	}
}

func (d *toyDriver) call(ctx context.Context, path string, body []byte) (wire.Reply, error) {
	method := http.MethodPost
	if body == nil {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, d.base+path, bytes.NewReader(body))
	if err != nil {
		return wire.Reply{}, err
	}
	if path == "/pay" {
		req.Header.Set("Idempotency-Key", "yes") // makes net/http send again by itself
	}
	req.Header.Set("Authorization", toySecret)
	return wire.Do(d.http, req, wire.CallLimit)
}

// tooMany is the error of a far side that is asked too often.
type tooMany struct{ until time.Time }

func (tooMany) Error() string { return "toy: too many" }

func (d *toyDriver) items(ctx context.Context, path string, items []item) ([]item, error) {
	var body []byte
	if items != nil {
		body, _ = json.Marshal(items)
	}
	r, err := d.call(ctx, path, body)
	if err != nil {
		return nil, err
	}
	if r.Status == http.StatusTooManyRequests {
		until, err := http.ParseTime(r.Header.Get("Retry-After"))
		return nil, errors.Join(tooMany{until}, err)
	}
	var got []item
	if err := json.Unmarshal(r.Body, &got); err != nil {
		return nil, errors.New("toy: the answer makes no sense")
	}
	return got, nil
}

var toyOutcomes = map[string]driver.Outcome{"done": driver.Succeeded, "refused": driver.Declined, "absent": driver.Absent}

func toyResult(id string, items []item) driver.Result {
	for _, it := range items {
		if it.ID == id {
			r := driver.Result{OurID: id, Outcome: toyOutcomes[it.State], ReasonCode: it.State}
			if it.State == "done" {
				r.ProviderRef = "T" + id
			}
			return r
		}
	}
	return driver.Result{OurID: id}
}

func (d *toyDriver) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	items := make([]item, len(debits))
	for i, debit := range debits {
		if !slices.Contains(toyCurrencies, debit.Amount.Currency) {
			return nil, driver.ErrCurrencyUnsupported
		}
		if debit.Amount.Minor <= 0 || debit.Amount.Minor > toyMost {
			return nil, driver.ErrNotPerformed
		}
		items[i] = item{ID: debit.OurID, Minor: debit.Amount.Minor, Currency: string(debit.Amount.Currency), Mark: debit.Mark, Way: string(debit.Recovery), Recovers: debit.Recovers.OurID, Payer: debit.RiderRef}
	}
	got, err := d.items(ctx, "/pay", items)
	var many tooMany
	if err != nil && !errors.As(err, &many) {
		return nil, err
	}
	results := make([]driver.Result, len(debits))
	for i, debit := range debits {
		results[i] = toyResult(debit.OurID, got)
		results[i].RetryAt = many.until
	}
	return results, nil
}

// toyQuote is the toy's one rate, which never changes.
func toyQuote(m citygate.Money) driver.Quote {
	return driver.Quote{
		Asked: m, Pays: citygate.Money{Minor: m.Minor * 2, Currency: "MOP"}, Rate: driver.Rate{ID: "two", Pair: "HKD/MOP", Price: "2", Guaranteed: true},
	}
}

func (d *toyDriver) Quote(_ context.Context, m citygate.Money) (driver.Quote, error) {
	return toyQuote(m), nil
}

// Mark is the second.
func (d *toyDriver) Mark(at time.Time) string { return at.UTC().Format("20060102150405") }

func (d *toyDriver) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if q := ref.Quote; q != (driver.Quote{}) && q != toyQuote(ref.Amount) {
		return driver.Result{OurID: ref.OurID}, errors.New("toy: the payer paid another amount")
	}
	got, err := d.items(ctx, "/query?id="+ref.OurID+"&mark="+ref.Mark, nil)
	if len(got) == 1 && got[0].State == "done" && ref.Amount.Minor != 0 && got[0].Minor != ref.Amount.Minor {
		return driver.Result{OurID: ref.OurID}, errors.New("toy: a payment of another amount")
	}
	return toyResult(ref.OurID, got), err
}

func (d *toyDriver) Refund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	if !slices.Contains(toyCurrencies, r.Amount.Currency) || r.Amount.Minor <= 0 {
		return driver.Result{OurID: r.OurID}, driver.ErrNotPerformed
	}
	got, err := d.items(ctx, "/refund", []item{{ID: r.OurID, Charge: r.Charge.OurID, Minor: r.Amount.Minor, Currency: string(r.Amount.Currency), Mark: r.Mark}})
	return toyResult(r.OurID, got), err
}

func (d *toyDriver) QueryRefund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return d.Query(ctx, driver.Ref{OurID: r.OurID, Mark: r.Mark})
}

func (d *toyDriver) Reverse(ctx context.Context, r driver.Ref) (driver.Reversal, string, error) {
	got, err := d.items(ctx, "/reverse?id="+r.OurID, nil)
	if err != nil || len(got) != 1 {
		return driver.ReversalUnknown, "", err
	}
	return driver.Reversal(got[0].State), "", nil
}

func (d *toyDriver) PullDeny(ctx context.Context) (riders []string, err error) {
	r, err := d.call(ctx, "/feed", nil)
	if err == nil {
		err = json.Unmarshal(r.Body, &riders)
	}
	return riders, err
}

func (d *toyDriver) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	names, err := d.PullDeny(ctx)
	var list []driver.FeedKey
	for i, name := range names {
		list = append(list, driver.FeedKey{ID: uint32(i), Material: []byte(name)})
	}
	return list, err
}

func (d *toyDriver) PushDeny(ctx context.Context, _ driver.DenyChange) error {
	_, err := d.call(ctx, "/feed", nil)
	return err
}

// A notification of the toy's is a line of JSON and, before it, its HMAC.
func toyNotice(it item) []byte {
	text, _ := json.Marshal(it)
	return append([]byte(toyMAC(text)), text...)
}

func toyMAC(text []byte) string {
	h := hmac.New(sha256.New, []byte(toySecret))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}

func (d *toyDriver) ParseNotify(_ context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	var it item
	size := 2 * sha256.Size
	if len(n.Body) < size || toyMAC(n.Body[size:]) != string(n.Body[:size]) || json.Unmarshal(n.Body[size:], &it) != nil {
		return driver.Notice{}, driver.Ack{Status: http.StatusUnauthorized}, errors.New("toy: forged")
	}
	r := driver.Result{OurID: it.ID, Outcome: toyOutcomes[it.State], Amount: citygate.Money{Minor: it.Minor, Currency: "HKD"}}
	return driver.Notice{ID: it.ID, Kind: driver.NoticePayment, Result: r}, driver.Ack{Status: http.StatusOK, Body: []byte("ok")}, nil
}

func (d *toyDriver) ResolveCode(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
	got, err := d.items(ctx, "/code", []item{{ID: q.OurID, Code: string(q.Evidence)}})
	a := driver.CodeAnswer{OurID: q.OurID}
	if err != nil || len(got) != 1 || got[0].ID != q.OurID {
		return a, err
	}
	switch a.ReasonCode = got[0].State; got[0].State {
	case "known":
		a.Outcome, a.RiderRef = driver.CodeKnown, got[0].Rider
	case "refused":
		a.Outcome = driver.CodeRefused
	}
	return a, nil
}

func (d *toyDriver) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.UTC()) }

func (d *toyDriver) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	if day != citygate.DateOf(toyNoon) {
		return driver.Bill{}, driver.ErrBillNotReady
	}
	r, err := d.call(ctx, "/bill", nil)
	return driver.Bill{Day: day, Body: r.Body, Currency: "HKD"}, err
}

func (d *toyDriver) ParseBill(bill driver.Bill) ([]driver.BillLine, error) {
	head, rows, _ := strings.Cut(string(bill.Body), "\n")
	var lines []driver.BillLine
	var sum int64
	for row := range strings.Lines(rows) {
		var it item
		if err := json.Unmarshal([]byte(row), &it); err != nil {
			return nil, err
		}
		l := driver.BillLine{Line: len(lines) + 2, OurID: it.ID, At: toyNoon, Amount: citygate.Money{Minor: it.Minor, Currency: citygate.Currency(it.Currency)}}
		if it.Charge != "" {
			l.Refund, l.OurID, l.RefundID = true, it.Charge, it.ID
		}
		sum += it.Minor
		lines = append(lines, l)
	}
	if head != fmt.Sprint(sum) {
		return nil, errors.New("toy: the rows do not add up")
	}
	return lines, nil
}

// toyHarness arms the toy.
type toyHarness struct {
	far      *toy
	provider driver.Provider
}

func newToyHarness(t *testing.T, broken func(*toyDriver) driver.Provider) *toyHarness {
	far := newToy(t)
	return &toyHarness{far, broken(&toyDriver{far.URL, far.Client()})}
}

func honest(d *toyDriver) driver.Provider { return d }

func (h *toyHarness) Provider() driver.Provider { return h.provider }

func (h *toyHarness) Debit(ourID string, minor int64) driver.Debit {
	return driver.Debit{OurID: ourID, RiderRef: "rider", Amount: citygate.Money{Minor: minor, Currency: "HKD"}, TripTime: toyNoon,
		AuthCode: citygate.NewSecret([]byte(toyShown))}
}

func (h *toyHarness) Question(ourID string, known bool) (driver.CodeQuestion, string) {
	q := driver.CodeQuestion{OurID: ourID, Scheme: "toy", Evidence: []byte("somebody else's"), At: toyNoon}
	if !known {
		return q, ""
	}
	q.Evidence = []byte(toyCode)
	return q, toyPayer
}

func (h *toyHarness) Notification(d driver.Debit) driver.Notification {
	return driver.Notification{Method: "POST", Target: "/", Body: toyNotice(item{ID: d.OurID, Minor: d.Amount.Minor, State: "done"})}
}

func (h *toyHarness) LoseNextReply() { h.far.arm("lose") }
func (h *toyHarness) ShedNext() time.Duration {
	h.far.arm("shed")
	return 7 * time.Second
}

func (h *toyHarness) DropNext()             { h.far.arm("drop") }
func (h *toyHarness) DieNext()              { h.far.arm("die") }
func (h *toyHarness) DelayNext()            { h.far.arm("delay") }
func (h *toyHarness) GarbleNext()           { h.far.arm("garble") }
func (h *toyHarness) DeclineNext()          { h.far.arm("decline") }
func (h *toyHarness) PartialNext()          { h.far.arm("partial") }
func (h *toyHarness) BusyNext()             { h.far.arm("busy") }
func (h *toyHarness) BusyUntil() time.Time  { return toyLater }
func (h *toyHarness) Wait()                 {} // it does not look at the time
func (h *toyHarness) EndDay() citygate.Date { return citygate.DateOf(toyNoon) }
func (h *toyHarness) Secrets() []string     { return []string{toySecret} }

func (h *toyHarness) Moved() []Move {
	h.far.mu.Lock()
	defer h.far.mu.Unlock()
	return slices.Clone(h.far.moved)
}

func (h *toyHarness) TamperBill(b driver.Bill) driver.Bill {
	lines := bytes.SplitAfter(b.Body, []byte("\n"))
	b.Body = bytes.Join(append(lines[:1:1], lines[2:]...), nil)
	return b
}
