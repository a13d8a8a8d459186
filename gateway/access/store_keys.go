package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// KeyPrefix starts every API key, so that scanners of leaked secrets find them.
const KeyPrefix = "cgk_"

// Limits of API keys.
const (
	keysMost    = 500 // live ones of a tenant
	keyLongest  = 2 * 366 * 24 * time.Hour
	noteUseNot  = 5 * time.Minute // a use is written down this often
	secretBytes = 32
)

// An APIKey is a key of a tenant without its secret.
type APIKey struct {
	Tenant     citygate.TenantID
	ID         citygate.UUID
	Name       string
	Owner      string   // the member it speaks for
	Scopes     []string // permissions, with wildcards
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt *time.Time
	RevokedAt  *time.Time
}

// Prefix is what a key begins with: enough to tell which one it is, and no
// secret.
func (k APIKey) Prefix() string {
	return fmt.Sprintf("%s%d_%s", KeyPrefix, k.Tenant, hex.EncodeToString(k.ID[:]))
}

const (
	insertKey = `
		INSERT INTO access_keys (tenant_id, key_id, name, owner, scopes, hash, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT DO NOTHING`
	revokeKey = `UPDATE access_keys SET revoked_at = $3 WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL`
	noteUse   = `UPDATE access_keys SET last_used_at = $3 WHERE tenant_id = $1 AND key_id = $2 AND (last_used_at IS NULL OR last_used_at < $3)`
)

// CreateKey makes an API key for a member and gives its text, which is shown
// once: only its hash is kept. A key never does more than its owner may.
func (g *Guard) CreateKey(ctx context.Context, actor string, tenant citygate.TenantID, owner, name string, scopes []string, life time.Duration) (APIKey, citygate.Secret, error) {
	if name == "" || len(scopes) == 0 {
		return APIKey{}, citygate.Secret{}, ErrInvalid.Explain("a key has a name and at least one scope, such as money.read")
	}
	if life < time.Minute || life > keyLongest {
		return APIKey{}, citygate.Secret{}, ErrInvalid.Explain("life: want between a minute and %d days", keyLongest/(24*time.Hour))
	}
	for _, text := range scopes {
		if _, err := authz.ParsePermission(text); err != nil {
			return APIKey{}, citygate.Secret{}, err
		}
	}
	raw, err := g.secret(secretBytes)
	if err != nil {
		return APIKey{}, citygate.Secret{}, err
	}
	hash := sha256.Sum256(raw)
	k := APIKey{Tenant: tenant, Name: name, Owner: owner, Scopes: scopes}
	err = g.change(ctx, tenant, func(tx *pg.Tx) error {
		s, err := g.read(ctx, tx)
		if err != nil {
			return err
		}
		if _, ok := s.members[owner]; !ok {
			return ErrNotFound.Explain("owner %q is no member: a key speaks for a person", owner)
		}
		if len(s.keys) >= keysMost {
			return ErrInvalid.Explain("the tenant has %d keys: revoke some", len(s.keys))
		}
		k.ID, k.CreatedAt, k.ExpiresAt = tx.NewID(), tx.Now, tx.Now.Add(life)
		if _, err := tx.Exec(ctx, of(tx, insertKey), tenant, k.ID, name, owner, scopes, hash[:], k.CreatedAt, k.ExpiresAt); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "api_key.create", Object: k.Prefix(), After: map[string]any{
			"name": name, "owner": owner, "scopes": scopes, "expires": k.ExpiresAt,
		}})
	})
	return k, citygate.NewSecret([]byte(k.Prefix() + "_" + base64.RawURLEncoding.EncodeToString(raw))), err
}

func (g *Guard) secret(n int) ([]byte, error) {
	g.random.Lock()
	defer g.random.Unlock()
	raw := make([]byte, n)
	_, err := io.ReadFull(g.Random, raw)
	return raw, err
}

// RevokeKey takes an API key back for good. Revoking it again changes nothing.
func (g *Guard) RevokeKey(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) error {
	return g.change(ctx, tenant, func(tx *pg.Tx) error {
		keys, err := apiKeys(ctx, tx, oneKey, tenant, id)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return ErrNotFound.Because(nil, "key %s", id)
		}
		k := keys[0]
		if _, err := tx.Exec(ctx, of(tx, revokeKey), tenant, id, tx.Now); err != nil || k.RevokedAt != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "api_key.revoke", Object: k.Prefix(), Before: map[string]any{"owner": k.Owner, "scopes": k.Scopes}})
	})
}

