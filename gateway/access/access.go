package access

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Scopes of a token. The first three stand for a role of the holder's own
// tenant, whoever it is.
const (
	ScopePlatform = "platform" // onboard tenants, act for any
	ScopeAdmin    = "admin"    // change a tenant's own things
	ScopeRead     = "read"     // look at them
	ScopeMember   = "member"   // what the member's roles allow
)

var scopeRoles = map[string]authz.Role{
	ScopePlatform: authz.PlatformAdmin,
	ScopeAdmin:    authz.OperatorAdmin,
	ScopeRead:     authz.Auditor,
}

// A Caller is who a credential speaks for.
type Caller struct {
	Subject string            // in the audit log: "user:ada", or of an API key "key:…/user:ada"
	Tenant  citygate.TenantID // 0 = the platform
	Scopes  []string          // of a token
	Issued  time.Time         // when the token was made

	Key       citygate.UUID // of an API key; zero for tokens
	KeyScopes []authz.Permission
	Owner     string // the key's owner
}

// Person gives the human behind the caller: of an API key its owner.
func (c Caller) Person() string {
	if c.Owner != "" {
		return c.Owner
	}
	return c.Subject
}

// In gives the caller as it acts in a tenant. Whoever is of another one, an
// authority's people in what it owns, is named with it there: names are each
// tenant's own, so "user:ada" of two of them are two persons.
func (c Caller) In(tenant citygate.TenantID) Caller {
	prefix := fmt.Sprintf("tenant:%d/", c.Tenant)
	switch {
	case tenant == c.Tenant, c.Tenant == 0 && strings.HasPrefix(c.Person(), PlatformPrefix):
		return c
	case c.Tenant == 0:
		prefix = PlatformPrefix // of a token that a command made
	}
	c.Subject = prefix + c.Subject
	if c.Owner != "" {
		c.Owner = prefix + c.Owner
	}
	return c
}

func (c Caller) member() bool { return c.Owner != "" || slices.Contains(c.Scopes, ScopeMember) }

func (c Caller) roles() []authz.Role {
	var roles []authz.Role
	for _, scope := range c.Scopes {
		if role, ok := scopeRoles[scope]; ok {
			roles = append(roles, role)
		}
	}
	return roles
}

// The refusals of this package.
var (
	ErrToken     = &citygate.Code{Name: "auth.token_invalid", Kind: citygate.Unauthenticated, Title: "The token is missing, expired or not valid here. Get a new one."}
	ErrForbidden = &citygate.Code{Name: "auth.forbidden", Kind: citygate.Forbidden, Title: "This needs a permission that the caller does not have. Ask a tenant administrator."}
	ErrStale     = &citygate.Code{Name: "access.stale", Kind: citygate.Unavailable, Title: "This server cannot confirm who may change what, and changes nothing until it can. Try again."}
	ErrInvalid   = authz.ErrInvalid
	ErrNotFound  = &citygate.Code{Name: "access.not_found", Kind: citygate.NotFound, Title: "There is no such member, role, key or issuer. List them for their names."}
	ErrExists    = &citygate.Code{Name: "access.exists", Kind: citygate.Conflict, Title: "It is there already, in another form. Change that one, or choose another name."}
	ErrInUse     = &citygate.Code{Name: "access.in_use", Kind: citygate.Conflict, Title: "Members still have it. Take it from them first."}
	ErrLastAdmin = &citygate.Code{Name: "access.last_admin", Kind: citygate.Conflict, Title: "Nobody could give rights in this tenant any more. Give another member that role first."}
	ErrNoMember  = &citygate.Code{Name: "access.not_a_member", Kind: citygate.Forbidden, Title: "You are signed in, but no member of this tenant. Ask one of its administrators to add you."}
	ErrIssuer    = &citygate.Code{Name: "access.issuer_unavailable", Kind: citygate.Unavailable, Title: "The issuer's keys cannot be read now. Try again in half a minute."}

	errNotFound = &citygate.Code{Name: "request.not_found", Kind: citygate.NotFound, Title: "There is no such thing here. Check the address."}
)

// ErrHidden is what the path of a tenant answers that is none of the caller's
// business: the same as one that nobody has.
var ErrHidden = errNotFound

// The times of the package.
const (
	lookEvery      = time.Second            // how old a look at the versions may be
	lookAgainEvery = 100 * time.Millisecond // and before somebody is refused
	waitBeyond     = 3 * time.Second        // a look this old is waited for when one is under way
	staleAfter     = 30 * time.Second       // without a look no changes
	lookWithin     = 2 * time.Second        // one look
)

// Held is how many tenants' snapshots are kept; the least used give way.
const Held = 20_000

// Config is what a Guard is made of. All fields but HTTP are required.
type Config struct {
	DB        *pg.DB
	Clock     citygate.Clock
	Directory *tenants.Directory
	Random    interface{ Read([]byte) (int, error) } // of key secrets
	HTTP      *http.Client                           // the way to OpenID Connect issuers; nil = nobody signs in
	AllowHTTP bool                                   // issuers may be asked in plain HTTP: for tests
	Held      int                                    // snapshots kept; 0 = [Held]
}

// A Guard decides who may do what. It is safe for concurrent use.
type Guard struct {
	Config
	book    *authz.Book
	held    *otter.Cache[citygate.TenantID, *snapshot]
	issuers issuerCache

	mu      sync.Mutex
	looked  time.Time     // the last look that worked
	tried   time.Time     // the last look
	failing bool          // the last look did not work
	under   chan struct{} // closed when the look under way ends

	random sync.Mutex
}

// New gives a Guard.
func New(c Config) (*Guard, error) {
	if c.Held == 0 {
		c.Held = Held
	}
	held, err := otter.New(&otter.Options[citygate.TenantID, *snapshot]{MaximumSize: c.Held})
	if err != nil {
		return nil, err
	}
	return &Guard{Config: c, book: authz.NewBook(), held: held}, nil
}

// A Member is a person of a tenant, or of the platform, which is tenant 0 to the
// methods of a Guard.
type Member struct {
	Subject  string // "user:ada", or "user:ada@corp" of the issuer corp; of the platform "platform:ada"
	Issuer   string // "" = no sign-in: tokens by command
	External string // what the issuer calls the person
	Name     string // for people
	Roles    []authz.Role
	AddedBy  string
	AddedAt  time.Time
}

var issuerForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// SubjectOf gives the name of a person of a tenant in the audit log and in rules.
// An issuer has no "@" in its name, and a person without one neither: no two
// persons have the same. People of the platform have another prefix: they are in
// the logs of tenants too, which have issuers and people of their own.
func SubjectOf(tenant citygate.TenantID, issuer, external string) (string, error) {
	prefix := "user:"
	if tenant == 0 {
		prefix = PlatformPrefix
	}
	if err := authz.CheckMember(issuer, external); err != nil {
		return "", ErrInvalid.Explain("%v", err)
	}
	if issuer == "" {
		return prefix + external, nil
	}
	subject := prefix + external + "@" + issuer
	return subject, authz.CheckSubject(subject)
}

// PlatformPrefix begins the subjects of members of the platform.
const PlatformPrefix = "platform:"
