package till

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A chosen contract is where a payment goes.
type chosen struct {
	contract collect.Contract
	provider *adapters.Provider
	route    Route
}

// takers gives the contracts that take an order: the one that it names, or those whose
// product knows most of the code's first characters, which owns the wallet. One that cannot
// take the amount is none of them. All of them take codes of one form.
func (d *Desk) takers(ctx context.Context, tenant citygate.TenantID, contracts []collect.Contract, o *Order) ([]chosen, error) {
	var best []chosen
	var names []string
	most := -1
	var failed error
	for _, c := range contracts {
		if c.State != "active" || (o.Contract != "" && c.Name != o.Contract) {
			continue
		}
		provider, err := d.Provider(ctx, tenant, c)
		if err != nil { // one that cannot be opened keeps no other from being paid
			failed = errors.Join(failed, err)
			continue
		}
		about := provider.Describe()
		if len(about.PaymentCodes) == 0 {
			continue
		}
		names = append(names, c.Name)
		known, fits := about.CodeFit(o.Code.Reveal())
		switch {
		case !fits || known < most:
		case known > most:
			best, most = []chosen{{contract: c, provider: provider}}, known
		default:
			best = append(best, chosen{contract: c, provider: provider})
		}
	}
	switch {
	case len(names) == 0 && failed != nil, most == 0 && failed != nil && o.Contract == "": // the code may be of one that cannot be opened
		return nil, failed
	case len(names) == 0 && o.Contract != "":
		return nil, ErrContract.Explain("contract %s", o.Contract)
	case len(names) == 0:
		return nil, ErrContract.Explain("the tenant has none")
	case len(best) == 0:
		return nil, ErrCode.Explain("payment_code: it has the form of no code of %s", strings.Join(names, ", "))
	}
	var refused error
	able := slices.DeleteFunc(best, func(c chosen) bool {
		err := c.provider.Check(driver.Debit{OurID: strings.Repeat("A", driver.IDMade), Amount: o.Amount})
		if refused == nil {
			refused = err
		}
		return err != nil
	})
	if len(able) == 0 {
		return nil, refused
	}
	return able, nil
}

// choose gives the contract of an order: among several, by the tenant's rules of routing.
func (d *Desk) choose(ctx context.Context, tenant citygate.TenantID, among []chosen, o *Order) (to chosen, err error) {
	if len(among) == 1 {
		return among[0], nil
	}
	err = d.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		to, _, err = d.route(ctx, tx, o.Amount, 1, among, nil)
		return err
	})
	if err == nil && to.provider == nil {
		err = ErrCode.Explain("contract: the code may be for any of %s, and no rule of routing chooses; name one", strings.Join(namesOf(among), ", "))
	}
	return to, err
}

// route gives the contract that the rules choose, without a provider if they choose none,
// and whether its provider is taken to answer.
func (d *Desk) route(ctx context.Context, tx *pg.Tx, amount citygate.Money, attempt int, among []chosen, refused []string) (to chosen, up bool, err error) {
	contracts := make([]collect.Contract, len(among))
	for i := range among {
		contracts[i] = among[i].contract
	}
	r, err := d.Collector.RouteTill(ctx, tx, amount, attempt, contracts, refused)
	if err != nil {
		return to, false, err
	}
	if i := slices.IndexFunc(among, func(c chosen) bool { return c.contract.Name == r.Contract }); i >= 0 {
		to = among[i]
		to.route = Route{Version: r.Version, Rule: r.Rule, Finding: cut(r.Finding, findingMax-notSentMax)}
	}
	return to, r.Up, nil
}

// findingMax bounds the characters of a finding that is kept; rules may name any number of
// contracts. notSentMax are for those that were not reached.
const (
	findingMax = 2000
	notSentMax = 500
)

func cut(s string, most int) string {
	r := []rune(s)
	return string(r[:min(len(r), most)])
}

func namesOf(among []chosen) []string {
	names := make([]string, len(among))
	for i := range among {
		names[i] = among[i].contract.Name
	}
	return names
}
