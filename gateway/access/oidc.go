package access

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// An Issuer is an OpenID Connect issuer whose people may sign in to a tenant.
type Issuer struct {
	Name     string // in subjects: user:ada@corp
	URL      string // as its tokens say; discovery is asked below it
	ClientID string // the audience of ID tokens for us
}

// Limits of what strangers send.
const (
	tokenBytes    = 8 << 10
	issuersMost   = 10
	askAgain      = 30 * time.Second // an issuer is asked for its keys this often at most
	askWithin     = 5 * time.Second
	issuerLeeway  = 30 * time.Second
	idTokenOldest = 24 * time.Hour
)

// algorithms are the signatures that ID tokens may have: nothing symmetric.
var algorithms = []string{oidc.RS256, oidc.PS256, oidc.ES256, oidc.EdDSA}

// CheckIssuer is [ErrInvalid] for an issuer that cannot be one.
func (g *Guard) CheckIssuer(i Issuer) error {
	u, err := url.Parse(i.URL)
	switch {
	case !issuerForm.MatchString(i.Name):
		return ErrInvalid.Explain("name %q: want up to 31 lower-case letters, digits and hyphens", i.Name)
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "https" && (u.Scheme != "http" || !g.AllowHTTP)):
		return ErrInvalid.Explain("url: want the issuer's https address, as its tokens say it, without query")
	case i.ClientID == "":
		return ErrInvalid.Explain("client_id is empty")
	}
	return nil
}

// PutIssuer adds an issuer, or gives it another client id. Its URL stays:
// members are of that issuer.
func (g *Guard) PutIssuer(ctx context.Context, actor string, tenant citygate.TenantID, i Issuer) error {
	if err := g.CheckIssuer(i); err != nil {
		return err
	}
	return g.change(ctx, tenant, func(tx *pg.Tx) error {
		all, err := issuers(ctx, tx)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(all, func(o Issuer) bool { return o.Name == i.Name })
		entry := pg.AuditEntry{Actor: actor, Verb: "issuer.put", Object: i.Name, After: i}
		switch {
		case n >= 0 && all[n].URL != i.URL:
			return ErrExists.Explain("issuer %q is %s: its members are people of that one. Use another name", i.Name, all[n].URL)
		case n >= 0 && all[n] == i:
			return nil
		case n >= 0:
			entry.Before = all[n]
			_, err = tx.Exec(ctx, of(tx, updateIssuer), tenant, i.Name, i.ClientID)
		case len(all) >= issuersMost:
			return ErrInvalid.Explain("at most %d issuers", issuersMost)
		case slices.ContainsFunc(all, func(o Issuer) bool { return o.URL == i.URL }):
			return ErrExists.Explain("%s has another name already", i.URL)
		default:
			_, err = tx.Exec(ctx, of(tx, insertIssuer), tenant, i.Name, i.URL, i.ClientID, tx.Now)
		}
		if err != nil {
			return err
		}
		return tx.Audit(ctx, entry)
	})
}

// RemoveIssuer takes an issuer away. One that has members is [ErrInUse].
func (g *Guard) RemoveIssuer(ctx context.Context, actor string, tenant citygate.TenantID, name string) error {
	return g.change(ctx, tenant, func(tx *pg.Tx) error {
		all, err := members(ctx, tx)
		if err != nil {
			return err
		}
		if n := slices.IndexFunc(all, func(m Member) bool { return m.Issuer == name }); n >= 0 {
			return ErrInUse.Explain("%s signs in there", all[n].Subject)
		}
		tag, err := tx.Exec(ctx, of(tx, deleteIssuer), tenant, name)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound.Because(nil, "issuer %s", name)
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "issuer.remove", Object: name})
	})
}

// Issuers gives the issuers of a tenant by name.
func (g *Guard) Issuers(ctx context.Context, tenant citygate.TenantID) (all []Issuer, err error) {
	err = g.within(ctx, tenant, func(tx *pg.Tx) error {
		all, err = issuers(ctx, tx)
		return err
	})
	return all, err
}

