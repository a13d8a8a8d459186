package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) enrol(ctx context.Context, actor string, tenant citygate.TenantID, t edge.EnrolTerminal) (edge.Terminal, error) {
	if len(t.PublicKey) != ed25519.PublicKeySize {
		return edge.Terminal{}, fleet.ErrInvalid.Explain("public_key: want an Ed25519 key of %d bytes", ed25519.PublicKeySize)
	}
	if err := g.byHand(ctx, tenant, manifest.KindTerminal, terminalNames(t.ID)...); err != nil {
		return edge.Terminal{}, err
	}
	enrolled, err := g.Fleet.Enrol(ctx, actor, tenant, fleet.Terminal{
		ID: t.ID, Name: t.Name, Kind: fleet.Kind(t.Kind), Mode: terminalMode(t.Kind), Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle,
	}, ed25519.PublicKey(t.PublicKey))
	return terminalView(enrolled, nil), err
}

func terminalView(t fleet.Terminal, flags []string) edge.Terminal {
	return edge.Terminal{ID: t.ID, Name: t.Name, Kind: string(t.Kind), Stop: t.Stop, Route: t.Route, Vehicle: t.Vehicle, State: string(t.State), Flags: flags}
}

// showLists adds the deny lists a terminal used and how old the oldest was.
func showLists(v *edge.Terminal, used []fleet.UsedList) {
	for _, u := range used {
		age := int64(u.Age().Seconds())
		v.Lists = append(v.Lists, edge.UsedList{Issuer: uint16(u.Issuer), List: u.List, Seq: u.Seq, ProvenAt: u.ProvenAt, UsedAt: u.UsedAt, Age: age})
		if v.ListAge == nil || age > *v.ListAge {
			v.ListAge = &age
		}
	}
}

// terminals gives terminals, each with the flags that stand.
func (g *Gateway) terminals(ctx context.Context, tenant citygate.TenantID, after uint32, limit int) (list []edge.Terminal, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		list = nil
		all, err := fleet.List(ctx, tx, after, limit)
		if err != nil || len(all) == 0 {
			return err
		}
		ids := make([]uint32, len(all))
		for i, t := range all {
			ids[i] = t.ID
		}
		raised, err := fleet.Flags(ctx, tx, ids...)
		if err != nil {
			return err
		}
		flags := map[uint32][]string{}
		for _, f := range raised {
			if f.Cleared.IsZero() {
				flags[f.Terminal] = append(flags[f.Terminal], string(f.Flag))
			}
		}
		profiles, err := fleet.Profiles(ctx, tx, ids...)
		if err != nil {
			return err
		}
		used, err := fleet.UsedLists(ctx, tx, tx.Now.AddDate(0, 0, -7), ids...)
		for _, t := range all {
			v := terminalView(t, flags[t.ID])
			showLists(&v, used[t.ID])
			if p, ok := profiles[t.ID]; ok {
				v.Profile = &p
			}
			list = append(list, v)
		}
		return err
	})
	return list, err
}

func (g *Gateway) setTerminal(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, state string) error {
	if err := g.byHand(ctx, tenant, manifest.KindTerminal, terminalNames(terminal)...); err != nil {
		return err
	}
	return g.Fleet.SetState(ctx, actor, tenant, terminal, fleet.State(state))
}

func (g *Gateway) clearFlag(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, flag string) error {
	return g.Fleet.Clear(ctx, actor, tenant, terminal, fleet.Flag(flag))
}

func (g *Gateway) vehicles(ctx context.Context, tenant citygate.TenantID, after string, limit int) (list []edge.Vehicle, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := fleet.Vehicles(ctx, tx, after, limit)
		list = make([]edge.Vehicle, len(found))
		for i, v := range found {
			list[i] = edge.Vehicle{ID: v.ID, Kind: string(v.Kind), Plate: v.Plate}
		}
		return err
	})
	return list, err
}

