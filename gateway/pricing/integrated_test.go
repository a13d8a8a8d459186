package pricing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

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

// An authority, three operators of it, and the city of the other tests that issues
// the codes.
const (
	authority citygate.TenantID = 10
	rail      citygate.TenantID = 11
	tram      citygate.TenantID = 12
	bus       citygate.TenantID = 13
)

var operators = []citygate.TenantID{rail, tram, bus}

// The worked case D as a tariff: X to Y costs 5.00 over two paths.
const integratedText = `{"name":"whole city","version":1,"currency":"CNY","categories":{"default":"adult"},
	"rules":[{"id":"bus","operators":["bus"],"flat":{"adult":300}},
	         {"id":"gates","table":{"stops":["X","Y","Z"],"amounts":{"adult":[-1,500,300, 500,-1,400, 300,400,-1]}}}],
	"transfers":[{"id":"change","window_min":90,"since":"start","permille":500}],
	"caps":[{"id":"day","period":{"kind":"day"},"amounts":{"adult":1200}}],
	"incomplete":{"mode":"max_from_stop"},"same_stop":{"mode":"min_from_stop"},"rounding":{},
	"sharing":{"pool":"POOL","paths":[
	   {"from":"X","to":"Y","weight":62,"legs":[{"operator":"rail","m":7100},{"operator":"tram","m":4300}]},
	   {"from":"X","to":"Y","weight":38,"legs":[{"operator":"rail","m":9000},{"operator":"bus","m":3500}]}]}}`

type tree struct{}

func (tree) ByID(ctx context.Context, id citygate.TenantID) (tenants.Tenant, error) {
	t, err := directory{}.ByID(ctx, id)
	if id > authority {
		t.Parent = authority
	}
	return t, err
}

func (tree) ByIssuer(ctx context.Context, issuer citygate.Issuer) (tenants.Tenant, error) {
	return directory{}.ByIssuer(ctx, issuer)
}

// perTenant keeps each tenant's taps apart, as a database does.
type perTenant map[citygate.TenantID]*uploads

func (p perTenant) of(tx *pg.Tx) *uploads {
	if p[tx.Tenant] == nil {
		p[tx.Tenant] = &uploads{known: map[citygate.TapID]Tap{}}
	}
	return p[tx.Tenant]
}

func (p perTenant) Batch(ctx context.Context, tx *pg.Tx, terminal uint32, first uint64, count int) ([]Tap, error) {
	return p.of(tx).Batch(ctx, tx, terminal, first, count)
}

func (p perTenant) ByID(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]Tap, error) {
	return p.of(tx).ByID(ctx, tx, ids)
}

func (p perTenant) OfRiders(ctx context.Context, tx *pg.Tx, riders []citygate.Rider, from, to time.Time) ([]Tap, error) {
	return p.of(tx).OfRiders(ctx, tx, riders, from, to)
}

func (p perTenant) OfTerminal(ctx context.Context, tx *pg.Tx, terminal uint32, from, to time.Time) ([]Tap, error) {
	return p.of(tx).OfTerminal(ctx, tx, terminal, from, to)
}

func (p perTenant) Evidence(ctx context.Context, tx *pg.Tx, taps []Tap) (map[citygate.TapID][]byte, error) {
	for _, t := range taps {
		if len(p.of(tx).find(func(o Tap) bool { return o.ID == t.ID })) == 0 {
			return nil, fmt.Errorf("tenant %d has no tap %s", tx.Tenant, t.ID)
		}
	}
	return p.of(tx).Evidence(ctx, tx, taps)
}

func (p perTenant) Refuse(ctx context.Context, tx *pg.Tx, issuer citygate.TenantID, verdicts []interbook.TapVerdict) error {
	return p.of(tx).Refuse(ctx, tx, issuer, verdicts)
}

// A land is the world of an integrated tariff.
type land struct {
	world
	taps   perTenant
	refuse map[citygate.TapID]bool // by the issuer: tap ids as the authority has them
	claims []interbook.Claim
	advice map[citygate.TenantID][]interbook.AdviceItem // what operators were told
}

func newLand(t testing.TB, pool string) *land {
	t.Helper()
	return newLandOf(t, strings.Replace(integratedText, "POOL", pool, 1))
}

