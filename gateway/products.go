package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// AlipayContract is the configuration of a contract of the product "alipay".
type AlipayContract struct {
	Gateway      string   `json:"gateway"` // URL of the v2 gateway
	AppID        string   `json:"app_id"`
	Account      string   `json:"account"`       // partner id of the signed merchant
	PlatformKeys [][]byte `json:"platform_keys"` // PKIX DER, base64; more than one while the platform rotates

	// In certificate mode, PEM instead of platform_keys.
	AppCert       string `json:"app_cert,omitempty"`
	PlatformCerts string `json:"platform_certs,omitempty"`
	RootCerts     string `json:"root_certs,omitempty"`

	Collect    string `json:"collect,omitempty"` // "" for records of the platform's own codes, withholding or barcode
	NotifyURL  string `json:"notify_url,omitempty"`
	SignScene  string `json:"sign_scene,omitempty"` // of agreements
	CardType   string `json:"card_type,omitempty"`  // of the operator's cards in the wallet
	CardAction string `json:"card_action,omitempty"`

	DenyEvery string `json:"deny_every,omitempty"` // how often the platform's black list is read, such as 1h; not at all if empty
}

// Products gives the payment products built into this program. An installation
// with an adapter of its own adds it to a copy.
func Products() adapters.Set {
	return adapters.Set{
		"alipay":     openAlipay,
		"alipayplus": openAlipayplus,
		"http":       openHTTP,
		"openloop":   openOpenloop,
		"sandbox": func(d adapters.Deps) (driver.Provider, error) {
			if d.Files == nil {
				return nil, errors.New("the sandbox needs a directory for its book")
			}
			return sandbox.Open(d.Files, d.Clock, d.Config)
		},
		"wechatpay": openWechatpay,
	}
}

func openAlipay(d adapters.Deps) (driver.Provider, error) {
	var c AlipayContract
	dec := json.NewDecoder(bytes.NewReader(d.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, alipay.ErrConfig.Explain("the contract's configuration: %v", err)
	}
	platform := make([]*rsa.PublicKey, len(c.PlatformKeys))
	for i, der := range c.PlatformKeys {
		public, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, alipay.ErrConfig.Explain("platform_keys[%d] is not a PKIX public key", i)
		}
		key, ok := public.(*rsa.PublicKey)
		if !ok {
			return nil, alipay.ErrConfig.Explain("platform_keys[%d] is not an RSA key", i)
		}
		platform[i] = key
	}
	config := alipay.Config{
		Gateway: c.Gateway, AppID: c.AppID, Account: c.Account, Signer: d.Signer, PlatformKeys: platform, HTTP: d.HTTP, Clock: d.Clock,
		Collect: alipay.Collect(c.Collect), NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL), SignScene: c.SignScene, CardType: c.CardType, CardAction: c.CardAction,
	}
	if c.AppCert != "" || c.PlatformCerts != "" || c.RootCerts != "" {
		config.Certificates = &alipay.Certificates{App: []byte(c.AppCert), Platform: []byte(c.PlatformCerts), Roots: []byte(c.RootCerts)}
	}
	return alipay.New(config)
}

func openWechatpay(d adapters.Deps) (driver.Provider, error) {
	var c WechatpayContract
	dec := json.NewDecoder(bytes.NewReader(d.Config))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, wechatpay.ErrConfig.Explain("the contract's configuration: %v", err)
	}
	platform := make(map[string]*rsa.PublicKey, len(c.PlatformKeys))
	for id, der := range c.PlatformKeys {
		public, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, wechatpay.ErrConfig.Explain("platform_keys[%.64q] is not a PKIX public key", id)
		}
		key, ok := public.(*rsa.PublicKey)
		if !ok {
			return nil, wechatpay.ErrConfig.Explain("platform_keys[%.64q] is not an RSA key", id)
		}
		platform[id] = key
	}
	codes, err := c.RideCode.rideCode(d.Secrets[WechatpayRideCodeKey])
	if err != nil {
		return nil, err
	}
	return wechatpay.New(wechatpay.Config{
		RideCode: codes,
		Base:     c.Base, Product: wechatpay.Product(c.Product), AppID: c.AppID, MchID: c.MchID, SubMchID: c.SubMchID, Serial: c.Serial, Signer: d.Signer,
		APIv3Key: d.Secrets[WechatpayAPIv3Key], APIv2Key: d.Secrets[WechatpayAPIv2Key], PlatformKeys: platform, AnswerKey: c.AnswerKey,
		NotifyURL: cmp.Or(c.NotifyURL, d.NotifyURL), Scene: c.Scene, Line: c.Line, ClientIP: c.ClientIP, V2Version: c.V2Version, ArrearsPath: c.ArrearsPath,
		Currency: c.Currency, MCC: c.MCC, Store: c.Store, HTTP: d.HTTP, Clock: d.Clock, Random: d.Random,
	})
}

// signed names the products whose requests are signed with a key of the tenant.
var signed = map[string]bool{"alipay": true, "alipayplus": true, "wechatpay": true, "http": true}

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
	if signed[c.Adapter] {
		if deps.Signer, err = keys.CryptoSigner(ctx, g.Signer, tenant, keys.ProviderPurpose(c.Adapter), version); err != nil {
			return nil, err
		}
	}
	if c.Adapter == "sandbox" {
		deps.Clock = g.DB.ClockOf(tenant) // it is in this process, and moves with its tenant's clock; others are in the world
		dir, err := subdirectory(g.Files, fmt.Sprintf("sandbox-%d-%s", tenant, c.Name))
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
	if signed[c.Adapter] {
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
