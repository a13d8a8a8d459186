package share

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate"
)

func parties(t *testing.T, parts []Part) []Party {
	t.Helper()
	out := make([]Party, len(parts))
	for i, p := range parts {
		out[i] = Party{Weight: p.Of, Turn: p.Operator}
	}
	return out
}

func apportion(t *testing.T, amount int64, parties []Party) []int64 {
	t.Helper()
	shares, err := Apportion(amount, parties)
	if err != nil {
		t.Fatal(err)
	}
	return shares
}

// Case D of fares-and-money 9.4: two paths, three operators, and the same shares
// whichever operator comes first.
func TestWorkedCaseD(t *testing.T) {
	terms := Terms{Paths: []Path{
		{From: "X", To: "Y", Weight: 62, Legs: []Leg{{"op1", 7_100}, {"op2", 4_300}}},
		{From: "X", To: "Y", Weight: 38, Legs: []Leg{{"op1", 9_000}, {"op3", 3_500}}},
		{From: "X", To: "Z", Weight: 1, Legs: []Leg{{"op4", 1}}},
	}}
	if err := terms.Check(); err != nil {
		t.Fatal(err)
	}
	parts, err := terms.Parts("Y", "X", []string{"op1"})
	if err != nil || len(parts) != 3 {
		t.Fatal(parts, err)
	}
	for i, want := range []string{"3.2987", "1.1693", "0.5320"} {
		if got := new(big.Rat).Mul(parts[i].Of, big.NewRat(5, 1)).FloatString(4); got != want {
			t.Errorf("exact share of %s is %s, want %s", parts[i].Operator, got, want)
		}
	}
	if got := apportion(t, 500, parties(t, parts)); !slices.Equal(got, []int64{330, 117, 53}) {
		t.Errorf("shares %v, want 330, 117, 53", got)
	}
	slices.Reverse(parts)
	if got := apportion(t, 500, parties(t, parts)); !slices.Equal(got, []int64{53, 117, 330}) {
		t.Errorf("permuted shares %v", got)
	}
}

// Case E of fares-and-money 9.4: 0.05 among three equal operators over three days.
func TestWorkedCaseE(t *testing.T) {
	var received [3]int64
	for day, want := range [][]int64{{2, 2, 1}, {2, 1, 2}, {1, 2, 2}} {
		all := make([]Party, 3)
		for i := range all {
			all[i] = Party{Weight: big.NewRat(1, 3), Received: received[i], Turn: fmt.Sprint("op", i+1)}
		}
		got := apportion(t, 5, all)
		if !slices.Equal(got, want) {
			t.Errorf("day %d: %v, want %v", day+1, got, want)
		}
		for i := range got {
			received[i] += got[i]
		}
	}
	if received != [3]int64{5, 5, 5} {
		t.Errorf("after three days %v", received)
	}
}

// TestApportionHoldsItsRules: the sum is exact, nobody is a unit away from the exact
// share, the order of parties is nothing, negative amounts mirror positive ones, and
// a larger remainder never loses to a smaller one.
func TestApportionHoldsItsRules(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 12))
	for range 3_000 {
		n := r.IntN(6) + 1
		all := make([]Party, n)
		total := new(big.Rat)
		for i := range all {
			all[i] = Party{Weight: big.NewRat(r.Int64N(5), r.Int64N(4)+1), Received: r.Int64N(3), Turn: fmt.Sprint(i)}
			total.Add(total, all[i].Weight)
		}
		if total.Sign() == 0 {
			if _, err := Apportion(1, all); err == nil {
				t.Fatal("divided among nobody")
			}
			continue
		}
		amount := r.Int64N(1_000)
		got := apportion(t, amount, all)
		order := r.Perm(n)
		mixed := make([]Party, n)
		for i, k := range order {
			mixed[i] = all[k]
		}
		again, negative := apportion(t, amount, mixed), apportion(t, -amount, all)
		sum := int64(0)
		exact := make([]*big.Rat, n)
		for i := range all {
			sum += got[i]
			exact[i] = new(big.Rat).Mul(big.NewRat(amount, 1), new(big.Rat).Quo(all[i].Weight, total))
			off := new(big.Rat).Sub(exact[i], new(big.Rat).SetInt64(got[i]))
			if off.Abs(off).Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("%d of %d: exact %s", got[i], amount, exact[i].FloatString(3))
			}
			if negative[i] != -got[i] || again[slices.Index(order, i)] != got[i] {
				t.Fatalf("%v, permuted %v by %v, negative %v", got, again, order, negative)
			}
		}
		if sum != amount {
			t.Fatalf("%v add up to %d of %d", got, sum, amount)
		}
		for i := range all {
			for k := range all {
				up, down := got[i] > floor(exact[i]), got[k] == floor(exact[k])
				restI, restK := rest(exact[i]), rest(exact[k])
				if up && down && (restI.Cmp(restK) < 0 || restI.Cmp(restK) == 0 && all[i].Received > all[k].Received) {
					t.Fatalf("%v of %v: %d was rounded up before %d", got, all, i, k)
				}
			}
		}
	}
}

