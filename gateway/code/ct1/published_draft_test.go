package ct1_test

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"

	gmsm "github.com/emmansun/gmsm/sm2"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A draft is a code before it is bytes. It is laid out here a second time, field
// by field, so that it can also say what the package's builders refuse to.
type draft struct {
	hdr                 byte
	issuer, list        uint16
	kid                 byte
	idx                 uint32
	iat                 int64
	ttl, product, limit uint16
	taps, win           byte
	device, ext         []byte // ext with its length byte
	age                 int64
	flags               byte
	ctr, ctx            uint16
	issue, sign         func([]byte) []byte
	after               func(raw []byte) []byte // the last word on the bytes
	text                bool
	partA               func(a []byte) // changes part A behind the issuer's signature
	preimage            []byte
}

func (d *draft) bytes() []byte {
	a := []byte{0x7d, d.hdr}
	a = binary.BigEndian.AppendUint16(a, d.issuer)
	a = append(a, d.kid)
	a = binary.BigEndian.AppendUint16(a, d.list)
	a = binary.BigEndian.AppendUint32(a, d.idx)
	a = binary.BigEndian.AppendUint32(a, uint32(d.iat))
	a = binary.BigEndian.AppendUint16(a, d.ttl)
	a = binary.BigEndian.AppendUint16(a, d.product)
	a = binary.BigEndian.AppendUint16(a, d.limit)
	a = append(a, d.taps, d.win)
	a = append(append(a, d.device...), d.ext...)
	raw := append(a, d.issue(append([]byte("CT1-cred\x00"), a...))...)
	if d.partA != nil {
		d.partA(raw)
	}
	raw = append(raw, byte(d.age>>16), byte(d.age>>8), byte(d.age), d.flags)
	raw = binary.BigEndian.AppendUint16(raw, d.ctr)
	raw = binary.BigEndian.AppendUint16(raw, d.ctx)
	if d.preimage != nil {
		raw = append(raw, d.preimage...)
	} else {
		raw = append(raw, d.sign(append([]byte("CT1-dyn\x00"), raw...))...)
	}
	if d.after != nil {
		raw = d.after(raw)
	}
	if d.text {
		return []byte(ct1.Text(raw))
	}
	return raw
}

// A maker makes the cases of one suite.
type maker struct {
	t     testing.TB
	suite uint8
	c     *city
	links [][]byte // of SuiteChain: links[k+1] is the preimage of slot k
	cases []*vector
}

func newMaker(t testing.TB, suite uint8) *maker {
	seed := fmt.Sprintf("published vectors, suite %d", suite)
	m := &maker{t: t, suite: suite, c: newCity(t, suite, seed)}
	if suite == ct1.SuiteSM2 {
		issuer, device := sha256.Sum256([]byte("issuer "+seed)), sha256.Sum256([]byte("device "+seed))
		m.c.issue = func(msg []byte) []byte { return sm2Deterministic(t, issuer[:], msg) }
		m.c.sign = func(msg []byte) ([]byte, error) { return sm2Deterministic(t, device[:], msg), nil }
	}
	if suite == ct1.SuiteChain {
		last := sha256.Sum256([]byte("device " + seed))
		m.links = make([][]byte, ct1.ChainMax+1)
		m.links[ct1.ChainMax] = last[:16]
		for i := ct1.ChainMax; i > 0; i-- {
			m.links[i-1] = chainLink(i, m.links[i])
		}
	}
	return m
}

