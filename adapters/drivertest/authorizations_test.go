package drivertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const toyCard = "tok_toy"

// step does a step of an authorisation. The caller holds the lock.
func (far *toy) step(it *item, trick string) {
	if old, again := far.known[it.ID]; again {
		if old.Step != it.Step || old.Minor != it.Minor || old.Of != it.Of || old.First != it.First {
			it.State = "conflict"
			return
		}
		*it = old
		return
	}
	of := far.known[it.Of]
	it.State = "refused"
	switch {
	case trick == "decline":
	case it.Step == "verify":
		it.State = "done"
	case it.Step == "authorize":
		it.State = "done"
		far.held = append(far.held, Move{OurID: it.ID, Amount: citygate.Money{Minor: it.Minor, Currency: citygate.Currency(it.Currency)}})
	case it.Step == "capture" && it.First && of.Step == "authorize" && of.State == "refused" && it.Minor <= of.Minor && !far.insured:
		it.State, far.insured = "done", true
	case it.Step != "authorize" && !it.First:
		if at := slices.IndexFunc(far.held, func(m Move) bool { return m.OurID == it.Of }); at >= 0 {
			it.State, far.held = "done", slices.Delete(far.held, at, at+1)
		}
	}
	if it.Step == "capture" && it.State == "done" {
		far.moved = append(far.moved, Move{OurID: it.ID, Amount: citygate.Money{Minor: it.Minor, Currency: citygate.Currency(it.Currency)}})
	}
	far.known[it.ID] = *it
}

func (d *toyDriver) step(ctx context.Context, step string, a driver.Authorization) (driver.AuthorizationResult, error) {
	got, err := d.items(ctx, "/step", []item{{
		ID: a.OurID, Step: step, Minor: a.Amount.Minor, Currency: string(a.Amount.Currency), Of: a.Of.OurID, First: a.FirstRide,
	}})
	r := toyResult(a.OurID, got)
	return driver.AuthorizationResult{Result: r, FirstRide: step == "authorize" && r.Outcome == driver.Declined}, err
}

func (d *toyDriver) Verify(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return d.step(ctx, "verify", a)
}

func (d *toyDriver) Authorize(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return d.step(ctx, "authorize", a)
}

func (d *toyDriver) Capture(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if a.Amount.Minor > a.Of.Amount.Minor {
		return driver.AuthorizationResult{}, driver.ErrNotPerformed
	}
	return d.step(ctx, "capture", a)
}

func (d *toyDriver) Void(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return d.step(ctx, "void", a)
}

func (h *toyHarness) Tap() driver.CardTap {
	return driver.CardTap{Token: toyCard, Chip: []byte("9F26"), Terminal: "gate", At: toyNoon}
}

func (h *toyHarness) Held() []Move {
	h.far.mu.Lock()
	defer h.far.mu.Unlock()
	return slices.Clone(h.far.held)
}

// A cardMutant does the steps that it has in its own way.
type cardMutant struct {
	*toyDriver
	verify, authorize, capture, void stepFunc
}

func or(own, honest stepFunc, ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	if own == nil {
		own = honest
	}
	return own(ctx, a)
}

func (m *cardMutant) Verify(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return or(m.verify, m.toyDriver.Verify, ctx, a)
}

func (m *cardMutant) Authorize(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return or(m.authorize, m.toyDriver.Authorize, ctx, a)
}

func (m *cardMutant) Capture(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return or(m.capture, m.toyDriver.Capture, ctx, a)
}

func (m *cardMutant) Void(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
	return or(m.void, m.toyDriver.Void, ctx, a)
}

// sent gives a step whose content is changed on its way; the answer keeps the id.
func sent(do stepFunc, change func(*driver.Authorization)) stepFunc {
	return func(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
		other := a
		change(&other)
		r, err := do(ctx, other)
		r.OurID = a.OurID
		return r, err
	}
}

// said gives a step of whose answer something else is made.
func said(do stepFunc, change func(r *driver.AuthorizationResult, err *error)) stepFunc {
	return func(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
		r, err := do(ctx, a)
		r.OurID = a.OurID
		change(&r, &err)
		return r, err
	}
}

func declines(r *driver.AuthorizationResult, err *error) {
	if *err != nil || r.Outcome == driver.Unknown {
		r.Outcome, *err = driver.Declined, nil
	}
}

// anew gives a step a number of its own each time.
func anew(n *atomic.Int64) func(*driver.Authorization) {
	return func(a *driver.Authorization) { a.OurID += strings.Repeat("x", int(n.Add(1))) }
}

