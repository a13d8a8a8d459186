package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// What the database makes of rows is what NewTransfer makes of them, to the last
// bit of the id: the books re-derive.
func TestPostFromMakesWhatNewTransferMakes(t *testing.T) {
	db := pgtest.New(t)
	from := func(events []string, amounts []int64) error {
		return db.InTenant(t.Context(), 1, func(tx *pg.Tx) error {
			return PostFrom(t.Context(), tx, noon, `
				SELECT 'bank' AS debit, 'provider_receivable:a' AS credit, amount, 'CNY' AS currency, 'provider_settled' AS code, event, DATE '2026-11-21' AS business_date
				FROM unnest($2::text[], $3::bigint[]) AS u (event, amount) WHERE $1::bigint > 0`, int64(tx.Tenant), events, amounts)
		})
	}
	var want listSource
	var events []string
	var amounts []int64
	for i := range 300 { // ids of events with one, two and many bytes a letter, shorter and longer than 127 bytes
		event, amount := fmt.Sprintf("bill:%s/%d", strings.Repeat([]string{"x", "é", "城"}[i%3], i), i), int64(1+i)
		if i%2 == 1 {
			amount = -amount
		}
		events, amounts = append(events, event), append(amounts, amount)
		want = append(want, NewTransfer(1, 0, Transfer{
			Debit: "bank", Credit: "provider_receivable:a", Amount: amount, Currency: "CNY", Code: "provider_settled", Event: event,
			EffectiveAt: noon, BusinessDate: citygate.DateOf(noon),
		}))
	}
	if err := from(events, amounts); err != nil {
		t.Fatal(err)
	}
	if r := check(t, db, want); !r.OK() || r.Transfers != len(want) {
		t.Errorf("check: %+v", r)
	}
	if got := balances(t, db, 1, "")["bank CNY"]; got != -150 {
		t.Errorf("the bank has %d", got)
	}
	if err := from([]string{"new", events[7]}, []int64{1, 8}); !errors.Is(err, ErrConflict) {
		t.Errorf("one that is there already: %v; want %v", err, ErrConflict)
	}
	if got := balances(t, db, 1, "")["bank CNY"]; got != -150 {
		t.Errorf("after a refusal the bank has %d", got)
	}
}
