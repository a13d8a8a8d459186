package pricing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// The two tenants of the tests: a city that issues codes, and a metro that
// issues codes of its own too.
const (
	city  citygate.TenantID = 1
	metro citygate.TenantID = 2
)

var pairing = journey.Rules{MaxJourney: 4 * time.Hour, UploadGrace: 24 * time.Hour, PassbackWindow: 20 * time.Second}

const tariffText = `{"name":"metro","version":1,"currency":"CNY","categories":{"products":{"2":"student"},"default":"adult"},
	"rules":[{"id":"flat","routes":["12"],"flat":{"adult":480,"student":240}},
	         {"id":"taxi","routes":["T"],"entered":{"min":100,"max":50000}},
	         {"id":"od","routes":["M"],"table":{"stops":["A","B","C"],"amounts":{
	            "adult":[-1,300,700, 300,-1,400, 700,400,-1],"student":[-1,150,350, 150,-1,200, 350,200,-1]}}}],
	"incomplete":{"mode":"max_from_stop"},"same_stop":{"mode":"min_from_stop"},"rounding":{}}`

// A world is a database with the metro's pricing in it.
type world struct {
	db     *pg.DB
	now    time.Time
	taps   *uploads
	issuer *ownIssuer
	held   held              // by the city
	payees map[string]string // by vehicle; others are paid to "operator"
	engine *Engine
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: pgtest.Epoch, taps: &uploads{known: map[citygate.TapID]Tap{}}, issuer: &ownIssuer{refuse: map[citygate.TapID]bool{}, held: held{}}, held: held{}, payees: map[string]string{}}
	w.db = pgtest.New(t, pgtest.WithClock(func() time.Time { return w.now }), pgtest.WithEnqueuer(nowhere{}))
	var err error
	w.engine, err = New(Config{DB: w.db, Directory: directory{}, Taps: w.taps, Payees: w, Windows: w, Issuer: w.issuer,
		Rules: func(context.Context, *pg.Tx) (journey.Rules, error) { return pairing, nil }})
	if err != nil {
		t.Fatal(err)
	}
	tariff, err := fare.ParseTariff([]byte(tariffText))
	if err != nil {
		t.Fatal(err)
	}
	w.in(t, metro, func(tx *pg.Tx) error {
		return Publish(t.Context(), tx, "test", tariff, w.now.Add(-1000*time.Hour))
	})
	return w
}

func (w *world) in(t testing.TB, tenant citygate.TenantID, fn func(*pg.Tx) error) {
	t.Helper()
	if err := w.db.InTenant(context.Background(), tenant, fn); err != nil {
		t.Fatal(err)
	}
}

// Payees implements [Payees].
func (w *world) Payees(_ context.Context, _ *pg.Tx, rides []Ride) ([]string, error) {
	out := make([]string, len(rides))
	for i, r := range rides {
		out[i] = "operator"
		if p, ok := w.payees[r.Vehicle]; ok {
			out[i] = p
		}
	}
	return out, nil
}

// DecisionWindow implements [Windows]: no window is ever closed.
func (w *world) DecisionWindow(_ context.Context, _ *pg.Tx, date citygate.Date) (citygate.Date, error) {
	return date, nil
}

