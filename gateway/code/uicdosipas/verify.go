package uicdosipas

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cashlesscity/citygate/gateway/code"
)

// Verify checks the issuer's signature over level 1, the device's over level 2,
// and then the times that they prove against the instant at which c was placed.
// What follows needs no key and comes last, so that a forged code is called
// forged and not expired.
//
// A code whose issuer is not known is refused as that; Checked still says
// whether the device's signature holds, with the key that the code itself
// names, which tells a foreign ticket from rubbish and proves nothing else.
func (s Scheme) Verify(c *code.Code, keys code.KeySource, credentials code.CredentialCache) code.Verdict {
	var b Barcode
	if b.Parse(c.Raw) != nil {
		return code.Refuse(code.Malformed)
	}
	foreign, ok := keys.(code.ForeignKeySource)
	if !ok {
		return code.Refuse(code.UnknownIssuer).After(b.deviceHolds())
	}
	device, reason := s.credential(&b, foreign, credentials)
	switch reason {
	case "":
	case code.UnknownIssuer, code.UnknownKey, code.KeyRevoked:
		return code.Refuse(reason).After(b.deviceHolds())
	default:
		return code.Refuse(reason)
	}
	checked, strength := code.IssuerSignature, code.StaticSigned
	if b.IsDynamic() {
		if reason := b.checkDevice(device); reason != "" {
			return code.Refuse(reason).After(checked)
		}
		checked, strength = checked|code.DeviceSignature, code.DeviceBound
	}
	if reason := s.usable(&b); reason != "" {
		return code.Refuse(reason).After(checked)
	}
	if reason := s.times(&b, c); reason != "" {
		return code.Refuse(reason).After(checked)
	}
	return code.Verdict{Outcome: code.Accept, Strength: strength, Checked: checked | code.InWindow}
}

// credential checks level 1 and gives the device's key, nil for a static code.
// A cache hit stands for all of it: it exists only after the signature held
// under the same version of the keys.
func (s Scheme) credential(b *Barcode, keys code.ForeignKeySource, credentials code.CredentialCache) (*ecdsa.PublicKey, code.Reason) {
	var cacheKey [32]byte
	if credentials != nil {
		cacheKey = s.cacheKey(b, keys.Version())
		if hit, ok := credentials.Get(cacheKey); ok {
			device, _ := hit.(*ecdsa.PublicKey)
			return device, ""
		}
	}
	der, reason := keys.ForeignKey(KeyName(b.Provider(), b.KeyID))
	if reason != "" {
		return nil, reason
	}
	issuer, err := parseIssuerKey(der, s.take)
	if err != nil {
		return nil, code.Unsupported
	}
	switch held, supported := verifyLevel1(b, issuer); {
	case !supported:
		return nil, code.Unsupported
	case !held:
		return nil, code.BadIssuerSignature
	}
	var device *ecdsa.PublicKey
	if b.IsDynamic() {
		if device, err = b.deviceKey(); err != nil {
			return nil, code.Unsupported // the issuer signed it, so it is a kind of key not known here
		}
	}
	if credentials != nil {
		credentials.Put(cacheKey, device)
	}
	return device, ""
}

// cacheKey is SHA-256 of level 1 with its signature, of what this scheme's
// parameters make of keys, and of the version of the keys.
func (s Scheme) cacheKey(b *Barcode, version uint64) [32]byte {
	var buf [MaxBytes + len(ID) + 2 + 8 + 1]byte
	key := append(buf[:0], ID...)
	key = append(key, b.Version, byte(s.take))
	key = binary.BigEndian.AppendUint64(key, version)
	end := b.level1.end
	if b.hasLevel1Sig {
		end = b.level1Sig.at + 8*b.level1Sig.n
	}
	return sha256.Sum256(region{b.level1.at, end}.appendTo(key, b.raw))
}

// checkDevice checks level 2. A dynamic code that lost its device signature is
// somebody's attempt to make a copy of it last.
func (b *Barcode) checkDevice(device *ecdsa.PublicKey) code.Reason {
	if device == nil {
		return code.InternalError // a cache that mixes up its entries
	}
	if !b.hasLevel2Sig {
		return code.BadDeviceSignature
	}
	switch held, supported := verifyLevel2(b, device); {
	case !supported:
		return code.Unsupported
	case !held:
		return code.BadDeviceSignature
	}
	return ""
}

// deviceHolds gives DeviceSignature if level 2 verifies with the key on the
// code, nothing otherwise.
func (b *Barcode) deviceHolds() code.Checks {
	if !b.IsDynamic() || !b.hasLevel2Sig {
		return 0
	}
	device, err := b.deviceKey()
	if err != nil || b.checkDevice(device) != "" {
		return 0
	}
	return code.DeviceSignature
}

// usable says what speaks against a genuine ticket at an unattended reader.
func (s Scheme) usable(b *Barcode) code.Reason {
	switch {
	case b.Rail.Present && (b.Rail.Specimen && !s.params.AllowSpecimen || !b.Rail.Active),
		!b.IsDynamic() && !s.params.AllowStatic:
		return code.ProductNotValidHere
	}
	if _, ok := b.End(); !ok && !b.Rail.HasDates {
		return code.Unsupported // when it ends stands in a part that is not read here
	}
	return ""
}

// times compares what the signatures prove with the instant at which c was
// placed, and moves c's own times to it.
func (s Scheme) times(b *Barcode, c *code.Code) code.Reason {
	at, skew := c.GeneratedAt, s.params.SkewSeconds
	begin, end := int64(0), int64(1)<<62
	if b.Rail.Present {
		begin = b.Rail.Issued
	}
	if b.Rail.HasDates {
		begin, end = max(begin, b.Rail.from(s.location())), b.Rail.until(s.location())
	}
	if barcode, ok := b.End(); ok {
		end = min(end, barcode)
	}
	switch {
	case at >= end:
		return code.ExpiredCredential
	case at < begin-skew:
		return code.NotYetValid
	}
	if b.IsDynamic() {
		made, ok := b.Dynamic.nearest(at)
		switch {
		case !ok || at > made+c.Window+skew:
			return code.ExpiredCode
		case made > at+skew:
			return code.NotYetValid
		}
		c.GeneratedAt = made
	}
	c.IssuedAt, c.ExpiresAt = begin, end
	return ""
}
