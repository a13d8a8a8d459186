package audit_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
)

// The vectors were made by another program than ours, from the package doc.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Rows []struct {
			Tenant              citygate.TenantID
			Seq                 int64
			EntryID             string `json:"entry_id"`
			AtUS                int64  `json:"at_us"`
			Actor, Verb, Object string
			Before, After       *string
			Prev, Hash          string
		}
		Checkpoints []struct {
			Tenant citygate.TenantID
			N, Seq int64
			Root   string
			Prev   string `json:"prev_root"`
			AtUS   int64  `json:"at_us"`
			KeyID  uint8  `json:"kid"`
			Bytes  string
		}
	}
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors.Rows) != 3 || len(vectors.Checkpoints) != 1 {
		t.Fatalf("%d rows, %v", len(vectors.Rows), err)
	}
	for i, v := range vectors.Rows {
		id, err := citygate.ParseUUID("", v.EntryID)
		if err != nil {
			t.Fatal(err)
		}
		r := audit.Row{
			Tenant: v.Tenant, Seq: v.Seq, ID: id, At: time.UnixMicro(v.AtUS), Actor: v.Actor, Verb: v.Verb, Object: v.Object,
			Before: optional(v.Before), After: optional(v.After), Prev: audit.Hash(unhex(t, v.Prev)),
		}
		if got, err := r.Sum(); err != nil || hex.EncodeToString(got[:]) != v.Hash {
			t.Errorf("row %d: %x, want %s, %v", i, got, v.Hash, err)
		}
	}
	for _, v := range vectors.Checkpoints {
		c := audit.Checkpoint{
			Tenant: v.Tenant, N: v.N, Seq: v.Seq, Root: audit.Hash(unhex(t, v.Root)), Prev: audit.Hash(unhex(t, v.Prev)), At: time.UnixMicro(v.AtUS), KeyID: v.KeyID,
		}
		if got := hex.EncodeToString(c.Message()); got != v.Bytes {
			t.Errorf("checkpoint: %s, want %s", got, v.Bytes)
		}
	}
}

func optional(s *string) json.RawMessage {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The canonical form means the same, is its own canonical form, and does not
// depend on how the value was written.
func FuzzCanonicalJSON(f *testing.F) {
	for _, seed := range []string{`{"b":1,"a":[null,true,"\u0001\"é"]}`, `"\ud83d\ude00"`, `-0.10`, `{"a":1,"a":2}`, `[[],{}]`, `1 2`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := audit.Canonical(raw)
		if err != nil {
			return
		}
		if again, err := audit.Canonical(once); err != nil || !bytes.Equal(once, again) {
			t.Errorf("%s, then %s, %v", once, again, err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, raw, "", "\t"); err == nil {
			if other, err := audit.Canonical(indented.Bytes()); err != nil || !bytes.Equal(once, other) {
				t.Errorf("%s, and indented %s, %v", once, other, err)
			}
		}
		if !reflect.DeepEqual(value(t, raw), value(t, once)) {
			t.Errorf("%s means another thing than %s", once, raw)
		}
	})
}

func value(t *testing.T, raw []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