// upload makes taps known and prices the batch they come in.
func (w *world) upload(t testing.TB, taps ...Tap) {
	t.Helper()
	w.taps.add(taps...)
	for _, x := range taps {
		if err := w.engine.RunBatch(t.Context(), metro, x.ID.Terminal, x.ID.Seq, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// at moves the clock and closes what is due.
func (w *world) at(t testing.TB, now time.Time) {
	t.Helper()
	w.now = now
	if err := w.engine.RunDue(t.Context(), metro); err != nil {
		t.Fatal(err)
	}
}

// carry delivers messages both ways; the city answers claims with refuse.
func (w *world) carry(t testing.TB, refuse map[citygate.TapID]bool) []interbook.Claim {
	t.Helper()
	b := &otherIssuer{refuse: refuse, held: w.held}
	if err := interbook.Carry(t.Context(), w.db, metro, map[string]interbook.Handler{interbook.KindClaims: b.claims}); err != nil {
		t.Fatal(err)
	}
	if err := interbook.Carry(t.Context(), w.db, city, map[string]interbook.Handler{interbook.KindVerdicts: w.engine.Verdicts}); err != nil {
		t.Fatal(err)
	}
	return b.seen
}

// check re-derives the metro's books.
func (w *world) check(t testing.TB) ledger.Report {
	t.Helper()
	r, err := ledger.Check(context.Background(), w.db, []citygate.TenantID{metro}, []ledger.Source{Books{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Kind != ledger.Unpaired { // the city of these tests keeps no books
			t.Errorf("books: %s", f)
		}
	}
	return r
}

func (w *world) balance(t testing.TB, account string) int64 {
	t.Helper()
	var net int64
	w.in(t, metro, func(tx *pg.Tx) error {
		balances, err := ledger.Balances(t.Context(), tx, account)
		for _, b := range balances {
			if b.Account == account {
				net = b.Net()
			}
		}
		return err
	})
	return net
}

// journeys gives all journeys as text: taps, state, amount, in order.
func (w *world) journeys(t testing.TB) []string {
	t.Helper()
	var out []string
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 100_000)
		out = nil
		for _, j := range list {
			if j.State == "empty" {
				continue
			}
			out = append(out, fmt.Sprintf("%v %v %s %s %d %s", j.Rider, j.Taps, j.State, j.Reason, j.Amount.Minor, j.Payee))
		}
		slices.Sort(out)
		return err
	})
	return out
}

// only gives the one journey there is, with its decisions.
func (w *world) only(t testing.TB) (Journey, []Decision) {
	t.Helper()
	var j Journey
	var d []Decision
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10)
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("%d journeys: %+v", len(list), list)
		}
		j, d, err = Find(t.Context(), tx, list[0].ID)
		return err
	})
	return j, d
}

type directory struct{}

func (directory) ByID(_ context.Context, id citygate.TenantID) (tenants.Tenant, error) {
	return tenants.Tenant{ID: id, Issuer: citygate.Issuer(id), Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240, CalendarVersion: 1}, nil
}

func (d directory) ByIssuer(ctx context.Context, issuer citygate.Issuer) (tenants.Tenant, error) {
	if issuer > 2 || issuer == 0 {
		return tenants.Tenant{}, tenants.ErrNotFound.Because(nil, "issuer %d", issuer)
	}
	return d.ByID(ctx, citygate.TenantID(issuer))
}

type nowhere struct{}

func (nowhere) Enqueue(context.Context, pgx.Tx, []pg.Job) error { return nil }

// uploads are recorded taps, kept in memory.
type uploads struct {
	mu    sync.Mutex
	known map[citygate.TapID]Tap
}

func (u *uploads) add(taps ...Tap) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range taps {
		u.known[t.ID] = t
	}
}

func (u *uploads) find(is func(Tap) bool) []Tap {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []Tap
	for _, t := range u.known {
		if is(t) {
			out = append(out, t)
		}
	}
	return out
}

func (u *uploads) Batch(_ context.Context, _ *pg.Tx, terminal uint32, first uint64, count int) ([]Tap, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []Tap
	for n := range uint64(count) {
		if t, ok := u.known[citygate.TapID{Terminal: terminal, Seq: first + n}]; ok {
			out = append(out, t)
		}
	}
	return out, nil
}

func (u *uploads) ByID(_ context.Context, _ *pg.Tx, ids []citygate.TapID) ([]Tap, error) {
	return u.find(func(t Tap) bool { return slices.Contains(ids, t.ID) }), nil
}

func (u *uploads) OfRiders(_ context.Context, _ *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]Tap, error) {
	return u.find(func(t Tap) bool {
		_, ours := slices.BinarySearchFunc(riders, t.Rider, citygate.Rider.Compare)
		return ours && t.Accepted && isPaired(t.Tap) && t.At >= from.UnixMilli() && t.At <= to.UnixMilli()
	}), nil
}

func (u *uploads) OfTerminal(_ context.Context, _ *pg.Tx, terminal uint32, from, to time.Time) ([]Tap, error) {
	return u.find(func(t Tap) bool {
		return t.ID.Terminal == terminal && t.Accepted && isPaired(t.Tap) && t.At >= from.UnixMilli() && t.At <= to.UnixMilli()
	}), nil
}

func (u *uploads) Evidence(_ context.Context, _ *pg.Tx, taps []Tap) (map[citygate.TapID][]byte, error) {
	out := make(map[citygate.TapID][]byte, len(taps))
	for _, t := range taps {
		out[t.ID] = fmt.Appendf(nil, "code of %s", t.ID)
	}
	return out, nil
}

