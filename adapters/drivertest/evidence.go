package drivertest

import (
	"errors"
	"slices"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that look at the records of their own codes.

var evidenceCases = []testCase{
	{"evidence_genuine", "a record of the far side's own codes is genuine", checks, evidenceGenuine},
	{"evidence_changed", "a record of which one byte was changed is never genuine", checks, evidenceChanged},
	{"evidence_again", "a verdict is final: the same record gets the same whenever it is asked about", checks, evidenceAgain},
	{"evidence_free", "looking at a record takes no money", checks, evidenceFree},
	{"evidence_lost_reply", "a look whose reply was lost refuses nobody, and has its verdict when it is asked for again", checks, evidenceLostReply},
	{"evidence_garbled", "an answer about a record that makes no sense is no verdict", checks, evidenceGarbled},
	{"evidence_gone", "a look that reaches nobody is no verdict", checks, evidenceGone},
	{"evidence_size", "a record of no bytes, or of more than a validator gives, is not sent and has no verdict", checks, evidenceSize},
}

// An EvidenceHarness is a Harness whose far side makes records. An adapter that is a
// driver.EvidenceCheck has one.
type EvidenceHarness interface {
	Harness
	// Record gives a record of the far side's own codes, the same each time.
	Record() []byte
}

func checks(h Harness) bool { _, ok := driver.As[driver.EvidenceCheck](h.Provider()); return ok }

// looker gives what the cases of records need. A harness that has none fails them.
func looker(t TB, h Harness) (driver.EvidenceCheck, []byte) {
	t.Helper()
	has, ok := h.(EvidenceHarness)
	if !ok {
		t.Fatalf("the adapter is a driver.EvidenceCheck and its harness no EvidenceHarness: give it a Record method")
	}
	record := has.Record()
	if len(record) == 0 {
		t.Fatalf("there is no genuine record to ask about: the test system of a program names one (manifest.test.record)")
	}
	check, _ := driver.As[driver.EvidenceCheck](h.Provider())
	return check, slices.Clone(record)
}

// changed gives a record with one byte changed.
func changed(record []byte, at int) []byte {
	other := slices.Clone(record)
	other[at] ^= 1
	return other
}

func evidenceGenuine(t TB, h Harness) {
	check, record := looker(t, h)
	if v, why, err := check.CheckEvidence(t.Context(), record); err != nil || v != driver.EvidenceGenuine {
		t.Errorf("CheckEvidence of a genuine record = %q for %q, %v", v, why, err)
	}
}

func evidenceChanged(t TB, h Harness) {
	check, record := looker(t, h)
	for _, at := range []int{0, len(record) / 2, len(record) - 1} {
		if v, _, _ := check.CheckEvidence(t.Context(), changed(record, at)); v == driver.EvidenceGenuine {
			t.Errorf("CheckEvidence of a record whose byte %d was changed = %q", at, v)
		}
	}
}

func evidenceAgain(t TB, h Harness) {
	check, record := looker(t, h)
	for what, asked := range map[string][]byte{"a genuine record": record, "a changed record": changed(record, len(record)-1)} {
		first, _, err := check.CheckEvidence(t.Context(), asked)
		if err != nil {
			t.Errorf("CheckEvidence of %s: %v", what, err)
		}
		again, _, err := check.CheckEvidence(t.Context(), asked)
		if first != driver.EvidenceUnknown && (err != nil || again != first) {
			t.Errorf("CheckEvidence of %s = %q, and asked again %q, %v", what, first, again, err)
		}
	}
}

func evidenceFree(t TB, h Harness) {
	check, record := looker(t, h)
	for range 3 {
		_, _, _ = check.CheckEvidence(t.Context(), record) // what it says is another case's
	}
	moved(t, h)
}

// noVerdict checks that nothing was said about a record of which nobody can say.
func noVerdict(t TB, what string, v driver.EvidenceVerdict, err error) {
	t.Helper()
	if v != driver.EvidenceUnknown {
		t.Errorf("%s: CheckEvidence = %q, %v; want no verdict", what, v, err)
	}
}

func evidenceLostReply(t TB, h Harness) {
	check, record := looker(t, h)
	h.LoseNextReply()
	if v, _, err := check.CheckEvidence(t.Context(), record); v != driver.EvidenceGenuine { // net/http may have sent it again by itself
		noVerdict(t, "lost reply", v, err)
	}
	if v, _, err := check.CheckEvidence(t.Context(), record); err != nil || v != driver.EvidenceGenuine {
		t.Errorf("the same question again = %q, %v; want genuine", v, err)
	}
}

func evidenceGarbled(t TB, h Harness) {
	check, record := looker(t, h)
	h.GarbleNext()
	v, _, err := check.CheckEvidence(t.Context(), record)
	noVerdict(t, "an answer that makes no sense", v, err)
}

func evidenceGone(t TB, h Harness) {
	check, record := looker(t, h)
	die(t, h)
	v, _, err := check.CheckEvidence(t.Context(), record)
	noVerdict(t, "nobody is there", v, err)
	if err == nil {
		t.Errorf("CheckEvidence by nobody = no error")
	}
}

func evidenceSize(t TB, h Harness) {
	check, record := looker(t, h)
	large := append(record, make([]byte, driver.EvidenceMost+1-len(record))...)
	for _, asked := range [][]byte{nil, large} {
		v, _, err := check.CheckEvidence(t.Context(), asked)
		noVerdict(t, "a record of another size", v, err)
		if !errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("CheckEvidence of %d bytes: %v; want ErrNotPerformed", len(asked), err)
		}
	}
}
