package city

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// score reads everything back and checks it.
func (w *world) score(ctx context.Context) (*Score, error) {
	s := &Score{
		Seed: w.Seed, Riders: w.Riders, Money: map[string]*Purse{}, Invariants: map[string]bool{},
		Taps:           TapScore{Made: w.made, Refused: map[string]int{}},
		Attacks:        AttackScore{Seeded: map[attack]int{}, Caught: map[attack]int{}},
		Reconciliation: ReconScore{Exceptions: map[string]int{}},
	}
	answers := map[[32]byte][]intake.Answer{}
	for _, t := range cityTenants() {
		x, err := w.tallyOf(ctx, t, w.digests())
		if err != nil {
			return nil, fmt.Errorf("tally of %s: %w", t.Slug, err)
		}
		s.add(x)
		for digest, list := range x.caught {
			answers[digest] = append(answers[digest], list...)
		}
	}
	w.scoreAttacks(s, answers)
	if err := w.scoreFaults(ctx, s); err != nil {
		return nil, err
	}
	if err := w.invariants(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// digests lists the codes whose fate the score asks for.
func (w *world) digests() [][32]byte {
	set := map[[32]byte]bool{}
	for d := range w.honestly {
		set[d] = true
	}
	for _, a := range attacks {
		for _, e := range w.seeded[a] {
			set[e.digest] = true
		}
	}
	for _, list := range w.originals {
		for _, d := range list {
			set[d] = true
		}
	}
	return slices.Collect(maps.Keys(set))
}

// purse gives the money of a currency.
func (s *Score) purse(c citygate.Currency) *Purse {
	p, ok := s.Money[string(c)]
	if !ok {
		p = &Purse{}
		s.Money[string(c)] = p
	}
	return p
}

// add adds one tenant's tally.
func (s *Score) add(x tally) {
	s.Taps.Uploaded += int(x.taps.Uploaded)
	s.Taps.Recorded += int(x.taps.Recorded)
	s.Taps.Duplicate += int(x.taps.Duplicate)
	for reason, n := range x.taps.Refused {
		s.Taps.Refused[string(reason)] += int(n)
	}
	s.Charges.Succeeded += x.charges.Succeeded
	s.Charges.Declined += x.charges.Declined
	s.Charges.UnknownSeen += x.charges.UnknownSeen
	s.Charges.UnknownOpen += x.charges.UnknownOpen
	s.refundsRefused += x.charges.RefundsRefused
	s.Debts.Opened += x.charges.DebtsOpened
	s.Debts.Recovered += x.charges.DebtsRecovered
	s.Debts.Open += x.charges.DebtsOpen
	for c, minor := range x.fares {
		s.purse(c).Fares += minor
	}
	for c, m := range x.charges.Money {
		p := s.purse(c)
		p.Collected += m.Collected
		p.ProviderFees += m.Fees
		p.Debt += m.Debt
		p.OwedToOperators += m.Collected - m.Fees
	}
	for c, minor := range x.held {
		if minor != 0 {
			s.purse(c).Held += minor
		}
	}
	for c, minor := range x.paidOut {
		s.purse(c).PaidOut += minor
	}
	s.Reconciliation.Lines += x.recon.Lines
	s.Reconciliation.Matched += x.recon.Matched
	for kind, n := range x.recon.Exceptions {
		s.Reconciliation.Exceptions[string(kind)] += n
	}
}

// scoreAttacks compares what was played with what the rows say. An attack is
// caught by its own reason only; of bytes shown twice one showing is accepted
// and the other refused; of a clone either evidence may be the refused one, and
// it counts once for each credential.
func (w *world) scoreAttacks(s *Score, answers map[[32]byte][]intake.Answer) {
	for _, a := range attacks {
		s.Attacks.Seeded[a], s.Attacks.Caught[a] = 0, 0
		clones := map[int]bool{}
		for _, e := range w.sortedSeeded(a) {
			if a == cloned {
				caught := answered(answers[e.digest], code.Clone) > 0
				for _, original := range w.originals[e.rider] {
					caught = caught || answered(answers[original], code.Clone) > 0
				}
				clones[e.rider] = clones[e.rider] || caught
				continue
			}
			s.Attacks.Seeded[a]++
			if a.caught(e, answers[e.digest]) {
				s.Attacks.Caught[a]++
			}
		}
		for _, caught := range clones {
			s.Attacks.Seeded[a]++
			if caught {
				s.Attacks.Caught[a]++
			}
		}
	}
	for digest, opened := range w.honestly {
		for _, a := range answers[digest] {
			switch {
			case a.Reason == "":
			case opened:
				w.wronged++
			default:
				s.Taps.HonestRefused++
			}
		}
	}
}

// answered counts the answers with a reason.
func answered(list []intake.Answer, reason code.Reason) (n int) {
	for _, a := range list {
		if a.Reason == reason {
			n++
		}
	}
	return n
}

// caught reports whether the rows show that the attack got what it deserves.
func (a attack) caught(e evidence, list []intake.Answer) bool {
	once := func(reasons ...code.Reason) bool {
		return len(list) == 1 && slices.Contains(reasons, list[0].Reason)
	}
	switch a { //nolint:exhaustive // clones are judged by credential
	case forged:
		return once([]code.Reason{code.UnknownKey, code.BadIssuerSignature, code.BadDeviceSignature, code.BadIssuerSignature}[e.variant])
	case expired:
		return once([]code.Reason{code.ExpiredCredential, code.ExpiredCode}[e.variant%2])
	case future:
		return once(code.NotYetValid)
	case overCap:
		return once(code.AmountOverCap)
	case denied:
		return once(code.Denied)
	case replayed:
		return len(list) == 2 && answered(list, "") == 1 && answered(list, code.Replayed) == 1
	case forwarded:
		return len(list) == 2 && answered(list, "") == 1 && answered(list, code.DoubleUse) == 1
	}
	return false
}

// scoreFaults looks every seeded fault up among the exceptions: one counts as
// found only with its own kind and order id, and every other exception is
// unexplained.
func (w *world) scoreFaults(ctx context.Context, s *Score) error {
	type named struct {
		tenant citygate.TenantID
		kind   string
		id     string
	}
	wanted := map[named]bool{}
	for _, f := range w.faults {
		wanted[named{f.tenant, exceptionOf[f.Kind], f.OrderID}] = true
	}
	s.Reconciliation.Seeded = len(wanted)
	for _, t := range cityTenants() {
		err := w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			const most = 10_000
			items, err := recon.Exceptions(ctx, tx, false, "", "", most)
			for _, i := range items {
				if name := (named{t.ID, string(i.Kind), i.OurID}); wanted[name] {
					delete(wanted, name)
					s.Reconciliation.Found++
				} else {
					s.Reconciliation.Unexplained++
					s.Broken = append(s.Broken, fmt.Sprintf("faults_found: tenant %d: unexplained %s of %s (%s)", t.ID, i.Kind, i.OurID, i.Item))
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// invariants checks what must hold whatever was played.
func (w *world) invariants(ctx context.Context, s *Score) error {
	holds := func(name string, ok bool, format string, args ...any) {
		s.Invariants[name] = ok
		if !ok {
			s.Broken = append(s.Broken, name+": "+fmt.Sprintf(format, args...))
		}
	}
	books, err := w.gateway.CheckBooks(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"books_rederive", "interbook_pairs", "clearing_zero", "payouts_equal_receipts", "closed_windows_hold"} {
		holds(name, books.Holds(name), "%v", findings(books, name))
	}
	holds("taps_add_up", s.Taps.Uploaded == s.Taps.Recorded+s.Taps.Duplicate+total(s.Taps.Refused), "%+v", s.Taps)
	enough := true
	for _, a := range attacks {
		enough = enough && s.Attacks.Seeded[a] >= w.perKind
	}
	holds("attacks_caught", enough && maps.Equal(s.Attacks.Seeded, s.Attacks.Caught), "played %v, caught %v", s.Attacks.Seeded, s.Attacks.Caught)
	holds("no_tap_lost", w.pending() == 0 && s.Taps.Made == s.Taps.Uploaded-s.Taps.Duplicate, "made %d, %d in journals, %+v", s.Taps.Made, w.pending(), s.Taps)
	holds("honest_accepted", w.wronged == 0, "%d taps of honest riders, let in offline, were refused later", w.wronged)
	holds("unknown_resolved", s.Charges.UnknownOpen == 0, "%d are open", s.Charges.UnknownOpen)
	holds("refunds_made", s.refundsRefused == 0, "the providers declined %d refunds", s.refundsRefused)
	r := s.Reconciliation
	holds("faults_found", r.Found == r.Seeded && r.Unexplained == 0 && r.Lines == r.Matched+total(r.Exceptions) && len(r.Exceptions) >= len(exceptionOf), "%+v", r)
	for c, p := range s.Money {
		if p.Fares != p.Collected+p.Debt || p.OwedToOperators != p.Collected-p.ProviderFees || p.PaidOut+p.Held != p.OwedToOperators {
			holds("money_adds_up", false, "%s: %+v", c, *p)
		}
	}
	if _, broken := s.Invariants["money_adds_up"]; !broken {
		holds("money_adds_up", len(s.Money) > 0, "no money moved")
	}
	if err := w.compareBooks(ctx, s, holds); err != nil {
		return err
	}
	if err := w.storyPlayed(ctx, s, holds); err != nil {
		return err
	}
	return w.rowInvariants(ctx, holds)
}

func findings(r ledger.Report, name string) []string {
	var list []string
	for _, f := range r.Findings {
		if f.Invariant == name && len(list) < 5 {
			list = append(list, f.String())
		}
	}
	return list
}

// compareBooks holds our succeeded charges and refunds against the simulators'
// own books, one by one: id, amount, and the fee where the book names it.
func (w *world) compareBooks(ctx context.Context, s *Score, holds func(string, bool, string, ...any)) error {
	theirs, succeeded := w.providerBook()
	s.Charges.ProviderSucceeded = succeeded
	ours := map[payment]int{}
	for _, t := range cityTenants() {
		contract := alipayContract
		if t.ID >= hillside {
			contract = sandboxContract
		}
		err := w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			charges, err := collect.ChargesForBill(ctx, tx, contract, time.Time{}, tx.Now, "", 0)
			if err != nil {
				return err
			}
			refunds, err := collect.RefundsForBill(ctx, tx, contract, time.Time{}, tx.Now, "", 0)
			for _, e := range append(charges, refunds...) {
				if e.State == "succeeded" {
					ours[payment{e.OurID, e.Amount, e.Fee}]++
				}
				if e.Refund {
					w.refunded++
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	holds("one_charge_per_attempt", succeeded == s.Charges.Succeeded && maps.Equal(ours, theirs),
		"the providers have %d payments and refunds, we have %d; charges %d and %d", len(theirs), len(ours), succeeded, s.Charges.Succeeded)
	return nil
}

// storyPlayed holds that the day had in it what it is there to show.
func (w *world) storyPlayed(ctx context.Context, s *Score, holds func(string, bool, string, ...any)) error {
	var wrong []uint32
	err := w.gateway.DB.InTenant(ctx, peakMinibus, func(tx *pg.Tx) error {
		flags, err := fleet.Flags(ctx, tx)
		for _, f := range flags {
			if f.Flag == fleet.ClockWrong {
				wrong = append(wrong, f.Terminal)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	deltas := 0
	for _, v := range w.validators {
		deltas += v.fetched["delta"]
	}
	for what, ok := range map[string]bool{
		"deny lists brought up to date by deltas":                          deltas > 0,
		"a third of the taps are Harbour City's riders at other operators": 3*w.abroad >= s.Taps.Made,
		"two currencies":                              len(s.Money) == 2,
		"replies lost after the provider acted":       w.lost.Load() > 0 && s.Charges.UnknownSeen > 0,
		"a ride charged as incomplete and given back": w.refunded > 0,
		"debts recovered and debts open":              s.Debts.Recovered > 0 && s.Debts.Open > 0,
		"a declined rider refused offline":            s.Taps.Refused[string(code.Denied)] > s.Attacks.Seeded[denied],
		"exits uploaded before their entries":         w.backwards > 0,
		"the wrong clock named, and no other":         slices.Equal(wrong, []uint32{w.validators[w.wrongClock].keyID}),
	} {
		if !ok {
			holds("story_played", false, "the day lacks this: %s (clocks named: %v)", what, wrong)
		}
	}
	if _, broken := s.Invariants["story_played"]; !broken {
		holds("story_played", true, "")
	}
	return nil
}

// rowInvariants reads rows tenant by tenant.
func (w *world) rowInvariants(ctx context.Context, holds func(string, bool, string, ...any)) error {
	var stray, fares, foreign int64
	for _, t := range cityTenants() {
		err := w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			check, err := pricing.CheckJourneys(ctx, tx)
			if err != nil {
				return err
			}
			stray += check.StrayTaps
			fares += check.WithoutOneFare
			n, err := foreignRows(ctx, tx)
			foreign += n
			return err
		})
		if err != nil {
			return err
		}
	}
	holds("tap_once", stray == 0, "%d taps are in no journey although accepted, or in one although refused", stray)
	holds("one_final_fare", fares == 0, "%d journeys have not exactly one final fare", fares)
	holds("tenant_isolation", foreign == 0, "%d rows of other tenants were visible", foreign)
	return nil
}

// foreignRows counts what the bound tenant sees of others, table by table.
func foreignRows(ctx context.Context, tx *pg.Tx) (n int64, err error) {
	for _, table := range []string{
		"taps", "tap_seen", "tap_evidence", "journeys", "fare_decisions", "transfers", "claims", "charges", "debts",
		"credentials", "accounts", "terminals", "receipts", "payouts", "recon_items", "outbox", "inbox", "audit_log",
	} {
		var seen int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM `+table+` WHERE tenant_id <> $1`, tx.Tenant).Scan(&seen); err != nil {
			return n, fmt.Errorf("rows of others in %s: %w", table, err)
		}
		n += seen
	}
	return n, nil
}

// finalCharges gives the ids of the charges that succeeded: bill faults fall on
// them alone.
func (w *world) finalCharges(ctx context.Context, tenant citygate.TenantID) (map[string]bool, error) {
	final := map[string]bool{}
	err := w.gateway.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		entries, err := collect.ChargesForBill(ctx, tx, alipayContract, w.day, tx.Now, "", 0)
		for _, e := range entries {
			final[e.OurID] = e.State == "succeeded"
		}
		return err
	})
	return final, err
}

func digestOf(raw []byte) [32]byte { return sha256.Sum256(raw) }
