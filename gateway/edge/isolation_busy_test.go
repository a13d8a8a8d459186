package edge_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/edge"
)

// drawn are what randomness gave a tenant: ids and numbers of riders, keys,
// signatures. All else of an answer is the same in two worlds or it is not.
var drawn = regexp.MustCompile(`[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|"index":\d+|\b\d+/\d+/\d+\b|[A-Za-z0-9+/_-]{40,}=*|"(our_id|provider_ref|end_to_end_id)":"[^"]*"`)

// place is where an audit entry stands.
var place = regexp.MustCompile(`"seq":\d+,`)

// quietly gives what a tenant's administrator reads on every route, after some
// days in which others were busy or not.
func quietly(t *testing.T, others func(w *world)) (w *world, read func() map[string]string) {
	t.Helper()
	w = newWorld(t)
	quiet := &party{id: quietTenant, issuer: 7, slug: "quiet-bus"}
	w.operator(quiet)
	c := w.credential(quiet, "rider-quiet", "quiet")
	r := w.reader(quiet, 1)
	r.ride(c, "quiet")
	r.upload()
	others(w)
	has := maps.Clone(nobodys)
	maps.Copy(has, quiet.has)
	has["account"], has["journey"] = c.Account, page[edge.Journey](w, quiet, "journeys")[0].ID
	own := w.mint(edge.Caller{Subject: "user:own", Tenant: quiet.id, Scopes: []string{edge.ScopeAdmin}})
	return w, func() map[string]string { return w.readings(own, quiet, has) }
}

// readings gives what somebody reads of a tenant on every route.
func (w *world) readings(token string, p *party, has objects) map[string]string {
	all := map[string]string{}
	for _, r := range w.tokenRoutes() {
		if r.Operation.Method != http.MethodGet {
			continue
		}
		c, _ := sample(w.edge.OpenAPI(), r, p.id, has)
		all[c.op] = drawn.ReplaceAllString(w.answer(token, c), "DRAWN")
		if c.op == "list-audit" { // entries of one instant stand in the order of their ids, which are drawn
			entries := strings.Split(place.ReplaceAllString(all[c.op], ""), `{"id":`)
			for i := range entries {
				entries[i] = strings.TrimRight(entries[i], ",]}\n")
			}
			slices.Sort(entries)
			all[c.op] = strings.Join(entries, "\n")
		}
	}
	return all
}

// What a tenant reads is the same to the byte, but for ids drawn at random,
// whether another is onboarded beside it, carries riders, collects, is owed, is
// billed wrongly and is settled, or there is no other.
func TestABusyNeighbourDoesNotShow(t *testing.T) {
	step := (4 * time.Hour).Microseconds()
	steps := int64(0)
	crowded, read := quietly(t, func(w *world) {
		began := w.micro.Load()
		w.authority(ownerTenant, "owner-authority")
		busy := &party{id: busyTenant, issuer: 8, slug: "busy-bus", parent: ownerTenant}
		w.operator(busy)
		w.live(busy, 770077)
		w.tick()
		steps = (w.micro.Load() - began) / step
	})
	beside := read()
	again := read
	_, read = quietly(t, func(w *world) {
		w.tick()
		for range steps {
			w.micro.Add(step)
			w.tick()
		}
		w.tick()
	})
	alone := read()
	if steps < 6 || len(alone) < 25 || len(alone) != len(beside) {
		t.Errorf("%d steps, %d and %d answers", steps, len(alone), len(beside))
	}
	for _, op := range unlike(alone, beside) {
		t.Errorf("%s beside a busy tenant:\n%s\nalone:\n%s", op, beside[op], alone[op])
	}
	// The comparison can fail: it sees a row of the neighbour's that is taken for the
	// tenant's own, a sum that has his in it, a state that follows his.
	for _, leak := range []struct{ sql, shows string }{
		{`INSERT INTO public.stops SELECT (jsonb_populate_record(s, '{"tenant_id":1001}')).* FROM public.stops AS s WHERE tenant_id = 1002`, "list-stops"},
		{`UPDATE public.balances SET debit_total = debit_total + (SELECT max(debit_total) FROM public.balances WHERE tenant_id = 1002) WHERE tenant_id = 1001`, "list-balances"},
		{`UPDATE public.terminals SET state = 'suspended' WHERE tenant_id = 1001`, "list-terminals"},
	} {
		crowded.super.Exec(0, leak.sql)
		if got := unlike(alone, again()); !slices.Contains(got, leak.shows) {
			t.Errorf("%s, and the comparison sees it in %v alone", leak.sql, got)
		}
	}
}

// unlike gives the operations whose answers differ.
func unlike(a, b map[string]string) (ops []string) {
	for op := range a {
		if a[op] != b[op] {
			ops = append(ops, op)
		}
	}
	return ops
}
