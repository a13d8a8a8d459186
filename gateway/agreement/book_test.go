package agreement_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	bus  citygate.TenantID = 1
	rail citygate.TenantID = 2
	who                    = "user:ada"
)

// A platform is a provider with a book of its own. fails is what the next call answers
// after it acted.
type platform struct {
	mu    sync.Mutex
	book  map[string]driver.Agreement // by our name
	fails error
	later bool // it ends agreements later
	none  bool // it says of what is not there that it has ended
	calls []string
}

var errLost = errors.New("the answer was lost")

func (p *platform) answer(call string, of driver.Agreement, act func(*driver.Agreement)) (driver.Agreement, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
	found := driver.Agreement{OurID: of.OurID, ID: of.ID}
	for ours, a := range p.book {
		if of.ID != "" && a.ID == of.ID || of.ID == "" && ours == of.OurID {
			act(&a)
			p.book[ours], found = a, a
		}
	}
	err := p.fails
	p.fails = nil
	return found, err
}

func (p *platform) OpenAgreement(_ context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	_, err := p.answer("open", driver.Agreement{OurID: r.OurID}, func(*driver.Agreement) {})
	return driver.Invitation{OurID: r.OurID, URL: "https://wallet.example/" + r.OurID}, err
}

func (p *platform) QueryAgreement(_ context.Context, of driver.Agreement) (driver.Agreement, error) {
	return p.answer("query", of, func(*driver.Agreement) {})
}

func (p *platform) CloseAgreement(_ context.Context, of driver.Agreement) (driver.Agreement, error) {
	a, err := p.answer("close", of, func(a *driver.Agreement) {
		if !p.later {
			a.State = driver.AgreementEnded
		}
	})
	if p.none && a.State == driver.AgreementUnknown {
		a.State, a.ReasonCode = driver.AgreementEnded, "NOT_EXIST"
	}
	return a, err
}

// put is what the rider does there.
func (p *platform) put(ours, number string, state driver.AgreementState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book[ours] = driver.Agreement{OurID: ours, ID: number, RiderRef: "2088", State: state}
}

func (p *platform) asked() (calls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls, p.calls = p.calls, nil
	return calls
}

// payers records what follows for accounts.
type payers struct {
	mu    sync.Mutex
	heard []string
	known map[string]bool
}

func (p *payers) add(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, fmt.Sprintf(format, args...))
	return nil
}

func (p *payers) Known(_ context.Context, _ *pg.Tx, _, number string) (bool, error) {
	return p.known[number], nil
}
func (p *payers) Linkable(context.Context, *pg.Tx, citygate.UUID, string) error { return nil }
func (p *payers) Link(_ context.Context, tx *pg.Tx, _ string, _ citygate.UUID, _, number string) error {
	return p.add("%d link %s", tx.Tenant, number)
}
func (p *payers) Unlink(_ context.Context, tx *pg.Tx, _, _, number string) error {
	return p.add("%d unlink %s", tx.Tenant, number)
}
func (p *payers) Follow(_ context.Context, tx *pg.Tx, _, _, number string, ended bool) error {
	return p.add("%d %s ended %t", tx.Tenant, number, ended)
}

func (p *payers) followed() (heard []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	heard, p.heard = p.heard, nil
	return slices.Compact(heard)
}

type desk struct {
	*agreement.Book
	t        *testing.T
	platform *platform
	payers   *payers
	account  citygate.UUID
	now      time.Time
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, platform: &platform{book: map[string]driver.Agreement{}}, payers: &payers{known: map[string]bool{}}, account: citygate.UUID{6: 0x70, 15: 1}, now: pgtest.Epoch}
	db := pgtest.New(t, pgtest.WithClock(func() time.Time { return d.now }))
	owner := pgtest.Owner(t, db)
	for _, tenant := range []citygate.TenantID{bus, rail} {
		owner.Exec(tenant, `INSERT INTO provider_contracts (tenant_id, contract, adapter, config, fee_ppm, state, created_at) VALUES ($1, 'wallet', 'toy', '{}', 0, 'active', $2)`, tenant, d.now)
		owner.Exec(tenant, `INSERT INTO accounts (tenant_id, account_id, contract, rider_ref, category, state, created_at) VALUES ($1, $2, 'other', 'ann', '', 'active', $3)`, tenant, d.account, d.now)
	}
	d.Book = &agreement.Book{DB: db, Random: rand.Reader, Accounts: d.payers,
		Manager: func(context.Context, citygate.TenantID, string) (agreement.Manager, error) { return d.platform, nil }}
	return d
}

