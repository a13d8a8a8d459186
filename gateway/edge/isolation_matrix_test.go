package edge_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/authz"
)

// An answer is what a caller can tell of a reply: all but what names the request.
func (w *world) answer(token string, c call) string {
	rec := w.ask(token, c.method, c.url(), "application/json", c.raw())
	return canonical(rec, c.used)
}

// perRequest are headers that are another's at every request; an ETag is a hash of
// the body, which is compared.
var perRequest = regexp.MustCompile(`(?i)^(etag|x-request-id|ratelimit.*|x-ratelimit.*|date|content-length)$`)

var perRequestMember = regexp.MustCompile(`"(request_id|trace_id|instance)":"[^"]*"`)

// made are the names of what a request has just made.
var made = regexp.MustCompile(`\b[a-z]{3}_[0-9a-f]{32}\b|"index":\d+|[A-Za-z0-9+/]{40,}=*|"code":"[0-9A-Z-]{14}"`)

var versions = regexp.MustCompile(`"(version|bundle)":\d+`)

func canonical(rec *httptest.ResponseRecorder, used []string) string {
	var b strings.Builder
	fmt.Fprintln(&b, rec.Code)
	for _, name := range slices.Sorted(maps.Keys(rec.Header())) {
		if !perRequest.MatchString(name) {
			fmt.Fprintln(&b, name, rec.Header()[name])
		}
	}
	body := perRequestMember.ReplaceAllString(rec.Body.String(), "")
	if rec.Code < 300 {
		body = made.ReplaceAllString(body, "MADE")
	}
	for _, value := range used {
		if value != "" {
			body = regexp.MustCompile(`\b`+regexp.QuoteMeta(value)+`\b`).ReplaceAllString(body, "NAMED")
		}
	}
	b.WriteString(body)
	return b.String()
}

// A principal is who asks.
type principal struct {
	name  string
	role  authz.Role
	token string
}

// principals gives somebody of every role of a tenant.
func (w *world) principals(tenant citygate.TenantID) (all []principal) {
	for _, role := range authz.Roles() {
		m, err := w.Access.AddMember(w.t.Context(), worldActor, tenant, access.Member{External: string(role), Roles: []authz.Role{role}})
		if errors.Is(err, access.ErrInvalid) { // authority, in a tenant that is none
			continue
		}
		w.must(err)
		caller := edge.Caller{Subject: m.Subject, Tenant: tenant, Scopes: []string{edge.ScopeMember}}
		all = append(all, principal{fmt.Sprintf("%s of %s", role, tenant), role, w.mint(caller)})
		if key := w.keyOf(tenant, m.Subject, role); key != "" {
			all = append(all, principal{fmt.Sprintf("API key of %s of %s", role, tenant), role, key})
		}
	}
	for _, scope := range []string{edge.ScopeAdmin, edge.ScopeRead} {
		all = append(all, principal{fmt.Sprintf("scope %s of %s", scope, tenant), "", w.mint(edge.Caller{Subject: "user:" + scope, Tenant: tenant, Scopes: []string{scope}})})
	}
	return all
}

// keyOf makes an API key that may all that a role may.
func (w *world) keyOf(tenant citygate.TenantID, owner string, role authz.Role) string {
	w.t.Helper()
	table, err := authz.NewBook().Compile(authz.Policy{})
	w.must(err)
	var scopes []string
	for _, p := range authz.Permissions() {
		if table.RolesAllow([]authz.Role{role}, authz.Own, p) {
			scopes = append(scopes, p.String())
		}
	}
	if len(scopes) == 0 {
		return ""
	}
	_, secret, err := w.Access.CreateKey(w.t.Context(), worldActor, tenant, owner, string(role), scopes, 30*24*time.Hour)
	w.must(err)
	w.secrets.AddText("an API key of "+owner, string(secret.Reveal()))
	return string(secret.Reveal())
}

