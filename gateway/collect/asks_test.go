package collect

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// An agreeing provider debits on agreements, looks at evidence and offers rates. It notes
// how long each question may take, and how often it was asked for money.
type agreeing struct {
	*abroad
	driver.Contract
	may  map[string]time.Duration
	sent int
}

func (a *agreeing) Describe() driver.Description {
	d := a.abroad.Describe()
	d.Limits.ByAgreement = true
	return d
}

func (a *agreeing) note(ctx context.Context, what string) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(time.Hour)
	}
	a.may[what] = time.Until(end)
}

func (a *agreeing) Quote(ctx context.Context, m citygate.Money) (driver.Quote, error) {
	a.note(ctx, "quote")
	return a.abroad.Quote(ctx, m)
}

func (a *agreeing) CheckEvidence(ctx context.Context, _ []byte) (driver.EvidenceVerdict, string, error) {
	a.note(ctx, "evidence")
	return driver.EvidenceUnknown, "", nil
}

// Query says nothing while the line is silent.
func (a *agreeing) Query(ctx context.Context, of driver.Ref) (driver.Result, error) {
	if a.line == "silent" {
		return driver.Result{}, errors.New("the line is cut")
	}
	return a.abroad.Query(ctx, of)
}

func (a *agreeing) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	a.sent += len(debits)
	return a.abroad.Submit(ctx, debits)
}

// newAgreeing gives a city that collects by agreements. agreed answers in its collector.
func newAgreeing(t *testing.T, agreed func(ctx context.Context, made *agreeing, charges []Resting) []Hold) (*city, *agreeing) {
	t.Helper()
	c := newCity(t)
	a := &agreeing{abroad: &abroad{Provider: c.box, now: c.clock.now}, may: map[string]time.Duration{}}
	config := c.Config
	config.Provider = func(context.Context, citygate.TenantID, Contract) (*adapters.Provider, error) {
		return adapters.New(a, c.clock.now), nil
	}
	config.Agreed = func(ctx context.Context, _ citygate.TenantID, _ Contract, _ *adapters.Provider, charges []Resting) ([]Hold, error) {
		return agreed(ctx, a, charges), nil
	}
	config.Standings = func(ctx context.Context, _ citygate.TenantID, _ Contract, _ *adapters.Provider, _ []string) {
		a.note(ctx, "standings")
	}
	c.Collector = New(config)
	return c, a
}

// Whoever asks before charging is done long before the charge counts as lost with its
// process: all questions of a batch together end within its lease, with time to spare.
func TestQuestionsEndWithinTheLease(t *testing.T) {
	c, a := newAgreeing(t, func(ctx context.Context, a *agreeing, charges []Resting) []Hold {
		a.note(ctx, "agreements")
		return make([]Hold, len(charges))
	})
	config, err := json.Marshal(adapters.Feeds{CheckEvidence: true})
	if err != nil {
		t.Fatal(err)
	}
	c.in(func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE provider_contracts SET config = $2 WHERE tenant_id = $1`, tx.Tenant, config)
		return err
	})
	c.box.SetScript(sandbox.Script{Decline: []sandbox.Refusal{{Rider: payer(1), Span: sandbox.Span{Until: closed.Add(time.Hour)}}}})
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	c.due()
	for range 100 { // and the debt
		c.clock.add(12 * time.Hour)
		c.due()
	}
	const spare = 15 * time.Second
	var all time.Duration
	for _, what := range []string{"agreements", "evidence", "standings", "quote"} {
		if a.may[what] <= 0 {
			t.Errorf("nobody asked: %s", what)
		}
		all += a.may[what]
	}
	if all > leaseMargin-spare || asksWithin > leaseMargin-spare {
		t.Errorf("questions may take %v, in all %s of a lease of %s", a.may, all, leaseMargin)
	}
}

// A run asks for so long that it is taken for dead: another one has the charge, and what
// that heard stands. The first neither sends it again nor declines it, whatever it was told
// about the agreement, and is told of no contradiction.
func TestARunThatAskedTooLongLeavesItsCharges(t *testing.T) {
	for name, hold := range map[string]Hold{"sent": {}, "declined": {Reason: "agreement_ended"}, "held": {Reason: "agreement_pending", RetryAt: closed.Add(time.Hour)}} {
		t.Run(name, func(t *testing.T) {
			var other *Collector
			c, a := newAgreeing(t, nil)
			config := c.Config
			config.Agreed = nil
			other = New(config)
			config.Agreed = func(ctx context.Context, tenant citygate.TenantID, _ Contract, _ *adapters.Provider, _ []Resting) ([]Hold, error) {
				for range 3 {
					c.clock.add(leaseMargin + 2*time.Minute)
					if err := other.RunDue(ctx, tenant); err != nil {
						t.Error(err)
					}
				}
				return []Hold{hold}, nil
			}
			c.Collector = New(config)
			c.claim(metro, ride(1, 1, 1, 1, 500))
			c.clock.set(closed)
			if err := c.RunDue(t.Context(), issuer); err != nil {
				t.Errorf("%v", err)
			}
			c.wantStates("charges", "charge succeeded")
			if a.sent != 1 {
				t.Errorf("sent %d times", a.sent)
			}
			c.due()
			c.settled()
		})
	}
}

// Another run asked after the charge meanwhile, and nobody could say: what it may have come
// to is open, and is not declined for what the first was told.
func TestARunThatAskedTooLongDeclinesNothingThatIsOpen(t *testing.T) {
	var other *Collector
	c, a := newAgreeing(t, nil)
	config := c.Config
	config.Agreed = nil
	other = New(config)
	config.Agreed = func(ctx context.Context, tenant citygate.TenantID, _ Contract, _ *adapters.Provider, _ []Resting) ([]Hold, error) {
		a.line = "silent"
		c.clock.add(leaseMargin + 2*time.Minute)
		if err := other.RunDue(ctx, tenant); err != nil {
			t.Error(err)
		}
		return []Hold{{Reason: "agreement_ended"}}, nil
	}
	c.Collector = New(config)
	c.claim(metro, ride(1, 1, 1, 1, 500))
	c.clock.set(closed)
	if err := c.RunDue(t.Context(), issuer); err != nil {
		t.Errorf("%v", err)
	}
	c.wantStates("charges", "charge unknown")
	a.line = ""
	c.Collector = other
	for range 3 {
		c.clock.add(time.Hour)
		c.due()
	}
	c.wantStates("charges", "charge succeeded")
	c.settled()
}
