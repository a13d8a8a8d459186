package motsm2

import (
	"io"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

// samples are a code of three levels and one of two, each with the longest
// custom field.
func samples(random io.Reader) ([]code.Sample, error) {
	const at, cardIssuer, platform = 1_800_000_000, 0x31047700, 1
	var root, issuer, user *sm2.PrivateKey
	for _, key := range []**sm2.PrivateKey{&root, &issuer, &user} {
		var err error
		if *key, err = sm2.GenerateKey(random); err != nil {
			return nil, err
		}
	}
	by := func(key *sm2.PrivateKey) Sign {
		return func(uid, msg []byte) ([]byte, error) { return key.Sign(random, uid, msg) }
	}
	trust := new(code.Trust)
	trust.AddForeign(RootKey(1), sm2.Compress(root.Public()))
	trust.AddForeign(IssuerKey(cardIssuer, platform), sm2.Compress(issuer.Public()))
	var out []code.Sample
	for _, levels := range []string{CertificateRequired, CertificateAbsent} {
		p := Defaults()
		p.Certificate = levels
		s, err := New(p)
		if err != nil {
			return nil, err
		}
		f := Authorisation{
			Version: versionMin, CardIssuer: cardIssuer, Platform: platform, CapMinor: 1000, UserKey: sm2.Compress(user.Public()),
			ExpiresAt: at + 86400, Validity: 60, Custom: make([]byte, customMax),
		}
		name := "two levels"
		if levels == CertificateRequired {
			name = "three levels"
			f.Certificate, err = s.BuildCertificate(Certificate{Version: versionMin, RootIndex: 1, Month: 12, Year: 2099, Key: sm2.Compress(issuer.Public())}, by(root))
			if err != nil {
				return nil, err
			}
		}
		authorised, err := s.BuildAuthorisation(f, by(issuer))
		if err != nil {
			return nil, err
		}
		raw, err := s.Display(authorised, at, by(user))
		if err != nil {
			return nil, err
		}
		l, _ := s.measure(raw)
		out = append(out, code.Sample{Name: name, Scheme: s, Keys: trust, Raw: raw, At: at, Bare: func() bool {
			return (l.cert == 0 || sm2.Verify(root.Public(), nil, raw[l.cert+certSigned:l.cert+certSig], raw[l.cert+certSig:l.cert+certSize])) &&
				sm2.Verify(issuer.Public(), nil, authorisation(raw, &l), raw[l.isig+1:l.isig+sigSize]) &&
				sm2.Verify(user.Public(), nil, raw[:l.usig()], raw[l.usig()+1:])
		}})
	}
	return out, nil
}
