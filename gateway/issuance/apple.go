package issuance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"regexp"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cashlesscity/citygate"
)

// An Apple says whose iOS apps an issuer takes at their word about a key.
type Apple struct {
	Roots string   `json:"roots" minLength:"1" doc:"Apple's App Attestation root, as certificates in PEM"`
	Apps  []string `json:"apps" minItems:"1" maxItems:"16" doc:"app ids: the team, a dot, the bundle identifier"`
	// Development takes apps that were not installed from the store as well.
	Development bool `json:"development,omitempty" doc:"take development builds too; for tests only"`
}

// appForm is a team of ten letters and digits, a dot and a bundle identifier.
var appForm = regexp.MustCompile(`^[A-Z0-9]{10}\.[A-Za-z0-9.-]{1,155}$`)

// Check refuses what could vouch for nothing or for anybody.
func (a *Apple) Check() error {
	roots, err := ParseRoots(a.Roots)
	switch {
	case err != nil:
		return err
	case len(roots) == 0:
		return ErrPolicy.Explain("apple: no roots")
	case len(a.Apps) == 0 || len(a.Apps) > 16:
		return ErrPolicy.Explain("apple: %d apps, want 1 to 16", len(a.Apps))
	}
	for _, app := range a.Apps {
		if !appForm.MatchString(app) {
			return ErrPolicy.Explain("apple: %q is no app id, want a team of ten letters and digits, a dot and the bundle identifier", app)
		}
	}
	return nil
}

// An AppAttestation is what Apple says of the app that vouches for a key.
type AppAttestation struct {
	App         string `json:"app"`
	KeyID       []byte `json:"key_id"` // SHA-256 of the app's own key
	Development bool   `json:"development,omitempty"`
}

// AppClientData gives what an iOS app has attested: the clientDataHash of attestKey
// is its SHA-256. It names the challenge and the key that the app made for codes in
// its Secure Enclave.
func AppClientData(tenant citygate.TenantID, challenge, publicKey []byte) []byte {
	out := append([]byte(nil), "CG-app-attest\x00"...)
	out = binary.BigEndian.AppendUint64(out, uint64(tenant))
	out = append(out, challenge...)
	return append(out, publicKey...)
}

// An attestation object of App Attest. The receipt in its statement is for asking
// Apple about the device later, which needs the network; it is not read.
type appObject struct {
	Format    string       `cbor:"fmt"`
	Statement appStatement `cbor:"attStmt"`
	AuthData  []byte       `cbor:"authData"`
}

type appStatement struct {
	Chain [][]byte `cbor:"x5c"`
}

// appMax is the largest attestation object in bytes: real ones have about 5,600.
const appMax = 16 << 10

var appDecoder = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16,
		UTF8: cbor.UTF8RejectInvalid, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return mode
}()

// appData is the authenticator data of an attestation: the layout of Web
// Authentication, section 6.1.
type appData struct {
	app     [32]byte // SHA-256 of the app id
	flags   byte
	counter uint32
	maker   [16]byte // AAGUID
	key     []byte   // credential id
}

// attested is the flag that says that a key follows.
const attested = 0x40

var (
	appStore       = [16]byte([]byte("appattest\x00\x00\x00\x00\x00\x00\x00"))
	appDevelopment = [16]byte([]byte("appattestdevelop"))
)

func parseAppObject(object []byte) (o appObject, d appData, err error) {
	if len(object) > appMax {
		return o, d, ErrAttest.Explain("an attestation object of %d bytes, at most %d", len(object), appMax)
	}
	if err := appDecoder.Unmarshal(object, &o); err != nil {
		return o, d, ErrAttest.Because(err, "the attestation object cannot be read")
	}
	if o.Format != "apple-appattest" {
		return o, d, ErrAttest.Explain("an attestation object of format %.32q, want apple-appattest", o.Format)
	}
	const head = 32 + 1 + 4 + 16 + 2
	if len(o.AuthData) < head {
		return o, d, ErrAttest.Explain("authenticator data of %d bytes", len(o.AuthData))
	}
	b := o.AuthData
	copy(d.app[:], b)
	d.flags, d.counter = b[32], binary.BigEndian.Uint32(b[33:])
	copy(d.maker[:], b[37:])
	size := int(binary.BigEndian.Uint16(b[53:]))
	if len(b) < head+size {
		return o, d, ErrAttest.Explain("the authenticator data ends inside the key's name")
	}
	d.key = b[head : head+size] // behind it comes the key once more, which its name fixes
	return o, d, nil
}

