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
	Fares       []byte              // what its readers may know of its prices
	MaxTTLHours uint32              // longest life of a credential of these issuers; 0 = not said
	Schemes     []bundle.Scheme     // entries of code schemes besides our own
	MinBundle   uint64              // bundles below are refused from now on
	DenyFloors  []bundle.DenyFloor
	Life        time.Duration // 0 = [Life]
}

// A Published bundle, verbatim. A draft is not in force: too few roots signed
// it yet.
type Published struct {
	Version   uint64
	Body      []byte
	ETag      string // with quotes, as HTTP wants it
	IssuedAt  time.Time
	ExpiresAt time.Time
	Draft     bool
}

// A Publisher makes and keeps trust bundles.
type Publisher struct {
	db        *pg.DB
	ring      *keys.Ring
	directory *tenants.Directory
}

// NewPublisher gives a Publisher that signs with those of the platform's roots
// that ring's signer holds.
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

// Open opens a published bundle for the gateway's own use, under the root set
// that was in force for it. Terminals refuse one that has expired; here it goes
// on to count: taps that were taken in time are still to be verified, and
// waiting for offline roots must not stop intake.
func (p *Publisher) Open(ctx context.Context, b Published) (*bundle.Bundle, error) {
	seen, _, err := bundle.Inspect(b.Body)
	if err != nil {
		return nil, err
	}
	_, chain, err := p.rootSets(ctx)
	if err != nil {
		return nil, err
	}
	named := seen.RootSet()
	for _, raw := range chain {
		set, err := bundle.InspectRoots(raw)
		if err != nil {
			return nil, err
		}
		if set.Version == named.Version && set.Digest() == named.Digest() {
			return bundle.Open(b.Body, set.Roots, int(set.Threshold), seen.Issued, 0)
		}
	}
	return nil, bundle.ErrNotTrusted.Explain("bundle %d is signed by a root set %d that this gateway does not know", b.Version, named.Version)
}

// Publish makes the next bundle of a profile. Where the roots that sign are in
// the gateway's own key store it is in force at once. Where they are offline it
// is kept as a draft: the one before stays in force until enough signatures were
// imported.
//
// Where the latest bundle or draft says the same and is in the first quarter of
// its life that one is given back, so publishing twice is publishing once. A
// bundle that holders of the latest would refuse is refused here.
//
// The roots sign outside any transaction. Two publishers at once make two
// bundles, one after the other.
func (p *Publisher) Publish(ctx context.Context, actor string, profile Profile) (Published, error) {
	b, err := p.content(ctx, profile)
	if err != nil {
		return Published{}, err
	}
	roots, chain, err := p.rootSets(ctx)
	if err != nil {
		return Published{}, err
	}
	b.RootSets = chain
	for {
		var last, draft Published
		var now time.Time
		err := p.db.InTenant(ctx, profile.Operator, func(tx *pg.Tx) (err error) {
			now = tx.Now.Truncate(time.Second)
			if last, err = orNone(latest(ctx, tx)); err == nil {
				draft, err = orNone(drafted(ctx, tx))
			}
			return err
		})
		if err != nil {
			return Published{}, err
		}
		if same, err := says(last, *b, now); err != nil || same {
			return last, errors.Join(err, p.discard(ctx, profile.Operator, draft))
		}
		same, err := says(draft, *b, now)
		if err != nil {
			return Published{}, err
		}
		if same && draft.Version == last.Version+1 {
			next, err := p.sign(ctx, draft, roots)
			if err != nil || next.Draft {
				return next, err
			}
			if kept, err := p.keep(ctx, actor, profile.Operator, last, next); err != nil || kept {
				return next, err
			}
			continue
		}
		b.Number, b.Issued, b.Expires, b.Prev = last.Version+1, now.Unix(), now.Add(life(profile)).Unix(), [32]byte{}
		if last.Version > 0 {
			if b.Prev, err = digest(last.Body); err != nil {
				return Published{}, err
			}
		}
		raw, err := b.Prepare()
		if err != nil {
			return Published{}, err
		}
		next := Published{Version: b.Number, Body: raw, IssuedAt: now, ExpiresAt: now.Add(life(profile))}
		if next, err = p.sign(ctx, next, roots); err != nil {
			return Published{}, err
		}
		kept, err := p.keep(ctx, actor, profile.Operator, last, next)
		if err != nil || kept {
			return next, err
		}
		// Another publisher took the number: ours follows it or is not needed.
	}
}

// sign has the roots at hand sign b, no more of them than the threshold needs.
// Where they are too few b stays a draft.
func (p *Publisher) sign(ctx context.Context, b Published, roots bundle.RootSet) (Published, error) {
	_, have, err := bundle.Inspect(b.Body)
	if err != nil {
		return Published{}, err
	}
	signers, err := p.localSigners(ctx, roots)
	if err != nil {
		return Published{}, err
	}
	signers = slices.DeleteFunc(signers, func(s bundle.RootSigner) bool { return slices.Contains(have, s.Root.ID()) })
	signers = signers[:max(0, min(len(signers), int(roots.Threshold)-len(have)))]
	if len(signers) > 0 {
		if b.Body, err = bundle.Cosign(b.Body, signers...); err != nil {
			return Published{}, err
		}
	}
	b.ETag, b.Draft = etag(b.Body), len(have)+len(signers) < int(roots.Threshold)
	return b, nil
}

// Renew publishes an operator's bundle again under the profile it has, with the
// keys of today. Nothing happens where that says the same as before.
func (p *Publisher) Renew(ctx context.Context, actor string, operator citygate.TenantID) (Published, error) {
	profile, err := p.Profile(ctx, operator)
	if err != nil {
		return Published{}, err
	}
	return p.Publish(ctx, actor, profile)
}

