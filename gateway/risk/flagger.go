package risk

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Cursor is a place in the order in which taps were received.
type Cursor struct {
	Received time.Time
	Terminal uint32
	First    uint64
}

// A FlaggerConfig is what a [Flagger] is made of. All is required. The functions
// are called inside transactions.
type FlaggerConfig struct {
	DB *pg.DB
	// New gives proven taps received after a cursor, some at a time, where they end,
	// and whether there may be more.
	New func(ctx context.Context, tx *pg.Tx, after Cursor) (taps []Sighting, end Cursor, more bool, err error)
	// Of gives the accepted taps of riders.
	Of func(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]Sighting, error)
	// Places are what is known of travel times; nil of none.
	Places func(ctx context.Context, tx *pg.Tx) (*journey.Places, error)
	// Deny puts those of the riders on the deny list that the tenant issued credentials
	// to, for [DenyFlagged], and gives them. Lift takes them off.
	Deny func(ctx context.Context, tx *pg.Tx, riders []citygate.Rider) ([]citygate.Rider, error)
	Lift func(ctx context.Context, tx *pg.Tx, actor string, riders []citygate.Rider) error
}

// DenyFlagged is the reason of denials that follow from flags.
const DenyFlagged = "flagged"

// A Flagger finds flags in the taps that a tenant's terminals uploaded, and keeps
// them. It is safe for concurrent use.
type Flagger struct {
	config FlaggerConfig
	terms  *Book
}

// NewFlagger makes a Flagger.
func NewFlagger(c FlaggerConfig) *Flagger { return &Flagger{c, new(Book)} }

const (
	scanEvery = time.Minute
	// scanAgain is how far back a scan looks once more: a batch counts from when its
	// transaction began, and may be seen later than one that began after it.
	scanAgain = 5 * time.Minute
)

// Run looks at what a tenant's terminals uploaded since the last time. Each rider
// with a new tap is looked at whole, so that order of arrival does not matter;
// looking twice keeps nothing twice.
func (f *Flagger) Run(ctx context.Context, tenant citygate.TenantID) error {
	var at Cursor
	for first, more := true, true; more; first = false {
		err := f.config.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			more = false
			from, due, err := lockScan(ctx, tx, first)
			if err != nil || !due {
				return err
			}
			if first {
				at = Cursor{Received: from}
			}
			found, end, rest, err := f.config.New(ctx, tx, at)
			if err != nil {
				return err
			}
			if err := f.look(ctx, tx, found); err != nil {
				return err
			}
			if err := scanned(ctx, tx, end.Received); err != nil {
				return err
			}
			at, more = end, rest
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// look scans the riders of new taps.
func (f *Flagger) look(ctx context.Context, tx *pg.Tx, fresh []Sighting) error {
	if len(fresh) == 0 {
		return nil
	}
	riders := make([]citygate.Rider, len(fresh))
	for i := range fresh {
		riders[i] = fresh[i].Rider
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	riders = slices.Compact(riders)
	terms, err := f.terms.At(ctx, tx, tx.Now)
	if err != nil {
		return err
	}
	places, err := f.config.Places(ctx, tx)
	if err != nil {
		return err
	}
	earlier, err := f.config.Of(ctx, tx, riders)
	if err != nil {
		return err
	}
	// Scan keeps one of what is in both.
	kept, err := Keep(ctx, tx, Scan(append(fresh, earlier...), terms.Limits(places)))
	if err != nil {
		return err
	}
	return f.block(ctx, tx, terms, kept)
}

// block denies riders whose new flags block by the tenant's terms.
func (f *Flagger) block(ctx context.Context, tx *pg.Tx, terms *Terms, kept []Row) error {
	var riders []citygate.Rider
	for i := range kept {
		if terms.Flags != nil && slices.Contains(terms.Flags.Block, kept[i].Kind) {
			riders = append(riders, kept[i].Rider)
		}
	}
	if len(riders) == 0 {
		return nil
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	denied, err := f.config.Deny(ctx, tx, slices.Compact(riders))
	if err != nil {
		return err
	}
	var ids []citygate.UUID
	for i := range kept {
		if slices.Contains(terms.Flags.Block, kept[i].Kind) && slices.Contains(denied, kept[i].Rider) {
			ids = append(ids, kept[i].ID)
		}
	}
	return markBlocking(ctx, tx, ids)
}

// Change acknowledges or closes a flag. Closing takes the rider off the deny list
// when no other flag keeps him there. A closed flag does not change.
func (f *Flagger) Change(ctx context.Context, tx *pg.Tx, actor string, id citygate.UUID, to FlagState, reason string) (Row, error) {
	r, err := change(ctx, tx, actor, id, to, reason)
	if err != nil || to != FlagClosed || !r.Blocks {
		return r, err
	}
	others, err := blocking(ctx, tx, r.Rider)
	if err != nil || others {
		return r, err
	}
	return r, f.config.Lift(ctx, tx, actor, []citygate.Rider{r.Rider})
}