func (d *desk) all(tenant citygate.TenantID) (list []agreement.Agreement) {
	d.t.Helper()
	d.must(d.DB.InTenant(d.t.Context(), tenant, func(tx *pg.Tx) (err error) {
		list, err = agreement.List(d.t.Context(), tx, agreement.Filter{}, citygate.UUID{}, 100)
		return err
	}))
	return list
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// is holds that a tenant has one agreement and it stands so.
func (d *desk) is(what string, state agreement.State, ending bool, calls ...string) agreement.Agreement {
	d.t.Helper()
	list := d.all(bus)
	if len(list) != 1 || list[0].State != state || list[0].Ending != ending {
		d.t.Fatalf("%s: %+v; want one %s, ending %t", what, list, state, ending)
	}
	if got := d.platform.asked(); !slices.Equal(got, calls) {
		d.t.Errorf("%s: the platform was asked %v; want %v", what, got, calls)
	}
	return list[0]
}

func (d *desk) run(after time.Duration) {
	d.t.Helper()
	d.now = d.now.Add(after)
	if err := d.RunDue(d.t.Context(), bus); err != nil && !errors.Is(err, errLost) {
		d.t.Fatal(err)
	}
}

func (d *desk) notice(tenant citygate.TenantID, said driver.Agreement) {
	d.t.Helper()
	d.must(d.DB.InTenant(d.t.Context(), tenant, func(tx *pg.Tx) error { return d.Noticed(d.t.Context(), tx, "system:notify", "wallet", said) }))
}

// The reply to an invitation is lost, and the rider agreed all the same: he is found, and
// his account is linked without anybody's asking. The reply to the end is lost: it is asked
// for again until the platform has said so, and only then is he let go of.
func TestLostRepliesAreAskedAfter(t *testing.T) {
	d := newDesk(t)
	d.platform.fails = errLost
	o := agreement.Opening{Contract: "wallet", OurID: "A", Account: d.account}
	if _, _, err := d.Open(t.Context(), who, bus, o); !errors.Is(err, errLost) {
		t.Fatalf("opened: %v", err)
	}
	d.is("the reply is lost", agreement.Unknown, false, "open")
	if _, _, err := d.Open(t.Context(), who, bus, o); err != nil { // the same again
		t.Fatal(err)
	}
	d.is("opened twice", agreement.Unknown, false, "open")
	if _, _, err := d.Open(t.Context(), who, bus, agreement.Opening{Contract: "wallet", OurID: "A"}); !errors.Is(err, agreement.ErrOther) {
		t.Errorf("opened for nobody: %v", err)
	}
	d.run(time.Second)
	d.is("it is not due", agreement.Unknown, false)
	d.run(time.Minute)
	d.is("not confirmed", agreement.Unknown, false, "query")
	d.platform.put("A", "9", driver.AgreementActive)
	d.run(time.Hour)
	if a := d.is("confirmed", agreement.Active, false, "query"); !a.Linked || a.ProviderID != "9" {
		t.Errorf("confirmed: %+v", a)
	}
	if got := d.payers.followed(); !slices.Equal(got, []string{"1 9 ended false", "1 link 9"}) {
		t.Errorf("accounts: %v", got)
	}
	d.run(24 * time.Hour)
	id := d.is("nobody asks without need", agreement.Active, false).ID

	d.platform.fails = errLost // of the query before: nothing was sent
	if _, err := d.End(t.Context(), who, bus, id); !errors.Is(err, errLost) {
		t.Fatalf("ended: %v", err)
	}
	d.is("nothing is known", agreement.Active, true, "query")
	d.platform.later = true
	d.run(time.Hour)
	d.is("the platform ends it later", agreement.Active, true, "query", "close")
	d.platform.later = false
	d.run(time.Hour)
	if a := d.is("ended", agreement.Ended, false, "query", "close"); a.Linked || a.EndedAt.IsZero() {
		t.Errorf("ended: %+v", a)
	}
	if got := d.payers.followed(); got[len(got)-1] != "1 unlink 9" {
		t.Errorf("accounts: %v", got)
	}
	for range 2 { // twice is once, and nobody is asked
		_, err := d.End(t.Context(), who, bus, id)
		d.must(err)
	}
	d.run(24 * time.Hour)
	d.is("for good", agreement.Ended, false)
	if _, _, err := d.Open(t.Context(), who, bus, o); !errors.Is(err, agreement.ErrEnded) {
		t.Errorf("opened again: %v", err)
	}
	if _, err := d.End(t.Context(), who, rail, id); !errors.Is(err, agreement.ErrNone) {
		t.Errorf("ended by another tenant: %v", err)
	}
	if _, _, err := d.Open(t.Context(), who, bus, agreement.Opening{Contract: "wallet", OurID: "a b"}); !errors.Is(err, agreement.ErrName) {
		t.Errorf("a name that is none: %v", err)
	}
}

// The tenant gives up an agreement of which the provider knows nothing yet: its rider can
// still confirm it, and it is ended there as soon as he has. An account is linked by none of
// it. Who is invited again has as long again; a name that is given up invites nobody.
func TestGivenUpBeforeItsRiderConfirmed(t *testing.T) {
	const day = 24 * time.Hour
	d := newDesk(t)
	o := agreement.Opening{Contract: "wallet", OurID: "A", Account: d.account}
	opened, _, err := d.Open(t.Context(), who, bus, o)
	d.must(err)
	d.now = d.now.Add(29 * day)
	_, _, err = d.Open(t.Context(), who, bus, o)
	d.must(err)
	d.platform.asked()
	if _, err := d.End(t.Context(), who, bus, opened.ID); err != nil {
		t.Fatal(err)
	}
	if a := d.is("given up", agreement.Unknown, true, "query", "close"); a.NextAskAt.IsZero() {
		t.Errorf("nobody asks after it: %+v", a)
	}
	if _, _, err := d.Open(t.Context(), who, bus, o); !errors.Is(err, agreement.ErrEnded) {
		t.Errorf("invited again: %v", err)
	}
	d.run(20 * day) // he has the page open since he was invited the second time
	d.is("nothing yet", agreement.Unknown, true, "query", "close")
	d.platform.put("A", "9", driver.AgreementActive)
	d.platform.later = true
	d.run(day)
	if a := d.is("he confirmed", agreement.Active, true, "query", "close"); a.Linked {
		t.Errorf("linked: %+v", a)
	}
	d.platform.later = false
	d.run(day)
	d.is("ended", agreement.Ended, false, "query", "close")
	if heard := d.payers.followed(); slices.Contains(heard, "1 link 9") || heard[len(heard)-1] != "1 unlink 9" {
		t.Errorf("accounts: %v", heard)
	}
}

// One that nobody confirmed in his time is over. The provider tells all the same that its
// rider has, later: it is ended there, and nobody is charged by it.
func TestConfirmedAfterItsTime(t *testing.T) {
	d := newDesk(t)
	d.platform.none = true
	opened, _, err := d.Open(t.Context(), who, bus, agreement.Opening{Contract: "wallet", OurID: "A", Account: d.account})
	d.must(err)
	_, err = d.End(t.Context(), who, bus, opened.ID)
	d.must(err)
	d.is("given up", agreement.Unknown, true, "open", "query", "close")
	d.run(31 * 24 * time.Hour)
	if a := d.is("nobody confirmed", agreement.Ended, false, "query", "close"); a.Reason != "not_known" {
		t.Errorf("over: %+v", a)
	}
	d.notice(bus, driver.Agreement{OurID: "A", ID: "9", State: driver.AgreementPending})
	d.notice(bus, driver.Agreement{OurID: "B", ID: "8", State: driver.AgreementActive})
	d.is("of something else", agreement.Ended, false)
	d.platform.put("A", "9", driver.AgreementActive)
	for range 2 {
		d.notice(bus, driver.Agreement{OurID: "A", ID: "9", State: driver.AgreementActive})
	}
	d.is("told", agreement.Unknown, true)
	d.run(0)
	if a := d.is("ended there", agreement.Ended, false, "query", "close"); a.Linked || a.ProviderID != "9" {
		t.Errorf("ended there: %+v", a)
	}
	d.notice(bus, driver.Agreement{OurID: "A", ID: "9", State: driver.AgreementActive}) // late
	d.is("a late notice", agreement.Ended, false)
	if slices.Contains(d.payers.followed(), "1 link 9") {
		t.Error("linked")
	}
}

// A notice ends what it names by its number, at once and for good. Any other has the
// platform asked: one of another tenant's agreement of the same name links nobody.
func TestNotices(t *testing.T) {
	d := newDesk(t)
	for _, tenant := range []citygate.TenantID{bus, rail} {
		_, _, err := d.Open(t.Context(), who, tenant, agreement.Opening{Contract: "wallet", OurID: "A", Account: d.account})
		d.must(err)
	}
	d.platform.asked()
	d.notice(bus, driver.Agreement{OurID: "A", ID: "666", State: driver.AgreementActive}) // of rail's
	if a := d.is("told", agreement.Unknown, false); a.ProviderID != "" || !a.NextAskAt.Equal(d.now) {
		t.Errorf("a notice was believed: %+v", a)
	}
	d.run(0)
	d.is("asked", agreement.Unknown, false, "query")
	d.platform.put("A", "9", driver.AgreementActive)
	d.notice(bus, driver.Agreement{OurID: "A", ID: "9", State: driver.AgreementActive})
	d.run(0)
	d.is("asked", agreement.Active, false, "query")
	d.notice(bus, driver.Agreement{ID: "7", State: driver.AgreementEnded})             // nobody's
	d.notice(bus, driver.Agreement{OurID: "A", ID: "7", State: driver.AgreementEnded}) // of another number
	d.is("another's end", agreement.Active, false)
	d.run(0)
	d.is("asked after another's end", agreement.Active, false, "query")
	for range 2 {
		d.notice(bus, driver.Agreement{ID: "9", State: driver.AgreementEnded})
		d.is("its end", agreement.Ended, false)
	}
	d.notice(bus, driver.Agreement{OurID: "A", ID: "9", State: driver.AgreementActive}) // late
	d.run(time.Hour)
	d.is("a late notice", agreement.Ended, false)
	if a := d.all(rail)[0]; a.State != agreement.Unknown || a.ProviderID != "" {
		t.Errorf("another tenant's: %+v", a)
	}
	d.payers.known["5"] = true // an account that was issued to a number
	d.notice(bus, driver.Agreement{ID: "5", State: driver.AgreementEnded})
	if list := d.all(bus); len(list) != 2 || list[1].State != agreement.Ended || list[1].ProviderID != "5" {
		t.Errorf("of an account's: %+v", list)
	}
}

// A rider agrees anew under the tenant's name of an agreement that ended: the platform gives
// it another number, by which an account is collected. The number says which one it is.
func TestANameAgreedToAgain(t *testing.T) {
	d := newDesk(t)
	_, _, err := d.Open(t.Context(), who, bus, agreement.Opening{Contract: "wallet", OurID: "A"})
	d.must(err)
	d.platform.put("A", "1", driver.AgreementEnded)
	d.run(time.Hour)
	d.platform.put("A", "2", driver.AgreementActive)
	d.payers.known["2"] = true
	d.notice(bus, driver.Agreement{ID: "2", State: driver.AgreementActive})
	d.run(time.Minute)
	list := d.all(bus)
	if len(list) != 2 || list[0].State != agreement.Ended || list[0].ProviderID != "1" || list[1].State != agreement.Active || list[1].ProviderID != "2" || list[1].OurID != "" {
		t.Errorf("%+v", list)
	}
	d.platform.put("A", "2", driver.AgreementEnded)
	rulings, err := d.Check(t.Context(), bus, "wallet", d.platform, []agreement.Question{{Number: "2", Made: d.now}})
	if err != nil || len(rulings) != 1 || rulings[0].Reason != "" { // known for an hour
		t.Errorf("%+v, %v", rulings, err)
	}
	d.now = d.now.Add(agreement.Fresh)
	if rulings, err = d.Check(t.Context(), bus, "wallet", d.platform, []agreement.Question{{Number: "2", Made: d.now}}); err != nil || rulings[0].Reason != agreement.ReasonEnded {
		t.Errorf("after it ended: %+v, %v", rulings, err)
	}
}

// Charges ask once about what nobody knows, and not again; an answer that nobody gives
// stops no charge; a rider who left is not charged. Names that came in by different ways
// become one row.
func TestChargesAskOnce(t *testing.T) {
	d := newDesk(t)
	d.platform.put("X", "9", driver.AgreementActive)
	check := func(numbers ...string) (reasons []string) {
		t.Helper()
		questions := make([]agreement.Question, len(numbers))
		for i, n := range numbers {
			questions[i] = agreement.Question{Number: n, Amount: citygate.Money{Minor: 5, Currency: "CNY"}, Made: d.now}
		}
		rulings, err := d.Check(t.Context(), bus, "wallet", d.platform, questions)
		d.must(err)
		for _, r := range rulings {
			reasons = append(reasons, r.Reason)
		}
		return reasons
	}
	d.platform.fails = errLost
	if got := check("9"); !slices.Equal(got, []string{""}) || len(d.all(bus)) != 0 {
		t.Errorf("unanswered: %q, %v", got, d.all(bus))
	}
	d.platform.asked()
	if got := check("9", "9"); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("active: %q", got)
	}
	d.is("two charges, one question", agreement.Active, false, "query")
	d.platform.put("X", "9", driver.AgreementEnded)
	check("9")
	d.is("what is known is good for a day", agreement.Active, false)
	d.now = d.now.Add(agreement.Fresh)
	if got := check("9"); !slices.Equal(got, []string{agreement.ReasonEnded}) {
		t.Errorf("ended: %q", got)
	}
	d.is("asked after a day", agreement.Ended, false, "query")
	d.now = d.now.Add(-48 * time.Hour) // the clock is set back
	d.platform.put("X", "9", driver.AgreementActive)
	if got := check("9"); !slices.Equal(got, []string{agreement.ReasonEnded}) {
		t.Errorf("ended, the clock set back: %q", got)
	}
	d.is("ended is final", agreement.Ended, false)

	// Asked by number before the platform says our name for it.
	_, _, err := d.Open(t.Context(), who, bus, agreement.Opening{Contract: "wallet", OurID: "B", Account: d.account})
	d.must(err)
	check("10")
	if n := len(d.all(bus)); n != 3 {
		t.Fatalf("%d rows; want X, B and 10", n)
	}
	d.platform.put("B", "10", driver.AgreementActive)
	b, err := d.Ask(t.Context(), who, bus, "wallet", "B", "")
	if err != nil || b.ProviderID != "10" || b.State != agreement.Active || !b.Linked || len(d.all(bus)) != 2 {
		t.Errorf("one agreement by two names: %+v, %v, %d rows", b, err, len(d.all(bus)))
	}
	if a, err := d.Ask(t.Context(), who, bus, "wallet", "C", ""); err != nil || !a.ID.IsZero() {
		t.Errorf("nobody's: %+v, %v", a, err)
	}
	if _, err := d.EndNamed(t.Context(), who, bus, "wallet", "C", ""); !errors.Is(err, agreement.ErrNone) {
		t.Errorf("the end of nobody's: %v", err)
	}
}
