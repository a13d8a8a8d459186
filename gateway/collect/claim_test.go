package collect

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// wantRefused holds that a claim was refused for a reason of its own and that
// nothing was posted or collected for it.
func (c *city) wantRefused(v interbook.Verdict, reason interbook.ClaimReason, owed int64) {
	c.t.Helper()
	if v.Accepted || v.Reason != reason || len(v.Refused) != 0 {
		c.t.Errorf("verdict %+v, want %s", v, reason)
	}
	if got := c.net(ledger.PrefixInterbookPayable); got != -owed {
		c.t.Errorf("we owe operators %d, want %d", -got, owed)
	}
	c.rederive()
}

// An operator that sends an amount and no code charges nobody.
func TestClaimWithoutEvidenceIsRefused(t *testing.T) {
	c := newCity(t)
	bare := ride(1, 1, 5, 1, 500)
	bare.Taps = nil
	c.wantRefused(c.claim(metro, bare)[0], interbook.NoEvidence, 0)
	if len(c.states("aggregations")) != 0 {
		t.Error("an aggregation was opened")
	}
	// It may not raise what was proven once either.
	c.claim(metro, ride(2, 1, 5, 2, 300))
	more := ride(2, 2, 5, 2, 9000)
	more.Taps = nil
	c.wantRefused(c.claim(metro, more)[0], interbook.NoEvidence, 300)
	// What was refused is no decision: the next one may prove it.
	if v := c.claim(metro, ride(1, 2, 5, 1, 500))[0]; !v.Accepted {
		t.Errorf("with evidence: %+v", v)
	}
	nothing := ride(2, 3, 5, 2, 0)
	nothing.Taps = nil
	if v := c.claim(metro, nothing)[0]; !v.Accepted {
		t.Errorf("taking all of it back: %+v", v)
	}
	c.clock.set(closed)
	c.due()
	c.settled()
}

func TestClaimBelowZeroIsRefused(t *testing.T) {
	c := newCity(t)
	c.wantRefused(c.claim(metro, ride(1, 1, 5, 1, -500))[0], interbook.BadAmount, 0)
}

// A journey's next decision names the same rider, or it is refused.
func TestJourneyKeepsItsRider(t *testing.T) {
	c := newCity(t)
	c.claim(metro, ride(1, 1, 5, 1, 500))
	c.wantRefused(c.claim(metro, ride(1, 2, 6, 1, 900))[0], interbook.OtherRider, 500)
	c.wantRefused(c.claim(metro, ride(1, 3, 6, 1, 0))[0], interbook.OtherRider, 500)
	c.clock.set(closed)
	c.due()
	if book := c.box.Book(); len(book) != 1 || book[0].Rider != payer(5) || book[0].Amount.Minor != 500 {
		t.Errorf("charged %+v", book)
	}
	c.settled()
}

// What the tenant's contracts cannot collect is not accepted, first or later.
func TestClaimInAnotherCurrencyIsRefused(t *testing.T) {
	c := newCity(t)
	c.wantRefused(c.claimIn("JPY", metro, ride(1, 1, 5, 1, 500))[0], interbook.OtherCurrency, 0)
	c.claim(metro, ride(2, 1, 5, 2, 500))
	c.wantRefused(c.claimIn("JPY", metro, ride(2, 2, 5, 2, 100))[0], interbook.OtherCurrency, 500)
	c.clock.set(closed)
	c.due()
	c.settled()
}

// The message must not wait for ever when there is not even a tap to name.
func TestNothingForARiderNobodyKnows(t *testing.T) {
	c := newCity(t)
	c.bank.missing[6] = true
	nothing := ride(1, 2, 6, 1, 0)
	nothing.Taps = nil
	c.wantRefused(c.claim(metro, nothing)[0], interbook.UnknownRider, 0)
}

