package drivertest

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// What the README says of how many rules there are is true.
func TestThereAreAsManyRulesAsTheReadmeSays(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("`adapters/drivertest` holds more than ([0-9]+) rules").FindSubmatch(text)
	if said == nil {
		t.Fatal("the README does not say how many there are")
	}
	if n, err := strconv.Atoi(string(said[1])); err != nil || len(cases) <= n {
		t.Errorf("the README says more than %s, and there are %d", said[1], len(cases))
	}
}

// A fuzz test of files gets its time for files; what the command line says holds.
func FuzzFilesGetTheirTime(f *testing.F) {
	set := flag.Lookup(minimizeFlag)
	if set == nil {
		f.Fatalf("go test has no flag %s any more", minimizeFlag)
	}
	was := set.Value.String()
	if set.DefValue != minimizeDefault {
		f.Errorf("its default is %s", set.DefValue)
	}
	f.Cleanup(func() { _ = set.Value.Set(was) }) // as it was taken before
	for given, want := range map[string]string{minimizeDefault: "20x", "5s": "5s", "3x": "3x"} {
		if err := set.Value.Set(given); err != nil {
			f.Fatal(err)
		}
		if FuzzFiles(f); set.Value.String() != want {
			f.Errorf("from %s it is %s; want %s", given, set.Value, want)
		}
	}
	f.Fuzz(func(*testing.T, bool) {})
}
