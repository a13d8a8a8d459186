package till

import (
	"context"
	"errors"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A sending is one payment on its way, with its code.
type sending struct {
	d       *Desk
	tenant  citygate.TenantID
	actor   string
	among   []chosen // that take the code
	charge  collect.TillCharge
	code    citygate.Secret
	refused []string // that certainly were not reached
}

// run makes the call, and asks at once where its answer was lost. Where the provider
// certainly never saw the payment, the contract that the rules name next is asked.
func (s *sending) run(ctx context.Context, to chosen) (Payment, error) {
	var sendErr error
	for {
		never, err := s.d.Collector.SendTill(ctx, s.tenant, to.contract, to.provider, s.charge.Payment, s.code, len(s.among) > len(s.refused)+1)
		sendErr = err
		if !never || err != nil {
			break
		}
		next, moved, err := s.elsewhere(ctx, to)
		if err != nil || !moved {
			sendErr = errors.Join(err, s.d.Collector.DropTill(ctx, s.tenant, to.contract, to.provider, s.charge.Payment))
			break
		}
		to = next
	}
	p, err := s.d.Find(ctx, s.tenant, s.charge.Payment)
	if err != nil {
		return p, errors.Join(sendErr, err)
	}
	about := to.provider.Describe()
	if p.State == Asked && about.Limits.QueryDelay == 0 {
		if _, _, err := s.d.Collector.QueryTill(ctx, s.tenant, to.contract, to.provider, p.ID); err != nil {
			return p, err
		}
	}
	return s.d.schedule(ctx, s.tenant, p.ID, about)
}

// elsewhere gives the payment to the contract that the rules name next, if that answers and
// nobody gave the payment up meanwhile.
func (s *sending) elsewhere(ctx context.Context, was chosen) (next chosen, moved bool, err error) {
	s.refused = append(s.refused, was.contract.Name)
	up := false
	if err := s.d.DB.InTenant(ctx, s.tenant, func(tx *pg.Tx) (err error) {
		next, up, err = s.d.route(ctx, tx, s.charge.Amount, len(s.refused)+1, s.among, s.refused)
		return err
	}); err != nil || next.provider == nil || !up {
		return next, false, err
	}
	charge := s.charge
	charge.Contract = next.contract.Name
	if charge.Quote, err = s.d.quote(ctx, s.tenant, next, charge.Amount); err != nil {
		return next, false, nil //nolint:nilerr // it does not answer either, and has been told of
	}
	err = s.d.DB.InTenant(ctx, s.tenant, func(tx *pg.Tx) error {
		moved = false
		p, err := lock(ctx, tx, charge.Payment)
		if err != nil || p.State != Asked {
			return err
		}
		if admitted, err := collect.TillsAdmit(ctx, tx, charge.Contract); err != nil || !admitted {
			return err
		}
		charge.Mark = next.provider.Mark(tx.Now)
		if moved, err = collect.MoveTill(ctx, tx, charge); err != nil || !moved {
			return err
		}
		next.route.Finding = cut(strings.TrimPrefix(next.route.Finding+"; not_sent: contract "+strings.Join(s.refused, ", ")+" was not reached", "; "), findingMax)
		p.Contract, p.Route, p.NextAt = charge.Contract, next.route, tx.Now.Add(leaseOf(next.provider.Describe()))
		if err := storeMoved(ctx, tx, &p); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: s.actor, Verb: "till.move", Object: p.ID.Text(Prefix), Before: map[string]any{"contract": was.contract.Name},
			After: map[string]any{"contract": p.Contract, "rule": p.Route.Rule, "policy_version": p.Route.Version}})
	})
	if moved && charge.Quote != (driver.Quote{}) {
		s.among = nil // what the wallet will pay was agreed on with this one
	}
	return next, moved, err
}
