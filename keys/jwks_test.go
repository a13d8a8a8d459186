package keys_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// The public vectors: the Ed25519 key of RFC 8037 appendix A.2 and the P-256 key
// of RFC 7517 appendix A.1.
func TestJWKSVectors(t *testing.T) {
	raw, err := hex.DecodeString("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a") // RFC 8032 7.1 test 1
	if err != nil {
		t.Fatal(err)
	}
	const x, y = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
	point := []byte{4}
	for _, text := range []string{x, y} {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		point = append(point, b...)
	}
	p256, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	var list []keys.Key
	for i, public := range []any{ed25519.PublicKey(raw), p256} {
		algorithm, encoded, err := keys.EncodePublic(public)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, keys.Key{Tenant: harbour, Purpose: keys.Webhook, KeyID: uint8(i + 1), Algorithm: algorithm, Public: encoded,
			State: bundle.Active, NotBefore: time.Unix(100, 0), Expires: time.Unix(200, 0)})
	}
	got, err := keys.JWKS(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"kty":"OKP","use":"sig","alg":"EdDSA","kid":"webhook-1","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",`,
		`{"kty":"EC","use":"sig","alg":"ES256","kid":"webhook-2","crv":"P-256","x":"` + x + `","y":"` + y + `",`,
		`"nbf":100,"exp":200`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s\nhas no %s", got, want)
		}
	}
}

// The next key is always in the set, a revoked one never, and neither are keys
// that nobody outside verifies.
func TestJWKSHasTheNextKey(t *testing.T) {
	r, _, c := ring(t)
	ctx := t.Context()
	must(t)(r.Ensure(ctx, actor, harbour, keys.Webhook, keys.Ed25519))
	must(t)(r.Ensure(ctx, actor, harbour, keys.ProviderPurpose("x"), keys.P256))
	ids := func() []string {
		t.Helper()
		all, err := r.Keys(ctx, harbour)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := keys.JWKS(all)
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Keys []keys.JWK }
		if err := json.Unmarshal(raw, &set); err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, k := range set.Keys {
			list = append(list, k.ID+" "+k.State)
		}
		return list
	}
	next := must(t)(r.EnsureNext(ctx, actor, harbour, keys.Webhook))
	if again := must(t)(r.EnsureNext(ctx, actor, harbour, keys.Webhook)); again.KeyID != next.KeyID {
		t.Errorf("two next keys, %d and %d", next.KeyID, again.KeyID)
	}
	if got := ids(); !slices.Equal(got, []string{"webhook-1 active", "webhook-2 published"}) {
		t.Errorf("the set is %v", got)
	}
	must(t)(r.Activate(ctx, actor, harbour, keys.Webhook, next.KeyID))
	must(t)(r.EnsureNext(ctx, actor, harbour, keys.Webhook))
	must(t)(r.Revoke(ctx, actor, harbour, keys.Webhook, 1))
	if got := ids(); !slices.Equal(got, []string{"webhook-2 active", "webhook-3 published"}) {
		t.Errorf("the set is %v", got)
	}
	c.move(keys.DefaultLife) // the next key has run out before it was used
	if k := must(t)(r.EnsureNext(ctx, actor, harbour, keys.Webhook)); k.KeyID != 4 {
		t.Errorf("the next key is %d, which has expired", k.KeyID)
	}
	if _, err := r.EnsureNext(ctx, actor, harbour, keys.Explain); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a next key without a first: %v, want keys.not_found", err)
	}
}
