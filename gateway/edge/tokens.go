package edge

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"
)

// Scopes a token may carry: see gateway/access.
const (
	ScopePlatform = access.ScopePlatform
	ScopeAdmin    = access.ScopeAdmin
	ScopeRead     = access.ScopeRead
	ScopeMember   = access.ScopeMember
)

// A Caller is who a token or an API key speaks for.
type Caller = access.Caller

// Issuer and audience of the gateway's own access tokens.
const (
	tokenIssuer   = "citygate"
	tokenAudience = "citygate-api"
	tokenType     = "at+jwt" // RFC 9068
	leeway        = 30 * time.Second
)

type claims struct {
	Tenant int64  `json:"tenant"`
	Scope  string `json:"scope"`
	jwt.RegisteredClaims
}

// Tokens mints and checks access tokens under the platform's token key.
type Tokens struct {
	// Now gives the time on a tenant's clock, of the platform for 0.
	Now func(ctx context.Context, tenant citygate.TenantID) (time.Time, error)
	// Sign signs with the active token key; KeyID names its version.
	Sign  func(ctx context.Context, message []byte) (signature []byte, keyID string, err error)
	KeyID func(ctx context.Context) (string, error)
	// Keys gives the public key with that id, or false.
	Key func(ctx context.Context, keyID string) (ed25519.PublicKey, bool)

	once   sync.Once
	proven *otter.Cache[[sha256.Size]byte, provenToken]
}

// A provenToken is a token whose signature was found good. Only that is kept of it:
// whether its key still counts, and whether it is due, is asked each time.
type provenToken struct {
	claims claims
	keyID  string
	key    ed25519.PublicKey
}

// provenMost is how many tokens are kept; what there is no room for is verified again.
const provenMost = 16_384

func (t *Tokens) held() *otter.Cache[[sha256.Size]byte, provenToken] {
	t.once.Do(func() {
		t.proven = otter.Must(&otter.Options[[sha256.Size]byte, provenToken]{MaximumSize: provenMost})
	})
	return t.proven
}

// Mint gives a token for caller that lives for ttl.
func (t *Tokens) Mint(ctx context.Context, caller Caller, ttl time.Duration) (string, error) {
	now, err := t.Now(ctx, caller.Tenant)
	if err != nil {
		return "", err
	}
	kid, err := t.KeyID(ctx)
	if err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(signer{t, ctx}, claims{
		Tenant: int64(caller.Tenant),
		Scope:  strings.Join(caller.Scopes, " "),
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: tokenIssuer, Subject: caller.Subject, Audience: jwt.ClaimStrings{tokenAudience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		},
	})
	token.Header["typ"] = tokenType
	token.Header["kid"] = kid
	return token.SignedString(kid)
}

// signer lets the key stay where it is: golang-jwt asks a method to sign, and
// this one asks the key ring.
type signer struct {
	tokens *Tokens
	ctx    context.Context //nolint:containedctx // lives for one Mint; golang-jwt's interface has no context
}

func (s signer) Alg() string { return jwt.SigningMethodEdDSA.Alg() }

func (s signer) Sign(signingString string, key any) ([]byte, error) {
	signature, kid, err := s.tokens.Sign(s.ctx, []byte(signingString))
	if err == nil && kid != key {
		return nil, errors.New("the token key rotated while signing; repeat")
	}
	return signature, err
}

func (s signer) Verify(string, []byte, any) error { return jwt.ErrInvalidKeyType }

// Check gives the caller a bearer token speaks for. Every doubt is the same
// refusal: missing expiry, other issuer, audience, type or algorithm.
//
// asked is told the tenant as soon as the signature has proven it, before anything
// is read from a database: what it refuses with is the answer. It is not told
// whether the token is still due.
func (t *Tokens) Check(ctx context.Context, raw string, asked func(citygate.TenantID) error) (Caller, error) {
	c, err := t.prove(ctx, raw)
	if err != nil {
		return Caller{}, err
	}
	if err := asked(citygate.TenantID(c.Tenant)); err != nil {
		return Caller{}, err
	}
	now, err := t.Now(ctx, citygate.TenantID(c.Tenant))
	if err != nil {
		return Caller{}, err
	}
	due := jwt.NewValidator(
		jwt.WithIssuer(tokenIssuer), jwt.WithAudience(tokenAudience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(func() time.Time { return now }),
	)
	if err := due.Validate(&c); err != nil {
		return Caller{}, errToken.Because(err, "token")
	}
	caller := Caller{Subject: c.Subject, Tenant: citygate.TenantID(c.Tenant), Scopes: strings.Fields(c.Scope)}
	if c.IssuedAt != nil {
		caller.Issued = c.IssuedAt.Time
	}
	if slices.Contains(caller.Scopes, ScopePlatform) && caller.Tenant != 0 || caller.Tenant == 0 && !slices.Equal(caller.Scopes, []string{ScopePlatform}) && !slices.Equal(caller.Scopes, []string{ScopeMember}) {
		return Caller{}, errToken.Because(nil, "scope %q with tenant %d", c.Scope, c.Tenant)
	}
	return caller, nil
}

// prove gives the claims of a token that the platform signed.
func (t *Tokens) prove(ctx context.Context, raw string) (c claims, err error) {
	const longest = 8 << 10
	if raw == "" || len(raw) > longest {
		return c, errToken.Because(nil, "token of %d bytes", len(raw))
	}
	digest := sha256.Sum256([]byte(raw))
	if known, ok := t.held().GetIfPresent(digest); ok {
		if key, ok := t.Key(ctx, known.keyID); ok && key.Equal(known.key) {
			return known.claims, nil
		}
	}
	proven := provenToken{}
	// Whose clock it is that tells whether a token is due, its signature has proven by then.
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	token, err := parser.ParseWithClaims(raw, &c, func(token *jwt.Token) (any, error) {
		kid, ok := token.Header["kid"].(string)
		if !ok {
			return nil, jwt.ErrTokenUnverifiable
		}
		public, ok := t.Key(ctx, kid)
		if !ok {
			return nil, jwt.ErrTokenUnverifiable
		}
		proven.keyID, proven.key = kid, public
		return crypto.PublicKey(public), nil
	})
	if err != nil {
		return c, errToken.Because(err, "token")
	}
	if token.Header["typ"] != tokenType || c.Subject == "" || c.Tenant < 0 {
		return c, errToken.Because(nil, "type %v, subject %q, tenant %s", token.Header["typ"], c.Subject, strconv.FormatInt(c.Tenant, 10))
	}
	proven.claims = c
	t.held().Set(digest, proven)
	return c, nil
}
