package collect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/risk"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A debt is tried again by its schedule, when its rider touches a reader or shows
// a code to an inspector, when the rider asks, or when a person of the tenant does;
// and once at once, where the scheme insures a first decline. Which of them holds
// for a contract its risk terms say. Whoever starts it, a try is a charge of its
// own, there is one at a time, and one whose outcome nobody knows keeps all others
// waiting.

// The starters of tries that risk terms do not name.
const (
	byPerson    risk.Source = "person"     // of the tenant
	byFirstRide risk.Source = "first_ride" // the insurance of the scheme
)

// counts is how many of a debt's tries a charge is.
func (c *charge) counts() int {
	if c.Kind == kindRecovery {
		return 1
	}
	return 0
}

// recover writes the charges of debts that are due.
func (r *run) recover(ctx context.Context, tx *pg.Tx, due []closing) error {
	var insured, others []closing
	taken := map[tokenKey]bool{}
	for _, d := range due {
		token := tokenKey{d.payment.account, d.route.contract}
		if d.by == byFirstRide && !taken[token] {
			used, err := firstRideUsed(ctx, tx, token)
			if err != nil {
				return err
			}
			if taken[token] = true; !used {
				insured = append(insured, d)
				continue
			}
		}
		if d.by == byFirstRide { // declines at once on two instances: the scheme insures one
			d.by, d.route = risk.BySchedule, decision{}
		}
		others = append(others, d)
	}
	if err := storeIntents(ctx, tx, kindFirstRide, insured); err != nil {
		return err
	}
	return r.intend(ctx, tx, kindRecovery, others)
}

// insured says which of the charges declined in one transaction are asked for once
// more as insured first rides.
func (by *declineRules) insured(ctx context.Context, tx *pg.Tx, about driver.Description, declined []*charge) (map[citygate.UUID]bool, error) {
	if by.terms == nil || !about.Limits.FirstRide {
		return nil, nil
	}
	out := map[citygate.UUID]bool{}
	before := map[tokenKey]int{} // declines of this transaction
	var ids []citygate.UUID
	for _, ch := range declined {
		ids = append(ids, ch.ID)
	}
	ordered := slices.Clone(declined)
	slices.SortFunc(ordered, func(a, b *charge) int { return cmp.Compare(a.OurID, b.OurID) })
	for _, ch := range ordered {
		terms, token := by.terms.Contract(ch.Contract), tokenKey{ch.Account, ch.Contract}
		if terms == nil || terms.FirstRide == 0 {
			continue
		}
		past, err := pastOf(ctx, tx, token, ids)
		if err != nil {
			return nil, err
		}
		past.DeclinesSinceApproval += before[token]
		before[token]++
		if !ch.recovers() && terms.Insures(ch.Amount, past) {
			out[ch.ID] = true
		}
	}
	return out, nil
}

// A tokenKey is a payer at a contract: what a scheme calls a token.
type tokenKey struct {
	account  citygate.UUID
	contract string
}

// Recover has the open debts of an account collected now where its risk terms let
// the one who asks, and gives how many that is. What is being collected already is
// left alone. The actor is audited.
func (c *Collector) Recover(ctx context.Context, tx *pg.Tx, by risk.Source, actor string, account citygate.UUID) (int, error) {
	return c.recoverNow(ctx, tx, by, actor, map[citygate.UUID]asking{account: {at: tx.Now}})
}

// RetryDebts has all open debts of an account collected now, as a person of the
// tenant may at any time.
func (c *Collector) RetryDebts(ctx context.Context, tx *pg.Tx, actor string, account citygate.UUID) (int, error) {
	return c.Recover(ctx, tx, byPerson, actor, account)
}

// actorTap is who started what a tap started.
const actorTap = "system:tap"

// touchAge is how old a tap may be that starts a try: the rider who touched a
// reader is to be let ride because of it.
const touchAge = 24 * time.Hour

// An asking is when somebody asked for an account's debts to be tried, and what was shown
// to a reader then.
type asking struct {
	at    time.Time
	shown []byte
}

// recoverNow makes the open debts of accounts due, where the terms let whoever asks
// and something happened since the last try. With the accounts goes when they asked.
func (c *Collector) recoverNow(ctx context.Context, tx *pg.Tx, by risk.Source, actor string, asked map[citygate.UUID]asking) (int, error) {
	terms, err := c.terms.At(ctx, tx, tx.Now)
	if err != nil || by == risk.ByTap && !terms.ByTap() {
		return 0, err
	}
	debts, err := openDebts(ctx, tx, sortedUnique(slices.Collect(maps.Keys(asked))))
	if err != nil || len(debts) == 0 {
		return 0, err
	}
	settings, err := c.Settings(ctx, tx.Tenant)
	if err != nil {
		return 0, err
	}
	var due []citygate.UUID
	var shown [][]byte
	for i := range debts {
		d := &debts[i]
		at := asked[d.account].at
		if by == risk.ByTap && (at.Before(tx.Now.Add(-touchAge)) || at.After(tx.Now.Add(touchAge)) || !at.After(d.Since)) {
			continue
		}
		if by == byPerson || terms.Contract(d.contract).May(&d.Debt, by, tx.Now, settings.Calendar.Location) {
			due, shown = append(due, d.aggregation), append(shown, asked[d.account].shown)
		}
	}
	n, err := makeDue(ctx, tx, by, due, shown)
	if err != nil || n == 0 {
		return 0, err
	}
	return n, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "debts.retry", Object: "account:" + debts[0].account.Text("acc_"), After: map[string]any{"debts": n, "by": string(by)}})
}

