package gateway

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// renewer is how the audit log names bundles that were published because the
// one before grew old.
const renewer = "system:bundles"

// renewEvery is how often a bundle that cannot be renewed is tried again, and
// sayEvery how often the log says so: offline roots sign when people have time.
const (
	renewEvery = 10 * time.Minute
	sayEvery   = 12 * time.Hour
)

// waiting is when a renewal that did not come through was tried and spoken of.
type waiting struct{ tried, said time.Time }

// renew publishes an operator's bundle again under the profile it has, so that
// terminals never run out of trust while somebody keeps the gateway running. A
// bundle in the first quarter of its life is left as it is unless the roots were
// rotated.
//
// Where the roots are offline a draft is prepared, and held stays in force; it
// does as well where the key store cannot be used now. Intake needs keys to
// verify with, and those it has are good.
//
// Prices that its readers should have and could not be brought come with it.
//
// left says that it carries an issuer whose roaming terms have ended: then it is
// made anew.
func (g *Gateway) renew(ctx context.Context, operator citygate.TenantID, held fleet.Published, left bool) fleet.Published {
	again := g.Bundles.Renew
	if stale, err := g.faresStale(ctx, operator); left || err == nil && stale { // prices that did not come through before
		again = g.carryAgain
	}
	next, err := again(ctx, renewer, operator)
	if err == nil && !next.Draft {
		return next
	}
	now := g.DB.ClockOf(operator)()
	switch say := g.trust.waits(operator, now); {
	case !say:
	case err != nil:
		g.Log.Error("a trust bundle cannot be renewed", "tenant", operator, "bundle", held.Version, "expires", held.ExpiresAt, "error", err)
	case now.After(held.ExpiresAt):
		g.Log.Error("a trust bundle has expired: terminals take no codes until roots have signed the next one; see citygate bundle prepare",
			"tenant", operator, "bundle", held.Version, "waiting", next.Version)
	default:
		g.Log.Warn("a trust bundle waits for the signatures of offline roots; see citygate bundle prepare",
			"tenant", operator, "bundle", next.Version, "until", held.ExpiresAt)
	}
	return held
}

// due reports whether a bundle should be renewed now.
func (t *trustCache) due(operator citygate.TenantID, held fleet.Published, signedBy, roots bundle.RootSet, left bool, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.waiting[operator]; ok && now.Sub(last.tried) < renewEvery && !now.Before(last.tried) {
		return false
	}
	life := held.ExpiresAt.Sub(held.IssuedAt)
	return left || now.Sub(held.IssuedAt) > life/4 || signedBy.Version < roots.Version
}

// waits notes that an operator's next bundle did not come through, and reports
// whether it is time to say so.
func (t *trustCache) waits(operator citygate.TenantID, now time.Time) (say bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = map[citygate.TenantID]waiting{}
	}
	last := t.waiting[operator]
	if say = now.Sub(last.said) >= sayEvery || now.Before(last.said); say {
		last.said = now
	}
	last.tried = now
	t.waiting[operator] = last
	return say
}
