package edge_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// untold holds that after all that was done and asked no secret lies in the log, in
// an answer, in a table or in a file that is not the sealed store; and that it
// would be seen there. The gateway serves no metrics: there is nothing of the kind to
// look into.
func (w *world) untold(t *testing.T, busy *party) {
	secret := []byte("SENTINEL-of-a-payment-provider/7f3a")
	w.secrets.Add("the provider's secret", secret)
	path := busy.path("contracts/%s/secrets/", busy.has["contract"])
	for _, c := range []struct{ path, body string }{
		{path + "token", string(mustJSON(t, map[string]any{"value": secret}))},
		{path + "token", string(mustJSON(t, map[string]any{"value": secret, "other": 1}))},   // an unknown field
		{path + "token", string(mustJSON(t, map[string]any{"value": []any{secret}}))},        // of another type
		{path + "token", `{"value":"` + string(secret) + `"}`},                               // not base64
		{path + "token", `{"value":"` + string(secret)},                                      // not JSON
		{path + "Not%20A%20Name", string(mustJSON(t, map[string]any{"value": secret}))},      // nowhere to put it
		{busy.path("contracts/other"), string(mustJSON(t, map[string]any{"token": secret}))}, // where it does not belong
		{busy.path("contracts/x?token=%s", secret), string(mustJSON(t, map[string]any{}))},   // nor there
	} {
		w.ask(w.root, http.MethodPut, c.path, "application/json", []byte(c.body))
	}
	bad := w.root[:len(w.root)-6] + "AAAAAA" // what is left of a token may not be logged either
	w.secrets.AddText("a token that does not verify", bad)
	w.ask(bad, http.MethodGet, "/v1/tenants", "", nil)
	w.ask(w.root+"x", http.MethodGet, "/v1/tenants", "", nil)

	for _, what := range w.told {
		t.Error(what)
	}
	look := func() []string {
		found, lines := w.secrets.Logged()
		stored, rows := w.secrets.Tables(w.super)
		filed, err := w.secrets.Files(w.dir, nil)
		if err != nil || rows < 500 {
			t.Errorf("%d log lines and %d rows were looked at: %v", lines, rows, err)
		}
		return append(append(found, stored...), filed...)
	}
	for _, what := range look() {
		t.Error(what)
	}
	if found, err := w.secrets.Files(w.keyDir, nil); len(found) > 0 || err != nil {
		t.Errorf("in the sealed store: %v, %v", found, err)
	}
	if found, err := w.secrets.Files(filepath.Dir(w.keyDir), nil); len(found) != 1 || !strings.Contains(found[0], "keys.key") {
		t.Errorf("the key file is not known: %v, %v", found, err)
	}

	w.Log.Error("a mistake", "request", json.RawMessage(mustJSON(t, map[string]any{"value": secret})))
	w.owner.Exec(busy.id, `UPDATE idempotency_keys SET body = $2 WHERE tenant_id = $1 AND key = (SELECT min(key) FROM idempotency_keys WHERE tenant_id = $1)`,
		busy.id, bytes.Join([][]byte{[]byte("before"), secret}, nil))
	if found := look(); len(found) != 2 {
		t.Errorf("of a secret logged and one stored there are found %v", found)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
