package explain

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of explanations that are stored.
var (
	ErrPending = &citygate.Code{Name: "explain.pending", Kind: citygate.Conflict, Title: "The decision is not signed yet. Ask again in a minute."}
	ErrErased  = &citygate.Code{Name: "explain.erased", Kind: citygate.Conflict, Title: "The ride is erased. Only who kept the file can still show it."}
	ErrChanged = &citygate.Code{Name: "explain.changed", Kind: citygate.Internal, Title: "The decision or its taps are not what was signed. Somebody changed a row; have the audit log verified."}
)

const (
	batchMax   = 2_000 // leaves of one batch: two thousand rides are signed at once
	batchesMax = 20    // of one call
)

// lookBack is how far behind the last batch a decision may have been made that was
// committed after it: transactions end within minutes.
const lookBack = 15 * time.Minute

// A Sealer signs explanations. It is safe for concurrent use, and by several
// processes on one database.
type Sealer struct {
	DB     *pg.DB
	Ring   *keys.Ring
	Random io.Reader // for salts
	// Taps gives taps with those that members of an integrated tariff handed over.
	Taps func(ctx context.Context, tx *pg.Tx, ids []citygate.TapID) ([]pricing.Tap, error)
}

// RunDue signs the decisions of a tenant that are not signed yet, up to 40,000 a
// call. A tenant with none costs one query. The same call again, or two at once,
// change nothing more.
func (s *Sealer) RunDue(ctx context.Context, tenant citygate.TenantID) error {
	for range batchesMax {
		full, err := s.seal(ctx, tenant)
		if err != nil || !full {
			return err
		}
	}
	return nil
}

// seal makes one batch. The key may be a network away, so nothing is locked while it
// signs: of two that sign at once the second finds the leaves there, and leaves.
func (s *Sealer) seal(ctx context.Context, tenant citygate.TenantID) (full bool, err error) {
	var rows []row
	var documents [][]byte
	var b Batch
	err = s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		documents = documents[:0]
		var err error
		if rows, err = unsealed(ctx, tx, batchMax); err != nil || len(rows) == 0 {
			return err
		}
		list, err := s.documents(ctx, tx, rows)
		if err != nil {
			return err
		}
		for i := range list {
			raw, err := list[i].Bytes()
			if err != nil {
				return err
			}
			documents = append(documents, raw)
		}
		b = Batch{Tenant: tenant, Size: len(rows), SealedAt: tx.Now.UTC().Truncate(time.Microsecond)}
		b.Number, err = nextNumber(ctx, tx)
		return err
	})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	leaves, salts := make([]Hash, len(rows)), make([][SaltSize]byte, len(rows))
	for i := range rows {
		if _, err := io.ReadFull(s.Random, salts[i][:]); err != nil {
			return false, err
		}
		leaves[i] = Leaf(salts[i], documents[i])
	}
	root := Root(leaves)
	b.Root = hex.EncodeToString(root[:])
	signature, err := s.sign(ctx, &b)
	if err != nil {
		return false, err
	}
	err = s.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return store(ctx, tx, &b, signature, rows, leaves, salts) })
	if pg.SQLState(err) == pg.StateUniqueViolation {
		return false, nil // another instance was faster
	}
	return len(rows) == batchMax, err
}

// sign signs a batch with the tenant's explain key, and makes the key where there
// never was one.
func (s *Sealer) sign(ctx context.Context, b *Batch) ([]byte, error) {
	kid, version, err := s.Ring.Active(ctx, b.Tenant, keys.Explain)
	if errors.Is(err, keys.ErrNotFound) {
		var made keys.Key
		made, err = s.Ring.Ensure(ctx, "system:explain", b.Tenant, keys.Explain, keys.Ed25519)
		kid, version = made.KeyID, made.Version
	}
	if err != nil {
		return nil, err
	}
	b.Key = kid
	message, err := b.message()
	if err != nil {
		return nil, err
	}
	signatures, err := s.Ring.Signer().Sign(ctx, b.Tenant, keys.Explain, version, [][]byte{message})
	if err != nil {
		return nil, err
	}
	return signatures[0].Bytes, signatures[0].Err
}

// documents makes the documents of decisions.
func (s *Sealer) documents(ctx context.Context, tx *pg.Tx, rows []row) ([]Document, error) {
	var ids []citygate.TapID
	for i := range rows {
		if rows[i].shared == 0 { // the taps of a share are named; the authority's document tells of them
			ids = append(ids, rows[i].taps...)
		}
	}
	taps := make(map[citygate.TapID]*pricing.Tap, len(ids))
	if len(ids) > 0 {
		found, err := s.Taps(ctx, tx, ids)
		if err != nil {
			return nil, err
		}
		for i := range found {
			taps[found[i].ID] = &found[i]
		}
	}
	digests, err := digestsOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	out := make([]Document, len(rows))
	for i := range rows {
		r := &rows[i]
		out[i] = Document{Tenant: tx.Tenant, Journey: r.journey.Text(pricing.Prefix), Decision: r.n, Taps: []Tap{}, Known: r.known, Reason: r.reason, Amount: r.amount,
			Currency: r.currency, Tariff: r.tariff, InputsHash: hex.EncodeToString(r.hash), EventTime: text(r.at), BusinessDate: r.date.String(),
			DecidedAt: text(r.decided), SharedBy: r.shared, Explanation: r.explanation}
		if r.shared == 0 {
			out[i].TariffDigest = digests[r.tariff]
		}
		for _, id := range r.taps {
			one := Tap{ID: id.String()}
			if t := taps[id]; t != nil {
				one.Kind, one.At, one.Stop, one.Route = kindText(t.Kind), text(time.UnixMilli(t.At)), t.Stop, t.Route
			}
			out[i].Taps = append(out[i].Taps, one)
		}
	}
	return out, nil
}

func text(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Find gives a decision of a journey, the last one if n is 0, as its document, and
// the file that proves it: [ErrPending] beside the document as long as it is not
// signed.
func (s *Sealer) Find(ctx context.Context, tx *pg.Tx, journey citygate.UUID, n int) (*Document, *File, error) {
	r, leaf, salt, number, position, err := find(ctx, tx, journey, n)
	if err != nil {
		return nil, nil, err
	}
	if number != 0 && salt == nil {
		return nil, nil, ErrErased.Because(nil, "%s", journey)
	}
	documents, err := s.documents(ctx, tx, []row{r})
	if err != nil {
		return nil, nil, err
	}
	d := &documents[0]
	if number == 0 {
		return d, nil, ErrPending.Because(nil, "%s/%d", journey, r.n)
	}
	raw, err := d.Bytes()
	if err != nil {
		return nil, nil, err
	}
	if made := Leaf([SaltSize]byte(salt), raw); made != leaf {
		if slices.ContainsFunc(d.Taps, func(t Tap) bool { return t.Kind == "" && r.shared == 0 }) {
			return nil, nil, ErrErased.Because(nil, "%s: its taps", journey)
		}
		return nil, nil, ErrChanged.Because(nil, "%s/%d", journey, r.n)
	}
	f := &File{Format: Format, Document: raw, Salt: hex.EncodeToString(salt), Index: position, Path: []string{}}
	leaves, err := batchOf(ctx, tx, number, f)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range Path(leaves, position) {
		f.Path = append(f.Path, hex.EncodeToString(h[:]))
	}
	return d, f, nil
}
