package vaulttest

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/keys/vault"
)

// A Place is one installation's part of a server: mounts, policies and AppRole
// roles of its own, set up as deploy/vault/README.md says.
type Place struct {
	Server  *Server
	Transit string
	KV      string
	AppRole string // mount of the AppRole login
	id      string
}

// The roles of a place.
const (
	SignRole  = "gateway-sign"  // sign.hcl and credentials.hcl
	AdminRole = "gateway-admin" // admin.hcl
)

// Place makes a place that is removed when the test ends.
func (s *Server) Place(t testing.TB) *Place {
	t.Helper()
	id := strings.ToLower(rand.Text()[:8])
	p := &Place{Server: s, Transit: "transit-" + id, KV: "kv-" + id, AppRole: "approle-" + id, id: id}
	s.Do(t, http.MethodPost, "sys/mounts/"+p.Transit, map[string]any{"type": "transit"})
	s.Do(t, http.MethodPost, "sys/mounts/"+p.KV, map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	s.Do(t, http.MethodPost, "sys/auth/"+p.AppRole, map[string]any{"type": "approle"})
	t.Cleanup(func() {
		ctx := context.Background()
		for _, path := range []string{"sys/mounts/" + p.Transit, "sys/mounts/" + p.KV, "sys/auth/" + p.AppRole,
			"sys/policies/acl/" + p.Policy("sign"), "sys/policies/acl/" + p.Policy("credentials"), "sys/policies/acl/" + p.Policy("admin")} {
			_, _ = s.Call(ctx, http.MethodDelete, path, nil) // a private server may be gone
		}
	})
	p.config(t)
	for name, text := range map[string]string{"sign": deploy.VaultSign, "credentials": deploy.VaultCredentials, "admin": deploy.VaultAdmin} {
		text = strings.NewReplacer(vault.DefaultTransit, p.Transit, vault.DefaultKV, p.KV).Replace(text)
		s.Do(t, http.MethodPut, "sys/policies/acl/"+p.Policy(name), map[string]any{"policy": text})
	}
	p.Role(t, SignRole, nil)
	p.Role(t, AdminRole, nil)
	return p
}

// config asks for check-and-set. A new store of version 2 is busy for a moment.
func (p *Place) config(t testing.TB) {
	t.Helper()
	var err error
	for range 200 {
		if _, err = p.Server.Call(context.Background(), http.MethodPost, p.KV+"/config", map[string]any{"cas_required": true}); err == nil {
			return
		}
	}
	t.Fatalf("%s/config: %v", p.KV, err)
}

// Policy gives the name of a policy of this place: sign, credentials or admin.
func (p *Place) Policy(name string) string { return name + "-" + p.id }

// Role makes a role, or changes what settings says of one, such as its token's
// life.
func (p *Place) Role(t testing.TB, role string, settings map[string]any) {
	t.Helper()
	policies := []string{p.Policy("sign"), p.Policy("credentials")}
	if role == AdminRole {
		policies = []string{p.Policy("admin")}
	}
	body := map[string]any{"token_policies": policies, "secret_id_num_uses": 1, "secret_id_ttl": "10m", "token_ttl": "20m", "token_max_ttl": "1h"}
	maps.Copy(body, settings)
	p.Server.Do(t, http.MethodPost, "auth/"+p.AppRole+"/role/"+role, body)
}

// Wrapped makes a SecretID of a role and gives its wrapping token.
func (p *Place) Wrapped(t testing.TB, role string) string {
	t.Helper()
	token, err := p.wrapped(t.Context(), role)
	if err != nil {
		t.Fatalf("wrapped SecretID: %v", err)
	}
	return token
}

func (p *Place) wrapped(ctx context.Context, role string) (string, error) {
	got, err := call(ctx, p.Server.Address, p.Server.Token, http.Header{"X-Vault-Wrap-Ttl": {"5m"}}, http.MethodPost,
		"auth/"+p.AppRole+"/role/"+role+"/secret-id", map[string]any{})
	if err != nil {
		return "", err
	}
	info, _ := got["wrap_info"].(map[string]any)
	token, _ := info["token"].(string)
	return token, nil
}

// Login logs in as a role; each login is delivered a new SecretID.
func (p *Place) Login(t testing.TB, role string) *vault.AppRole {
	t.Helper()
	got := p.Server.Do(t, http.MethodGet, "auth/"+p.AppRole+"/role/"+role+"/role-id", nil)
	data, _ := got["data"].(map[string]any)
	id, _ := data["role_id"].(string)
	return &vault.AppRole{Mount: p.AppRole, Role: role, RoleID: id, Wrapped: func(ctx context.Context) (citygate.Secret, error) {
		token, err := p.wrapped(ctx, role)
		return citygate.NewSecret([]byte(token)), err
	}}
}

// Config gives the configuration of a store that has both identities here; the
// caller adds what it wants otherwise, and a clock.
func (p *Place) Config(t testing.TB) vault.Config {
	t.Helper()
	return vault.Config{
		Address: p.Server.Address, Transit: p.Transit, KV: p.KV, Random: rand.Reader,
		Sign: p.Login(t, SignRole), Admin: p.Login(t, AdminRole),
	}
}
