package drivertest

import (
	"context"
	"errors"
	"strings"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The toy's agreements: the payer "rider" has always agreed, everybody else under a
// number that begins with toyNumber.
const (
	toyNumber = "N-"
	toyPage   = "https://toy.example/agree/"
)

// agreement does what an item asks of an agreement.
func (far *toy) agreement(it *item) {
	if it.ID == "" {
		it.ID = strings.TrimPrefix(it.Number, toyNumber)
	}
	state := far.agreements[it.ID]
	if it.Number != "" && it.Number != toyNumber+it.ID {
		state = "other"
	}
	switch {
	case state == "other":
	case it.Agreement == "open" && state == "":
		far.agreements[it.ID] = "asked"
	case it.Agreement == "close" && state == "agreed":
		state = "over"
		far.agreements[it.ID] = state
	}
	if it.State = state; state == "agreed" || state == "over" {
		it.Number = toyNumber + it.ID
	}
}

// mayPay reports whether a payer agreed to be debited.
func (far *toy) mayPay(payer string) bool {
	id, numbered := strings.CutPrefix(payer, toyNumber)
	return !numbered || far.agreements[id] == "agreed"
}

func (h *toyHarness) Agree(i driver.Invitation) {
	h.far.mu.Lock()
	defer h.far.mu.Unlock()
	if id := strings.TrimPrefix(i.URL, toyPage); h.far.agreements[id] == "asked" {
		h.far.agreements[id] = "agreed"
	}
}

func (d *toyDriver) agreement(ctx context.Context, do string, a driver.Agreement) (driver.Agreement, error) {
	got, err := d.items(ctx, "/agreement", []item{{ID: a.OurID, Number: a.ID, Agreement: do}})
	if err != nil {
		return driver.Agreement{}, err
	}
	if len(got) != 1 || got[0].State == "other" {
		return driver.Agreement{}, errors.New("toy: another agreement")
	}
	return driver.Agreement{OurID: got[0].ID, ID: got[0].Number,
		State: map[string]driver.AgreementState{"asked": driver.AgreementPending, "agreed": driver.AgreementActive, "over": driver.AgreementEnded}[got[0].State]}, nil
}

func (d *toyDriver) OpenAgreement(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	_, err := d.agreement(ctx, "open", driver.Agreement{OurID: r.OurID})
	return driver.Invitation{OurID: r.OurID, URL: toyPage + r.OurID}, err
}

func (d *toyDriver) QueryAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	return d.agreement(ctx, "query", a)
}

func (d *toyDriver) CloseAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	return d.agreement(ctx, "close", a)
}

// An agreeing mutant is the honest adapter with some of its ways with agreements replaced.
type agreeing struct {
	*mutant
	open         func(context.Context, driver.AgreementRequest) (driver.Invitation, error)
	query, close func(context.Context, driver.Agreement) (driver.Agreement, error)
}

func (m *agreeing) OpenAgreement(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	if m.open == nil {
		return m.toyDriver.OpenAgreement(ctx, r)
	}
	return m.open(ctx, r)
}

func (m *agreeing) QueryAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	if m.query == nil {
		return m.toyDriver.QueryAgreement(ctx, a)
	}
	return m.query(ctx, a)
}

func (m *agreeing) CloseAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	if m.close == nil {
		return m.toyDriver.CloseAgreement(ctx, a)
	}
	return m.close(ctx, a)
}

// answers makes a mutant that hears something else of an agreement than was said.
func answers(other func(of, said driver.Agreement, err error) (driver.Agreement, error)) func(*toyDriver) driver.Provider {
	return func(d *toyDriver) driver.Provider {
		return &agreeing{mutant: &mutant{toyDriver: d}, query: func(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
			said, err := d.QueryAgreement(ctx, of)
			return other(of, said, err)
		}}
	}
}

// closes is answers of the end.
func closes(other func(said driver.Agreement, err error) (driver.Agreement, error)) func(*toyDriver) driver.Provider {
	return func(d *toyDriver) driver.Provider {
		return &agreeing{mutant: &mutant{toyDriver: d}, close: func(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
			said, err := d.CloseAgreement(ctx, of)
			if err != nil {
				said.OurID, said.ID = of.OurID, of.ID
			}
			return other(said, err)
		}}
	}
}

func senseless(err error) bool { return err != nil && strings.Contains(err.Error(), "no sense") }

