package remotetest

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// What the gateway asks of an agreement and what a program says of it come out as they
// went in.
func TestAgreementsTravel(t *testing.T) {
	p := newProduct()
	d := adapters.New(open(t, serve(t, p, nil), http.DefaultClient), time.Now)
	manages, ok := d.Agreements()
	if !ok || !d.ByAgreement() {
		t.Fatal("no agreements, or no debits on them")
	}
	asked := driver.AgreementRequest{
		OurID: "AGR1", RiderRef: "ann", Purpose: "rides & more", SingleMax: citygate.Money{Minor: 5000, Currency: "HKD"},
		NotifyURL: "https://gateway.example/v1/notify/http/agreements", ReturnURL: "https://operator.example/back?a=1&b=2",
	}
	i, err := manages.OpenAgreement(t.Context(), asked)
	if err != nil || i != (driver.Invitation{OurID: "AGR1", URL: "toy://agree?AGR1"}) || p.asked != asked {
		t.Errorf("OpenAgreement = %+v, %v; the program was asked %+v", i, err, p.asked)
	}
	if err := p.Agree("AGR1"); err != nil {
		t.Fatal(err)
	}
	want := driver.Agreement{OurID: "AGR1", ID: "N-AGR1", RiderRef: "ann", State: driver.AgreementActive, ValidFrom: p.now, SingleMax: asked.SingleMax, ReasonCode: "signed"}
	for _, of := range []driver.Agreement{{OurID: "AGR1"}, {ID: "N-AGR1"}} {
		if a, err := manages.QueryAgreement(t.Context(), of); err != nil || a != want {
			t.Errorf("QueryAgreement(%+v) = %+v, %v; want %+v", of, a, err, want)
		}
	}
	want.State = driver.AgreementEnded
	if a, err := manages.CloseAgreement(t.Context(), want); err != nil || a != want {
		t.Errorf("CloseAgreement = %+v, %v", a, err)
	}
	if _, err := manages.QueryAgreement(t.Context(), driver.Agreement{}); !errors.Is(err, adapters.ErrNotSent) {
		t.Errorf("a question about none: %v", err)
	}
}

// Whatever a program says of another agreement, or in no words of the contract, is not
// believed: the outcome is open.
func TestAgreementsOfOthersAreNotBelieved(t *testing.T) {
	both := driver.Agreement{OurID: "A", ID: "7"}
	manages := func(path, text string) *adapters.Agreements {
		m, _ := adapters.New(open(t, saying(t, path, text), http.DefaultClient), time.Now).Agreements()
		return m
	}
	for text, of := range map[string]driver.Agreement{
		`{"id":"B","provider_id":"7","state":"active"}`:              both,
		`{"id":"A","provider_id":"8","state":"ended"}`:               both,
		`{"id":"A","state":"ended"}`:                                 both, // of which number?
		`{"id":"A","provider_id":"8","state":"active"}`:              {ID: "7"},
		`{"id":"","state":"ended"}`:                                  {ID: "7"},
		`{"id":"A","provider_id":"7","state":"signed"}`:              both,         // no word
		`{"id":"A","state":"active"}`:                                {OurID: "A"}, // in force, and nobody could be debited on it
		`{"id":"A","provider_id":"7\u0000","state":"active"}`:        {OurID: "A"}, // cannot be kept
		`{"id":"A","provider_id":"7","rider":"\n","state":"active"}`: both,
		`null`: both,
	} {
		if a, err := manages("/v1/agreement/query", text).QueryAgreement(t.Context(), of); !errors.Is(err, adapters.ErrOpen) || a != (driver.Agreement{}) {
			t.Errorf("asked about %+v, %s is heard as %+v, %v", of, text, a, err)
		}
	}
	if a, err := manages("/v1/agreement/close", `{"id":"B","state":"ended"}`).CloseAgreement(t.Context(), driver.Agreement{OurID: "A"}); !errors.Is(err, adapters.ErrOpen) {
		t.Errorf("the end of another: %+v, %v", a, err)
	}
	for _, text := range []string{`{"id":"B","url":"https://wallet.example"}`, `{"id":"A","url":""}`, `{"id":"A","url":"https://wallet.example/\u0007"}`, `{}`} {
		if i, err := manages("/v1/agreement/open", text).OpenAgreement(t.Context(), driver.AgreementRequest{OurID: "A"}); !errors.Is(err, adapters.ErrOpen) || i.URL != "" {
			t.Errorf("%s is heard as %+v, %v", text, i, err)
		}
	}
	raw := open(t, saying(t, "/v1/agreement/open", `{"id":"B","url":"https://wallet.example"}`), http.DefaultClient)
	if i, err := raw.OpenAgreement(t.Context(), driver.AgreementRequest{OurID: "A"}); err == nil {
		t.Errorf("an invitation to another agreement: %+v", i)
	}
}