var cardMutants = map[string]breakage{
	"authorize_verify": func(d *toyDriver) driver.Provider { // tries the card with a cent
		return &cardMutant{toyDriver: d, verify: sent(d.Authorize, func(a *driver.Authorization) { a.Amount = citygate.Money{Minor: 1, Currency: "HKD"} })}
	},
	"authorize_holds": func(d *toyDriver) driver.Provider { // holds round amounts
		return &cardMutant{toyDriver: d, authorize: sent(d.Authorize, func(a *driver.Authorization) { a.Amount.Minor -= a.Amount.Minor % 10 })}
	},
	"authorize_once": func(d *toyDriver) driver.Provider {
		return &cardMutant{toyDriver: d, authorize: sent(d.Authorize, anew(new(atomic.Int64)))}
	},
	"authorize_other_content": func(d *toyDriver) driver.Provider { // takes a known number for a no
		return &cardMutant{toyDriver: d, authorize: said(d.Authorize, declines)}
	},
	"authorize_lost_reply": func(d *toyDriver) driver.Provider { // asks again under another number
		var again atomic.Bool
		return &cardMutant{toyDriver: d, authorize: sent(d.Authorize, func(a *driver.Authorization) {
			if again.Swap(true) {
				a.OurID += "again"
			}
		})}
	},
	"authorize_garbled": func(d *toyDriver) driver.Provider {
		return &cardMutant{toyDriver: d, authorize: said(d.Authorize, declines)}
	},
	"authorize_death": func(d *toyDriver) driver.Provider { // takes a broken line for nothing sent
		return &cardMutant{toyDriver: d, authorize: said(d.Authorize, func(_ *driver.AuthorizationResult, err *error) {
			if *err != nil {
				*err = errors.Join(driver.ErrNotPerformed, *err)
			}
		})}
	},
	"authorize_decline": func(d *toyDriver) driver.Provider { // leaves a no open
		return &cardMutant{toyDriver: d, authorize: said(d.Authorize, func(r *driver.AuthorizationResult, _ *error) {
			if r.Outcome == driver.Declined {
				r.Outcome = driver.Unknown
			}
		})}
	},
	"capture_exact": func(d *toyDriver) driver.Provider { // takes all that was held
		return &cardMutant{toyDriver: d, capture: sent(d.Capture, func(a *driver.Authorization) { a.Amount = a.Of.Amount })}
	},
	"capture_once": func(d *toyDriver) driver.Provider { // holds and takes whatever nothing is held for
		return &cardMutant{toyDriver: d, capture: func(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
			r, err := d.Capture(ctx, a)
			if err == nil && r.Outcome == driver.Declined {
				_, _ = d.Authorize(ctx, driver.Authorization{OurID: a.OurID + "hold", Amount: a.Amount})
				r, err = d.Capture(ctx, driver.Authorization{OurID: a.OurID + "take", Amount: a.Amount, Of: driver.Ref{OurID: a.OurID + "hold", Amount: a.Amount}})
				r.OurID = a.OurID
			}
			return r, err
		}}
	},
	"capture_lost_reply": func(d *toyDriver) driver.Provider { // takes a reply that is lost for a no
		return &cardMutant{toyDriver: d, capture: said(d.Capture, declines)}
	},
	"capture_over": func(d *toyDriver) driver.Provider { // sends what no contract allows
		return &cardMutant{toyDriver: d, capture: func(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
			return d.step(ctx, "capture", a)
		}}
	},
	"capture_of_nothing": func(d *toyDriver) driver.Provider { // pays what was not held
		return &cardMutant{toyDriver: d, capture: func(ctx context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
			r, err := d.Submit(ctx, []driver.Debit{{OurID: a.OurID, Amount: a.Amount}})
			return driver.AuthorizationResult{Result: r[0]}, err
		}}
	},
	"void_lets_go": func(d *toyDriver) driver.Provider { // says yes and does nothing
		return &cardMutant{toyDriver: d, void: func(_ context.Context, a driver.Authorization) (driver.AuthorizationResult, error) {
			return driver.AuthorizationResult{Result: driver.Result{OurID: a.OurID, Outcome: driver.Succeeded}}, nil
		}}
	},
	"void_of_captured": func(d *toyDriver) driver.Provider { // takes a no for done before
		return &cardMutant{toyDriver: d, void: said(d.Void, func(r *driver.AuthorizationResult, _ *error) { r.Outcome = driver.Succeeded })}
	},
	"first_ride_capture": func(d *toyDriver) driver.Provider { // does not say that it is one
		return &cardMutant{toyDriver: d, capture: sent(d.Capture, func(a *driver.Authorization) { a.FirstRide = false })}
	},
}
