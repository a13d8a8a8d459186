package policytest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/policies/policytest"
)

func load(name string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", name)) }

func TestExamplesHold(t *testing.T) {
	source, err := load("city.cases")
	if err != nil {
		t.Fatal(err)
	}
	cases, failures, err := policytest.Run("city.cases", source, load)
	if err != nil || len(failures) > 0 || cases < 25 {
		t.Errorf("%d cases, %v, %v", cases, failures, err)
	}
}

// A case that comes out otherwise is named by its line, and the others still run.
func TestFailuresNameTheirLine(t *testing.T) {
	const head = "rules: city.yaml\ndefaults: currency=CNY\n"
	for _, tt := range []struct {
		name, body, want string
		broken           bool // the file cannot be read on
	}{
		{"outcome", "taps: amount | outcome\n  5001 | accept\n  1 | accept\n", "x.test:4: got outcome limit, by rule one-tap; want accept", false},
		{"rule", "taps: amount | outcome rule\n  5001 | limit one-day\n", "x.test:4: got rule one-tap, by rule one-tap; want one-day", false},
		{"route", "routes: amount up | contract\n  10000 alipay-main | other\n", "x.test:4: got contract alipay-main", false},
		{"column", "taps: amout | outcome\n", `x.test:3: taps: no column is called "amout"`, true},
		{"number", "taps: amount | outcome\n  many | accept\n", `x.test:4: amount: want a whole number`, true},
		{"time", "taps: at | outcome\n  noon | accept\n", `x.test:4: at: want a time`, true},
		{"cells", "taps: amount stop | outcome\n  1 | accept\n", "x.test:4: want 2 columns", true},
		{"nothing", "", "there is no case", true},
		{"word", "tap: amount\n", "x.test:3: want rules:", true},
	} {
		_, failures, err := policytest.Run("x.test", []byte(head+tt.body), load)
		got := ""
		if len(failures) > 0 {
			got = failures[0].Error()
		}
		if tt.broken {
			if err == nil {
				t.Errorf("%s: no error", tt.name)
				continue
			}
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) || len(failures) > 1 {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	_, _, err := policytest.Run("x.test", []byte("rules: bad.yaml\n"), func(string) ([]byte, error) {
		return []byte("citygate: rules/1\ntime_zone: Nowhere\n"), nil
	})
	var f policytest.Failure
	if !errors.As(err, &f) || f.File != "bad.yaml" {
		t.Errorf("a rule set that is none: %v", err)
	}
}
