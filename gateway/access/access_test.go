package access_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// Tenants of the tests: an authority, two operators it owns, and a stranger.
const (
	city, metro, bus, stranger citygate.TenantID = 1, 2, 3, 4
)

// A world is one database with as many instances as a test likes, on one clock.
type world struct {
	mu  sync.Mutex
	now time.Time
	db  *pg.DB
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) (*world, *access.Guard) {
	t.Helper()
	w := &world{now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	w.db = pgtest.New(t, pgtest.WithClock(w.clock))
	directory := tenants.NewDirectory(w.db, w.clock)
	for _, tenant := range []tenants.Tenant{
		{ID: city, Slug: "harbour", Kind: tenants.Authority},
		{ID: metro, Slug: "harbour-metro", Kind: tenants.Metro, Parent: city},
		{ID: bus, Slug: "harbour-bus", Kind: tenants.Bus, Parent: city},
		{ID: stranger, Slug: "hillside", Kind: tenants.Authority},
	} {
		tenant.Name, tenant.Mode, tenant.Currency, tenant.TimeZone = tenant.Slug, tenants.Live, "CNY", "UTC"
		if err := directory.Create(t.Context(), "test", tenant); err != nil {
			t.Fatal(err)
		}
	}
	return w, w.instance(t, w.db)
}

// instance gives another process's guard on a database.
func (w *world) instance(t *testing.T, db *pg.DB) *access.Guard {
	t.Helper()
	g, err := access.New(access.Config{
		DB: db, Clock: w.clock, Directory: tenants.NewDirectory(db, w.clock), Random: rand.Reader, HTTP: &http.Client{}, AllowHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// anyTenant refuses nobody.
func anyTenant(citygate.TenantID) error { return nil }

func member(t *testing.T, g *access.Guard, tenant citygate.TenantID, name string, roles ...authz.Role) access.Member {
	t.Helper()
	m, err := g.AddMember(t.Context(), "test", tenant, access.Member{External: name, Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// as is the caller of a member's token made now.
func (w *world) as(tenant citygate.TenantID, name string) access.Caller {
	return access.Caller{Subject: "user:" + name, Tenant: tenant, Scopes: []string{access.ScopeMember}, Issued: w.clock()}
}

func may(t *testing.T, g *access.Guard, c access.Caller, tenant citygate.TenantID, permission string) error {
	t.Helper()
	need, err := authz.ParsePermission(permission)
	if err != nil {
		t.Fatal(err)
	}
	return g.Authorize(t.Context(), access.Request{Caller: c, Tenant: tenant, Operation: "op", Need: need, Write: need.Verb != "read"})
}

func wants(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) && (got != nil || want != nil) {
		t.Errorf("%s: %v; want %v", what, got, want)
	}
}

// The scary case of roles: what was taken away at one instance is refused at
// another within five seconds, though nobody tells it. NOTIFY does not exist
// here.
func TestRevocationReachesEveryInstance(t *testing.T) {
	w, here := newWorld(t)
	there := w.instance(t, pgtest.Reopen(t, w.db, pgtest.WithClock(w.clock)))
	member(t, here, metro, "ada", authz.OperatorAdmin)
	member(t, here, metro, "bob", authz.Finance)
	member(t, here, metro, "cyd", authz.Finance)
	k, text, err := here.CreateKey(t.Context(), "user:ada", metro, "user:bob", "reports", []string{"money.*"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	bob, cyd := w.as(metro, "bob"), w.as(metro, "cyd")
	key, err := there.KeyCaller(t.Context(), string(text.Reveal()), anyTenant)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "a role", may(t, there, bob, metro, "recon.write"), nil)
	wants(t, "a key", may(t, there, key, metro, "money.read"), nil)
	wants(t, "a token", may(t, there, cyd, metro, "money.read"), nil)
	w.pass(time.Second / 2)
	if _, err := here.SetMember(t.Context(), "user:ada", metro, "user:bob", "", []authz.Role{authz.Support}); err != nil {
		t.Fatal(err)
	}
	wants(t, "here at once", may(t, here, bob, metro, "recon.write"), access.ErrForbidden)
	if err := errors.Join(here.RevokeKey(t.Context(), "user:ada", metro, k.ID), here.RevokeTokens(t.Context(), "user:ada", metro, "user:cyd")); err != nil {
		t.Fatal(err)
	}
	w.pass(5 * time.Second)
	wants(t, "the role there", may(t, there, bob, metro, "recon.write"), access.ErrForbidden)
	wants(t, "the new role there", may(t, there, bob, metro, "rider.write"), nil)
	wants(t, "the key there", may(t, there, key, metro, "money.read"), access.ErrToken)
	if _, err := there.KeyCaller(t.Context(), string(text.Reveal()), anyTenant); !errors.Is(err, access.ErrToken) {
		t.Errorf("the key again: %v", err)
	}
	wants(t, "the token there", may(t, there, cyd, metro, "money.read"), access.ErrToken)
	wants(t, "a token made since", may(t, there, w.as(metro, "cyd"), metro, "money.read"), nil)
	if err := here.RevokeTokens(t.Context(), "user:ada", metro, ""); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Second)
	wants(t, "everybody's", may(t, there, bob, metro, "rider.write"), access.ErrToken)
	if err := here.RevokeTokens(t.Context(), "test", 0, "user:root"); err != nil {
		t.Fatal(err)
	}
	root := access.Caller{Subject: "user:root", Scopes: []string{access.ScopePlatform}, Issued: w.clock()}
	w.pass(2 * time.Second)
	wants(t, "the platform's", may(t, there, root, metro, "tenant.read"), access.ErrToken)
}

// What was given at one instance counts at the others at once: somebody who is
// about to be refused is looked at again.
func TestWhatWasJustGivenCountsEverywhere(t *testing.T) {
	w, here := newWorld(t)
	there := w.instance(t, pgtest.Reopen(t, w.db, pgtest.WithClock(w.clock)))
	ada := w.as(metro, "ada")
	wants(t, "nobody yet", may(t, there, ada, metro, "fleet.read"), access.ErrToken)
	w.pass(time.Second / 5)
	member(t, here, metro, "ada", authz.Support)
	wants(t, "a member", may(t, there, ada, metro, "fleet.read"), nil)
	w.pass(time.Second / 5)
	if _, err := here.SetMember(t.Context(), "user:test", metro, "user:ada", "", []authz.Role{authz.OperatorAdmin}); err != nil {
		t.Fatal(err)
	}
	wants(t, "another role", may(t, there, ada, metro, "fleet.write"), nil)
	w.pass(time.Second / 5)
	_, text, err := here.CreateKey(t.Context(), "user:ada", metro, "user:ada", "new", []string{"fleet.read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.KeyCaller(t.Context(), string(text.Reveal()), anyTenant); err != nil {
		t.Errorf("a new key: %v", err)
	}
}

// An instance that does not hear of the database any more changes nothing after
// 30 s, and goes on reading.
func TestAnInstanceThatCannotConfirmChangesNothing(t *testing.T) {
	w, here := newWorld(t)
	member(t, here, metro, "ada", authz.OperatorAdmin)
	db := pgtest.Reopen(t, w.db, pgtest.WithClock(w.clock))
	there := w.instance(t, db)
	ada := w.as(metro, "ada")
	wants(t, "connected", may(t, there, ada, metro, "fleet.write"), nil)
	db.Close()
	for _, at := range []struct {
		after time.Duration
		write error
	}{{5 * time.Second, nil}, {24 * time.Second, nil}, {2 * time.Second, access.ErrStale}, {time.Hour, access.ErrStale}} {
		w.pass(at.after)
		wants(t, "a change", may(t, there, ada, metro, "fleet.write"), at.write)
		wants(t, "a read", may(t, there, ada, metro, "fleet.read"), nil)
	}
	w.pass(-3 * time.Hour)
	wants(t, "a clock that went back", may(t, there, ada, metro, "fleet.write"), access.ErrStale)
}

// Rights go down the tree as the role says, never up and never across.
func TestRightsGoDownTheTree(t *testing.T) {
	w, g := newWorld(t)
	member(t, g, city, "ann", authz.Authority)
	member(t, g, city, "fay", authz.Finance)
	member(t, g, metro, "max", authz.OperatorAdmin)
	ann, fay, max := w.as(city, "ann"), w.as(city, "fay"), w.as(metro, "max")
	wants(t, "an authority's fleet right", may(t, g, ann, metro, "fleet.write"), nil)
	wants(t, "an authority pays nobody out", may(t, g, ann, metro, "settlement.release"), access.ErrForbidden)
	wants(t, "finance reads below", may(t, g, fay, bus, "settlement.read"), nil)
	wants(t, "finance changes nothing below", may(t, g, fay, bus, "recon.write"), access.ErrForbidden)
	wants(t, "never up", may(t, g, max, city, "tenant.read"), access.ErrHidden)
	wants(t, "never across", may(t, g, max, bus, "tenant.read"), access.ErrHidden)
	wants(t, "a stranger", may(t, g, ann, stranger, "tenant.read"), access.ErrHidden)
	wants(t, "nobody's tenant", may(t, g, ann, 99, "tenant.read"), access.ErrHidden)
	wants(t, "a name of another tenant", may(t, g, w.as(bus, "max"), bus, "tenant.read"), access.ErrToken)
	scoped := access.Caller{Subject: "user:ops", Tenant: city, Scopes: []string{access.ScopeAdmin}, Issued: w.clock()}
	wants(t, "a scope in its tenant", may(t, g, scoped, city, "fleet.write"), nil)
	wants(t, "a scope below", may(t, g, scoped, metro, "fleet.read"), access.ErrHidden)
	platform := access.Caller{Subject: "user:root", Scopes: []string{access.ScopePlatform}, Issued: w.clock()}
	wants(t, "the platform", may(t, g, platform, stranger, "settlement.release"), nil)
	wants(t, "the platform in nobody's tenant", may(t, g, platform, 99, "money.read"), access.ErrHidden)
	wants(t, "a tenant is made under a number that is nobody's",
		g.Authorize(t.Context(), access.Request{Caller: platform, Tenant: 99, Operation: "put-tenant", Need: authz.Permission{Resource: "platform", Verb: "write"}, Write: true}), nil)

	err := may(t, g, fay, bus, "recon.write")
	if text := err.Error(); !strings.Contains(text, "recon.write") || !strings.Contains(text, "user:ann") || strings.Contains(text, "max") {
		t.Errorf("the refusal says %q; want the permission, who of the own tenant could give it, and nobody else", text)
	}
}

func TestNobodyIsLockedOut(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	member(t, g, metro, "ada", authz.OperatorAdmin)
	member(t, g, metro, "bob", authz.Support)
	wants(t, "removing the last one", g.RemoveMember(ctx, "user:ada", metro, "user:ada"), access.ErrLastAdmin)
	_, err := g.SetMember(ctx, "user:ada", metro, "user:ada", "", []authz.Role{authz.Auditor})
	wants(t, "demoting the last one", err, access.ErrLastAdmin)
	wants(t, "still there", may(t, g, w.as(metro, "ada"), metro, "access.write"), nil)
	if _, err := g.Recover(ctx, "user:root-shell", metro, access.Member{External: "bob"}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Recover(ctx, "user:root-shell", city, access.Member{External: "new"}); err != nil {
		t.Fatal(err)
	}
	wants(t, "recovered", may(t, g, w.as(metro, "bob"), metro, "access.write"), nil)
	wants(t, "keeps what it had", may(t, g, w.as(metro, "bob"), metro, "rider.write"), nil)
	wants(t, "an authority's first", may(t, g, w.as(city, "new"), bus, "access.write"), nil)
	wants(t, "now the other may go", g.RemoveMember(ctx, "user:bob", metro, "user:ada"), nil)
	wants(t, "who went", may(t, g, w.as(metro, "ada"), metro, "tenant.read"), access.ErrToken)
	if n := pgtest.Owner(t, w.db).Count(metro, `SELECT count(*) FROM audit_log WHERE verb IN ('member.add', 'access.recover', 'member.remove')`); n != 4 {
		t.Errorf("%d entries in the audit log; want 4", n)
	}
}

func TestRolesOfATenantsOwn(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	desk := access.RoleDefinition{Role: "ticket_office", Permissions: []authz.Permission{{Resource: "rider", Verb: "*"}}}
	if err := g.PutRole(ctx, "user:ada", metro, desk); err != nil {
		t.Fatal(err)
	}
	member(t, g, metro, "tim", "ticket_office")
	wants(t, "its right", may(t, g, w.as(metro, "tim"), metro, "rider.write"), nil)
	wants(t, "no more", may(t, g, w.as(metro, "tim"), metro, "money.read"), access.ErrForbidden)
	wants(t, "in use", g.RemoveRole(ctx, "user:ada", metro, "ticket_office"), access.ErrInUse)
	_, err := g.AddMember(ctx, "test", bus, access.Member{External: "tim", Roles: []authz.Role{"ticket_office"}})
	wants(t, "another tenant's role", err, access.ErrInvalid)
	for what, d := range map[string]access.RoleDefinition{
		"a built-in one": {Role: authz.Support, Permissions: desk.Permissions}, "the platform": {Role: "boss", Permissions: []authz.Permission{{Resource: "platform", Verb: "write"}}},
		"everything": {Role: "boss", Permissions: []authz.Permission{{Resource: "*", Verb: "*"}}}, "nothing": {Role: "boss"},
	} {
		wants(t, what, g.PutRole(ctx, "user:ada", metro, d), access.ErrInvalid)
	}
	for what, m := range map[string]access.Member{
		"a terminal": {External: "t", Roles: []authz.Role{authz.Terminal}}, "the platform": {External: "t", Roles: []authz.Role{authz.PlatformAdmin}},
		"authority of no authority": {External: "t", Roles: []authz.Role{authz.Authority}}, "no role": {External: "t"},
		"a name like a subject": {External: "t@corp", Roles: []authz.Role{authz.Support}}, "a role for a name": {External: "operator_admin\n", Roles: []authz.Role{authz.Support}},
	} {
		_, err := g.AddMember(ctx, "test", metro, m)
		wants(t, what, err, access.ErrInvalid)
	}
}

func TestAPIKeys(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	member(t, g, metro, "ada", authz.OperatorAdmin)
	member(t, g, metro, "bob", authz.Finance)
	k, secret, err := g.CreateKey(ctx, "user:bob", metro, "user:bob", "reports", []string{"money.*", "rider.read", "settlement.read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	text := string(secret.Reveal())
	caller := func() access.Caller {
		c, err := g.KeyCaller(ctx, text, anyTenant)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	wants(t, "a scope the owner has", may(t, g, caller(), metro, "money.read"), nil)
	wants(t, "a scope the owner has not", may(t, g, caller(), metro, "rider.read"), access.ErrForbidden)
	wants(t, "what the owner has and no scope names", may(t, g, caller(), metro, "recon.write"), access.ErrForbidden)
	wants(t, "another tenant", may(t, g, caller(), bus, "money.read"), access.ErrHidden)
	for what, bad := range map[string]string{
		"another secret": text[:len(text)-43] + strings.Repeat("A", 43), "the same of another tenant": strings.Replace(text, "cgk_2_", "cgk_3_", 1),
		"of nobody": strings.Replace(text, "cgk_2_", "cgk_99_", 1), "with zeros": strings.Replace(text, "cgk_2_", "cgk_02_", 1),
		"the prefix": k.Prefix(), "nothing": "cgk_", "upper case": strings.ToUpper(text), "longer": text + "A",
	} {
		unproven := func(tenant citygate.TenantID) error {
			t.Errorf("%s: it was taken for one of tenant %d", what, tenant)
			return nil
		}
		if _, err := g.KeyCaller(ctx, bad, unproven); !errors.Is(err, access.ErrToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	spent := errors.New("spent")
	if _, err := g.KeyCaller(ctx, text, func(tenant citygate.TenantID) error {
		if tenant != metro {
			t.Errorf("its tenant is %d", tenant)
		}
		return spent
	}); !errors.Is(err, spent) {
		t.Errorf("a tenant that has nothing left was answered %v", err)
	}
	if n := pgtest.Owner(t, w.db).Count(metro, `SELECT count(*) FROM access_keys WHERE last_used_at IS NOT NULL AND octet_length(hash) = 32`); n != 1 {
		t.Error("its use is not written down")
	}
	if strings.Contains(text, k.Prefix()) && strings.Contains(k.Prefix(), text[len(text)-8:]) {
		t.Error("the prefix shows the secret")
	}
	wants(t, "for no member", func() error {
		_, _, err := g.CreateKey(ctx, "user:ada", metro, "user:eve", "x", []string{"money.read"}, time.Hour)
		return err
	}(), access.ErrNotFound)
	held := caller()
	if err := g.RemoveMember(ctx, "user:ada", metro, "user:bob"); err != nil {
		t.Fatal(err)
	}
	wants(t, "its owner went", may(t, g, held, metro, "money.read"), access.ErrToken)
	again, secret, err := g.CreateKey(ctx, "user:ada", metro, "user:ada", "short", []string{"*.read"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	text = string(secret.Reveal())
	wants(t, "fresh", may(t, g, caller(), metro, "money.read"), nil)
	held = caller()
	w.pass(time.Minute)
	wants(t, "expired", may(t, g, held, metro, "money.read"), access.ErrToken)
	wants(t, "revoking twice", errors.Join(g.RevokeKey(ctx, "user:ada", metro, again.ID), g.RevokeKey(ctx, "user:ada", metro, again.ID)), nil)
	wants(t, "of another tenant", g.RevokeKey(ctx, "user:x", bus, again.ID), access.ErrNotFound)
}

func TestExplain(t *testing.T) {
	_, g := newWorld(t)
	ctx := context.Background()
	member(t, g, metro, "ada", authz.OperatorAdmin)
	member(t, g, metro, "bob", authz.Finance)
	k, _, err := g.CreateKey(ctx, "user:bob", metro, "user:bob", "x", []string{"money.read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		subject string
		need    authz.Permission
		allowed bool
		says    string
	}{
		{"user:bob", authz.Permission{Resource: "recon", Verb: "write"}, true, "p, finance, own, recon, *"},
		{"user:bob", authz.Permission{Resource: "rider", Verb: "read"}, false, "no rule"},
		{k.ID.String(), authz.Permission{Resource: "money", Verb: "read"}, true, "finance"},
		{k.ID.String(), authz.Permission{Resource: "recon", Verb: "write"}, false, "scopes leave it out"},
		{"user:eve", authz.Permission{Resource: "money", Verb: "read"}, false, "no member"},
	} {
		x, err := g.Explain(ctx, metro, c.subject, "op", c.need, authz.Own)
		if err != nil || x.Allowed != c.allowed || !strings.Contains(x.Why, c.says) || len(x.GrantedBy) != 1 || x.GrantedBy[0] != "user:ada" || len(x.HeldBy) == 0 {
			t.Errorf("%s %s: %+v, %v", c.subject, c.need, x, err)
		}
	}
}
