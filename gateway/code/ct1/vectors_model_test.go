package ct1_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A model answers a vector a second time, written from the format's description
// and not from the package. Each fault in it is a check that a careless verifier
// leaves out or gets wrong by one; TestVectorsCatchEveryMutant sets them one by
// one.
type model struct {
	fault string
	v     *vector
	rules *accept.Rules

	raw                       []byte
	suite                     int
	keyLen, proofLen, isig, b int // of the code; isig and b are offsets
	iat, exp, gen             int64
}

// is reports whether the check of this name is left out.
func (m *model) is(fault string) bool {
	mutants[fault] = true
	return m.fault == fault
}

var mutants = map[string]bool{}

// known remembers what signatures and chains came to: mutants ask the same over
// and over.
var known = map[string]bool{}

func once(answer func() bool, parts ...[]byte) bool {
	key := string(bytes.Join(parts, []byte{'|'}))
	held, ok := known[key]
	if !ok {
		held = answer()
		known[key] = held
	}
	return held
}

func (m *model) u16(at int) int64 { return int64(binary.BigEndian.Uint16(m.raw[at:])) }
func (m *model) u32(at int) int64 { return int64(binary.BigEndian.Uint32(m.raw[at:])) }

func (m *model) answer(t *testing.T) vectorWant {
	scanned, err := hex.DecodeString(m.v.Scanned)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []func() code.Reason{
		func() code.Reason { return m.decode(scanned) }, m.structure, m.policy, m.times, m.place, m.amount, m.lists, m.replayed, m.signatures,
	} {
		if reason := check(); reason != "" {
			return vectorWant{code.Reject, reason, code.Unverified}
		}
	}
	strength := code.DeviceBound
	if m.suite == 4 && !m.is("strength of chains") {
		strength = code.SecretBound
	} else if m.raw[m.b+3]&3 == 2 && !m.is("strength of batches") {
		strength = code.StaticSigned
	}
	return vectorWant{code.Accept, "", strength}
}

func (m *model) decode(scanned []byte) code.Reason {
	text, ok := strings.CutPrefix(string(scanned), "CT1:")
	if m.is("text prefix in any case") && strings.HasPrefix(strings.ToUpper(string(scanned)), "CT1:") {
		text, ok = string(scanned[4:]), true
	}
	if !ok {
		m.raw = scanned
		return ""
	}
	if len(text) > 327 { // of the longest code, 214 bytes, and a little
		return code.Malformed
	}
	if m.is("text trimmed") {
		text = strings.TrimRight(text, "\n")
	}
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
	for len(text) > 0 {
		group := text[:min(3, len(text))]
		text = text[len(group):]
		n, weight := 0, 1
		for _, ch := range group {
			d := strings.IndexRune(alphabet, ch)
			if d < 0 {
				if !m.is("base45 alphabet") {
					return code.Malformed
				}
				d = 0
			}
			n, weight = n+d*weight, weight*45
		}
		switch len(group) {
		case 3:
			if n > 0xffff && !m.is("base45 overflow") {
				return code.Malformed
			}
			m.raw = append(m.raw, byte(n>>8), byte(n))
		case 2:
			if n > 0xff {
				return code.Malformed
			}
			m.raw = append(m.raw, byte(n))
		default:
			if !m.is("base45 lone character") {
				return code.Malformed
			}
		}
	}
	return ""
}

