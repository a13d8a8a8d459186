package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Life is how long a bundle is valid unless its profile says otherwise. It is
// published again in the last three quarters of that.
const Life = 30 * 24 * time.Hour

// A Policy is an encoded rule set, opaque here, with its version.
type Policy struct {
	Version uint64
	Body    []byte
}

// A Profile is what the terminals of one operator are to trust.
type Profile struct {
	Operator    citygate.TenantID
	Accepts     []citygate.TenantID // issuers besides the operator itself
	Policy      Policy              // of the operator
	MaxTTLHours uint32              // longest life of a credential of these issuers; 0 = not said
	MinBundle   uint64              // bundles below are refused from now on
	DenyFloors  []bundle.DenyFloor
	Life        time.Duration // 0 = [Life]
}

// A Published bundle, verbatim.
type Published struct {
	Version   uint64
	Body      []byte
	ETag      string // with quotes, as HTTP wants it
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// A Publisher makes and keeps trust bundles.
type Publisher struct {
	db        *pg.DB
	ring      *keys.Ring
	directory *tenants.Directory
}

// NewPublisher gives a Publisher that signs with the platform's root keys of
// ring.
func NewPublisher(db *pg.DB, ring *keys.Ring, directory *tenants.Directory) *Publisher {
	return &Publisher{db, ring, directory}
}

const (
	selectLatest = `
		SELECT version, body, etag, issued_at, expires_at FROM bundles
		WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1`
	insertBundle = `
		INSERT INTO bundles (tenant_id, version, body, etag, issued_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id, version) DO NOTHING`
)

// Latest gives an operator's newest bundle, or [ErrNoBundle].
func (p *Publisher) Latest(ctx context.Context, operator citygate.TenantID) (Published, error) {
	var got Published
	err := p.db.InTenant(ctx, operator, func(tx *pg.Tx) (err error) {
		got, err = latest(ctx, tx)
		return err
	})
	return got, err
}

func latest(ctx context.Context, tx *pg.Tx) (Published, error) {
	var b Published
	err := tx.QueryRow(ctx, selectLatest, tx.Tenant).Scan(&b.Version, &b.Body, &b.ETag, &b.IssuedAt, &b.ExpiresAt)
	if pg.IsNoRows(err) {
		return Published{}, ErrNoBundle.Explain("tenant %d", tx.Tenant)
	}
	b.IssuedAt, b.ExpiresAt = b.IssuedAt.UTC(), b.ExpiresAt.UTC()
	return b, err
}

// Roots gives the root keys a terminal is enrolled with.
func (p *Publisher) Roots(ctx context.Context) ([]bundle.RootKey, error) {
	roots, _, err := p.roots(ctx)
	return roots, err
}

// roots gives the root keys that bundles list, and those that sign: the active
// one, and the retiring ones for terminals that were away when it changed.
func (p *Publisher) roots(ctx context.Context) (listed []bundle.RootKey, signing []keys.Key, err error) {
	ring, err := p.ring.Keys(ctx, keys.Platform)
	if err != nil {
		return nil, nil, err
	}
	active := false
	for _, k := range ring {
		if k.Purpose != keys.Root || k.State == bundle.Revoked {
			continue
		}
		listed = append(listed, bundle.RootKey{Public: k.Public})
		if k.State != bundle.Published {
			signing = append(signing, k)
		}
		active = active || k.State == bundle.Active
	}
	if !active {
		return nil, nil, keys.ErrNotFound.Explain("the platform has no active root key")
	}
	return listed, signing, nil
}

// Publish makes the bundle of a profile and keeps it. Where the latest bundle
// says the same and is in the first quarter of its life that one is given back,
// so publishing twice is publishing once.
//
// The root keys sign outside any transaction. Two publishers at once make two
// bundles, one after the other.
func (p *Publisher) Publish(ctx context.Context, actor string, profile Profile) (Published, error) {
	b, held, err := p.content(ctx, profile)
	if err != nil {
		return Published{}, err
	}
	listed, signing, err := p.roots(ctx)
	if err != nil {
		return Published{}, err
	}
	b.Roots = listed
	sign := func(b *bundle.Bundle) ([]byte, error) {
		var signers []bundle.RootSigner
		for _, k := range signing {
			signers = append(signers, p.signer(ctx, k))
		}
		return bundle.Sign(b, signers...)
	}
	for {
		var last Published
		var now time.Time
		err := p.db.InTenant(ctx, profile.Operator, func(tx *pg.Tx) (err error) {
			now = tx.Now.Truncate(time.Second)
			last, err = orNone(latest(ctx, tx))
			return err
		})
		if err != nil {
			return Published{}, err
		}
		if same, err := says(last, *b, now, sign); err != nil || same {
			return last, err
		}
		b.Number, b.Issued, b.Expires = last.Version+1, now.Unix(), now.Add(life(profile)).Unix()
		b.Prev = [32]byte{}
		if last.Version > 0 {
			b.Prev = sha256.Sum256(last.Body)
		}
		raw, err := sign(b)
		if err != nil {
			return Published{}, err
		}
		next := Published{Version: b.Number, Body: raw, ETag: etag(raw), IssuedAt: now, ExpiresAt: now.Add(life(profile))}
		kept, err := p.keep(ctx, actor, profile.Operator, next, held)
		if err != nil || kept {
			return next, err
		}
		// Another publisher took the number: ours follows it or is not needed.
	}
}

func life(p Profile) time.Duration {
	if p.Life > 0 {
		return p.Life.Truncate(time.Second)
	}
	return Life
}

func etag(raw []byte) string {
	sum := sha256.Sum256(raw)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

func orNone(b Published, err error) (Published, error) {
	if errors.Is(err, ErrNoBundle) {
		return Published{}, nil
	}
	return b, err
}

// says reports whether the last bundle is young and says what b would: signed
// with the last one's number and dates it is the same bytes, as Ed25519 has no
// randomness.
func says(last Published, b bundle.Bundle, now time.Time, sign func(*bundle.Bundle) ([]byte, error)) (bool, error) {
	if last.Version == 0 || now.Sub(last.IssuedAt) > last.ExpiresAt.Sub(last.IssuedAt)/4 {
		return false, nil
	}
	held, _, err := bundle.Inspect(last.Body)
	if err != nil {
		return false, err
	}
	b.Number, b.Issued, b.Expires, b.Prev = held.Number, held.Issued, held.Expires, held.Prev
	raw, err := sign(&b)
	return bytes.Equal(raw, last.Body), err
}

func (p *Publisher) signer(ctx context.Context, k keys.Key) bundle.RootSigner {
	return bundle.RootSigner{Root: bundle.RootKey{Public: k.Public}, Sign: func(message []byte) ([]byte, error) {
		out, err := p.ring.Signer().Sign(ctx, keys.Platform, keys.Root, k.Version, [][]byte{message})
		if err != nil {
			return nil, err
		}
		return out[0].Bytes, out[0].Err
	}}
}

func (p *Publisher) keep(ctx context.Context, actor string, operator citygate.TenantID, b Published, held []keys.Key) (kept bool, err error) {
	err = p.db.InTenant(ctx, operator, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, insertBundle, tx.Tenant, int64(b.Version), b.Body, b.ETag, b.IssuedAt, b.ExpiresAt)
		if kept = tag.RowsAffected() == 1; err != nil || !kept {
			return err
		}
		if err := noteHolders(ctx, tx, b.Version, held); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "bundle.publish", Object: "bundle", After: map[string]any{"version": b.Version, "etag": b.ETag}})
	})
	return kept, err
}

