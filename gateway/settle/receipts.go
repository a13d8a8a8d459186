package settle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// carried is the kind of the rows that move a negative sum out of a window, and
// back into a later one that has money to set it off against.
const carried = "carried"

// A receipt is one item of advice as stored.
type receipt struct {
	journey  citygate.UUID
	kind     string
	ref      string
	issuer   citygate.TenantID
	contra   string
	payee    string
	amount   int64
	currency citygate.Currency
	date     citygate.Date
	calendar int
	window   citygate.Date
	at       time.Time
}

func (r *receipt) compare(o *receipt) int {
	return cmp.Or(bytes.Compare(r.journey[:], o.journey[:]), cmp.Compare(r.kind, o.kind), cmp.Compare(r.ref, o.ref))
}

// transfer gives what a receipt posts in the book of tenant, if anything: the
// mirror of what the issuer posted when it sent the advice. It is used to post
// and to derive again.
func (r *receipt) transfer(tenant citygate.TenantID) (ledger.Transfer, bool) {
	t := ledger.Transfer{
		Amount: r.amount, Currency: r.currency, EffectiveAt: r.at, BusinessDate: r.date,
		Event: "advice:" + r.issuer.String() + ":" + r.journey.String() + ":" + r.kind + ":" + r.ref,
	}
	if r.issuer != tenant {
		t.Interbook = ledger.InterbookID(tenant, r.journey)
	}
	payable := ledger.Payable(r.payee)
	switch {
	case r.contra == "":
		return t, false
	case r.kind == interbook.AdviceFee:
		t.Debit, t.Credit, t.Code = payable, r.contra, "provider_fee_share"
	case r.kind == interbook.AdviceUncollected:
		t.Debit, t.Credit, t.Code = payable, r.contra, "uncollected"
	case r.kind == interbook.AdviceRecovered:
		t.Debit, t.Credit, t.Code = r.contra, payable, "uncollected_recovered"
	case r.kind == interbook.AdviceCleared && strings.HasPrefix(r.contra, ledger.TillPayable("")):
		t.Debit, t.Credit, t.Code = r.contra, payable, "till_settled"
	case r.kind == interbook.AdviceCleared && strings.HasPrefix(r.contra, ledger.ProductPayable("")):
		t.Debit, t.Credit, t.Code = r.contra, payable, "product_settled"
	case r.kind == interbook.AdviceCleared:
		t.Debit, t.Credit, t.Code = ledger.Bank(), r.contra, "clearing"
	default:
		return t, false
	}
	return ledger.NewTransfer(tenant, 0, t), true
}

// HandleAdvice takes an advice message; it is an [interbook.Handler].
func (s *Settler) HandleAdvice(ctx context.Context, tx *pg.Tx, from citygate.TenantID, body []byte) error {
	var advice interbook.Advice
	if err := json.Unmarshal(body, &advice); err != nil {
		return ErrAdvice.Because(err, "message from %d", from)
	}
	return s.TakeAdvice(ctx, tx, from, advice.Items)
}

// TakeAdvice books what the issuer from says about journeys of the
// transaction's tenant, which may be the issuer itself. Taking an item again
// changes nothing.
func (s *Settler) TakeAdvice(ctx context.Context, tx *pg.Tx, from citygate.TenantID, items []interbook.AdviceItem) error {
	if len(items) == 0 {
		return nil
	}
	cal, err := s.calendar(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	receipts, err := s.receiptsOf(ctx, tx, cal, from, items)
	if err != nil {
		return err
	}
	if err := placeReceipts(ctx, tx, cal, receipts); err != nil {
		return err
	}
	fresh, err := insertReceipts(ctx, tx, receipts)
	if err != nil {
		return err
	}
	transfers := make([]ledger.Transfer, 0, len(fresh))
	for i := range fresh {
		if t, ok := fresh[i].transfer(tx.Tenant); ok {
			transfers = append(transfers, t)
		}
	}
	return ledger.Post(ctx, tx, transfers)
}

// receiptsOf checks items and gives them as receipts in the order of their keys.
func (s *Settler) receiptsOf(ctx context.Context, tx *pg.Tx, cal citygate.Calendar, from citygate.TenantID, items []interbook.AdviceItem) ([]receipt, error) {
	receipts := make([]receipt, len(items))
	for i, it := range items {
		if err := checkItem(tx.Tenant, from, it); err != nil {
			return nil, err
		}
		receipts[i] = receipt{
			journey: it.Journey, kind: it.Kind, ref: it.Ref, issuer: from, contra: contra(tx.Tenant, from, it),
			amount: it.Amount, currency: it.Currency, at: it.At.UTC().Truncate(time.Microsecond),
			date: cal.BusinessDate(it.At), calendar: versionAt(cal, it.At),
		}
	}
	slices.SortFunc(receipts, func(a, b receipt) int { return a.compare(&b) })
	journeys := make([]citygate.UUID, len(receipts))
	for i := range receipts {
		journeys[i] = receipts[i].journey
	}
	payees, err := s.Payees.PayeeOf(ctx, tx, slices.Compact(journeys))
	if err != nil {
		return nil, err
	}
	for i := range receipts {
		r := &receipts[i]
		payee := payees[r.journey]
		if r.payee = payee.Name; r.payee == "" {
			return nil, ErrNoPayee.Because(nil, "journey %s, %s of %s", r.journey, r.kind, r.ref)
		}
		if payee.Issuer != from {
			return nil, ErrAdvice.Because(nil, "journey %s was claimed from %d, the %s comes from %d", r.journey, payee.Issuer, r.kind, from)
		}
		if i > 0 && r.compare(&receipts[i-1]) == 0 {
			return nil, ErrAdvice.Because(nil, "journey %s: %s of %s twice in one message", r.journey, r.kind, r.ref)
		}
	}
	return receipts, nil
}

// contra gives the account on the other side of an item.
func contra(tenant, from citygate.TenantID, it interbook.AdviceItem) string {
	switch {
	case from != tenant:
		return ledger.InterbookReceivable(from)
	case it.Kind == interbook.AdviceCleared:
		return "" // the money is in this bank already
	}
	return it.Contra
}

func checkItem(tenant, from citygate.TenantID, it interbook.AdviceItem) error {
	switch it.Kind {
	case interbook.AdviceFee, interbook.AdviceUncollected, interbook.AdviceRecovered:
		if from == tenant && it.Contra == "" {
			return ErrAdvice.Because(nil, "journey %s: our own %s names no account", it.Journey, it.Kind)
		}
	case interbook.AdviceCleared:
	default:
		return ErrAdvice.Because(nil, "journey %s: kind %q", it.Journey, it.Kind)
	}
	if it.Journey.IsZero() || it.Ref == "" || it.Amount == 0 || !it.Currency.Valid() || it.At.IsZero() {
		return ErrAdvice.Because(nil, "journey %s: %s of %q, %d %s at %s", it.Journey, it.Kind, it.Ref, it.Amount, it.Currency, it.At)
	}
	return nil
}