func (m *model) structure() code.Reason {
	raw := m.raw
	if len(raw) == 0 || raw[0] != 0x7d && !m.is("magic") {
		return code.Unsupported
	}
	if len(raw) < 2 {
		return code.Malformed
	}
	m.suite = int(raw[1] >> 2 & 7)
	if raw[1]>>5 != 1 && !m.is("version") || m.suite > 4 {
		return code.Unsupported
	}
	if raw[1]&1 != 0 && !m.is("reserved bit") {
		return code.Malformed
	}
	m.keyLen, m.proofLen = []int{32, 33, 33, 33, 16}[m.suite], []int{64, 64, 64, 64, 16}[m.suite]
	m.isig = 23 + m.keyLen
	if raw[1]&2 != 0 {
		if len(raw) <= m.isig {
			return code.Malformed
		}
		n := int(raw[m.isig])
		if n > 21 && !m.is("extension length") || n == 0 && !m.is("empty extensions") || len(raw) < m.isig+1+n {
			return code.Malformed
		}
		if !m.tlvs(raw[m.isig+1 : m.isig+1+n]) {
			return code.Malformed
		}
		m.isig += 1 + n
	}
	m.b = m.isig + 64
	want := m.b + 8 + m.proofLen
	if len(raw) < want || len(raw) != want && !m.is("trailing bytes") {
		return code.Malformed
	}
	m.raw = raw[:want]
	raw = m.raw
	m.iat = m.u32(11)
	m.exp = m.iat + m.u16(15)*3600
	age := int64(raw[m.b])<<16 | m.u16(m.b+1)
	m.gen = m.iat + age
	flags := raw[m.b+3]
	if flags>>4 == 0 && !m.is("party of 0") || flags>>2&3 == 3 && !m.is("clock quality 3") {
		return code.Malformed
	}
	return m.canonical(age, flags)
}

func (m *model) tlvs(b []byte) bool {
	last := -1
	for len(b) > 0 {
		if len(b) < 2 {
			return m.is("half a TLV")
		}
		if len(b) < 2+int(b[1]) {
			return m.is("torn TLV")
		}
		typ := int(b[0])
		if typ < last && !m.is("TLV order") || typ == last && !m.is("TLV twice") {
			return false
		}
		last, b = typ, b[2+int(b[1]):]
	}
	return true
}

func (m *model) canonical(age int64, flags byte) code.Reason {
	raw := m.raw
	key := raw[23 : 23+m.keyLen]
	if m.suite >= 1 && m.suite <= 3 {
		if key[0]&^1 != 2 && !m.is("key prefix") {
			return code.Malformed
		}
		if new(big.Int).SetBytes(key[1:]).Cmp(m.prime()) >= 0 && !m.is("key x below p") {
			return code.Malformed
		}
	}
	half := new(big.Int).Rsh(elliptic.P256().Params().N, 1)
	if m.is("low S off by one") {
		half.Sub(half, big.NewInt(1))
	}
	high := func(sig []byte) bool { return new(big.Int).SetBytes(sig[32:]).Cmp(half) > 0 }
	if (m.suite == 1 || m.suite == 3) && high(raw[len(raw)-64:]) && !m.is("low S of devices") {
		return code.Malformed
	}
	if m.suite == 1 && high(raw[m.isig:m.b]) && !m.is("low S of issuers") {
		return code.Malformed
	}
	if m.suite != 4 {
		return ""
	}
	win, ctr := int64(raw[22]), m.u16(m.b+4)
	switch {
	case win == 0:
		return code.Malformed
	case flags>>4 != 1 && !m.is("chain: party"), flags&3 != 1 && !m.is("chain: medium"), flags>>2&3 != 2 && !m.is("chain: clock quality"),
		m.u16(m.b+6) != 0 && !m.is("chain: context"), ctr >= 5760 && !m.is("chain: longest"):
		return code.Malformed
	case age != ctr*win && !m.is("chain: age and counter") && (age/win != ctr || !m.is("chain: age in the slot")):
		return code.Malformed
	}
	return ""
}

func (m *model) prime() *big.Int {
	if m.suite == 2 {
		p, _ := new(big.Int).SetString("FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF", 16)
		return p
	}
	return elliptic.P256().Params().P
}

func (m *model) policy() code.Reason {
	if !slices.Contains(m.rules.Schemes, "ct1") && !m.is("schemes of the rules") {
		return code.Unsupported
	}
	if m.issuerRule() == nil && !m.is("issuers of the rules") {
		return code.UnknownIssuer
	}
	if m.v.TrustExpired && !m.is("trust run out") {
		return code.IssuerCertExpired
	}
	return ""
}

func (m *model) issuerRule() *accept.IssuerRule {
	for i, r := range m.rules.Issuers {
		if int64(r.Issuer) == m.u16(2) {
			return &m.rules.Issuers[i]
		}
	}
	return nil
}