// HandleTouches is the handler of touches messages.
func (c *Collector) HandleTouches(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var m interbook.Touches
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("touches: %w", err)
	}
	return c.TakeTouches(ctx, tx, m.Items)
}

// TakeTouches takes what an operator saw of riders of ours whom a reader refused as
// denied: they may have their debts tried again. The codes are verified under our
// own keys, so that only who holds the device starts a try.
func (c *Collector) TakeTouches(ctx context.Context, tx *pg.Tx, items []interbook.Touch) error {
	terms, err := c.terms.At(ctx, tx, tx.Now)
	if err != nil || len(items) == 0 || !terms.ByTap() {
		return err
	}
	raw := make([][]byte, len(items))
	for i := range items {
		raw[i] = items[i].Tap.Evidence
	}
	proofs, err := c.Prove(ctx, tx, raw)
	if err != nil {
		return err
	}
	if len(proofs) != len(raw) {
		return fmt.Errorf("collect: %d proofs for %d codes", len(proofs), len(raw))
	}
	last := map[citygate.Rider]asking{}
	for i := range items {
		t, p := &items[i], proofs[i]
		made := time.Unix(p.GeneratedAt, 0)
		if p.Reason != "" || p.Use != (code.Use{Rider: t.Rider, Counter: t.Tap.Counter}) || made.Sub(t.Tap.EventTime).Abs() > clockSlack {
			continue
		}
		if made.After(last[t.Rider].at) { // the phone's time: an operator can make up the reader's
			last[t.Rider] = asking{made, t.Tap.Evidence}
		}
	}
	accounts, err := c.Accounts.AccountsOf(ctx, tx, slices.SortedFunc(maps.Keys(last), citygate.Rider.Compare))
	if err != nil {
		return err
	}
	asked := map[citygate.UUID]asking{}
	for r, a := range accounts {
		if last[r].at.After(asked[a.ID].at) {
			asked[a.ID] = last[r]
		}
	}
	_, err = c.recoverNow(ctx, tx, risk.ByTap, actorTap, asked)
	return err
}

// touched has the debts tried again of the riders whose new rides were claimed.
func (c *Collector) touched(ctx context.Context, tx *pg.Tx, claims []*claim) error {
	asked := map[citygate.UUID]asking{}
	for _, cl := range claims {
		for i := range cl.Taps {
			if t := &cl.Taps[i]; cl.first && t.EventTime.After(asked[cl.account.ID].at) {
				asked[cl.account.ID] = asking{t.EventTime, t.Evidence}
			}
		}
	}
	if len(asked) == 0 {
		return nil
	}
	_, err := c.recoverNow(ctx, tx, risk.ByTap, actorTap, asked)
	return err
}

// unblocked gives those of the accounts that no debt blocks, by the terms of the
// contracts that declined them. Where a scheme asks for an approval, that of any
// charge of the account is one: a recovery may have been collected elsewhere.
func (c *Collector) unblocked(ctx context.Context, tx *pg.Tx, accounts []citygate.UUID) ([]citygate.UUID, error) {
	free, err := withoutDebt(ctx, tx, accounts)
	if err != nil || len(free) == 0 {
		return nil, err
	}
	terms, err := c.terms.At(ctx, tx, tx.Now)
	if err != nil || !terms.OnApproval() {
		return free, err
	}
	debts, err := pastDebts(ctx, tx, free)
	if err != nil {
		return nil, err
	}
	approved, err := lastApprovals(ctx, tx, free)
	if err != nil {
		return nil, err
	}
	byToken := map[tokenKey][]risk.Debt{}
	for i := range debts {
		k := tokenKey{debts[i].account, debts[i].contract}
		byToken[k] = append(byToken[k], debts[i].Debt)
	}
	blocked := map[citygate.UUID]bool{}
	for k, of := range byToken {
		if terms.Contract(k.contract).Blocked(of, approved[k.account]) {
			blocked[k.account] = true
		}
	}
	return slices.DeleteFunc(free, func(id citygate.UUID) bool { return blocked[id] }), nil
}
