package schemetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// toy is a small honest scheme, and every dishonest one that the kit must catch:
// each field switches one fault on.
//
//	T | kid 1 | index 4 | cap 2 | ends 4 | issuer's proof 8 | made 4 | counter 2 | device's proof 8 | loose 1
type toy struct {
	wrongStrength     bool
	moodyCache        bool // forgets the device's proof once the credential is cached
	trustsItself      bool // accepts when nobody's key is held
	sniffsAll         bool
	noMagic           bool
	dirtyOnError      bool
	allocates         bool
	deaf              bool // Sniff knows no code
	ownError          bool
	mutedReason       bool
	deferSilently     bool
	noIssuerProof     bool
	capNotCovered     bool
	counterNotCovered bool
	timeNotCovered    bool
	panics            bool
	trailing          bool
	oneUse            bool // every display is the same use
	deferring         bool
	otherEvidence     bool
}

const (
	toySize = 35
	toyNow  = 1_800_000_000
)

type strangeError struct{}

func (strangeError) Error() string { return "strange" }

func (toy) ID() code.SchemeID { return "toy" }

func (s toy) Sniff(raw []byte) code.Match {
	switch {
	case s.sniffsAll:
		return code.Maybe
	case s.deaf || len(raw) != toySize || raw[0] != 'T':
		return code.No
	}
	return code.Sure
}

var sink []byte

func (s toy) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{}
	if s.panics && len(raw) > 20 && raw[10] == 'T' {
		return []error{code.ErrMalformed}[raw[1]]
	}
	if s.allocates {
		sink = bytes.Clone(raw)
	}
	long := s.trailing && len(raw) > toySize
	if len(raw) != toySize && !long || raw[0] != 'T' && !s.noMagic {
		if s.dirtyOnError {
			c.Raw = raw
		}
		if s.ownError {
			return strangeError{}
		}
		return code.ErrMalformed
	}
	*c = code.Code{
		Scheme: "toy", Raw: raw, KeyID: raw[1], Rider: citygate.Rider{Issuer: 1, Index: binary.BigEndian.Uint32(raw[2:])},
		Cap: binary.BigEndian.Uint16(raw[6:]), ExpiresAt: int64(binary.BigEndian.Uint32(raw[8:])), IssuedAt: toyNow - 100,
		GeneratedAt: int64(binary.BigEndian.Uint32(raw[20:])), Counter: binary.BigEndian.Uint16(raw[24:]), Window: 60, Party: 1,
	}
	if long {
		c.Party = 2
	}
	if s.oneUse {
		c.Counter = 0
	}
	if s.otherEvidence {
		c.Raw = raw[:10]
	}
	return nil
}

// toyProof is a sum that only who knows the key can make; hidden bytes count as 0.
func toyProof(key, msg []byte, hide ...int) [8]byte {
	b := append(bytes.Clone(key), msg...)
	for _, at := range hide {
		b[len(key)+at] = 0
	}
	sum := sha256.Sum256(b)
	return [8]byte(sum[:8])
}

func (s toy) Verify(c *code.Code, keys code.KeySource, cache code.CredentialCache) code.Verdict {
	raw := c.Raw
	public, reason := keys.IssuerKey(1, c.KeyID, c.IssuedAt)
	if reason != "" && !s.trustsItself {
		return code.Refuse(s.muted(reason))
	}
	if s.trustsItself {
		public = []byte("key")
	}
	key, _ := public.([]byte)
	issuerProof := s.issuerProof(key, raw)
	if !s.noIssuerProof && issuerProof != [8]byte(raw[12:20]) {
		return code.Refuse(s.muted(code.BadIssuerSignature))
	}
	name := sha256.Sum256(raw[:20])
	if cache != nil {
		if _, hit := cache.Get(name); hit && s.moodyCache {
			return code.Verdict{Outcome: code.Accept, Strength: code.DeviceBound, Checked: code.IssuerSignature | code.DeviceSignature}
		}
		cache.Put(name, true)
	}
	if s.deviceProof(key, raw) != [8]byte(raw[26:34]) {
		return code.Refuse(s.muted(code.BadDeviceSignature)).After(code.IssuerSignature)
	}
	if s.deferring {
		return code.Deferred(0)
	}
	if s.deferSilently {
		return code.Verdict{Outcome: code.Defer, Strength: code.Unverified}
	}
	strength := code.DeviceBound
	if s.wrongStrength {
		strength = code.StaticSigned
	}
	return code.Verdict{Outcome: code.Accept, Strength: strength, Checked: code.IssuerSignature | code.DeviceSignature}
}

