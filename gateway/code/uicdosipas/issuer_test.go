package uicdosipas

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
)

// The clock of these tests: a Thursday morning, ticket bought the day before.
var (
	bought = time.Date(2026, 11, 18, 16, 20, 0, 0, time.UTC)
	shown  = time.Date(2026, 11, 19, 8, 30, 7, 0, time.UTC)
)

const (
	testProvider = 9999
	testKeyID    = 42
	testWindow   = 60
)

// keyOf makes a fixed key from a name.
func keyOf(t testing.TB, curve elliptic.Curve, name string) *ecdsa.PrivateKey {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	size := (curve.Params().BitSize + 7) / 8
	raw := make([]byte, size)
	copy(raw[max(0, size-32):], sum[:])
	raw[0] = 0 // below the order of every curve here
	key, err := ecdsa.ParseRawPrivateKey(curve, raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func spki(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// point gives a public key's compressed point.
func point(key *ecdsa.PrivateKey) []byte {
	uncompressed, _ := key.PublicKey.Bytes()
	half := len(uncompressed) / 2
	return append([]byte{2 + uncompressed[2*half]&1}, uncompressed[1:1+half]...)
}

// sign is deterministic, so that codes are the same bytes in every run.
func sign(t testing.TB, key *ecdsa.PrivateKey, h crypto.Hash, msg []byte) []byte {
	t.Helper()
	sig, err := key.Sign(nil, digestOf(nil, h, msg), h)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// A railTicket is a rail ticket to encode: an open ticket, or a pass.
type railTicket struct {
	issued             time.Time
	specimen, inactive bool
	version            int // 3 by default
	pass               bool
	reference          int64
	fromDay, untilDay  int // from the day of issue, from fromDay
	fromMin, untilMin  int // -1: not stated
	quarters           int // UTC offset, when offset
	offset             bool
	travelers          int
	region             bool
}

// encode writes what an issuer would. Bits in the order of the ASN.1 modules.
func (t railTicket) encode() []byte {
	var w writer
	w.flag(false)
	w.flag(t.travelers > 0)
	w.flag(true) // documents
	w.number(0, 2)

	w.flag(false) // issuing details
	w.number(0, 4)
	optionalTime := t.version == 1 || t.version == 2
	if optionalTime {
		w.flag(true)
	}
	w.number(0b000100000, 9) // name, currency, fraction, PNR, ...
	w.within(uint32(t.issued.Year()), 8, firstYear, lastYear-firstYear)
	w.within(uint32(t.issued.YearDay()), 9, 1, 365)
	w.number(uint64(t.issued.Hour()*60+t.issued.Minute()), 11)
	w.flag(t.specimen)
	w.flag(false)
	w.flag(!t.inactive)
	w.ia5("ABC123")

	if t.travelers > 0 {
		w.number(0b0100, 4)
		w.length(t.travelers)
		for range t.travelers {
			w.flag(false)
			w.number(0b101000000000_100000, 18)
			w.octets([]byte("Ada"))
			w.octets([]byte("Lovelace"))
			w.flag(true)
			w.number(0, 4) // adult
		}
	}
	w.length(1)
	w.number(0, 3) // document: no extension, no token, a ticket of the root
	if t.pass {
		w.number(pass, 4)
	} else {
		w.number(openTicket, 4)
	}
	w.flag(false)
	w.flag(t.reference != 0)
	w.number(0, 5)
	if t.pass {
		w.number(0, 3)
	} else {
		w.number(0, 10)
		w.flag(t.region)
		w.number(0, 1)
	}
	w.flag(t.fromDay != 0)
	w.flag(t.fromMin >= 0)
	w.flag(t.offset)
	w.flag(t.untilDay != 0)
	w.flag(t.untilMin >= 0)
	w.number(0, 1)
	if t.pass {
		w.number(0, 19)
	} else {
		w.number(0, 16)
	}
	if t.reference != 0 {
		w.integer(t.reference)
	}
	if !t.pass {
		w.flag(false) // return
	}
	if t.region {
		w.length(2)
		w.flag(false)
		w.number(1, 3) // via stations: two, of which one has a route of one
		w.number(0b0_01001000000, 12)
		w.number(8700001, 24)
		w.length(1)
		w.number(0b0_01000000000, 12)
		w.number(8700002, 24)
		w.flag(false)
		w.flag(true)
		w.flag(false)
		w.number(2, 3) // a zone
		w.number(0b0_10000000100, 12)
		w.number(1186, 15)
		w.length(2)
		w.integer(-300)
		w.integer(70000)
	}
	if t.fromDay != 0 {
		w.number(uint64(t.fromDay+367), 11)
	}
	if t.fromMin >= 0 {
		w.number(uint64(t.fromMin), 11)
	}
	if t.offset {
		w.number(uint64(t.quarters+60), 7)
	}
	if t.untilDay != 0 {
		w.number(uint64(t.untilDay+1), 9)
	}
	if t.untilMin >= 0 {
		w.number(uint64(t.untilMin), 11)
	}
	if w.bad {
		panic("a rail ticket with a value that has no place")
	}
	return w.out
}

// An issuer is a provider and one rider's phone.
type issuer struct {
	t              testing.TB
	level1, level2 *ecdsa.PrivateKey
	trust          *code.Trust
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{t: t, level1: keyOf(t, elliptic.P256(), "level 1"), level2: keyOf(t, elliptic.P256(), "level 2"), trust: new(code.Trust)}
	i.trust.AddForeign(KeyName("9999", testKeyID), spki(t, i.level1.Public()))
	return i
}

// day is a ticket for the day of shown.
func day() railTicket {
	return railTicket{issued: bought, reference: 1234567, fromDay: 1, fromMin: -1, untilMin: -1, travelers: 2}
}

func (i *issuer) ticket(rail railTicket) *Ticket {
	t := &Ticket{
		Version: 2, ProviderNum: testProvider, KeyID: testKeyID, HasKeyID: true,
		Contents:     []Content{{"FCB3", rail.encode()}},
		Level2KeyAlg: P256, Level1SigningAlg: ECDSAWithSHA256, Level2SigningAlg: ECDSAWithSHA256,
		Level2Key: point(i.level2), Duration: testWindow,
	}
	t.SetEnd(shown.Add(3 * time.Hour))
	return t
}

func (i *issuer) static(t *Ticket) *Display {
	i.t.Helper()
	t.Level2Key, t.Level2KeyAlg, t.Level2SigningAlg, t.Duration = nil, "", "", 0
	return &Display{Ticket: *t, Level1Signature: sign(i.t, i.level1, crypto.SHA256, must(i.t, t.Level1))}
}

// show makes a display at at.
func (i *issuer) show(t *Ticket, at time.Time) *Display {
	i.t.Helper()
	d := &Display{Ticket: *t, Level2Data: NewDynamic(at), Level1Signature: sign(i.t, i.level1, crypto.SHA256, must(i.t, t.Level1))}
	i.resign(d)
	return d
}

func (i *issuer) resign(d *Display) {
	i.t.Helper()
	d.Level2Signature = sign(i.t, i.level2, crypto.SHA256, must(i.t, d.Level2))
}

func must(t testing.TB, f func() ([]byte, error)) []byte {
	t.Helper()
	b, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// judge gives the verdict of s on a code shown at at.
func judge(t testing.TB, s Scheme, keys code.KeySource, raw []byte, at time.Time) code.Verdict {
	t.Helper()
	var c code.Code
	if err := s.Parse(raw, &c); err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	c.Place(at.Unix())
	return s.Verify(&c, keys, nil)
}

func scheme(t testing.TB, params string) Scheme {
	t.Helper()
	s, err := Plugin.New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	return s.(Scheme)
}

// malleate gives the other signature that a P-256 key makes valid.
func malleate(t testing.TB, der []byte) []byte {
	t.Helper()
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		t.Fatal(err)
	}
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	out, err := asn1.Marshal(sig)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