// tokenRoutes are the routes that ask who calls: first those that look, then those
// that change what there is, then those that may add something.
func (w *world) tokenRoutes() []edge.Route {
	routes := slices.DeleteFunc(w.edge.DocumentedRoutes(), func(r edge.Route) bool { return r.Class != "token" })
	turn := func(r edge.Route) int {
		switch {
		case r.Operation.Method == "GET":
			return 0
		case strings.Count(r.Operation.Path, "{") > 1:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(routes, func(a, b edge.Route) int { return turn(a) - turn(b) })
	return routes
}

// leaks asks every route, as everybody who is none of busy's business, for busy's
// things and for nobody's, and gives every difference: a caller must not be able
// to tell what another tenant has from what nobody has.
func (w *world) leaks(quiet, busy *party, asking []principal) (found []string) {
	was := w.rowsOf(busy.id)
	for _, r := range w.tokenRoutes() {
		op := r.Operation.OperationID
		theirs, _ := sample(w.edge.OpenAPI(), r, busy.id, busy.has)
		nobody, _ := sample(w.edge.OpenAPI(), r, noTenant, nobodys)
		mineTheirs, _ := sample(w.edge.OpenAPI(), r, quiet.id, busy.has)
		mineNobody, _ := sample(w.edge.OpenAPI(), r, quiet.id, nobodys)
		for _, who := range asking {
			say := func(format string, args ...any) {
				found = append(found, op+", "+who.name+": "+fmt.Sprintf(format, args...))
			}
			if strings.Contains(r.Operation.Path, "{tenant}") {
				a, b := w.answer(who.token, theirs), w.answer(who.token, nobody)
				if a != b || !strings.HasPrefix(a, "404\n") {
					say("%s\n%s\nbut for a tenant that does not exist\n%s", theirs.url(), a, b)
				}
			}
			a, b := w.answer(who.token, mineTheirs), ""
			if mineTheirs.refers {
				if b = w.answer(who.token, mineNobody); a != b {
					say("%s with another tenant's things\n%s\nbut with things that nobody has\n%s", mineTheirs.url(), a, b)
				}
			}
			for kind, id := range busy.has {
				if r.Operation.Method == "GET" && telling(kind) && strings.Contains(strings.ReplaceAll(a, "NAMED", ""), id) {
					say("%s tells another tenant's %s %s:\n%s", mineTheirs.url(), kind, id, a)
				}
			}
		}
	}
	for table, rows := range w.rowsOf(busy.id) {
		if was[table] != rows {
			found = append(found, fmt.Sprintf("the rows of %s of another tenant changed from\n%s\nto\n%s", table, was[table], rows))
		}
	}
	return found
}

// telling reports whether a thing's name says whose it is.
func telling(kind string) bool {
	return slices.Contains([]string{"account", "device", "journey", "charge", "debt", "payout", "refund", "vehicle", "payee", "contract"}, kind)
}

// rowsOf gives a tenant's rows of every table.
func (w *world) rowsOf(tenant citygate.TenantID) map[string]string {
	all := map[string]string{}
	for _, table := range w.audit.Rows(0, `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
		WHERE n.nspname IN ('public', 'platform') AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1`) {
		name, _ := table[0].(string)
		for _, row := range w.audit.Rows(0, `SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM `+name+` AS t WHERE tenant_id = $1`, tenant) {
			all[name], _ = row[0].(string)
		}
	}
	return all
}

// overreach asks every route in quiet's own tenant as each of its roles, and gives
// every answer that is not what the permission table says.
func (w *world) overreach(quiet *party) (found []string) {
	table, err := authz.NewBook().Compile(authz.Policy{})
	w.must(err)
	asking := w.principals(quiet.id)
	for _, r := range w.tokenRoutes() {
		c, _ := sample(w.edge.OpenAPI(), r, quiet.id, nobodys)
		for _, who := range asking {
			if who.role == "" {
				continue
			}
			allowed := table.RolesAllow([]authz.Role{who.role}, authz.Own, edge.Permission(c.op))
			if rec := w.ask(who.token, c.method, c.url(), "application/json", c.raw()); (rec.Code == http.StatusForbidden) == allowed {
				found = append(found, fmt.Sprintf("%s, %s, which needs %s: %d %s", c.op, who.name, edge.Permission(c.op), rec.Code, rec.Body))
			}
		}
	}
	return found
}

// Tenant A's credentials, of every role, see nothing of tenant B: neither by B's
// path nor by naming B's things in their own; and in their own tenant a role does
// what the permission table gives it. The checks can fail: with one check of the
// edge less they do.
func TestIsolation(t *testing.T) {
	w, quiet, busy := cities(t)
	t.Run("every reference has a factory", func(t *testing.T) { w.factories(t, busy) })
	t.Run("nobody sees another tenant", func(t *testing.T) {
		for _, leak := range w.leaks(quiet, busy, append(w.principals(quiet.id), w.principals(foreignTenant)...)) {
			t.Error(leak)
		}
	})
	t.Run("any SQL sees one tenant", func(t *testing.T) { w.rows(t, quiet, busy) })
	t.Run("whose it is may what its rules say", func(t *testing.T) { w.fromAbove(t, busy) })
	t.Run("the platform's people may what their rules say", func(t *testing.T) { w.ofThePlatform(t, busy) })
	t.Run("pairing codes tell nothing", func(t *testing.T) { w.pairing(t, quiet, busy) })
	t.Run("its own people do", func(t *testing.T) { w.control(t, busy) })
	t.Run("every change leaves an audit row", func(t *testing.T) { w.everyChange(t, busy) })
	t.Run("a role does what it may", func(t *testing.T) {
		for _, what := range w.overreach(quiet) {
			t.Error(what)
		}
	})
	t.Run("bodies that nobody should send", func(t *testing.T) { w.bodies(t, quiet) })
	t.Run("addresses that nobody should ask for", func(t *testing.T) { w.addresses(t, quiet) })
	t.Run("no secret is anywhere", func(t *testing.T) { w.untold(t, busy) })
	t.Run("every list comes page by page", func(t *testing.T) { w.everyListPages(t, busy, quiet) })
	some := slices.DeleteFunc(w.principals(quiet.id), func(p principal) bool { return p.role != authz.OperatorAdmin && p.role != authz.Auditor })
	t.Run("without the checks of any one operation", func(t *testing.T) {
		for _, op := range w.withoutEach(busy, some[0]) {
			t.Errorf("nothing is found about %s", op)
		}
	})
	for what, m := range map[string]struct {
		without func() (restore func())
		look    func() []string
		want    []string // operations that must be named
	}{
		"the tenant of the path": {w.edge.WithoutTenantCheck, func() []string { return w.leaks(quiet, busy, some) }, []string{"get-journey", "get-tenant", "put-payees", "the rows of"}},
		"one operation's checks": {
			func() func() { return w.edge.WithoutChecksOf("get-account") },
			func() []string { return w.leaks(quiet, busy, some) }, []string{"get-account"},
		},
		"the role":               {w.edge.WithoutRoleCheck, func() []string { return w.overreach(quiet) }, []string{"put-payees", "put-tenant", "list-windows"}},
		"one permission's right": {func() func() { return w.edge.NeedsOnly("put-payees", "tenant.read") }, func() []string { return w.overreach(quiet) }, []string{"put-payees"}},
	} {
		t.Run("without "+what, func(t *testing.T) {
			restore := m.without()
			defer restore()
			found := m.look()
			for _, op := range m.want {
				if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, op) }) {
					t.Errorf("nothing is found about %s; %d findings in all", op, len(found))
				}
			}
		})
	}
}

