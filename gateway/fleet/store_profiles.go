package fleet

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A TerminalProfile is what one terminal does otherwise than its operator's policy
// says: see [bundle.TerminalProfile]. The zero value is no profile.
type TerminalProfile struct {
	Mode         string          `json:"mode,omitempty" maxLength:"64" doc:"mode of transport, as the policy names it; absent: as the terminal was set up"`
	Stop         string          `json:"stop,omitempty" maxLength:"64" doc:"where it stands, if its software does not say"`
	Route        string          `json:"route,omitempty" maxLength:"64" doc:"which route it serves, if its software does not say"`
	Kinds        []string        `json:"kinds,omitempty" enum:"on,off,single" maxItems:"3" doc:"kinds of taps that it takes; absent: all that the policy allows"`
	MaxFareMinor int64           `json:"max_fare_minor,omitempty" minimum:"0" doc:"highest fare that it takes, in minor units of the operator's currency; absent: any"`
	Schemes      []code.SchemeID `json:"schemes,omitempty" maxItems:"32" doc:"code schemes that it takes; absent: all that the policy allows"`
	Features     []string        `json:"features,omitempty" maxItems:"32" doc:"words for the terminal's software"`
}

// kindNumbers are those of tap records.
var kindNumbers = map[string]uint8{"on": 1, "off": 2, "single": 3}

// entry gives p as a bundle carries it, for these terminals.
func (p TerminalProfile) entry(terminals ...uint32) (bundle.TerminalProfile, error) {
	e := bundle.TerminalProfile{
		Terminals: terminals, Mode: p.Mode, Stop: p.Stop, Route: p.Route, MaxFareMinor: p.MaxFareMinor,
		Schemes: sorted(p.Schemes), Features: sorted(p.Features),
	}
	for _, name := range p.Kinds {
		n, ok := kindNumbers[name]
		if !ok {
			return e, ErrInvalid.Explain("kind %q: want on, off or single", name)
		}
		e.Kinds = append(e.Kinds, n)
	}
	e.Kinds = sorted(e.Kinds)
	if err := e.Check(); err != nil {
		return e, ErrInvalid.Explain("%v", err)
	}
	return e, nil
}

func sorted[T ~string | ~uint8](s []T) []T {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

func (p TerminalProfile) empty() bool {
	return p.Mode == "" && p.Stop == "" && p.Route == "" && len(p.Kinds) == 0 && p.MaxFareMinor == 0 && len(p.Schemes) == 0 && len(p.Features) == 0
}

const (
	// A mode that a terminal was given once stays one of its modes.
	upsertProfile = `
		INSERT INTO terminal_profiles AS p (tenant_id, terminal_id, body, modes, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, terminal_id) DO UPDATE
		SET body = excluded.body, modes = ARRAY(SELECT DISTINCT m FROM unnest(p.modes || excluded.modes) AS u (m) ORDER BY m), updated_at = excluded.updated_at`
	selectProfiles = `SELECT terminal_id, body, modes FROM terminal_profiles WHERE tenant_id = $1 AND terminal_id = ANY ($2::bigint[]) ORDER BY terminal_id`
	listProfiles   = `SELECT terminal_id, body, modes FROM terminal_profiles WHERE tenant_id = $1 ORDER BY terminal_id`
)

// A heldProfile is a profile as it is stored.
type heldProfile struct {
	terminal uint32
	profile  TerminalProfile
	modes    []string
}

func profiles(ctx context.Context, tx *pg.Tx, sql string, args ...any) ([]heldProfile, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (heldProfile, error) {
		var h heldProfile
		var body []byte
		err := row.Scan(&h.terminal, &body, &h.modes)
		if err == nil {
			err = json.Unmarshal(body, &h.profile)
		}
		return h, err
	})
}

// SetProfile gives a terminal a profile, the zero value none. Its next bundle
// carries it: [Publisher.Renew].
func (f *Fleet) SetProfile(ctx context.Context, actor string, tenant citygate.TenantID, id uint32, p TerminalProfile) error {
	if _, err := p.entry(max(id, 1)); err != nil {
		return err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	modes := []string{}
	if p.Mode != "" {
		modes = append(modes, p.Mode)
	}
	return f.db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if _, err := Get(ctx, tx, id); err != nil {
			return err
		}
		before, err := profiles(ctx, tx, selectProfiles, tx.Tenant, wide([]uint32{id}))
		if err != nil {
			return err
		}
		var was TerminalProfile
		if len(before) > 0 {
			was = before[0].profile
		}
		if old, err := json.Marshal(was); err != nil || string(old) == string(body) {
			return err
		}
		if _, err := tx.Exec(ctx, upsertProfile, tx.Tenant, int64(id), body, modes, tx.Now); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "terminal.profile", Object: terminalName(id), Before: was, After: p})
	})
}

// Profiles gives the profiles of those of the named terminals that have one.
func Profiles(ctx context.Context, tx *pg.Tx, ids ...uint32) (map[uint32]TerminalProfile, error) {
	held, err := profiles(ctx, tx, selectProfiles, tx.Tenant, wide(ids))
	out := make(map[uint32]TerminalProfile, len(held))
	for _, h := range held {
		if !h.profile.empty() {
			out[h.terminal] = h.profile
		}
	}
	return out, err
}

// ModesOf gives every mode that a terminal's profiles ever named. Taps come late,
// and a terminal goes on with the bundle it has: they are judged under each.
func ModesOf(ctx context.Context, tx *pg.Tx, id uint32) ([]string, error) {
	held, err := profiles(ctx, tx, selectProfiles, tx.Tenant, wide([]uint32{id}))
	if err != nil || len(held) == 0 {
		return nil, err
	}
	return held[0].modes, nil
}

// profileEntries gives the operator's profiles as a bundle carries them: terminals
// with equal ones share an entry.
func profileEntries(ctx context.Context, tx *pg.Tx) ([]bundle.TerminalProfile, error) {
	held, err := profiles(ctx, tx, listProfiles, tx.Tenant)
	if err != nil {
		return nil, err
	}
	var out []bundle.TerminalProfile
	place := map[string]int{}
	for _, h := range held {
		if h.profile.empty() {
			continue
		}
		e, err := h.profile.entry(h.terminal)
		if err != nil {
			return nil, err
		}
		e.Terminals = nil
		key, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		i, ok := place[string(key)]
		if !ok {
			i, place[string(key)] = len(out), len(out)
			out = append(out, e)
		}
		out[i].Terminals = append(out[i].Terminals, h.terminal)
	}
	return out, nil
}
