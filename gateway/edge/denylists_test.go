package edge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// A terminal says what it holds and gets names; what is behind a name with a
// sequence number may be cached for good, what is behind one without may not.
func TestDenyListObjects(t *testing.T) {
	b := newBench(t)
	var asked []edge.HeldList
	b.Updates = func(_ context.Context, issuer citygate.Issuer, have []edge.HeldList) ([]edge.ListObject, []uint16, error) {
		asked = have
		return []edge.ListObject{{List: 47, From: 12, Seq: 15, Bytes: 300}, {List: 48, Seq: 3, Bytes: 9000}}, []uint16{46}, nil
	}
	b.ListAt = func(_ context.Context, issuer citygate.Issuer, list uint16, seq uint32) ([]byte, string, error) {
		return fmt.Appendf(nil, "%d/%d/%d", issuer, list, seq), "s", nil
	}
	b.Delta = func(_ context.Context, issuer citygate.Issuer, list uint16, from, to uint32) ([]byte, string, error) {
		return fmt.Appendf(nil, "%d/%d/%d-%d", issuer, list, from, to), "d", nil
	}
	b.List = func(context.Context, citygate.Issuer, uint16) ([]byte, string, error) {
		return []byte("newest"), "n", nil
	}
	b.Heartbeat = func(context.Context, citygate.Issuer) ([]byte, string, error) { return []byte("beat"), "h", nil }

	w := b.call("GET", "/v1/issuers/101/updates?have=47.12,46.4294967295", "", "")
	var answer struct {
		Objects []struct {
			List uint16
			Kind string
			Path string
		}
		Ended     []uint16
		Heartbeat string
	}
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &answer) != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(asked) != 2 || asked[0] != (edge.HeldList{List: 47, Seq: 12}) || asked[1] != (edge.HeldList{List: 46, Seq: 1<<32 - 1}) {
		t.Errorf("asked for %+v", asked)
	}
	if len(answer.Objects) != 2 || answer.Objects[0].Kind != "delta" || answer.Objects[1].Kind != "snapshot" || len(answer.Ended) != 1 {
		t.Errorf("%+v", answer)
	}
	const forever, soon = "immutable", "max-age=30"
	for path, want := range map[string][2]string{
		answer.Objects[0].Path:        {"101/47/12-15", forever},
		answer.Objects[1].Path:        {"101/48/3", forever},
		answer.Heartbeat:              {"beat", soon},
		"/v1/issuers/101/lists/47":    {"newest", soon},
		"/v1/issuers/101/lists/47/15": {"101/47/15", forever},
	} {
		w := b.call("GET", path, "", "")
		if w.Code != http.StatusOK || w.Body.String() != want[0] || !strings.Contains(w.Header().Get("Cache-Control"), want[1]) {
			t.Errorf("%s: %d %s, %q", path, w.Code, w.Body, w.Header().Get("Cache-Control"))
		}
		if again := b.call("GET", path, "", "", "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, again.Code)
		}
	}
	if w := b.call("GET", "/v1/issuers/101/updates", "", ""); w.Code != http.StatusOK || len(asked) != 0 {
		t.Errorf("a new terminal: %d, %+v", w.Code, asked)
	}
	for _, have := range []string{"47", "47.", ".1", "65536.1", "47.4294967296", "47.1,", "47.-1", strings.Repeat("1.1,", 512) + "1.1"} {
		if w := b.call("GET", "/v1/issuers/101/updates?have="+have, "", ""); w.Code != http.StatusBadRequest && w.Code != http.StatusUnprocessableEntity {
			t.Errorf("have=%.20s: %d", have, w.Code)
		}
	}
	for _, path := range []string{"/v1/issuers/65536/heartbeat", "/v1/issuers/x/updates", "/v1/issuers/1/lists/65536/1", "/v1/issuers/1/lists/1/4294967296", "/v1/issuers/1/lists/1/2/from/x"} {
		if w := b.call("GET", path, "", ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestDenyLatencyIsTheTenantsOwn(t *testing.T) {
	b := newBench(t)
	b.DenyLatency = func(_ context.Context, tenant citygate.TenantID) (edge.DenyLatency, error) {
		return edge.DenyLatency{Pending: int(tenant), Standing: "on_time", TargetSeconds: 60}, nil
	}
	w := b.call("GET", "/v1/tenants/1/denials/latency", b.token(t, 1, edge.ScopeRead), "")
	var got edge.DenyLatency
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &got) != nil || got.Pending != 1 || got.TargetSeconds != 60 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
