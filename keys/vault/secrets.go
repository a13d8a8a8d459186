package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/api"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// field is the field of a secret's value, in base64: Vault's audit log hides
// strings and nothing else.
const field = "value"

// Put implements [keys.Secrets]. The request is sent once; if its reply is lost
// the secret is read, and says whether it was stored.
func (s *Store) Put(ctx context.Context, tenant citygate.TenantID, name string, value citygate.Secret, cas int) (int, error) {
	if err := keys.CheckSecretName(name); err != nil {
		return 0, err
	}
	if tenant < 0 || cas < 0 || value.IsZero() || len(value.Reveal()) > messageMax {
		return 0, keys.ErrInvalid.Explain("secret %s: a tenant, a value of at most %d bytes and a version of 0 or more are needed", name, messageMax)
	}
	got, err := s.administer(ctx, tenant, false, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
		return vault.WriteWithContext(ctx, s.dataPath(tenant, name), map[string]any{
			"options": map[string]any{"cas": cas},
			"data":    map[string]any{field: base64.StdEncoding.EncodeToString(value.Reveal())},
		})
	})
	if refuses(err, "check-and-set") {
		return 0, keys.ErrConflict.Explain("secret %s is not at version %d", name, cas)
	}
	if err == nil && got != nil {
		if version, err := intOf(got.Data["version"]); err == nil && version == cas+1 {
			return version, nil
		}
	}
	if err != nil && !mayHaveHappened(err) {
		return 0, s.orGarbled(err)
	}
	held, version, readErr := s.Get(context.WithoutCancel(ctx), tenant, name)
	switch {
	case readErr == nil && version == cas+1 && bytes.Equal(held.Reveal(), value.Reveal()):
		return version, nil
	case readErr == nil && version > cas:
		return 0, keys.ErrConflict.Explain("secret %s is at version %d, not %d", name, version, cas)
	}
	return 0, unknown("storing of secret "+name, errors.Join(err, readErr))
}

// Get implements [keys.Secrets].
func (s *Store) Get(ctx context.Context, tenant citygate.TenantID, name string) (citygate.Secret, int, error) {
	var none citygate.Secret
	if err := keys.CheckSecretName(name); err != nil {
		return none, 0, err
	}
	if tenant < 0 {
		return none, 0, keys.ErrInvalid.Explain("secret %s: tenant %d", name, tenant)
	}
	got, err := s.call(ctx, tenant, s.sign, true, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
		return vault.ReadWithContext(ctx, s.dataPath(tenant, name))
	})
	if err != nil {
		return none, 0, s.orGarbled(err)
	}
	if got == nil || got.Data["data"] == nil { // never written, or deleted
		return none, 0, keys.ErrNotFound.Explain("tenant %d has no secret %s", tenant, name)
	}
	data, _ := got.Data["data"].(map[string]any)
	meta, _ := got.Data["metadata"].(map[string]any)
	version, err := intOf(meta["version"])
	text, ok := data[field].(string)
	if err != nil || !ok {
		return none, 0, garbled("secret %s has no version or no field %s", name, field)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return none, 0, garbled("secret %s is not base64", name) // the cause could quote it
	}
	defer clear(raw)
	return citygate.NewSecret(raw), version, nil
}

// assert looks at what must hold before anything is signed, as far as Vault can
// be asked now.
func (s *Store) assert(ctx context.Context) error {
	got, err := s.call(ctx, keys.Platform, s.sign, true, func(ctx context.Context, vault *api.Logical) (*api.Secret, error) {
		return vault.ReadWithContext(ctx, s.kv+"/config")
	})
	switch {
	case errors.Is(err, keys.ErrUnavailable):
		s.log.Error("vault: cannot be asked now; its settings are not checked", "error", err)
		return nil
	case errors.Is(err, keys.ErrForbidden):
		// An identity that only signs: it will read no secret either.
	case err != nil || got == nil:
		return keys.ErrInvalid.Because(plain(err), "vault: %s is no key/value store of version 2", s.kv)
	case got.Data["cas_required"] != true:
		return keys.ErrInvalid.Explain("the key/value store %s takes a value without the version it follows, so that two writers would lose one: set cas_required on %s/config", s.kv, s.kv)
	}
	return s.Inspect(ctx, []Ref{{keys.Platform, keys.Root}, {keys.Platform, keys.Token}})
}

// A Ref names a key.
type Ref struct {
	Tenant  citygate.TenantID
	Purpose keys.Purpose
}

// Inspect reads the keys and gives an error that names each that is not safe
// ([keys.ErrUnsafe]) or cannot be read. One that is not there, or that cannot be
// asked for now, is looked at when it is first used.
func (s *Store) Inspect(ctx context.Context, refs []Ref) error {
	var bad []error
	for _, ref := range refs {
		_, err := s.fetch(ctx, ref.Tenant, ref.Purpose)
		switch {
		case err == nil || errors.Is(err, keys.ErrNotFound):
		case errors.Is(err, keys.ErrUnavailable):
			s.log.Warn("vault: a key is not inspected now", "key", KeyName(ref.Tenant, ref.Purpose), "error", err)
		default:
			bad = append(bad, fmt.Errorf("%s: %w", KeyName(ref.Tenant, ref.Purpose), s.orGarbled(err)))
		}
	}
	return errors.Join(bad...)
}
