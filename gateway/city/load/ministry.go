package load

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies"
)

// A ministry is riders whose codes are of the Ministry of Transport's layout, which
// the operator answers for: what they owe is collected from accounts opened at
// first sight.
type ministry struct {
	scheme *motsm2.Scheme
	user   *sm2.PrivateKey
	cards  [][]byte // what each rider's phone keeps
}

// by signs as the holder of a key.
func by(key *sm2.PrivateKey) motsm2.Sign {
	return func(uid, msg []byte) ([]byte, error) { return key.Sign(rand.Reader, uid, msg) }
}

// ministry gives n riders codes, and has the operator take them.
func (o *Operator) ministry(ctx context.Context, n int) (*ministry, error) {
	s, err := motsm2.New(motsm2.Defaults())
	if err != nil {
		return nil, err
	}
	var root, issuer, user *sm2.PrivateKey
	for _, key := range []**sm2.PrivateKey{&root, &issuer, &user} {
		if *key, err = sm2.GenerateKey(rand.Reader); err != nil {
			return nil, err
		}
	}
	const version, cardIssuer, platform = 0x80, 1, 1
	cert, err := s.BuildCertificate(motsm2.Certificate{Version: version, RootIndex: 1, Month: 12, Year: 2099, Key: sm2.Compress(issuer.Public())}, by(root))
	if err != nil {
		return nil, err
	}
	m := &ministry{scheme: s, user: user}
	for i := range n {
		card, err := s.BuildAuthorisation(motsm2.Authorisation{
			Version: version, Certificate: cert, UserAccount: [10]byte{6: byte(i >> 24), 7: byte(i >> 16), 8: byte(i >> 8), 9: byte(i)},
			CardIssuer: cardIssuer, Platform: platform, CapMinor: 10 * Fare, UserKey: sm2.Compress(user.Public()),
			ExpiresAt: o.Clock().Add(72 * time.Hour).Unix(), Validity: 60,
		}, by(issuer))
		if err != nil {
			return nil, err
		}
		m.cards = append(m.cards, card)
	}
	err = o.Gateway.PutScheme(ctx, actor, Tenant, foreign.Entry{
		Scheme: motsm2.ID, Params: fmt.Appendf(nil, `{"issuer":%d}`, Issuer), Contract: contract, Opens: true,
		Roots: []bundle.ForeignRoot{{Kind: motsm2.RootKey(1).Kind, ID: 1, Key: sm2.Compress(root.Public())}},
	})
	if err != nil {
		return nil, err
	}
	rules, err := policies.Latest(ctx, o.Gateway.DB, Tenant)
	if err != nil {
		return nil, err
	}
	next := *rules
	next.Version++
	next.Schemes = append([]code.SchemeID{motsm2.ID}, rules.Schemes...)
	_, err = o.Gateway.PublishPolicy(ctx, actor, &next)
	return m, err
}

// show gives a rider's display.
func (m *ministry) show(card int, at time.Time) ([]byte, error) {
	return m.scheme.Display(m.cards[card], at.Unix(), by(m.user))
}