func (u *uploads) Refuse(_ context.Context, _ *pg.Tx, _ citygate.TenantID, verdicts []interbook.TapVerdict) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, v := range verdicts {
		id := citygate.TapID{Terminal: v.Terminal, Seq: v.Seq}
		t := u.known[id]
		t.Accepted = false
		u.known[id] = t
	}
	return nil
}

// ownIssuer answers claims on the metro's own riders.
type ownIssuer struct {
	mu     sync.Mutex
	refuse map[citygate.TapID]bool
	seen   []interbook.Claim
	held   held
}

func accountOf(r citygate.Rider) citygate.UUID { return citygate.UUID{0xac, 15: byte(r.Index)} }

func (o *ownIssuer) AcceptOwn(_ context.Context, _ *pg.Tx, _ citygate.Currency, claims []interbook.Claim) ([]Answer, []ledger.Transfer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.held.take(claims); err != nil {
		return nil, nil, err
	}
	out := make([]Answer, len(claims))
	for i, c := range claims {
		out[i] = Answer{verdict(c, o.refuse), accountOf(c.Rider)}
		if !out[i].Accepted {
			out[i].Account = citygate.UUID{}
		}
	}
	o.seen = append(o.seen, claims...)
	return out, nil, nil
}

func verdict(c interbook.Claim, refuse map[citygate.TapID]bool) interbook.Verdict {
	v := interbook.Verdict{Journey: c.Journey, N: c.N, Accepted: true}
	for _, t := range c.Taps {
		if refuse[citygate.TapID{Terminal: t.Terminal, Seq: t.Seq}] {
			v.Accepted = false
			v.Refused = append(v.Refused, interbook.TapVerdict{Terminal: t.Terminal, Seq: t.Seq, Reason: "double_use"})
		}
	}
	return v
}

// held is which journey was claimed last with which taps.
type held map[citygate.TapID]citygate.UUID

// take fails if two journeys would be paid for one tap after a message: an
// issuer then takes the operator for one that claims twice.
func (h held) take(claims []interbook.Claim) error {
	for _, c := range claims {
		maps.DeleteFunc(h, func(_ citygate.TapID, j citygate.UUID) bool { return j == c.Journey })
	}
	for i, c := range claims {
		if c.Amount == 0 || slices.ContainsFunc(claims, func(o interbook.Claim) bool { return o.Journey == c.Journey && o.N > claims[i].N }) {
			continue
		}
		for _, t := range c.Taps {
			id := citygate.TapID{Terminal: t.Terminal, Seq: t.Seq}
			if other, ok := h[id]; ok && other != c.Journey {
				return fmt.Errorf("tap %s is claimed for journeys %s and %s", id, other, c.Journey)
			}
			h[id] = c.Journey
		}
	}
	return nil
}

// otherIssuer is the city: it answers claims by message.
type otherIssuer struct {
	refuse map[citygate.TapID]bool
	seen   []interbook.Claim
	held   held
}

func (o *otherIssuer) claims(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	m, err := decodeClaims(body)
	if err != nil {
		return err
	}
	if err := o.held.take(m.Items); err != nil {
		return err
	}
	var answer interbook.Verdicts
	for _, c := range m.Items {
		answer.Items = append(answer.Items, verdict(c, o.refuse))
	}
	o.seen = append(o.seen, m.Items...)
	return interbook.Put(ctx, tx, from, interbook.KindVerdicts, answer)
}

// tapAt makes a tap of the metro, minutes after the epoch, by a rider of issuer.
func tapAt(issuer citygate.Issuer, rider uint32, terminal uint32, seq uint64, kind tap.Kind, minutes int, stop string) Tap {
	t := Tap{Tap: journey.Tap{ID: citygate.TapID{Terminal: terminal, Seq: seq}, Rider: citygate.Rider{Issuer: issuer, Index: rider}, Kind: kind,
		At: pgtest.Epoch.Add(time.Duration(minutes) * time.Minute).UnixMilli(), Stop: stop, Route: "M", Party: 1, Product: 1}, Accepted: true, Counter: uint16(seq)}
	if kind == tap.Single {
		t.Route = "12"
	}
	return t
}
