package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"path"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// A Login is how a process proves to Vault who it is: an [*AppRole] or a [*JWT].
type Login interface {
	// login gives Vault's answer with the token. fork gives clients without one.
	login(ctx context.Context, fork func() (*api.Client, error)) (*api.Secret, error)
}

// ErrWrapping says that a response-wrapped SecretID cannot be used. One that was
// opened already, by whomever, or that was made elsewhere than by the role is an
// incident: find out who had it, and destroy that role's SecretIDs.
var ErrWrapping = &citygate.Code{Name: "keys.wrapping", Kind: citygate.Unavailable, Title: "The wrapped SecretID is spent, expired or not of this role. If nobody of yours opened it, treat it as stolen; deliver a new one."}

// An AppRole logs in with a RoleID and a SecretID that is delivered
// response-wrapped and works once. A new login, at the end of a token's longest
// life, wants a newly delivered one; a SecretID that works more than once is
// kept in memory and used again.
type AppRole struct {
	Mount  string // "" = approle
	Role   string // its name: a SecretID made for another role is refused
	RoleID string
	// Wrapped gives the wrapping token of the SecretID that was delivered last.
	Wrapped func(ctx context.Context) (citygate.Secret, error)

	mu     sync.Mutex
	opened [sha256.Size]byte // digest of the wrapping token that was opened last
	held   citygate.Secret   // the SecretID that was in it; zero = spent
	once   bool              // it works once
}

func (a *AppRole) mount() string {
	if a.Mount == "" {
		return "approle"
	}
	return a.Mount
}

func (a *AppRole) login(ctx context.Context, fork func() (*api.Client, error)) (*api.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	vault, err := fork()
	if err != nil {
		return nil, err
	}
	if err := a.unwrap(ctx, vault, fork); err != nil {
		return nil, err
	}
	got, err := vault.Logical().WriteWithContext(ctx, "auth/"+a.mount()+"/login",
		map[string]any{"role_id": a.RoleID, "secret_id": string(a.held.Reveal())})
	if a.once || isClientError(err) {
		a.held = citygate.Secret{} // spent, or never any good
	}
	return got, err
}

// unwrap opens a newly delivered SecretID, if there is one.
func (a *AppRole) unwrap(ctx context.Context, vault *api.Client, fork func() (*api.Client, error)) error {
	wrapping, err := a.Wrapped(ctx)
	if err != nil {
		return ErrWrapping.Because(err, "reading the delivered SecretID")
	}
	token := strings.TrimSpace(string(wrapping.Reveal()))
	digest := sha256.Sum256([]byte(token))
	if digest == a.opened {
		if a.held.IsZero() {
			return ErrWrapping.Because(nil, "the SecretID of role %s that was delivered last is spent: deliver a new one", a.Role)
		}
		return nil
	}
	info, err := vault.Logical().WriteWithContext(ctx, "sys/wrapping/lookup", map[string]any{"token": token})
	if err != nil || info == nil {
		return wrapped(err, "looking at the wrapped SecretID of role "+a.Role)
	}
	made, _ := info.Data["creation_path"].(string) // absent is not right either
	if want := path.Join("auth", a.mount(), "role", a.Role, "secret-id"); a.Role == "" || made != want {
		return ErrWrapping.Because(nil, "the wrapped SecretID was made by %q, not by %q", made, want)
	}
	opener, err := fork()
	if err != nil {
		return err
	}
	opener.SetToken(token)
	a.opened, a.held = digest, citygate.Secret{} // it works once, whatever comes back
	got, err := opener.Logical().WriteWithContext(ctx, "sys/wrapping/unwrap", nil)
	if err != nil || got == nil {
		return wrapped(err, "opening the wrapped SecretID of role "+a.Role)
	}
	id, _ := got.Data["secret_id"].(string)
	if id == "" {
		return ErrWrapping.Because(nil, "what was wrapped is no SecretID")
	}
	uses, err := intOf(got.Data["secret_id_num_uses"])
	a.held, a.once = citygate.NewSecret([]byte(id)), err == nil && uses == 1
	return nil
}

// wrapped tells a refusal, which is an incident, from a server that is not well.
func wrapped(err error, doing string) error {
	if err == nil || isClientError(err) {
		return ErrWrapping.Because(plain(err), "%s", doing)
	}
	return err
}

// isClientError reports whether Vault refused what was sent.
func isClientError(err error) bool {
	var refused *api.ResponseError
	return errors.As(err, &refused) && refused.StatusCode >= 400 && refused.StatusCode < 500 && refused.StatusCode != 429
}

// A JWT logs in with a token of the platform the process runs on, such as a
// Kubernetes service account's.
type JWT struct {
	Mount string // "" = jwt
	Role  string
	// Token gives the token as it is now: platforms renew theirs in place.
	Token func(ctx context.Context) (citygate.Secret, error)
}

func (j *JWT) login(ctx context.Context, fork func() (*api.Client, error)) (*api.Secret, error) {
	vault, err := fork()
	if err != nil {
		return nil, err
	}
	token, err := j.Token(ctx)
	if err != nil {
		return nil, keys.ErrUnavailable.Because(err, "reading the platform's token")
	}
	mount := j.Mount
	if mount == "" {
		mount = "jwt"
	}
	return vault.Logical().WriteWithContext(ctx, "auth/"+mount+"/login",
		map[string]any{"role": j.Role, "jwt": strings.TrimSpace(string(token.Reveal()))})
}
