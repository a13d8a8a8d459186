package fleet

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Sighting is a tap as far as it shows which bundle the terminal held.
type Sighting struct {
	Seq    uint64
	At     time.Time // event time, by the terminal's clock; zero = it was not sure of it
	Bundle uint64    // 0 = none
}

// A Report is what an upload shows of its terminal.
type Report struct {
	Software string
	Taps     []Sighting // by sequence number; of taps in a row that name one bundle the first and the last do
}

// seenEvery is how exactly seen_at is kept: a busy terminal's row is not
// written for every batch.
const seenEvery = 10 * time.Minute

const (
	selectHeld = `
		SELECT t.bundle_floor, coalesce(t.floor_seq, 0), t.floor_at, t.seen_at, t.software,
			(SELECT coalesce(max(b.version), 0) FROM bundles b WHERE b.tenant_id = $1)
		FROM terminals t WHERE t.tenant_id = $1 AND t.terminal_id = $2`
	updateHeld = `
		UPDATE terminals SET bundle_floor = $3, floor_seq = $4, floor_at = $5, seen_at = $6, software = $7
		WHERE tenant_id = $1 AND terminal_id = $2`
	countSeen = `
		SELECT count(*) FROM terminals WHERE tenant_id = $1 AND state = 'active' AND seen_at >= $2`
	// A terminal that went back acknowledged more than it holds.
	laggards = `
		SELECT ` + terminalColumns + ` FROM terminals t
		WHERE t.tenant_id = $1 AND t.state = 'active' AND t.seen_at >= $2 AND (t.bundle_floor < $3 OR EXISTS (
			SELECT FROM terminal_flags f
			WHERE f.tenant_id = $1 AND f.terminal_id = t.terminal_id AND f.flag = '` + string(BundleRollback) + `' AND f.cleared_at IS NULL))
		ORDER BY t.terminal_id LIMIT $4`
)

// held is what is known of the bundles of one terminal.
type held struct {
	floor uint64
	seq   uint64    // of the first tap known that named the floor
	at    time.Time // of that tap; zero = not known
}

// Reported notes what an upload shows of its terminal and gives what is wrong
// with it: a terminal that was set back to an old copy of its memory holds an
// old bundle, and nothing it holds itself can tell. Nothing is refused for that.
//
// Uploads come late and out of order, so a lower bundle is no fault by itself.
// It is one if the tap comes after the first one that named the floor, by its
// number or by its time: a terminal whose whole memory was set back counts its
// taps from before, but its clock goes on. A bundle above the latest published
// is nothing that can be acknowledged.
func Reported(ctx context.Context, tx *pg.Tx, id uint32, r Report) (map[Flag]string, error) {
	var h held
	var at, seen *time.Time
	var software string
	var latest uint64
	err := tx.QueryRow(ctx, selectHeld, tx.Tenant, int64(id)).Scan(&h.floor, &h.seq, &at, &seen, &software, &latest)
	if pg.IsNoRows(err) {
		return nil, nil // enrolled elsewhere: there is nothing to note it on
	}
	if err != nil {
		return nil, err
	}
	if at != nil {
		h.at = at.UTC()
	}
	before := h
	wrong := h.take(r.Taps, latest)
	if h == before && software == r.Software && seen != nil && tx.Now.Sub(*seen) < seenEvery && !tx.Now.Before(*seen) {
		return wrong, nil
	}
	if !h.at.IsZero() {
		at = &h.at
	}
	_, err = tx.Exec(ctx, updateHeld, tx.Tenant, int64(id), int64(h.floor), int64(min(h.seq, math.MaxInt64)), at, tx.Now, r.Software)
	return wrong, err
}

// take moves the floor and gives what is wrong.
func (h *held) take(taps []Sighting, latest uint64) map[Flag]string {
	wrong := map[Flag]string{}
	raise := func(f Flag, format string, args ...any) {
		if wrong[f] == "" {
			wrong[f] = fmt.Sprintf(format, args...)
		}
	}
	for _, t := range taps {
		switch {
		case t.Bundle > latest:
			raise(BundleUnknown, "tap %d names bundle %d, the latest is %d", t.Seq, t.Bundle, latest)
		case t.Bundle > h.floor:
			*h = held{t.Bundle, t.Seq, t.At}
		case t.Bundle == h.floor:
			// A late upload shows that it was held earlier than was known.
			h.seq = min(h.seq, t.Seq)
			if !t.At.IsZero() && (h.at.IsZero() || t.At.Before(h.at)) {
				h.at = t.At
			}
		case t.Seq > h.seq || !h.at.IsZero() && t.At.After(h.at):
			raise(BundleRollback, "tap %d names bundle %d after bundle %d was held at tap %d", t.Seq, t.Bundle, h.floor, h.seq)
		}
	}
	return wrong
}

// An Acknowledgement is how far a bundle has come.
type Acknowledgement struct {
	Seen     int        // active terminals that uploaded since then
	Laggards []Terminal // those of them that do not hold the bundle, as far as is known
	More     bool       // there are more laggards than were asked for
}

// laggardsMost bounds how many laggards are listed by name.
const laggardsMost = 1000

// Acknowledged tells which of the operator's terminals that were seen since an
// instant have not yet acknowledged a bundle or a later one: a tap that they
// uploaded says so. A terminal that nobody taps at acknowledges nothing, and one
// that went back counts as a laggard until its flag is cleared. A version that
// was not published yet has no terminal that acknowledged it.
func Acknowledged(ctx context.Context, tx *pg.Tx, version uint64, since time.Time) (Acknowledgement, error) {
	var a Acknowledgement
	if err := tx.QueryRow(ctx, countSeen, tx.Tenant, since).Scan(&a.Seen); err != nil {
		return a, err
	}
	found, err := terminals(ctx, tx, laggards, tx.Tenant, since, int64(min(version, math.MaxInt64)), laggardsMost+1)
	if a.More = len(found) > laggardsMost; a.More {
		found = found[:laggardsMost]
	}
	a.Laggards = found
	return a, err
}
