package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/explain"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A rider and the operator get one file about a fare, and anybody checks it with the
// operator's key set, also after the key was rotated; a row that somebody changed is
// found, and an erased ride takes nothing from the proofs of others.
func TestFaresAreExplainedWithProof(t *testing.T) {
	o := open(t)
	o.onboard()
	mine, other := o.credential("phone"), o.credential("other phone")
	v := o.validator()
	o.upload(o.board(v, mine, "phone"))
	o.must(o.Drain(t.Context()))
	for _, j := range list[edge.Journey](o, "journeys") { // priced and not signed yet
		if got := o.refused(http.MethodGet, busPath("journeys/"+j.ID+"/explanation"), nil); got != "explain.pending" {
			t.Errorf("before it is signed: %s", got)
		}
	}
	o.settleDown()
	o.settleDown()
	trips := o.trips(o.proof(mine, "phone", 2))
	if len(trips) != 1 {
		t.Fatalf("trips %+v", trips)
	}
	journey := trips[0].ID
	explained := func() (raw []byte) {
		return o.call(http.MethodGet, busPath("journeys/"+journey+"/explanation"), "", nil)
	}
	keySet := func() []byte {
		return o.call(http.MethodGet, fmt.Sprintf("/.well-known/tenants/%d/jwks.json", bus), "", nil)
	}
	verify := func(raw []byte) (*explain.Document, error) {
		t.Helper()
		f, err := explain.ParseFile(raw)
		o.must(err)
		return f.Verify(keySet())
	}
	first := explained()
	d, err := verify(first)
	if err != nil || d.Amount != price || d.Decision != 1 || len(d.Taps) != 1 || d.Taps[0].Stop != "Central" || d.TariffDigest == "" || d.Tenant != bus {
		t.Fatalf("%+v, %v", d, err)
	}
	lines, err := d.Words(func(minor int64) string { return fmt.Sprint(minor) })
	if err != nil || !slices.Contains(lines, "tariff Flat, version 1, category adult") || lines[len(lines)-1] != "fare: 450" {
		t.Errorf("in words: %q, %v", lines, err)
	}
	about := func(credential []byte, device string, counter uint16) edge.ByCodeTrip {
		return edge.ByCodeTrip{ByCode: edge.ByCode{Code: o.proof(credential, device, counter)}, Journey: journey}
	}
	var a, b edge.Explanation
	o.must(json.Unmarshal(first, &a))
	o.send(http.MethodPost, busPath("rider/explanation"), about(mine, "phone", 3), &b)
	if a.Salt != b.Salt || string(a.Document) != string(b.Document) || string(a.Signature) != string(b.Signature) || !slices.Equal(a.Path, b.Path) {
		t.Errorf("the rider got %+v, the operator %+v", b, a)
	}
	if got := o.refused(http.MethodPost, busPath("rider/explanation"), about(other, "other phone", 1)); got != "pricing.not_found" {
		t.Errorf("another rider: %s", got)
	}

	// The key is rotated: what the old one signed still holds, and the new one signs.
	all, err := o.Ring.Keys(t.Context(), bus)
	o.must(err)
	i := slices.IndexFunc(all, func(k keys.Key) bool { return k.Purpose == keys.Explain && k.State == bundle.Published })
	if i < 0 {
		_, err = o.Ring.EnsureNext(t.Context(), actor, bus, keys.Explain)
		o.must(err)
		all, err = o.Ring.Keys(t.Context(), bus)
		o.must(err)
		i = slices.IndexFunc(all, func(k keys.Key) bool { return k.Purpose == keys.Explain && k.State == bundle.Published })
	}
	_, err = o.Ring.ActivateAnyway(t.Context(), actor, bus, keys.Explain, all[i].KeyID, "a test")
	o.must(err)
	o.move(time.Minute)
	shown, err := ct1.Display(mine, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: 9, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key("phone"), m), nil })
	o.must(err)
	decision, err := v.Tap(o.now().UnixMilli(), shown, terminal.Input{MonotonicMS: 120_000, Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "Central", Route: "12", Vehicle: "V-12", TariffVersion: 1})
	if o.must(err); !decision.Open {
		t.Fatalf("the second ride: %s", decision.Reason)
	}
	o.drain(v) // the first ride again, as its receipt was lost
	if got := o.drain(v); !slices.Contains(got, "recorded") {
		t.Fatalf("the second ride: %v", got)
	}
	o.settleDown()
	o.settleDown()
	if d, err := verify(first); err != nil || d.Amount != price {
		t.Errorf("after the rotation: %v", err)
	}
	trips = o.trips(o.proof(mine, "phone", 10))
	old := journey
	for _, trip := range trips {
		if trip.ID != old {
			journey = trip.ID
		}
	}
	var second edge.Explanation
	raw := explained()
	o.must(json.Unmarshal(raw, &second))
	if _, err := verify(raw); err != nil || second.Batch.Key == a.Batch.Key || second.Batch.Number != a.Batch.Number+1 {
		t.Errorf("by the new key: %+v, %v", second.Batch, err)
	}

	// Somebody changes a row: what was signed says otherwise.
	id, err := citygate.ParseUUID(pricing.Prefix, journey)
	o.must(err)
	o.super.Exec(0, `UPDATE fare_decisions SET amount = amount + 1 WHERE tenant_id = $1 AND journey_id = $2`, int64(bus), id)
	o.in(bus, func(tx *pg.Tx) error {
		if _, _, err := o.Explanations.Find(t.Context(), tx, id, 0); !errors.Is(err, explain.ErrChanged) {
			t.Errorf("a changed amount: %v", err)
		}
		return nil
	})
	o.super.Exec(0, `UPDATE fare_decisions SET amount = amount - 1 WHERE tenant_id = $1 AND journey_id = $2`, int64(bus), id)
	if _, err := verify(explained()); err != nil {
		t.Errorf("set right: %v", err)
	}

	// The rides are erased: the gateway has nothing to tell, the rider's copy holds.
	set := keySet()
	for range 6 {
		o.move(24 * time.Hour)
		o.settleDown()
	}
	o.move(150 * 24 * time.Hour)
	o.settleDown()
	_, err = retention.Erase(t.Context(), o.DB, actor, bus, o.now().AddDate(0, 0, -130), false)
	o.must(err)
	o.in(bus, func(tx *pg.Tx) error {
		gone, err := citygate.ParseUUID(pricing.Prefix, old)
		o.must(err)
		if _, _, err := o.Explanations.Find(t.Context(), tx, gone, 0); !errors.Is(err, explain.ErrErased) {
			t.Errorf("of an erased ride: %v", err)
		}
		return nil
	})
	for _, row := range o.audit.Rows(bus, `SELECT count(*), count(salt) FROM explanation_leaves WHERE tenant_id = $1`, int64(bus)) {
		if row[0].(int64) < 2 || row[1].(int64) != 0 {
			t.Errorf("%v leaves, %v with a salt", row[0], row[1])
		}
	}
	f, err := explain.ParseFile(first)
	o.must(err)
	if _, err := f.Verify(set); err != nil {
		t.Errorf("the rider's own copy: %v", err)
	}
}
