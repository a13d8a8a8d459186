package collect

import (
	"context"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The codes of the transfers this package posts.
const (
	codeFare           = "fare"
	codeFareCorrection = "fare_correction"
	codeCharge         = "charge"
	codeProviderFee    = "provider_fee"
	codeDecline        = "decline"
	codeRecovery       = "recovery"
	codeFirstRide      = "first_ride" // what a scheme insures is paid
	codeDebtCorrected  = "debt_corrected"
	codeRefund         = "refund"
	codeFeeShare       = "provider_fee_share"
	codeUncollected    = "uncollected"
	codeRecovered      = "uncollected_recovered"
	codeClearing       = "clearing"
	codeBorne          = "liability_paid"
	codeClaim          = "liability_claim"
	codeOwnFee         = "provider_fee_borne"
	codeWriteOff       = "debt_written_off"
	codeWrittenOffPaid = "written_off_recovered"
	codeBearerPaid     = "liability_settled"
	codeReversal       = "reversal"
	codeReversalMore   = "reversal_unowed" // beyond what was left of the payment
	codeReversalFee    = "reversal_fee"
	codeReversalWon    = "reversal_won"
	codeReversalRider  = "reversal_won_refund" // what is the rider's of it
	codeReversalLost   = "reversal_lost"
)

// A lineRow is one row of claim_lines.
type lineRow struct {
	Operator     citygate.TenantID
	Journey      citygate.UUID
	N            int
	Part         int
	Account      citygate.UUID
	Kind         string
	Delta        int64
	Currency     citygate.Currency
	BusinessDate citygate.Date
	At           time.Time
}

// transfers gives the fare between rider and operator, which in a book of one
// tenant is posted by who decided it, and what it did to a debt.
func (r *lineRow) transfers(tenant citygate.TenantID) []ledger.Transfer {
	t := ledger.Transfer{Event: fmt.Sprintf("claim:%d/%s/%d", r.Operator, r.Journey, r.N), Currency: r.Currency,
		EffectiveAt: r.At, BusinessDate: r.BusinessDate, Amount: r.Delta}
	if r.Kind == lineReversal {
		return nil // the reversal posts
	}
	var out []ledger.Transfer
	if r.Operator != tenant {
		fare := t
		fare.Debit, fare.Credit, fare.Code = ledger.RiderReceivable(r.Account), ledger.InterbookPayable(r.Operator), codeFare
		if r.Delta < 0 {
			fare.Code = codeFareCorrection
		}
		fare.Interbook = ledger.InterbookID(r.Operator, r.Journey)
		out = append(out, ledger.NewTransfer(tenant, r.Part, fare))
	}
	if r.Kind == lineDebt {
		t.Debit, t.Credit, t.Code = ledger.RiderDebt(r.Account), ledger.RiderReceivable(r.Account), codeDebtCorrected // Delta is negative
		out = append(out, ledger.NewTransfer(tenant, r.Part, t))
	}
	return out
}

// transfers gives what a charge's final outcome does.
func (c *charge) transfers(tenant citygate.TenantID) []ledger.Transfer {
	t := ledger.Transfer{Event: "charge:" + c.OurID, Currency: c.Currency, Amount: c.Amount, EffectiveAt: c.FinalAt, BusinessDate: c.BusinessDate}
	switch c.Kind {
	case kindPurchase:
		return c.purchased(tenant, t)
	case kindTill:
		return nil // package till posts
	}
	owed := ledger.RiderReceivable(c.Account)
	t.Code = codeCharge
	switch c.Kind {
	case kindRecovery:
		owed, t.Code = ledger.RiderDebt(c.Account), codeRecovery
	case kindFirstRide:
		owed, t.Code = ledger.RiderDebt(c.Account), codeFirstRide
	}
	switch {
	case c.State == adapters.Succeeded:
		t.Debit, t.Credit = ledger.ProviderReceivable(c.Contract), owed
		out := []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
		if c.Fee > 0 {
			t.Debit, t.Credit, t.Code, t.Amount = ledger.ProviderFeeExpense(c.Contract), ledger.ProviderReceivable(c.Contract), codeProviderFee, c.Fee
			out = append(out, ledger.NewTransfer(tenant, 0, t))
		}
		return out
	case c.State == adapters.Declined && !c.recovers():
		t.Debit, t.Credit, t.Code = ledger.RiderDebt(c.Account), owed, codeDecline
		return []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
	}
	return nil
}

// transfers gives what a refund's end does.
func (r *refund) transfers(tenant citygate.TenantID) []ledger.Transfer {
	if r.atTill() {
		return nil
	}
	t := ledger.Transfer{Event: "refund:" + r.OurID, Currency: r.Currency, Amount: r.Amount, EffectiveAt: r.FinalAt, BusinessDate: r.BusinessDate,
		Debit: ledger.RiderReceivable(r.Account)}
	switch r.State {
	case string(adapters.Succeeded):
		t.Credit, t.Code = ledger.ProviderReceivable(r.Contract), codeRefund
		if r.N == noDecision {
			t.Debit, t.Code = ledger.Prepaid(r.Journey), codeReturned
		}
	case refundVoid:
		if r.N == noDecision { // it was declined before
			return nil
		}
		t.Credit, t.Code = ledger.RiderDebt(r.Account), codeDebtCorrected
	default:
		return nil
	}
	return []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
}

// An advice is one row of advices.
type advice struct {
	Operator     citygate.TenantID
	Journey      citygate.UUID
	Kind         string
	Ref          citygate.UUID
	Part         int
	Amount       int64
	Contract     string
	Currency     citygate.Currency
	BusinessDate citygate.Date
	At           time.Time
}

// private reports whether the advice concerns this book alone.
func (a *advice) private() bool {
	return a.Kind == interbook.AdviceProviderClaim || a.Kind == interbook.AdvicePlatformClaim || a.Kind == interbook.AdviceOwnFee
}

// own gives the transfer of an advice that concerns this book alone.
func (a *advice) own(tenant citygate.TenantID) ledger.Transfer {
	t := ledger.Transfer{Event: fmt.Sprintf("advice:%d/%s/%s/%s/%d", a.Operator, a.Journey, a.Kind, a.Ref, a.Part), Currency: a.Currency, Amount: a.Amount,
		EffectiveAt: a.At, BusinessDate: a.BusinessDate, Code: codeClaim}
	switch a.Kind {
	case interbook.AdviceProviderClaim:
		t.Debit, t.Credit = ledger.Suspense(a.Contract), ledger.CoveredBy(byProvider, a.Contract)
	case interbook.AdvicePlatformClaim:
		t.Debit, t.Credit = ledger.PlatformReceivable(), ledger.CoveredBy(byPlatform, "")
	default:
		t.Debit, t.Credit, t.Code = ledger.ProviderFeeBorne(a.Contract), ledger.ProviderFeeExpense(a.Contract), codeOwnFee
	}
	return ledger.NewTransfer(tenant, 0, t)
}

// contra is the account that stands against what the operator is owed.
func (a *advice) contra() string {
	switch a.Kind {
	case interbook.AdviceFee:
		return ledger.ProviderFeeExpense(a.Contract)
	case interbook.AdviceUncollected, interbook.AdviceRecovered:
		return ledger.Uncollected(a.Operator)
	}
	return ledger.Bank()
}

// transfers gives this book's half of the pair. Where issuer and operator are
// one there is no pair.
func (a *advice) transfers(tenant citygate.TenantID) []ledger.Transfer {
	if a.private() {
		return []ledger.Transfer{a.own(tenant)}
	}
	if a.Operator == tenant {
		return nil
	}
	t := ledger.Transfer{
		Event: fmt.Sprintf("advice:%d/%s/%s/%s/%d", a.Operator, a.Journey, a.Kind, a.Ref, a.Part), Currency: a.Currency, Amount: a.Amount,
		EffectiveAt: a.At, BusinessDate: a.BusinessDate, Interbook: ledger.InterbookID(a.Operator, a.Journey),
		Debit: ledger.InterbookPayable(a.Operator), Credit: a.contra(),
	}
	switch a.Kind {
	case interbook.AdviceFee:
		t.Code = codeFeeShare
	case interbook.AdviceUncollected:
		t.Code = codeUncollected
	case interbook.AdviceRecovered:
		t.Code = codeRecovered
		t.Debit, t.Credit = t.Credit, t.Debit
	case interbook.AdviceCleared:
		t.Code = codeClearing
	case interbook.AdviceBorne:
		t.Code = codeBorne
	}
	return []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
}

// item is what the operator is told.
func (a *advice) item(tenant citygate.TenantID) interbook.AdviceItem {
	it := interbook.AdviceItem{Journey: a.Journey, Kind: a.Kind, Amount: a.Amount, Ref: fmt.Sprintf("%s/%d", a.Ref, a.Part), Currency: a.Currency, At: a.At}
	if a.Kind == interbook.AdviceBorne { // for the operator it is money for the fare, whoever gives it
		it.Kind, it.Ref = interbook.AdviceCleared, "borne/"+it.Ref
	}
	if a.Operator == tenant && it.Kind != interbook.AdviceCleared {
		it.Contra = a.contra()
	}
	return it
}

// Source derives the transfers of claims, charges, refunds, reversals, debts and advices.
func (c *Collector) Source() ledger.Source { return source{} }

type source struct{}

// Name implements [ledger.Source].
func (source) Name() string { return "collect" }

// Derive implements [ledger.Source].
func (source) Derive(ctx context.Context, tx *pg.Tx, yield func(ledger.Transfer) error) error {
	all := func(ts []ledger.Transfer) error {
		for _, t := range ts {
			if err := yield(t); err != nil {
				return err
			}
		}
		return nil
	}
	if err := deriveLines(ctx, tx, all); err != nil {
		return err
	}
	if err := deriveCharges(ctx, tx, all); err != nil {
		return err
	}
	if err := deriveRefunds(ctx, tx, all); err != nil {
		return err
	}
	if err := deriveWriteOffs(ctx, tx, all); err != nil {
		return err
	}
	if err := deriveReversals(ctx, tx, all); err != nil {
		return err
	}
	if err := deriveSaleLines(ctx, tx, all); err != nil {
		return err
	}
	if err := deriveBearerPayments(ctx, tx, all); err != nil {
		return err
	}
	return deriveAdvices(ctx, tx, all)
}
