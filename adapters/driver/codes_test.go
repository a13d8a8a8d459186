package driver

import (
	"strings"
	"testing"
)

// Wallets are told apart by what their codes begin with, and what no product knows is
// of the one that takes any.
func TestCodesTellTheirProduct(t *testing.T) {
	digits := Description{PaymentCodes: []CodeForm{{From: "25", To: "30", Min: 16, Max: 24}, {From: "fp", To: "fp", Min: 35, Max: 35, Letters: true}}}
	anyCode := Description{PaymentCodes: []CodeForm{{Min: 1, Max: 20}, {From: "62", To: "62", Min: 19, Max: 20}}}
	for code, want := range map[string][2]int{
		"2812345678901234":                    {2, 0},
		"2512345678901234":                    {2, 0},
		"3012345678901234":                    {2, 0},
		"2412345678901234":                    {-1, 0},
		"3112345678901234":                    {-1, 0},
		"281234567890123":                     {-1, 0},
		"6212345678901234567":                 {-1, 2},
		"28123456789012a4":                    {-1, -1},
		"":                                    {-1, -1},
		"2":                                   {-1, 0},
		strings.Repeat("2", 25):               {-1, -1},
		"28１234567890123":                     {-1, -1}, // a digit of another script
		"fp" + "0123456789012345a":            {-1, -1},
		"fp0123456789abcdefghij0123456789abc": {2, -1},
	} {
		for i, d := range []Description{digits, anyCode} {
			known, ok := d.CodeFit([]byte(code))
			if !ok {
				known = -1
			}
			if known != want[i] {
				t.Errorf("%q, %d: %d; want %d", code, i, known, want[i])
			}
		}
	}
}