func (s toy) muted(r code.Reason) code.Reason {
	if s.mutedReason {
		return "because"
	}
	return r
}

func (s toy) issuerProof(key, raw []byte) [8]byte {
	if s.capNotCovered {
		return toyProof(key, raw[:12], 6, 7)
	}
	return toyProof(key, raw[:12])
}

func (s toy) deviceProof(key, raw []byte) [8]byte {
	hide := []int{}
	if s.capNotCovered {
		hide = append(hide, 6, 7)
	}
	if s.noIssuerProof {
		hide = append(hide, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, 18, 19)
	}
	if s.counterNotCovered {
		hide = append(hide, 24, 25)
	}
	if s.timeNotCovered {
		hide = append(hide, 20, 21, 22, 23)
	}
	return toyProof(key, raw[:26], hide...)
}

// toySuite is a scheme with its vectors, as the scheme's own author would write
// them: codes that the scheme itself makes.
func toySuite(s toy) Suite {
	trust := new(code.Trust)
	trust.AddIssuer(1, 7, []byte("key"))
	show := func(index uint32, counter uint16) []byte {
		raw := []byte{'T', 7}
		raw = binary.BigEndian.AppendUint32(raw, index)
		raw = append(raw, 0, 200)
		raw = binary.BigEndian.AppendUint32(raw, toyNow+1000)
		proof := s.issuerProof([]byte("key"), raw)
		raw = append(raw, proof[:]...)
		raw = binary.BigEndian.AppendUint32(raw, toyNow)
		raw = binary.BigEndian.AppendUint16(raw, counter)
		proof = s.deviceProof([]byte("key"), raw)
		return append(append(raw, proof[:]...), 0)
	}
	v := Vector{
		Name: "genuine", Raw: show(5, 9), Keys: trust, At: toyNow, Amount: 200,
		Outcome: code.Accept, Strength: code.DeviceBound, Checked: code.IssuerSignature | code.DeviceSignature | code.InWindow | code.WithinCap,
		Proven: []Region{
			{"magic", 0, 1, code.Malformed}, {"key id", 1, 2, code.UnknownKey}, {"rider to end", 2, 12, code.BadIssuerSignature},
			{"issuer's proof", 12, 20, code.BadIssuerSignature}, {"display", 20, 26, code.BadDeviceSignature}, {"device's proof", 26, 34, code.BadDeviceSignature},
		},
		Loose: []Region{{Name: "padding", From: 34, To: 35}},
	}
	if s.deferring || s.deferSilently {
		v.Outcome, v.Reason, v.Strength, v.Checked = code.Defer, code.UnknownKey, code.Unverified, code.InWindow|code.WithinCap
		if s.deferSilently {
			v.Reason = ""
		}
	}
	dear := v
	dear.Name, dear.Amount, dear.Outcome, dear.Reason = "too dear", 201, code.Reject, code.AmountOverCap
	second := v
	second.Name, second.Raw = "another rider", show(6, 1)
	forged := v
	forged.Name, forged.Raw, forged.Outcome, forged.Reason = "forged", bytes.Clone(v.Raw), code.Reject, code.BadDeviceSignature
	forged.Raw[30] ^= 1
	short := v
	short.Name, short.Raw, short.Outcome, short.Reason = "cut off", v.Raw[:30], code.Reject, code.Malformed
	return Suite{Scheme: s, Vectors: []Vector{v, second, dear, forged, short}, Mutations: 60_000, VerifyMax: 60_000}
}
