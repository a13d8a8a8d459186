package recon

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Payments is the [Book] that the collector keeps.
type Payments struct{ Collector *collect.Collector }

var _ Book = Payments{}

// Touched implements [Book]: the quarters of an hour in which payments were sent
// or became final. No zone cuts its day inside one.
func (Payments) Touched(ctx context.Context, tx *pg.Tx, contract string, since time.Time) ([]time.Time, error) {
	return collect.Touched(ctx, tx, contract, since)
}

// Named implements [Book].
func (Payments) Named(ctx context.Context, tx *pg.Tx, contract string, ourIDs []string) ([]Payment, error) {
	entries, err := collect.EntriesByID(ctx, tx, ourIDs)
	if err != nil {
		return nil, err
	}
	quotes, err := collect.Quotes(ctx, tx, ourIDs)
	if err != nil {
		return nil, err
	}
	unnamed, err := collect.UnnamedReturns(ctx, tx, contract, ourIDs)
	if err != nil {
		return nil, err
	}
	payments := make([]Payment, 0, len(entries))
	for _, e := range entries {
		if e.Contract != contract {
			continue
		}
		p := payment(e)
		if !e.Refund {
			p.Unnamed = unnamed[e.OurID]
		}
		if q, ok := quotes[e.OurID]; ok {
			p.Pays, p.Guaranteed = q.Pays, q.Rate.Guaranteed
		}
		payments = append(payments, p)
	}
	taken, err := collect.Reversed(ctx, tx, contract, ourIDs)
	for _, r := range taken {
		payments = append(payments, Payment{ChargeID: r.Charge, RefundID: r.ID, OurID: r.Reference, ChargeOurID: r.ChargeOurID,
			Amount: -r.Amount.Minor, Currency: r.Amount.Currency, Fee: r.Fee, FeeUnsaid: r.FeeUnsaid, State: Succeeded, FinalAt: r.At})
	}
	return payments, err
}

// Resolve implements [Book]. What the collector will not take (a payment that
// was declined in the meantime) stays as it is and becomes an exception.
func (p Payments) Resolve(ctx context.Context, tx *pg.Tx, contract string, lines []Line) error {
	proofs := make([]collect.BillProof, 0, len(lines))
	for i := range lines {
		l := &lines[i]
		if l.Refund {
			said, err := p.Collector.FeeByBill(ctx, tx, contract, l.names(), citygate.Money{Minor: l.Amount, Currency: l.Currency}, l.Fee)
			if err != nil {
				return err
			}
			if said {
				continue
			}
		}
		if l.Reversed {
			if err := p.Collector.ReverseByBill(ctx, tx, collect.Reversal{Contract: contract, Reference: l.RefundID, Charge: l.OurID,
				Amount: citygate.Money{Minor: -l.Amount, Currency: l.Currency}, Fee: l.Fee}); err != nil {
				return err
			}
			continue
		}
		proofs = append(proofs, collect.BillProof{OurID: l.names(), Refund: l.Refund, ProviderRef: l.ProviderRef, Charge: l.OurID, Amount: -l.Amount})
	}
	if len(proofs) == 0 {
		return nil
	}
	_, err := p.Collector.ResolveByBill(ctx, tx, contract, proofs)
	return err
}

func payment(e collect.BillEntry) Payment {
	p := Payment{
		ChargeID: e.Charge, OurID: e.OurID, ChargeOurID: e.ChargeOurID,
		Amount: e.Amount.Minor, Currency: e.Amount.Currency, Fee: e.Fee, FinalAt: e.FinalAt,
	}
	if e.Refund {
		p.RefundID, p.Amount = e.ID, -e.Amount.Minor // an entry has it as bills write it
	}
	switch e.State {
	case "succeeded":
		p.State = Succeeded
	case "declined", "void":
		p.State = Declined
	default:
		p.State = Open
	}
	return p
}
