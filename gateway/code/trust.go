package code

import (
	"crypto"

	"github.com/cashlesscity/citygate"
)

// A KeyName names a public key of a scheme whose issuers are not the platform's:
// a root certificate's key, a provider's key. Owner, List and Kind are "" where
// the scheme has nothing to say.
type KeyName struct {
	Scheme SchemeID
	Owner  string // the provider or security provider, as the scheme writes it
	List   string // a provider's key list
	Kind   string // what the key is for in the scheme, such as "root_ca"
	ID     uint32 // the key's number or index
}

// A ForeignKeySource is a [KeySource] that also holds such keys.
type ForeignKeySource interface {
	KeySource
	// ForeignKey gives the key's bytes, in the encoding that the scheme's package
	// states; the caller must not change them. A Reason other than "" refuses:
	// unknown_issuer (nothing of that scheme and owner is held), unknown_key,
	// key_revoked.
	ForeignKey(name KeyName) ([]byte, Reason)
}

// A FormerKeySource is a [KeySource] of which names had other keys before: whoever
// numbers keys may use a number again, and codes that were shown under the key before
// come in late. [Dispatcher.Verify] tries them where an issuer's signature does not
// hold. Readers, which are shown codes of now, have none.
type FormerKeySource interface {
	KeySource
	// Former gives the keys as they were, the newest first.
	Former() []KeySource
}

// WithFormer gives held as a [FormerKeySource]. Each name's former keys are in the
// order of how lately they went.
func WithFormer(held ForeignKeySource, former map[KeyName][][]byte) ForeignKeySource {
	if len(former) == 0 {
		return held
	}
	f := &formerKeys{ForeignKeySource: held}
	for nth := 0; ; nth++ {
		keys := map[KeyName][]byte{}
		for name, all := range former {
			if nth < len(all) {
				keys[name] = all[nth]
			}
		}
		if len(keys) == 0 {
			return f
		}
		f.sources = append(f.sources, &formerSource{held, keys, held.Version() ^ uint64(nth+1)<<48})
	}
}

type formerKeys struct {
	ForeignKeySource
	sources []KeySource
}

func (f *formerKeys) Former() []KeySource { return f.sources }

// A formerSource is the keys held with those that some names had before. It has a
// version of its own: what it proves is not what the keys of now prove.
type formerSource struct {
	ForeignKeySource
	keys    map[KeyName][]byte
	version uint64
}

func (f *formerSource) Version() uint64 { return f.version }

func (f *formerSource) ForeignKey(name KeyName) ([]byte, Reason) {
	if key, ok := f.keys[name]; ok {
		return key, ""
	}
	return f.ForeignKeySource.ForeignKey(name)
}

// A SecretSource is a [KeySource] that also holds secrets shared with passes.
type SecretSource interface {
	KeySource
	// Secret gives the secret of a pass. A Reason other than "" refuses:
	// unknown_issuer (no secret of that scheme is held), unknown_key,
	// key_revoked.
	Secret(scheme SchemeID, pass []byte) (citygate.Secret, Reason)
}

// An IssuerKeyName names an issuer's key.
type IssuerKeyName struct {
	Issuer citygate.Issuer
	KeyID  uint8
}

// Trust is keys and secrets from a file or a test: a [KeySource], a
// [ForeignKeySource] and a [SecretSource]. The zero Trust knows nobody. It must
// not be changed while it is in use.
type Trust struct {
	Number  uint64 // Version
	Issuers map[IssuerKeyName]crypto.PublicKey
	Foreign map[KeyName][]byte
	Secrets map[SchemeID]map[string]citygate.Secret // by pass
}

var (
	_ ForeignKeySource = (*Trust)(nil)
	_ SecretSource     = (*Trust)(nil)
)

// Version gives Number.
func (t *Trust) Version() uint64 { return t.Number }

// IssuerKey gives the key of an issuer, whenever the credential was issued.
func (t *Trust) IssuerKey(issuer citygate.Issuer, keyID uint8, _ int64) (crypto.PublicKey, Reason) {
	if key, ok := t.Issuers[IssuerKeyName{issuer, keyID}]; ok {
		return key, ""
	}
	for name := range t.Issuers {
		if name.Issuer == issuer {
			return nil, UnknownKey
		}
	}
	return nil, UnknownIssuer
}

// ForeignKey gives a key by its name.
func (t *Trust) ForeignKey(name KeyName) ([]byte, Reason) {
	if key, ok := t.Foreign[name]; ok {
		return key, ""
	}
	for held := range t.Foreign {
		if held.Scheme == name.Scheme && held.Owner == name.Owner {
			return nil, UnknownKey
		}
	}
	return nil, UnknownIssuer
}

// Secret gives the secret of a pass.
func (t *Trust) Secret(scheme SchemeID, pass []byte) (citygate.Secret, Reason) {
	secrets := t.Secrets[scheme]
	if secret, ok := secrets[string(pass)]; ok {
		return secret, ""
	}
	if len(secrets) > 0 {
		return citygate.Secret{}, UnknownKey
	}
	return citygate.Secret{}, UnknownIssuer
}

// AddIssuer adds an issuer's key.
func (t *Trust) AddIssuer(issuer citygate.Issuer, keyID uint8, key crypto.PublicKey) {
	if t.Issuers == nil {
		t.Issuers = make(map[IssuerKeyName]crypto.PublicKey)
	}
	t.Issuers[IssuerKeyName{issuer, keyID}] = key
}

// AddForeign adds a key of a scheme's own.
func (t *Trust) AddForeign(name KeyName, key []byte) {
	if t.Foreign == nil {
		t.Foreign = make(map[KeyName][]byte)
	}
	t.Foreign[name] = key
}

// AddSecret adds a pass's secret.
func (t *Trust) AddSecret(scheme SchemeID, pass string, secret citygate.Secret) {
	if t.Secrets == nil {
		t.Secrets = make(map[SchemeID]map[string]citygate.Secret)
	}
	if t.Secrets[scheme] == nil {
		t.Secrets[scheme] = make(map[string]citygate.Secret)
	}
	t.Secrets[scheme][pass] = secret
}
