package gateway

import (
	"crypto/ed25519"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// A phone proves itself by signing a challenge and shows no code: once, in time,
// and to the tenant that asked.
func TestADeviceSignsAChallengeInPlaceOfACode(t *testing.T) {
	o := open(t)
	o.onboard()
	mine := o.credential("phone")
	o.upload(o.board(o.validator(), mine, "phone"))
	o.settleDown()
	challenge := func() (c edge.DeviceChallenge) {
		o.send(http.MethodPost, busPath("rider/challenge"), nil, &c)
		return c
	}
	answer := func(tenant citygate.TenantID, challenge []byte, device string) []byte {
		signature := ed25519.Sign(key(device), ct1.ChallengeMessage(challengeText(tenant, challenge)))
		return slices.Concat([]byte(answerMagic), mine, challenge, signature)
	}
	first := challenge()
	if len(first.Challenge) != challengeSize || first.ExpiresAt.Sub(o.now()) != 10*time.Minute {
		t.Fatalf("challenge %+v", first)
	}
	good := answer(bus, first.Challenge, "phone")
	if got := o.trips(good); len(got) != 1 || got[0].Fare.Minor != price {
		t.Errorf("trips %+v", got)
	}
	late := challenge()
	o.move(5 * time.Minute)
	fresh := challenge()
	foreign := answer(rail, fresh.Challenge, "phone")
	stranger := answer(bus, fresh.Challenge, "another phone")
	made := answer(bus, make([]byte, challengeSize), "phone")
	for name, raw := range map[string][]byte{"used": good, "of another tenant": foreign, "by another key": stranger, "of no challenge of ours": made,
		"cut": good[:len(good)-1], "bare": []byte(answerMagic + "0123456789012345678901234567890123456789")} {
		if got := o.refused(http.MethodPost, busPath("rider/trips"), edge.ByCode{Code: raw}); got != "rider.proof" {
			t.Errorf("an answer %s: %s", name, got)
		}
	}
	if got := o.inspected(answer(bus, fresh.Challenge, "phone")); got != "not_valid" {
		t.Errorf("an answer is no ticket: %s", got)
	}
	if got := o.trips(answer(bus, fresh.Challenge, "phone")); len(got) != 1 {
		t.Errorf("refusals used it up: %+v", got)
	}
	o.move(6 * time.Minute)
	if got := o.refused(http.MethodPost, busPath("rider/trips"), edge.ByCode{Code: answer(bus, late.Challenge, "phone")}); got != "rider.proof" {
		t.Errorf("after its time: %s", got)
	}
	var nobody edge.DeviceChallenge
	o.send(http.MethodPost, "/v1/tenants/880088/rider/challenge", nil, &nobody)
	if len(nobody.Challenge) != challengeSize || nobody.ExpiresAt.IsZero() {
		t.Errorf("a tenant that does not exist is told apart: %+v", nobody)
	}
	last := answer(bus, challenge().Challenge, "phone")
	o.move(48 * time.Hour)
	if got := o.refused(http.MethodPost, busPath("rider/trips"), edge.ByCode{Code: last}); got != "rider.proof" {
		t.Errorf("of a credential that has run out: %s", got)
	}
}