func (m *model) times() code.Reason {
	at, skew, win := m.v.At, m.rules.SkewSeconds*1000, int64(m.raw[22])
	if !m.is("window limit of the rules") {
		win = min(win, m.rules.MaxWindowSeconds)
	}
	if m.is("skew for late displays") {
		win -= skew / 1000
	}
	switch {
	case m.exp == m.iat, m.exp-m.iat > m.rules.MaxTTLHours*3600 && !m.is("life limit of the rules"):
		return code.ExpiredCredential
	case m.exp-m.iat == m.rules.MaxTTLHours*3600 && m.is("life limit off by one"):
		return code.ExpiredCredential
	case at >= m.exp*1000 && !m.is("end of the credential") && (at > m.exp*1000 || !m.is("end off by one")):
		return code.ExpiredCredential
	case m.gen >= m.exp && !m.is("made after the end"):
		return code.ExpiredCredential
	case at > (m.gen+win)*1000+skew && !m.is("window"), at == (m.gen+win)*1000+skew && m.is("window off by one"):
		return code.ExpiredCode
	}
	if m.is("skew for early displays") {
		skew = 0
	}
	if (m.v.ClockOK || m.is("unsure clock is a bound")) && (m.gen*1000 > at+skew && !m.is("display from the future") || m.gen*1000 == at+skew && m.is("future off by one")) {
		return code.NotYetValid
	}
	return ""
}

func (m *model) place() code.Reason {
	ok := false
	for _, mode := range m.rules.Modes {
		kinds := []string{}
		for _, k := range mode.Kinds {
			kinds = append(kinds, []string{"", "on", "off", "single"}[k])
		}
		product := len(mode.Products) == 0 || slices.Contains(mode.Products, uint16(m.u16(17))) || m.is("products of the mode")
		if (mode.Mode == m.v.Mode || m.is("modes of the rules")) && (slices.Contains(kinds, m.v.Kind) || m.is("kinds of the mode")) && product {
			ok = true
		}
	}
	if !ok {
		return code.ProductNotValidHere
	}
	ctx := m.u16(m.b + 6)
	if ctx != int64(m.v.Context) && (ctx != 0 || m.is("no vehicle on the code")) && (m.v.Context != 0 || m.is("no vehicle at the reader")) && !m.is("vehicle") {
		return code.WrongVehicle
	}
	return ""
}

func (m *model) amount() code.Reason {
	if f, rule := m.v.Fare, m.issuerRule(); f != nil && rule != nil {
		limit := m.u16(19)
		if !m.is("unit of the cap") {
			limit *= rule.CapUnitMinor
		}
		if !m.v.ClockOK && rule.UnsureCapMinor > 0 && !m.is("cap of an unsure clock") {
			limit = min(limit, rule.UnsureCapMinor)
		}
		switch {
		case f.Currency != rule.Currency && !m.is("currency"):
			return code.ProductNotValidHere
		case f.Minor < 0 && !m.is("negative fare"), f.Minor > limit && !m.is("cap"), f.Minor == limit && m.is("cap off by one"):
			return code.AmountOverCap
		}
	}
	taps, ctr := int64(m.raw[21]), m.u16(m.b+4)
	if (taps != 0 || m.is("no budget")) && ctr > taps && !m.is("budget") || taps != 0 && ctr == taps && m.is("budget off by one") {
		return code.TapsExhausted
	}
	return ""
}

