package collect

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A sent is the sum of advices of one kind, and how many there are.
type sent struct {
	amount int64
	parts  int
}

// A split is an amount by who bears it; recovered is what the issuer got after all of
// what it had written off.
type split struct{ operator, issuer, provider, platform, recovered int64 }

// An owedJourney is one journey's part of a debt, and what was told and booked of it.
type owedJourney struct {
	aggregation citygate.UUID
	operator    citygate.TenantID
	journey     citygate.UUID
	account     citygate.UUID
	state       string // of the debt
	repaid      bool   // after it was written off
	owed        int64  // what the fare put into it, whatever became of it
	beyond      int64  // of owed, beyond the highest sum of the rider's day

	told, borne, provider, platform sent
	off                             split // written off
	offParts                        int

	contract string
	currency citygate.Currency
	date     citygate.Date
	at       time.Time // of the journey
	opened   time.Time // when the charge was declined, or taken back
	reversal bool      // it was taken back
	sale     bool      // it is a product's price, and not a fare; journey is the sale
	disputed bool      // somebody says that he does not bear it
}

// targets is what should have been told and booked of a journey's part of a debt.
type targets struct {
	told, borne, provider, platform int64
	off                             split
	payAt                           time.Time // when borne becomes more; zero = never
}

// aim gives the targets. What is disputed is not paid to the operator until that is
// decided. While the rider owes, also of what is written off, each bears
// its part, and the operator is paid what others bear once that is due. Once he has
// paid, nobody bears anything: what was paid to the operator stays with it, and the
// issuer keeps what comes in. What is corrected away was never owed.
func (o *owedJourney) aim(b *Bearing, now time.Time) targets {
	switch {
	case o.state == debtOpen || o.state == debtWrittenOff && !o.repaid:
		t := targets{told: o.owed - b.Others(), provider: b.ProviderBears, platform: b.PlatformBears, borne: o.borne.amount}
		if due := o.opened.AddDate(0, 0, b.PayDays); o.disputed {
			t.borne = min(o.borne.amount, b.Others())
		} else if !now.Before(due) || b.Others() < t.borne {
			t.borne = b.Others()
		} else if b.Others() != t.borne {
			t.payAt = due
		}
		if o.sale { // whoever carried its rider was paid by the product
			t.borne, t.payAt = 0, time.Time{}
		}
		if o.state == debtWrittenOff {
			t.off = split{operator: t.told, issuer: b.IssuerBears, provider: b.ProviderBears, platform: b.PlatformBears}
		}
		return t
	case o.state == debtWrittenOff:
		return targets{borne: o.borne.amount, off: split{issuer: o.off.issuer, recovered: -o.off.issuer}}
	case o.state == debtCorrected:
		return targets{}
	}
	return targets{borne: o.borne.amount}
}

// passDebts compares what is owed of each journey, and who bears it, with what was
// told and booked.
func (c *Collector) passDebts(ctx context.Context, tx *pg.Tx) ([]advice, int, error) {
	debts, err := unpassedDebts(ctx, tx)
	if err != nil || len(debts) == 0 {
		return nil, 0, err
	}
	advices, err := c.spread(ctx, tx, debts)
	return advices, len(debts), err
}

// spread brings what was told and booked of debts, which are locked, to what it should
// be. It posts what is written off and gives the advices, for the caller to tell.
func (c *Collector) spread(ctx context.Context, tx *pg.Tx, debts []citygate.UUID) ([]advice, error) {
	owed, err := owedByJourney(ctx, tx, debts)
	if err != nil {
		return nil, err
	}
	bear, err := c.newBearers(ctx, tx)
	if err != nil {
		return nil, err
	}
	disputes, err := disputesOf(ctx, tx, debts)
	if err != nil {
		return nil, err
	}
	var advices []advice
	var offs []writeOff
	var decided []Bearing
	pay := map[citygate.UUID]time.Time{}
	for i := range owed {
		o := &owed[i]
		b := Bearing{}
		if o.owed > 0 && (o.state == debtOpen || o.state == debtWrittenOff && !o.repaid) {
			if b, err = bear.of(ctx, tx, o); err != nil {
				return nil, err
			}
			if o.reversal { // the operator had the money
				b.PayDays = 0
			}
			o.disputed = b.dispute(disputes[o.aggregation])
			if o.sale { // no operator sold it
				b.IssuerBears = o.owed - b.ProviderBears - b.PlatformBears
			}
			decided = append(decided, b)
		}
		t := o.aim(&b, tx.Now)
		if at, set := pay[o.aggregation]; !t.payAt.IsZero() && (!set || t.payAt.Before(at)) {
			pay[o.aggregation] = t.payAt
		}
		advices = append(advices, o.advices(t, tx.Now)...)
		offs = append(offs, o.writeOffs(t, tx.Now)...)
	}
	if err := storeBearings(ctx, tx, decided); err != nil {
		return nil, err
	}
	if err := setBearAt(ctx, tx, debts, pay); err != nil {
		return nil, err
	}
	return advices, storeWriteOffs(ctx, tx, offs)
}

