package remotetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
)

// A looking product says of every record what it is made to say.
type looking struct {
	*product
	says driver.EvidenceVerdict
	err  error
}

func (l looking) CheckEvidence(context.Context, []byte) (driver.EvidenceVerdict, string, error) {
	return l.says, "why", l.err
}

// What a program says of a record comes out as it went in; what it does not say, a word
// that is none and an answer about another record are no verdict, and only its
// not_performed is certain.
func TestVerdictsTravel(t *testing.T) {
	ask := func(l looking, line driver.Doer, record []byte) (driver.EvidenceVerdict, string, error) {
		t.Helper()
		target := serve(t, l.product, func(p *remote.Program) {
			p.Open = func(remote.Terms) (driver.Provider, error) { return l, nil }
		})
		check, ok := adapters.New(open(t, target, line), time.Now).EvidenceCheck()
		if !ok {
			t.Fatal("no EvidenceCheck")
		}
		return check.CheckEvidence(t.Context(), record)
	}
	record := []byte{0, 1, 0xff}
	for said, want := range map[driver.EvidenceVerdict]driver.EvidenceVerdict{
		driver.EvidenceGenuine: driver.EvidenceGenuine, driver.EvidenceRefused: driver.EvidenceRefused, driver.EvidenceUnknown: driver.EvidenceUnknown, "perhaps": driver.EvidenceUnknown,
	} {
		if v, why, err := ask(looking{newProduct(), said, nil}, http.DefaultClient, record); v != want || err != nil || (want != driver.EvidenceUnknown && why != "why") {
			t.Errorf("%q is heard as %q, %q, %v", said, v, why, err)
		}
	}
	for fault, want := range map[error]error{driver.ErrNotPerformed: adapters.ErrNotSent, errors.New("broken"): adapters.ErrOpen} {
		if v, _, err := ask(looking{newProduct(), driver.EvidenceGenuine, fault}, http.DefaultClient, record); v != driver.EvidenceUnknown || !errors.Is(err, want) {
			t.Errorf("%v is heard as %q, %v", fault, v, err)
		}
	}
	own := sha256.Sum256(record)
	for text, want := range map[string]driver.EvidenceVerdict{
		`{"verdict":"genuine","record_sha256":"` + hex.EncodeToString(own[:]) + `"}`: driver.EvidenceGenuine,
		`{"verdict":"genuine","record_sha256":"` + strings.Repeat("0", 64) + `"}`:    driver.EvidenceUnknown, // of another record
		`{"verdict":"genuine"}`: driver.EvidenceUnknown, // of none
		`[]`:                    driver.EvidenceUnknown,
	} {
		check, _ := adapters.New(open(t, saying(t, "/v1/evidence", text), http.DefaultClient), time.Now).EvidenceCheck()
		if v, _, err := check.CheckEvidence(t.Context(), record); v != want || (want == driver.EvidenceUnknown) != errors.Is(err, adapters.ErrOpen) {
			t.Errorf("%s is heard as %q, %v", text, v, err)
		}
	}
	if v, _, err := ask(looking{newProduct(), driver.EvidenceGenuine, nil}, nobody{t}, make([]byte, driver.EvidenceMost+1)); v != driver.EvidenceUnknown || !errors.Is(err, adapters.ErrNotSent) {
		t.Errorf("a record that no validator gives: %q, %v", v, err)
	}
}

// nobody is a line that nothing may be sent on.
type nobody struct{ t *testing.T }

func (n nobody) Do(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s was sent", r.URL)
	return nil, errors.New("nobody")
}