// Attested verifies an attestation object of an app that vouches for a key:
// clientData is [AppClientData]. Anything that does not hold is ErrAttest. Source:
// Apple, "Validating apps that connect to your server", verify the attestation.
func (a *Apple) Attested(object, clientData []byte, now time.Time) (AppAttestation, error) {
	o, d, err := parseAppObject(object)
	if err != nil {
		return AppAttestation{}, err
	}
	leaf, err := a.chain(o.Statement.Chain, now)
	if err != nil {
		return AppAttestation{}, err
	}
	hash := sha256.Sum256(clientData)
	nonce := sha256.Sum256(slices.Concat(o.AuthData, hash[:]))
	if got, err := appNonce(leaf); err != nil {
		return AppAttestation{}, err
	} else if !bytes.Equal(got, nonce[:]) {
		return AppAttestation{}, ErrAttest.Explain("it was made for another challenge or key")
	}
	keyID, err := appKeyID(leaf)
	if err != nil {
		return AppAttestation{}, err
	}
	i := slices.IndexFunc(a.Apps, func(app string) bool { return sha256.Sum256([]byte(app)) == d.app })
	switch {
	case i < 0:
		return AppAttestation{}, ErrAttest.Explain("it is of another app than the policy names")
	case d.flags&attested == 0 || !bytes.Equal(d.key, keyID):
		return AppAttestation{}, ErrAttest.Explain("it names another key than its certificate")
	case d.counter != 0:
		return AppAttestation{}, ErrAttest.Explain("the app's key was used %d times before", d.counter)
	case d.maker != appStore && d.maker != appDevelopment:
		return AppAttestation{}, ErrAttest.Explain("it is not of App Attest")
	case d.maker == appDevelopment && !a.Development:
		return AppAttestation{}, ErrAttest.Explain("it is of a development build")
	}
	return AppAttestation{App: a.Apps[i], KeyID: keyID, Development: d.maker == appDevelopment}, nil
}

// chain verifies certificates, the app's own first, and gives that.
func (a *Apple) chain(chain [][]byte, now time.Time) (*x509.Certificate, error) {
	roots, err := ParseRoots(a.Roots)
	if err != nil {
		return nil, err
	}
	if len(chain) < 2 || len(chain) > 5 {
		return nil, ErrAttest.Explain("a chain of %d certificates, want 2 to 5", len(chain))
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range roots {
		options.Roots.AddCert(c)
	}
	var leaf *x509.Certificate
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, ErrAttest.Because(err, "certificate %d cannot be read", i)
		}
		if i == 0 {
			leaf = c
		} else {
			options.Intermediates.AddCert(c)
		}
	}
	if leaf.IsCA {
		return nil, ErrAttest.Explain("the first certificate is of an authority")
	}
	if _, err := leaf.Verify(options); err != nil {
		return nil, ErrAttest.Because(err, "the chain does not end in a root of the policy, or a certificate is not valid now")
	}
	return leaf, nil
}

var appNonceOID = asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 8, 2}

// appNonce gives what a certificate was made for.
func appNonce(leaf *x509.Certificate) ([]byte, error) {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(appNonceOID) {
			continue
		}
		var v struct {
			Nonce []byte `asn1:"explicit,tag:1"`
		}
		if rest, err := asn1.Unmarshal(e.Value, &v); err != nil || len(rest) > 0 {
			return nil, ErrAttest.Because(err, "the certificate's nonce cannot be read")
		}
		return v.Nonce, nil
	}
	return nil, ErrAttest.Explain("the certificate holds no nonce of App Attest")
}

// appKeyID gives the name of a certificate's key: SHA-256 of the uncompressed point.
func appKeyID(leaf *x509.Certificate) ([]byte, error) {
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, ErrAttest.Explain("the app's key is not of P-256")
	}
	point, err := key.ECDH()
	if err != nil {
		return nil, ErrAttest.Because(err, "the app's key cannot be read")
	}
	sum := sha256.Sum256(point.Bytes())
	return sum[:], nil
}
