package collect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

func feedKeys(list string) []driver.FeedKey {
	var keys []driver.FeedKey
	for _, word := range strings.Fields(list) {
		var k driver.FeedKey
		var material string
		if _, err := fmt.Sscanf(strings.ReplaceAll(word, "=", " "), "%d %s", &k.ID, &material); err != nil {
			panic(err)
		}
		k.Material = []byte(material)
		keys = append(keys, k)
	}
	return keys
}

// A keyBook is what a store keeps, in memory.
type keyBook []ListedKey

func (b *keyBook) take(list []driver.FeedKey, now time.Time, letThrough bool) error {
	c, err := NextKeys(*b, list, func(key []byte) error {
		if string(key) == "garbled" {
			return errors.New("no point of the curve")
		}
		return nil
	}, now, KeysConfirm, letThrough)
	if err != nil {
		return err
	}
	at := func(k ListedKey) *ListedKey {
		i := slices.IndexFunc(*b, func(h ListedKey) bool { return h.ID == k.ID && h.InForce() })
		return &(*b)[i]
	}
	for _, k := range c.Missed {
		at(k).Missed = now
	}
	for _, k := range c.Back {
		at(k).Missed = time.Time{}
	}
	for _, k := range c.Removed {
		at(k).Until = now
	}
	for _, k := range c.Added {
		*b = append(*b, ListedKey{ID: k.ID, Material: k.Material, Since: now})
	}
	return nil
}

func (b *keyBook) inForce() string {
	var words []string
	for _, k := range *b {
		if k.InForce() {
			words = append(words, fmt.Sprintf("%d=%s", k.ID, k.Material))
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// Lists come one after another. What is in force after each is what the rule says, and
// a list that is refused leaves it as it was.
func TestListsOfKeysFollowOneAnother(t *testing.T) {
	type step struct {
		after   time.Duration
		list    string
		want    string
		refused string
		through bool
	}
	const hour = time.Hour
	for name, steps := range map[string][]step{
		"a new key counts at once, an old one goes at the second list without it": {
			{0, "0=a 1=b", "0=a 1=b", "", false}, {hour, "1=b 2=c", "0=a 1=b 2=c", "", false}, {time.Minute, "1=b 2=c", "0=a 1=b 2=c", "", false},
			{KeysConfirm, "1=b 2=c", "1=b 2=c", "", false},
		},
		"a key that one list left out is not lost": {
			{0, "0=a 1=b", "0=a 1=b", "", false}, {hour, "1=b", "0=a 1=b", "", false}, {hour, "0=a 1=b", "0=a 1=b", "", false}, {hour, "1=b", "0=a 1=b", "", false},
		},
		"another key under a number takes its place": {{0, "0=a", "0=a", "", false}, {hour, "0=z", "0=z", "", false}},
		"an empty list takes nothing": {
			{0, "0=a", "0=a", "", false}, {hour, "", "0=a", "empty", false}, {hour, "", "0=a", "empty", false}, {hour, "", "0=a", "empty", true},
		},
		"half of a broken list is none": {
			{0, "0=a 1=b", "0=a 1=b", "", false}, {hour, "1=b 2=garbled", "0=a 1=b", "broken", false}, {hour, "2=c 2=d", "0=a 1=b", "broken", false},
			{hour, "0=garbled", "0=a 1=b", "broken", true},
		},
		"a list that was rolled back takes nothing, and brings nothing back": {
			{0, "0=a 1=b", "0=a 1=b", "", false}, {hour, "1=b 2=c", "0=a 1=b 2=c", "", false}, {hour, "1=b 2=c", "1=b 2=c", "", false},
			{hour, "0=a 1=b", "1=b 2=c", "rolled back", false}, {hour, "0=a 1=b 3=d", "1=b 2=c", "rolled back", false},
			{hour, "0=a 1=b", "0=a 1=b", "", true}, {hour, "1=b 2=c", "0=a 1=b", "rolled back", false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b keyBook
			now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			for i, s := range steps {
				now = now.Add(s.after)
				err := b.take(feedKeys(s.list), now, s.through)
				if (err == nil) != (s.refused == "") || err != nil && (!errors.Is(err, ErrKeyList) || !strings.Contains(err.Error(), s.refused)) {
					t.Errorf("%d: %v; want %q", i, err, s.refused)
				}
				if got := b.inForce(); got != s.want {
					t.Errorf("%d: in force are %q; want %q", i, got, s.want)
				}
			}
		})
	}
}

func FuzzNextKeys(f *testing.F) {
	f.Add("0=a 1=b", "1=b 2=c", "0=a", true)
	f.Fuzz(func(t *testing.T, first, second, third string, minutes bool) {
		parse := func(s string) []driver.FeedKey {
			var keys []driver.FeedKey
			for i := 0; i+1 < len(s); i += 2 {
				keys = append(keys, driver.FeedKey{ID: uint32(s[i]), Material: []byte{s[i+1]}})
			}
			return keys
		}
		var b keyBook
		now := time.Unix(1_800_000_000, 0)
		for _, list := range []string{first, second, third} {
			before := b.inForce()
			keys := parse(list)
			err := b.take(keys, now, false)
			if err != nil && b.inForce() != before {
				t.Fatalf("a refused list changed %q to %q", before, b.inForce())
			}
			if before != "" && b.inForce() == "" {
				t.Fatalf("the keys %q were wiped", before)
			}
			if err == nil { // whatever is listed is in force
				for _, k := range keys {
					if !strings.Contains(" "+b.inForce()+" ", fmt.Sprintf(" %d=%s ", k.ID, k.Material)) {
						t.Fatalf("%d is listed and not in force: %q", k.ID, b.inForce())
					}
				}
			}
			if minutes {
				now = now.Add(KeysConfirm)
			}
		}
	})
}
