package gateway

import (
	"context"
	"crypto/sha256"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/softsm2"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrCodeRefused refuses to sign a code for a rider.
var ErrCodeRefused = &citygate.Code{Name: "notify.code_refused", Kind: citygate.Forbidden, Title: "No code is signed for this rider: the operator has denied him. He is let go when what he owes is paid."}

// requestCode answers a provider that asks the operator to sign a code for one of
// its riders, with the tenant's SM2 key. The request is proven by the contract's
// adapter; the code is stored before it is given out, and the same request again
// has the same answer. For a rider whom the tenant denies, and a tenant that does
// not issue, nothing is signed.
func (g *Gateway) requestCode(ctx context.Context, product, address string, in edge.Notification) (edge.Ack, error) {
	t, c, err := g.addressed(ctx, product, address)
	if err != nil {
		return edge.Ack{}, err
	}
	key := providerKey{t.ID, c.Name}
	leave, err := g.notices.enter(key, g.Clock())
	if err != nil {
		return edge.Ack{}, err
	}
	defer leave()
	p, err := g.provider(ctx, t.ID, c)
	if err != nil {
		return edge.Ack{}, err
	}
	issuer, ok := p.CodeIssuer()
	if !ok {
		return edge.Ack{}, ErrNoAddress
	}
	if err := t.May(tenants.Issuing); err != nil {
		return edge.Ack{}, err
	}
	request := sha256.Sum256(in.Body)
	var first driver.Ack
	var again bool
	err = g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
		first, again, err = collect.IssuedFor(ctx, tx, c.Name, request)
		return err
	})
	if err != nil || again {
		return edge.Ack(first), err
	}
	sm2 := softsm2.Keys{Secrets: g.Secrets, Random: g.Random, Warn: func(line string) { g.Log.WarnContext(ctx, line) }}
	signer, err := sm2.Open(ctx, t.ID, keys.Credential)
	if err != nil {
		return edge.Ack{}, err
	}
	issued, ack, err := issuer.IssueCode(ctx, driver.Notification{Method: in.Method, Target: in.Target, Header: in.Header, Body: in.Body, At: g.Clock()}, signer.Signer())
	if err != nil {
		g.notices.unproven(key, g.Clock())
		g.Log.WarnContext(ctx, "a request for a code is not taken", "tenant", t.ID, "contract", c.Name, "error", err)
		return edge.Ack(ack), nil
	}
	err = g.DB.InTenant(context.WithoutCancel(ctx), t.ID, func(tx *pg.Tx) (err error) {
		denied, err := credential.DeniedRider(ctx, tx, c.Name, issued.RiderRef)
		if err != nil {
			return err
		}
		if denied {
			return ErrCodeRefused
		}
		ack, err = collect.StoreCode(ctx, tx, c.Name, request, issued, ack)
		return err
	})
	return edge.Ack(ack), err
}
