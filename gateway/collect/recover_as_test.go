package collect

import (
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// told gives what the provider's book says of the recoveries of debts.
func (c *city) told() (list []string) {
	for _, e := range c.box.Book() {
		if e.Recovery != "" || e.Recovers != "" {
			list = append(list, string(e.Recovery)+" of "+e.Recovers+" "+string(e.Outcome))
		}
	}
	return list
}

// first gives the id of the first charge in the provider's book.
func (c *city) first() string { return c.box.Book()[0].OurID }

// Every try of a debt names the first decline, and who started it.
func TestTheProviderIsToldWhatIsRecovered(t *testing.T) {
	c := newCity(t)
	c.terms(`"recovery":["tap","rider"],"retries":3,"retry_within_days":30`)
	c.declineAll(1)
	c.claim(metro, ride(1, 1, 1, 1, 290))
	c.clock.set(closed)
	c.due()
	c.recover(risk.ByRider, 1, 1)
	c.due()
	c.recover(byPerson, 1, 1)
	c.due()
	c.declineAll()
	c.clock.add(25 * time.Hour)
	again := ride(2, 1, 1, 2, 300)
	again.Taps[0].EventTime, again.At = c.clock.now(), c.clock.now()
	proofMade = func() time.Time { return again.At }
	c.claim(metro, again)
	proofMade = nil
	c.due()
	of := " of " + c.first()
	want := []string{"rider" + of + " declined", "merchant" + of + " declined", "tap" + of + " succeeded"}
	if got := c.told(); !slices.Equal(got, want) {
		t.Errorf("the provider was told %q, want %q", got, want)
	}
	c.passBack()
	c.settled()
}

// A recovery that nobody can say anything of is sent again byte for byte as it was.
func TestARecoveryIsSentAgainAsItWas(t *testing.T) {
	c := newCity(t)
	c.terms(`"recovery":["tap","rider"],"retries":2,"retry_within_days":10`)
	c.declineAll(1)
	c.claim(metro, ride(1, 1, 1, 1, 290))
	c.clock.set(closed)
	c.due()
	c.box.SetScript(sandbox.Script{Unsure: []string{payer(1)}})
	c.recover(risk.ByRider, 1, 1)
	r := &run{Collector: c.Collector, tenant: issuer, touched: map[string]int{}}
	if err := r.startRecoveries(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.sendCharges(t.Context(), Contract{Name: "box", Adapter: "sandbox", FeePPM: feePPM}, c.provider()); err != nil {
		t.Fatal(err)
	}
	c.in(func(tx *pg.Tx) error { // whatever its product knows by now
		sent := []charge{{ID: citygate.UUID{1}, Kind: kindRecovery, State: adapters.Unknown, Recovery: driver.RecoverByRider}}
		err := recoverAs(t.Context(), tx, driver.Recoveries{}, sent)
		if sent[0].Recovery != driver.RecoverByRider {
			t.Errorf("what was sent by the rider is %q", sent[0].Recovery)
		}
		return err
	})
	c.terms2(`"retries":0,"retry_within_days":0`)
	c.clock.add(3 * time.Hour)
	c.due()
	if got, want := c.told(), []string{"rider of " + c.first() + " succeeded"}; !slices.Equal(got, want) {
		t.Errorf("the provider was told %q, want %q", got, want)
	}
	c.settled()
}

// What was never sent to a provider is no debt to it: a decline for want of evidence, or of
// an agreement, is asked for as a debit like any other.
func TestWhatWasNeverSentIsNotRecovered(t *testing.T) {
	for _, reason := range []string{"evidence_refused BAD", "agreement_ended"} {
		t.Run(reason, func(t *testing.T) { neverSentIsNotRecovered(t, reason) })
	}
}

func neverSentIsNotRecovered(t *testing.T, reason string) {
	c := newCity(t)
	c.terms(`"recovery":["rider"],"retries":2,"retry_within_days":10`)
	c.declineAll(1)
	c.claim(metro, ride(1, 1, 1, 1, 290))
	c.clock.set(closed)
	c.due()
	c.declineAll()
	c.exec(`UPDATE charges SET reason = '` + reason + `' WHERE tenant_id = $1`)
	c.recover(risk.ByRider, 1, 1)
	c.due()
	if got := c.told(); len(got) != 0 {
		t.Errorf("the provider was told %q of what it never saw", got)
	}
	c.wantStarters("charge by schedule declined", "recovery by rider succeeded")
	c.settled()
}

func TestWaysAndBounds(t *testing.T) {
	all, shown := driver.Recoveries{ByMerchant: true, ByRider: true, ByTap: true}, []byte("code")
	for _, w := range []struct {
		known driver.Recoveries
		by    risk.Source
		shown []byte
		want  driver.Recovery
	}{
		{all, risk.ByTap, shown, driver.RecoverByTap}, {all, risk.ByTap, nil, driver.RecoverByMerchant}, {all, risk.ByRider, nil, driver.RecoverByRider},
		{all, risk.BySchedule, nil, driver.RecoverByMerchant}, {all, byPerson, nil, driver.RecoverByMerchant},
		{driver.Recoveries{ByMerchant: true}, risk.ByTap, shown, driver.RecoverByMerchant}, {driver.Recoveries{ByTap: true}, risk.ByRider, shown, ""},
		{driver.Recoveries{}, risk.ByTap, shown, ""},
	} {
		if got := way(w.known, w.by, w.shown); got != w.want {
			t.Errorf("%s at a provider that knows %+v: %q, want %q", w.by, w.known, got, w.want)
		}
	}
	bounds := driver.Recoveries{ByMerchant: true, Tries: 2, Within: 24 * time.Hour}
	for _, s := range []struct {
		asked int
		after time.Duration
		want  bool
	}{{1, 24 * time.Hour, false}, {2, 0, true}, {0, 24*time.Hour + 1, true}} {
		if spent(bounds, s.asked, closed, closed.Add(s.after)) != s.want {
			t.Errorf("%d tries, %s after the decline: want %v", s.asked, s.after, s.want)
		}
	}
	if spent(driver.Recoveries{ByMerchant: true}, 99, closed, closed.AddDate(9, 0, 0)) {
		t.Error("a scheme that says nothing bounds")
	}
}

func (c *city) exec(sql string) {
	c.t.Helper()
	c.in(func(tx *pg.Tx) error { _, err := tx.Exec(c.t.Context(), sql, issuer); return err })
}