// Profile gives what an operator's terminals are to trust, as it was said last:
// in the draft if there is one, else in the bundle in force.
func (p *Publisher) Profile(ctx context.Context, operator citygate.TenantID) (Profile, error) {
	var newest Published
	err := p.db.InTenant(ctx, operator, func(tx *pg.Tx) (err error) {
		if newest, err = drafted(ctx, tx); errors.Is(err, ErrNoBundle) {
			newest, err = latest(ctx, tx)
		}
		return err
	})
	if err != nil {
		return Profile{}, err
	}
	b, _, err := bundle.Inspect(newest.Body)
	if err != nil {
		return Profile{}, err
	}
	profile := Profile{Operator: operator, Schemes: b.Schemes, MinBundle: b.MinBundle, DenyFloors: b.DenyFloors}
	for _, t := range b.Tenants {
		if t.ID == operator {
			profile.Policy, profile.Fares = Policy{Version: t.PolicyVersion, Body: t.Policy}, t.Fares
		} else {
			profile.Accepts = append(profile.Accepts, t.ID)
		}
		profile.MaxTTLHours = max(profile.MaxTTLHours, t.MaxTTLHours)
	}
	return profile, nil
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

// says reports whether last is young and says what b would with its number and
// dates.
func says(last Published, b bundle.Bundle, now time.Time) (bool, error) {
	if last.Version == 0 || now.Sub(last.IssuedAt) > last.ExpiresAt.Sub(last.IssuedAt)/4 {
		return false, nil
	}
	held, _, err := bundle.Inspect(last.Body)
	if err != nil {
		return false, err
	}
	b.Number, b.Issued, b.Expires, b.Prev = held.Number, held.Issued, held.Expires, held.Prev
	ours, err := b.Prepare()
	if err != nil {
		return false, err
	}
	theirs, err := held.Prepare()
	return bytes.Equal(ours, theirs), err
}

// digest is how the next bundle names raw.
func digest(raw []byte) ([32]byte, error) {
	b, _, err := bundle.Inspect(raw)
	if err != nil {
		return [32]byte{}, err
	}
	return b.Digest(), nil
}

// follows refuses a signed bundle that a terminal with the last one would
// refuse.
func follows(last, next Published) error {
	if last.Version == 0 {
		return nil
	}
	held, _, err := bundle.Inspect(last.Body)
	if err != nil {
		return err
	}
	_, err = held.Follow(next.Body, next.IssuedAt.Unix())
	return err
}

// keep stores next behind last, as a draft or in force, unless another
// publisher was faster.
func (p *Publisher) keep(ctx context.Context, actor string, operator citygate.TenantID, last, next Published) (kept bool, err error) {
	if !next.Draft {
		if err := follows(last, next); err != nil {
			return false, err
		}
	}
	err = p.db.InTenant(ctx, operator, func(tx *pg.Tx) error {
		entry := pg.AuditEntry{Actor: actor, Verb: "bundle.publish", Object: "bundle", After: map[string]any{"version": next.Version, "etag": next.ETag}}
		if next.Draft {
			entry.Verb = "bundle.prepare"
			newest, err := orNone(latest(ctx, tx))
			if kept = newest.Version == last.Version; err != nil || !kept {
				return err
			}
			if _, err := tx.Exec(ctx, upsertDraft, tx.Tenant, int64(next.Version), next.Body, tx.Now); err != nil {
				return err
			}
			return tx.Audit(ctx, entry)
		}
		kept, err = put(ctx, tx, entry, next)
		return err
	})
	return kept, err
}

// put stores a bundle that is in force from now on, and drops the draft.
func put(ctx context.Context, tx *pg.Tx, entry pg.AuditEntry, b Published) (kept bool, err error) {
	tag, err := tx.Exec(ctx, insertBundle, tx.Tenant, int64(b.Version), b.Body, b.ETag, b.IssuedAt, b.ExpiresAt)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	if _, err := tx.Exec(ctx, deleteDraft, tx.Tenant); err != nil {
		return false, err
	}
	if err := noteHolders(ctx, tx, b); err != nil {
		return false, err
	}
	return true, tx.Audit(ctx, entry)
}

// content gathers what a bundle of profile says, but for its number and dates.
func (p *Publisher) content(ctx context.Context, profile Profile) (*bundle.Bundle, error) {
	b := &bundle.Bundle{Schemes: profile.Schemes, MinBundle: profile.MinBundle, DenyFloors: profile.DenyFloors}
	ids := append([]citygate.TenantID{profile.Operator}, profile.Accepts...)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		t, err := p.directory.ByID(ctx, id)
		if err != nil {
			return nil, err
		}
		entry := bundle.Tenant{ID: t.ID, Issuer: t.Issuer, Name: t.Name, Currency: t.Currency}
		if t.Issuer != 0 {
			entry.CapUnit, entry.MaxTTLHours = t.CapUnit, profile.MaxTTLHours
		}
		if id == profile.Operator {
			entry.Home, entry.Policy, entry.PolicyVersion, entry.Fares = true, profile.Policy.Body, profile.Policy.Version, profile.Fares
		}
		b.Tenants = append(b.Tenants, entry)
		ring, err := p.ring.Keys(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, k := range ring {
			usage := k.Purpose.Usage()
			if usage == 0 || t.Issuer == 0 && usage != bundle.ForPolicy {
				continue
			}
			b.Keys = append(b.Keys, k.Entry(t.Issuer))
		}
	}
	err := p.db.InTenant(ctx, profile.Operator, func(tx *pg.Tx) (err error) {
		b.Profiles, err = profileEntries(ctx, tx)
		return err
	})
	return b, err
}
