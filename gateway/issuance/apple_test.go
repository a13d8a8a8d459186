package issuance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// realApp gives a real iPhone's attestation object, a policy that takes it, and a
// time at which it was valid.
func realApp(t testing.TB) (object []byte, a *Apple, at time.Time) {
	t.Helper()
	text, err := os.ReadFile("testdata/apple-app-attest.b64")
	if err != nil {
		t.Fatal(err)
	}
	if object, err = base64.StdEncoding.DecodeString(string(text)); err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile("testdata/apple-app-attest-root.pem")
	if err != nil {
		t.Fatal(err)
	}
	a = &Apple{Roots: string(root), Apps: []string{"0123456789.another", "6MURL8TA57.de.vincent-haupert.apple-appattest-poc"}, Development: true}
	return object, a, time.Date(2021, 1, 23, 12, 13, 34, 0, time.UTC)
}

// realClientData is what its app had attested.
const realClientData = "wurzelpfropf"

func TestRealAppAttestationHolds(t *testing.T) {
	object, a, at := realApp(t)
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := a.Attested(object, []byte(realClientData), at)
	if err != nil || got.App != a.Apps[1] || !got.Development || base64.StdEncoding.EncodeToString(got.KeyID) != "YmbJO4x5nEHUvncp9zdWuVZjNBEMgJn3cdSToAXQe3M=" {
		t.Fatalf("%+v, %v", got, err)
	}
	store, other := *a, *a
	store.Development = false
	other.Apps = a.Apps[:1]
	for name, check := range map[string]func() error{
		"other client data":   func() error { _, err := a.Attested(object, []byte("wurzelpfropg"), at); return err },
		"expired":             func() error { _, err := a.Attested(object, []byte(realClientData), at.AddDate(0, 0, 3)); return err },
		"a development build": func() error { _, err := store.Attested(object, []byte(realClientData), at); return err },
		"another app":         func() error { _, err := other.Attested(object, []byte(realClientData), at); return err },
		"cut off":             func() error { _, err := a.Attested(object[:len(object)-1], []byte(realClientData), at); return err },
		"something behind": func() error {
			_, err := a.Attested(append(bytes.Clone(object), 0), []byte(realClientData), at)
			return err
		},
	} {
		if err := check(); !errors.Is(err, ErrAttest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No flip of a bit goes through, in any third byte: each costs two signatures of P-384.
func TestAppAttestationIsSigned(t *testing.T) {
	object, a, at := realApp(t)
	for i := 0; i < len(object); i += 3 {
		bad := bytes.Clone(object)
		bad[i] ^= 1 << (i % 8)
		if got, err := a.Attested(bad, []byte(realClientData), at); !errors.Is(err, ErrAttest) {
			t.Fatalf("byte %d: %+v, %v", i, got, err)
		}
	}
}

// An apple is a certificate authority of our own that makes attestation objects of
// the same layout as Apple's. It is not Apple's: that real ones have this layout is
// what TestRealAppAttestationHolds says.
type apple struct {
	t               testing.TB
	rootKey, key    *ecdsa.PrivateKey
	root, authority *x509.Certificate
}

type claimedApp struct {
	app     string
	flags   byte
	counter uint32
	maker   string
	keyID   []byte // nil = of the key
	nonce   []byte // nil = right
	noNonce bool
	curve   elliptic.Curve
}

type wireApp struct {
	Format    string         `cbor:"fmt"`
	Statement map[string]any `cbor:"attStmt"`
	AuthData  []byte         `cbor:"authData"`
}

const testApp = "ABCDE12345.example.rides"

func newApple(t testing.TB) *apple {
	t.Helper()
	p := &apple{t: t, rootKey: p384(t), key: p384(t)}
	ca := func(name string, serial int64, key *ecdsa.PrivateKey, parent *x509.Certificate, signer *ecdsa.PrivateKey) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: epoch.AddDate(-1, 0, 0), NotAfter: epoch.AddDate(9, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p.root = ca("test root", 1, p.rootKey, nil, p.rootKey)
	p.authority = ca("test authority", 2, p.key, p.root, p.rootKey)
	return p
}

func p384(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (p *apple) policy() *Apple {
	return &Apple{Roots: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.root.Raw})), Apps: []string{testApp}}
}

// attest makes an object for clientData.
func (p *apple) attest(clientData []byte, change func(*claimedApp), after func(*wireApp)) []byte {
	p.t.Helper()
	must := func(b []byte, err error) []byte {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
		return b
	}
	c := claimedApp{app: testApp, flags: attested, maker: string(appStore[:]), curve: elliptic.P256()}
	change(&c)
	key, err := ecdsa.GenerateKey(c.curve, rand.Reader)
	must(nil, err)
	public, err := key.PublicKey.ECDH()
	must(nil, err)
	if c.keyID == nil {
		sum := sha256.Sum256(public.Bytes())
		c.keyID = sum[:]
	}
	app := sha256.Sum256([]byte(c.app))
	data := binary.BigEndian.AppendUint32(append(app[:], c.flags), c.counter)
	data = append(data, c.maker...)
	data = append(binary.BigEndian.AppendUint16(data, uint16(len(c.keyID))), c.keyID...)
	hash := sha256.Sum256(clientData)
	nonce := sha256.Sum256(slices.Concat(data, hash[:]))
	if c.nonce == nil {
		c.nonce = nonce[:]
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "app"}, NotBefore: epoch.AddDate(0, 0, -1), NotAfter: epoch.AddDate(0, 0, 2),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	if !c.noNonce {
		value := must(asn1.Marshal(struct {
			Nonce []byte `asn1:"explicit,tag:1"`
		}{c.nonce}))
		template.ExtraExtensions = []pkix.Extension{{Id: appNonceOID, Value: value}}
	}
	leaf := must(x509.CreateCertificate(rand.Reader, template, p.authority, &key.PublicKey, p.key))
	o := wireApp{"apple-appattest", map[string]any{"x5c": [][]byte{leaf, p.authority.Raw}, "receipt": []byte("unread")}, data}
	after(&o)
	return must(cbor.Marshal(o))
}

func same[T any](*T) {}

func TestAppAttestationMustSayEverything(t *testing.T) {
	p := newApple(t)
	a, clientData := p.policy(), []byte("client data")
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := a.Attested(p.attest(clientData, same, same), clientData, epoch)
	if err != nil || got.App != testApp || got.Development {
		t.Fatalf("a genuine one: %+v, %v", got, err)
	}
	chain := func(o *wireApp) [][]byte { return o.Statement["x5c"].([][]byte) }
	stranger := newApple(t)
	for name, c := range map[string]struct {
		change func(*claimedApp)
		after  func(*wireApp)
	}{
		"of another app":             {change: func(c *claimedApp) { c.app = "ABCDE12345.example.ridez" }},
		"another key than its":       {change: func(c *claimedApp) { c.keyID = make([]byte, 32) }},
		"names another key":          {change: func(c *claimedApp) { c.flags = 0 }},
		"used 1 times":               {change: func(c *claimedApp) { c.counter = 1 }},
		"not of App Attest":          {change: func(c *claimedApp) { c.maker = strings.Repeat("x", 16) }},
		"development build":          {change: func(c *claimedApp) { c.maker = "appattestdevelop" }},
		"another challenge":          {change: func(c *claimedApp) { c.nonce = make([]byte, 32) }},
		"holds no nonce":             {change: func(c *claimedApp) { c.noNonce = true }},
		"not of P-256":               {change: func(c *claimedApp) { c.curve = elliptic.P384() }},
		"want apple-appattest":       {after: func(o *wireApp) { o.Format = "apple" }},
		"a chain of 1":               {after: func(o *wireApp) { o.Statement["x5c"] = chain(o)[:1] }},
		"a chain of 0":               {after: func(o *wireApp) { delete(o.Statement, "x5c") }},
		"does not end in a root":     {after: func(o *wireApp) { chain(o)[1] = stranger.authority.Raw }},
		"certificate 0":              {after: func(o *wireApp) { chain(o)[0] = []byte("x") }},
		"is of an authority":         {after: func(o *wireApp) { chain(o)[0] = p.authority.Raw }},
		"made for another challenge": {after: func(o *wireApp) { o.AuthData = append(o.AuthData, 0) }},
		"authenticator data of 54":   {after: func(o *wireApp) { o.AuthData = o.AuthData[:54] }},
		"ends inside the key's":      {after: func(o *wireApp) { o.AuthData = o.AuthData[:len(o.AuthData)-1] }},
	} {
		change, after := c.change, c.after
		if change == nil {
			change = same
		}
		if after == nil {
			after = same
		}
		got, err := a.Attested(p.attest(clientData, change, after), clientData, epoch)
		if !errors.Is(err, ErrAttest) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := a.Attested(make([]byte, appMax+1), clientData, epoch); !errors.Is(err, ErrAttest) {
		t.Error(err)
	}
	for name, change := range map[string]func(*Apple){
		"no roots": func(a *Apple) { a.Roots = "" }, "no certificate": func(a *Apple) { a.Roots = "x" },
		"no app": func(a *Apple) { a.Apps = nil }, "no team": func(a *Apple) { a.Apps = []string{"example.rides"} },
	} {
		bad := *a
		change(&bad)
		if err := (&Policy{Phone: Limits{Cap: 1, Taps: 1, TTLHours: 1, WindowSeconds: 5}, Band: Limits{Cap: 1, Taps: 1, TTLHours: 1, WindowSeconds: 5}, WaitAfterLossHours: 1, Apple: &bad}).Check(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An app's attestation binds the phone it is for: tenant, challenge and key.
func TestAppVouchesForPhone(t *testing.T) {
	d, p := open(t), newApple(t)
	phone := newPhone(t)
	asks := func(x *device, clientData func(challenge []byte) []byte) Registration {
		r := d.asks(x, "ada")
		r.Attestation, r.AppAttestation = nil, p.attest(clientData(r.Challenge), same, same)
		return r
	}
	own := func(challenge []byte) []byte { return AppClientData(harbour, challenge, phone.public()) }
	_, err := d.register(asks(phone, own))
	d.refuses("no apps in the policy", err, ErrAttest)
	d.publish(func(q *Policy) { q.Apple = p.policy() })
	for name, clientData := range map[string]func([]byte) []byte{
		"another tenant":    func(c []byte) []byte { return AppClientData(hill, c, phone.public()) },
		"another challenge": func([]byte) []byte { return AppClientData(harbour, make([]byte, 32), phone.public()) },
		"another key":       func(c []byte) []byte { return AppClientData(harbour, c, newPhone(t).public()) },
		"what is signed":    func(c []byte) []byte { return Proof(harbour, c, phone.public()) },
	} {
		_, err := d.register(asks(phone, clientData))
		d.refuses(name, err, ErrAttest)
	}
	both := asks(phone, own)
	both.Vouched = true
	_, err = d.register(both)
	d.refuses("two kinds of evidence", err, ErrDevice)
	unsigned := asks(phone, own)
	unsigned.Signature = nil
	_, err = d.register(unsigned)
	d.refuses("without the key's own signature", err, ErrProof)
	x := d.bind(asks(phone, own))
	if x.Assurance != Vouched || x.Evidence.Apple == nil || x.Evidence.Apple.App != testApp {
		t.Errorf("bound %+v", x)
	}
	if c := d.shows(phone, d.renew(x), 1); c.Cap != 60 || c.Suite != ct1.SuiteP256 {
		t.Errorf("issued %+v", c)
	}
}

// Whatever bytes an object has, it ends in a verdict; and what holds is the real
// one: what Apple signed of it is unchanged.
func FuzzAppAttestation(f *testing.F) {
	object, a, at := realApp(f)
	f.Add(object)
	f.Add(newApple(f).attest([]byte(realClientData), same, same))
	real, _, err := parseAppObject(object)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := a.Attested(raw, []byte(realClientData), at)
		if err != nil {
			if !errors.Is(err, ErrAttest) {
				t.Error(err)
			}
			return
		}
		o, d, err := parseAppObject(raw)
		if err != nil || !bytes.Equal(o.AuthData, real.AuthData) || !bytes.Equal(o.Statement.Chain[0], real.Statement.Chain[0]) || !bytes.Equal(d.key, got.KeyID) {
			t.Errorf("held: %+v, %v", got, err)
		}
	})
}
