package ct1_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"math/big"
	"testing"

	gmsm "github.com/emmansun/gmsm/sm2"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

func publicBytes(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	switch k := public.(type) {
	case ed25519.PublicKey:
		return k
	case *ecdsa.PublicKey:
		if sm2.IsKey(k) {
			return sm2.Compress(k)
		}
		_, key, err := ct1.DeviceKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	t.Fatalf("a key of type %T", public)
	return nil
}

func vectorCases(t testing.TB) []*vector {
	var cases []*vector
	for suite := range uint8(5) {
		m := newMaker(t, suite)
		m.forms()
		m.times()
		m.place()
		m.amounts()
		m.budget()
		m.issuers()
		m.lists()
		m.replays()
		m.order()
		m.signatures()
		m.structure()
		if suite == ct1.SuiteChain {
			m.chains()
		} else {
			m.signedFields()
		}
		cases = append(cases, m.cases...)
	}
	return append(cases, noSuite(t)...)
}

func (m *maker) forms() {
	text := func(d *draft) { d.text = true }
	m.add("plain", "a genuine code", "", nil, nil)
	m.add("text", "the same as text", "", text, nil)
	m.add("ext", "two extensions", "", func(d *draft) { d.hdr |= 2; d.ext = []byte{6, 1, 2, 0xaa, 0xbb, 200, 0} }, nil)
	m.add("ext-text", "two extensions, as text", "", func(d *draft) { d.hdr |= 2; d.ext = []byte{6, 1, 2, 0xaa, 0xbb, 200, 0}; d.text = true }, nil)
	m.add("ext-21", "the longest extensions", "", func(d *draft) { d.hdr |= 2; d.ext = append([]byte{21, 255, 19}, make([]byte, 19)...) }, nil)
	m.add("text-expired", "text of an old code", code.ExpiredCode, text, func(v *vector) { v.At += 3600_000 })
	m.add("text-denied", "text of a rider on the list", code.Denied, text, func(v *vector) { v.Lists = []vectorList{m.list(0, vIndex)} })
	m.add("text-other-key", "text under another issuer key", code.BadIssuerSignature, text, func(v *vector) {
		v.Keys[0].Public = hex.EncodeToString(publicBytes(m.t, newCity(m.t, m.suite, "another issuer").keys.public))
	})
	m.add("text-unknown-issuer", "text of an issuer whose keys are not held", code.UnknownIssuer, text, func(v *vector) { v.Keys = []vectorKey{} })
	m.add("text-replayed", "text of a display seen before", code.Replayed, text, func(v *vector) { v.Seen = []vectorUse{m.use()} })
	m.add("text-over-cap", "text of a code with a lower cap", code.AmountOverCap, text, func(v *vector) { v.Fare.Minor = 1001 })
	m.add("text-newline", "text with a line feed behind it", code.Malformed, func(d *draft) {
		d.after = func(raw []byte) []byte { return append([]byte(ct1.Text(raw)), '\n') }
	}, nil)
	m.add("text-lower-case", "the prefix in lower case is no text form", code.Unsupported, func(d *draft) {
		d.after = func(raw []byte) []byte { return append([]byte("ct1:"), ct1.Text(raw)[4:]...) }
	}, nil)
	m.add("text-bad-character", "a character base45 has not", code.Malformed, func(d *draft) {
		d.after = func(raw []byte) []byte { s := []byte(ct1.Text(raw)); s[20] = 'a'; return s }
	}, nil)
	m.add("text-overflow", "a group of three above 65535", code.Malformed, func(d *draft) {
		d.after = func(raw []byte) []byte { s := []byte(ct1.Text(raw)); copy(s[4:], "GGW"); return s }
	}, nil)
	m.add("text-lone-character", "a group of one character", code.Malformed, func(d *draft) {
		d.after = func(raw []byte) []byte { return append([]byte(ct1.Text(raw[:len(raw)-len(raw)%2])), '0') }
	}, nil)
}

func (m *maker) times() {
	at := func(ms int64) func(*vector) { return func(v *vector) { v.At += ms - 5000 } } // from the display's making
	win := int64(m.draft().win) * 1000
	m.add("early-edge", "made 30 s, the skew, after the validator's clock", "", nil, at(-30_000))
	m.add("early", "made a millisecond more after it", code.NotYetValid, nil, at(-30_001))
	m.add("late-edge", "window and skew just reached", "", nil, at(win+30_000))
	m.add("late", "a millisecond later", code.ExpiredCode, nil, at(win+30_001))
	unsure := func(v *vector) { v.ClockOK = false; v.Fare.Minor = 1 }
	m.add("unsure-early", "an unsure clock is a lower bound: it may be behind", "", nil, func(v *vector) { at(-900_000)(v); unsure(v) })
	m.add("unsure-late", "what is old by a lower bound is old", code.ExpiredCode, nil, func(v *vector) { at(win + 30_001)(v); unsure(v) })
	life := func(d *draft) { // a life of an hour, shown in its last minute
		d.ttl, d.age = 1, 3595
		if m.suite == ct1.SuiteChain {
			m.slot(d, 59)
		}
	}
	end := func(ms int64) func(*vector) { return func(v *vector) { v.At = (issuedAt+3600)*1000 + ms } }
	m.add("last-millisecond", "a millisecond before the credential ends", "", life, end(-1))
	m.add("ended", "the credential ends at this instant", code.ExpiredCredential, life, end(0))
	m.add("made-at-end", "made at the instant the credential ends, by a clock ahead", code.ExpiredCredential, func(d *draft) {
		d.ttl, d.age = 1, 3600
		if m.suite == ct1.SuiteChain {
			m.slot(d, 60)
		}
	}, end(-1))
	m.add("no-life", "a life of 0 hours", code.ExpiredCredential, func(d *draft) {
		d.ttl, d.age = 0, 0
		if m.suite == ct1.SuiteChain {
			m.slot(d, 0)
		}
	}, nil)
	m.add("longest-life", "a life of 336 hours, the rules' limit", "", func(d *draft) { d.ttl = 336 }, nil)
	m.add("over-life", "a life of 337 hours", code.ExpiredCredential, func(d *draft) { d.ttl = 337 }, nil)
	wide := func(d *draft) {
		d.win = 255
		if m.suite == ct1.SuiteChain {
			m.slot(d, 10)
		}
	}
	m.add("window-cut", "a window of 255 s counts as the rules' 120", "", wide, at(150_000))
	m.add("window-cut-late", "a millisecond later", code.ExpiredCode, wide, at(150_001))
	first := func(d *draft) {
		d.age = 0
		if m.suite == ct1.SuiteChain {
			m.slot(d, 0)
		}
	}
	m.add("issued-now", "shown in the second of its issue, 30 s ahead of the validator", "", first, at(-30_000))
	m.add("issued-later", "issued a millisecond more ahead", code.NotYetValid, first, at(-30_001))
	m.add("no-skew-edge", "rules without skew: in the second of its making", "", nil, func(v *vector) { v.Rules = "long"; at(0)(v) })
	m.add("no-skew-early", "rules without skew: a millisecond before", code.NotYetValid, nil, func(v *vector) { v.Rules = "long"; at(-1)(v) })
	m.add("no-skew-late", "rules without skew: a millisecond after its window", code.ExpiredCode, nil, func(v *vector) { v.Rules = "long"; at(win + 1)(v) })
	m.add("trust-expired", "the trust bundle has run out", code.IssuerCertExpired, nil, func(v *vector) { v.TrustExpired = true })
	if m.suite == ct1.SuiteChain {
		m.add("last-slot", "the last slot of the longest chain", "", func(d *draft) { m.slot(d, ct1.ChainMax-1) }, nil)
		return
	}
	m.add("oldest-display", "made 2^24-1 seconds after issue", "", func(d *draft) { d.ttl, d.age = 24*366, 1<<24-1 }, func(v *vector) { v.Rules = "long" })
	m.add("no-window", "a window of 0 s: the skew alone", "", func(d *draft) { d.win = 0 }, at(30_000))
	m.add("no-window-late", "a window of 0 s, a millisecond after the skew", code.ExpiredCode, func(d *draft) { d.win = 0 }, at(30_001))
}

func (m *maker) place() {
	m.add("mode", "a mode of transport the rules do not name", code.ProductNotValidHere, nil, func(v *vector) { v.Mode = "taxi" })
	m.add("kind", "a kind of tap the mode does not take", code.ProductNotValidHere, nil, func(v *vector) { v.Kind = "on" })
	metro := func(v *vector) { v.Mode, v.Kind = "metro", "off" }
	m.add("product", "a product the mode does not take", code.ProductNotValidHere, func(d *draft) { d.product = 8 }, metro)
	m.add("product-first", "the first product of the mode", "", func(d *draft) { d.product = 7 }, metro)
	m.add("product-last", "the last product of the mode", "", func(d *draft) { d.product = 9 }, metro)
	m.add("no-context", "a reader with a vehicle, a code without", "", nil, func(v *vector) { v.Context = 6 })
}

func (m *maker) amounts() {
	fare := func(minor int64) func(*vector) { return func(v *vector) { v.Fare.Minor = minor } }
	m.add("cap-edge", "a fare of the cap, 10 units of 100", "", nil, fare(1000))
	m.add("cap-over", "a minor unit over the cap", code.AmountOverCap, nil, fare(1001))
	m.add("fare-zero", "a free ride", "", func(d *draft) { d.limit = 0 }, fare(0))
	m.add("cap-zero", "a cap of 0 and a fare of 1", code.AmountOverCap, func(d *draft) { d.limit = 0 }, fare(1))
	m.add("fare-negative", "a negative fare", code.AmountOverCap, nil, fare(-1))
	m.add("cap-largest", "the largest cap", "", func(d *draft) { d.limit = 65535 }, fare(6553500))
	m.add("cap-largest-over", "a minor unit over the largest cap", code.AmountOverCap, func(d *draft) { d.limit = 65535 }, fare(6553501))
	m.add("fare-unknown", "a fare the reader does not know", "", func(d *draft) { d.limit = 0 }, func(v *vector) { v.Fare = nil })
	m.add("currency", "a fare in a currency the issuer's cap is not in", code.ProductNotValidHere, nil, func(v *vector) { v.Fare.Currency = "HKD" })
	m.add("unsure-cap-edge", "an unsure clock's lower cap", "", nil, func(v *vector) { v.ClockOK = false; v.Fare.Minor = 200 })
	m.add("unsure-cap-over", "a minor unit over it", code.AmountOverCap, nil, func(v *vector) { v.ClockOK = false; v.Fare.Minor = 201 })
}

func (m *maker) budget() {
	if m.suite == ct1.SuiteChain { // the counter is the slot
		m.add("taps-edge", "the last slot of a budget of five", "", func(d *draft) { d.taps = 5; m.slot(d, 5) }, nil)
		m.add("taps-over", "the slot after it", code.TapsExhausted, func(d *draft) { d.taps = 5; m.slot(d, 6) }, nil)
		return
	}
	ctr := func(taps byte, n uint16) func(*draft) { return func(d *draft) { d.taps, d.ctr = taps, n } }
	m.add("taps-edge", "the last tap of the budget", "", ctr(200, 200), nil)
	m.add("taps-over", "the tap after it", code.TapsExhausted, ctr(200, 201), nil)
	m.add("taps-255-over", "the tap after the largest budget", code.TapsExhausted, ctr(255, 256), nil)
	m.add("taps-none", "no budget, the last counter", "", ctr(0, 65535), nil)
	m.add("taps-zeroth", "counter 0", "", ctr(1, 0), nil)
}

func (m *maker) issuers() {
	m.add("scheme", "rules that do not take CT1", code.Unsupported, nil, func(v *vector) { v.Rules = "other_schemes" })
	m.add("issuer-not-taken", "an issuer the rules do not name, though its key is held", code.UnknownIssuer, nil, func(v *vector) { v.Rules = "other_issuers" })
	m.add("no-keys", "no key of the issuer", code.UnknownIssuer, nil, func(v *vector) { v.Keys = []vectorKey{} })
	m.add("other-issuers-key", "the key is another issuer's", code.UnknownIssuer, nil, func(v *vector) { v.Keys[0].Issuer = 0x4321 })
	m.add("kid", "another key of the issuer", code.UnknownKey, nil, func(v *vector) { v.Keys[0].KeyID = 8 })
	m.add("two-kids", "the key is found among the issuer's", "", nil, func(v *vector) {
		other := m.key()
		other.KeyID, other.Revoked = 8, true
		v.Keys = append([]vectorKey{other}, v.Keys...)
	})
	m.add("revoked", "a revoked key", code.KeyRevoked, nil, func(v *vector) { v.Keys[0].Revoked = true })
	m.add("key-ended", "issued in the second the key ended", code.KeyRevoked, nil, func(v *vector) { v.Keys[0].Expires = issuedAt })
	m.add("key-last-second", "issued in the key's last second", "", nil, func(v *vector) { v.Keys[0].Expires = issuedAt + 1 })
	m.add("key-first-second", "issued in the key's first second", "", nil, func(v *vector) { v.Keys[0].NotBefore = issuedAt })
	m.add("key-too-new", "issued a second before the key was", code.UnknownKey, nil, func(v *vector) { v.Keys[0].NotBefore = issuedAt + 1 })
}

// list gives a deny list, built age seconds before the default tap and not heard
// of since.
func (m *maker) list(age int64, denied ...uint32) vectorList {
	d := m.draft()
	built := d.iat + d.age + 5 - age
	return vectorList{Issuer: vIssuer, List: vList, BuiltAt: built, KnownAt: built, ValidUntil: built + 7200, Issued: vIndex + 100, Denied: append([]uint32{}, denied...)}
}

func (m *maker) lists() {
	with := func(rules string, lists ...vectorList) func(*vector) {
		return func(v *vector) { v.Rules, v.Lists = rules, append([]vectorList{}, lists...) }
	}
	m.add("denied", "the rider is on the list", code.Denied, nil, with("lists", m.list(60, 1, vIndex, vIndex+9)))
	m.add("neighbours-denied", "the riders beside are on the list", "", nil, with("lists", m.list(60, vIndex-1, vIndex+1)))
	m.add("list-age-edge", "a list of the highest age", "", nil, with("lists", m.list(3600)))
	m.add("list-age", "a second older", code.StaleList, nil, with("lists", m.list(3601)))
	m.add("list-from-ahead", "a list built after the validator's clock", "", nil, with("lists", m.list(-60)))
	m.add("list-missing", "a list the validator does not hold", code.StaleList, nil, with("lists"))
	m.add("list-missing-ok", "a missing list, where the rules allow it", "", nil, with("lists_or_none"))
	old := m.list(7199)
	m.add("list-last-second", "a list in its last second of validity", "", nil, with("lists_any_age", old))
	old.BuiltAt, old.ValidUntil = old.BuiltAt-1, old.ValidUntil-1
	m.add("list-ended", "a list in the second its validity ended", code.StaleList, nil, with("lists_any_age", old))
	m.add("list-ended-not-missing", "an ended list is not a missing one", code.StaleList, nil, with("lists_or_none", old))
	old.Denied = []uint32{vIndex}
	m.add("denied-by-old-list", "a list past its time still denies", code.Denied, nil, with("lists_any_age", old))
	other := m.list(60, vIndex)
	other.List++
	m.add("denied-in-other-list", "the index is denied in another list", "", nil, with("plain", other))
	other.List, other.Issuer = vList, 0x4321
	m.add("denied-by-other-issuer", "the index is denied by another issuer", "", nil, with("plain", other))
	heard := m.list(7000)
	heard.KnownAt += 6000
	m.add("list-heard-of", "an old list that was the newest 1,000 s ago", "", nil, with("lists", heard))
	heard.KnownAt = heard.BuiltAt + 7000 - 3601
	m.add("list-not-heard-of", "an old list that was the newest 3,601 s ago", code.StaleList, nil, with("lists", heard))
	m.grey(with)
	m.neverIssued(with)
}

// grey has riders who were last known to be good some while ago, by their list or
// by their credential's issue, whichever is later.
func (m *maker) grey(with func(string, ...vectorList) func(*vector)) {
	fare := func(minor int64, around func(*vector)) func(*vector) {
		return func(v *vector) {
			around(v)
			if v.Fare.Minor = minor; minor < 0 {
				v.Fare = nil
			}
		}
	}
	list := func(age int64) vectorList {
		l := m.list(age)
		l.ValidUntil = l.BuiltAt + 86400
		return l
	}
	m.add("grey-cap-edge", "a list of 3,601 s: the lower cap", "", nil, fare(150, with("lists_grey", list(3601))))
	m.add("grey-cap-over", "a minor unit over it", code.AmountOverCap, nil, fare(151, with("lists_grey", list(3601))))
	m.add("grey-not-yet", "a list of 3,600 s: the whole cap", "", nil, fare(151, with("lists_grey", list(3600))))
	m.add("grey-fare-unknown", "no fare to hold against the lower cap", "", nil, fare(-1, with("lists_grey", list(3601))))
	m.add("grey-edge", "the last second of the lower cap", "", nil, fare(150, with("lists_grey", list(10_800))))
	m.add("grey-over", "a second later", code.StaleList, nil, fare(150, with("lists_grey", list(10_801))))
	young := func(age int64, d *draft) { // shown shortly before age seconds after its issue
		d.age = age - 5
		if m.suite == ct1.SuiteChain {
			m.slot(d, int(age-1)/60)
		}
	}
	at := func(age int64, around func(*vector)) func(*vector) {
		return func(v *vector) { around(v); v.At = (issuedAt + age) * 1000 }
	}
	m.add("credential-fresh", "no list, issued 3,600 s ago", "", func(d *draft) { young(3600, d) }, at(3600, with("lists")))
	m.add("credential-not-fresh", "no list, issued 3,601 s ago", code.StaleList, func(d *draft) { young(3601, d) }, at(3601, with("lists")))
	ended := m.list(0)
	ended.BuiltAt, ended.KnownAt, ended.ValidUntil = issuedAt-9000, issuedAt+3600, issuedAt
	m.add("credential-fresh-list-ended", "an ended list, issued 3,600 s ago", "", func(d *draft) { young(3600, d) }, at(3600, with("lists", ended)))
	m.add("ended-list-proves-nothing", "an ended list heard of lately, issued 3,601 s ago", code.StaleList, func(d *draft) { young(3601, d) }, at(3601, with("lists", ended)))
}

// neverIssued has codes backdated with a stolen key, whose index a list that is
// younger than the credential does not know.
func (m *maker) neverIssued(with func(string, ...vectorList) func(*vector)) {
	beyond := func(built int64, issued uint32) vectorList {
		l := m.list(60)
		l.BuiltAt, l.KnownAt, l.ValidUntil, l.Issued = built, built, issuedAt+90*86400, issued
		return l
	}
	long := int64(issuedAt + 86400)
	m.add("never-issued", "an index that was not issued a day after", code.NotIssued, nil, with("lists_any_age", beyond(long, vIndex)))
	m.add("last-issued", "the last index issued", "", nil, with("lists_any_age", beyond(long, vIndex+1)))
	m.add("issue-settles", "a list built 900 s after the issue may not show it yet", "", nil, with("lists_any_age", beyond(issuedAt+900, vIndex)))
	m.add("issue-settled", "a second later it must", code.NotIssued, nil, with("lists_any_age", beyond(issuedAt+901, vIndex)))
	denied := beyond(long, vIndex)
	denied.Denied = []uint32{vIndex}
	m.add("order-never-issued", "denied, and never issued", code.Denied, nil, with("lists_any_age", denied))
	stale := beyond(long, vIndex)
	stale.ValidUntil = long + 1
	m.add("order-stale", "never issued, and the list ended", code.NotIssued, nil, with("lists_any_age", stale))
}

func (m *maker) use() vectorUse { return vectorUse{vIssuer, vList, vIndex, m.draft().ctr} }

func (m *maker) replays() {
	seen := func(change func(*vectorUse)) func(*vector) {
		return func(v *vector) {
			u := m.use()
			change(&u)
			v.Seen = []vectorUse{u}
		}
	}
	m.add("replayed", "a display accepted before", code.Replayed, nil, seen(func(*vectorUse) {}))
	m.add("seen-counter", "an earlier display of the rider", "", nil, seen(func(u *vectorUse) { u.Counter-- }))
	m.add("seen-index", "another rider's display", "", nil, seen(func(u *vectorUse) { u.Index++ }))
	m.add("seen-list", "a rider of another list", "", nil, seen(func(u *vectorUse) { u.List++ }))
	m.add("seen-issuer", "a rider of another issuer", "", nil, seen(func(u *vectorUse) { u.Issuer = 0x4321 }))
}

// order has two faults in each code: the first in the fixed order is named.
func (m *maker) order() {
	forged := func(d *draft) { d.after = flipLast }
	m.add("order-window", "too old, and forged", code.ExpiredCode, forged, func(v *vector) { v.At += 3600_000 })
	m.add("order-trust", "trust run out, and too old", code.IssuerCertExpired, nil, func(v *vector) { v.TrustExpired = true; v.At += 3600_000 })
	m.add("order-issuer", "an issuer not taken, and trust run out", code.UnknownIssuer, nil, func(v *vector) { v.Rules = "other_issuers"; v.TrustExpired = true })
	m.add("order-place", "not valid here, and over the cap", code.ProductNotValidHere, nil, func(v *vector) { v.Mode = "taxi"; v.Fare.Minor = 9999 })
	m.add("order-amount", "over the cap, and denied", code.AmountOverCap, nil, func(v *vector) { v.Fare.Minor = 9999; v.Lists = []vectorList{m.list(0, vIndex)} })
	m.add("order-denied", "denied, and seen before", code.Denied, nil, func(v *vector) { v.Lists = []vectorList{m.list(0, vIndex)}; v.Seen = []vectorUse{m.use()} })
	m.add("order-replayed", "seen before, and forged", code.Replayed, forged, func(v *vector) { v.Seen = []vectorUse{m.use()} })
	m.add("order-key", "no key, and forged", code.UnknownIssuer, forged, func(v *vector) { v.Keys = []vectorKey{} })
	m.add("order-issuer-signature", "forged by both", code.BadIssuerSignature, func(d *draft) {
		d.after = func(raw []byte) []byte { raw[m.isigAt(raw)+1] ^= 1; return flipLast(raw) }
	}, nil)
}

func flipLast(raw []byte) []byte {
	raw[len(raw)-1] ^= 1
	return raw
}

// isigAt is where the issuer's signature begins.
func (m *maker) isigAt(raw []byte) int {
	at := 23 + len(m.c.device)
	if raw[1]&2 != 0 {
		at += 1 + int(raw[at])
	}
	return at
}

func (m *maker) signatures() {
	other := newCity(m.t, m.suite, "another issuer")
	m.add("other-issuer-key", "another key under the same kid", code.BadIssuerSignature, nil, func(v *vector) {
		v.Keys[0].Public = hex.EncodeToString(publicBytes(m.t, other.keys.public))
	})
	m.add("issuer-zero", "an issuer's signature of zeros", code.BadIssuerSignature, func(d *draft) { d.issue = func([]byte) []byte { return make([]byte, 64) } }, nil)
	m.add("issuer-context", "the issuer signed without its context", code.BadIssuerSignature, func(d *draft) {
		issue := d.issue
		d.issue = func(msg []byte) []byte { return issue(msg[len("CT1-cred\x00"):]) }
	}, nil)
	m.add("issuer-first-byte", "a bit of the issuer's signature", code.BadIssuerSignature, func(d *draft) {
		d.after = func(raw []byte) []byte { raw[m.isigAt(raw)+31] ^= 0x10; return raw }
	}, nil)
	m.add("altered-cap", "a cap raised behind the issuer's signature, signed again by the device", code.BadIssuerSignature, func(d *draft) {
		d.partA = func(a []byte) { a[20]++ }
	}, nil)
	m.add("altered-product", "a product changed likewise", code.BadIssuerSignature, func(d *draft) { d.partA = func(a []byte) { a[18]++ } }, nil)
	m.add("altered-index", "an index changed likewise", code.BadIssuerSignature, func(d *draft) { d.partA = func(a []byte) { a[10]++ } }, nil)
	m.add("altered-life", "a life prolonged likewise", code.BadIssuerSignature, func(d *draft) { d.partA = func(a []byte) { a[16]++ } }, nil)
	m.add("altered-extension", "an extension changed likewise", code.BadIssuerSignature, func(d *draft) {
		d.hdr |= 2
		d.ext = []byte{3, 1, 1, 0xaa}
		d.partA = func(a []byte) { a[23+len(d.device)+3]++ }
	}, nil)
	m.add("device-last-bit", "a bit of the device's proof", m.unproven(), func(d *draft) { d.after = flipLast }, nil)
	m.add("device-zero", "a device's proof of zeros", m.unproven(), func(d *draft) {
		d.after = func(raw []byte) []byte {
			n := 64
			if m.suite == ct1.SuiteChain {
				n = 16
			}
			clear(raw[len(raw)-n:])
			return raw
		}
	}, nil)
	wrongAlg := vectorKey{Issuer: vIssuer, KeyID: vKid, Alg: "ed25519", NotBefore: 0, Expires: 1 << 32}
	if m.key().Alg == "ed25519" {
		wrongAlg.Alg = "es256"
		wrongAlg.Public = hex.EncodeToString(publicBytes(m.t, newCity(m.t, ct1.SuiteAllP256, "wrong").keys.public))
	} else {
		wrongAlg.Public = hex.EncodeToString(publicBytes(m.t, newCity(m.t, ct1.SuiteEd25519, "wrong").keys.public))
	}
	m.add("key-algorithm", "the key under this kid is of another algorithm", code.Unsupported, nil, func(v *vector) { v.Keys = []vectorKey{wrongAlg} })
	order := map[uint8]*big.Int{1: elliptic.P256().Params().N, 2: gmsm.P256().Params().N, 3: elliptic.P256().Params().N}[m.suite]
	ed, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	switch m.suite {
	case ct1.SuiteEd25519: // S + L verifies where S is not compared with L
		m.add("device-s-plus-l", "the device's S plus the group order", code.BadDeviceSignature, func(d *draft) {
			d.after = func(raw []byte) []byte { addLittle(raw[len(raw)-32:], ed); return raw }
		}, nil)
		m.add("device-no-point", "a device key that is no point, signed by the issuer", code.BadDeviceSignature, func(d *draft) {
			d.device = append(bytes.Repeat([]byte{0xff}, 31), 0x7f)
		}, nil)
	case ct1.SuiteAllP256, ct1.SuiteP256:
		half := new(big.Int).Rsh(order, 1)
		m.add("high-s", "the device's signature with the high S", code.Malformed, func(d *draft) {
			d.after = func(raw []byte) []byte { copy(raw[len(raw)-32:], negate(raw[len(raw)-32:])); return raw }
		}, nil)
		m.add("half-order", "an S of (n-1)/2 is the last low one", code.BadDeviceSignature, func(d *draft) {
			d.after = func(raw []byte) []byte { half.FillBytes(raw[len(raw)-32:]); return raw }
		}, nil)
		m.add("half-order-more", "an S of (n+1)/2 is the first high one", code.Malformed, func(d *draft) {
			d.after = func(raw []byte) []byte {
				new(big.Int).Add(half, big.NewInt(1)).FillBytes(raw[len(raw)-32:])
				return raw
			}
		}, nil)
		m.add("r-is-order", "an r of n", code.BadDeviceSignature, func(d *draft) {
			d.after = func(raw []byte) []byte { order.FillBytes(raw[len(raw)-64 : len(raw)-32]); return raw }
		}, nil)
	case ct1.SuiteSM2:
		m.add("minus-s", "n-s, which SM2 does not take", code.BadDeviceSignature, func(d *draft) {
			d.after = func(raw []byte) []byte {
				s := raw[len(raw)-32:]
				new(big.Int).Sub(order, new(big.Int).SetBytes(s)).FillBytes(s)
				return raw
			}
		}, nil)
		m.add("r-is-order", "an r of n", code.BadDeviceSignature, func(d *draft) {
			d.after = func(raw []byte) []byte { order.FillBytes(raw[len(raw)-64 : len(raw)-32]); return raw }
		}, nil)
	}
	switch m.suite {
	case ct1.SuiteAllP256:
		m.add("issuer-high-s", "the issuer's signature with the high S, which is the device's to sign", code.Malformed, func(d *draft) {
			issue := d.issue
			d.issue = func(msg []byte) []byte { sig := issue(msg); return append(sig[:32], negate(sig[32:])...) }
		}, nil)
	case ct1.SuiteEd25519, ct1.SuiteP256, ct1.SuiteChain:
		m.add("issuer-s-plus-l", "the issuer's S plus the group order", code.BadIssuerSignature, func(d *draft) {
			issue := d.issue
			d.issue = func(msg []byte) []byte { sig := issue(msg); addLittle(sig[32:], ed); return sig }
		}, nil)
	}
}

// addLittle adds n to a little-endian number in place.
func addLittle(s []byte, n *big.Int) {
	sum := new(big.Int)
	for i := len(s) - 1; i >= 0; i-- {
		sum.Lsh(sum, 8).Or(sum, big.NewInt(int64(s[i])))
	}
	sum.Add(sum, n)
	whole := sum.FillBytes(make([]byte, 32))
	for i := range s {
		s[i] = whole[31-i]
	}
}

func (m *maker) structure() {
	bad := func(id, comment string, want code.Reason, after func(raw []byte) []byte) {
		m.add(id, comment, want, func(d *draft) { d.after = after }, nil)
	}
	hdr := func(v byte) func([]byte) []byte { return func(raw []byte) []byte { raw[1] = v; return raw } }
	bad("short", "a byte short", code.Malformed, func(raw []byte) []byte { return raw[:len(raw)-1] })
	bad("long", "a byte more", code.Malformed, func(raw []byte) []byte { return append(raw, 0) })
	bad("part-a", "part A alone", code.Malformed, func(raw []byte) []byte { return raw[:m.isigAt(raw)+64] })
	bad("cut-key", "cut in the device key", code.Malformed, func(raw []byte) []byte { return raw[:30] })
	bad("magic", "another first byte", code.Unsupported, func(raw []byte) []byte { raw[0] = 0x7c; return raw })
	bad("version-0", "version 0", code.Unsupported, hdr(m.suite<<2))
	bad("version-2", "version 2", code.Unsupported, hdr(2<<5|m.suite<<2))
	bad("reserved", "the reserved bit", code.Malformed, hdr(1<<5|m.suite<<2|1))
	bad("ext-missing", "extensions promised and not there", code.Malformed, hdr(1<<5|m.suite<<2|2))
	ext := func(id, comment string, bytes ...byte) {
		m.add(id, comment, code.Malformed, func(d *draft) { d.hdr |= 2; d.ext = bytes }, nil)
	}
	ext("ext-0", "extensions of 0 bytes", 0)
	ext("ext-1", "extensions of 1 byte, half a TLV", 1, 5)
	ext("ext-22", "extensions of 22 bytes", append([]byte{22, 5, 20}, make([]byte, 20)...)...)
	ext("ext-torn", "a TLV longer than the extensions", 3, 5, 2, 1)
	ext("ext-unordered", "types that go down", 4, 2, 0, 1, 0)
	ext("ext-twice", "a type twice", 4, 2, 0, 2, 0)
	flags := func(id, comment string, v byte) {
		m.add(id, comment, code.Malformed, func(d *draft) { d.flags = v }, nil)
	}
	flags("party-0", "a party of 0", m.draft().flags&0x0f)
	flags("clock-3", "clock quality 3", m.draft().flags|0x0c)
	if m.suite == ct1.SuiteAllP256 || m.suite == ct1.SuiteSM2 || m.suite == ct1.SuiteP256 {
		key := func(id, comment string, device func(key []byte) []byte) {
			m.add(id, comment, code.Malformed, func(d *draft) { d.device = device(bytes.Clone(d.device)) }, nil)
		}
		prime := elliptic.P256().Params().P
		if m.suite == ct1.SuiteSM2 {
			prime = gmsm.P256().Params().P
		}
		key("key-prefix-4", "a device key that begins with 4", func(k []byte) []byte { k[0] = 4; return k })
		key("key-prefix-1", "a device key that begins with 1", func(k []byte) []byte { k[0] = 1; return k })
		key("key-x-is-p", "the x of the device key is the field prime", func(k []byte) []byte { prime.FillBytes(k[1:]); return k })
		late := func(id, comment string, device func(key []byte) []byte) { // form comes before the window
			m.add(id, comment, code.Malformed, func(d *draft) { d.device = device(bytes.Clone(d.device)) }, func(v *vector) { v.At += 3600_000 })
		}
		late("order-key-prefix", "a device key that begins with 5, and too old", func(k []byte) []byte { k[0] = 5; return k })
		late("order-key-x", "the x of the device key is above the field prime, and too old", func(k []byte) []byte {
			copy(k[1:], bytes.Repeat([]byte{0xff}, 32))
			return k
		})
		m.add("order-key-off-curve", "no point has this x, and too old", code.ExpiredCode, func(d *draft) { d.device = offCurve(m.suite) },
			func(v *vector) { v.At += 3600_000 })
		key("key-off-curve", "no point has this x; the issuer signed it", func([]byte) []byte { return offCurve(m.suite) })
	}
}

// signedFields are what a device that signs may choose.
func (m *maker) signedFields() {
	flag := func(v byte) func(*draft) { return func(d *draft) { d.flags = v } }
	m.add("party-15", "a party of 15", "", flag(0xf0), nil)
	m.add("clock-2", "a device that does not know the time", "", flag(0x18), nil)
	m.add("medium-band", "shown by a band", "", flag(0x15), nil)
	m.add("medium-batch", "made ahead by a server: a weaker promise", "", flag(0x12), nil)
	m.add("medium-other", "shown by something else", "", flag(0x13), nil)
	m.add("batch-as-phone", "a code made ahead that poses as a phone's", code.BadDeviceSignature, func(d *draft) {
		d.flags = 0x12
		d.after = func(raw []byte) []byte { raw[len(raw)-64-5] = 0x10; return raw }
	}, nil)
	ctx := func(of uint16) func(*draft) { return func(d *draft) { d.ctx = of } }
	m.add("context", "bound to this vehicle", "", ctx(5), func(v *vector) { v.Context = 5 })
	m.add("context-other", "bound to another vehicle", code.WrongVehicle, ctx(5), func(v *vector) { v.Context = 6 })
	m.add("context-unasked", "bound to a vehicle, at a reader without one", "", ctx(5), nil)
	m.add("order-vehicle", "another vehicle, and over the cap", code.WrongVehicle, ctx(5), func(v *vector) { v.Context = 6; v.Fare.Minor = 9999 })
	m.add("order-budget", "over the cap, and the budget spent", code.AmountOverCap, func(d *draft) { d.ctr = 201 }, func(v *vector) { v.Fare.Minor = 9999 })
	other := newMaker(m.t, m.suite)
	other.c = newCity(m.t, m.suite, "another device")
	if m.suite == ct1.SuiteSM2 { // its own signatures differ from run to run
		other.c.sign = func(msg []byte) ([]byte, error) {
			return sm2Deterministic(m.t, bytes.Repeat([]byte{0x5a}, 32), msg), nil
		}
	}
	m.add("other-device", "the device's signature by another device", code.BadDeviceSignature, func(d *draft) { d.sign = other.draft().sign }, nil)
	m.add("device-context", "the device signed without its context", code.BadDeviceSignature, func(d *draft) {
		sign := d.sign
		d.sign = func(msg []byte) []byte { return sign(msg[len("CT1-dyn\x00"):]) }
	}, nil)
	m.add("device-signed-less", "the device's signature does not cover the issuer's", code.BadDeviceSignature, func(d *draft) {
		sign := d.sign
		d.sign = func(msg []byte) []byte {
			a := 9 - 1 + m.isigAt(msg[len("CT1-dyn\x00"):]) // up to the issuer's signature
			return sign(append(bytes.Clone(msg[:a]), msg[len(msg)-8:]...))
		}
	}, nil)
	moved := func(id, comment string, back int) {
		m.add(id, comment, code.BadDeviceSignature, func(d *draft) {
			d.after = func(raw []byte) []byte { raw[len(raw)-64-back] ^= 1; return raw }
		}, nil)
	}
	moved("altered-age", "an age changed behind the device's signature", 6)
	moved("altered-counter", "a counter changed likewise", 3)
	moved("altered-context", "a vehicle changed likewise", 1)
}

// chains are what only a hash chain has.
func (m *maker) chains() {
	bad := func(id, comment string, want code.Reason, shape func(*draft)) { m.add(id, comment, want, shape, nil) }
	bad("first-slot", "the first slot", "", func(d *draft) { m.slot(d, 0) })
	bad("anchor", "the anchor itself opens no slot", code.BadSecret, func(d *draft) { m.slot(d, 0); d.preimage = m.links[0] })
	bad("preimage-before", "the preimage of the slot before", code.BadSecret, func(d *draft) { d.preimage = m.links[d.ctr] })
	bad("preimage-after", "the preimage of the slot after", code.BadSecret, func(d *draft) { d.preimage = m.links[d.ctr+2] })
	bad("other-chain", "another band's preimage", code.BadSecret, func(d *draft) { d.preimage = chainLink(1, []byte("another band")) })
	bad("age-in-slot", "an age inside the slot, not its beginning", code.Malformed, func(d *draft) { d.age++ })
	bad("age-next-slot", "the age of the next slot", code.Malformed, func(d *draft) { d.age += 60 })
	bad("counter", "the counter of the next slot", code.Malformed, func(d *draft) { d.ctr++ })
	bad("counter-0", "counter 0 in another slot", code.Malformed, func(d *draft) { d.ctr = 0 })
	bad("behind-the-chain", "a slot beyond the longest chain", code.Malformed, func(d *draft) { d.ttl, d.age, d.ctr = 168, ct1.ChainMax*60, ct1.ChainMax })
	bad("party-2", "a party nobody signed", code.Malformed, func(d *draft) { d.flags = 0x29 })
	bad("medium-phone", "another medium", code.Malformed, func(d *draft) { d.flags = 0x18 })
	bad("clock-0", "another clock quality", code.Malformed, func(d *draft) { d.flags = 0x11 })
	bad("context", "a vehicle nobody signed", code.Malformed, func(d *draft) { d.ctx = 5 })
	bad("no-window", "slots of 0 s", code.Malformed, func(d *draft) { d.win, d.age, d.ctr = 0, 0, 0 })
	bad("signature", "a signature in place of the preimage", code.Malformed, func(d *draft) { d.preimage = make([]byte, 64) })
}

// noSuite are bytes that say no suite, or one there is not.
func noSuite(t testing.TB) []*vector {
	m := newMaker(t, ct1.SuiteP256)
	bad := func(id, comment string, want code.Reason, after func(raw []byte) []byte) {
		m.add(id, comment, want, func(d *draft) { d.after = after }, nil)
		v := m.cases[len(m.cases)-1]
		v.ID, v.Suite = "x-"+id, -1
	}
	is := func(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }
	bad("empty", "nothing", code.Unsupported, is(""))
	bad("magic-alone", "the first byte alone", code.Malformed, is("\x7d"))
	bad("text-empty", "the text prefix alone", code.Unsupported, is("CT1:"))
	bad("text-of-nothing-known", "text of other bytes", code.Unsupported, is("CT1:QED8WEX0"))
	bad("text-too-long", "text longer than any code", code.Malformed, func([]byte) []byte { return append([]byte("CT1:"), bytes.Repeat([]byte("0"), 1000)...) })
	bad("bytes-too-long", "bytes longer than any code", code.Malformed, func(raw []byte) []byte { return append(raw, make([]byte, 200)...) })
	bad("emv", "a consumer-presented EMV code", code.Unsupported, is("hQVDUFYwMWETTwegAAAAVVVVUAhQcm9kdWN0MQ=="))
	bad("uic", "a UIC code", code.Unsupported, is("#UT01"))
	for suite := byte(5); suite < 8; suite++ {
		bad("suite-"+string('0'+rune(suite)), "a suite there is not", code.Unsupported, func(raw []byte) []byte { raw[1] = 1<<5 | suite<<2; return raw })
	}
	bad("suite-1-of-3", "a code of suite 3 that says suite 1: the key is not of it", code.Unsupported, func(raw []byte) []byte {
		raw[1] = 1<<5 | ct1.SuiteAllP256<<2
		clear(raw[88:89]) // the S of the issuer's signature is low then
		return raw
	})
	bad("suite-0-of-3", "a code of suite 3 that says suite 0", code.Malformed, func(raw []byte) []byte { raw[1] = 1 << 5; return raw })
	bad("suite-4-of-3", "a code of suite 3 that says suite 4", code.Malformed, func(raw []byte) []byte { raw[1] = 1<<5 | ct1.SuiteChain<<2; return raw })
	return m.cases
}
