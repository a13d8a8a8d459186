package terminal_test

import (
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/rotating"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/code/tokendefer"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// ministry is a city of the Ministry's layout: its root, an issuer and a phone.
type ministry struct {
	scheme             *motsm2.Scheme
	root, issuer, user *sm2.PrivateKey
}

func newMinistry(t *testing.T) *ministry {
	t.Helper()
	s, err := motsm2.New(motsm2.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	m := &ministry{scheme: s}
	for _, key := range []**sm2.PrivateKey{&m.root, &m.issuer, &m.user} {
		if *key, err = sm2.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *ministry) show(t *testing.T, at int64) []byte {
	t.Helper()
	by := func(key *sm2.PrivateKey) motsm2.Sign {
		return func(uid, msg []byte) ([]byte, error) { return key.Sign(rand.Reader, uid, msg) }
	}
	cert, err := m.scheme.BuildCertificate(motsm2.Certificate{Version: 0x80, RootIndex: 1, Month: 12, Year: 2099, Key: sm2.Compress(m.issuer.Public())}, by(m.root))
	if err != nil {
		t.Fatal(err)
	}
	authorised, err := m.scheme.BuildAuthorisation(motsm2.Authorisation{Version: 0x80, Certificate: cert, CardIssuer: 1, Platform: 1, CapMinor: 500,
		UserKey: sm2.Compress(m.user.Public()), ExpiresAt: start + 86_400, Validity: 60}, by(m.issuer))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.scheme.Display(authorised, at, by(m.user))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (m *ministry) entry(tenant citygate.TenantID, issuer citygate.Issuer) bundle.Scheme {
	return bundle.Scheme{Tenant: tenant, ID: motsm2.ID, Params: fmt.Appendf(nil, `{"issuer":%d}`, issuer),
		Roots: []bundle.ForeignRoot{{Kind: motsm2.RootKey(1).Kind, ID: 1, Key: sm2.Compress(m.root.Public())}}}
}

// reader gives a terminal that knows every scheme, whose policy takes some and
// whose bundle says how to read entries.
func reader(t *testing.T, files terminal.Files, entries []bundle.Scheme, deferred ...accept.DeferredRule) *terminal.Verifier {
	t.Helper()
	c := config(files)
	c.Plugins = schemes.All()
	v, err := terminal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	r := rules(1)
	r.Schemes, r.Deferred = []code.SchemeID{motsm2.ID, rotating.ID, tokendefer.ID}, deferred
	raw := makeBundle(t, r, func(b *bundle.Bundle) {
		b.Number, b.Schemes = 1, entries
		b.Tenants[1].Issuer = 8 // the operator issues codes too
	})
	if err := v.InstallBundle(start*1000, raw); err != nil {
		t.Fatal(err)
	}
	return v
}

func token(t *testing.T, last byte) []byte {
	t.Helper()
	raw, err := tokendefer.Build("palm", append(make([]byte, 19), last))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What a terminal reads its bundle says, down to the keys; anything else is
// unsupported, before and after a restart.
func TestSchemesComeFromTheBundle(t *testing.T) {
	city, other := newMinistry(t), newMinistry(t)
	files := newDisk()
	v := reader(t, files, []bundle.Scheme{city.entry(20, issuer)})
	display := city.show(t, start)
	for _, c := range []struct {
		name string
		raw  []byte
		want code.Reason
	}{
		{"genuine", display, ""},
		{"the same again", display, code.Replayed},
		{"under another root", other.show(t, start), code.BadIssuerCert},
		{"a scheme of the policy that the bundle does not have", token(t, 1), code.Unsupported},
		{"nobody's", []byte("hello"), code.Unsupported},
	} {
		if d := mustTap(t, v, 1, c.raw); d.Reason != c.want {
			t.Errorf("%s: %q, want %q", c.name, d.Reason, c.want)
		}
	}
	if got := v.Status().Unread; len(got) != 2 || got[0].Scheme != rotating.ID || got[1].Scheme != tokendefer.ID {
		t.Errorf("not read: %v", got)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	c := config(files)
	c.Plugins = schemes.All()
	v, err := terminal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if d := mustTap(t, v, 2, display); d.Reason != code.Replayed {
		t.Errorf("after a restart: %q", d.Reason)
	}
	if d := mustTap(t, v, 3, city.show(t, start+3)); !d.Open {
		t.Errorf("another display after a restart: %q", d.Reason)
	}
}

// The operator's own entry counts first; two of others leave nobody to answer for
// a code; and no tenant has codes answered for by another.
func TestWhoseEntryCounts(t *testing.T) {
	city, other := newMinistry(t), newMinistry(t)
	own := city.entry(tenant, 8)
	for name, c := range map[string]struct {
		entries []bundle.Scheme
		want    code.Reason
	}{
		"its own before another's": {[]bundle.Scheme{{Tenant: 20, ID: motsm2.ID, Params: []byte(`{"issuer":7,"certificate":"absent"}`)}, own}, code.UnknownIssuer},
		"for another tenant":       {[]bundle.Scheme{city.entry(20, 8)}, code.Unsupported},
		"for nobody":               {[]bundle.Scheme{city.entry(20, 0)}, code.Unsupported},
		"not readable":             {[]bundle.Scheme{{Tenant: 20, ID: motsm2.ID, Params: []byte(`{"issuer":7,"field_order":"none"}`)}}, code.Unsupported},
	} {
		// Issuer 8 has no rule in the policy: its codes are read, and refused as its.
		if d := mustTap(t, reader(t, newDisk(), c.entries), 1, city.show(t, start)); d.Reason != c.want {
			t.Errorf("%s: %q, want %q", name, d.Reason, c.want)
		}
	}
	b := &bundle.Bundle{Tenants: []bundle.Tenant{{ID: 20, Issuer: issuer}, {ID: 21, Issuer: 9}}, Schemes: []bundle.Scheme{city.entry(20, issuer), other.entry(21, 9)}}
	if _, unread := terminal.Schemes(b, &accept.Rules{Schemes: []code.SchemeID{motsm2.ID}}, nil, schemes.All()); len(unread) != 1 {
		t.Errorf("two entries of others: %v", unread)
	}
}

// A deferred code opens up to the policy's limit, and the record says so.
func TestDeferredCodeOpensByPolicy(t *testing.T) {
	entries := []bundle.Scheme{{Tenant: 20, ID: tokendefer.ID, Params: []byte(`{"issuer":7}`)}}
	v := reader(t, newDisk(), entries, accept.DeferredRule{Scheme: tokendefer.ID, LimitMinor: 300, ResolveMinutes: 60})
	fare := func(minor int64, currency citygate.Currency, raw []byte) terminal.Decision {
		now, in := at(1)
		in.Fare = citygate.Money{Minor: minor, Currency: currency}
		d, err := v.Tap(now, raw, in)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		name     string
		minor    int64
		currency citygate.Currency
		raw      []byte
		want     code.Reason
	}{
		{"over the limit", 301, "CNY", token(t, 1), code.AmountOverCap},
		{"at the limit", 300, "CNY", token(t, 1), ""},
		{"the same token", 300, "CNY", token(t, 1), code.Replayed},
		{"a fare that is not known", 0, "", token(t, 2), code.AmountOverCap},
		{"another currency", 1, "HKD", token(t, 2), code.ProductNotValidHere},
	} {
		d := fare(c.minor, c.currency, c.raw)
		if d.Reason != c.want || d.Record.Deferred != (c.want == "") {
			t.Errorf("%s: %q, deferred %v; want %q", c.name, d.Reason, d.Record.Deferred, c.want)
		}
	}
}

// Secrets come from the terminal's secure module and never from a bundle.
func TestSecretsComeFromTheSecureModule(t *testing.T) {
	sample, err := rotating.Plugin.Samples(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, ok := sample[0].Keys.(code.SecretSource)
	if !ok {
		t.Fatal("the sample has no secrets")
	}
	var c code.Code
	for _, secrets := range []terminal.Secrets{nil, keys} {
		if err := sample[0].Scheme.Parse(sample[0].Raw, &c); err != nil {
			t.Fatal(err)
		}
		c.Place(sample[0].At)
		got := sample[0].Scheme.Verify(&c, terminal.Keyring(new(bundle.Bundle), secrets), nil)
		if want := (secrets != nil); (got.Outcome == code.Accept) != want {
			t.Errorf("with a secure module %v: %+v", want, got)
		}
	}
}
