package motsm2

import (
	"crypto/ecdsa"
	"encoding/binary"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// Verify checks the certificate under its root, the issuer's authorisation under
// the certificate, and the user's signature under the authorisation. A cache hit
// stands for the first two.
func (s *Scheme) Verify(c *code.Code, keys code.KeySource, credentials code.CredentialCache) code.Verdict {
	raw := c.Raw
	l, ok := s.measure(raw)
	if !ok { // not what Parse gave
		return code.Refuse(code.Malformed)
	}
	if !s.admitted(raw, &l) {
		return code.Refuse(code.UnknownIssuer)
	}
	held := code.IssuerSignature
	if l.cert != 0 {
		held |= code.IssuerCert
	}
	context := s.context(raw[0])
	var cacheKey [32]byte
	var user *ecdsa.PublicKey
	if credentials != nil {
		cacheKey = s.credentialKey(raw[:l.made], context, keys.Version())
		if cached, ok := credentials.Get(cacheKey); ok {
			user, _ = cached.(*ecdsa.PublicKey)
		}
	}
	if user == nil {
		var refused code.Verdict
		if user, refused = s.authorised(raw, &l, context, keys); user == nil {
			return refused
		}
		if credentials != nil {
			credentials.Put(cacheKey, user)
		}
	}
	var uid []byte
	if context {
		uid = raw[l.userAccount():l.cardIssuer()]
	}
	if !sm2.Verify(user, uid, raw[:l.usig()], raw[l.usig()+1:]) {
		return code.Refuse(code.BadDeviceSignature).After(held)
	}
	return code.Verdict{Outcome: code.Accept, Strength: code.DeviceBound, Checked: held | code.DeviceSignature}
}

// context says whether a version signs under user ids from the code.
func (s *Scheme) context(version byte) bool {
	return s.userID == UserIDContext || s.userID == UserIDByVersion && version != versionMin
}

func (s *Scheme) admitted(raw []byte, l *layout) bool {
	if len(s.admit) == 0 {
		return true
	}
	certIssuer := int64(-2) // no certificate: only "any" admits it
	if l.cert != 0 {
		certIssuer = int64(binary.BigEndian.Uint32(raw[l.cert+certSigned+1:]))
	}
	card := int64(binary.BigEndian.Uint32(raw[l.cardIssuer():]))
	platform := int64(binary.BigEndian.Uint32(raw[l.platform():]))
	for _, a := range s.admit {
		if (a.certIssuer == -1 || a.certIssuer == certIssuer) && (a.cardIssuer == -1 || a.cardIssuer == card) &&
			(a.platform == -1 || a.platform == platform) {
			return true
		}
	}
	return false
}

// credentialKey is a sum of all the issuer said, of how it is read and of the
// version of the keys: schemes of two tenants may share a cache.
func (s *Scheme) credentialKey(credential []byte, context bool, version uint64) [32]byte {
	how := [10]byte{0: flag(context), 1: flag(s.signatureFirst)}
	binary.BigEndian.PutUint64(how[2:], version)
	return code.Digest(ID, "credential", how[:], credential)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// authorised checks what the issuer said and gives the user's key, nil with the
// verdict when it does not hold.
func (s *Scheme) authorised(raw []byte, l *layout, context bool, keys code.KeySource) (*ecdsa.PublicKey, code.Verdict) {
	issuer, held, refused := issuerKey(raw, l, context, keys)
	if issuer == nil {
		return nil, refused
	}
	var uid []byte
	if context {
		uid = raw[l.cardIssuer():l.accountType()]
	}
	if !sm2.Verify(issuer, uid, authorisation(raw, l), raw[l.isig+1:l.isig+sigSize]) {
		return nil, code.Refuse(code.BadIssuerSignature).After(held)
	}
	user, err := sm2.ParseKey(raw[l.userKey():l.ends()])
	if err != nil { // the issuer signed for a key that is none
		return nil, code.Refuse(code.Malformed)
	}
	return user, code.Verdict{}
}

// authorisation is fields 3 to 14 in the order of their numbers.
func authorisation(raw []byte, l *layout) []byte {
	if l.isig > l.custom {
		return raw[headSize:l.isig]
	}
	msg := make([]byte, 0, certSize+fixedSize+1+customMax)
	return append(append(msg, raw[headSize:l.end]...), raw[l.custom:l.made]...)
}

// issuerKey gives the key that signed the authorisation: from the certificate
// once the root's signature holds, else from what is held here.
func issuerKey(raw []byte, l *layout, context bool, keys code.KeySource) (*ecdsa.PublicKey, code.Checks, code.Verdict) {
	foreign, ok := keys.(code.ForeignKeySource)
	if !ok {
		return nil, 0, code.Refuse(code.UnknownIssuer)
	}
	name := IssuerKey(binary.BigEndian.Uint32(raw[l.cardIssuer():]), binary.BigEndian.Uint32(raw[l.platform():]))
	if l.cert != 0 {
		name = RootKey(raw[l.cert+5])
	}
	point, reason := foreign.ForeignKey(name)
	if reason != "" {
		return nil, 0, code.Refuse(reason)
	}
	key, err := sm2.ParseKey(point)
	if err != nil {
		return nil, 0, code.Refuse(code.InternalError) // what is held here is not a key
	}
	if l.cert == 0 {
		return key, 0, code.Verdict{}
	}
	cert := raw[l.cert : l.cert+certSize]
	var uid []byte
	if context {
		uid = cert[1:certSigned] // service id and CA index
	}
	if !sm2.Verify(key, uid, cert[certSigned:certSig], cert[certSig:]) {
		return nil, 0, code.Refuse(code.BadIssuerCert)
	}
	if key, err = sm2.ParseKey(cert[certKey:certSig]); err != nil {
		return nil, 0, code.Refuse(code.BadIssuerCert)
	}
	return key, code.IssuerCert, code.Verdict{}
}
