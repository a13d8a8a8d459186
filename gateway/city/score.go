package city

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Score is what a played day came to: counts and money, read back from the
// gateway's rows and the simulators' own books, and the invariants that hold.
// Money is in minor units, each amount taken once over all tenants.
type Score struct {
	Seed           uint64            `json:"seed"`
	Riders         int               `json:"riders"`
	Taps           TapScore          `json:"taps"`
	Attacks        AttackScore       `json:"attacks"`
	Charges        ChargeScore       `json:"charges"`
	Debts          DebtScore         `json:"debts"`
	Money          map[string]*Purse `json:"money"`
	Reconciliation ReconScore        `json:"reconciliation"`
	Invariants     map[string]bool   `json:"invariants"`
	DataDir        string            `json:"data_dir"`
	Seconds        Seconds           `json:"seconds"`

	// Broken says what an invariant that does not hold found.
	Broken []string `json:"-"`

	refundsRefused int
}

// TapScore counts presentations and uploaded records. Uploaded = Recorded +
// Duplicate + all Refused: each uploaded record counts once, by the gateway's
// final verdict.
type TapScore struct {
	Made          int            `json:"made"`
	Uploaded      int            `json:"uploaded"`
	Recorded      int            `json:"recorded"`
	Duplicate     int            `json:"duplicate"`
	Refused       map[string]int `json:"refused"`
	HonestRefused int            `json:"honest_refused"`
}

// AttackScore compares what the player did with what the gateway's rows show.
type AttackScore struct {
	Seeded map[attack]int `json:"seeded"`
	Caught map[attack]int `json:"caught"`
}

// ChargeScore counts attempts to collect. ProviderSucceeded comes from the
// simulators' own books.
type ChargeScore struct {
	Succeeded         int `json:"succeeded"`
	Declined          int `json:"declined"`
	UnknownSeen       int `json:"unknown_seen"`
	UnknownOpen       int `json:"unknown_open"`
	ProviderSucceeded int `json:"provider_succeeded"`
}

// DebtScore counts debts of riders.
type DebtScore struct {
	Opened    int `json:"opened"`
	Recovered int `json:"recovered"`
	Open      int `json:"open"`
}

// A Purse is the money of one currency. Fares = Collected + Debt; Collected -
// ProviderFees = OwedToOperators = PaidOut + Held.
type Purse struct {
	Fares           int64 `json:"fares"`
	Collected       int64 `json:"collected"`
	Debt            int64 `json:"debt"`
	ProviderFees    int64 `json:"provider_fees"`
	OwedToOperators int64 `json:"owed_to_operators"`
	Held            int64 `json:"held"`
	PaidOut         int64 `json:"paid_out"`
}

// ReconScore counts reconciliation lines: Lines = Matched + all Exceptions.
type ReconScore struct {
	Lines       int            `json:"lines"`
	Matched     int            `json:"matched"`
	Exceptions  map[string]int `json:"exceptions"`
	Seeded      int            `json:"seeded"`
	Found       int            `json:"found"`
	Unexplained int            `json:"unexplained"`
}

// Seconds is a duration in tenths of a second, so that no float is needed.
type Seconds int64

// MarshalJSON gives "12.3".
func (s Seconds) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%d.%d", s/10, s%10), nil }

// String gives "12.3 s".
func (s Seconds) String() string { return fmt.Sprintf("%d.%d s", s/10, s%10) }

// OK reports whether every invariant holds.
func (s *Score) OK() bool {
	for _, holds := range s.Invariants {
		if !holds {
			return false
		}
	}
	return len(s.Invariants) > 0
}