func (g *Gateway) putVehicles(ctx context.Context, actor string, tenant citygate.TenantID, vehicles []edge.Vehicle) error {
	list, names := make([]fleet.Vehicle, len(vehicles)), make([]string, len(vehicles))
	for i, v := range vehicles {
		list[i], names[i] = fleet.Vehicle{ID: v.ID, Kind: fleet.VehicleKind(v.Kind), Plate: v.Plate}, v.ID
	}
	if err := g.byHand(ctx, tenant, manifest.KindVehicle, names...); err != nil {
		return err
	}
	return g.Fleet.PutVehicles(ctx, actor, tenant, list...)
}

// payees shows of bank accounts what tells them apart: whoever may look at
// payees need not know their account numbers.
func (g *Gateway) payees(ctx context.Context, tenant citygate.TenantID, after string, limit int) (list []edge.Payee, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := fleet.Payees(ctx, tx, after, limit)
		list = make([]edge.Payee, len(found))
		for i, p := range found {
			list[i] = edge.Payee{ID: p.ID, Kind: string(p.Kind), Name: p.Name, Account: lastFour(p.Account), BankID: p.BankID, Default: p.Default}
		}
		return err
	})
	return list, err
}

// lastFour hides an account number but for its last four characters, and a short
// one whole.
func lastFour(account string) string {
	const shown = 4
	r := []rune(account)
	switch {
	case len(r) == 0:
		return ""
	case len(r) <= 2*shown:
		return "…"
	}
	return "…" + string(r[len(r)-shown:])
}

func (g *Gateway) putPayees(ctx context.Context, actor string, tenant citygate.TenantID, payees []edge.PutPayee) error {
	list, names := make([]fleet.Payee, len(payees)), make([]string, len(payees))
	for i, p := range payees {
		list[i] = fleet.Payee{ID: p.ID, Kind: fleet.PayeeKind(p.Kind), Name: p.Name, Account: p.Account, BankID: p.BankID, Default: p.Default}
		names[i] = p.ID
	}
	if err := g.byHand(ctx, tenant, manifest.KindPayee, names...); err != nil {
		return err
	}
	return g.Fleet.PutPayees(ctx, actor, tenant, list...)
}

func (g *Gateway) assign(ctx context.Context, actor string, tenant citygate.TenantID, assignments []edge.Assignment) error {
	if err := g.byHand(ctx, tenant, manifest.KindAssignment, ""); err != nil {
		return err
	}
	list := make([]fleet.Assignment, len(assignments))
	for i, a := range assignments {
		list[i] = fleet.Assignment{Subject: fleet.Subject{Kind: fleet.SubjectKind(a.Kind), ID: a.Subject}, Payee: a.Payee, From: a.From}
	}
	return g.Fleet.Assign(ctx, actor, tenant, list...)
}

func (g *Gateway) payeeOf(ctx context.Context, tenant citygate.TenantID, ride edge.RideQuery) (payee string, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		payee, err = fleet.PayeeAt(ctx, tx, fleet.Ride{Vehicle: ride.Vehicle, Driver: ride.Driver, At: ride.At})
		return err
	})
	return payee, err
}

// setProfile is SetProfile for the API: not where a file says the profile.
func (g *Gateway) setProfile(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, p fleet.TerminalProfile) error {
	if err := g.byHand(ctx, tenant, manifest.KindProfile, terminalNames(terminal)...); err != nil {
		return err
	}
	return g.SetProfile(ctx, actor, tenant, terminal, p)
}

// SetProfile has one terminal do otherwise than its operator's policy says, and
// publishes the bundle that tells it.
func (g *Gateway) SetProfile(ctx context.Context, actor string, tenant citygate.TenantID, terminal uint32, p fleet.TerminalProfile) error {
	if err := g.Fleet.SetProfile(ctx, actor, tenant, terminal, p); err != nil {
		return err
	}
	_, err := g.Bundles.Renew(ctx, actor, tenant)
	g.trust.forget(tenant)
	if errors.Is(err, fleet.ErrNoBundle) {
		return nil // the first one will carry it
	}
	return err
}
