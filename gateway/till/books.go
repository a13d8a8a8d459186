package till

import (
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
)

const (
	codePaid    = "till_payment"
	codeFee     = "till_fee"
	codeRefund  = "till_refund"
	codeCleared = "till_cleared"
)

func (p *Payment) event() string { return "till:" + p.OurID }

// made gives what a payment that succeeded does: the payee has earned it, less the fee.
func (p *Payment) made(tenant citygate.TenantID, fee int64) []ledger.Transfer {
	t := ledger.Transfer{Event: p.event(), Currency: p.Amount.Currency, EffectiveAt: p.PaidAt, BusinessDate: p.BusinessDate,
		Debit: ledger.ProviderReceivable(p.Contract), Credit: ledger.TillUncleared(p.Payee), Code: codePaid, Amount: p.Amount.Minor}
	out := []ledger.Transfer{ledger.NewTransfer(tenant, 0, t)}
	if fee > 0 {
		t.Debit, t.Credit, t.Code, t.Amount = t.Credit, t.Debit, codeFee, fee
		out = append(out, ledger.NewTransfer(tenant, 0, t))
	}
	return out
}

// returned gives what a refund that succeeded does: the payee bears it.
func (p *Payment) returned(tenant citygate.TenantID, r *refund, at time.Time, date citygate.Date) []ledger.Transfer {
	from := ledger.TillPayable(p.Payee)
	if r.uncleared {
		from = ledger.TillUncleared(p.Payee)
	}
	return []ledger.Transfer{ledger.NewTransfer(tenant, 0, ledger.Transfer{
		Event: p.event() + "/refund/" + strconv.Itoa(r.ordinal), Currency: p.Amount.Currency, EffectiveAt: at, BusinessDate: date,
		Debit: from, Credit: ledger.ProviderReceivable(p.Contract), Code: codeRefund, Amount: r.amount,
	})}
}

// cleared gives what it does that the bill has the payment: what is left of it is to be
// paid out.
func (p *Payment) cleared(tenant citygate.TenantID) []ledger.Transfer {
	if p.Cleared == 0 {
		return nil
	}
	return []ledger.Transfer{ledger.NewTransfer(tenant, 0, ledger.Transfer{
		Event: p.event() + "/cleared", Currency: p.Amount.Currency, EffectiveAt: p.ClearedAt, BusinessDate: p.ClearedOn,
		Debit: ledger.TillUncleared(p.Payee), Credit: ledger.TillPayable(p.Payee), Code: codeCleared, Amount: p.Cleared,
	})}
}