// advices gives the differences between what was told and what should be.
func (o *owedJourney) advices(t targets, now time.Time) (list []advice) {
	add := func(kind string, part int, amount int64) {
		if amount != 0 {
			list = append(list, advice{Operator: o.operator, Journey: o.journey, Kind: kind, Ref: o.aggregation, Part: part, Amount: amount,
				Contract: o.contract, Currency: o.currency, BusinessDate: o.date, At: now})
		}
	}
	if t.told >= o.told.amount {
		add(interbook.AdviceUncollected, o.told.parts, t.told-o.told.amount)
	} else {
		add(interbook.AdviceRecovered, o.told.parts, o.told.amount-t.told)
	}
	add(interbook.AdviceBorne, o.borne.parts, t.borne-o.borne.amount)
	add(interbook.AdviceProviderClaim, o.provider.parts, t.provider-o.provider.amount)
	add(interbook.AdvicePlatformClaim, o.platform.parts, t.platform-o.platform.amount)
	return list
}

// byRecovered is how rows name [split].recovered.
const byRecovered = "recovered"

// writeOffs gives the differences between what was written off and what should be.
func (o *owedJourney) writeOffs(t targets, now time.Time) (list []writeOff) {
	for _, part := range []struct {
		bearer string
		by     int64
	}{
		{byOperator, t.off.operator - o.off.operator}, {byIssuer, t.off.issuer - o.off.issuer}, {byProvider, t.off.provider - o.off.provider},
		{byPlatform, t.off.platform - o.off.platform}, {byRecovered, t.off.recovered - o.off.recovered},
	} {
		if part.by != 0 {
			list = append(list, writeOff{Aggregation: o.aggregation, Operator: o.operator, Journey: o.journey, Bearer: part.bearer, Part: o.offParts,
				Account: o.account, Amount: part.by, Contract: o.contract, Currency: o.currency, BusinessDate: o.date, At: now})
		}
	}
	return list
}

// A writeOff is one row of debt_write_offs.
type writeOff struct {
	Aggregation  citygate.UUID
	Operator     citygate.TenantID
	Journey      citygate.UUID
	Bearer       string
	Part         int
	Account      citygate.UUID
	Amount       int64
	Contract     string
	Currency     citygate.Currency
	BusinessDate citygate.Date
	At           time.Time
}

// transfer takes the amount off the rider's debt, against what its bearer bears.
func (w *writeOff) transfer(tenant citygate.TenantID) ledger.Transfer {
	t := ledger.Transfer{Event: "writeoff:" + w.Operator.String() + "/" + w.Journey.String() + "/" + w.Aggregation.String() + "/" + w.Bearer,
		Credit: ledger.RiderDebt(w.Account), Amount: w.Amount, Currency: w.Currency, Code: codeWriteOff, EffectiveAt: w.At, BusinessDate: w.BusinessDate}
	switch w.Bearer {
	case byOperator:
		t.Debit = ledger.Uncollected(w.Operator)
	case byProvider:
		t.Debit = ledger.CoveredBy(byProvider, w.Contract)
	case byPlatform:
		t.Debit = ledger.CoveredBy(byPlatform, "")
	case byRecovered:
		t.Debit, t.Code = ledger.RecoveryIncome(), codeWrittenOffPaid
	default:
		t.Debit = ledger.BadDebt()
	}
	return ledger.NewTransfer(tenant, w.Part, t)
}
