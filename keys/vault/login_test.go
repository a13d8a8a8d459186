package vault_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

// refused opens a store and gives the error it must end in.
func refused(t *testing.T, c vault.Config) error {
	t.Helper()
	c.Clock = time.Now
	s, err := vault.Open(t.Context(), c)
	if err == nil {
		_ = s.Close(t.Context())
		t.Fatal("Open succeeds")
	}
	return err
}

func delivered(login vault.Login, token string) {
	login.(*vault.AppRole).Wrapped = func(context.Context) (citygate.Secret, error) { return citygate.NewSecret([]byte(token)), nil }
}

// A SecretID that somebody opened on the way is an incident, and no login.
func TestAStolenSecretIDIsNoticed(t *testing.T) {
	place := vaulttest.New(t).Place(t)
	c := place.Config(t)
	token := place.Wrapped(t, vaulttest.SignRole)
	if _, err := place.Server.CallAs(t.Context(), token, http.MethodPut, "sys/wrapping/unwrap", nil); err != nil {
		t.Fatal(err) // the thief
	}
	delivered(c.Sign, token)
	if err := refused(t, c); !errors.Is(err, vault.ErrWrapping) {
		t.Errorf("a SecretID that was opened on the way: %v, want keys.wrapping", err)
	}
}

// Something else of Vault's, wrapped by somebody else, is not opened.
func TestASecretIDOfAnotherRoleIsRefused(t *testing.T) {
	place := vaulttest.New(t).Place(t)
	c := place.Config(t)
	token := place.Wrapped(t, vaulttest.AdminRole)
	delivered(c.Sign, token)
	if err := refused(t, c); !errors.Is(err, vault.ErrWrapping) {
		t.Errorf("the SecretID of another role: %v, want keys.wrapping", err)
	}
	if _, err := place.Server.CallAs(t.Context(), token, http.MethodPut, "sys/wrapping/unwrap", nil); err != nil {
		t.Errorf("it was opened all the same: %v", err)
	}
}

// A SecretID works once. Without a new one there is no new login, and Vault is
// not asked again and again; a new one is enough.
func TestASpentSecretID(t *testing.T) {
	deliver := func(p *vaulttest.Place, c *vault.Config) { delivered(c.Sign, p.Wrapped(t, vaulttest.SignRole)) }
	s := through(t, vaulttest.New(t), deliver)
	s.server.Do(t, http.MethodPut, "sys/leases/revoke-prefix/auth/"+s.place.AppRole+"/login", nil)
	s.clock.move(time.Minute)
	u := unavailable(t, sign(t.Context(), s, alice), keys.Denied)
	if !errors.Is(u, vault.ErrWrapping) {
		t.Errorf("a spent SecretID: %v, want keys.wrapping", u)
	}
	if n := vaulttest.Count(s.proxy.Seen(), "/login"); n != 0 {
		t.Errorf("%d logins with a spent SecretID", n)
	}
	deliver(s.place, &s.config)
	s.clock.move(time.Minute)
	if err := sign(t.Context(), s, alice); err != nil {
		t.Errorf("with a newly delivered SecretID: %v", err)
	}
}

// The platform's own token is proof enough with the JWT login.
func TestJWTLogin(t *testing.T) {
	server := vaulttest.New(t)
	place := server.Place(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mount := "jwt-" + place.AppRole
	server.Do(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "jwt"})
	t.Cleanup(func() { server.Do(t, http.MethodDelete, "sys/auth/"+mount, nil) })
	server.Do(t, http.MethodPost, "auth/"+mount+"/config", map[string]any{"jwt_validation_pubkeys": []string{pemOf(t, public)}, "jwt_supported_algs": []string{"EdDSA"}})
	server.Do(t, http.MethodPost, "auth/"+mount+"/role/gateway", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"vault"}, "bound_subject": "gateway",
		"token_policies": []string{place.Policy("sign"), place.Policy("credentials")}, "token_ttl": "5m",
	})
	c := place.Config(t)
	c.Sign = &vault.JWT{Mount: mount, Role: "gateway", Token: func(context.Context) (citygate.Secret, error) {
		return citygate.NewSecret([]byte(jwt(t, private, "gateway"))), nil
	}}
	s := open(t, c)
	if err := s.Create(t.Context(), alice, keys.Credential, keys.Ed25519); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), alice, keys.Credential, 1, [][]byte{{1}}); err != nil {
		t.Errorf("Sign after a JWT login: %v", err)
	}
	c.Sign = &vault.JWT{Mount: mount, Role: "gateway", Token: func(context.Context) (citygate.Secret, error) {
		return citygate.NewSecret([]byte(jwt(t, private, "somebody"))), nil
	}}
	unavailable(t, refused(t, c), keys.Denied)
}

func pemOf(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func jwt(t *testing.T, private ed25519.PrivateKey, subject string) string {
	t.Helper()
	part := func(v map[string]any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(map[string]any{"alg": "EdDSA", "typ": "JWT"}) + "." +
		part(map[string]any{"sub": subject, "aud": "vault", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()})
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(text)))
}