// Exchange gives the member that an ID token speaks for: one that an issuer of
// this very tenant made for this gateway, 0 being the platform. A token that
// names another tenant is none. Every doubt is [ErrToken]; somebody who is signed in and no member gets
// [ErrNoMember]; [ErrIssuer] says that the issuer's keys cannot be had now.
func (g *Guard) Exchange(ctx context.Context, tenant citygate.TenantID, raw string) (Caller, error) {
	claimed, err := looksLikeIDToken(raw)
	if err != nil {
		return Caller{}, err
	}
	if err := g.known(ctx, tenant); err != nil {
		return Caller{}, err
	}
	s, err := g.current(ctx, tenant)
	if err != nil {
		return Caller{}, err
	}
	n := slices.IndexFunc(s.issuers, func(i Issuer) bool { return i.URL == claimed })
	if n < 0 {
		return Caller{}, ErrToken.Because(nil, "issuer %q is none of tenant %d", claimed, tenant)
	}
	token, err := g.verify(ctx, s.issuers[n], raw)
	if err != nil {
		return Caller{}, err
	}
	if err := g.checkClaims(token, s.issuers[n], tenant); err != nil {
		return Caller{}, err
	}
	subject, err := SubjectOf(tenant, s.issuers[n].Name, token.Subject)
	if err != nil {
		return Caller{}, ErrToken.Because(err, "subject")
	}
	if _, ok := s.members[subject]; !ok {
		return Caller{}, ErrNoMember.Explain("the issuer calls you %q", token.Subject)
	}
	return Caller{Subject: subject, Tenant: tenant, Scopes: []string{ScopeMember}}, nil
}

// known is [ErrToken] for a number that no tenant has: nothing is held for
// numbers made up.
func (g *Guard) known(ctx context.Context, tenant citygate.TenantID) error {
	if tenant == 0 {
		return nil
	}
	_, err := g.Directory.ByID(ctx, tenant)
	if errors.Is(err, tenants.ErrNotFound) {
		return ErrToken.Because(err, "tenant %d", tenant)
	}
	return err
}

// looksLikeIDToken refuses what cannot be an ID token before anything costly is
// done with it, and gives the issuer it names.
func looksLikeIDToken(raw string) (issuer string, err error) {
	if len(raw) > tokenBytes || strings.Count(raw, ".") != 2 {
		return "", ErrToken.Because(nil, "%d bytes", len(raw))
	}
	parts := strings.Split(raw, ".")
	decode := func(part string, into any) error {
		text, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, into)
	}
	var header map[string]any
	var payload struct {
		Issuer string `json:"iss"`
	}
	if err := errors.Join(decode(parts[0], &header), decode(parts[1], &payload)); err != nil {
		return "", ErrToken.Because(err, "form")
	}
	// A header that brings its own key, or says where to fetch one, is an attack.
	for _, name := range []string{"jwk", "jku", "x5u", "x5c", "crit", "zip", "b64"} {
		if _, there := header[name]; there {
			return "", ErrToken.Because(nil, "header %q", name)
		}
	}
	alg, ok := header["alg"].(string)
	if !ok || !slices.Contains(algorithms, alg) {
		return "", ErrToken.Because(nil, "algorithm %v", header["alg"])
	}
	if typ, there := header["typ"]; there && typ != "JWT" {
		return "", ErrToken.Because(nil, "type %v", typ) // an access token or a logout token of the same issuer
	}
	if kid, ok := header["kid"].(string); !ok || kid == "" || len(kid) > 200 {
		return "", ErrToken.Because(nil, "key id %v", header["kid"])
	}
	return payload.Issuer, nil
}

func (g *Guard) checkClaims(token *oidc.IDToken, i Issuer, tenant citygate.TenantID) error {
	var c struct {
		Party  string           `json:"azp"`
		Tenant *json.RawMessage `json:"tenant"`
		Before *json.RawMessage `json:"nbf"`
	}
	if err := token.Claims(&c); err != nil {
		return ErrToken.Because(err, "claims")
	}
	now := g.Clock()
	switch {
	case token.Subject == "":
		return ErrToken.Because(nil, "no subject")
	case (c.Party != "" && c.Party != i.ClientID) || (len(token.Audience) != 1 && c.Party == ""):
		return ErrToken.Because(nil, "audience %q, party %q", token.Audience, c.Party)
	case token.IssuedAt.IsZero() || token.IssuedAt.After(now.Add(issuerLeeway)) || now.Sub(token.IssuedAt) > idTokenOldest:
		return ErrToken.Because(nil, "issued at %s", token.IssuedAt)
	case c.Tenant != nil && string(*c.Tenant) != tenant.String():
		return ErrToken.Because(nil, "token for tenant %s", *c.Tenant)
	}
	if c.Before == nil {
		return nil
	}
	var seconds json.Number
	if err := json.Unmarshal(*c.Before, &seconds); err != nil {
		return ErrToken.Because(err, "nbf")
	}
	if at, err := seconds.Int64(); err != nil || now.Add(issuerLeeway).Before(time.Unix(at, 0)) {
		return ErrToken.Because(err, "nbf %s", seconds) // the library lets five minutes pass
	}
	return nil
}

