package gateway

import (
	"crypto/ed25519"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Two devices have one key and one counter. Whoever's reader finds it, the
// issuer's own or another operator's, the issuer keeps both codes and denies the
// credential; a code that somebody forged denies nobody.
func TestCopyFoundByAnOperatorReachesTheIssuer(t *testing.T) {
	const neighbour = bus + 70
	for finder, device := range map[citygate.TenantID]string{bus: "phone", neighbour: "band"} {
		o := open(t)
		o.onboard()
		credential := o.credential(device)
		_ = o.validator()
		show := func(later int64, with string) intake.Shown {
			raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix() + later, Counter: 1, Party: 1, Medium: code.MediumBand},
				func(m []byte) ([]byte, error) { return ed25519.Sign(key(with), m), nil })
			o.must(err)
			return intake.Shown{ID: citygate.TapID{Terminal: 5, Seq: uint64(later + 1)}, At: o.now(), Evidence: raw}
		}
		var c code.Code
		o.must(ct1.Scheme{}.Parse(show(0, device).Evidence, &c))
		tell := func(second intake.Shown) {
			t.Helper()
			o.must(o.DB.InTenant(t.Context(), finder, func(tx *pg.Tx) error {
				return o.tellCopies(t.Context(), tx, []intake.Copy{{Rider: c.Rider, Counter: 1, First: show(0, device), Second: second}})
			}))
			o.settleDown()
		}
		count := func(sql string) (n int64) {
			t.Helper()
			return o.audit.Rows(0, sql)[0][0].(int64)
		}
		const denied = `SELECT count(*) FROM deny_entries WHERE reason = 'clone' AND lifted_at IS NULL`
		const kept = `SELECT count(*) FROM code_conflicts WHERE reason = 'clone'`

		tell(show(1, "somebody else's key"))
		if d, k := count(denied), count(kept); d != 0 || k != 0 {
			t.Errorf("found by %d: a forged code denied %d and kept %d", finder, d, k)
		}
		tell(show(2, device))
		if d, k := count(denied), count(kept); d != 1 || k != 2 {
			t.Errorf("found by %d: denied %d, kept %d codes; want 1 and 2", finder, d, k)
		}
	}
}