// sm2Deterministic signs with a nonce made from key and message, which the
// library will not do: published vectors must come out the same every time.
func sm2Deterministic(t testing.TB, scalar, msg []byte) []byte {
	t.Helper()
	key, err := sm2.NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := gmsm.CalculateSM2Hash(key.Public(), msg, []byte("1234567812345678"))
	if err != nil {
		t.Fatal(err)
	}
	n, d, one := gmsm.P256().Params().N, new(big.Int).SetBytes(scalar), big.NewInt(1)
	nonce := sha256.Sum256(append(append([]byte("nonce"), scalar...), msg...))
	k := new(big.Int).Mod(new(big.Int).SetBytes(nonce[:]), n)
	point, err := sm2.NewPrivateKey(k.FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	x := new(big.Int).SetBytes(sm2.Compress(point.Public())[1:])
	r := new(big.Int).Add(new(big.Int).SetBytes(digest), x)
	r.Mod(r, n)
	s := new(big.Int).Sub(k, new(big.Int).Mul(r, d))
	s.Mul(s, new(big.Int).ModInverse(new(big.Int).Add(d, one), n)).Mod(s, n)
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

const (
	vIssuer, vList, vKid = 0x1234, 0x0506, 7
	vIndex               = 0x0708090a
)

// draft gives the genuine code that the cases depart from.
func (m *maker) draft() *draft {
	d := &draft{
		hdr: 1<<5 | m.suite<<2, issuer: vIssuer, kid: vKid, list: vList, idx: vIndex, iat: issuedAt, ttl: 168,
		product: 0x0b0c, limit: 10, taps: 200, win: 30, device: m.c.device, age: shownAt - issuedAt, flags: 0x10, ctr: 17,
		issue: m.c.issue,
		sign: func(msg []byte) []byte {
			sig, err := m.c.sign(msg)
			if err != nil {
				m.t.Fatal(err)
			}
			return sig
		},
	}
	if m.suite == ct1.SuiteChain {
		d.taps, d.win, d.flags, d.ttl = 0, 60, 0x19, 96
		m.slot(d, 4320)
	}
	return d
}

// slot puts a chain's display in a slot.
func (m *maker) slot(d *draft, slot int) {
	d.age, d.ctr, d.preimage = int64(slot)*int64(d.win), uint16(slot), m.links[slot+1]
}

// vector gives the case around a genuine code: accepted, five seconds after the
// display was made.
func (m *maker) vector(d *draft) *vector {
	strength := m.c.strength()
	if d.flags&3 == code.MediumServerBatch && m.suite != ct1.SuiteChain {
		strength = code.StaticSigned
	}
	return &vector{
		Suite: int(m.suite), Keys: []vectorKey{m.key()}, Rules: "plain", At: (d.iat + d.age + 5) * 1000, ClockOK: true,
		Mode: accept.Bus, Kind: "single", Fare: &vectorFare{100, "CNY"}, Lists: []vectorList{}, Seen: []vectorUse{},
		Want: vectorWant{code.Accept, "", strength},
	}
}

func (m *maker) key() vectorKey {
	k := vectorKey{Issuer: vIssuer, KeyID: vKid, NotBefore: issuedAt - 86400, Expires: issuedAt + 90*86400}
	switch m.suite {
	case ct1.SuiteAllP256:
		k.Alg = "es256"
	case ct1.SuiteSM2:
		k.Alg = "sm2"
	default:
		k.Alg = "ed25519"
	}
	k.Public = hex.EncodeToString(publicBytes(m.t, m.c.keys.public))
	return k
}

// unproven is the reason when what ends the code does not hold.
func (m *maker) unproven() code.Reason { return m.c.unproven() }

// add makes a case: shape changes the code, around what is held against it.
func (m *maker) add(id, comment string, want code.Reason, shape func(*draft), around func(*vector)) {
	d := m.draft()
	if shape != nil {
		shape(d)
	}
	v := m.vector(d)
	v.ID, v.Comment = fmt.Sprintf("s%d-%s", m.suite, id), comment
	if around != nil {
		around(v)
	}
	v.Scanned = hex.EncodeToString(d.bytes())
	if want != "" {
		v.Want = vectorWant{code.Reject, want, code.Unverified}
	}
	m.cases = append(m.cases, v)
}

// vectorRules are the acceptance rules that cases name.
func vectorRules() map[string]*accept.Rules {
	plain := func() *accept.Rules {
		return &accept.Rules{
			Version: 1, Tenant: 1001,
			Issuers: []accept.IssuerRule{{Issuer: vIssuer, Currency: "CNY", CapUnitMinor: 100, UnsureCapMinor: 200},
				{Issuer: 0x4321, Currency: "HKD", CapUnitMinor: 10}},
			Schemes: []code.SchemeID{"ct1"},
			Modes: []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}, Products: []uint16{}},
				{Mode: accept.Metro, Kinds: accept.Kinds{tap.On, tap.Off}, Products: []uint16{7, 9}}},
			SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 336, MissingListOK: true,
			LateUploadDays: 30, ClockSuspectSeconds: 120,
			Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 240, GraceMinutes: 60},
		}
	}
	rules := map[string]*accept.Rules{"plain": plain()}
	for name, change := range map[string]func(*accept.Rules){
		"lists": func(r *accept.Rules) { r.MissingListOK, r.StaleListSeconds = false, 3600 },
		"lists_grey": func(r *accept.Rules) {
			r.MissingListOK, r.StaleListSeconds, r.StaleLimitSeconds, r.Issuers[0].StaleCapMinor = false, 3600, 10_800, 150
		},
		"lists_or_none": func(r *accept.Rules) { r.StaleListSeconds = 3600 },
		"lists_any_age": func(r *accept.Rules) { r.MissingListOK = false },
		"long":          func(r *accept.Rules) { r.MaxTTLHours, r.SkewSeconds = 24*366, 0 },
		"other_schemes": func(r *accept.Rules) { r.Schemes = []code.SchemeID{"mot-sm2"} },
		"other_issuers": func(r *accept.Rules) { r.Issuers = r.Issuers[1:] },
	} {
		r := plain()
		change(r)
		rules[name] = r
	}
	return rules
}

// offCurve gives a compressed point's bytes for which the curve has no point.
func offCurve(suite uint8) []byte {
	key := append([]byte{2}, make([]byte, 32)...)
	for {
		key[32]++
		if suite == ct1.SuiteSM2 {
			if _, err := sm2.ParseKey(key); err != nil {
				return key
			}
		} else if x, _ := elliptic.UnmarshalCompressed(elliptic.P256(), key); x == nil {
			return key
		}
	}
}
