package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A decision is which contract collects a payment, and why.
type decision struct {
	contract string
	payer    string // the provider's name for the payer there
	version  uint64 // of the rule set; 0 = none holds
	rule     string // "" = none matched: the contract is the payer's own
	finding  string // why a rule that matched was not followed to the letter
	up       bool   // the contract's provider is taken to answer
}

// A payment is what is routed.
type payment struct {
	account citygate.UUID
	own     string // the payer's own contract, and his name there
	payer   string
	tripAt  time.Time
	kind    string
	attempt int
	amount  citygate.Money
	refused []string // contracts that certainly cannot take it

	// codes are the contracts that take a payment at a till, which has no payer that is
	// known; nil = it is of an account. wallet is their product, if they have one in common.
	codes  []string
	wallet string
}

// A router chooses contracts by the tenant's rule sets within one transaction.
// The version is that of the rides' time; hours and days are those of now, when
// the provider is called.
type router struct {
	line      policies.Timeline
	sets      *policies.Sets
	contracts map[string]Contract
	up        map[string]bool
	probe     map[string]bool // taken to be up, for the one payment that tries it
	payers    map[citygate.UUID]map[string]string
}

// newRouter makes a router for payments of these.
func (c *Collector) newRouter(ctx context.Context, tx *pg.Tx, due []closing) (*router, error) {
	line, err := policies.TimelineOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	accounts := make([]citygate.UUID, len(due))
	for i := range due {
		accounts[i] = due[i].payment.account
	}
	r := &router{line: line, sets: c.sets, contracts: map[string]Contract{}, up: map[string]bool{}, probe: map[string]bool{}}
	all, err := Contracts(ctx, tx)
	if err != nil {
		return nil, err
	}
	down, err := breakersOpen(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, contract := range all {
		r.contracts[contract.Name] = contract
		probeAt, open := down[contract.Name]
		r.probe[contract.Name] = open && !probeAt.After(tx.Now)
		r.up[contract.Name] = contract.State == contractActive && (!open || r.probe[contract.Name])
	}
	r.payers, err = payersOf(ctx, tx, accounts)
	return r, err
}

// choose gives the contract for a payment.
func (r *router) choose(ctx context.Context, tx *pg.Tx, p *payment) (decision, error) {
	d := decision{contract: p.own, payer: p.payer, up: r.up[p.own]}
	version := r.line.At(p.tripAt).Version
	set, err := r.sets.Of(ctx, tx, version)
	switch {
	case errors.Is(err, ruleset.ErrSet): // it was published by a build that read more: money is collected all the same
		d.version, d.finding = version, "the rule set is not read here any more"
		return d, nil
	case err != nil || set == nil:
		return d, err
	}
	d.version = version
	for {
		var findings []string
		chosen, err := set.Route(&ruleset.Payment{
			At: tx.Now, Wallet: cmp.Or(p.wallet, r.contracts[p.own].Adapter), Contract: p.own, Kind: p.kind, Attempt: p.attempt, Amount: p.amount, Up: r.up,
		}, func(name string) bool {
			why := r.mayNot(p, name)
			if why != "" && !slices.Contains(findings, why) {
				findings = append(findings, why)
			}
			return why == ""
		})
		if err != nil {
			findings = append(findings, "a condition failed: "+err.Error())
		}
		up := r.up[chosen.Contract]
		if chosen.Rule != "" && r.probe[chosen.Contract] {
			// Whoever takes the probe has the only payment of all instances that tries.
			mine, err := takeProbe(ctx, tx, chosen.Contract)
			if err != nil {
				return d, err
			}
			r.probe[chosen.Contract], r.up[chosen.Contract] = false, false
			if !mine {
				continue
			}
		}
		d.contract, d.rule, d.finding, d.up = chosen.Contract, chosen.Rule, strings.Join(findings, "; "), up
		if d.contract != p.own {
			d.payer = r.payers[p.account][d.contract]
		}
		return d, nil
	}
}

// mayNot says why a contract cannot collect a payment, "" if it can.
func (r *router) mayNot(p *payment, name string) string {
	contract, there := r.contracts[name]
	switch {
	case !there:
		return fmt.Sprintf("contract_unknown: there is no contract %s", name)
	case contract.State != contractActive:
		return fmt.Sprintf("contract_closed: contract %s is %s", name, contract.State)
	case slices.Contains(p.refused, name):
		return fmt.Sprintf("contract_refused: contract %s cannot take this payment", name)
	case p.codes != nil && !slices.Contains(p.codes, name):
		return fmt.Sprintf("code_unfit: contract %s does not take this code", name)
	case p.codes == nil && name != p.own && r.payers[p.account][name] == "":
		return fmt.Sprintf("payer_unknown: the payer is not known under contract %s", name)
	}
	return ""
}

// routeAll gives what is to be collected its contracts.
func (c *Collector) routeAll(ctx context.Context, tx *pg.Tx, kind string, due []closing) error {
	some, err := policies.HasSets(ctx, tx)
	if err != nil || !some {
		return err // each goes to its payer's own contract
	}
	if err := loadPayments(ctx, tx, kind, due); err != nil {
		return err
	}
	r, err := c.newRouter(ctx, tx, due)
	if err != nil {
		return err
	}
	for i := range due {
		if due[i].route, err = r.choose(ctx, tx, &due[i].payment); err != nil {
			return err
		}
	}
	return nil
}

// moveCharges gives charges that certainly were never sent, and cannot be sent
// where they are, to the contract that the rules name now, as a new attempt under
// a new id. What may have been seen by a provider never moves: it is no longer
// "created", and stays with the provider that can say what became of it.
func (r *run) moveCharges(ctx context.Context) error {
	if err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error { return dropFirstRides(ctx, tx) }); err != nil {
		return err
	}
	for _, kind := range []string{kindCharge, kindRecovery} {
		var after citygate.UUID
		for n := closeBatch; n == closeBatch; {
			last := after
			if err := r.DB.InTenant(ctx, r.tenant, func(tx *pg.Tx) error {
				n = 0
				some, err := policies.HasSets(ctx, tx)
				if err != nil || !some {
					return err
				}
				stuck, err := takeStuck(ctx, tx, kind, after)
				if n = len(stuck); err != nil || n == 0 {
					return err
				}
				last = stuck[n-1].leaves
				return r.moveStuck(ctx, tx, kind, stuck)
			}); err != nil {
				return err
			}
			after = last
		}
	}
	return nil
}

