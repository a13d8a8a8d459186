package collect

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A verifier says of a record what the record is.
type verifier struct{ driver.Provider }

func (verifier) Describe() driver.Description { return driver.Description{Name: "verifier"} }

func (verifier) CheckEvidence(_ context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
	switch string(record) {
	case "gone":
		return driver.EvidenceRefused, "LATE", errors.New("gone") // an error says nothing
	case "panic":
		panic("a driver's")
	}
	return driver.EvidenceVerdict(record), "FORGED", nil
}

// Only a final no of the provider keeps a charge from being sent: what nobody can say,
// and a word that is none, does not.
func TestOnlyForgeriesAreHeldBack(t *testing.T) {
	check, ok := adapters.New(verifier{}, time.Now).EvidenceCheck()
	if !ok {
		t.Fatal("no EvidenceCheck")
	}
	for _, c := range []struct {
		records []string
		want    string
	}{
		{nil, ""}, {[]string{"genuine"}, ""}, {[]string{""}, ""}, {[]string{"gone"}, ""}, {[]string{"panic"}, ""}, {[]string{"no"}, ""},
		{[]string{"refused"}, "evidence_refused FORGED"}, {[]string{"genuine", "gone", "refused"}, "evidence_refused FORGED"},
	} {
		var evidence [][]byte
		for _, r := range c.records {
			evidence = append(evidence, []byte(r))
		}
		if got := refusedEvidence(t.Context(), check, evidence); got != c.want {
			t.Errorf("%q: %q; want %q", c.records, got, c.want)
		}
	}
}