// withoutEach takes the checks of each operation away, one after another, and gives
// the operations that then still answer for another tenant as if it did not exist:
// of them nobody would notice that the check is gone.
func (w *world) withoutEach(busy *party, who principal) (unseen []string) {
	for _, r := range w.tokenRoutes() {
		if !strings.Contains(r.Operation.Path, "{tenant}") {
			continue
		}
		c, _ := sample(w.edge.OpenAPI(), r, busy.id, busy.has)
		before := w.answer(who.token, c)
		restore := w.edge.WithoutChecksOf(c.op)
		after := w.answer(who.token, c)
		restore()
		if !strings.HasPrefix(before, "404\n") || before == after {
			unseen = append(unseen, c.op+": "+before)
		}
	}
	return unseen
}

// fromAbove asks busy's routes as people of the authority that owns it: what the
// rules give below they get, and what they do not is forbidden, not hidden.
func (w *world) fromAbove(t *testing.T, busy *party) {
	table, err := authz.NewBook().Compile(authz.Policy{})
	w.must(err)
	asking := w.principals(ownerTenant)
	was := w.rowsOf(busy.id)
	allowed, refused := 0, 0
	for _, r := range w.tokenRoutes() {
		c, _ := sample(w.edge.OpenAPI(), r, busy.id, busy.has)
		if !strings.Contains(r.Operation.Path, "{tenant}") {
			continue
		}
		for _, who := range asking {
			may := who.role != "" && table.RolesAllow([]authz.Role{who.role}, authz.Below, edge.Permission(c.op))
			if may && r.Operation.Method != http.MethodGet {
				continue // it would change what others ask about
			}
			rec := w.ask(who.token, c.method, c.url(), "application/json", c.raw())
			switch {
			case may:
				allowed++
				if rec.Code == http.StatusForbidden || rec.Code == http.StatusNotFound || rec.Code >= 500 {
					t.Errorf("%s, %s, which owns it: %d %s", c.op, who.name, rec.Code, rec.Body)
				}
			default:
				refused++
				want := http.StatusForbidden
				if who.role == "" {
					want = http.StatusNotFound // scopes do not reach into other tenants
				}
				if rec.Code != want {
					t.Errorf("%s, %s, which owns it and may not: %d %s", c.op, who.name, rec.Code, rec.Body)
				}
			}
		}
	}
	if allowed < 50 || refused < 100 {
		t.Errorf("%d were allowed and %d refused", allowed, refused)
	}
	for table, rows := range w.rowsOf(busy.id) {
		if was[table] != rows {
			t.Errorf("looking and being refused changed %s", table)
		}
	}
}