func floor(x *big.Rat) int64 { return new(big.Int).Quo(x.Num(), x.Denom()).Int64() }

func rest(x *big.Rat) *big.Rat { return new(big.Rat).Sub(x, big.NewRat(floor(x), 1)) }

func TestApportionRefuses(t *testing.T) {
	for _, bad := range [][]Party{
		{{Weight: big.NewRat(-1, 2), Turn: "a"}, {Weight: big.NewRat(1, 1), Turn: "b"}},
		{{Weight: big.NewRat(0, 1), Turn: "a"}},
		{{Weight: big.NewRat(1, 1), Turn: "a"}, {Weight: big.NewRat(1, 1), Turn: "a"}},
		nil,
	} {
		if got, err := Apportion(1, bad); err == nil {
			t.Errorf("%v gave %v", bad, got)
		}
	}
	for _, bad := range []Terms{{Pool: "week"}, {Paths: []Path{{From: "A", To: "B", Weight: 1}}},
		{Paths: []Path{{From: "A", To: "B", Weight: 1, Legs: []Leg{{"x", 0}}}}}, {Paths: []Path{{From: "A", Weight: 1, Legs: []Leg{{"x", 1}}}}}} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

func ride(id byte, paid, nominal int64, operators ...citygate.TenantID) Ride {
	r := Ride{Journey: citygate.UUID{15: id}, Paid: paid, Nominal: nominal}
	for _, o := range operators {
		r.Parts = append(r.Parts, TenantPart{o, big.NewRat(1, int64(len(operators)))})
	}
	return r
}

// A transfer makes the second ride cheaper; both operators bear it.
func TestAPoolIsDividedByNominalFares(t *testing.T) {
	var s State
	for i, r := range []Ride{ride(1, 500, 500, 11), ride(2, 100, 300, 12)} {
		if err := s.Add("chain", "2026-11", r); err != nil {
			t.Fatal(i, err)
		}
	}
	got, err := s.Shares()
	if want := []Share{{citygate.UUID{15: 1}, 11, 375}, {citygate.UUID{15: 2}, 12, 225}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	// A ride that a cap made free earns like the others.
	if err := s.Add("chain", "2026-11", ride(3, 0, 400, 13)); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Shares(); err != nil || got[0].Minor != 250 || got[1].Minor != 150 || got[2].Minor != 200 {
		t.Errorf("%v, %v", got, err)
	}
}

// Rides without a nominal fare go by what they cost, and a pool that costs nothing
// gives nothing.
func TestAPoolWithoutNominalFares(t *testing.T) {
	s := State{Key: "k", Rides: []Ride{ride(1, 30, 0, 11), ride(2, 10, 0, 12)}}
	if got, err := s.Shares(); err != nil || got[0].Minor != 30 || got[1].Minor != 10 {
		t.Errorf("%v, %v", got, err)
	}
	s = State{Key: "k", Rides: []Ride{ride(1, 0, 0, 11, 12)}}
	if got, err := s.Shares(); err != nil || len(got) != 2 || got[0].Minor != 0 || got[1].Minor != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// What one payer's rides leave over evens out: of 5 among three each time, nobody
// is ever more than a unit behind, and over many payers no number is favoured.
func TestOddUnitsEvenOut(t *testing.T) {
	sums := map[citygate.TenantID]int64{}
	for payer := range 300 {
		var s State
		mine := map[citygate.TenantID]int64{}
		for i := range 4 {
			id := citygate.UUID{0: byte(payer >> 8), 1: byte(payer), 15: byte(i)}
			r := ride(0, 5, 5, 11, 12, 13)
			r.Journey, r.First = id, id.String()
			if err := s.Add(id.String(), "2026-11", r); err != nil {
				t.Fatal(err)
			}
			// The state is kept as JSON between rides.
			raw, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var kept State
			if err := json.Unmarshal(raw, &kept); err != nil || !reflect.DeepEqual(raw, must(json.Marshal(kept))) {
				t.Fatalf("%s, %v", raw, err)
			}
			s = kept
			shares, err := s.Shares()
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range shares {
				mine[x.Operator] += x.Minor
				sums[x.Operator] += x.Minor
			}
			if least, most := min(mine[11], mine[12], mine[13]), max(mine[11], mine[12], mine[13]); most-least > 1 {
				t.Fatalf("payer %d after ride %d: %v", payer, i+1, mine)
			}
		}
	}
	for o, sum := range sums { // 2,000 each; by number, one of them would have 2,100
		if sum < 1_960 || sum > 2_040 {
			t.Errorf("operator %d got %d of 6000", o, sum)
		}
	}
	// A new period begins at nothing.
	s := State{Period: "2026-10", Received: []Received{{11, 7}}, Key: "a", Rides: []Ride{ride(1, 5, 5, 11)}}
	if err := s.Add("b", "2026-11", ride(2, 5, 5, 11)); err != nil || len(s.Received) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