func (m *model) lists() code.Reason {
	at, good := m.v.At/1000, m.iat
	if m.is("freshness by the credential") {
		good = 0
	}
	held, usable := false, false
	for _, l := range m.v.Lists {
		if int64(l.Issuer) != m.u16(2) && !m.is("issuer of the list") || int64(l.List) != m.u16(5) && !m.is("number of the list") {
			continue
		}
		denied := slices.Contains(l.Denied, uint32(m.u32(7))) || m.is("exact index") && slices.Contains(l.Denied, uint32(m.u32(7)+1))
		unknown := m.u32(7) >= int64(l.Issued) && m.iat+900 < l.BuiltAt && !m.is("never issued") ||
			m.u32(7) >= int64(l.Issued) && m.iat+900 == l.BuiltAt && m.is("never issued: settling off by one") ||
			m.u32(7) == int64(l.Issued)-1 && m.is("never issued: index off by one")
		if unknown && m.is("denied before never issued") {
			return code.NotIssued
		}
		if denied && !m.is("deny list") {
			return code.Denied
		}
		if unknown {
			return code.NotIssued
		}
		ended := at >= l.ValidUntil && !m.is("validity of the list") && (at > l.ValidUntil || !m.is("validity off by one"))
		held, usable = true, !ended
		since := l.KnownAt
		if m.is("heard of since") {
			since = l.BuiltAt
		}
		if usable || m.is("ended list proves nothing") {
			good = max(good, since)
		}
		break
	}
	switch {
	case !held && (m.rules.MissingListOK && !m.is("missing list allowed") || m.is("missing list")):
		return ""
	case m.rules.StaleListSeconds == 0 && usable:
		return ""
	case m.rules.StaleListSeconds == 0:
		return code.StaleList
	}
	age := at - good
	switch limit := m.rules.StaleListSeconds; {
	case age < limit, age == limit && !m.is("list age off by one"), m.is("age of the list"):
		return ""
	case age > m.rules.StaleLimitSeconds && !m.is("end of the lower cap"), age == m.rules.StaleLimitSeconds && m.is("end of the lower cap off by one"):
		return code.StaleList
	}
	if rule := m.issuerRule(); m.v.Fare != nil && rule.StaleCapMinor > 0 && !m.is("lower cap") &&
		(m.v.Fare.Minor > rule.StaleCapMinor || m.v.Fare.Minor == rule.StaleCapMinor && m.is("lower cap off by one")) {
		return code.AmountOverCap
	}
	return ""
}

func (m *model) replayed() code.Reason {
	for _, u := range m.v.Seen {
		if (int64(u.Issuer) == m.u16(2) || m.is("replay key: issuer")) && (int64(u.List) == m.u16(5) || m.is("replay key: list")) &&
			(int64(u.Index) == m.u32(7) || m.is("replay key: index")) && (int64(u.Counter) == m.u16(m.b+4) || m.is("replay key: counter")) && !m.is("replay") {
			return code.Replayed
		}
	}
	return ""
}

func (m *model) signatures() code.Reason {
	raw, issuerKnown := m.raw, false
	var key *vectorKey
	for i, k := range m.v.Keys {
		if int64(k.Issuer) == m.u16(2) || m.is("issuer of the key") {
			issuerKnown = true
			if k.KeyID == raw[4] || m.is("kid") {
				key = &m.v.Keys[i]
				break
			}
		}
	}
	switch {
	case key == nil && (issuerKnown || m.is("unknown issuers")):
		return code.UnknownKey
	case key == nil:
		return code.UnknownIssuer
	case key.Revoked && !m.is("revoked key"), m.iat >= key.Expires && !m.is("end of the key"):
		return code.KeyRevoked
	case m.iat < key.NotBefore && !m.is("start of the key"):
		return code.UnknownKey
	case key.Alg != []string{"ed25519", "es256", "sm2", "ed25519", "ed25519"}[m.suite]:
		if m.is("algorithm of the key") {
			return code.BadIssuerSignature
		}
		return code.Unsupported
	}
	public, err := hex.DecodeString(key.Public)
	if err != nil {
		return code.InternalError
	}
	msg, dyn := append([]byte("CT1-cred\x00"), raw[:m.isig]...), append([]byte("CT1-dyn\x00"), raw[:m.b+8]...)
	if m.is("issuer's context") {
		msg = raw[:m.isig]
	}
	if m.is("device's context") {
		dyn = raw[:m.b+8]
	}
	if !m.is("issuer's signature") && !m.holds(key.Alg, public, msg, raw[m.isig:m.b]) {
		return code.BadIssuerSignature
	}
	alg, device, proof := []string{"ed25519", "es256", "sm2", "es256", "chain"}[m.suite], raw[23:23+m.keyLen], raw[m.b+8:]
	if alg == "chain" {
		return m.chain(device, proof)
	}
	if alg != "ed25519" && !onCurve(alg, device) && !m.is("point on the curve") {
		return code.Malformed
	}
	if !m.holds(alg, device, dyn, proof) && !m.is("device's signature") {
		return code.BadDeviceSignature
	}
	return ""
}