// ofThePlatform asks busy's routes, and those of the platform, as its people, by
// token and by API key: they read all, and an auditor is forbidden every change
// and changes nothing.
func (w *world) ofThePlatform(t *testing.T, busy *party) {
	table, err := authz.NewBook().Compile(authz.Policy{})
	w.must(err)
	asking := map[string]authz.Role{}
	for _, role := range authz.PlatformRoles() {
		m, err := w.Access.AddMember(t.Context(), worldActor, 0, access.Member{External: string(role), Roles: []authz.Role{role}})
		w.must(err)
		asking[w.mint(edge.Caller{Subject: m.Subject, Scopes: []string{edge.ScopeMember}})] = role
		asking[w.keyOf(0, m.Subject, role)] = role
	}
	was, wasOwn := w.rowsOf(busy.id), w.rowsOf(0)
	allowed, refused := 0, 0
	for _, r := range w.tokenRoutes() {
		c, _ := sample(w.edge.OpenAPI(), r, busy.id, busy.has)
		domain := authz.Own
		if strings.Contains(r.Operation.Path, "{tenant}") {
			domain = authz.Below
		}
		for token, role := range asking {
			may := table.RolesAllow([]authz.Role{role}, domain, edge.Permission(c.op))
			if may && r.Operation.Method != http.MethodGet {
				continue // it would change what others ask about
			}
			rec := w.ask(token, c.method, c.url(), "application/json", c.raw())
			switch {
			case may:
				if allowed++; rec.Code == http.StatusForbidden || rec.Code == http.StatusNotFound || rec.Code >= 500 {
					t.Errorf("%s, %s: %d %s", c.op, role, rec.Code, rec.Body)
				}
			default:
				if refused++; rec.Code != http.StatusForbidden {
					t.Errorf("%s, %s, who may not: %d %s", c.op, role, rec.Code, rec.Body)
				}
				if role == authz.PlatformAdmin {
					t.Errorf("%s is beyond a platform administrator", c.op)
				}
			}
		}
	}
	if allowed < 100 || refused < 100 {
		t.Errorf("%d were allowed and %d refused", allowed, refused)
	}
	for table, rows := range w.rowsOf(busy.id) {
		if was[table] != rows {
			t.Errorf("looking and being refused changed %s", table)
		}
	}
	for table, rows := range w.rowsOf(0) {
		if wasOwn[table] != rows && table != "platform.access_keys" { // when a key was used
			t.Errorf("looking and being refused changed the platform's %s", table)
		}
	}
}

