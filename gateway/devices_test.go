package gateway

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
)

// bind registers a device with an Ed25519 key over HTTP and gives its credential.
func (o *office) bind(device string, r edge.RegisterDevice) (edge.DeviceView, edge.RenewedCredential) {
	o.t.Helper()
	var challenge struct {
		Challenge []byte `json:"challenge"`
	}
	o.send(http.MethodPost, busPath("device-challenges"), nil, &challenge)
	r.Suite, r.PublicKey, r.Challenge = ct1.SuiteEd25519, key(device)[ed25519.SeedSize:], challenge.Challenge
	r.Signature = ed25519.Sign(key(device), issuance.Proof(bus, r.Challenge, r.PublicKey))
	var v edge.DeviceView
	o.send(http.MethodPost, busPath("devices"), r, &v)
	return v, o.renew(v)
}

func (o *office) renew(v edge.DeviceView) (c edge.RenewedCredential) {
	o.t.Helper()
	o.send(http.MethodPost, busPath("devices/"+v.ID+"/credential"), nil, &c)
	return c
}

// show shows a device's code number ctr at the bus and gives why it was refused.
func (o *office) show(v *terminal.Verifier, device string, c edge.RenewedCredential, ctr uint16) code.Reason {
	o.t.Helper()
	raw, err := ct1.Display(c.Credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: ctr, Party: 1}, func(m []byte) ([]byte, error) { return ed25519.Sign(key(device), m), nil })
	o.must(err)
	d, err := v.Tap(o.now().UnixMilli(), raw, terminal.Input{
		MonotonicMS: 60_000, Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "Central", Route: "12", Vehicle: "V-12", TariffVersion: 1,
	})
	o.must(err)
	return d.Reason
}

