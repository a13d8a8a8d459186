package gateway

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
)

// What a charge rests on is shown to the provider first, where the contract wants it:
// a ride whose record it takes for genuine is collected; one whose record it refuses is
// not asked for, and the charge says why. Both are simulated Alipays, over HTTP.
func TestRefusedEvidenceIsNotCharged(t *testing.T) {
	o := open(t)
	o.onboard()
	held, err := o.Ring.Ensure(t.Context(), actor, bus, keys.ProviderPurpose("alipay"), keys.RSA2048)
	o.must(err)
	public, err := keys.ParsePublic(held.Algorithm, held.Public)
	o.must(err)
	known, err := o.Bundle(t.Context(), bus)
	o.must(err)
	sims := map[string]*alipaysim.Server{}
	for name, trusted := range map[string]code.KeySource{"knows": known, "knows-not": nil} {
		sims[name], err = alipaysim.Start(alipaysim.Config{Clock: o.now, Keys: trusted, FindOffline: true,
			Merchants: []alipaysim.Merchant{{AppID: "2026", Account: "2088", Key: public.(*rsa.PublicKey), FeePPM: feePPM}}})
		o.must(err)
		t.Cleanup(sims[name].Close)
		der, err := x509.MarshalPKIXPublicKey(sims[name].Public())
		o.must(err)
		raw, err := json.Marshal(alipayproduct.Contract{Gateway: sims[name].URL(), AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der},
			Feeds: adapters.Feeds{CheckEvidence: true}})
		o.must(err)
		o.send(http.MethodPut, busPath("contracts/"+name), map[string]any{"adapter": "alipay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	}
	v := o.validator()
	for device, contract := range map[string]string{"ann": "knows", "ben": "knows-not"} {
		var answer struct {
			Issued []edge.IssuedCredential `json:"issued"`
		}
		o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
			RiderRef: "2088" + device, Contract: contract, DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
		}}}, &answer)
		batch := o.board(v, answer.Issued[0].Credential, device)
		if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
			t.Fatalf("the ride of %s: %v", device, got)
		}
		parsed, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(parsed.Hash))
	}
	o.until("one is collected", func() bool { return len(o.succeeded()) == 1 })
	for range 3 {
		o.move(10 * time.Minute)
		o.settleDown()
	}
	if got := sims["knows"].Book(); len(got) != 1 {
		t.Errorf("where the record is known %d orders are in the book; want one", len(got))
	}
	if got := sims["knows-not"].Book(); len(got) != 0 {
		t.Errorf("what was refused was asked for: %+v", got)
	}
	declined := slices.DeleteFunc(list[edge.Charge](o, "charges"), func(c edge.Charge) bool { return c.Contract != "knows-not" })
	if len(declined) == 0 || declined[0].State != "declined" || declined[0].Reason != "evidence_refused RECORD_VERIFY_FAIL" {
		t.Errorf("the charge says %+v", declined)
	}
	o.booksHold()
}