func newLandOf(t testing.TB, text string) *land {
	t.Helper()
	l := &land{taps: perTenant{}, refuse: map[citygate.TapID]bool{}, advice: map[citygate.TenantID][]interbook.AdviceItem{}}
	l.now, l.held, l.payees = pgtest.Epoch.Add(-time.Hour), held{}, map[string]string{}
	l.db = pgtest.New(t, pgtest.WithClock(func() time.Time { return l.now }), pgtest.WithEnqueuer(nowhere{}))
	var err error
	l.engine, err = New(Config{DB: l.db, Directory: tree{}, Taps: l.taps, Payees: &l.world, Windows: &l.world, Issuer: &ownIssuer{held: held{}},
		Rules: func(context.Context, *pg.Tx) (journey.Rules, error) { return pairing, nil }})
	if err != nil {
		t.Fatal(err)
	}
	tariff, err := fare.ParseTariff([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	l.in(t, authority, func(tx *pg.Tx) error {
		return Publish(t.Context(), tx, "test", tariff, l.now.Add(-1000*time.Hour))
	})
	for i, o := range operators {
		m, err := l.engine.ProposeMember(t.Context(), "test", authority, o, []string{"rail", "tram", "bus"}[i], time.Time{})
		if err != nil || m.Ordinal != i+1 {
			t.Fatal(m, err)
		}
		if m, err = l.engine.AgreeMember(t.Context(), "test", o, 1); err != nil || !m.holds(pgtest.Epoch.UnixMilli()) {
			t.Fatal(m, err)
		}
	}
	l.now = pgtest.Epoch
	return l
}

// gate and board make taps of an operator, minutes after the epoch.
func gate(terminal uint32, seq uint64, rider uint32, kind tap.Kind, minutes int, stop string) Tap {
	x := tapAt(1, rider, terminal, seq, kind, minutes, stop)
	x.Route = ""
	return x
}

func board(terminal uint32, seq uint64, rider uint32, minutes int) Tap {
	x := tapAt(1, rider, terminal, seq, tap.Single, minutes, "")
	x.Vehicle = fmt.Sprint("v", terminal)
	return x
}

type load struct {
	operator citygate.TenantID
	tap      Tap
}

func (l *land) upload(t testing.TB, loads ...load) {
	t.Helper()
	for _, x := range loads {
		if l.taps[x.operator] == nil {
			l.taps[x.operator] = &uploads{known: map[citygate.TapID]Tap{}}
		}
		l.taps[x.operator].add(x.tap)
		if err := l.engine.RunBatch(t.Context(), x.operator, x.tap.ID.Terminal, x.tap.ID.Seq, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// carry delivers messages until there are none.
func (l *land) carry(t testing.TB) {
	t.Helper()
	issuer := &otherIssuer{refuse: l.refuse, held: l.held}
	handlers := map[string]interbook.Handler{
		interbook.KindFacts: l.engine.Facts, interbook.KindFactVerdicts: l.engine.FactVerdicts, interbook.KindShares: l.engine.Shares,
		interbook.KindClaims: issuer.claims, interbook.KindVerdicts: l.engine.Verdicts,
		interbook.KindAdvice: func(_ context.Context, tx *pg.Tx, _ citygate.TenantID, body []byte) error {
			var a interbook.Advice
			err := json.Unmarshal(body, &a)
			l.advice[tx.Tenant] = append(l.advice[tx.Tenant], a.Items...)
			return err
		},
	}
	for range 4 {
		for _, from := range []citygate.TenantID{city, authority, rail, tram, bus} {
			if err := interbook.Carry(t.Context(), l.db, from, handlers); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.claims = append(l.claims, issuer.seen...)
}

func (l *land) due(t testing.TB, now time.Time) {
	t.Helper()
	l.now = now
	for _, o := range append(slices.Clone(operators), authority) {
		if err := l.engine.RunDue(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	l.carry(t)
}

func (l *land) net(t testing.TB, tenant citygate.TenantID, account string) (net int64) {
	t.Helper()
	l.in(t, tenant, func(tx *pg.Tx) error {
		net = 0
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

// check re-derives the books of authority and operators and holds them against each
// other.
func (l *land) check(t testing.TB) {
	t.Helper()
	r, err := ledger.Check(t.Context(), l.db, append(slices.Clone(operators), authority), []ledger.Source{Books{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Kind != ledger.Unpaired || f.Account != ledger.InterbookReceivable(city) { // the city of these tests keeps no books
			t.Errorf("books: %s", f)
		}
	}
	if n := l.net(t, authority, ledger.Payable(SharedPayee)); n != 0 {
		t.Errorf("%d stand between fares and shares", n)
	}
	for _, o := range operators {
		l.in(t, o, func(tx *pg.Tx) error {
			c, err := CheckJourneys(t.Context(), tx)
			if c.WithoutOneFare != 0 {
				t.Errorf("operator %d: %+v", o, c)
			}
			return err
		})
	}
}

// totals gives what each operator is owed, and what riders are asked for.
func (l *land) totals(t testing.TB) (shares [3]int64, fares int64) {
	for i, o := range operators {
		shares[i] = l.net(t, o, ledger.InterbookReceivable(authority))
		if owed := -l.net(t, o, ledger.Payable("operator")); owed != shares[i] {
			t.Errorf("operator %d owes its payee %d of %d", o, owed, shares[i])
		}
	}
	return shares, l.net(t, authority, ledger.InterbookReceivable(city))
}

// Worked case D from tap to books: on at the rail's gate, off at the tram's, a third
// operator between; one fare, three shares, and none of the operators prices it.
func TestWorkedCaseDFromTapsOfTwoOperators(t *testing.T) {
	l := newLand(t, "ride")
	l.upload(t, load{tram, gate(1, 1, 7, tap.Off, 30, "Y")}, load{rail, gate(1, 1, 7, tap.On, 0, "X")})
	l.carry(t)
	if shares, fares := l.totals(t); shares != [3]int64{330, 117, 53} || fares != 500 {
		t.Errorf("shares %v of %d", shares, fares)
	}
	if last := l.claims[len(l.claims)-1]; last.Amount != 500 || len(last.Taps) != 2 || string(last.Taps[0].Evidence) != "code of tap_1_1" {
		t.Errorf("claims %+v", l.claims)
	}
	for _, o := range operators {
		l.in(t, o, func(tx *pg.Tx) error {
			list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10)
			if len(list) != 0 {
				t.Errorf("operator %d priced %+v", o, list)
			}
			return err
		})
	}
	l.check(t)
}

// A transfer and a cap fall on the later ride; all operators bear them, and a late
// tap of the first divides everything anew by pairs that sum to zero.
func TestALateTapDividesAnew(t *testing.T) {
	l := newLand(t, "transfers")
	l.payees["v2"] = "owner"
	l.upload(t, load{bus, board(2, 1, 7, 20)})
	l.carry(t)
	if owed := -l.net(t, bus, ledger.Payable("owner")); owed != 300 {
		t.Fatalf("the bus's owner gets %d", owed)
	}
	l.upload(t, load{rail, gate(1, 1, 7, tap.On, 0, "X")}, load{rail, gate(1, 2, 7, tap.Off, 10, "Z")})
	l.carry(t)
	// 3.00 and half of 3.00: 4.50 by equal nominal fares.
	if got := [2]int64{l.net(t, rail, ledger.InterbookReceivable(authority)), l.net(t, bus, ledger.InterbookReceivable(authority))}; got != [2]int64{225, 225} {
		t.Errorf("shares %v", got)
	}
	if owed := -l.net(t, bus, ledger.Payable("owner")); owed != 225 {
		t.Errorf("the bus's owner gets %d", owed)
	}
	l.in(t, authority, func(tx *pg.Tx) error {
		var n, sum int64
		err := tx.QueryRow(t.Context(), `SELECT count(*), sum(d) FROM (SELECT amount - lag(amount, 1, 0::bigint) OVER (PARTITION BY journey_id, operator_id ORDER BY n) AS d
			FROM fare_shares WHERE tenant_id = $1) AS x`, int64(tx.Tenant)).Scan(&n, &sum)
		if sum != 450 {
			t.Errorf("%d changes of shares sum to %d", n, sum)
		}
		return err
	})
	l.check(t)
}

// TestUploadOrderDoesNotChangeTheShares: whoever uploads first, twice, or after the
// others, operators get the same to the cent, and riders pay the same.
func TestUploadOrderDoesNotChangeTheShares(t *testing.T) {
	for _, pool := range []string{"ride", "transfers", "day"} {
		r := rand.New(rand.NewPCG(3, uint64(len(pool))))
		var loads []load
		seqs := map[citygate.TenantID]uint64{}
		next := func(o citygate.TenantID) uint64 { seqs[o]++; return seqs[o] }
		for rider := range uint32(5) {
			at := r.IntN(100)
			for range 5 {
				at += r.IntN(80) + 1
				if r.IntN(2) == 0 {
					loads = append(loads, load{bus, board(3, next(bus), rider, at)})
					continue
				}
				on, off := operators[r.IntN(2)], operators[r.IntN(2)]
				loads = append(loads, load{on, gate(3, next(on), rider, tap.On, at, []string{"X", "Y"}[r.IntN(2)])})
				if at += r.IntN(40) + 1; r.IntN(6) > 0 {
					loads = append(loads, load{off, gate(3, next(off), rider, tap.Off, at, []string{"X", "Y", "Z"}[r.IntN(3)])})
				}
			}
		}
		var want [3]int64
		var wantFares int64
		var wantRides []string
		for order := range uint64(3) {
			l := newLand(t, pool)
			mixed := slices.Clone(loads)
			m := rand.New(rand.NewPCG(order, 9))
			if order > 0 {
				m.Shuffle(len(mixed), func(i, k int) { mixed[i], mixed[k] = mixed[k], mixed[i] })
			}
			for i, x := range mixed {
				l.upload(t, x)
				if order > 0 && m.IntN(3) == 0 || order == 0 && i%20 == 0 {
					l.carry(t)
				}
				if order == 2 && i == len(mixed)/2 {
					l.due(t, pgtest.Epoch.Add(closed))
				}
				if order == 2 && m.IntN(5) == 0 {
					l.upload(t, mixed[m.IntN(i+1)])
				}
			}
			l.due(t, pgtest.Epoch.Add(closed))
			l.check(t)
			shares, fares := l.totals(t)
			rides := l.sharesAsText(t)
			if sum := shares[0] + shares[1] + shares[2]; sum != fares || fares == 0 {
				t.Fatalf("%s: shares %v of %d", pool, shares, fares)
			}
			if order == 0 {
				want, wantFares, wantRides = shares, fares, rides
			} else if shares != want || fares != wantFares || !slices.Equal(rides, wantRides) {
				t.Fatalf("%s, order %d: %v of %d, want %v of %d\n%v\n%v", pool, order, shares, fares, want, wantFares, rides, wantRides)
			}
		}
	}
}

// sharesAsText gives the shares that are not 0, ride by ride: a ride is known by its
// first tap, as ids follow from what came first.
func (l *land) sharesAsText(t testing.TB) (out []string) {
	t.Helper()
	l.in(t, authority, func(tx *pg.Tx) error {
		out = nil
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10_000)
		if err != nil {
			return err
		}
		for _, j := range list {
			last, err := lastShares(t.Context(), tx, []citygate.UUID{j.ID})
			if err != nil {
				return err
			}
			for _, s := range last {
				if s.amount != 0 {
					out = append(out, fmt.Sprintf("%v %d: %d %q", j.Taps, s.operator, s.amount, s.taps))
				}
			}
		}
		slices.Sort(out)
		return nil
	})
	return out
}

// Two claims that an issuer refuses reach the reader's operator as verdicts, and the
// fare and its shares are taken back.
func TestARefusedTapOfAMemberIsTakenBack(t *testing.T) {
	l := newLand(t, "day")
	l.upload(t, load{bus, board(2, 5, 7, 20)}, load{bus, board(2, 6, 8, 20)})
	l.refuse[citygate.TapID{Terminal: 2, Seq: 5 | 3<<ordinalShift}] = true
	l.carry(t)
	if shares, fares := l.totals(t); shares != [3]int64{0, 0, 300} || fares != 300 {
		t.Errorf("shares %v of %d", shares, fares)
	}
	taps := l.taps[bus].find(func(x Tap) bool { return !x.Accepted })
	if len(taps) != 1 || taps[0].ID != (citygate.TapID{Terminal: 2, Seq: 5}) {
		t.Errorf("the operator refused %v", taps)
	}
	// Sent again, accepted or not, it stays refused.
	l.taps[bus].add(board(2, 5, 7, 20))
	if err := l.engine.RunBatch(t.Context(), bus, 2, 5, 1); err != nil {
		t.Fatal(err)
	}
	l.carry(t)
	if _, fares := l.totals(t); fares != 300 {
		t.Errorf("fares %d", fares)
	}
	l.check(t)
}

// Who is no member hands nothing over, gives no shares, and learns nothing.
func TestOnlyMembersHandOver(t *testing.T) {
	l := newLand(t, "ride")
	fact := interbook.Fact{ClaimTap: interbook.ClaimTap{Terminal: 1, Seq: 1, EventTime: l.now.Add(time.Minute)}, Kind: 3, Accepted: true}
	late := fact
	late.EventTime = l.now.Add(-2 * time.Hour) // before the membership
	marked := fact
	marked.Seq |= 1 << ordinalShift
	for name, try := range map[string]func(tx *pg.Tx) error{
		"a stranger's tap": func(tx *pg.Tx) error {
			return l.engine.Facts(t.Context(), tx, city, body(interbook.Facts{Items: []interbook.Fact{fact}}))
		},
		"a tap from before": func(tx *pg.Tx) error {
			return l.engine.Facts(t.Context(), tx, rail, body(interbook.Facts{Items: []interbook.Fact{late}}))
		},
		"another's number": func(tx *pg.Tx) error {
			return l.engine.Facts(t.Context(), tx, rail, body(interbook.Facts{Items: []interbook.Fact{marked}}))
		},
		"shares of nobody": func(tx *pg.Tx) error {
			return l.engine.Shares(t.Context(), tx, rail, body(interbook.Shares{Currency: "CNY"}))
		},
		"a verdict on nothing": func(tx *pg.Tx) error {
			return l.engine.FactVerdicts(t.Context(), tx, rail, body(interbook.FactVerdicts{Items: []interbook.TapVerdict{{Terminal: 1, Seq: 1}}}))
		},
	} {
		if err := l.db.InTenant(t.Context(), authority, try); !errors.Is(err, ErrFacts) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A share of a journey that the operator priced itself is not overwritten.
	l.in(t, rail, func(tx *pg.Tx) error {
		r := &run{Engine: l.engine, tx: tx, home: home{tenants.Tenant{Currency: "CNY"}, citygate.Calendar{Version: 1, Location: time.UTC}}, windows: map[citygate.Date]citygate.Date{}}
		d := &decision{journey: citygate.UUID{1}, n: 1, issuer: city, payee: "operator", known: true, currency: "CNY", explanation: []byte("{}"), at: l.now, claim: claimAccepted}
		if err := r.date(t.Context(), d); err != nil {
			return err
		}
		if err := insertDecisions(t.Context(), tx, []*decision{d}); err != nil {
			return err
		}
		err := l.engine.Shares(t.Context(), tx, authority, body(interbook.Shares{Currency: "CNY", Items: []interbook.FareShare{{Journey: citygate.UUID{1}, N: 2, Amount: 5, At: l.now, Explanation: []byte("{}")}}}))
		if !errors.Is(err, ErrFacts) {
			t.Errorf("a share of our own journey: %v", err)
		}
		return nil
	})
	for name, try := range map[string]struct {
		want error
		do   func() error
	}{
		"not an operator of it": {ErrMember, func() error {
			_, err := l.engine.ProposeMember(t.Context(), "x", rail, tram, "tram", time.Time{})
			return err
		}},
		"no name": {ErrMember, func() error {
			_, err := l.engine.ProposeMember(t.Context(), "x", authority, tram, "", time.Time{})
			return err
		}},
		"while one holds": {ErrMemberState, func() error {
			_, err := l.engine.ProposeMember(t.Context(), "x", authority, tram, "t", time.Time{})
			return err
		}},
		"of no proposal": {ErrNoMember, func() error { _, err := l.engine.AgreeMember(t.Context(), "x", tram, 2); return err }},
		"by a third": {ErrNoMember, func() error {
			_, err := l.engine.EndMember(t.Context(), "x", bus, tram, time.Time{})
			return err
		}},
	} {
		if err := try.do(); !errors.Is(err, try.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func body(x any) []byte {
	raw, err := json.Marshal(x)
	if err != nil {
		panic(err)
	}
	return raw
}

// After the end of a membership the operator prices its taps itself; those from before
// that come later are still the authority's.
func TestAMembershipEnds(t *testing.T) {
	l := newLand(t, "ride")
	tariff, err := fare.ParseTariff([]byte(tariffText))
	if err != nil {
		t.Fatal(err)
	}
	l.in(t, bus, func(tx *pg.Tx) error { return Publish(t.Context(), tx, "test", tariff, l.now.Add(-time.Hour)) })
	m, err := l.engine.EndMember(t.Context(), "test", bus, bus, l.now.Add(time.Hour))
	if err != nil || m.State(l.now) != "in_force" || m.State(l.now.Add(time.Hour)) != "ended" {
		t.Fatal(m, err)
	}
	after := board(2, 1, 7, 60)
	after.Route = "12"
	l.upload(t, load{bus, after}, load{bus, board(2, 2, 7, 59)})
	l.carry(t)
	if own := l.net(t, bus, ledger.InterbookReceivable(city)); own != 480 {
		t.Errorf("the operator claims %d for the ride after", own)
	}
	if shared := l.net(t, bus, ledger.InterbookReceivable(authority)); shared != 300 {
		t.Errorf("its share of the ride before is %d", shared)
	}
	l.check(t)
}

// What an issuer told about fares goes on to the operators by their shares: nothing
// is left between, a later correction of the shares corrects it too, and when all
// is paid over nobody owes anybody.
func TestAdviceIsPassedOn(t *testing.T) {
	l := newLand(t, "transfers")
	l.upload(t, load{bus, board(2, 1, 7, 20)})
	l.carry(t)
	first := l.claims[0].Journey
	advise := func(items ...interbook.AdviceItem) {
		t.Helper()
		for i := range items {
			items[i].Currency, items[i].At = "CNY", l.now
		}
		l.in(t, authority, func(tx *pg.Tx) error {
			for range 2 { // a second time changes nothing
				rest, err := l.engine.TakeAdvice(t.Context(), tx, city, append(slices.Clone(items), interbook.AdviceItem{Journey: citygate.UUID{9}}))
				if err != nil || len(rest) != 1 {
					return fmt.Errorf("%v: %w", rest, err)
				}
			}
			return nil
		})
		l.carry(t)
	}
	advise(interbook.AdviceItem{Journey: first, Kind: interbook.AdviceFee, Amount: 7, Ref: "c/0"},
		interbook.AdviceItem{Journey: first, Kind: interbook.AdviceCleared, Amount: 293, Ref: "c/0"})
	if owed := l.net(t, authority, ledger.InterbookPayable(bus)); owed != 0 || l.net(t, authority, ledger.Bank()) != 0 {
		t.Errorf("%d is owed after all was paid over", owed)
	}
	// A ride comes in late: half of what was passed on belongs to the rail.
	l.upload(t, load{rail, gate(1, 1, 7, tap.On, 0, "X")}, load{rail, gate(1, 2, 7, tap.Off, 10, "Z")})
	l.carry(t)
	second := l.claims[len(l.claims)-1].Journey
	for _, c := range l.claims {
		if c.Journey != first {
			second = c.Journey
		}
	}
	refund := interbook.AdviceItem{Journey: first, Kind: interbook.AdviceCleared, Amount: -150, Ref: "c/1"}
	advise(refund, interbook.AdviceItem{Journey: second, Kind: interbook.AdviceUncollected, Amount: 300, Ref: "d/0"})
	advise(interbook.AdviceItem{Journey: second, Kind: interbook.AdviceRecovered, Amount: 300, Ref: "d/1"},
		interbook.AdviceItem{Journey: second, Kind: interbook.AdviceCleared, Amount: 300, Ref: "e/0"})
	sums := map[citygate.TenantID]map[string]int64{rail: {}, bus: {}}
	for o := range sums {
		for _, it := range l.advice[o] {
			sums[o][it.Kind] += it.Amount
		}
		if owed := l.net(t, authority, ledger.InterbookPayable(o)); owed != 0 {
			t.Errorf("operator %d is owed %d; it was told %v", o, owed, sums[o])
		}
		if s := sums[o]; s["fee"]+s["cleared"] != 225 || s["uncollected"] != s["recovered"] || s["fee"] < 3 {
			t.Errorf("operator %d was told %v", o, s)
		}
	}
	if owed, bank := l.net(t, authority, ledger.InterbookReceivable(city)), l.net(t, authority, ledger.Bank()); owed != 0 || bank != 0 {
		t.Errorf("the issuer owes %d, %d is in the bank", owed, bank)
	}
	l.in(t, authority, func(tx *pg.Tx) error {
		left, err := OwedShares(t.Context(), tx)
		if err != nil {
			return err
		}
		if len(left) != 0 {
			t.Errorf("left %v", left)
		}
		_, err = l.engine.TakeAdvice(t.Context(), tx, rail, []interbook.AdviceItem{{Journey: first, Kind: interbook.AdviceFee, Amount: 1, Ref: "x", Currency: "CNY", At: l.now}})
		if !errors.Is(err, ErrFacts) {
			t.Errorf("another than the issuer told a fee: %v", err)
		}
		return nil
	})
}
