package schemetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
)

// recorder runs a case without failing the test that runs it.
type recorder struct{ failed []string }

type stopped struct{}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stopped{})
}

// try runs one case on a suite and says how it failed.
func try(c testCase, s Suite) (failed []string) {
	r := new(recorder)
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(stopped); !ours {
				r.Errorf("panic: %v", p)
			}
		}
		failed = r.failed
	}()
	k := newKit(s, own(s), []sample{{"elsewhere", append([]byte{'E'}, make([]byte, toySize-1)...)}, {"text", []byte("hello")}})
	c.run(r, k)
	return nil // the deferred function gives the answer
}

func own(s Suite) (lines [][]byte) {
	for _, v := range s.Vectors {
		lines = append(lines, v.Raw)
	}
	return lines
}

func failing(s Suite) (names []string, why string) {
	for _, c := range cases {
		if failed := try(c, s); failed != nil {
			names = append(names, c.name)
			why += c.name + ": " + failed[0] + "\n"
		}
	}
	return names, why
}

func TestHonestSchemesPass(t *testing.T) {
	for _, s := range []toy{{}, {deferring: true}} {
		if names, why := failing(toySuite(s)); names != nil {
			t.Errorf("%+v fails %v:\n%s", s, names, why)
		}
	}
}

// Each broken scheme fails the case that is for it.
func TestBrokenSchemesFail(t *testing.T) {
	caught := map[string]bool{}
	for name, test := range map[string]struct {
		scheme toy
		want   string
	}{
		"claims less than it proves":                      {toy{wrongStrength: true}, "vectors"},
		"a cache hit stands for the device too":           {toy{moodyCache: true}, "mutations"},
		"trusts the key it was made with":                 {toy{trustsItself: true}, "nobody"},
		"recognises everything":                           {toy{sniffsAll: true}, "others"},
		"takes codes of other schemes":                    {toy{noMagic: true}, "others"},
		"leaves half a code behind":                       {toy{dirtyOnError: true}, "form"},
		"allocates on the cheap path":                     {toy{allocates: true}, "form"},
		"does not recognise its own":                      {toy{deaf: true}, "form"},
		"has errors of its own":                           {toy{ownError: true}, "form"},
		"keeps a part of the evidence":                    {toy{otherEvidence: true}, "form"},
		"refuses in its own words":                        {toy{mutedReason: true}, "verdicts"},
		"defers without a reason":                         {toy{deferSilently: true}, "verdicts"},
		"does not check the issuer":                       {toy{noIssuerProof: true}, "regions"},
		"does not cover the cap":                          {toy{capNotCovered: true}, "regions"},
		"does not cover the cap, found by chance":         {toy{capNotCovered: true}, "mutations"},
		"does not cover the counter, found by chance":     {toy{counterNotCovered: true}, "mutations"},
		"does not cover the time, found by chance":        {toy{timeNotCovered: true}, "mutations"},
		"does not check the issuer, found by chance":      {toy{noIssuerProof: true}, "mutations"},
		"panics on rare bytes":                            {toy{panics: true}, "mutations"},
		"takes trailing bytes for something":              {toy{trailing: true}, "mutations"},
		"defers with a replay key that can be kept":       {toy{deferring: true, oneUse: true, counterNotCovered: true}, "mutations"},
		"defers with a replay key that leaves a byte out": {toy{deferring: true, oneUse: true, counterNotCovered: true}, "regions"},
	} {
		names, why := failing(toySuite(test.scheme))
		if !slices.Contains(names, test.want) {
			t.Errorf("a scheme that %s passes %s; it fails %v\n%s", name, test.want, names, why)
		}
		caught[test.want] = true
	}
	for _, c := range cases {
		if !caught[c.name] {
			t.Errorf("case %s catches nothing", c.name)
		}
	}
}

// The suite itself is held too: what an author leaves out must show.
func TestSuitesThatShowNothingFail(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Suite)
		want   string
	}{
		"no vectors":              {func(s *Suite) { s.Vectors = nil }, "vectors"},
		"no accepted vector":      {func(s *Suite) { s.Vectors = s.Vectors[2:] }, "mutations"},
		"an unaccounted byte":     {func(s *Suite) { s.Vectors[0].Loose = nil }, "regions"},
		"a region of no check":    {func(s *Suite) { s.Vectors[0].Proven[4].Reason = code.BadSecret }, "regions"},
		"a region beyond the end": {func(s *Suite) { s.Vectors[0].Proven[4].To = 99 }, "regions"},
		"a wrong expectation":     {func(s *Suite) { s.Vectors[3].Reason = code.BadIssuerSignature }, "vectors"},
		"a code not published":    {func(s *Suite) { s.Vectors[0].Raw = bytes.Clone(s.Vectors[0].Raw); s.Vectors[0].Raw[34] = 1 }, "others"},
	} {
		s := toySuite(toy{})
		test.change(&s)
		k := newKit(s, own(toySuite(toy{})), []sample{{"elsewhere", []byte("hello")}})
		i := slices.IndexFunc(cases, func(c testCase) bool { return c.name == test.want })
		r := new(recorder)
		func() {
			defer func() { _ = recover() }()
			cases[i].run(r, k)
		}()
		if r.failed == nil {
			t.Errorf("%s passes", name)
		}
	}
	r := new(recorder)
	newKit(toySuite(toy{}), own(toySuite(toy{})), nil).others(recordOnly{r})
	if r.failed == nil {
		t.Error("a kit without other schemes' codes passes")
	}
}

type recordOnly struct{ *recorder }

func (r recordOnly) Fatalf(format string, args ...any) { r.Errorf(format, args...) }

func TestSamplesAreReadFromTheFoldersBeside(t *testing.T) {
	root := t.TempDir()
	write := func(scheme, text string) {
		dir := filepath.Join(root, scheme, "testdata")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "codes.txt"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mine", "# comment\n00ff # mine\n\n01\n")
	write("other", "aa\n")
	others, mine, err := samples(filepath.Join(root, "mine"))
	if err != nil || len(mine) != 2 || !bytes.Equal(mine[0], []byte{0, 0xff}) || len(others) != 1 || others[0].scheme != "other" {
		t.Errorf("%x, %+v, %v", mine, others, err)
	}
	if _, _, err := samples(filepath.Join(root, "third")); err == nil || !strings.Contains(err.Error(), "codes.txt") {
		t.Errorf("a scheme without codes: %v", err)
	}
	write("broken", "xyz\n")
	if _, _, err := samples(filepath.Join(root, "mine")); err == nil {
		t.Error("a line that is not hexadecimal")
	}
}