func (r *run) moveStuck(ctx context.Context, tx *pg.Tx, kind string, stuck []closing) error {
	stuck, err := withoutRefunds(ctx, tx, stuck)
	if err != nil || len(stuck) == 0 {
		return err
	}
	if err := loadPayments(ctx, tx, kind, stuck); err != nil {
		return err
	}
	router, err := r.newRouter(ctx, tx, stuck)
	if err != nil {
		return err
	}
	var next []closing
	for _, s := range stuck {
		if s.route, err = router.choose(ctx, tx, &s.payment); err != nil {
			return err
		}
		// Only to one that answers: two that are down would hand it to and fro.
		if s.route.contract != s.at && s.route.up {
			next = append(next, s)
		}
	}
	if err := leave(ctx, tx, next); err != nil {
		return err
	}
	return storeIntents(ctx, tx, kind, next)
}

// How a provider did in a call.
type health int

const (
	silent  health = iota // the call says nothing about it
	replied               // it said something definite
	fails                 // it did not answer, or nothing but that it cannot say
)

// healthOf judges a call by what came back.
func healthOf(outcomes []outcome, err error) health {
	switch {
	case errors.Is(err, adapters.ErrNotSent) || err != nil && !adapters.Certain(err):
		return fails
	case err != nil || len(outcomes) == 0:
		return silent
	}
	for _, o := range outcomes {
		if o.result.Outcome != driver.Unknown {
			return replied
		}
	}
	return fails
}

// healthOfQueries judges questions by what came back: a provider that answers any
// of them is up.
func healthOfQueries(outcomes []outcome, errs []error) health {
	how := silent
	for i := range outcomes {
		switch {
		case errs[i] == nil && outcomes[i].result.Outcome != driver.Unknown:
			return replied
		case errs[i] != nil && (errors.Is(errs[i], adapters.ErrNotSent) || !adapters.Certain(errs[i])):
			how = fails
		}
	}
	return how
}
