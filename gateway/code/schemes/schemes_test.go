package schemes_test

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/policies/accept"
)

// parameters are what a scheme needs to read the codes it publishes, where its
// defaults do not.
var parameters = map[code.SchemeID]string{
	"opaque": `{"shapes":[
		{"provider":"alipay","kind":"payment","prefixes_hex":["3235","3236","3237","3238","3239","3330"],"min":16,"max":24,"digits":true},
		{"provider":"tencent","kind":"payment","prefixes_hex":["3130","3131","3132","3133","3134","3135"],"min":18,"max":18,"digits":true},
		{"provider":"alipay","list":"bus","kind":"ride","prefixes_hex":["0201a1"],"min":64,"max":400}]}`,
}

func all(t *testing.T) (list []code.Scheme) {
	t.Helper()
	for _, p := range schemes.All() {
		s, err := p.New([]byte(parameters[p.ID]))
		if err != nil {
			t.Fatalf("%s: %v", p.ID, err)
		}
		if s.ID() != p.ID {
			t.Errorf("%s makes %s", p.ID, s.ID())
		}
		list = append(list, s)
	}
	return list
}

// folder is where a scheme lives: its ID without hyphens.
func folder(id code.SchemeID) string { return strings.ReplaceAll(string(id), "-", "") }

// A validator that allows everything still finds each code's own scheme, in
// whatever order it was set up.
func TestEveryPublishedCodeFindsItsScheme(t *testing.T) {
	list := all(t)
	backwards := make([]code.Scheme, len(list))
	for i, s := range list {
		backwards[len(list)-1-i] = s
	}
	for _, d := range []*code.Dispatcher{code.NewDispatcher(list...), code.NewDispatcher(backwards...)} {
		for _, s := range list {
			data, err := os.ReadFile(filepath.Join("..", folder(s.ID()), "testdata", "codes.txt"))
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for line := range strings.Lines(string(data)) {
				text, _, _ := strings.Cut(line, "#")
				if strings.TrimSpace(text) == "" {
					continue
				}
				raw, err := hex.DecodeString(strings.TrimSpace(text))
				if err != nil {
					t.Fatal(err)
				}
				var own, c code.Code
				err = d.Parse(raw, &c)
				switch {
				case s.Parse(raw, &own) != nil: // what a scheme publishes as wrong is nobody's
					if err == nil {
						t.Errorf("a wrong code of %s is of %q: %x", s.ID(), c.Scheme, raw)
					}
				case err != nil || c.Scheme != s.ID():
					t.Errorf("a code of %s is of %q, %v: %x", s.ID(), c.Scheme, err, raw)
				default:
					found++
				}
			}
			if found == 0 {
				t.Errorf("%s publishes no code", s.ID())
			}
		}
	}
}

func TestEverySchemeIsListedOnce(t *testing.T) {
	listed := map[string]bool{}
	for _, p := range schemes.All() {
		if listed[folder(p.ID)] {
			t.Errorf("%s is listed twice", p.ID)
		}
		listed[folder(p.ID)] = true
		if got, err := schemes.Find(p.ID); err != nil || got.ID != p.ID {
			t.Errorf("Find(%s) = %s, %v", p.ID, got.ID, err)
		}
		if _, err := p.New([]byte(`{"no_such_parameter":1}`)); err == nil {
			t.Errorf("%s takes a parameter it does not know", p.ID)
		}
		if _, err := p.New([]byte(`{"skew_s":-5}`)); err == nil {
			t.Errorf("%s takes a skew below zero", p.ID)
		}
		if _, err := p.Trust([]byte(`{"no_such_key":1}`)); err == nil {
			t.Errorf("%s takes trust it does not know", p.ID)
		}
		if keys, err := p.Trust(nil); err != nil || keys == nil {
			t.Errorf("%s without trust: %v, %v", p.ID, keys, err)
		}
	}
	folders, err := filepath.Glob(filepath.Join("..", "*", "testdata", "codes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range folders {
		if name := filepath.Base(filepath.Dir(filepath.Dir(file))); !listed[name] {
			t.Errorf("gateway/code/%s is not listed in schemes.go", name)
		}
	}
	if _, err := schemes.Find("nobody's"); err == nil || !strings.Contains(err.Error(), "ct1") {
		t.Errorf("an unknown scheme: %v", err)
	}
}

// Samples are what speed is measured on: each must be what it says.
func TestSamplesAreGenuine(t *testing.T) {
	for _, p := range schemes.All() {
		if p.Samples == nil {
			continue
		}
		list, err := p.Samples(rand.Reader)
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: %d samples, %v", p.ID, len(list), err)
		}
		for _, s := range list {
			trial := accept.Trial{Scheme: s.Scheme, Keys: s.Keys, At: s.At * 1000}
			if v := trial.Judge(s.Raw, new(code.Code)); v.Outcome == code.Reject {
				t.Errorf("%s %s: %+v", p.ID, s.Name, v)
			}
			if s.Bare != nil && !s.Bare() {
				t.Errorf("%s %s: its own signatures do not hold", p.ID, s.Name)
			}
			if v := (&accept.Trial{Scheme: s.Scheme, Keys: new(code.Trust), At: s.At * 1000}).Judge(s.Raw, new(code.Code)); v.Outcome == code.Accept {
				t.Errorf("%s %s: accepted with nobody's keys", p.ID, s.Name)
			}
		}
	}
}
