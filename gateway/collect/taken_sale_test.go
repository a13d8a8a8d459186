package collect

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The worked cases of the package's doc: a product for 7.01, of which rides used 3.50, or
// what a case says.
func TestWhatIsOwedOfATakenSale(t *testing.T) {
	price := func(amount int64) salePayment { return salePayment{price: true, amount: amount} }
	with := func(p salePayment, set func(*salePayment)) salePayment { set(&p); return p }
	for name, c := range map[string]struct {
		worth    Worth
		payments []salePayment
		want     string // owed, kept, back, and by payment unowed and given up
	}{
		"all of it is taken":             {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 701 })}, "350 0 0 [0] [0]"},
		"nothing was used":               {Worth{0, 0}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 701 })}, "0 0 0 [0] [0]"},
		"a part, less than is unused":    {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 51 })}, "0 0 300 [0] [0]"},
		"a part, more than is unused":    {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 401 })}, "50 0 0 [0] [0]"},
		"the rest was refunded":          {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken, p.refunded = 701, 351 })}, "350 0 0 [351] [0]"},
		"and that is lost":               {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken, p.refunded, p.lost = 701, 351, 351 })}, "350 0 0 [351] [351]"},
		"the debt was paid":              {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 701 }), {amount: 350}}, "0 0 0 [0 0] [0 0]"},
		"and that was taken back too":    {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 701 }), {amount: 350, taken: 350}}, "350 0 0 [0 0] [0 0]"},
		"paid, and a ride is void since": {Worth{100, 100}, []salePayment{with(price(701), func(p *salePayment) { p.taken = 701 }), {amount: 350}}, "0 0 250 [0 0] [0 0]"},
		"won, by the rule rest":          {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.returned = 701 })}, "0 0 351 [0] [0]"},
		"won, and nothing is given back": {Worth{350, 701}, []salePayment{with(price(701), func(p *salePayment) { p.returned = 701 })}, "0 351 0 [0] [0]"},
		"won a part of a part":           {Worth{350, 701}, []salePayment{with(price(701), func(p *salePayment) { p.taken, p.returned, p.refunded = 41, 10, 300 })}, "0 10 0 [0] [0]"},
		"won, after the debt was paid":   {Worth{350, 350}, []salePayment{with(price(701), func(p *salePayment) { p.returned = 701 }), {amount: 350}}, "0 0 701 [0 0] [0 0]"},
	} {
		s := takenSale{payments: c.payments}
		got := s.aim(c.worth)
		if say := fmt.Sprintf("%d %d %d %d %d", got.owed, got.kept, got.back, got.unowed, got.givenUp); say != c.want {
			t.Errorf("%s: %s, want %s", name, say, c.want)
		}
	}
}

// What is asked back of which payment. What the provider declined is asked of it once.
func TestWhatIsAskedBack(t *testing.T) {
	of := func(amount, declined int64) salePayment { return salePayment{amount: amount, declined: declined} }
	for name, c := range map[string]struct {
		back     int64
		payments []salePayment
		want     string
	}{
		"what debts were paid by first":              {400, []salePayment{of(701, 0), of(350, 0)}, "[50 350] false"},
		"the declined one waits":                     {351, []salePayment{of(701, 351)}, "[0] false"},
		"and the rest is asked of the other payment": {1051, []salePayment{of(701, 0), of(350, 350)}, "[701 0] false"},
		"and of its own what it has more":            {800, []salePayment{of(701, 0), of(350, 100)}, "[450 250] false"},
		"less is owed than was declined":             {250, []salePayment{of(701, 351)}, "[250] true"},
		"it holds nothing, and another does":         {350, []salePayment{{amount: 701, taken: 701, declined: 350}, of(350, 0)}, "[0 350] true"},
		"nothing is owed":                            {0, []salePayment{{amount: 701, taken: 701, declined: 351}}, "[0] true"},
	} {
		parts, anew := (&takenSale{payments: c.payments}).parted(c.back)
		if say := fmt.Sprint(parts, anew); say != c.want {
			t.Errorf("%s: %s, want %s", name, say, c.want)
		}
	}
}

// Whatever came in, went back and was taken: what the payments hold and what is owed is what
// was used, kept and is to go back; nobody owes while he gets back, and nothing is kept but
// of what a provider returned.
func TestATakenSaleAddsUp(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		amount := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(r, name) }
		price := amount("price", 1_000) + 1
		w := Worth{Used: amount("used", price)}
		w.Keeps = w.Used + amount("keeps", price-w.Used)
		s := takenSale{}
		var held int64
		for i := range 1 + int(amount("payments", 3)) {
			p := salePayment{price: i == 0, amount: price}
			if i > 0 {
				p.amount = 1 + amount("paid", price)
			}
			p.refunded, p.taken = amount("refunded", p.amount), amount("taken", p.amount)
			p.returned, p.declined = amount("returned", p.amount), amount("declined", p.amount)
			held += p.amount - p.refunded - p.taken
			s.payments = append(s.payments, p)
		}
		got := s.aim(w)
		parts, anew := s.parted(got.back)
		asked := int64(0)
		for i, part := range parts {
			if !anew {
				part += s.payments[i].declined
			}
			if asked += part; part > max(0, s.payments[i].holds()) || parts[i] < 0 {
				r.Fatalf("%d and what was declined is asked of %+v", parts[i], s.payments[i])
			}
		}
		if asked != got.back {
			r.Fatalf("%d asked back, want %d of %+v", asked, got.back, s.payments)
		}
		for _, u := range got.unowed {
			held += u
		}
		switch {
		case held+got.owed != w.Used+got.kept+got.back:
			r.Fatalf("%d held and %d owed, %d used, %d kept and %d back", held, got.owed, w.Used, got.kept, got.back)
		case got.owed < 0 || got.kept < 0 || got.back < 0 || got.owed > w.Used:
			r.Fatalf("%+v of %+v", got, w)
		case got.owed > 0 && got.back+got.kept > 0:
			r.Fatalf("owed, and given back: %+v", got)
		case got.kept > s.payments[0].returned || got.kept > w.Keeps-w.Used:
			r.Fatalf("%d kept of %d that came back and %+v", got.kept, s.payments[0].returned, w)
		}
	})
}
