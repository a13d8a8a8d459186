package access_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/access/issuertest"
	"github.com/cashlesscity/citygate/policies/authz"
)

const client = "citygate-harbour"

// signedIn gives an issuer of the metro with one member.
func signedIn(t *testing.T, w *world, g *access.Guard) *issuertest.Issuer {
	t.Helper()
	issuer := issuertest.New(t, w.clock)
	if err := g.PutIssuer(t.Context(), "test", metro, access.Issuer{Name: "corp", URL: issuer.URL, ClientID: client}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.AddMember(t.Context(), "test", metro, access.Member{Issuer: "corp", External: "ada", Roles: []authz.Role{authz.OperatorAdmin}}); err != nil {
		t.Fatal(err)
	}
	return issuer
}

func TestSignIn(t *testing.T) {
	w, g := newWorld(t)
	issuer := signedIn(t, w, g)
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		caller, err := g.Exchange(t.Context(), metro, issuer.Key(algorithm).Sign(issuer.Claims("ada", client), nil))
		if err != nil || caller.Subject != "user:ada@corp" || caller.Tenant != metro {
			t.Fatalf("%s: %+v, %v", algorithm, caller, err)
		}
		caller.Issued = w.clock()
		wants(t, algorithm, may(t, g, caller, metro, "access.write"), nil)
	}
	named := issuer.Claims("ada", client)
	named["tenant"] = int64(metro)
	if _, err := g.Exchange(t.Context(), metro, issuer.Key("EdDSA").Sign(named, nil)); err != nil {
		t.Errorf("a token that names the tenant: %v", err)
	}
	_, err := g.Exchange(t.Context(), metro, issuer.Key("EdDSA").Sign(issuer.Claims("eve", client), nil))
	wants(t, "somebody unknown", err, access.ErrNoMember)
}

