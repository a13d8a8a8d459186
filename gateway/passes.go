package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// secretFresh bounds how long a secret that another process was given stays unseen.
const secretFresh = time.Minute

// A secretCache keeps the secrets that prove tenants' codes. What was read once
// serves on while the secret store is away.
type secretCache struct {
	mu   sync.Mutex
	held map[citygate.TenantID]map[code.SchemeID]heldSecret
}

type heldSecret struct {
	source code.SecretSource
	read   time.Time
}

func (c *secretCache) get(tenant citygate.TenantID, scheme code.SchemeID) (heldSecret, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.held[tenant][scheme]
	return h, ok
}

func (c *secretCache) keep(tenant citygate.TenantID, scheme code.SchemeID, h heldSecret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[citygate.TenantID]map[code.SchemeID]heldSecret{}
	}
	if c.held[tenant] == nil {
		c.held[tenant] = map[code.SchemeID]heldSecret{}
	}
	c.held[tenant][scheme] = h
}

func (c *secretCache) forget(tenant citygate.TenantID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, tenant)
}

// sharedSecrets is a tenant's bundle with the secrets that prove the codes of
// some schemes. They are asked for by the first code that needs one: a batch
// without such codes does not wait for the secret store.
type sharedSecrets struct {
	code.ForeignKeySource
	load func(code.SchemeID) (code.SecretSource, error)

	mu    sync.Mutex
	known map[code.SchemeID]code.SecretSource
	err   error
}

var _ interface {
	code.SecretSource
	code.ForeignKeySource
} = (*sharedSecrets)(nil)

// withSecrets gives held, the keys of the bundle b, with the tenant's secrets if one of its own schemes needs any.
func (g *Gateway) withSecrets(ctx context.Context, tenant citygate.TenantID, b *bundle.Bundle, held code.ForeignKeySource) code.KeySource {
	if !slices.ContainsFunc(b.Schemes, func(s bundle.Scheme) bool { return s.Tenant == tenant && g.needsSecret(s.ID) }) {
		return held
	}
	return &sharedSecrets{ForeignKeySource: held, known: map[code.SchemeID]code.SecretSource{}, load: func(scheme code.SchemeID) (code.SecretSource, error) {
		return g.secretsFor(ctx, tenant, scheme)
	}}
}

// Secret gives the secret of a pass. If it cannot be asked for now, the reason is
// no verdict, and [sharedSecrets.Err] says why.
func (s *sharedSecrets) Secret(scheme code.SchemeID, pass []byte) (citygate.Secret, code.Reason) {
	source, ok := s.source(scheme)
	if !ok {
		return citygate.Secret{}, code.InternalError
	}
	return source.Secret(scheme, pass)
}

// Former implements [code.FormerKeySource]. No secret had another's place.
func (s *sharedSecrets) Former() []code.KeySource {
	if late, ok := s.ForeignKeySource.(code.FormerKeySource); ok {
		return late.Former()
	}
	return nil
}

func (s *sharedSecrets) source(scheme code.SchemeID) (code.SecretSource, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, ok := s.known[scheme]
	if ok || s.err != nil {
		return source, ok
	}
	if source, s.err = s.load(scheme); s.err != nil {
		return nil, false
	}
	s.known[scheme] = source
	return source, true
}

// Err is why a secret could not be had, or nil: then what was found out about
// codes stands.
func (s *sharedSecrets) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// secretsFor gives the secrets that prove a tenant's codes of a scheme. Where
// there are none any more the tap waits with its terminal, as while the store is
// away: refusing it would be for good.
func (g *Gateway) secretsFor(ctx context.Context, tenant citygate.TenantID, scheme code.SchemeID) (code.SecretSource, error) {
	now := g.Clock()
	held, ok := g.passes.get(tenant, scheme)
	if age := now.Sub(held.read); ok && age >= 0 && age < secretFresh {
		return held.source, nil
	}
	var entries []foreign.Entry
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		entries, err = foreign.Entries(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(entries, func(e foreign.Entry) bool { return e.Scheme == scheme })
	if i < 0 {
		return nil, keys.ErrUnavailable.Explain("tenant %d answers for no codes of scheme %q any more", tenant, scheme)
	}
	source, err := g.readSecret(ctx, tenant, &entries[i])
	switch {
	case err == nil:
		g.passes.keep(tenant, scheme, heldSecret{source, now})
		return source, nil
	case ok:
		return held.source, nil
	}
	return nil, keys.ErrUnavailable.Because(err, "secret %q of contract %q", foreign.SecretName(scheme), entries[i].Contract)
}

// readSecret asks the secret store for what proves the codes of an entry.
func (g *Gateway) readSecret(ctx context.Context, tenant citygate.TenantID, e *foreign.Entry) (code.SecretSource, error) {
	plugin, ok := g.Foreign.Plugin(e.Scheme)
	if !ok {
		return nil, foreign.ErrScheme.Explain("scheme: this gateway does not know %q", e.Scheme)
	}
	value, _, err := g.Secrets.Get(ctx, tenant, collect.SecretName(e.Contract, foreign.SecretName(e.Scheme)))
	if err != nil {
		return nil, err
	}
	trust, err := plugin.Trust(value.Reveal())
	source, ok := trust.(code.SecretSource)
	if ok {
		_, reason := source.Secret(e.Scheme, nil)
		ok = reason != code.UnknownIssuer // it holds some
	}
	if err != nil || !ok { // the error is about a secret, and stays here
		return nil, foreign.ErrScheme.Explain("contract: its secret %q is not what the scheme %q reads keys and secrets from", foreign.SecretName(e.Scheme), e.Scheme)
	}
	return source, nil
}

// checkSecret refuses an entry whose codes nothing would prove. One without a
// contract is refused by the desk.
func (g *Gateway) checkSecret(ctx context.Context, tenant citygate.TenantID, e *foreign.Entry) error {
	if e.Contract == "" || !g.needsSecret(e.Scheme) {
		return nil
	}
	_, err := g.readSecret(ctx, tenant, e)
	if errors.Is(err, keys.ErrNotFound) || errors.Is(err, keys.ErrInvalid) {
		return foreign.ErrScheme.Explain("contract: %q has no secret %q; put it first", e.Contract, foreign.SecretName(e.Scheme))
	}
	return err
}

func (g *Gateway) needsSecret(scheme code.SchemeID) bool {
	p, _ := g.Foreign.Plugin(scheme)
	return p.NeedsSecret
}

// provesCodes reports whether a contract's secret proves codes: the contract's
// adapter has no business with it.
func (g *Gateway) provesCodes(secret string) bool {
	return slices.ContainsFunc(g.Foreign.Plugins, func(p code.Plugin) bool { return p.NeedsSecret && foreign.SecretName(p.ID) == secret })
}
