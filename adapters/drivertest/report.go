package drivertest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// A Verdict is what came of one case.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped" // the adapter does not have the ability
	Broken  Verdict = "error"   // the harness could not be made
)

// A Finding is one case of a [Report].
type Finding struct {
	Case    string   `json:"case"`
	Rule    string   `json:"rule"`
	Verdict Verdict  `json:"verdict"`
	Faults  []string `json:"faults,omitempty"`
}

// A Report is what the kit found about an adapter.
type Report struct {
	Adapter  string    `json:"adapter"`
	Version  string    `json:"version"`
	Passed   int       `json:"passed"`
	Failed   int       `json:"failed"`
	Skipped  int       `json:"skipped"`
	Findings []Finding `json:"findings"`
}

// Conforms reports whether no case failed and at least one passed.
func (r Report) Conforms() bool { return r.Failed == 0 && r.Passed > 0 }

// Examine runs every case that applies, each against a fresh harness, outside of
// go test: for adapters that are programs of their own.
func Examine(ctx context.Context, newHarness func(context.Context) (Harness, error)) Report {
	var r Report
	for _, c := range cases {
		r.Add(examine(ctx, c, newHarness, &r))
	}
	return r
}

// Add puts a finding into the report, of a case here or of one that only the protocol
// of an adapter outside of this program has.
func (r *Report) Add(f Finding) {
	switch f.Verdict {
	case Passed:
		r.Passed++
	case Skipped:
		r.Skipped++
	case Failed, Broken:
		r.Failed++
	}
	r.Findings = append(r.Findings, f)
}

func examine(ctx context.Context, c testCase, newHarness func(context.Context) (Harness, error), r *Report) Finding {
	f := Finding{Case: c.name, Rule: c.rule, Verdict: Passed}
	h, err := newHarness(ctx)
	if err != nil {
		f.Verdict, f.Faults = Broken, []string{err.Error()}
		return f
	}
	about := h.Provider().Describe()
	r.Adapter, r.Version = about.Name, about.Version
	if !c.can(h) {
		f.Verdict = Skipped
		return f
	}
	t := &examiner{ctx: ctx}
	done := make(chan struct{})
	go func() { // Fatalf ends this goroutine and no other
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("panic: %v", p)
			}
		}()
		c.run(t, h)
	}()
	<-done
	if len(t.faults) > 0 {
		f.Verdict, f.Faults = Failed, t.faults
	}
	return f
}

// An examiner is a TB outside of go test.
type examiner struct {
	ctx    context.Context
	faults []string
}

func (t *examiner) Helper()                  {}
func (t *examiner) Context() context.Context { return t.ctx }
func (t *examiner) Errorf(format string, args ...any) {
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}
func (t *examiner) Fatalf(format string, args ...any) { t.Errorf(format, args...); runtime.Goexit() }

// WriteTable writes the report for people: one line for each case, and under a
// case that failed its rule and what was wrong.
func (r Report) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\n", f.Verdict, f.Case, f.Rule); err != nil {
			return err
		}
		for _, fault := range f.Faults {
			if _, err := fmt.Fprintf(table, "\t\t- %s\n", strings.ReplaceAll(fault, "\n", " ")); err != nil {
				return err
			}
		}
	}
	if _, err := fmt.Fprintf(table, "%s %s: %d passed, %d failed, %d do not apply\n", r.Adapter, r.Version, r.Passed, r.Failed, r.Skipped); err != nil {
		return err
	}
	return table.Flush()
}

// WriteJSON writes the report as conformance.json.
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Failure *junitFailure `xml:"failure,omitempty"`
		Skipped *struct{}     `xml:"skipped,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit XML.
func (r Report) WriteJUnit(w io.Writer) error {
	s := junitSuite{Name: "conformance " + r.Adapter, Tests: len(r.Findings), Failures: r.Failed, Skipped: r.Skipped}
	for _, f := range r.Findings {
		c := junitCase{Name: f.Case, Class: r.Adapter}
		switch f.Verdict {
		case Failed, Broken:
			c.Failure = &junitFailure{f.Rule, strings.Join(f.Faults, "\n")}
		case Skipped:
			c.Skipped = &struct{}{}
		case Passed:
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
