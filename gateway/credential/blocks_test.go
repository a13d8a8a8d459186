package credential_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func orderKey(n int) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return sum[:]
}

func mustOrder(t interface{ Fatal(...any) }, key []byte, size uint32) func(uint32) uint32 {
	at, err := credential.OrderAt(key, size)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestOrderIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Uint32Range(1, 5000).Draw(t, "size")
		at := mustOrder(t, orderKey(rapid.Int().Draw(t, "key")), size)
		seen := make([]bool, size)
		for n := range size {
			x := at(n)
			if x >= size || seen[x] {
				t.Fatalf("place %d of %d: %d, which is outside or taken", n, size, x)
			}
			seen[x] = true
		}
	})
	at := mustOrder(t, orderKey(1), math.MaxUint32) // the largest there is
	seen := map[uint32]bool{}
	for n := range uint32(1000) {
		if x := at(n); x == math.MaxUint32 || seen[x] {
			t.Fatalf("place %d: %d", n, x)
		} else {
			seen[x] = true
		}
	}
}

// Whoever collects codes must not see from the indices who came first: neighbours
// in time are no neighbours, later ones are not higher, and every place is as
// likely for the first as for the last. Keys are fixed, so the figures are too.
func TestOrderTellsNothing(t *testing.T) {
	for _, size := range []uint32{256, 512, 4096} {
		const keys = 200
		neighbours, rising := 0, 0
		firsts := make([]int, 16) // in which sixteenth of the block the first one lies
		for k := range keys {
			at := mustOrder(t, orderKey(k), size)
			firsts[at(0)*16/size]++
			for n := range size - 1 {
				a, b := at(n), at(n+1)
				if a+1 == b || b+1 == a {
					neighbours++
				}
				if b > a {
					rising++
				}
			}
		}
		pairs := keys * int(size-1)
		// Of a random permutation 2 pairs are neighbours in the mean, with a
		// variance of about 2, and half of the pairs rise, with (size+1)/12.
		if z := (float64(neighbours) - 2*keys) / math.Sqrt(2*keys); math.Abs(z) > 4 {
			t.Errorf("size %d: %d of %d neighbours stay neighbours, z %.1f", size, neighbours, pairs, z)
		}
		if z := (float64(rising) - float64(pairs)/2) / math.Sqrt(keys*float64(size+1)/12); math.Abs(z) > 4 {
			t.Errorf("size %d: %d of %d pairs rise, z %.1f", size, rising, pairs, z)
		}
		chi := 0.0
		for _, n := range firsts {
			chi += (float64(n) - keys/16.0) * (float64(n) - keys/16.0) / (keys / 16.0)
		}
		if chi > 37.7 { // 15 degrees of freedom, 0.1 %
			t.Errorf("size %d: where the first lies: %v, chi square %.1f", size, firsts, chi)
		}
	}
}

func (o *office) blocks(list uint16) (b denylist.Blocks) {
	o.t.Helper()
	o.in(harbour, func(tx *pg.Tx) (err error) {
		b, err = credential.Blocks(o.t.Context(), tx, list)
		return err
	})
	return b
}

// issueMany gives the indices of n new credentials, in the order of issue.
func (o *office) issueMany(accounts []credential.Account, n int) (indices []uint32, at time.Time) {
	o.t.Helper()
	requests := make([]credential.Request, n)
	for i := range requests {
		requests[i], _ = band(o.t)
		requests[i].Account = accounts[i%len(accounts)].ID
	}
	got, err := o.IssueBatch(o.t.Context(), "test", harbour, requests)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, g := range got {
		indices = append(indices, g.Rider.Index)
	}
	return indices, o.clock.now()
}

// A day's credentials lie in the day's blocks; an index of another day, or one
// that was never issued, is found out whoever signed it.
func TestBlocksOfADay(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 4)
	list := credential.Week(o.clock.now())
	day := denylist.Day(o.clock.now().Unix())
	first, at := o.issueMany(accounts, 250)
	if want := (denylist.Blocks{{Day: day, First: 0, Size: 256}}); !slices.Equal(o.blocks(list), want) {
		t.Fatalf("blocks %+v", o.blocks(list))
	}
	more, _ := o.issueMany(accounts, 10) // six fit, four do not
	if want := (denylist.Blocks{{Day: day, First: 0, Size: 256}, {Day: day, First: 256, Size: 256}}); !slices.Equal(o.blocks(list), want) {
		t.Fatalf("blocks %+v", o.blocks(list))
	}
	all := append(first, more...)
	inOrder := 0
	for i, idx := range all {
		if (i < 256) != (idx < 256) || idx >= 512 {
			t.Errorf("credential %d has index %d", i, idx)
		}
		if idx == uint32(i) {
			inOrder++
		}
		if !o.blocks(list).Hold(idx, at.Unix()) {
			t.Errorf("index %d was issued and is not held", idx)
		}
	}
	if inOrder > 10 {
		t.Errorf("%d of 260 indices are in the order of issue", inOrder)
	}
	o.issueMany(accounts, 300) // the day is doubled
	if b := o.blocks(list); len(b) != 3 || b[2] != (denylist.Block{Day: day, First: 512, Size: 512}) {
		t.Errorf("blocks %+v", b)
	}
	o.clock.move(24 * time.Hour)
	next, at := o.issueMany(accounts, 1)
	b := o.blocks(list)
	if b[len(b)-1] != (denylist.Block{Day: day + 1, First: 1024, Size: 1024}) { // 560 yesterday, and a quarter
		t.Errorf("blocks of the next day %+v", b)
	}
	// A thief of the key who dates a credential back cannot know an index of that day
	// that is free, and one of today is none of that day.
	if b.Hold(next[0], at.Add(-24*time.Hour).Unix()) {
		t.Error("today's index passes for yesterday's")
	}
	if b.Hold(2048, at.Unix()) {
		t.Error("an index beyond what was issued passes")
	}
	o.publish(harbour)
	if l := o.fetch(harbour, list); l.Issued != 2048 || !l.NeverIssued(2048, at.Add(-time.Hour).Unix()) || l.NeverIssued(2047, at.Add(-time.Hour).Unix()) {
		t.Errorf("the list says n = %d", l.Issued)
	}
	o.clock.move(-24 * time.Hour) // the clock goes back over midnight
	if again, at := o.issueMany(accounts, 1); !o.blocks(list).Hold(again[0], at.Unix()) {
		t.Errorf("index %d of yesterday is in no block of yesterday", again[0])
	}
}

func TestAListThatIsFullIsRefused(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 1)
	o.issueMany(accounts, 256)
	list := credential.Week(o.clock.now())
	owner := pgtest.Owner(t, o.db)
	owner.Exec(harbour, `UPDATE credential_blocks SET size = 4294967290, taken = 4294967288 WHERE tenant_id = 20`)
	if got, _ := o.issueMany(accounts, 2); got[0] == got[1] {
		t.Errorf("the last two indices: %v", got)
	}
	if got, _ := o.issueMany(accounts, 5); len(got) != 5 {
		t.Errorf("what is left behind the last block: %v", got)
	}
	if _, err := o.issue(harbour, accounts[0]); !errors.Is(err, credential.ErrListFull) {
		t.Errorf("list %d: %v", list, err)
	}
}
