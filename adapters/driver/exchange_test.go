package driver_test

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

func TestConvertRoundsHalfToEven(t *testing.T) {
	for _, c := range []struct {
		minor    int64
		price    string
		from, to int
		want     int64
	}{
		{18000, "0.0008055555", 0, 2, 1450}, // worked case F: KRW 18000 is USD 14.50
		{9000, "0.0008055555", 0, 2, 725},
		{1450, "1241.3793103448", 2, 0, 18000},
		{600, "1.0285", 2, 2, 617},
		{5, "0.1", 2, 2, 0},  // 0.5
		{15, "0.1", 2, 2, 2}, // 1.5
		{-15, "0.1", 2, 2, -2},
		{25, "0.1", 2, 2, 2},
		{1, "1", 2, 3, 10}, // a dinar has 3 decimals
	} {
		if got, err := driver.Convert(c.minor, c.price, c.from, c.to); err != nil || got != c.want {
			t.Errorf("Convert(%d, %s, %d, %d) = %d, %v; want %d", c.minor, c.price, c.from, c.to, got, err, c.want)
		}
	}
	for _, price := range []string{"", "0", "-1", "1e3", "1/2", ".5", "5.", "1.2.3", " 1", "NaN", "+1"} {
		if got, err := driver.Convert(100, price, 2, 2); err == nil {
			t.Errorf("Convert at %q = %d; want an error", price, got)
		}
	}
	if got, err := driver.Convert(1<<62, "1000", 2, 2); err == nil {
		t.Errorf("Convert past an int64 = %d; want an error", got)
	}
}

// Parts given back one after the other add up to exactly what was paid.
func TestPartsAddUpToWhatWasPaid(t *testing.T) {
	for pays := range int64(40) {
		for whole := int64(1); whole < 30; whole++ {
			var before, sum int64
			for _, part := range []int64{1, 2, 5, 1, 100} {
				after := min(whole, before+part)
				share, err := driver.PartOf(pays, whole, before, after)
				if err != nil || share < 0 {
					t.Fatalf("PartOf(%d, %d, %d, %d) = %d, %v", pays, whole, before, after, share, err)
				}
				sum, before = sum+share, after
			}
			if before == whole && sum != pays {
				t.Fatalf("of %d for %d, %d was given back", pays, whole, sum)
			}
		}
	}
	for _, c := range [][4]int64{{10, 0, 0, 0}, {10, 5, 3, 2}, {10, 5, 0, 6}, {10, 5, -1, 2}, {-1, 5, 0, 1}} {
		if got, err := driver.PartOf(c[0], c[1], c[2], c[3]); err == nil {
			t.Errorf("PartOf(%v) = %d; want an error", c, got)
		}
	}
}

func TestRateExpires(t *testing.T) {
	at := time.Date(2026, 3, 2, 6, 30, 0, 0, time.UTC)
	r := driver.Rate{Until: at}
	if r.Expired(at.Add(-1)) || !r.Expired(at) || (driver.Rate{}).Expired(at) {
		t.Error("a rate is over at its end and not before, and one without an end never")
	}
}

// quoting is a Quoter and nothing else.
type quoting struct {
	driver.Provider
	driver.Quoter
}

func TestQuoterIsACapability(t *testing.T) {
	if list := driver.Capabilities(quoting{}); len(list) != 1 || list[0] != driver.CapQuote {
		t.Errorf("Capabilities = %v; want quote", list)
	}
	if _, ok := driver.As[driver.Quoter](quoting{}); !ok {
		t.Error("As finds no Quoter")
	}
}