// issuerCache holds what discovery said of issuers.
type issuerCache struct {
	mu  sync.Mutex
	all map[string]*askedIssuer
}

// askedMost bounds the issuers that are held; then all are asked again.
const askedMost = 10_000

type askedIssuer struct {
	mu     sync.Mutex
	keys   *oidc.RemoteKeySet // nil = discovery was not answered yet
	client *http.Client
}

// A keySet says of a failure whether the issuer's keys could not be had: the
// library tells its caller in text alone.
type keySet struct {
	*oidc.RemoteKeySet
	away error
}

// VerifySignature implements [oidc.KeySet].
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.RemoteKeySet.VerifySignature(ctx, jwt)
	if _, asking := errors.AsType[*url.Error](err); asking {
		k.away = err
	}
	return payload, err
}

func (g *Guard) issuer(address string) *askedIssuer {
	c := &g.issuers
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= askedMost {
		c.all = map[string]*askedIssuer{}
	}
	i, ok := c.all[address]
	if !ok {
		limited := &limitedTransport{next: g.HTTP.Transport, clock: g.Clock, plain: g.AllowHTTP, last: map[string]time.Time{}}
		i = &askedIssuer{client: &http.Client{
			Transport: limited, Timeout: askWithin,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // an issuer is where its address says
		}}
		c.all[address] = i
	}
	return i
}

// verify checks an ID token's signature, issuer, audience and expiry.
func (g *Guard) verify(ctx context.Context, i Issuer, raw string) (*oidc.IDToken, error) {
	if g.HTTP == nil {
		return nil, ErrIssuer.Because(nil, "this process asks no issuers")
	}
	remote, err := g.issuer(i.URL).discover(ctx, i.URL)
	if err != nil {
		return nil, ErrIssuer.Because(err, "discovery of %s", i.URL)
	}
	keys := &keySet{RemoteKeySet: remote}
	token, err := oidc.NewVerifier(i.URL, keys, &oidc.Config{ClientID: i.ClientID, SupportedSigningAlgs: algorithms, Now: g.Clock}).Verify(ctx, raw)
	switch {
	case err == nil:
		return token, nil
	case keys.away != nil:
		return nil, ErrIssuer.Because(keys.away, "keys of %s", i.URL)
	}
	return nil, ErrToken.Because(err, "ID token of %s", i.URL)
}

// discover asks an issuer once for where its keys are. One that did not answer
// is asked again after half a minute.
func (a *askedIssuer) discover(ctx context.Context, address string) (*oidc.RemoteKeySet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys != nil {
		return a.keys, nil
	}
	ctx = oidc.ClientContext(ctx, a.client)
	provider, err := oidc.NewProvider(ctx, address)
	if err != nil {
		return nil, err
	}
	var said struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&said); err != nil {
		return nil, err
	}
	a.keys = oidc.NewRemoteKeySet(ctx, said.Keys)
	return a.keys, nil
}

var (
	errAskedLately = errors.New("the issuer was asked a moment ago")
	errNotServed   = errors.New("the issuer does not answer as it should")
)

// A limitedTransport asks one address at most every half minute: a stream of
// tokens with made-up key ids must not become a stream of requests at the
// issuer. Bodies are bounded.
type limitedTransport struct {
	next  http.RoundTripper
	clock citygate.Clock
	plain bool // HTTP is allowed

	mu   sync.Mutex
	last map[string]time.Time
}

// RoundTrip implements [http.RoundTripper].
func (l *limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !l.plain {
		return nil, errNotServed // the network would say who signs in
	}
	address, now := r.URL.String(), l.clock()
	l.mu.Lock()
	last, asked := l.last[address]
	if age := now.Sub(last); asked && age >= 0 && age < askAgain {
		l.mu.Unlock()
		return nil, errAskedLately
	}
	l.last[address] = now
	l.mu.Unlock()
	next := l.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(errNotServed, resp.Body.Close())
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, 64<<10)
	return resp, nil
}
