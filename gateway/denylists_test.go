package gateway

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
)

// signed makes a credential as whoever has the issuer's key can make one.
func (o *office) signed(c ct1.Credential) []byte {
	o.t.Helper()
	ctx := o.t.Context()
	kid, version, err := o.Ring.Active(ctx, bus, keys.Credential)
	o.must(err)
	c.KeyID = kid
	message, err := ct1.BuildCredential(c)
	o.must(err)
	signatures, err := o.Ring.Signer().Sign(ctx, bus, keys.Credential, version, [][]byte{message})
	o.must(err)
	o.must(signatures[0].Err)
	credential, err := ct1.Assemble(message, signatures[0].Bytes)
	o.must(err)
	return credential
}

// A thief has the issuer's key, and every signature of his holds. Credentials he
// dates back, or gives an index nobody was given, are found out when the tap comes
// in; one that takes an honest rider's index when the fare is claimed. Nobody is
// charged for any of them.
func TestStolenIssuerKeyRidesOnNobodysAccount(t *testing.T) {
	o := open(t)
	o.onboard()
	honest := o.credential("phone")
	var genuine code.Code
	parse := func(credential []byte, device string) (c code.Code) {
		raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: 1, Party: 1, Medium: code.MediumBand},
			func(m []byte) ([]byte, error) { return ed25519.Sign(key(device), m), nil })
		o.must(err)
		o.must(ct1.Scheme{}.Parse(raw, &c))
		return c
	}
	yesterday := o.now()
	o.move(24 * time.Hour)
	genuine = parse(o.credential("watch"), "watch") // of today
	v := o.validator()
	forge := func(change func(c *ct1.Credential)) []byte {
		c := ct1.Credential{
			Suite: ct1.SuiteEd25519, Rider: genuine.Rider, IssuedAt: genuine.IssuedAt, TTLHours: 48, Product: 1, Cap: 50, Window: 30,
			DeviceKey: key("thief")[ed25519.SeedSize:],
		}
		change(&c)
		return o.signed(c)
	}
	want := map[string]string{}
	for name, change := range map[string]func(c *ct1.Credential){
		"dated back":   func(c *ct1.Credential) { c.IssuedAt = yesterday.Unix(); c.Rider.Index ^= 1 },
		"beyond":       func(c *ct1.Credential) { c.Rider.Index = 70_000 },
		"another week": func(c *ct1.Credential) { c.Rider.List -= 2 }, // of which nothing is known here
		"taken":        func(c *ct1.Credential) { c.Cap = 49 },
	} {
		want[name] = "refused not_issued"
		if name == "taken" || name == "another week" {
			want[name] = "recorded" // and refused when the fare is claimed
		}
		batch := o.board(v, forge(change), "thief")
		if got := o.upload(batch); !slices.Equal(got, []string{want[name]}) {
			t.Errorf("%s: %v, want %s", name, got, want[name])
		}
		b, err := tap.ParseBatch(batch)
		o.must(err)
		o.must(v.Ack(b.Hash))
		o.move(time.Minute)
	}
	o.settleDown()
	if n := o.audit.Rows(0, `SELECT count(*) FROM tap_verdicts WHERE reason = 'not_issued'`)[0][0].(int64); n != 2 {
		t.Errorf("%d taps were refused by the issuer, want those with an index that is taken and of another week", n)
	}
	if got := o.balances(); len(got) != 0 {
		t.Errorf("somebody owes for a thief's ride: %v", got)
	}
	// The rider himself goes on riding.
	if got := o.upload(o.board(v, honest, "phone")); !slices.Equal(got, []string{"recorded"}) {
		t.Errorf("the honest rider: %v", got)
	}
	o.settleDown()
	if got := o.balances(); len(got) != 2 {
		t.Errorf("the honest fare: %v", got)
	}
}

// What a terminal decided by is a figure of the fleet: which list, and how old it
// was.
func TestTerminalsShowTheAgeOfTheirLists(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	terminals := func() edge.Terminal {
		t.Helper()
		all := list[edge.Terminal](o, "terminals")
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	if got := terminals(); got.ListAge != nil || got.Lists != nil {
		t.Errorf("before any tap: %+v", got)
	}
	o.move(40 * time.Minute)
	batch := o.board(v, credential, "phone")
	o.upload(batch)
	got := terminals()
	if got.ListAge == nil || *got.ListAge != 2400 || len(got.Lists) != 1 || got.Lists[0].Seq != 1 || got.Lists[0].Issuer != uint16(issuer) {
		t.Fatalf("a list of forty minutes ago: %+v", got)
	}
	b, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(b.Hash))
	o.settleDown() // a heartbeat: nothing newer
	clock := o.now().UnixMilli()
	o.must(v.InstallHeartbeat(clock, o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/heartbeat", issuer), "", nil)))
	o.move(time.Minute)
	o.upload(o.board(v, o.credential("watch"), "watch"))
	if got := terminals(); *got.ListAge != 60 || got.Lists[0].Seq != 1 {
		t.Errorf("the heartbeat of a minute ago: %+v", got)
	}
	o.upload(batch) // comes again, and says nothing new
	if got := terminals(); *got.ListAge != 60 {
		t.Errorf("an old batch again: %+v", got)
	}
}
