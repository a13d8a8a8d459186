package fleet

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// ErrNoRoots says that nobody can sign bundles yet.
var ErrNoRoots = &citygate.Code{Name: "fleet.no_roots", Kind: citygate.NotFound, Title: "The platform has no root set yet. Start the gateway once, or import the first root set before that."}

const (
	selectRootSets = `SELECT body FROM platform.root_sets ORDER BY version DESC LIMIT $1`
	insertRootSet  = `INSERT INTO platform.root_sets (version, body, recorded_at) VALUES ($1, $2, $3) ON CONFLICT (version) DO NOTHING`
)

// localRoots is how many root keys a gateway makes that was given none.
const localRoots = 3

// Roots gives the root set that signs bundles now: a terminal is enrolled with
// its roots and threshold.
func (p *Publisher) Roots(ctx context.Context) (bundle.RootSet, error) {
	set, _, err := p.rootSets(ctx)
	return set, err
}

// rootSets gives the newest root set, and the sets as bundles carry them.
func (p *Publisher) rootSets(ctx context.Context) (newest bundle.RootSet, chain [][]byte, err error) {
	err = p.db.InSystem(ctx, func(tx *pg.Tx) error {
		rows, err := tx.Query(ctx, selectRootSets, bundle.RootSetsMax)
		if err != nil {
			return err
		}
		chain, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		return err
	})
	switch {
	case err != nil:
		return newest, nil, err
	case len(chain) == 0:
		return newest, nil, ErrNoRoots
	}
	slices.Reverse(chain)
	newest, err = bundle.OpenRoots(chain)
	return newest, chain, err
}

// EnsureRoots gives the root set, and makes one where there is none: three root
// keys in the gateway's own key store, of which two sign. That is for a
// gateway that has to renew its bundles by itself; who opens its key store has
// all three. Offline roots take over by [Publisher.ImportRoots].
func (p *Publisher) EnsureRoots(ctx context.Context, actor string) (bundle.RootSet, error) {
	set, err := p.Roots(ctx)
	if !errors.Is(err, ErrNoRoots) {
		return set, err
	}
	signer := p.ring.Signer()
	if err := signer.Create(ctx, keys.Platform, keys.Root, keys.Ed25519); err != nil {
		return set, err
	}
	versions, err := signer.Versions(ctx, keys.Platform, keys.Root)
	for err == nil && len(versions) < localRoots {
		if _, err = signer.Rotate(ctx, keys.Platform, keys.Root); err == nil {
			versions, err = signer.Versions(ctx, keys.Platform, keys.Root)
		}
	}
	if err != nil {
		return set, err
	}
	var signers []bundle.RootSigner
	var public []bundle.RootKey
	for _, v := range versions[len(versions)-localRoots:] {
		root, err := rootKey(v)
		if err != nil {
			return set, err
		}
		signers, public = append(signers, p.signer(ctx, v.Version, root)), append(public, root)
	}
	err = p.db.InSystem(ctx, func(tx *pg.Tx) (err error) {
		set, err = bundle.NextRoots(nil, tx.Now.Unix(), bundle.ThresholdMin, public...)
		return err
	})
	if err != nil {
		return set, err
	}
	draft, err := set.Prepare()
	if err != nil {
		return set, err
	}
	raw, err := bundle.Cosign(draft, signers...)
	if err != nil {
		return set, err
	}
	if err := p.keepRoots(ctx, actor, raw); err != nil && !errors.Is(err, ErrConflict) { // another process was first
		return set, err
	}
	return p.Roots(ctx)
}

// ImportRoots takes over a root set that was made elsewhere: the first, or the
// one that follows the newest, signed by a threshold of both. With cosign the
// roots in the gateway's own key store sign as well if the set before is theirs:
// so offline roots take over without any terminal being enrolled again. The set
// that is there already changes nothing.
func (p *Publisher) ImportRoots(ctx context.Context, actor string, raw []byte, cosign bool) (bundle.RootSet, error) {
	set, err := bundle.InspectRoots(raw)
	if err != nil {
		return set, err
	}
	newest, chain, err := p.rootSets(ctx)
	switch {
	case errors.Is(err, ErrNoRoots):
		if set.Version != 1 {
			return set, bundle.ErrForked.Explain("root set %d cannot be the first: import set 1 before it", set.Version)
		}
	case err != nil:
		return set, err
	case set.Version == newest.Version && set.Digest() == newest.Digest():
		return newest, nil
	}
	if cosign && newest.Version > 0 {
		signers, err := p.localSigners(ctx, newest)
		if err != nil {
			return set, err
		}
		if len(signers) == 0 {
			return set, ErrNoRoots.Explain("none of the roots of set %d is in this gateway's key store", newest.Version)
		}
		if raw, err = bundle.Cosign(raw, signers...); err != nil {
			return set, err
		}
	}
	if set, err = bundle.OpenRoots(append(chain[max(0, len(chain)-bundle.RootSetsMax+1):], raw)); err != nil {
		return set, err
	}
	return set, p.keepRoots(ctx, actor, raw)
}

func (p *Publisher) keepRoots(ctx context.Context, actor string, raw []byte) error {
	set, err := bundle.InspectRoots(raw)
	if err != nil {
		return err
	}
	return p.db.InSystem(ctx, func(tx *pg.Tx) error {
		tag, err := tx.Exec(ctx, insertRootSet, int64(set.Version), raw, tx.Now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict.Explain("there is a root set %d by now", set.Version)
		}
		names := make([]string, len(set.Roots))
		for i, r := range set.Roots {
			names[i] = hex.EncodeToString(r.Public)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "roots.trust", Object: "roots", After: map[string]any{"version": set.Version, "threshold": set.Threshold, "roots": names}})
	})
}

// localSigners gives those roots of set that the gateway's own key store holds.
// With offline roots there are none.
func (p *Publisher) localSigners(ctx context.Context, set bundle.RootSet) ([]bundle.RootSigner, error) {
	signer := p.ring.Signer()
	if signer == nil {
		return nil, nil // a process without keys
	}
	versions, err := signer.Versions(ctx, keys.Platform, keys.Root)
	if errors.Is(err, keys.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var signers []bundle.RootSigner
	for _, v := range versions {
		root, err := rootKey(v)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(set.Roots, func(r bundle.RootKey) bool { return bytes.Equal(r.Public, root.Public) }) {
			signers = append(signers, p.signer(ctx, v.Version, root))
		}
	}
	return signers, nil
}

func rootKey(v keys.Version) (bundle.RootKey, error) {
	algorithm, public, err := bundle.EncodePublic(v.Public)
	if err == nil && algorithm != bundle.Ed25519 {
		err = keys.ErrConflict.Explain("root key %d is %s: roots are Ed25519", v.Version, algorithm)
	}
	return bundle.RootKey{Public: public}, err
}

func (p *Publisher) signer(ctx context.Context, version int, root bundle.RootKey) bundle.RootSigner {
	return bundle.RootSigner{Root: root, Sign: func(message []byte) ([]byte, error) {
		out, err := p.ring.Signer().Sign(ctx, keys.Platform, keys.Root, version, [][]byte{message})
		if err != nil {
			return nil, err
		}
		return out[0].Bytes, out[0].Err
	}}
}
