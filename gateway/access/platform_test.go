package access_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/access/issuertest"
	"github.com/cashlesscity/citygate/policies/authz"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// platform is the tenant that the platform's own people are of.
const platform citygate.TenantID = 0

// of is the caller of a token of one of the platform's people, made now.
func (w *world) of(name string) access.Caller {
	return access.Caller{Subject: access.PlatformPrefix + name, Scopes: []string{access.ScopeMember}, Issued: w.clock()}
}

// People of the platform do in every tenant what their role says, by the same
// rules as a tenant's, and nobody of a tenant is one of them.
func TestPeopleOfThePlatform(t *testing.T) {
	w, g := newWorld(t)
	root, err := g.Recover(t.Context(), "user:root-shell", platform, access.Member{External: "root"})
	if err != nil || root.Subject != "platform:root" {
		t.Fatalf("%+v, %v", root, err)
	}
	member(t, g, platform, "rita", authz.PlatformAuditor)
	member(t, g, metro, "root", authz.OperatorAdmin)
	member(t, g, metro, "audrey", authz.Auditor)
	admin, auditor := w.of("root"), w.of("rita")
	wants(t, "an administrator onboards", may(t, g, admin, platform, "platform.write"), nil)
	wants(t, "acts in a tenant", may(t, g, admin, stranger, "settlement.release"), nil)
	wants(t, "sets a quota", may(t, g, admin, metro, "quota.write"), nil)
	wants(t, "an auditor reads the platform's log", may(t, g, auditor, platform, "platform.read"), nil)
	wants(t, "and a tenant's", may(t, g, auditor, metro, "audit.read"), nil)
	for _, need := range []string{"platform.write", "platform.access"} {
		wants(t, "an auditor and "+need, may(t, g, auditor, platform, need), access.ErrForbidden)
	}
	for _, need := range []string{"tenant.write", "quota.write", "approval.write", "access.write"} {
		wants(t, "an auditor and "+need, may(t, g, auditor, metro, need), access.ErrForbidden)
	}
	wants(t, "a tenant's auditor and the platform's log", may(t, g, w.as(metro, "audrey"), metro, "platform.read"), access.ErrForbidden)
	wants(t, "an administrator of a tenant with a like name", may(t, g, w.as(metro, "root"), metro, "platform.write"), access.ErrForbidden)
	wants(t, "a member's name that is a tenant's", may(t, g, access.Caller{Subject: "user:root", Scopes: []string{access.ScopeMember}, Issued: w.clock()}, metro, "tenant.read"), access.ErrToken)
	for what, m := range map[string]access.Member{
		"a tenant's role": {External: "x", Roles: []authz.Role{authz.Auditor}}, "a tenant's administrator": {External: "x", Roles: []authz.Role{authz.OperatorAdmin}},
		"both": {External: "x", Roles: []authz.Role{authz.PlatformAdmin, authz.Support}},
	} {
		_, err := g.AddMember(t.Context(), "test", platform, m)
		wants(t, what, err, access.ErrInvalid)
	}
	_, err = g.AddMember(t.Context(), "test", metro, access.Member{External: "x", Roles: []authz.Role{authz.PlatformAuditor}})
	wants(t, "the platform's role in a tenant", err, access.ErrInvalid)
	wants(t, "a role of its own making", g.PutRole(t.Context(), "test", platform, access.RoleDefinition{Role: "desk", Permissions: []authz.Permission{{Resource: "money", Verb: "read"}}}), access.ErrInvalid)
	wants(t, "removing the last administrator", g.RemoveMember(t.Context(), "platform:root", platform, "platform:root"), access.ErrLastAdmin)
	text := may(t, g, auditor, metro, "tenant.write").Error()
	if !strings.Contains(text, "platform:root") || !strings.Contains(text, "platform_admin") {
		t.Errorf("the refusal says %q; want who of the platform could give the right", text)
	}
	x, err := g.Explain(t.Context(), platform, "platform:rita", "list-platform-audit", authz.Permission{Resource: "platform", Verb: "read"}, authz.Own)
	if err != nil || !x.Allowed || !strings.Contains(x.Rule, "platform_auditor") || !slices.Equal(x.GrantedBy, []string{"platform:root"}) {
		t.Errorf("%+v, %v", x, err)
	}
	if n := pgtest.Owner(t, w.db).Count(0, `SELECT count(*) FROM platform.audit_log WHERE verb IN ('access.recover', 'member.add') AND object LIKE 'platform:%'`); n != 2 {
		t.Errorf("%d entries in the platform's log; want 2", n)
	}
}