// factories holds that whatever a route names has an object to ask for.
func (w *world) factories(t *testing.T, busy *party) {
	routes := 0
	for _, r := range w.tokenRoutes() {
		routes++
		_, s := sample(w.edge.OpenAPI(), r, busy.id, busy.has)
		for _, name := range s.unknown {
			t.Errorf("%s (%s %s): %s is in no table of isolation_objects_test.go: add it to pathObjects or references if it names something of a tenant's, else to plain",
				s.op, r.Operation.Method, r.Operation.Path, name)
		}
		for _, kind := range s.missing {
			t.Errorf("%s (%s %s) names a %s, and world.live makes none", s.op, r.Operation.Method, r.Operation.Path, kind)
		}
		if _, s := sample(w.edge.OpenAPI(), r, noTenant, nobodys); len(s.missing) > 0 {
			t.Errorf("%s names a %s, and nobodys has none", s.op, s.missing)
		}
	}
	if routes < 50 {
		t.Errorf("only %d routes were looked at", routes)
	}
	w.edge.AddForgotten()
	defer w.edge.RemoveForgotten()
	r := w.tokenRoutes()[0]
	for _, found := range w.tokenRoutes() {
		if found.Operation.OperationID == edge.ForgottenID {
			r = found
		}
	}
	if _, s := sample(w.edge.OpenAPI(), r, busy.id, busy.has); len(s.unknown) != 2 {
		t.Errorf("a route with a path parameter and a field that nobody thought of: %v", s.unknown)
	}
}

// ending are the operations after which others find nothing: they come last.
var ending = []string{"release-device", "close-account", "remove-member", "remove-role", "remove-issuer"}

// control asks as busy's own administrator: what the matrix asked for is there.
func (w *world) control(t *testing.T, busy *party) {
	own := w.mint(edge.Caller{Subject: "user:own", Tenant: busy.id, Scopes: []string{edge.ScopeAdmin}})
	routes := w.tokenRoutes()
	slices.SortStableFunc(routes, func(a, b edge.Route) int {
		return slices.Index(ending, a.Operation.OperationID) - slices.Index(ending, b.Operation.OperationID)
	})
	for _, r := range routes {
		c, _ := sample(w.edge.OpenAPI(), r, busy.id, busy.has)
		rec := w.audited(t, busy, own, c)
		platform := r.Needs.Resource == "platform" || r.Needs.Resource == "quota" // of those above it
		switch {
		case platform && rec.Code != 403:
			t.Errorf("%s, which is the platform's: %d %s", c.op, rec.Code, rec.Body)
		case !platform && (rec.Code == 404 || rec.Code == 403 || rec.Code >= 500):
			t.Errorf("%s %s by the tenant's own administrator: %d %s", c.op, c.url(), rec.Code, rec.Body)
		}
	}
}