// content gathers what a bundle of profile says, but for its number and dates,
// and the keys in it.
func (p *Publisher) content(ctx context.Context, profile Profile) (*bundle.Bundle, []keys.Key, error) {
	var held []keys.Key
	b := &bundle.Bundle{Threshold: 1, MinBundle: profile.MinBundle, DenyFloors: profile.DenyFloors}
	ids := append([]citygate.TenantID{profile.Operator}, profile.Accepts...)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		t, err := p.directory.ByID(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		entry := bundle.Tenant{ID: t.ID, Issuer: t.Issuer, Name: t.Name, Currency: t.Currency}
		if t.Issuer != 0 {
			entry.CapUnit, entry.MaxTTLHours = t.CapUnit, profile.MaxTTLHours
		}
		if id == profile.Operator {
			entry.Home, entry.Policy, entry.PolicyVersion = true, profile.Policy.Body, profile.Policy.Version
		}
		b.Tenants = append(b.Tenants, entry)
		ring, err := p.ring.Keys(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		for _, k := range ring {
			usage := k.Purpose.Usage()
			if usage == 0 || t.Issuer == 0 && usage != bundle.ForPolicy {
				continue
			}
			b.Keys, held = append(b.Keys, k.Entry(t.Issuer)), append(held, k)
		}
	}
	return b, held, nil
}
