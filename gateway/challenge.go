package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A device whose credential has a key proves itself without showing a code: it signs
// a challenge. What it sends in the place of a code is
//
//	"CG-proof" credential challenge(32) signature(64)
//
// where the credential is as it was issued. The signature is over
// [ct1.ChallengeMessage] of tenant and challenge, so that an answer for one tenant
// proves nothing to another, and no ride.
const (
	answerMagic   = "CG-proof"
	challengeSize = 32
	answerSigSize = 64
)

// challengeText is what of a challenge is signed.
func challengeText(tenant citygate.TenantID, challenge []byte) []byte {
	return append([]byte(tenant.String()+"/"), challenge...)
}

// riderChallenge gives a challenge for a device to sign. Whether a tenant exists
// does not show.
func (g *Gateway) riderChallenge(ctx context.Context, tenant citygate.TenantID) (edge.DeviceChallenge, error) {
	if _, err := g.Tenants.ByID(ctx, tenant); err != nil {
		now, err := g.DB.NowOf(ctx, tenant)
		if err != nil {
			return edge.DeviceChallenge{}, err
		}
		c := edge.DeviceChallenge{Challenge: make([]byte, challengeSize), ExpiresAt: now.Add(issuance.ChallengeTime).UTC()}
		_, err = io.ReadFull(g.Random, c.Challenge)
		return c, err
	}
	challenge, expires, err := g.Issuance.Challenge(ctx, tenant)
	return edge.DeviceChallenge{Challenge: challenge, ExpiresAt: expires}, err
}

// answered gives the rider whose device answered a challenge of the tenant, which
// nobody can answer again.
func (g *Gateway) answered(ctx context.Context, tx *pg.Tx, raw []byte) (rider citygate.Rider, err error) {
	credential, ok := bytes.CutPrefix(raw, []byte(answerMagic))
	n := len(credential) - challengeSize - answerSigSize
	if !ok || n <= 0 {
		return rider, errRiderProof.Because(nil, "an answer of %d bytes", len(raw))
	}
	challenge, signature := credential[n:n+challengeSize], credential[n+challengeSize:]
	var c code.Code
	if err := ct1.ParseCredential(credential[:n], &c); err != nil {
		return rider, errRiderProof.Because(err, "its credential")
	}
	keys, err := g.trust.held(tx.Tenant)
	if err != nil {
		return rider, err
	}
	if reason := ct1.VerifyChallenge(&c, keys, challengeText(tx.Tenant, challenge), signature); reason != "" {
		return rider, errRiderProof.Because(nil, "%s", reason)
	}
	if now := tx.Now; now.Before(time.Unix(c.IssuedAt, 0).Add(-proofSlack)) || !now.Before(time.Unix(c.ExpiresAt, 0)) {
		return rider, errRiderProof.Because(nil, "the credential has run out")
	}
	if err := issuance.UseChallenge(ctx, tx, challenge); err != nil {
		if errors.Is(err, issuance.ErrProof) {
			err = errRiderProof.Because(err, "rider %s", c.Rider)
		}
		return rider, err
	}
	return c.Rider, nil
}