var agreementMutants = map[string]func(*toyDriver) driver.Provider{
	"agreement_open_twice": func(d *toyDriver) driver.Provider { // a new one for each invitation
		opened := map[string]bool{}
		return &agreeing{mutant: &mutant{toyDriver: d}, open: func(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
			name := r.OurID
			if opened[name] {
				r.OurID += "x"
			}
			opened[name] = true
			i, err := d.OpenAgreement(ctx, r)
			i.OurID = name
			return i, err
		}}
	},
	"agreement_open_lost_reply": func(d *toyDriver) driver.Provider { // tries again under a new name
		lost := map[string]bool{}
		return &agreeing{mutant: &mutant{toyDriver: d}, open: func(ctx context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
			name := r.OurID
			if lost[name] {
				r.OurID += "x"
			}
			i, err := d.OpenAgreement(ctx, r)
			lost[name], i.OurID = err != nil, name
			return i, err
		}}
	},
	"agreement_unconfirmed": answers(func(of, said driver.Agreement, err error) (driver.Agreement, error) {
		if said.State == driver.AgreementPending { // what was asked for is agreed
			said.State, said.ID = driver.AgreementActive, toyNumber+of.OurID
		}
		return said, err
	}),
	"agreement_not_known": answers(func(_, said driver.Agreement, err error) (driver.Agreement, error) {
		if said.State == driver.AgreementUnknown { // what is not there is over
			said.State = driver.AgreementEnded
		}
		return said, err
	}),
	"agreement_active": answers(func(of, said driver.Agreement, err error) (driver.Agreement, error) {
		if of.OurID == "" { // knows its own names alone
			return driver.Agreement{ID: of.ID}, nil
		}
		return said, err
	}),
	"agreement_of_another": func(d *toyDriver) driver.Provider { // asks by the number, and says the name it was given
		return &agreeing{mutant: &mutant{toyDriver: d}, query: func(ctx context.Context, of driver.Agreement) (driver.Agreement, error) {
			name := of.OurID
			if of.ID != "" {
				of.OurID = ""
			}
			said, err := d.QueryAgreement(ctx, of)
			if name != "" {
				said.OurID = name
			}
			return said, err
		}}
	},
	"agreement_debit": sends(func(d *driver.Debit) { d.RiderRef = strings.TrimSuffix(d.RiderRef, "0") }), // reads the number its own way
	"agreement_close_twice": func(d *toyDriver) driver.Provider { // the second time there is none
		closed := map[string]bool{}
		return closes(func(said driver.Agreement, err error) (driver.Agreement, error) {
			if closed[said.OurID] {
				return driver.Agreement{}, errors.New("no agreement in force")
			}
			closed[said.OurID] = true
			return said, err
		})(d)
	},
	"agreement_ended": func(d *toyDriver) driver.Provider { // remembers what is in force
		known := map[string]driver.Agreement{}
		return answers(func(of, said driver.Agreement, err error) (driver.Agreement, error) {
			if a, ok := known[of.OurID]; ok && err == nil {
				return a, nil
			}
			if said.State == driver.AgreementActive {
				known[said.OurID] = said
			}
			return said, err
		})(d)
	},
	"agreement_ended_debit": func(d *toyDriver) driver.Provider { // charges the rider himself
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if err == nil && results[0].Outcome == driver.Declined && debits[0].RiderRef != "rider" {
				other := debits[0]
				other.OurID, other.RiderRef = other.OurID+"x", "rider"
				_, err = d.Submit(ctx, []driver.Debit{other})
			}
			return results, err
		}}
	},
	"agreement_close_lost_reply": closes(func(said driver.Agreement, err error) (driver.Agreement, error) {
		if err != nil && !senseless(err) { // no answer, nothing done
			said.State = driver.AgreementActive
			return said, nil
		}
		return said, err
	}),
	"agreement_garbled": answers(func(of, said driver.Agreement, err error) (driver.Agreement, error) {
		if senseless(err) { // what is not in force is over
			of.State = driver.AgreementEnded
			return of, nil
		}
		return said, err
	}),
	"agreement_gone": closes(func(said driver.Agreement, err error) (driver.Agreement, error) {
		if err != nil && !senseless(err) { // on an agreement with nobody nobody is charged
			said.State = driver.AgreementEnded
			return said, nil
		}
		return said, err
	}),
}
