package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cashlesscity/citygate"
)

var (
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	today = citygate.Date{Year: 2026, Month: time.November, Day: 21}
)

// fare makes the n-th fare of a test: rider to payee.
func fare(tenant citygate.TenantID, n int, rider, payee string, amount int64) Transfer {
	return NewTransfer(tenant, 0, Transfer{Debit: "rider_receivable:" + rider, Credit: Payable(payee), Amount: amount, Currency: "CNY",
		Code: "fare", Event: fmt.Sprintf("fare:%d/1", n), EffectiveAt: noon.Add(time.Duration(n) * time.Millisecond), BusinessDate: today})
}

func TestIDFollowsFromTheEvent(t *testing.T) {
	a := fare(1, 7, "r", "p", 100)
	if b := fare(1, 7, "r", "p", 100); a.ID != b.ID {
		t.Errorf("the same event gave ids %s and %s", a.ID, b.ID)
	}
	seen := map[citygate.UUID]string{a.ID: "the first"}
	other := fare(1, 7, "r", "p", 100)
	other.Code = "fare_correction"
	for name, b := range map[string]Transfer{
		"another tenant": fare(2, 7, "r", "p", 100),
		"another event":  fare(1, 8, "r", "p", 100),
		"another code":   NewTransfer(1, 0, other),
		"another leg":    NewTransfer(1, 1, a),
	} {
		if was, ok := seen[b.ID]; ok {
			t.Errorf("%s has the id of %s", name, was)
		}
		seen[b.ID] = name
	}
	if a.ID[6]>>4 != 7 || a.ID[8]>>6 != 2 {
		t.Errorf("id %s does not have the shape of version 7", a.ID)
	}
}

func TestNegativeAmountTurnsTheTransferRound(t *testing.T) {
	a, b := fare(1, 1, "r", "p", 250), fare(1, 1, "r", "p", -250)
	if b.Amount != 250 || b.Debit != a.Credit || b.Credit != a.Debit || a.ID != b.ID {
		t.Errorf("got %+v, want %+v reversed", b, a)
	}
}

func TestInterbookIDIsOnePerOperatorAndJourney(t *testing.T) {
	j := citygate.UUID{1, 2, 3, 4, 5, 6, 0x70, 1, 0x80}
	if once, twice := InterbookID(1, j), InterbookID(1, j); once != twice {
		t.Error("not a function of its arguments")
	}
	if InterbookID(1, j) == InterbookID(2, j) {
		t.Error("two operators share an id")
	}
	if id := InterbookID(1, j); string(id[:6]) != string(j[:6]) {
		t.Errorf("id %s does not keep the journey's time", id)
	}
}

func TestMalformedTransfersAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Transfer){
		"zero amount":         func(t *Transfer) { t.Amount = 0 },
		"negative amount":     func(t *Transfer) { t.Amount = -1 },
		"one account":         func(t *Transfer) { t.Credit = t.Debit },
		"no account":          func(t *Transfer) { t.Debit = "" },
		"no currency":         func(t *Transfer) { t.Currency = "" },
		"no id":               func(t *Transfer) { t.ID = citygate.UUID{} },
		"no event":            func(t *Transfer) { t.Event = "" },
		"no date":             func(t *Transfer) { t.BusinessDate = citygate.Date{} },
		"no time":             func(t *Transfer) { t.EffectiveAt = time.Time{} },
		"void of nothing":     func(t *Transfer) { t.Phase = VoidOf },
		"posted with pending": func(t *Transfer) { t.Pending = t.ID },
		"unknown phase":       func(t *Transfer) { t.Phase = "maybe" },
		"made by hand":        func(t *Transfer) { t.Phase = "" },
	} {
		x := fare(1, 1, "r", "p", 100)
		spoil(&x)
		if _, err := prepare([]Transfer{x}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, ErrInvalid)
		}
	}
	a, b := fare(1, 1, "r", "p", 100), fare(1, 1, "r", "p", 101)
	if _, err := prepare([]Transfer{a, b}); !errors.Is(err, ErrConflict) {
		t.Errorf("one id with two amounts: got %v, want %v", err, ErrConflict)
	}
	if got, err := prepare([]Transfer{a, a}); err != nil || len(got) != 1 {
		t.Errorf("one transfer given twice: %d transfers, %v; want one", len(got), err)
	}
}

