package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/builtin"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Products gives the payment products built into this program. An installation
// with an adapter of its own adds it to a copy.
func Products() adapters.Set { return builtin.Products() }

// A providerCache keeps one opened provider per contract.
type providerCache struct {
	mu      sync.Mutex
	opened  map[providerKey]*openedProvider
	closers []io.Closer
}

type providerKey struct {
	tenant   citygate.TenantID
	contract string
}

// An openedProvider has a lock of its own: while one contract waits for its
// secrets or its key, others go on.
type openedProvider struct {
	mu       sync.Mutex
	provider *adapters.Provider // nil = not opened yet
	token    string             // of the address of its notifications; "" = not read yet
	made     string             // the versions of the key and the secrets it was opened with
	checked  time.Time
}

// recheck is how long an opened provider may go on with a key or a secret that
// another instance of this gateway has replaced.
const recheck = 30 * time.Second

// provider gives the provider of a contract, opened once and again when its key
// or one of its secrets has another version.
func (g *Gateway) provider(ctx context.Context, tenant citygate.TenantID, c collect.Contract) (*adapters.Provider, error) {
	o := g.providers.entry(providerKey{tenant, c.Name})
	o.mu.Lock()
	defer o.mu.Unlock()
	now := g.Clock()
	if age := now.Sub(o.checked); o.provider != nil && age >= 0 && age < recheck {
		return o.provider, nil
	}
	if o.token == "" {
		var err error
		if o.token, err = g.notifyToken(ctx, tenant, c.Name); err != nil {
			return nil, err
		}
	}
	deps := adapters.Deps{Config: c.Config, HTTP: g.HTTP, Clock: g.Clock, Random: g.Random, NotifyURL: g.notifyURL(tenant, c.Adapter, o.token)}
	made, noted, version, err := g.versionsOf(ctx, tenant, c)
	if err != nil {
		return nil, err
	}
	if o.provider != nil && o.made == made {
		o.checked = now
		return o.provider, nil
	}
	if deps.Secrets, err = g.secretsOf(ctx, tenant, c.Name, noted); err != nil {
		return nil, err
	}
	if g.Products[c.Adapter].Signed {
		if deps.Signer, err = keys.CryptoSigner(ctx, g.Signer, tenant, keys.ProviderPurpose(c.Adapter), version); err != nil {
			return nil, err
		}
	}
	if g.Products[c.Adapter].InProcess {
		deps.Clock = g.DB.ClockOf(tenant) // it is in this process, and moves with its tenant's clock; others are in the world
		dir, err := subdirectory(g.Files, fmt.Sprintf("%s-%d-%s", c.Adapter, tenant, c.Name))
		if err != nil {
			return nil, err
		}
		g.providers.closeLater(dir)
		deps.Files = dir
	}
	p, err := g.Products.Open(c.Adapter, deps)
	if err != nil {
		return nil, fmt.Errorf("contract %s of tenant %d: %w", c.Name, tenant, err)
	}
	o.provider, o.made, o.checked = p, made, now
	return p, nil
}

// versionsOf says which key and secrets a contract's provider is opened with now.
func (g *Gateway) versionsOf(ctx context.Context, tenant citygate.TenantID, c collect.Contract) (made string, noted []collect.ContractSecret, key int, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		noted, err = collect.ContractSecrets(ctx, tx)
		return err
	})
	if err != nil {
		return "", nil, 0, err
	}
	noted = slices.DeleteFunc(noted, func(s collect.ContractSecret) bool { return s.Contract != c.Name || g.provesCodes(s.Name) })
	if g.Products[c.Adapter].Signed {
		if _, key, err = g.Ring.Active(ctx, tenant, keys.ProviderPurpose(c.Adapter)); err != nil {
			return "", nil, 0, err
		}
	}
	made = fmt.Sprintf("key %d", key)
	for _, s := range noted {
		made += fmt.Sprintf(", %s %d", s.Name, s.Version)
	}
	return made, noted, key, nil
}

func (p *providerCache) entry(key providerKey) *openedProvider {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened == nil {
		p.opened = map[providerKey]*openedProvider{}
	}
	if p.opened[key] == nil {
		p.opened[key] = &openedProvider{}
	}
	return p.opened[key]
}

func (p *providerCache) closeLater(c io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closers = append(p.closers, c)
}

// secretsOf resolves the secrets of a contract for its adapter.
func (g *Gateway) secretsOf(ctx context.Context, tenant citygate.TenantID, contract string, noted []collect.ContractSecret) (map[string]citygate.Secret, error) {
	secrets := map[string]citygate.Secret{}
	for _, s := range noted {
		value, _, err := g.Secrets.Get(ctx, tenant, collect.SecretName(contract, s.Name))
		if err != nil {
			return nil, err
		}
		secrets[s.Name] = value
	}
	return secrets, nil
}

// forget has the next use of a contract open its provider again, with the
// secrets of then.
func (p *providerCache) forget(tenant citygate.TenantID, contract string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.opened, providerKey{tenant, contract})
}

func (p *providerCache) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, c := range p.closers {
		err = errors.Join(err, c.Close())
	}
	p.closers, p.opened = nil, nil
	return err
}

func subdirectory(root *os.Root, name string) (*os.Root, error) {
	if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return root.OpenRoot(name)
}