// A thief of phone and band rides at a validator that is offline until the tap
// budgets are used up, and no longer than until the list that the report of the
// loss made is there. What he rode for is under the figure the policy states.
func TestThiefOfPhoneAndBand(t *testing.T) {
	o := open(t)
	o.onboard()
	var policy edge.PolicyDocument
	o.send(http.MethodPut, busPath("issuance-policy"), issuance.Policy{
		Phone: issuance.Limits{Cap: 5, Taps: 4, TTLHours: 48, WindowSeconds: 30}, Band: issuance.Limits{Cap: 5, Taps: 2, TTLHours: 12, WindowSeconds: 60},
		Product: 1, Concessions: []issuance.Concession{}, BandsPerPhone: 1, WaitAfterLossHours: 72,
	}, &policy)
	phone, mobile := o.bind("phone", edge.RegisterDevice{Kind: "phone", Contract: "sandbox", RiderRef: "rider-1", Vouched: true})
	_, strap := o.bind("band", edge.RegisterDevice{Kind: "band", Phone: phone.ID})
	v := o.validator()

	rode := int64(0)
	for ctr := uint16(1); ctr <= 3; ctr++ {
		for device, c := range map[string]edge.RenewedCredential{"phone": mobile, "band": strap} {
			want := code.Reason("")
			if device == "band" && ctr > 2 {
				want = code.TapsExhausted
			} else {
				rode += price
			}
			if got := o.show(v, device, c, ctr); got != want {
				t.Errorf("%s, code %d: %q, want %q", device, ctr, got, want)
			}
		}
	}
	if again := o.renew(phone); again.List != mobile.List || again.Index != mobile.Index { // before half of its life no fresh budget
		t.Errorf("renewed at once: %+v, %+v", again, mobile)
	}
	var lost struct {
		Items []edge.DeviceView `json:"items"`
	}
	o.send(http.MethodPost, busPath("accounts/"+phone.Account+"/losses"), map[string]string{"lost": "both"}, &lost)
	if len(lost.Items) != 2 || lost.Items[0].State != "lost" || lost.Items[1].State != "lost" {
		t.Errorf("lost: %+v", lost.Items)
	}
	o.settleDown() // the next lists are published
	for _, l := range heads(o) {
		o.must(v.InstallList(o.now().UnixMilli(), o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", issuer, l.List), "", nil)))
	}
	if got := o.show(v, "phone", mobile, 4); got != code.Denied {
		t.Errorf("with the list of the loss: %q, want %q", got, code.Denied)
	}
	batch, err := v.NextBatch(0)
	o.must(err)
	o.upload(batch)
	o.settleDown()
	charged := int64(0)
	for _, j := range list[edge.Journey](o, "journeys") {
		if j.Fare != nil {
			charged += j.Fare.Minor
		}
	}
	if charged != rode || charged > policy.LargestLoss.Minor {
		t.Errorf("the thief rode for %d, charged are %d, the policy states %d", rode, charged, policy.LargestLoss.Minor)
	}
	if policy.LargestLoss.Minor != 2*(4*5+2*5)*100 {
		t.Errorf("the policy states %+v", policy.LargestLoss)
	}
	o.booksHold()
}

func heads(o *office) []edge.ListHead {
	var answer struct {
		Lists []edge.ListHead `json:"lists"`
	}
	o.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", issuer), nil, &answer)
	return answer.Lists
}

// look shows a code at the bus and gives why it was refused.
func (o *office) look(v *terminal.Verifier, raw []byte) code.Reason {
	return o.lookAt(v, raw, "Central")
}

func (o *office) lookAt(v *terminal.Verifier, raw []byte, stop string) code.Reason {
	o.t.Helper()
	d, err := v.Tap(o.now().UnixMilli(), raw, terminal.Input{
		MonotonicMS: 60_000, Clock: tap.ClockGNSS, Kind: tap.Single, Stop: stop, Route: "12", Vehicle: "V-12", TariffVersion: 1,
	})
	o.must(err)
	return d.Reason
}

// A wallet's codes are made ahead. A validator that is offline takes the one of
// the present window, once, and no other; when the phone with the wallet is lost
// the next delta ends them all. The rides are charged, and stay under the loss that
// batch and policy state.
func TestWalletRidesOnABatch(t *testing.T) {
	o := open(t)
	o.onboard()
	var policy edge.PolicyDocument
	o.send(http.MethodPut, busPath("issuance-policy"), issuance.Policy{
		Phone: issuance.Limits{Cap: 5, Taps: 40, TTLHours: 48, WindowSeconds: 30}, Band: issuance.Limits{Cap: 5, Taps: 2, TTLHours: 12, WindowSeconds: 60},
		Batch: &issuance.BatchLimits{Cap: 5, Windows: 10, WindowSeconds: 60}, Product: 1, Concessions: []issuance.Concession{}, BandsPerPhone: 1, WaitAfterLossHours: 72,
	}, &policy)
	var w edge.DeviceView
	o.send(http.MethodPost, busPath("devices"), edge.RegisterDevice{Kind: "wallet", Contract: "sandbox", RiderRef: "rider-1", Medium: "pass-7"}, &w)
	var b, again edge.CodeBatch
	o.send(http.MethodPost, busPath("devices/"+w.ID+"/batch"), nil, &b)
	o.send(http.MethodPost, busPath("devices/"+w.ID+"/batch"), nil, &again) // the answer was lost
	if len(b.Codes) != 10 || b.From != o.now().Unix() || b.Until-b.From != 600 || string(b.Codes[9]) != string(again.Codes[9]) || again.Index != b.Index {
		t.Fatalf("a batch of %d codes from %d until %d", len(b.Codes), b.From, b.Until)
	}
	if b.Strength != "static_signed" || b.LargestLoss.Minor != 10*5*100 || policy.BatchLoss.Minor != 2*b.LargestLoss.Minor || len(w.PublicKey) != 0 || !w.Keyless {
		t.Errorf("stated: %s, %v, %v, %+v", b.Strength, b.LargestLoss, policy.BatchLoss, w)
	}
	v := o.validator() // holds bundle and lists of now
	o.must(v.InstallList(o.now().UnixMilli(), o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", issuer, b.List), "", nil)))
	o.move(151 * time.Second) // in the third window, as far from the others as the policy's 30 s for clocks go
	for i, want := range map[int]code.Reason{0: code.ExpiredCode, 1: code.ExpiredCode, 4: code.NotYetValid, 9: code.NotYetValid} {
		if got := o.look(v, b.Codes[i]); got != want {
			t.Errorf("code %d in the third window: %q, want %q", i, got, want)
		}
	}
	if got := o.look(v, b.Codes[2]); got != "" {
		t.Errorf("the present code: %q", got)
	}
	if got := o.look(v, b.Codes[2]); got != code.Replayed {
		t.Errorf("a copy of it: %q, want %q", got, code.Replayed)
	}
	o.send(http.MethodPost, busPath("accounts/"+w.Account+"/losses"), map[string]string{"lost": "phone"}, &struct{}{})
	o.move(60 * time.Second)
	if got := o.look(v, b.Codes[3]); got != "" {
		t.Errorf("before the list of the loss: %q", got)
	}
	seq := heads(o)[0].Seq
	o.settleDown()
	next := heads(o)[0].Seq
	o.must(v.InstallDelta(o.now().UnixMilli(), o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d/%d/from/%d", issuer, b.List, next, seq), "", nil)))
	o.move(60 * time.Second)
	if got := o.look(v, b.Codes[4]); got != code.Denied {
		t.Errorf("with the next delta: %q, want %q", got, code.Denied)
	}
	batch, err := v.NextBatch(0)
	o.must(err)
	o.upload(batch)
	o.settleDown()
	charged := int64(0)
	for _, j := range list[edge.Journey](o, "journeys") {
		if j.Fare != nil {
			charged += j.Fare.Minor
		}
	}
	if charged != 2*price || charged > b.LargestLoss.Minor {
		t.Errorf("charged %d for two rides", charged)
	}
	o.booksHold()
}
