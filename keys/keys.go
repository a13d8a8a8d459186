// Package keys is a tenant's keys by purpose: who may sign what, with which
// version, and since when.
//
// A [Signer] holds private keys and never gives one out; a [Secrets] holds the
// credentials that providers gave us. Both exist twice: sealed files on disk
// (keys/local, the embedded default) and Vault. keys/keystest is the kit every
// signer passes. The [Ring] keeps, in the database, which public keys were
// announced to verifiers and in which state each is.
//
// Two numbers name a key and are never mixed up. The version is the signer's
// own and every signature names it: between rotation and activation the newest
// version must not sign yet. The kid is one byte on a code, given when the key
// is published, and means something to verifiers only.
//
// States go published -> active -> retiring -> revoked ([bundle.State]). A key
// is published before it signs, so that terminals know it in time, and retires
// before it is revoked, so that what it signed can run out.
//
// Limits: 255 keys per tenant and purpose, ever. A signer call may be a network
// call and is never made inside a transaction. The package decides no
// lifetimes: the caller says when a key starts and ends.
package keys

import (
	"context"
	"crypto"
	"io"
	"regexp"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// A Purpose is what a key signs. Keys of two purposes are never the same key.
type Purpose string

// The purposes of a tenant. Audit is one of the platform's too.
const (
	Credential Purpose = "credential" // codes
	DenyList   Purpose = "denylist"   // deny lists and heartbeats
	Policy     Purpose = "policy"
	Audit      Purpose = "audit" // seals of the audit log
	Explain    Purpose = "explain"
	Webhook    Purpose = "webhook"
)

// The purposes of the platform, which is tenant 0 to a signer.
const (
	Root  Purpose = "root"  // trust bundles
	Token Purpose = "token" // access tokens
)

// Platform is the tenant number under which a signer keeps the platform's keys.
const Platform citygate.TenantID = 0

// ProviderPurpose is the purpose of the key that a tenant signs its requests
// to a payment provider with.
func ProviderPurpose(adapter string) Purpose { return Purpose("provider-" + adapter) }

var purposeForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

// Check reports whether tenant may have keys of purpose p.
func (p Purpose) Check(tenant citygate.TenantID) error {
	switch platform := p == Root || p == Token || p == Audit && tenant == Platform; {
	case !purposeForm.MatchString(string(p)):
		return ErrInvalid.Explain("purpose %q: want lower-case letters, digits and hyphens", string(p))
	case tenant < 0 || platform != (tenant == Platform):
		return ErrInvalid.Explain("purpose %q is not one of tenant %d", string(p), tenant)
	}
	return nil
}

// Usage gives the bits under which verifiers find a key of purpose p; 0 = it
// is not for terminals.
func (p Purpose) Usage() bundle.Usage {
	switch p {
	case Credential:
		return bundle.ForCredential
	case DenyList:
		return bundle.ForDenyList | bundle.ForHeartbeat
	case Policy:
		return bundle.ForPolicy
	default:
		return 0
	}
}

// Algorithm names a signature algorithm.
type Algorithm = bundle.Algorithm

// The algorithms. See [Signer.Sign] for what each signature looks like.
const (
	Ed25519 = bundle.Ed25519
	P256    = bundle.P256
	RSA2048 = bundle.RSA2048 // provider keys only
)

// A Version is one generation of a key, as its signer knows it.
type Version struct {
	Version   int // from 1
	Algorithm Algorithm
	Public    crypto.PublicKey // ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey
	Created   time.Time
}

// MessageMax is the most bytes of one message that any signer takes. Signers
// that live elsewhere may take less: Vault takes 768 KiB for Ed25519.
const MessageMax = 1 << 20

// A Signature is the answer for one message of a batch.
type Signature struct {
	Bytes []byte
	Err   error // why this message was not signed; the others may be
}

// A Signer holds the private keys of all tenants. Implementations are safe for
// concurrent use and by several processes.
type Signer interface {
	// Create makes the key of a tenant and purpose, in version 1, unless it is
	// there. Another algorithm than the one it has is [ErrConflict].
	Create(ctx context.Context, tenant citygate.TenantID, purpose Purpose, algorithm Algorithm) error
	// Rotate adds one version and gives its number. Nothing signs with it until
	// somebody names it.
	Rotate(ctx context.Context, tenant citygate.TenantID, purpose Purpose) (version int, err error)
	// Versions lists what there is, oldest first. No key is [ErrNotFound].
	Versions(ctx context.Context, tenant citygate.TenantID, purpose Purpose) ([]Version, error)
	// Sign signs each message, not a digest of it, with the version named.
	// Ed25519 is pure; P-256 hashes with SHA-256 and gives raw r||s with low s
	// (64 bytes); RSA is PKCS #1 v1.5 with SHA-256. The answers are in the order
	// of the messages; one that is too long fails alone. An error speaks of the
	// whole batch: nothing was signed.
	Sign(ctx context.Context, tenant citygate.TenantID, purpose Purpose, version int, messages [][]byte) ([]Signature, error)
}

// A DigestSigner is a [Signer] that also signs SHA-256 digests computed by
// somebody else, for protocols whose library hashes on its own. Ed25519 has no
// such form and is refused.
type DigestSigner interface {
	Signer
	SignDigest(ctx context.Context, tenant citygate.TenantID, purpose Purpose, version int, digest []byte) ([]byte, error)
}

// Secrets keeps credentials by tenant and name.
type Secrets interface {
	// Put stores value if the secret's version is cas (0 = there is none yet)
	// and gives the new version. Any other version is [ErrConflict].
	Put(ctx context.Context, tenant citygate.TenantID, name string, value citygate.Secret, cas int) (version int, err error)
	// Get gives the latest value and its version, or [ErrNotFound].
	Get(ctx context.Context, tenant citygate.TenantID, name string) (citygate.Secret, int, error)
}

// The failures of signers, secret stores and the ring.
var (
	ErrNotFound    = &citygate.Code{Name: "keys.not_found", Kind: citygate.NotFound, Title: "There is no such key or secret. Create it first, or check its name and version."}
	ErrConflict    = &citygate.Code{Name: "keys.conflict", Kind: citygate.Conflict, Title: "The key or secret exists in another form or version. Read it and try again."}
	ErrInvalid     = &citygate.Code{Name: "keys.invalid", Kind: citygate.Invalid, Title: "The key or secret cannot be of that purpose, algorithm or name."}
	ErrUnavailable = &citygate.Code{Name: "keys.unavailable", Kind: citygate.Unavailable, Title: "The key store cannot be used now. Try again."}
	ErrState       = &citygate.Code{Name: "keys.state", Kind: citygate.Conflict, Title: "The key's state does not allow this step. States go published, active, retiring, revoked."}
	ErrNotYet      = &citygate.Code{Name: "keys.not_yet", Kind: citygate.Conflict, Title: "The key is not valid yet: verifiers may not know it. Wait for its start."}
	ErrExhausted   = &citygate.Code{Name: "keys.exhausted", Kind: citygate.Conflict, Title: "All 255 key ids of this purpose are used up. Give the tenant a new issuer number."}
)

var secretForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,79}$`)

// CheckSecretName reports whether a secret may have this name.
func CheckSecretName(name string) error {
	if !secretForm.MatchString(name) {
		return ErrInvalid.Explain("secret name %q: want lower-case letters, digits, dots, hyphens and underscores", name)
	}
	return nil
}

// CryptoSigner gives one version of a key in the form the standard library and
// payment adapters take. It also implements [crypto.MessageSigner].
//
// Sign takes a SHA-256 digest and works if s is a [DigestSigner]; for Ed25519,
// whose options say hash 0, it takes the message, as crypto/ed25519 does. The
// form of signatures is that of [Signer.Sign]: for P-256 raw, not ASN.1.
func CryptoSigner(ctx context.Context, s Signer, tenant citygate.TenantID, purpose Purpose, version int) (crypto.Signer, error) {
	versions, err := s.Versions(ctx, tenant, purpose)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		if v.Version == version {
			// The adapter signs long after this call ended; what must not end
			// is cut off, and each call is bounded by the signer itself.
			return &cryptoSigner{context.WithoutCancel(ctx), s, tenant, purpose, v}, nil
		}
	}
	return nil, ErrNotFound.Explain("key %s of tenant %d has no version %d", purpose, tenant, version)
}

type cryptoSigner struct {
	ctx     context.Context
	signer  Signer
	tenant  citygate.TenantID
	purpose Purpose
	version Version
}

var _ crypto.MessageSigner = (*cryptoSigner)(nil)

func (c *cryptoSigner) Public() crypto.PublicKey { return c.version.Public }

func (c *cryptoSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if c.version.Algorithm == Ed25519 {
		return c.SignMessage(nil, digest, opts)
	}
	d, ok := c.signer.(DigestSigner)
	if !ok {
		return nil, ErrInvalid.Explain("this key store signs messages only, not digests")
	}
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, ErrInvalid.Explain("digests must be SHA-256")
	}
	return d.SignDigest(c.ctx, c.tenant, c.purpose, c.version.Version, digest)
}

func (c *cryptoSigner) SignMessage(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	want := crypto.SHA256
	if c.version.Algorithm == Ed25519 {
		want = 0
	}
	if opts.HashFunc() != want {
		return nil, ErrInvalid.Explain("a key of algorithm %s does not sign with %v", c.version.Algorithm, opts.HashFunc())
	}
	signatures, err := c.signer.Sign(c.ctx, c.tenant, c.purpose, c.version.Version, [][]byte{message})
	if err != nil {
		return nil, err
	}
	return signatures[0].Bytes, signatures[0].Err
}
