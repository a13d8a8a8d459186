package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/recon"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// billBook gives reconciliation our side of a bill: charges and refunds.
type billBook struct{ collector *collect.Collector }

var _ recon.Book = billBook{}

func (billBook) Touched(ctx context.Context, tx *pg.Tx, contract string, since time.Time) ([]time.Time, error) {
	return collect.Touched(ctx, tx, contract, since)
}

func (billBook) Named(ctx context.Context, tx *pg.Tx, contract string, ourIDs []string) ([]recon.Payment, error) {
	entries, err := collect.EntriesByID(ctx, tx, ourIDs)
	return payments(entries, func(e collect.BillEntry) bool { return e.Contract == contract }), err
}

func (billBook) SucceededIn(ctx context.Context, tx *pg.Tx, contract string, from, to time.Time) ([]recon.Payment, error) {
	charges, err := collect.ChargesForBill(ctx, tx, contract, from, to)
	if err != nil {
		return nil, err
	}
	refunds, err := collect.RefundsForBill(ctx, tx, contract, from, to)
	return payments(append(charges, refunds...), func(e collect.BillEntry) bool { return e.State == string(recon.Succeeded) }), err
}

func (b billBook) Resolve(ctx context.Context, tx *pg.Tx, contract string, lines []recon.Line) error {
	proofs := make([]collect.BillProof, len(lines))
	for i, l := range lines {
		proofs[i] = collect.BillProof{OurID: l.OurID, Refund: l.Refund, ProviderRef: l.ProviderRef}
		if l.Refund {
			proofs[i].OurID = l.RefundID
		}
	}
	contradictions, err := b.collector.ResolveByBill(ctx, tx, contract, proofs)
	return errors.Join(append(contradictions, err)...)
}

func payments(entries []collect.BillEntry, want func(collect.BillEntry) bool) []recon.Payment {
	var list []recon.Payment
	for _, e := range entries {
		if !want(e) {
			continue
		}
		p := recon.Payment{ChargeID: e.Charge, OurID: e.OurID, Amount: e.Amount.Minor, Currency: e.Amount.Currency, Fee: e.Fee, State: recon.Open, FinalAt: e.FinalAt}
		if e.Refund {
			p.RefundID, p.Amount = e.ID, -e.Amount.Minor
		}
		switch e.State {
		case "succeeded":
			p.State = recon.Succeeded
		case "declined", "void":
			p.State = recon.Declined
		}
		list = append(list, p)
	}
	return list
}