// A token is renewed, and at its longest life there is a new login; signing does
// not stop.
func TestATokensLongestLife(t *testing.T) {
	t.Parallel()
	s := through(t, vaulttest.New(t), func(p *vaulttest.Place, c *vault.Config) {
		c.Clock = time.Now
		p.Role(t, vaulttest.SignRole, map[string]any{"token_ttl": "4s", "token_max_ttl": "6s"})
	})
	await(t, "second login of a token that lives 6 s", func() bool {
		if err := sign(t.Context(), s, alice); err != nil {
			t.Fatalf("signing while tokens come and go: %v", err)
		}
		return s.Health().Tokens[0].Logins >= 2
	})
	if vaulttest.Count(s.proxy.Seen(), "/renew-self") == 0 {
		t.Error("no token was ever renewed")
	}
}

// A token that cannot be renewed is an alarm before it is a failure.
func TestATokenThatIsNotRenewed(t *testing.T) {
	t.Parallel()
	s := through(t, vaulttest.New(t), func(p *vaulttest.Place, c *vault.Config) {
		c.Clock = time.Now
		p.Role(t, vaulttest.SignRole, map[string]any{"token_ttl": "2s"})
	})
	s.proxy.Set(vaulttest.Fault{Match: vaulttest.On("/renew-self"), Refuse: true}, vaulttest.Fault{Match: vaulttest.On("/login"), Refuse: true})
	await(t, "alarm", func() bool { return s.Health().Tokens[0].Late })
	s.proxy.Set()
	await(t, "end of the alarm", func() bool { return !s.Health().Tokens[0].Late })
	if err := sign(t.Context(), s, alice); err != nil {
		t.Errorf("after the alarm: %v", err)
	}
}

// An identity's policy refuses: that is no reason to log in, however often.
func TestWhatThePolicyRefuses(t *testing.T) {
	s := through(t, vaulttest.New(t))
	config := s.config
	config.Admin = s.place.Login(t, vaulttest.SignRole) // an identity that may not make keys
	wrong := open(t, config)
	s.proxy.Seen()
	for range 3 {
		s.clock.move(time.Minute)
		for range 3 {
			if err := wrong.Create(t.Context(), alice, keys.Audit, keys.Ed25519); !errors.Is(err, keys.ErrForbidden) {
				t.Errorf("making a key as the identity that signs: %v, want keys.forbidden", err)
			}
		}
	}
	if n := vaulttest.Count(s.proxy.Seen(), "/login"); n != 0 {
		t.Errorf("%d logins because a policy refuses", n)
	}
	config.Admin = nil
	if err := open(t, config).Create(t.Context(), alice, keys.Audit, keys.Ed25519); !errors.Is(err, keys.ErrForbidden) {
		t.Errorf("making a key without an administering identity: %v, want keys.forbidden", err)
	}
}

// What the environment says counts for nothing.
func TestTheEnvironmentIsIgnored(t *testing.T) {
	server := vaulttest.New(t)
	c := server.Place(t).Config(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "nobody", "VAULT_NAMESPACE": "elsewhere",
		"VAULT_WRAP_TTL": "60", "VAULT_MAX_RETRIES": "9", "VAULT_HEADERS": `{"X-Forwarded-For":"1.2.3.4"}`, "VAULT_SKIP_VERIFY": "true",
		"VAULT_PROXY_ADDR": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	s := open(t, c)
	if err := s.Create(t.Context(), alice, keys.Credential, keys.Ed25519); err != nil {
		t.Errorf("Create: %v", err)
	}
}

// A server that nobody vouches for gets no token, whatever VAULT_SKIP_VERIFY says.
func TestTLSIsVerified(t *testing.T) {
	server := vaulttest.New(t)
	target, err := url.Parse(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	front.StartTLS()
	t.Cleanup(front.Close)
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	c := server.Place(t).Config(t)
	c.Address = front.URL
	s := open(t, c)
	if s.Health().Tokens[0].LoggedIn {
		t.Error("logged in at a server that nobody vouches for")
	}
	c.RootCAs = x509.NewCertPool()
	c.RootCAs.AddCert(front.Certificate())
	if s := open(t, c); !s.Health().Tokens[0].LoggedIn {
		t.Error("no login at a server that is vouched for")
	}
}

func TestConfigIsChecked(t *testing.T) {
	place := vaulttest.New(t).Place(t)
	for what, change := range map[string]func(*vault.Config){
		"plain HTTP over a network": func(c *vault.Config) { c.Address = "http://vault.example:8200" },
		"no address":                func(c *vault.Config) { c.Address = "" },
		"a password in the address": func(c *vault.Config) { c.Address = "https://a:b@vault.example" },
		"a path in the address":     func(c *vault.Config) { c.Address = "https://vault.example/v1" },
		"one mount for both":        func(c *vault.Config) { c.KV = c.Transit },
		"a mount that climbs":       func(c *vault.Config) { c.KV = "../sys" },
		"remembering for an hour":   func(c *vault.Config) { c.Remember = time.Hour },
		"no login":                  func(c *vault.Config) { c.Sign = nil },
	} {
		c := place.Config(t)
		change(&c)
		if err := refused(t, c); !errors.Is(err, keys.ErrInvalid) {
			t.Errorf("%s: %v, want keys.invalid", what, err)
		}
	}
}