// Print writes the score as tables people read.
func (s *Score) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\t\n", args...) }
	p("TAPS\tmade\tuploaded\trecorded\tduplicate\trefused\tof these honest")
	p("\t%d\t%d\t%d\t%d\t%d\t%d", s.Taps.Made, s.Taps.Uploaded, s.Taps.Recorded, s.Taps.Duplicate, total(s.Taps.Refused), s.Taps.HonestRefused)
	p("")
	names := make([]string, len(attacks))
	for i, a := range attacks {
		names[i] = string(a)
	}
	p("ATTACKS\t%s", strings.Join(names, "\t"))
	row := func(name string, counts map[attack]int) {
		cells := make([]string, len(attacks))
		for i, a := range attacks {
			cells[i] = fmt.Sprint(counts[a])
		}
		p("%s\t%s", name, strings.Join(cells, "\t"))
	}
	row("played", s.Attacks.Seeded)
	row("caught", s.Attacks.Caught)
	p("")
	p("CHARGES\tsucceeded\tat the provider\tdeclined\twere unknown\tstill unknown\tDEBTS\topened\trecovered\topen")
	p("\t%d\t%d\t%d\t%d\t%d\t\t%d\t%d\t%d", s.Charges.Succeeded, s.Charges.ProviderSucceeded, s.Charges.Declined,
		s.Charges.UnknownSeen, s.Charges.UnknownOpen, s.Debts.Opened, s.Debts.Recovered, s.Debts.Open)
	p("")
	p("MONEY\tfares\tcollected\tdebt\tprovider fees\towed to operators\theld\tpaid out")
	for _, c := range slices.Sorted(maps.Keys(s.Money)) {
		m := s.Money[c]
		p("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", c, units(m.Fares), units(m.Collected), units(m.Debt), units(m.ProviderFees),
			units(m.OwedToOperators), units(m.Held), units(m.PaidOut))
	}
	p("")
	p("RECONCILIATION\tlines\tmatched\texceptions\tfaults seeded\tfound\tunexplained")
	p("\t%d\t%d\t%d\t%d\t%d\t%d", s.Reconciliation.Lines, s.Reconciliation.Matched, total(s.Reconciliation.Exceptions),
		s.Reconciliation.Seeded, s.Reconciliation.Found, s.Reconciliation.Unexplained)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s", s.verdict())
	return err
}

// proves says in one line what each invariant means.
var proves = map[string]string{
	"books_rederive":         "every transfer follows from a decision, an outcome or a payout, row by row",
	"tap_once":               "every accepted tap is in one journey, no refused one in any",
	"one_final_fare":         "each closed journey has one final fare",
	"one_charge_per_attempt": "our succeeded charges are the provider's, one to one, to the cent",
	"closed_windows_hold":    "what a day held when it was closed, it holds still",
	"payouts_equal_receipts": "each payee is paid what was cleared for it, no more and no less",
	"tenant_isolation":       "no row of another tenant is visible in any table of a tenant",
	"refunds_made":           "no provider declined to give back what was corrected",
	"unknown_resolved":       "no charge or refund is left with an unknown outcome",
	"clearing_zero":          "clearing accounts are empty but for what open exceptions name",
	"interbook_pairs":        "what one book owes another, the other book is owed",
	"attacks_caught":         "every attack was caught for its own reason",
	"money_adds_up":          "fares = collected + debt; owed = collected - fees = paid + held",
	"faults_found":           "every seeded bill fault was found, and nothing else",
	"taps_add_up":            "uploaded = recorded + duplicate + refused",
	"no_tap_lost":            "every presentation offline is a row of the gateway, once",
	"honest_accepted":        "no honest rider let in offline is refused afterwards",
	"story_played":           "the day had in it what it is there to show",
}

func (s *Score) verdict() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Invariants)) {
		mark := "holds "
		if !s.Invariants[name] {
			mark = "BROKEN"
		}
		fmt.Fprintf(&b, "  %s  %-24s %s\n", mark, name, proves[name])
	}
	for _, found := range s.Broken {
		fmt.Fprintf(&b, "          %s\n", found)
	}
	return b.String()
}

// units writes minor units of a two-digit currency; both cities have one.
func units(minor int64) string {
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	return fmt.Sprintf("%s%d.%02d", sign, minor/100, minor%100)
}

func total[K cmp.Ordered](m map[K]int) int {
	n := 0
	for _, v := range m {
		n += v
	}
	return n
}
