package gateway

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

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
}

// Products gives the payment products built into this program. An installation
// with an adapter of its own adds it to a copy.
func Products() adapters.Set {
	return adapters.Set{
		"alipay": openAlipay,
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
		Collect: alipay.Collect(c.Collect), NotifyURL: c.NotifyURL, SignScene: c.SignScene, CardType: c.CardType, CardAction: c.CardAction,
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
	return wechatpay.New(wechatpay.Config{
		Base: c.Base, Product: wechatpay.Product(c.Product), AppID: c.AppID, MchID: c.MchID, SubMchID: c.SubMchID, Serial: c.Serial, Signer: d.Signer,
		APIv3Key: d.Secrets[WechatpayAPIv3Key], APIv2Key: d.Secrets[WechatpayAPIv2Key], PlatformKeys: platform, AnswerKey: c.AnswerKey,
		NotifyURL: c.NotifyURL, Scene: c.Scene, Line: c.Line, ClientIP: c.ClientIP, V2Version: c.V2Version, ArrearsPath: c.ArrearsPath,
		Currency: c.Currency, MCC: c.MCC, Store: c.Store, HTTP: d.HTTP, Clock: d.Clock, Random: d.Random,
	})
}

// signed names the products whose requests are signed with a key of the tenant.
var signed = map[string]bool{"alipay": true, "wechatpay": true}

// A providerCache keeps one opened provider per contract.
type providerCache struct {
	mu      sync.Mutex
	opened  map[providerKey]*adapters.Provider
	closers []io.Closer
}

type providerKey struct {
	tenant   citygate.TenantID
	contract string
}

// provider opens the provider of a contract, once.
func (g *Gateway) provider(ctx context.Context, tenant citygate.TenantID, c collect.Contract) (p *adapters.Provider, err error) {
	g.providers.mu.Lock()
	defer g.providers.mu.Unlock()
	key := providerKey{tenant, c.Name}
	if p, ok := g.providers.opened[key]; ok {
		return p, nil
	}
	deps := adapters.Deps{Config: c.Config, HTTP: g.HTTP, Clock: g.Clock, Random: g.Random}
	if deps.Secrets, err = g.secretsOf(ctx, tenant, c.Name); err != nil {
		return nil, err
	}
	if signed[c.Adapter] {
		purpose := keys.ProviderPurpose(c.Adapter)
		_, version, err := g.Ring.Active(ctx, tenant, purpose)
		if err != nil {
			return nil, err
		}
		if deps.Signer, err = keys.CryptoSigner(ctx, g.Signer, tenant, purpose, version); err != nil {
			return nil, err
		}
	}
	if c.Adapter == "sandbox" {
		deps.Clock = g.DB.ClockOf(tenant) // it is in this process, and moves with its tenant's clock; others are in the world
		dir, err := subdirectory(g.Files, fmt.Sprintf("sandbox-%d-%s", tenant, c.Name))
		if err != nil {
			return nil, err
		}
		g.providers.closers = append(g.providers.closers, dir)
		deps.Files = dir
	}
	p, err = g.Products.Open(c.Adapter, deps)
	if err != nil {
		return nil, fmt.Errorf("contract %s of tenant %d: %w", c.Name, tenant, err)
	}
	if g.providers.opened == nil {
		g.providers.opened = map[providerKey]*adapters.Provider{}
	}
	g.providers.opened[key] = p
	return p, nil
}

// secretsOf resolves the secrets of a contract for its adapter.
func (g *Gateway) secretsOf(ctx context.Context, tenant citygate.TenantID, contract string) (map[string]citygate.Secret, error) {
	var noted []collect.ContractSecret
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		noted, err = collect.ContractSecrets(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	secrets := map[string]citygate.Secret{}
	for _, s := range noted {
		if s.Contract != contract || g.provesCodes(s.Name) {
			continue
		}
		if secrets[s.Name], _, err = g.Secrets.Get(ctx, tenant, collect.SecretName(contract, s.Name)); err != nil {
			return nil, err
		}
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
