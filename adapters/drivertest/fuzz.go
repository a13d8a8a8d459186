package drivertest

import (
	"flag"
	"testing"
)

// The flag by which go test says how long a new input of a fuzz test is made smaller
// for, and what it says by default.
const (
	minimizeFlag    = "test.fuzzminimizetime"
	minimizeDefault = "1m0s"
)

// FuzzFiles is called first by a fuzz test whose inputs are whole files. To make one of a
// kilobyte smaller Go tries every cut of it, for a minute: in the time that most runs are
// given (-fuzztime) nothing else was tried. Now it tries twenty, unless the command line
// says otherwise.
func FuzzFiles(f *testing.F) {
	f.Helper()
	set := flag.Lookup(minimizeFlag)
	if set == nil || set.Value.String() != minimizeDefault {
		return
	}
	if err := set.Value.Set("20x"); err != nil {
		f.Fatal(err)
	}
}
