package city

import (
	"context"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/gateway/settle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// open names what is not final yet.
func (w *world) open(ctx context.Context) ([]string, error) {
	var open []string
	for _, t := range cityTenants() {
		err := w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			note := func(n int, what string) {
				if n > 0 {
					open = append(open, fmt.Sprintf("%s: %d %s", t.Slug, n, what))
				}
			}
			undelivered, err := interbook.Undelivered(ctx, tx)
			if err != nil {
				return err
			}
			note(undelivered, "messages")
			tallies, err := pricing.Tallies(ctx, tx)
			if err != nil {
				return err
			}
			for _, x := range tallies {
				if x.State == "open" {
					note(int(x.Journeys), "open journeys")
				}
			}
			due, err := settle.Pending(ctx, tx)
			if err != nil {
				return err
			}
			note(due.Windows, "windows")
			note(due.Files, "payout files")
			if t.Issuer == 0 {
				return nil
			}
			counters, err := collect.Count(ctx, tx)
			if err != nil {
				return err
			}
			note(counters.Unfinished, "charges, refunds or aggregations")
			return w.unimported(ctx, tx, t, note)
		})
		if err != nil {
			return nil, err
		}
	}
	return open, nil
}

// unimported counts payments that no reconciliation has looked at.
func (w *world) unimported(ctx context.Context, tx *pg.Tx, t tenants.Tenant, note func(int, string)) error {
	contract := alipayContract
	if t.ID >= hillside {
		contract = sandboxContract
	}
	charges, err := collect.ChargesForBill(ctx, tx, contract, time.Time{}, tx.Now, "", 0)
	if err != nil {
		return err
	}
	refunds, err := collect.RefundsForBill(ctx, tx, contract, time.Time{}, tx.Now, "", 0)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		entries []collect.BillEntry
		judged  func(context.Context, *pg.Tx, []citygate.UUID) (int, error)
		what    string
	}{{charges, recon.Judged, "charges without a bill"}, {refunds, recon.JudgedRefunds, "refunds without a bill"}} {
		ids := make([]citygate.UUID, len(x.entries))
		for i, e := range x.entries {
			ids[i] = e.ID
		}
		judged, err := x.judged(ctx, tx, ids)
		if err != nil {
			return err
		}
		note(len(ids)-judged, x.what)
	}
	return nil
}

// A ledgerless tally is what one tenant's rows add up to.
type tally struct {
	taps    intake.Counts
	caught  map[[32]byte][]intake.Answer
	charges collect.Counters
	recon   recon.Counts
	fares   map[citygate.Currency]int64
	paidOut map[citygate.Currency]int64
	held    map[citygate.Currency]int64
}

// tallyOf reads a tenant's rows back.
func (w *world) tallyOf(ctx context.Context, t tenants.Tenant, digests [][32]byte) (x tally, err error) {
	x.fares, x.held = map[citygate.Currency]int64{}, map[citygate.Currency]int64{}
	err = w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
		var err error
		if x.taps, err = intake.Count(ctx, tx); err != nil {
			return err
		}
		if x.caught, err = intake.Answers(ctx, tx, digests, w.day, tx.Now); err != nil {
			return err
		}
		tallies, err := pricing.Tallies(ctx, tx)
		if err != nil {
			return err
		}
		for _, p := range tallies {
			if p.Currency != "" {
				x.fares[p.Currency] += p.Amount
			}
		}
		if x.paidOut, err = settle.PaidOut(ctx, tx); err != nil {
			return err
		}
		if x.charges, err = collect.Count(ctx, tx); err != nil {
			return err
		}
		if x.recon, err = recon.Count(ctx, tx); err != nil {
			return err
		}
		heldCharges, err := recon.HeldCharges(ctx, tx)
		if err != nil {
			return err
		}
		held, err := collect.NetOf(ctx, tx, heldCharges)
		if err != nil {
			return err
		}
		x.held[t.Currency] += held
		return nil
	})
	return x, err
}

// A payment is a charge or refund as both sides name it.
type payment struct {
	id     string
	amount citygate.Money // negative for a refund
	fee    int64
}

// providerBook gives what the simulators' own books say moved, and how many
// charges succeeded. The sandbox's book names no fees; its contract does.
func (w *world) providerBook() (moved map[payment]int, succeeded int) {
	moved = map[payment]int{}
	for _, t := range w.sim.Book() {
		if !t.Paid {
			continue
		}
		succeeded++
		moved[payment{t.OutTradeNo, t.Amount, t.Fee}]++
		for _, r := range t.Refunds {
			moved[payment{r.OutRequestNo, r.Amount.Neg(), 0}]++
		}
	}
	for _, book := range w.sandboxes {
		for _, e := range book.Book() {
			switch {
			case e.Outcome != driver.Succeeded:
			case e.Kind == sandbox.Refund:
				moved[payment{e.OurID, e.Amount.Neg(), 0}]++
			default:
				succeeded++
				moved[payment{e.OurID, e.Amount, citygate.PartPerMillion(e.Amount.Minor, sandboxFeePPM)}]++
			}
		}
	}
	return moved, succeeded
}
