package pricing

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The kinds of advice, in the order in which they are divided.
var adviceKinds = [...]string{interbook.AdviceFee, interbook.AdviceUncollected, interbook.AdviceRecovered, interbook.AdviceCleared}

// An advice is what an issuer told about a fare that is divided.
type advice struct {
	journey citygate.UUID
	kind    string
	ref     string
	issuer  citygate.TenantID
	contra  string
	amount  int64
	cur     citygate.Currency
	date    citygate.Date
	at      time.Time
}

// adviceTransfer gives the accounts between what is owed to somebody and what
// stands against it, by the kind of advice, and the code.
func adviceTransfer(kind, owed, contra string) (debit, credit, code string) {
	switch kind {
	case interbook.AdviceFee:
		return owed, contra, "provider_fee_share"
	case interbook.AdviceUncollected:
		return owed, contra, "uncollected"
	case interbook.AdviceRecovered:
		return contra, owed, "uncollected_recovered"
	}
	return owed, contra, "clearing"
}

// transfer gives what an advice posts, if anything: the mirror of the issuer's. Money
// of our own riders is in our bank already.
func (a *advice) transfer(tenant citygate.TenantID) (ledger.Transfer, bool) {
	if a.contra == "" {
		return ledger.Transfer{}, false
	}
	owed := ledger.Payable(SharedPayee)
	t := ledger.Transfer{Amount: a.amount, Currency: a.cur, EffectiveAt: a.at, BusinessDate: a.date,
		Event: "shared_advice:" + a.issuer.String() + ":" + a.journey.String() + ":" + a.kind + ":" + a.ref}
	if a.issuer != tenant {
		t.Interbook = ledger.InterbookID(tenant, a.journey)
	}
	if t.Debit, t.Credit, t.Code = adviceTransfer(a.kind, owed, a.contra); a.kind == interbook.AdviceCleared {
		t.Debit, t.Credit = ledger.Bank(), a.contra
	}
	return ledger.NewTransfer(tenant, 0, t), true
}

// A passed is what of it was passed on to an operator.
type passed struct {
	shareKey
	kind   string
	part   int
	amount int64
	cur    citygate.Currency
	date   citygate.Date
	at     time.Time
}

// transfer gives this book's half of the pair; the operator's is its receipt.
func (p *passed) transfer(tenant citygate.TenantID) ledger.Transfer {
	t := ledger.Transfer{Amount: p.amount, Currency: p.cur, EffectiveAt: p.at, BusinessDate: p.date,
		Event:     fmt.Sprintf("passed:%s/%s/%s/%d", p.operator, p.journey, p.kind, p.part),
		Interbook: ledger.InterbookID(p.operator, p.journey)}
	contra := ledger.Payable(SharedPayee)
	if p.kind == interbook.AdviceCleared {
		contra = ledger.Bank()
	}
	t.Debit, t.Credit, t.Code = adviceTransfer(p.kind, ledger.InterbookPayable(p.operator), contra)
	return ledger.NewTransfer(tenant, 0, t)
}

