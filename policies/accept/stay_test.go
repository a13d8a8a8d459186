package accept

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// What the rows of stays decide is what the stays say, at any minute, and what a
// table decided before it decides still for everybody else.
func TestStaysAsRows(t *testing.T) {
	base := time.Date(2026, 12, 30, 0, 0, 0, 0, time.UTC).UnixMilli()
	w := rand.New(rand.NewPCG(7, 11))
	texts := []string{"bus", "ct1", "metro"}
	own, err := NewTable([]Shift{{0, 8 * 3600}}, texts, []Row{
		{ID: "nights", Effect: Refuse, Any: [][]Test{{{FactScheme, []Span{{-1, -1}}}, {FactMinute, []Span{{0, 59}}}}}},
		{ID: "rail", Effect: Refuse, Any: [][]Test{{{FactMode, []Span{{2, 2}}}}}},
		{ID: "dear", Effect: Limit, Any: [][]Test{{{FactAmount, []Span{{5000, math.MaxInt64}}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if own.Rows()[0].Any[0][0].In[0].Lo != -1 {
		t.Fatal("the table was changed")
	}
	schemes := []string{"ct1", "mot-sm2", "alpha", "zeta"}
	refused := map[Effect]int{}
	for range 400 {
		var stays []Stay
		from := base
		for v := 1; v <= 1+w.IntN(3); v++ {
			from += int64(w.IntN(3)) * int64(w.IntN(40*60)) * 60_000
			s := Stay{Issuer: 7, From: from, Until: from + int64(1+w.IntN(50*60))*60_000, Version: v, CapMinor: int64(w.IntN(3)) * 500, DayCapMinor: int64(w.IntN(3)) * 1000}
			if w.IntN(2) == 0 {
				s.Schemes = []code.SchemeID{code.SchemeID(schemes[w.IntN(3)]), "zeta"}
			}
			if w.IntN(2) == 0 {
				s.Products = []uint16{0, uint16(2 + w.IntN(3)), math.MaxUint16}
			}
			from = s.Until
			stays = append(stays, s)
		}
		if w.IntN(2) == 0 {
			stays[len(stays)-1].Until = Forever
		}
		for _, table := range []*Table{nil, own} {
			with, err := table.with(stays)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParseTable(with.Encode()); err != nil || !slices.Equal(again.Encode(), with.Encode()) {
				t.Fatalf("the table is not in its one form: %v", err)
			}
			for range 60 {
				at := base + int64(w.IntN(7*24*60)-600)*60_000 + int64(w.IntN(60_000))
				if s := stays[w.IntN(len(stays))]; w.IntN(3) == 0 {
					at = s.From + int64(w.IntN(3)-1)
				} else if s.Until != Forever && w.IntN(3) == 0 {
					at = s.Until + int64(w.IntN(3)-1)
				}
				sit := Situation{At: at, Issuer: int64(7 + w.IntN(2)), Scheme: schemes[w.IntN(4)], Mode: []string{"bus", "metro", "taxi"}[w.IntN(3)],
					Product: []int64{0, 1, 2, 3, 4, math.MaxUint16}[w.IntN(6)], Amount: []int64{0, 500, 501, 1000, 1001, 6000}[w.IntN(6)]}
				if w.IntN(2) == 0 {
					sit.Memory = Memory{Known: true, DayTaps: 2, HourTaps: 1, DayMinor: sit.Amount + []int64{0, 400, 1000, 2000}[w.IntN(4)]}
				}
				want := Admit
				if table != nil {
					_, want = table.Decide(&sit)
				}
				if sit.Issuer == 7 {
					switch by := says(stays, &sit); {
					case by == Refuse || want == Refuse:
						want = Refuse
					case by == Limit:
						want = Limit
					}
				}
				if rule, got := with.Decide(&sit); got != want {
					t.Fatalf("%+v at %d of %+v: %v by %q, want %v", sit, at, stays, got, rule, want)
				}
				refused[want]++
			}
		}
	}
	for _, e := range []Effect{Admit, Refuse, Limit} {
		if refused[e] < 100 {
			t.Errorf("only %d of %v", refused[e], e)
		}
	}
}

func says(stays []Stay, s *Situation) Effect {
	for _, stay := range stays {
		if s.At < stay.From || stay.Until != Forever && s.At >= stay.Until {
			continue
		}
		switch {
		case len(stay.Schemes) > 0 && !slices.Contains(stay.Schemes, code.SchemeID(s.Scheme)),
			len(stay.Products) > 0 && !slices.Contains(stay.Products, uint16(s.Product)):
			return Refuse
		case stay.CapMinor > 0 && s.Amount > stay.CapMinor, stay.DayCapMinor > 0 && s.Memory.Known && s.Memory.DayMinor > stay.DayCapMinor:
			return Limit
		}
		return Admit
	}
	return Refuse
}

// Issuers without stays go out of the rules and of those before them; those at
// home are left alone.
func TestStaysOfIssuers(t *testing.T) {
	prior := &Rules{Version: 1, Issuers: []IssuerRule{{Issuer: 7}, {Issuer: 8}}}
	r := &Rules{Version: 2, From: 5, Issuers: []IssuerRule{{Issuer: 7}, {Issuer: 8}, {Issuer: 9}}, Prior: prior}
	got, err := r.WithStays(func(i citygate.Issuer) bool { return i == 9 }, []Stay{{Issuer: 7, From: 0, Until: Forever, CapMinor: 5}, {Issuer: 9, From: 0, Until: 60_000}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Issuers) != 2 || got.Issuers[0].Issuer != 7 || got.Issuers[1].Issuer != 9 || len(got.Prior.Issuers) != 1 || got.Prior.Table == nil {
		t.Errorf("%+v, before that %+v", got, got.Prior)
	}
	for _, row := range got.Table.Rows() {
		for _, all := range row.Any {
			if all[0].Fact == FactIssuer && all[0].In[0].Lo == 9 {
				t.Errorf("%s is about an issuer at home", row.ID)
			}
		}
	}
	if len(r.Issuers) != 3 || r.Table != nil || len(prior.Issuers) != 2 {
		t.Error("the rules themselves were changed")
	}
}