const (
	pageKeys = `
		SELECT key_id, name, owner, scopes, hash, created_at, expires_at, last_used_at, revoked_at FROM access_keys
		WHERE tenant_id = $1 AND ($2::uuid IS NULL OR key_id > $2) AND ($3 = '' OR owner = $3) AND
			($4 = '' OR CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= $5 THEN 'expired' ELSE 'usable' END = $4)
		ORDER BY key_id LIMIT $6`
	oneKey = `
		SELECT key_id, name, owner, scopes, hash, created_at, expires_at, last_used_at, revoked_at FROM access_keys
		WHERE tenant_id = $1 AND key_id = $2 FOR UPDATE`
)

// KeysAfter gives API keys that a tenant ever had, oldest first, behind one; those
// of an owner and in a state (usable, expired, revoked), "" for any.
func (g *Guard) KeysAfter(ctx context.Context, tenant citygate.TenantID, owner, state string, after *citygate.UUID, limit int) (page []APIKey, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		page = nil
		found, err := apiKeys(ctx, tx, pageKeys, tx.Tenant, after, owner, state, tx.Now, limit)
		for _, k := range found {
			page = append(page, k.APIKey)
		}
		return err
	})
	return page, err
}

// KeyCaller gives who an API key speaks for. Every doubt is the same refusal.
//
// asked is told the tenant as soon as the secret has proven it, before the tenant's
// clock is read: what it refuses with is the answer. It is not told whether the key
// still counts.
func (g *Guard) KeyCaller(ctx context.Context, text string, asked func(citygate.TenantID) error) (Caller, error) {
	tenant, id, raw, ok := parseKey(text)
	if !ok {
		return Caller{}, ErrToken.Because(nil, "not the form of an API key")
	}
	if err := g.known(ctx, tenant); err != nil {
		return Caller{}, err
	}
	s, err := g.current(ctx, tenant)
	if err != nil {
		return Caller{}, err
	}
	hash := sha256.Sum256(raw)
	k, known := s.keys[id]
	if !known && g.lookAgain(ctx) { // it may have been made at another instance just now
		if s, err = g.current(ctx, tenant); err != nil {
			return Caller{}, err
		}
		k, known = s.keys[id]
	}
	if !known || subtle.ConstantTimeCompare(hash[:], k.hash[:]) != 1 {
		return Caller{}, ErrToken.Because(nil, "API key of tenant %d", tenant)
	}
	if err := asked(tenant); err != nil {
		return Caller{}, err
	}
	c := Caller{Subject: "key:" + hex.EncodeToString(id[:]) + "/" + k.Owner, Tenant: tenant, Key: id, KeyScopes: k.scopes, Owner: k.Owner}
	now, err := g.DB.NowOf(ctx, tenant)
	if err != nil {
		return Caller{}, err
	}
	if err := s.admits(c, now); err != nil {
		return Caller{}, err
	}
	g.use(ctx, tenant, k, now.Unix())
	return c, nil
}

// use writes down that a key was used, now and then. That it cannot be is no
// reason to refuse.
func (g *Guard) use(ctx context.Context, tenant citygate.TenantID, k *heldKey, now int64) {
	noted := k.noted.Load()
	if now-noted < int64(noteUseNot/time.Second) || !k.noted.CompareAndSwap(noted, now) {
		return
	}
	_ = g.within(ctx, tenant, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, of(tx, noteUse), tenant, k.ID, tx.Now)
		return err
	})
}

// parseKey takes cgk_<tenant>_<id>_<secret> apart.
func parseKey(text string) (tenant citygate.TenantID, id citygate.UUID, secret []byte, ok bool) {
	rest, ok := strings.CutPrefix(text, KeyPrefix)
	parts := strings.SplitN(rest, "_", 3)
	if !ok || len(parts) != 3 || len(text) > 128 {
		return 0, id, nil, false
	}
	n, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != parts[0] {
		return 0, id, nil, false
	}
	if id, err = citygate.ParseUUID("", parts[1]); err != nil || hex.EncodeToString(id[:]) != parts[1] {
		return 0, id, nil, false
	}
	secret, err = base64.RawURLEncoding.Strict().DecodeString(parts[2])
	return citygate.TenantID(n), id, secret, err == nil && len(secret) == secretBytes
}