func anyTransfers(t *rapid.T) []Transfer {
	n := rapid.IntRange(0, 60).Draw(t, "n")
	out := make([]Transfer, 0, n)
	for i := range n {
		from, to := rapid.IntRange(0, 5).Draw(t, "from"), rapid.IntRange(0, 4).Draw(t, "to")
		if to >= from {
			to++
		}
		x := NewTransfer(1, i, Transfer{Debit: fmt.Sprint("a:", from), Credit: fmt.Sprint("a:", to),
			Amount:   rapid.Int64Range(1, 1<<40).Draw(t, "amount"),
			Currency: rapid.SampledFrom([]citygate.Currency{"CNY", "HKD"}).Draw(t, "currency"),
			Code:     "c", Event: "e", EffectiveAt: noon, BusinessDate: today,
			Phase: rapid.SampledFrom([]Phase{Posted, Pending}).Draw(t, "phase")})
		out = append(out, x)
	}
	return out
}

// Whatever is posted, each currency adds up to zero over all accounts, no
// account appears twice, and the order is the order of locking.
func TestNetSumsToZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := anyTransfers(t)
		net, err := Net(ts)
		if err != nil {
			t.Fatal(err)
		}
		sums, moved := map[citygate.Currency]int64{}, map[citygate.Currency]int64{}
		for i, b := range net {
			sums[b.Currency] += b.Net()
			moved[b.Currency] += b.Debit
			if i > 0 && (net[i-1].Account > b.Account || net[i-1].Account == b.Account && net[i-1].Currency >= b.Currency) {
				t.Fatalf("%v comes after %v", b, net[i-1])
			}
		}
		want := map[citygate.Currency]int64{}
		for _, x := range ts {
			if x.Phase == Posted {
				want[x.Currency] += x.Amount
			}
		}
		for _, c := range []citygate.Currency{"CNY", "HKD"} {
			if sums[c] != 0 {
				t.Errorf("%s adds up to %d", c, sums[c])
			}
			if moved[c] != want[c] {
				t.Errorf("%s: %d debited, %d transferred", c, moved[c], want[c])
			}
		}
	})
}

// Netting a batch is netting its parts, wherever it is cut.
func TestNetDoesNotDependOnBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := anyTransfers(t)
		cut := rapid.IntRange(0, len(ts)).Draw(t, "cut")
		whole, _ := Net(ts)
		first, _ := Net(ts[:cut])
		second, _ := Net(ts[cut:])
		sum := map[string]int64{}
		for _, b := range append(first, second...) {
			sum[b.Account+string(b.Currency)] += b.Net()
		}
		for _, b := range whole {
			if sum[b.Account+string(b.Currency)] != b.Net() {
				t.Errorf("%s: %d in parts, %d at once", b.Account, sum[b.Account+string(b.Currency)], b.Net())
			}
		}
	})
}

func TestOverflowIsRefused(t *testing.T) {
	a, b := fare(1, 1, "r", "p", 1<<62), fare(1, 2, "r", "p", 1<<62)
	if _, err := Net([]Transfer{a, b}); !errors.Is(err, ErrOverflow) {
		t.Errorf("got %v, want %v", err, ErrOverflow)
	}
}

// Every field is covered by the digest and named by difference.
func TestEveryFieldIsCompared(t *testing.T) {
	a := fare(1, 1, "r", "p", 100)
	for want, change := range map[string]func(*Transfer){
		"debit":         func(t *Transfer) { t.Debit += "x" },
		"credit":        func(t *Transfer) { t.Credit += "x" },
		"amount":        func(t *Transfer) { t.Amount++ },
		"currency":      func(t *Transfer) { t.Currency = "HKD" },
		"code":          func(t *Transfer) { t.Code += "x" },
		"event":         func(t *Transfer) { t.Event += "x" },
		"interbook":     func(t *Transfer) { t.Interbook[3]++ },
		"link":          func(t *Transfer) { t.Link[3]++ },
		"phase":         func(t *Transfer) { t.Phase = Pending },
		"pending":       func(t *Transfer) { t.Pending[3]++ },
		"effective_at":  func(t *Transfer) { t.EffectiveAt = t.EffectiveAt.Add(time.Microsecond) },
		"business_date": func(t *Transfer) { t.BusinessDate = t.BusinessDate.AddDays(1) },
	} {
		b := a
		change(&b)
		if field, _, _ := a.difference(&b); field != want {
			t.Errorf("changed %s, difference names %q", want, field)
		}
		if a.digest(nil) == b.digest(nil) {
			t.Errorf("changed %s, digest stays", want)
		}
	}
}