// The cap is what the rider signed for: 100 units of a dollar a tap.
func TestClaimIsHeldToTheCap(t *testing.T) {
	c := newCity(t)
	dear := ride(2, 1, 5, 2, 501)
	dear.Taps[0].Evidence = text(5, 2, "cap5")
	pair := ride(3, 1, 5, 3, 20_000)
	pair.Taps = append(pair.Taps, interbook.ClaimTap{Terminal: 90, Seq: 4, Counter: 4, Evidence: text(5, 4, ""), EventTime: morning.Add(time.Hour)})
	again := ride(4, 1, 5, 5, 10_001)
	again.Taps = append(again.Taps, again.Taps[0]) // the same display promises once
	for i, v := range c.claim(metro, ride(1, 1, 5, 1, 10_000), dear, pair, again) {
		want := i == 0 || i == 2
		if v.Accepted != want {
			t.Errorf("claim %d: %+v", i, v)
		}
		if !want && (len(v.Refused) == 0 || v.Refused[0].Reason != code.AmountOverCap) {
			t.Errorf("claim %d: %+v, want %s", i, v, code.AmountOverCap)
		}
	}
	if got := c.net(ledger.PrefixInterbookPayable); got != -30_000 {
		t.Errorf("we owe %d", -got)
	}
}

// A code proves a ride of its own time: a day to either side, not a week.
func TestClaimIsHeldToTheCodesTime(t *testing.T) {
	c := newCity(t)
	for i, x := range []struct {
		off  time.Duration
		want code.Reason
	}{
		{23 * time.Hour, ""}, {-23 * time.Hour, ""}, {25 * time.Hour, code.ExpiredCode}, {-25 * time.Hour, code.NotYetValid},
	} {
		at := ride(i+1, 1, 5, uint16(i+1), 500)
		at.Taps[0].EventTime = morning.Add(x.off)
		v := c.claim(metro, at)[0]
		if v.Accepted != (x.want == "") || (x.want != "" && v.Refused[0].Reason != x.want) {
			t.Errorf("%s off: %+v, want %q", x.off, v, x.want)
		}
	}
}

// sighting is two codes of one display as an operator's own intake found them.
func sighting(r uint32, ctr uint16, first, second string) interbook.Sighting {
	return interbook.Sighting{Rider: rider(r),
		First:  interbook.ClaimTap{Terminal: 50, Seq: 1, Counter: ctr, Evidence: text(r, ctr, first), EventTime: morning},
		Second: interbook.ClaimTap{Terminal: 51, Seq: 1, Counter: ctr, Evidence: text(r, ctr, second), EventTime: morning.Add(time.Hour)}}
}

// Two codes of one display that differ deny the credential, with both kept;
// whatever does not prove that denies nobody.
func TestSightingDeniesTheCopiedCredential(t *testing.T) {
	c := newCity(t)
	c.bank.missing[8] = true
	other := sighting(7, 1, "", "other")
	other.Second.Evidence = text(6, 1, "other")
	counter := sighting(7, 1, "", "other")
	counter.Second.Counter, counter.Second.Evidence = 2, text(7, 2, "other")
	foreign := sighting(7, 1, "", "other")
	foreign.Rider = rider(6)
	items := []interbook.Sighting{sighting(5, 3, "", "other screen"), sighting(6, 3, "", "forged"), sighting(6, 4, "", ""),
		other, counter, foreign, sighting(8, 1, "", "other")}
	for range 2 { // telling it again changes nothing
		c.in(func(tx *pg.Tx) error { return c.TakeSightings(t.Context(), tx, metro, items) })
	}
	if got := slices.Compact(c.bank.copied); len(got) != 1 || got[0] != rider(5) {
		t.Errorf("denied %v, want rider 5 alone", got)
	}
	var kept []string
	c.in(func(tx *pg.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT convert_from(evidence, 'UTF8') || ' ' || reason FROM code_conflicts WHERE tenant_id = $1 AND idx = 5 ORDER BY terminal`, issuer)
		if err != nil {
			return err
		}
		kept, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if !slices.Equal(kept, []string{"1/5#3 clone", "1/5#3 other screen clone"}) {
		t.Errorf("kept %q", kept)
	}
	if err := c.DB.InTenant(t.Context(), issuer, func(tx *pg.Tx) error { return c.HandleSightings(t.Context(), tx, metro, []byte("{")) }); err == nil {
		t.Error("half a message was taken")
	}
}
