package gateway

import (
	"context"
	"crypto/ed25519"
	"strconv"
	"sync"
	"time"

	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// Access tokens are signed by the platform's token key.

func (g *Gateway) tokenKeyID(ctx context.Context) (string, error) {
	kid, _, err := g.Ring.Active(ctx, keys.Platform, keys.Token)
	return strconv.Itoa(int(kid)), err
}

func (g *Gateway) signToken(ctx context.Context, message []byte) ([]byte, string, error) {
	kid, version, err := g.Ring.Active(ctx, keys.Platform, keys.Token)
	if err != nil {
		return nil, "", err
	}
	signatures, err := g.Signer.Sign(ctx, keys.Platform, keys.Token, version, [][]byte{message})
	if err != nil {
		return nil, "", err
	}
	return signatures[0].Bytes, strconv.Itoa(int(kid)), signatures[0].Err
}

// tokenKeysAge is how old what is known of the token keys may be: within it a
// revoked one is refused everywhere.
const tokenKeysAge = time.Second

// tokenKeys are the public keys that access tokens may be signed with, as they
// were last read. While the database does not answer the last ones stand: reads
// go on, and the guard refuses changes before long.
type tokenKeys struct {
	mu   sync.Mutex
	read time.Time
	keys map[string]ed25519.PublicKey
}

func (g *Gateway) tokenKey(ctx context.Context, keyID string) (ed25519.PublicKey, bool) {
	t := &g.tokenKeys
	t.mu.Lock()
	age := g.Clock().Sub(t.read)
	key, known := t.keys[keyID]
	t.mu.Unlock()
	if known && age >= 0 && age < tokenKeysAge {
		return key, true
	}
	now := g.Clock()
	all, err := g.Ring.Keys(ctx, keys.Platform)
	if err != nil {
		return key, known
	}
	valid := map[string]ed25519.PublicKey{}
	for _, k := range all {
		if k.Purpose != keys.Token || (k.State != bundle.Active && k.State != bundle.Retiring) {
			continue
		}
		public, err := keys.ParsePublic(k.Algorithm, k.Public)
		if err != nil {
			continue
		}
		if ed, ok := public.(ed25519.PublicKey); ok {
			valid[strconv.Itoa(int(k.KeyID))] = ed
		}
	}
	t.mu.Lock()
	t.keys, t.read = valid, now
	t.mu.Unlock()
	key, known = valid[keyID]
	return key, known
}
