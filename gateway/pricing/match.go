package pricing

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// The states of a stored journey.
const (
	stateOpen     = "open"
	statePriced   = "priced"
	StateSetAside = "set_aside" // its fare is unknown, the reason says why
	stateEmpty    = "empty"
)

// A stored journey is what its row says.
type stored struct {
	id      citygate.UUID
	rider   citygate.Rider
	paired  bool
	at      int64 // unix milliseconds of its first and last tap
	ends    int64
	taps    []citygate.TapID
	state   string
	reason  string
	closes  int64 // unix milliseconds; 0 unless open
	lastN   int
	amount  int64 // what is posted for it
	payee   string
	account citygate.UUID
	claimed bool // an issuer knows it
	reading string

	rank int // place in the order of match
}

// A change is a journey as it should be: built from the taps, and the row it
// belongs to if there is one. A built journey without taps is one that lost them.
type change struct {
	id    citygate.UUID
	old   *stored
	built journey.Journey
}

func compareID(a, b citygate.TapID) int {
	return cmp.Or(cmp.Compare(a.Terminal, b.Terminal), cmp.Compare(a.Seq, b.Seq))
}

// journeyID is the id of a journey that starts with t: the k-th that ever did.
func journeyID(tenant citygate.TenantID, t *journey.Tap, k int) citygate.UUID {
	var room [64]byte
	b := append(room[:0], "journey "...)
	b = binary.BigEndian.AppendUint64(b, uint64(tenant))
	b = binary.BigEndian.AppendUint32(b, t.ID.Terminal)
	b = binary.BigEndian.AppendUint64(b, t.ID.Seq)
	b = binary.BigEndian.AppendUint32(b, uint32(k))
	sum := sha256.Sum256(b)
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(t.At, 0)))
	var u citygate.UUID
	copy(u[:6], ms[2:])
	copy(u[6:], sum[:])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return u
}

// match gives every built journey its row, or a new id, and every row that lost
// all its taps an empty journey. Rows and journeys are of any number of riders;
// built is in the order of [journey.Build]. Among the rows that share a tap with
// a journey the one that starts first wins.
func match(tenant citygate.TenantID, rows []stored, built []journey.Journey) []change {
	order := make([]*stored, len(rows))
	used := make(map[citygate.UUID]bool, len(rows))
	for i := range rows {
		order[i] = &rows[i]
		used[rows[i].id] = true
	}
	slices.SortFunc(order, func(a, b *stored) int {
		return cmp.Or(a.rider.Compare(b.rider), cmp.Compare(a.at, b.at), slices.CompareFunc(a.taps, b.taps, compareID))
	})
	holder := make(map[citygate.TapID]*stored, len(rows))
	for rank, s := range order {
		s.rank = rank
		for _, id := range s.taps {
			holder[id] = s
		}
	}
	taken := make([]bool, len(rows))
	changes := make([]change, 0, len(built))
	for _, j := range built {
		c := change{built: j}
		for _, t := range members(&j) {
			s := holder[t.ID]
			if s != nil && !taken[s.rank] && (c.old == nil || s.rank < c.old.rank) {
				c.old = s
			}
		}
		if c.old != nil {
			taken[c.old.rank], c.id = true, c.old.id
		} else {
			for k := 0; ; k++ {
				if c.id = journeyID(tenant, &j.Taps[0], k); !used[c.id] {
					break
				}
			}
			used[c.id] = true
		}
		changes = append(changes, c)
	}
	for _, s := range order {
		if !taken[s.rank] && len(s.taps) > 0 {
			changes = append(changes, change{id: s.id, old: s, built: journey.Journey{Rider: s.rider}})
		}
	}
	return changes
}

// single gives the journey of a tap that is one by itself.
func single(t journey.Tap) journey.Journey {
	return journey.Journey{Rider: t.Rider, First: t.ID, Taps: []journey.Tap{t}, State: journey.Complete}
}

func isPaired(t journey.Tap) bool { return t.Kind == tap.On || t.Kind == tap.Off }

// tapsText is the form journeys and decisions keep their taps in.
func tapsText(taps []journey.Tap) string {
	var b []byte
	for i, t := range taps {
		if i > 0 {
			b = append(b, ' ')
		}
		b = fmt.Appendf(b, "%d:%d", t.ID.Terminal, t.ID.Seq)
	}
	return string(b)
}

func parseTaps(s string) ([]citygate.TapID, error) {
	var ids []citygate.TapID
	for part := range strings.FieldsSeq(s) {
		id, err := citygate.ParseTapID("tap_" + strings.Replace(part, ":", "_", 1))
		if err != nil {
			return nil, fmt.Errorf("stored taps %q: %w", s, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// members gives all taps of a journey, those that only repeat another last.
func members(j *journey.Journey) []journey.Tap {
	if len(j.Repeats) == 0 {
		return j.Taps
	}
	return slices.Concat(j.Taps, j.Repeats)
}

func sameTaps(ids []citygate.TapID, taps []journey.Tap) bool {
	return slices.EqualFunc(ids, taps, func(id citygate.TapID, t journey.Tap) bool { return id == t.ID })
}