// The corpus of API2: nothing of this signs anybody in.
func TestIDTokenCorpus(t *testing.T) {
	w, g := newWorld(t)
	issuer := signedIn(t, w, g)
	other := issuertest.New(t, w.clock) // the bus's
	if err := g.PutIssuer(t.Context(), "test", bus, access.Issuer{Name: "corp", URL: other.URL, ClientID: client}); err != nil {
		t.Fatal(err)
	}
	good, ed, rsa := issuer.Claims("ada", client), issuer.Key("EdDSA"), issuer.Key("RS256")
	with := func(name string, v any) map[string]any {
		c := maps.Clone(good)
		if c[name] = v; v == nil {
			delete(c, name)
		}
		return c
	}
	now := w.clock()
	plain := ed.Sign(good, nil)
	head, payload, signature := cut(plain)
	public, err := x509.MarshalPKIXPublicKey(rsa.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte) string {
		h, p, _ := cut(rsa.Sign(good, map[string]any{"alg": "HS256"}))
		m := hmac.New(sha256.New, key)
		m.Write([]byte(h + "." + p))
		return h + "." + p + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	noneHead, _, _ := cut(ed.Sign(good, map[string]any{"alg": "none"}))
	for what, token := range map[string]string{
		"nothing": "", "not a token": "eyJ.a.b", "10,000 periods": strings.Repeat(".", 10_000), "9 KiB": plain + strings.Repeat("A", 9<<10),
		"alg none": noneHead + "." + payload + ".", "alg none, signed": ed.Sign(good, map[string]any{"alg": "none"}), "alg None": ed.Sign(good, map[string]any{"alg": "None"}),
		"no alg": ed.Sign(good, map[string]any{"alg": nil}), "HS256 with the public key": mac(public), "HS256 with nothing": mac(nil),
		"alg of another key type": ed.Sign(good, map[string]any{"alg": "RS256"}), "another key's id": ed.Sign(good, map[string]any{"kid": rsa.ID}),
		"unknown kid": ed.Sign(good, map[string]any{"kid": "99"}), "kid that walks": ed.Sign(good, map[string]any{"kid": "../../../../dev/null"}),
		"kid with SQL": ed.Sign(good, map[string]any{"kid": "1' OR '1'='1"}), "kid of a number": ed.Sign(good, map[string]any{"kid": 3}), "no kid": ed.Sign(good, map[string]any{"kid": nil}),
		"jku": ed.Sign(good, map[string]any{"jku": other.URL + "/keys"}), "jwk": ed.Sign(good, map[string]any{"jwk": map[string]any{"kty": "OKP"}}),
		"x5u": ed.Sign(good, map[string]any{"x5u": other.URL}), "x5c": ed.Sign(good, map[string]any{"x5c": []string{"AA"}}), "crit": ed.Sign(good, map[string]any{"crit": []string{"exp"}}),
		"type of an access token": ed.Sign(good, map[string]any{"typ": "at+jwt"}), "type of a logout token": ed.Sign(good, map[string]any{"typ": "logout+jwt"}),
		"signature taken off": head + "." + payload + ".", "signature of another": head + "." + payload + "." + signature[:len(signature)-4] + "AAAA",
		"padding": head + "=." + payload + "." + signature, "a fourth part": plain + ".AAAA", "a space": " " + plain,
		"expired": ed.Sign(with("exp", now.Add(-time.Second).Unix()), nil), "no expiry": ed.Sign(with("exp", nil), nil), "expiry of text": ed.Sign(with("exp", "soon"), nil),
		"not yet": ed.Sign(with("nbf", now.Add(time.Minute).Unix()), nil), "issued tomorrow": ed.Sign(with("iat", now.Add(time.Hour).Unix()), nil), "no iat": ed.Sign(with("iat", nil), nil),
		"issued two days ago": ed.Sign(with("iat", now.Add(-48*time.Hour).Unix()), nil),
		"other audience":      ed.Sign(with("aud", "somebody"), nil), "no audience": ed.Sign(with("aud", nil), nil), "two audiences": ed.Sign(with("aud", []string{client, "somebody"}), nil),
		"another's party": ed.Sign(with("azp", "somebody"), nil), "no subject": ed.Sign(with("sub", nil), nil), "empty subject": ed.Sign(with("sub", ""), nil),
		"no issuer": ed.Sign(with("iss", nil), nil), "issuer with a slash": ed.Sign(with("iss", issuer.URL+"/"), nil), "issuer of nobody": ed.Sign(with("iss", "https://evil.example"), nil),
		"another tenant's number": ed.Sign(with("tenant", int64(bus)), nil), "tenant as text": ed.Sign(with("tenant", "2"), nil), "tenant null": ed.Sign(with("tenant", nilJSON{}), nil),
		"another tenant's issuer": other.Key("EdDSA").Sign(other.Claims("ada", client), nil), "another's key, our issuer": other.Key("EdDSA").Sign(good, nil),
		"subject with a newline": ed.Sign(with("sub", "ada\nuser:root"), nil),
	} {
		caller, err := g.Exchange(t.Context(), metro, token)
		if !errors.Is(err, access.ErrToken) && !errors.Is(err, access.ErrIssuer) { // an unknown key id: the issuer is not asked twice
			t.Errorf("%s: %+v, %v", what, caller, err)
		}
	}
	if _, err := g.Exchange(t.Context(), bus, plain); !errors.Is(err, access.ErrToken) {
		t.Errorf("the metro's token at the bus: %v", err)
	}
	if _, err := g.Exchange(t.Context(), 99, plain); !errors.Is(err, access.ErrToken) {
		t.Errorf("at no tenant: %v", err)
	}
	if n := issuer.Fetches(); n > 1 {
		t.Errorf("the issuer was asked for its keys %d times", n)
	}
	if _, err := g.Exchange(t.Context(), metro, plain); err != nil {
		t.Errorf("the good token after all that: %v", err)
	}
}

type nilJSON struct{}

func (nilJSON) MarshalJSON() ([]byte, error) { return []byte(`false`), nil }

func cut(token string) (head, payload, signature string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

// Keys come and go at the issuer, and so does the issuer.
func TestIssuersRotateAndGoAway(t *testing.T) {
	w, g := newWorld(t)
	issuer := signedIn(t, w, g)
	old := issuer.Key("ES256")
	exchange := func(k issuertest.Key) error {
		_, err := g.Exchange(t.Context(), metro, k.Sign(issuer.Claims("ada", client), nil))
		return err
	}
	wants(t, "the first key", exchange(old), nil)
	next := issuer.Add(t, "ES256")
	issuer.Withdraw(old.ID)
	wants(t, "a new key, asked a moment ago", exchange(next), access.ErrIssuer)
	w.pass(30 * time.Second)
	wants(t, "a new key", exchange(next), nil)
	w.pass(30 * time.Second)
	wants(t, "a withdrawn key", exchange(old), access.ErrToken)
	issuer.SetDown(true)
	w.pass(30 * time.Second)
	wants(t, "a key that is held, while the issuer is away", exchange(next), nil)
	wants(t, "an unknown key, while the issuer is away", exchange(issuer.Add(t, "EdDSA")), access.ErrIssuer)

	away := issuertest.New(t, w.clock)
	away.SetDown(true)
	if err := g.PutIssuer(t.Context(), "test", metro, access.Issuer{Name: "away", URL: away.URL, ClientID: client}); err != nil {
		t.Fatal(err)
	}
	token := away.Key("EdDSA").Sign(away.Claims("ada", client), nil)
	_, err := g.Exchange(t.Context(), metro, token)
	wants(t, "an issuer that is away", err, access.ErrIssuer)
	away.SetDown(false)
	w.pass(31 * time.Second)
	_, err = g.Exchange(t.Context(), metro, token)
	wants(t, "it came back", err, access.ErrNoMember)
}

func TestIssuersAreTheTenants(t *testing.T) {
	w, g := newWorld(t)
	issuer := signedIn(t, w, g)
	ctx := t.Context()
	wants(t, "another address under the name", g.PutIssuer(ctx, "test", metro, access.Issuer{Name: "corp", URL: "https://evil.example", ClientID: client}), access.ErrExists)
	wants(t, "another name for the address", g.PutIssuer(ctx, "test", metro, access.Issuer{Name: "evil", URL: issuer.URL, ClientID: client}), access.ErrExists)
	wants(t, "another tenant's members", g.PutIssuer(ctx, "test", bus, access.Issuer{Name: "corp", URL: issuer.URL, ClientID: client}), nil)
	wants(t, "with members", g.RemoveIssuer(ctx, "test", metro, "corp"), access.ErrInUse)
	wants(t, "without", g.RemoveIssuer(ctx, "test", bus, "corp"), nil)
	wants(t, "none", g.RemoveIssuer(ctx, "test", bus, "corp"), access.ErrNotFound)
	for _, address := range []string{"ftp://x.example", "https://", "https://u:p@x.example", "https://x.example?a=b", "x.example", "https://x.example#f"} {
		wants(t, address, g.PutIssuer(ctx, "test", bus, access.Issuer{Name: "odd", URL: address, ClientID: client}), access.ErrInvalid)
	}
	if err := g.PutIssuer(ctx, "test", metro, access.Issuer{Name: "corp", URL: issuer.URL, ClientID: "another"}); err != nil {
		t.Fatal(err)
	}
	_, err := g.Exchange(ctx, metro, issuer.Key("EdDSA").Sign(issuer.Claims("ada", client), nil))
	wants(t, "the old client id", err, access.ErrToken)
}

// A tenant's issuer is no way into our network.
func TestOnlyPublicAddresses(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1",
		"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
	} {
		if access.Public(netip.MustParseAddr(a)) {
			t.Errorf("%s counts as public", a)
		}
	}
	for _, a := range []string{"8.8.8.8", "1.1.1.1", "2606:4700::1111"} {
		if !access.Public(netip.MustParseAddr(a)) {
			t.Errorf("%s counts as not public", a)
		}
	}
	if _, err := access.Client(nil).Get("https://localhost:443/"); err == nil || !strings.Contains(err.Error(), "no public HTTPS address") {
		t.Errorf("localhost by name: %v", err)
	}
	if _, err := access.Client([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}).Get("https://127.0.0.1:1/"); err == nil || strings.Contains(err.Error(), "no public HTTPS address") {
		t.Errorf("an address that is allowed: %v", err)
	}
}
