package recon

import (
	"context"
	"slices"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Resolution is a person's decision about an exception: whose figure holds.
type Resolution string

// The resolutions. What they do to the books is in the package documentation.
const (
	AcceptProvider Resolution = "accept_provider" // the provider's: we were wrong
	AcceptOurs     Resolution = "accept_ours"     // ours: the provider was wrong and says so
	WriteOff       Resolution = "write_off"       // nobody pursues the difference
)

// ErrResolution refuses a decision that cannot be booked.
var ErrResolution = &citygate.Code{Name: "recon.resolution", Kind: citygate.Invalid, Title: "That decision does not end this exception. Choose another one, and say why."}

// settlement gives what a decision does to the books: the bank got what the row
// says, and what is then left of the provider's debt goes where the decision
// sends it. It is used to post and to derive again.
func settlement(tenant citygate.TenantID, i *Item) []ledger.Transfer {
	receivable := ledger.ProviderReceivable(i.Contract)
	paid := i.Actual - i.ActualFee
	if i.Kind == CurrencyDiff {
		paid = 0 // the row's amount is of another currency
	}
	left := i.Expected - i.ExpectedFee - paid
	taker := ledger.WriteOff(i.Contract)
	if i.Resolution == AcceptOurs || i.Resolution == AcceptProvider && left < 0 {
		taker = ledger.Suspense(i.Contract)
	}
	var transfers []ledger.Transfer
	for _, t := range []ledger.Transfer{
		{Debit: ledger.Bank(), Amount: paid, Code: "provider_settled"},
		{Debit: taker, Amount: left, Code: "recon_" + string(i.Resolution)},
	} {
		if t.Amount == 0 {
			continue
		}
		t.Credit, t.Currency, t.Event = receivable, i.Currency, i.event("resolve")
		t.EffectiveAt, t.BusinessDate = i.ResolvedAt, i.Day
		transfers = append(transfers, ledger.NewTransfer(tenant, 0, t))
	}
	return transfers
}

// Resolve ends an open exception by a person's decision: it is booked, and what
// it held goes on its way. The same decision again is [ErrNotOpen].
func Resolve(ctx context.Context, tx *pg.Tx, actor, contract, item string, how Resolution, reason string) error {
	if !slices.Contains([]Resolution{AcceptProvider, AcceptOurs, WriteOff}, how) || reason == "" {
		return ErrResolution.Explain("resolution %q, reason %q", how, reason)
	}
	i, err := resolve(ctx, tx, contract, item, how, reason)
	if pg.IsNoRows(err) {
		return ErrNotOpen.Because(nil, "contract %s, item %s", contract, item)
	}
	if err != nil {
		return err
	}
	if i.Kind == CurrencyDiff && how == AcceptProvider {
		return ErrResolution.Explain("the row is in another currency than the payment: it cannot take its place")
	}
	transfers := settlement(tx.Tenant, &i)
	booked := make(map[string]int64, len(transfers))
	for _, t := range transfers {
		booked[t.Debit+" < "+t.Credit] += t.Amount
	}
	if err := tx.Audit(ctx, pg.AuditEntry{
		Actor: actor, Verb: "recon.resolve", Object: contract + "/" + item,
		Before: map[string]string{"state": stateOpen, "kind": string(i.Kind)},
		After:  map[string]any{"state": stateResolved, "resolution": how, "reason": reason, "currency": i.Currency, "booked_minor": booked},
	}); err != nil {
		return err
	}
	return ledger.Post(ctx, tx, transfers)
}
