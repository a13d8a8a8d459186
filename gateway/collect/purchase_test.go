package collect

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A till hears what becomes of sales.
type till struct {
	declined []citygate.UUID
	changed  []citygate.UUID // to be settled
}

func (s *till) Paid(context.Context, *pg.Tx, []citygate.UUID) error           { return nil }
func (s *till) Returned(context.Context, *pg.Tx, citygate.UUID, bool) error   { return nil }
func (s *till) End(context.Context, *pg.Tx, citygate.UUID) (Worth, error)     { return Worth{}, nil }
func (s *till) Changed(context.Context, *pg.Tx, int) ([]citygate.UUID, error) { return s.changed, nil }
func (s *till) Declined(_ context.Context, _ *pg.Tx, sales []citygate.UUID) error {
	s.declined = append(s.declined, sales...)
	return nil
}

// A purchase that cannot be sent for a day is given up, once, also one that was tried and
// certainly not taken; one that may have been seen is not.
func TestAPurchaseThatWaitsADayIsGivenUp(t *testing.T) {
	c := newRouted(t, "  - {id: own, use: [box]}\n")
	heard := new(till)
	config := c.Config
	config.Sales = heard
	c.Collector = New(config)
	waits, seen, tried := citygate.UUID{1}, citygate.UUID{2}, citygate.UUID{3}
	for _, sale := range []citygate.UUID{waits, seen, tried} {
		c.in(func(tx *pg.Tx) error {
			return Buy(t.Context(), tx, Purchase{Sale: sale, Account: Account{ID: accountID(1), Contract: "closed", PayerRef: payer(1)},
				Amount: citygate.Money{Minor: 500, Currency: "HKD"}, Subject: "a day", BusinessDate: citygate.DateOf(tx.Now)})
		})
	}
	c.in(func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE charges SET state = 'sent', sent_at = $2 WHERE tenant_id = $1 AND charge_id = $3`, tx.Tenant, tx.Now, seen)
		if err == nil {
			_, err = tx.Exec(t.Context(), `UPDATE charges SET attempts = 1, sent_at = $2 WHERE tenant_id = $1 AND charge_id = $3`, tx.Tenant, tx.Now, tried)
		}
		return err
	})
	c.clock.add(PurchaseLife - time.Minute)
	c.due()
	if len(heard.declined) != 0 {
		t.Errorf("before its time: %v", heard.declined)
	}
	c.clock.add(time.Minute)
	c.due()
	c.due()
	if !slices.Equal(heard.declined, []citygate.UUID{waits, tried}) {
		t.Errorf("given up: %v", heard.declined)
	}
}

// A sale that cannot be settled is told, again and again, and holds up no charge.
func TestASaleThatCannotBeSettledHoldsUpNothing(t *testing.T) {
	c := newRouted(t, "  - {id: own, use: [box]}\n")
	config := c.Config
	config.Sales = &till{changed: []citygate.UUID{{9}}} // there is no such sale
	c.Collector = New(config)
	c.in(func(tx *pg.Tx) error {
		return Buy(t.Context(), tx, Purchase{Sale: citygate.UUID{1}, Account: Account{ID: accountID(1), Contract: "box", PayerRef: payer(1)},
			Amount: citygate.Money{Minor: 500, Currency: "HKD"}, Subject: "a day", BusinessDate: citygate.DateOf(tx.Now)})
	})
	if err := c.RunDue(t.Context(), issuer); err == nil || !strings.Contains(err.Error(), "sale") {
		t.Errorf("told: %v", err)
	}
	c.in(func(tx *pg.Tx) error {
		var state string
		err := tx.QueryRow(t.Context(), `SELECT state FROM charges WHERE tenant_id = $1 AND charge_id = $2`, tx.Tenant, citygate.UUID{1}).Scan(&state)
		if state != "succeeded" {
			t.Errorf("the charge beside it is %s", state)
		}
		return err
	})
}