// What was taken away from one of the platform's people is refused at another
// instance within five seconds, and one that hears nothing changes nothing.
func TestRevocationOfThePlatform(t *testing.T) {
	w, here := newWorld(t)
	db := pgtest.Reopen(t, w.db, pgtest.WithClock(w.clock))
	there := w.instance(t, db)
	for _, name := range []string{"root", "bob", "cyd"} {
		member(t, here, platform, name, authz.PlatformAdmin)
	}
	k, secret, err := here.CreateKey(t.Context(), "platform:bob", platform, "platform:bob", "onboarding", []string{"platform.write", "tenant.read"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	key, err := there.KeyCaller(t.Context(), string(secret.Reveal()), anyTenant)
	if err != nil || key.Tenant != platform || key.Person() != "platform:bob" {
		t.Fatalf("%+v, %v", key, err)
	}
	bob, cyd := w.of("bob"), w.of("cyd")
	wants(t, "a key", may(t, there, key, platform, "platform.write"), nil)
	wants(t, "a key in a tenant", may(t, there, key, metro, "tenant.read"), nil)
	wants(t, "a key beyond its scopes", may(t, there, key, platform, "platform.access"), access.ErrForbidden)
	wants(t, "a role", may(t, there, bob, stranger, "key.revoke"), nil)
	wants(t, "a token", may(t, there, cyd, platform, "platform.read"), nil)
	w.pass(time.Second / 2)
	_, err = here.SetMember(t.Context(), "platform:root", platform, "platform:bob", "", []authz.Role{authz.PlatformAuditor})
	if err := errors.Join(err, here.RevokeKey(t.Context(), "platform:root", platform, k.ID), here.RevokeTokens(t.Context(), "platform:root", platform, "platform:cyd")); err != nil {
		t.Fatal(err)
	}
	w.pass(5 * time.Second)
	wants(t, "the role there", may(t, there, bob, stranger, "key.revoke"), access.ErrForbidden)
	wants(t, "the key there", may(t, there, key, platform, "platform.write"), access.ErrToken)
	if _, err := there.KeyCaller(t.Context(), string(secret.Reveal()), anyTenant); !errors.Is(err, access.ErrToken) {
		t.Errorf("the key again: %v", err)
	}
	wants(t, "the token there", may(t, there, cyd, platform, "platform.read"), access.ErrToken)
	if err := here.RemoveMember(t.Context(), "platform:root", platform, "platform:bob"); err != nil {
		t.Fatal(err)
	}
	w.pass(5 * time.Second)
	wants(t, "who was taken out", may(t, there, bob, stranger, "tenant.read"), access.ErrToken)
	root := w.of("root")
	wants(t, "connected", may(t, there, root, metro, "tenant.write"), nil)
	db.Close()
	w.pass(29 * time.Second)
	wants(t, "for a while", may(t, there, root, metro, "tenant.write"), nil)
	w.pass(2 * time.Second)
	wants(t, "a change unconfirmed", may(t, there, root, metro, "tenant.write"), access.ErrStale)
	wants(t, "a read unconfirmed", may(t, there, root, metro, "tenant.read"), nil)
}

// The platform's people sign in at issuers of the platform, and at no tenant's.
func TestSignInToThePlatform(t *testing.T) {
	w, g := newWorld(t)
	tenants := signedIn(t, w, g)
	issuer := issuertest.New(t, w.clock)
	if err := g.PutIssuer(t.Context(), "test", platform, access.Issuer{Name: "corp", URL: issuer.URL, ClientID: client}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Recover(t.Context(), "test", platform, access.Member{Issuer: "corp", External: "ada"}); err != nil {
		t.Fatal(err)
	}
	good := issuer.Claims("ada", client)
	caller, err := g.Exchange(t.Context(), platform, issuer.Key("ES256").Sign(good, nil))
	if err != nil || caller.Subject != "platform:ada@corp" || caller.Tenant != platform {
		t.Fatalf("%+v, %v", caller, err)
	}
	caller.Issued = w.clock()
	wants(t, "signed in", may(t, g, caller, stranger, "tenant.write"), nil)
	metros := issuer.Claims("ada", client)
	metros["tenant"] = int64(metro)
	for what, token := range map[string]string{
		"a tenant's issuer": tenants.Key("ES256").Sign(tenants.Claims("ada", client), nil), "a token for a tenant": issuer.Key("ES256").Sign(metros, nil),
		"a tenant's key, the platform's issuer": tenants.Key("ES256").Sign(good, nil), "alg none": "eyJhbGciOiJub25lIn0.e30.",
	} {
		if _, err := g.Exchange(t.Context(), platform, token); !errors.Is(err, access.ErrToken) && !errors.Is(err, access.ErrIssuer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = g.Exchange(t.Context(), metro, issuer.Key("ES256").Sign(good, nil))
	wants(t, "the platform's token at a tenant", err, access.ErrToken)
	_, err = g.Exchange(t.Context(), platform, issuer.Key("ES256").Sign(issuer.Claims("eve", client), nil))
	wants(t, "somebody unknown", err, access.ErrNoMember)
}

// With two administrators what is the platform's needs both, and neither can make
// itself the only one: to remove the other needs the other.
func TestTwoPersonsOfThePlatform(t *testing.T) {
	w, g := newWorld(t)
	ctx := t.Context()
	needs := func(kind access.Kind) bool {
		t.Helper()
		w.pass(2 * time.Second)
		needed, err := g.NeedsSecond(ctx, platform, kind)
		if err != nil {
			t.Fatal(err)
		}
		return needed
	}
	member(t, g, platform, "ann", authz.PlatformAdmin)
	member(t, g, platform, "rita", authz.PlatformAuditor)
	if needs(access.TenantState) || needs(access.PlatformAccess) {
		t.Error("one administrator needs a second one that does not exist")
	}
	member(t, g, platform, "bob", authz.PlatformAdmin)
	for _, kind := range append(access.PlatformKinds(), access.ApprovalSettings) {
		if !needs(kind) {
			t.Errorf("%s needs nobody, with two administrators", kind)
		}
	}
	if needs(access.PolicyPublish) {
		t.Error("the platform publishes no policies of its own")
	}
	wants(t, "a kind of tenants", g.SetTwoPerson(ctx, "platform:ann", platform, []string{"payout_release"}, true), access.ErrInvalid)
	wants(t, "lowering alone", g.SetTwoPerson(ctx, "platform:ann", platform, nil, false), access.ErrUnapproved)
	content := access.Content{Kind: access.TenantState, Operation: "set-tenant-state", Method: "PUT", Path: "/v1/tenants/2/state", Hash: [32]byte{1}}
	p, err := g.Propose(ctx, w.of("ann"), platform, content)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Begin(ctx, w.of("ann"), platform, p.ID, content.Hash)
	wants(t, "before anybody approved", err, access.ErrWaiting)
	_, err = g.Approve(ctx, w.of("ann"), platform, p.ID)
	wants(t, "by oneself", err, access.ErrSamePerson)
	k, secret, err := g.CreateKey(ctx, "platform:bob", platform, "platform:bob", "k", []string{"platform.access"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	key, err := g.KeyCaller(ctx, string(secret.Reveal()), anyTenant)
	if err != nil || key.Key != k.ID {
		t.Fatal(err)
	}
	_, err = g.Approve(ctx, key, platform, p.ID)
	wants(t, "by a key", err, access.ErrByKey)
	_, err = g.Proposal(ctx, metro, p.ID)
	wants(t, "as a tenant's", err, access.ErrNoProposal)
	if _, err := g.Approve(ctx, w.of("bob"), platform, p.ID); err != nil {
		t.Fatal(err)
	}
	run, joined, err := g.Begin(ctx, w.of("ann"), platform, p.ID, content.Hash)
	if err != nil {
		t.Fatal(err)
	}
	change := func() error {
		return w.db.InSystem(joined, func(tx *pg.Tx) error {
			return tx.Audit(joined, pg.AuditEntry{Actor: "platform:ann", Verb: "tenant.state", Object: "harbour-metro"})
		})
	}
	if err := errors.Join(change(), run.End(ctx, 200, true)); err != nil {
		t.Fatal(err)
	}
	_, _, err = g.Begin(ctx, w.of("ann"), platform, p.ID, content.Hash)
	wants(t, "again", err, access.ErrDone)
	log := pgtest.Owner(t, w.db).Rows(0, `SELECT after ->> 'proposed_by', after ->> 'second' FROM platform.audit_log WHERE verb = 'approval.execute'`)
	if len(log) != 1 || log[0][0] != "platform:ann" || log[0][1] != "platform:bob" {
		t.Errorf("the log says %v; want both names, once", log)
	}
	late, err := g.Propose(ctx, w.of("ann"), platform, access.Content{Kind: access.TenantState, Operation: "set-tenant-state", Method: "PUT", Path: "/other", Hash: [32]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(access.ProposalLife)
	_, err = g.Approve(ctx, w.of("bob"), platform, late.ID)
	wants(t, "a day later", err, access.ErrExpired)
}
