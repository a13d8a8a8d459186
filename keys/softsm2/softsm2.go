// Package softsm2 signs with SM2 for tenants whose partners demand it.
//
// # These are software keys
//
// Vault's transit engine has no SM2, and neither do most hardware modules. So the
// private key of a tenant is a secret like a provider's credential: sealed at
// rest by the secret store, but handed to this process to sign with. Whoever can
// read this process's memory or that one secret can sign as the tenant, for good
// and without a trace. Every use says so: [Keys.Open] calls Warn each time, and
// whoever wires this must put the warning where operators read.
//
// Keep the damage small: give such a key to tenants that need it and to nobody
// else, bound what it signs (fares, lifetimes), and have a new root or issuer
// certificate ready. A module that speaks SM2 can take the place of this package
// behind the same two calls.
//
// A key is made once and never replaced in place: [Keys.Create] gives the one that
// is there. To change it, the old secret is retired under the store's own rules
// and verifiers learn the new public key first.
package softsm2

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/keys"
)

// Warning is what Warn is called with, behind the tenant's number.
const Warning = "signs SM2 with a software key: whoever reads this process or its secret store can sign as this tenant"

// Keys are the SM2 keys of all tenants in a secret store. Safe for concurrent use
// if Random is.
type Keys struct {
	Secrets keys.Secrets
	Random  io.Reader
	// Warn gets a line for operators each time a key is opened. It must be set.
	Warn func(line string)
}

// secretName is where a tenant's key for a purpose lies.
func secretName(purpose keys.Purpose) string { return "sm2-software-key." + string(purpose) }

// A Key is a tenant's opened key.
type Key struct {
	private *sm2.PrivateKey
	random  io.Reader
}

// Format keeps the key out of logs whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// Public gives the compressed public key, 33 bytes.
func (k *Key) Public() []byte { return sm2.Compress(k.private.Public()) }

// Sign gives r||s over msg by the user uid, nil for the default user id. It has
// the form that motsm2 and ct1 take.
func (k *Key) Sign(uid, msg []byte) ([]byte, error) {
	if len(msg) > keys.MessageMax {
		return nil, keys.ErrInvalid.Explain("a message of %d bytes, at most %d", len(msg), keys.MessageMax)
	}
	return k.private.Sign(k.random, uid, msg)
}

// Signer gives the key as a [crypto.Signer] of SM2 digests.
func (k *Key) Signer() crypto.Signer { return k.private.Signer() }

// Create makes the key of a tenant and purpose, or gives the one that is there.
// Two callers at once get the same key.
func (k *Keys) Create(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) (*Key, error) {
	if err := check(tenant, purpose); err != nil {
		return nil, err
	}
	key, err := k.Open(ctx, tenant, purpose)
	if !errors.Is(err, keys.ErrNotFound) {
		return key, err
	}
	private, err := sm2.GenerateKey(k.Random)
	if err != nil {
		return nil, keys.ErrUnavailable.Because(err, "no randomness")
	}
	_, err = k.Secrets.Put(ctx, tenant, secretName(purpose), citygate.NewSecret(private.Bytes()), 0)
	if err != nil && !errors.Is(err, keys.ErrConflict) { // a conflict: somebody was faster, and theirs is the key
		return nil, fmt.Errorf("SM2 key: %w", err)
	}
	return k.Open(ctx, tenant, purpose)
}

// Open gives the key of a tenant and purpose, or [keys.ErrNotFound], and warns.
func (k *Keys) Open(ctx context.Context, tenant citygate.TenantID, purpose keys.Purpose) (*Key, error) {
	if err := check(tenant, purpose); err != nil {
		return nil, err
	}
	secret, _, err := k.Secrets.Get(ctx, tenant, secretName(purpose))
	if err != nil {
		return nil, fmt.Errorf("SM2 key: %w", err)
	}
	private, err := sm2.NewPrivateKey(secret.Reveal())
	if err != nil {
		return nil, keys.ErrInvalid.Because(err, "SM2 key of tenant %d for %s", tenant, purpose)
	}
	k.Warn(fmt.Sprintf("tenant %d, %s: %s", tenant, purpose, Warning))
	return &Key{private, k.Random}, nil
}

// check admits tenants' own purposes: the platform has no SM2 key.
func check(tenant citygate.TenantID, purpose keys.Purpose) error {
	if tenant == keys.Platform {
		return keys.ErrInvalid.Explain("the platform signs nothing with SM2")
	}
	return purpose.Check(tenant)
}