func (m *model) chain(anchor, value []byte) code.Reason {
	steps := m.u16(m.b+4) + 1
	if m.is("chain: anchor is the first slot") {
		steps--
	}
	held := once(func() bool {
		for position := steps; position > 0; position-- {
			sum := sha256.Sum256(append(binary.BigEndian.AppendUint32([]byte("CT1-chain\x00"), uint32(position)), value...))
			value = sum[:16]
		}
		return bytes.Equal(value, anchor)
	}, []byte{byte(steps >> 8), byte(steps)}, anchor, value)
	if !held && !m.is("chain: value") {
		return code.BadSecret
	}
	return ""
}

func onCurve(alg string, key []byte) bool {
	if alg == "sm2" {
		_, err := sm2.ParseKey(key)
		return err == nil
	}
	x, _ := elliptic.UnmarshalCompressed(elliptic.P256(), key)
	return x != nil
}

func (m *model) holds(alg string, public, msg, sig []byte) bool {
	uid := "1234567812345678"
	if alg == "sm2" && m.is("SM2 user id") {
		uid = "ALICE123@YAHOO.COM"
	}
	if alg == "ed25519" && m.is("Ed25519's S below L") {
		sig = reduced(sig)
	}
	return once(func() bool { return holds(alg, uid, public, msg, sig) }, []byte(alg), []byte(uid), public, msg, sig)
}

func holds(alg, uid string, public, msg, sig []byte) bool {
	switch alg {
	case "ed25519":
		return ed25519.Verify(public, msg, sig)
	case "sm2":
		key, err := sm2.ParseKey(public)
		return err == nil && sm2.Verify(key, []byte(uid), msg, sig)
	}
	if !onCurve("es256", public) {
		return false
	}
	digest := sha256.Sum256(msg)
	return ecdsa.Verify(point(public), digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

// reduced takes S modulo the group order, as lax verifiers do.
func reduced(sig []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := make([]byte, 32)
	for i := range s {
		s[i] = sig[63-i]
	}
	new(big.Int).Mod(new(big.Int).SetBytes(s), order).FillBytes(s)
	slices.Reverse(s)
	return append(bytes.Clone(sig[:32]), s...)
}

// TestVectorsCatchEveryMutant holds the set to its purpose: a verifier written
// from the description agrees with every case, and one that leaves out a check
// disagrees with at least one. Run with -v for the table.
func TestVectorsCatchEveryMutant(t *testing.T) {
	f := readVectors(t)
	wrong := func(fault string) (caught []string, reasons map[code.Reason]int) {
		reasons = map[code.Reason]int{}
		for _, v := range f.Cases {
			m := &model{fault: fault, v: v, rules: f.Rules[v.Rules]}
			if m.answer(t) != v.Want {
				caught = append(caught, v.ID)
				reasons[v.Want.Reason]++
			}
		}
		return caught, reasons
	}
	if bad, _ := wrong(""); len(bad) > 0 {
		t.Fatalf("the model disagrees with %d cases: %v", len(bad), bad[:min(10, len(bad))])
	}
	names := make([]string, 0, len(mutants))
	for name := range mutants {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) < 60 {
		t.Errorf("%d mutants, want 60 or more", len(names))
	}
	held := map[code.Reason]int{}
	for _, name := range names {
		caught, reasons := wrong(name)
		if len(caught) == 0 {
			t.Errorf("no case catches a verifier that gets this wrong: %s", name)
			continue
		}
		for r := range reasons {
			held[r]++
		}
		t.Logf("%-34s %3d cases, such as %s", name, len(caught), caught[0])
	}
	for _, r := range validatorReasons() {
		if notHere[r] == "" && held[r] == 0 {
			t.Errorf("no mutant fails a case of reason %s", r)
		}
	}
}
