package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// show does what an item asks of a wallet.
func (far *toy) show(it *item) {
	if old, ok := far.wallets[it.Card.CardRef]; !ok || !it.Card.At.Before(old.At) {
		far.wallets[it.Card.CardRef] = *it.Card
	}
	it.State = "shown"
}

func (h *toyHarness) Card(ref string) driver.CardState {
	return driver.CardState{CardRef: ref, RiderRef: "rider", At: toyNoon}
}

func (h *toyHarness) Cards() []driver.CardState {
	h.far.mu.Lock()
	defer h.far.mu.Unlock()
	return slices.Collect(maps.Values(h.far.wallets))
}

func (d *toyDriver) PushCard(ctx context.Context, c driver.CardState) error {
	if c.CardRef == "" || c.RiderRef == "" || c.At.IsZero() {
		return driver.ErrNotPerformed
	}
	return d.show(ctx, c)
}

func (d *toyDriver) show(ctx context.Context, c driver.CardState) error {
	got, err := d.items(ctx, "/card", []item{{ID: c.CardRef, Card: &c}})
	if err == nil && (len(got) != 1 || got[0].State != "shown") {
		err = errors.New("toy: not shown")
	}
	return err
}

func (m *mutant) PushCard(ctx context.Context, c driver.CardState) error {
	if m.card == nil {
		return m.toyDriver.PushCard(ctx, c)
	}
	return m.card(ctx, c)
}

// pushes makes a mutant that pushes cards its own way.
func pushes(as func(ctx context.Context, d *toyDriver, c driver.CardState) error) func(*toyDriver) driver.Provider {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, card: func(ctx context.Context, c driver.CardState) error { return as(ctx, d, c) }}
	}
}

var walletMutants = map[string]func(*toyDriver) driver.Provider{
	"card_shown": pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error { // locked is locked
		c.Overdue = false
		return d.PushCard(ctx, c)
	}),
	"card_twice": func(d *toyDriver) driver.Provider { // takes a state once
		seen := map[time.Time]bool{}
		return pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error {
			if seen[c.At] {
				return errors.New("a state that is taken")
			}
			seen[c.At] = true
			return d.PushCard(ctx, c)
		})(d)
	},
	"card_older": func(d *toyDriver) driver.Provider { // says when it sends
		sent := 0
		return pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error {
			sent++
			c.At = toyNoon.Add(time.Duration(sent) * time.Hour)
			return d.PushCard(ctx, c)
		})(d)
	},
	"card_apart": pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error { // one rider, one card
		c.CardRef = "card of " + c.RiderRef
		return d.PushCard(ctx, c)
	}),
	"card_free": func(d *toyDriver) driver.Provider { // what is shown costs a cent
		shown := 0
		return pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error {
			shown++
			cent := driver.Debit{OurID: fmt.Sprint("card", shown), RiderRef: c.RiderRef, Amount: citygate.Money{Minor: 1, Currency: "HKD"}}
			_, err := d.Submit(ctx, []driver.Debit{cent})
			return errors.Join(err, d.PushCard(ctx, c))
		})(d)
	},
	"card_unnamed": pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error { return d.show(ctx, c) }), // the far side will know
	"card_lost_reply": func(d *toyDriver) driver.Provider { // tries again as a new card
		lost := false
		return pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error {
			if lost {
				c.CardRef += "x"
			}
			err := d.PushCard(ctx, c)
			lost = err != nil
			return err
		})(d)
	},
	"card_garbled": pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error {
		if err := d.PushCard(ctx, c); !senseless(err) { // it answered
			return err
		}
		return nil
	}),
	"card_gone": pushes(func(ctx context.Context, d *toyDriver, c driver.CardState) error { // forgets to look
		if err := d.PushCard(ctx, c); errors.Is(err, driver.ErrNotPerformed) && (c.CardRef == "" || c.RiderRef == "") || senseless(err) {
			return err
		}
		return nil
	}),
}
