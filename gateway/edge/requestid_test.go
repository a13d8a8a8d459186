package edge_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/edge"
)

// A request's id is in the answer's header, in its problem and in the log; a bad
// one is replaced, so that nobody writes lines into the log.
func TestARequestHasAnID(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	for what, call := range map[string][]string{
		"no such path": {"GET", "/v1/nowhere", ""}, "no token": {"GET", "/v1/tenants/1/balances", ""},
		"invalid": {"POST", denials, `{"list":1}`}, "failed": {"POST", denials, `{"list":99,"index":2,"reason":"lost"}`},
	} {
		token := admin
		if what == "no token" {
			token = ""
		}
		id := "case-" + strings.ReplaceAll(what, " ", "_")
		w := b.call(call[0], call[1], token, call[2], "Idempotency-Key", id, "X-Request-Id", id)
		var p edge.Problem
		if json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Request != id || w.Header().Get("X-Request-Id") != id {
			t.Errorf("%s: header %q, %s", what, w.Header().Get("X-Request-Id"), w.Body)
		}
		if what != "invalid" && !strings.Contains(b.log.String(), "request="+id) {
			t.Errorf("%s: the log does not name %s", what, id)
		}
	}
	seen := map[string]bool{}
	for _, bad := range []string{"", "a b", "a\tlevel=ERROR", strings.Repeat("a", 129), "<script>", "\"", "é"} {
		w := b.call("GET", "/healthz", "", "", "X-Request-Id", bad)
		id := w.Header().Get("X-Request-Id")
		if !strings.HasPrefix(id, "req_") || seen[id] {
			t.Errorf("%q became %q", bad, id)
		}
		seen[id] = true
	}
}

// What is wrong is pointed at.
func TestAnInvalidFieldIsPointedAt(t *testing.T) {
	b := newBench(t)
	admin := b.token(t, 1, edge.ScopeAdmin)
	for body, want := range map[string]string{
		`{"list":"one","index":2,"reason":"lost"}`: "/list", `{"list":1,"index":2,"reason":"dislike"}`: "/reason",
	} {
		w := b.call("POST", denials, admin, body, "Idempotency-Key", "k")
		var p edge.Problem
		if json.Unmarshal(w.Body.Bytes(), &p) != nil || len(p.Errors) == 0 || p.Errors[0].Pointer != want {
			t.Errorf("%s: %s", body, w.Body)
		}
	}
	for location, want := range map[string]string{
		"body.requests[0].cap": "/requests/0/cap", "body": "", "query.limit": "", "body.a/b.c~d": "/a~1b/c~0d", "body[3]": "/3",
	} {
		if got := edge.Pointer(location); got != want {
			t.Errorf("%s: %q, want %q", location, got, want)
		}
	}
}
