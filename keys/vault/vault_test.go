package vault_test

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/keystest"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

// open opens a store that is closed when the test ends.
func open(t *testing.T, c vault.Config) *vault.Store {
	t.Helper()
	if c.Clock == nil {
		c.Clock = time.Now
	}
	s, err := vault.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// The one kit, on a real server.
func TestKit(t *testing.T) {
	server := vaulttest.New(t)
	keystest.Run(t, func(t *testing.T) keystest.Fixture {
		place := server.Place(t)
		s := open(t, place.Config(t))
		again := func() (keys.Signer, keys.Secrets) {
			other := open(t, place.Config(t))
			return other, other
		}
		return keystest.Fixture{Signer: s, Secrets: s, Again: again, RSA: true}
	})
}