// TakeAdvice takes what an issuer, which may be this tenant, says about fares that
// are divided among members, and passes it on. It gives the items of other fares.
func (e *Engine) TakeAdvice(ctx context.Context, tx *pg.Tx, from citygate.TenantID, items []interbook.AdviceItem) ([]interbook.AdviceItem, error) {
	if len(items) == 0 {
		return nil, nil
	}
	ids := make([]citygate.UUID, len(items))
	for i := range items {
		ids[i] = items[i].Journey
	}
	ids = sortedIDs(ids)
	pools, err := poolsOf(ctx, tx, ids)
	if err != nil || len(pools) == 0 {
		return items, err
	}
	home, err := e.home(ctx, tx.Tenant)
	if err != nil {
		return nil, err
	}
	issuers, err := issuersOf(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	var rest []interbook.AdviceItem
	var mine []advice
	var touched []citygate.UUID
	for _, it := range items {
		pool, ok := pools[it.Journey]
		if !ok {
			rest = append(rest, it)
			continue
		}
		known := slices.Contains(adviceKinds[:], it.Kind)
		if issuers[it.Journey] != from || !known || it.Amount == 0 || it.Ref == "" || it.Currency != home.Currency || it.At.IsZero() {
			return nil, ErrFacts.Because(nil, "journey %s: %s of %d by %d", it.Journey, it.Kind, it.Amount, from)
		}
		a := advice{journey: it.Journey, kind: it.Kind, ref: it.Ref, issuer: from, contra: it.Contra, amount: it.Amount, cur: it.Currency,
			date: home.calendar.BusinessDate(it.At), at: it.At.UTC().Truncate(time.Microsecond)}
		switch {
		case from != tx.Tenant:
			a.contra = ledger.InterbookReceivable(from)
		case it.Kind == interbook.AdviceCleared:
			a.contra = ""
		}
		mine, touched = append(mine, a), append(touched, pool)
	}
	slices.SortFunc(mine, func(a, b advice) int {
		return cmp.Or(bytes.Compare(a.journey[:], b.journey[:]), cmp.Compare(a.kind, b.kind), cmp.Compare(a.ref, b.ref))
	})
	fresh, err := insertAdvices(ctx, tx, mine)
	if err != nil || len(fresh) == 0 {
		return rest, err
	}
	r := &run{Engine: e, tx: tx, home: home}
	for i := range fresh {
		if t, ok := fresh[i].transfer(tx.Tenant); ok {
			r.transfers = append(r.transfers, t)
		}
	}
	if err := r.passOn(ctx, sortedIDs(touched)); err != nil {
		return nil, err
	}
	if err := r.send(ctx); err != nil {
		return nil, err
	}
	return rest, ledger.Post(ctx, tx, r.transfers)
}

// A poolState is what decides what is passed on of a pool.
type poolState struct {
	shares  []poolShare      // ascending by key
	advised map[string]int64 // by kind
}

type poolShare struct {
	shareKey
	amount int64 // now
	ever   int64 // the last one that was not 0: what is told later of a fare that was given back goes by it
	told   map[string]int64
	parts  map[string]int
}

// targets gives what has to be passed on of each kind, share by share in the order
// of the shares. What is left owed is divided by itself, and what was paid over
// follows: so a pool of which nothing is owed any more owes no operator anything.
func (p *poolState) targets() ([]map[string]int64, error) {
	weights, keys := make([]int64, len(p.shares)), make([]string, len(p.shares))
	sum := int64(0)
	for i := range p.shares {
		weights[i], keys[i] = p.shares[i].amount, p.shares[i].journey.String()+" "+p.shares[i].operator.String()
		sum += p.shares[i].amount
	}
	if sum == 0 {
		total := int64(0)
		for i := range p.shares {
			weights[i] = p.shares[i].ever
			total += weights[i]
		}
		for i := range weights {
			if total == 0 {
				weights[i] = 1
			}
		}
	}
	out := make([]map[string]int64, len(p.shares))
	for i := range out {
		out[i] = make(map[string]int64, len(adviceKinds))
	}
	split := func(amount int64, take func(i int, part int64)) error {
		parts, err := citygate.Split(amount, weights, keys)
		for i := range parts {
			take(i, parts[i])
		}
		return err
	}
	for _, kind := range adviceKinds[:3] {
		if err := split(p.advised[kind], func(i int, part int64) { out[i][kind] = part }); err != nil {
			return nil, err
		}
	}
	owed := sum - p.advised[interbook.AdviceFee] - p.advised[interbook.AdviceUncollected] + p.advised[interbook.AdviceRecovered] - p.advised[interbook.AdviceCleared]
	return out, split(owed, func(i int, part int64) {
		o := out[i]
		o[interbook.AdviceCleared] = p.shares[i].amount - o[interbook.AdviceFee] - o[interbook.AdviceUncollected] + o[interbook.AdviceRecovered] - part
	})
}

// passOn tells operators what changed of what issuers told about the fares of
// pools, whose rows are locked.
func (r *run) passOn(ctx context.Context, pools []citygate.UUID) error {
	states, err := poolStates(ctx, r.tx, pools)
	if err != nil {
		return err
	}
	at := r.tx.Now.UTC().Truncate(time.Microsecond)
	var rows []passed
	for _, pool := range pools {
		p := states[pool]
		if p == nil || len(p.shares) == 0 {
			continue
		}
		targets, err := p.targets()
		if err != nil {
			return err
		}
		for i := range p.shares {
			s := &p.shares[i]
			for _, kind := range adviceKinds {
				if d := targets[i][kind] - s.told[kind]; d != 0 {
					rows = append(rows, passed{shareKey: s.shareKey, kind: kind, part: s.parts[kind] + 1, amount: d, cur: r.home.Currency,
						date: r.home.calendar.BusinessDate(at), at: at})
				}
			}
		}
	}
	slices.SortFunc(rows, func(a, b passed) int { return cmp.Or(a.compare(b.shareKey), cmp.Compare(a.kind, b.kind)) })
	if err := insertPassed(ctx, r.tx, rows); err != nil {
		return err
	}
	told := make(map[citygate.TenantID][]interbook.AdviceItem)
	for i := range rows {
		p := &rows[i]
		r.transfers = append(r.transfers, p.transfer(r.tx.Tenant))
		told[p.operator] = append(told[p.operator], interbook.AdviceItem{Journey: p.journey, Kind: p.kind, Amount: p.amount,
			Ref: "share/" + strconv.Itoa(p.part), Currency: p.cur, At: p.at})
	}
	for to, items := range told {
		r.post(to, interbook.KindAdvice, interbook.Advice{Items: items})
	}
	return nil
}
