package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// keySet gives "kid state" of the bus's credential keys, as anybody sees them.
func (o *office) keySet() (list []string) {
	o.t.Helper()
	var set struct{ Keys []keys.JWK }
	o.must(json.Unmarshal(o.call(http.MethodGet, fmt.Sprintf("/.well-known/tenants/%d/jwks.json", bus), "", nil), &set))
	for _, k := range set.Keys {
		if k.Purpose == keys.Credential {
			list = append(list, k.ID+" "+k.State)
		}
	}
	return list
}

// ride has a rider use the validator and the validator upload.
func (o *office) ride(v *terminal.Verifier, device string) {
	o.t.Helper()
	batch := o.board(v, o.credential(device), device)
	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		o.t.Fatalf("a ride by %s: %v", device, got)
	}
	b, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(b.Hash))
}

func (o *office) install(v *terminal.Verifier) {
	o.t.Helper()
	o.must(v.InstallBundle(o.now().UnixMilli(), o.call(http.MethodGet, busPath("bundle"), "", nil)))
}

// A key goes through its life: announced, waited for, used, and taken out in an
// emergency; the one after it is always there.
func TestAKeysLife(t *testing.T) {
	o := open(t)
	o.onboard()
	o.credential("phone")
	v := o.validator()
	o.ride(v, "phone")
	ctx := t.Context()
	if got := o.keySet(); !slices.Equal(got, []string{"credential-1 active", "credential-2 published"}) {
		t.Errorf("from the first day on: %v", got)
	}
	// Key 2 was there before the validator was; it knows nothing of key 3.
	_, _, err := o.EmergencyKey(ctx, actor, bus, keys.Credential, 2, time.Time{}, "a backup is missing")
	o.must(err)
	next, err := o.RotateKey(ctx, actor, bus, keys.Credential)
	o.must(err)
	if again, err := o.RotateKey(ctx, actor, bus, keys.Credential); err != nil || again.KeyID != next.KeyID {
		t.Errorf("announced again: key %d, %v", again.KeyID, err)
	}
	if got := o.keySet(); !slices.Equal(got, []string{"credential-1 active", "credential-3 published"}) {
		t.Errorf("announced: %v", got)
	}
	if _, err := o.ActivateKey(ctx, actor, bus, keys.Credential, next.KeyID, ""); !errors.Is(err, keys.ErrLaggards) {
		t.Errorf("before the validator has it: %v, want keys.laggards", err)
	}
	o.move(time.Minute)
	o.install(v)
	o.ride(v, "watch")
	_, err = o.ActivateKey(ctx, actor, bus, keys.Credential, next.KeyID, "")
	o.must(err)
	if got := o.keySet(); !slices.Equal(got, []string{"credential-1 retiring", "credential-3 active", "credential-4 published"}) {
		t.Errorf("activated: %v", got)
	}
	o.move(time.Minute)
	o.ride(v, "ring") // signed by key 3, verified with the bundle from before

	stolen, now, err := o.EmergencyKey(ctx, actor, bus, keys.Credential, 3, time.Time{}, "stolen")
	if err != nil || stolen.State != bundle.Revoked || now.KeyID != 4 || now.State != bundle.Active {
		t.Errorf("EmergencyKey = %s, key %d %s, %v", stolen.State, now.KeyID, now.State, err)
	}
	if got := o.keySet(); !slices.Equal(got, []string{"credential-1 retiring", "credential-4 active", "credential-5 published"}) {
		t.Errorf("taken out: %v", got)
	}
	o.move(trustFor)
	b, err := o.Bundle(ctx, bus)
	o.must(err)
	if _, reason := b.IssuerKey(issuer, 3, o.now().Unix()); reason != code.KeyRevoked {
		t.Errorf("the new bundle says %q of the stolen key", reason)
	}
	if _, _, err := o.EmergencyKey(ctx, actor, bus, keys.Credential, 3, time.Time{}, "stolen"); err != nil {
		t.Errorf("repeated: %v", err)
	}

	// The platform's token keys, as the tokens name them; no other platform key.
	set := string(o.call(http.MethodGet, "/.well-known/jwks.json", "", nil))
	if !strings.Contains(set, `"kid":"1"`) || !strings.Contains(set, `"kid":"2"`) || strings.Contains(set, "root") {
		t.Errorf("the platform's key set: %s", set)
	}
	if w := o.ask(http.MethodGet, "/.well-known/tenants/999/jwks.json", "", nil); w.Code != http.StatusNotFound {
		t.Errorf("the key set of nobody: %d", w.Code)
	}
}

// A tenant that was onboarded before next keys were made with the first ones gets
// them when the gateway next looks at it, and its terminals by their next bundle.
func TestNextKeysOfTenantsFromBefore(t *testing.T) {
	o := open(t)
	o.onboard()
	ctx := t.Context()
	o.must(o.DB.InTenant(ctx, bus, func(tx *pg.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE tenant_keys SET state = 'revoked' WHERE tenant_id = $1 AND state = 'published'`, bus)
		return err
	}))
	if got := o.keySet(); !slices.Equal(got, []string{"credential-1 active"}) {
		t.Fatalf("the key set is %v", got)
	}
	o.must(o.announceNext(ctx, bus))
	if got := o.keySet(); !slices.Equal(got, []string{"credential-1 active", "credential-3 published"}) {
		t.Errorf("the key set is %v", got)
	}
	o.move(trustFor)
	b, err := o.Bundle(ctx, bus)
	o.must(err)
	if _, reason := b.IssuerKey(issuer, 3, o.now().Unix()); reason != "" {
		t.Errorf("the bundle says %q of the next key", reason)
	}
	number := b.Number
	o.move(announceEvery)
	o.must(o.announceNext(ctx, bus))
	b, err = o.Bundle(ctx, bus)
	o.must(err)
	if b.Number != number {
		t.Errorf("bundle %d after %d with nothing new", b.Number, number)
	}
}
