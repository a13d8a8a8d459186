package collect

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrKeyList refuses a provider's list of keys. The keys in force stay.
var ErrKeyList = &citygate.Code{Name: "collect.key_list", Kind: citygate.Conflict,
	Title: "The provider's list of keys is not taken and the keys in force stay. Ask the provider; if it meant the list so, let it through."}

// ErrNoKeyList says that a contract follows no list of keys.
var ErrNoKeyList = &citygate.Code{Name: "collect.no_key_list", Kind: citygate.NotFound,
	Title: "The contract follows no list of keys. Set keys_every in its configuration."}

// The bounds of a list, which are those of a trust bundle.
const (
	keysMost     = 1024
	materialMost = 2 << 10
)

// A ListedKey is a key of a provider's own codes, as its list gave it.
type ListedKey struct {
	ID       uint32
	Material []byte
	Since    time.Time // when a list had it first
	Missed   time.Time // since when the list comes without it; zero = it is on the newest
	Until    time.Time // when it went out of force; zero = it is in force
}

// InForce reports whether readers take codes under the key.
func (k ListedKey) InForce() bool { return k.Until.IsZero() }

// A KeyChange is what a list makes of the keys held.
type KeyChange struct {
	Added   []driver.FeedKey
	Missed  []ListedKey // in force, and not on the list for the first time
	Back    []ListedKey // were missed, and are on it again
	Removed []ListedKey
}

// Changes reports whether readers must hear of it.
func (c KeyChange) Changes() bool { return len(c.Added)+len(c.Removed) > 0 }

// NextKeys says what a whole list that was read at now makes of the keys held, those
// that were in force included. The rule, for lists that have no version:
//
//   - A list is taken whole or not at all. One that is empty, has a number twice, or a
//     key that check refuses, is broken: [ErrKeyList], and nothing changes.
//   - A key that is new comes into force at once, and so does one under a number that
//     another key had: that one goes, and verifies what comes in late as any that went.
//   - A key that the list has no more goes when a second list, at least confirm later,
//     has not got it either: what one reading left out by mistake is not lost.
//   - A list with a key that had gone before is a list of long ago, rolled back:
//     [ErrKeyList], and nothing changes, until somebody lets it through. Then it is
//     taken as it is, and what is not on it goes at once.
func NextKeys(held []ListedKey, list []driver.FeedKey, check func([]byte) error, now time.Time, confirm time.Duration, letThrough bool) (KeyChange, error) {
	if err := checkList(list, check); err != nil {
		return KeyChange{}, err
	}
	inForce, gone := map[uint32]ListedKey{}, map[uint32][]ListedKey{}
	for _, k := range held {
		if k.InForce() {
			inForce[k.ID] = k
		} else {
			gone[k.ID] = append(gone[k.ID], k)
		}
	}
	var c KeyChange
	listed := make(map[uint32]bool, len(list))
	for _, k := range list {
		listed[k.ID] = true
		old, ok := inForce[k.ID]
		switch {
		case ok && bytes.Equal(old.Material, k.Material):
			if !old.Missed.IsZero() {
				c.Back = append(c.Back, old)
			}
			continue
		case !letThrough && slices.ContainsFunc(gone[k.ID], func(g ListedKey) bool { return bytes.Equal(g.Material, k.Material) }):
			return KeyChange{}, ErrKeyList.Explain("it was rolled back: key %d had gone out of force", k.ID)
		case ok:
			c.Removed = append(c.Removed, old)
		}
		c.Added = append(c.Added, k)
	}
	for _, k := range inForce {
		switch {
		case listed[k.ID]:
		case letThrough, !k.Missed.IsZero() && now.Sub(k.Missed) >= confirm:
			c.Removed = append(c.Removed, k)
		case k.Missed.IsZero():
			c.Missed = append(c.Missed, k)
		}
	}
	byID := func(a, b ListedKey) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(c.Removed, byID)
	slices.SortFunc(c.Missed, byID)
	return c, nil
}

func checkList(list []driver.FeedKey, check func([]byte) error) error {
	if len(list) == 0 {
		return ErrKeyList.Explain("it is empty")
	}
	if len(list) > keysMost {
		return ErrKeyList.Explain("it has %d keys; a reader holds %d", len(list), keysMost)
	}
	seen := make(map[uint32]bool, len(list))
	for _, k := range list {
		switch {
		case seen[k.ID]:
			return ErrKeyList.Explain("it is broken: key %d is there twice", k.ID)
		case len(k.Material) == 0 || len(k.Material) > materialMost:
			return ErrKeyList.Explain("it is broken: key %d has %d bytes", k.ID, len(k.Material))
		}
		seen[k.ID] = true
		if check == nil {
			continue
		}
		if err := check(k.Material); err != nil {
			return ErrKeyList.Explain("it is broken: key %d: %v", k.ID, err)
		}
	}
	return nil
}
