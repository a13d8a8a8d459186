package vault_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

// What each identity may do, on a real server with the policies that are
// deployed. T and K are the mounts, O another installation's transit mount.
func TestPolicies(t *testing.T) {
	server := vaulttest.New(t)
	place, other := server.Place(t), server.Place(t)
	for _, p := range []*vaulttest.Place{place, other} {
		server.Do(t, http.MethodPost, p.Transit+"/keys/t-1001-credential", map[string]any{"type": "ed25519"})
		server.Do(t, http.MethodPost, p.Transit+"/keys/t-1001-audit", map[string]any{"type": "ecdsa-p256"})
		server.Do(t, http.MethodPost, p.KV+"/data/t-1001/api-key", map[string]any{"options": map[string]any{"cas": 0}, "data": map[string]any{"value": "eA=="}})
	}
	tokens := map[string]string{}
	for _, policies := range []string{"sign", "sign credentials", "admin"} {
		var names []string
		for name := range strings.FieldsSeq(policies) {
			names = append(names, place.Policy(name))
		}
		got := server.Do(t, http.MethodPost, "auth/token/create", map[string]any{"policies": names, "ttl": "10m"})
		auth, _ := got["auth"].(map[string]any)
		tokens[policies], _ = auth["client_token"].(string)
	}
	item := []map[string]string{{"input": "bQ=="}}
	batch := func(more map[string]any) map[string]any {
		body := map[string]any{"batch_input": item, "key_version": 1}
		maps.Copy(body, more)
		return body
	}
	config := func(name string, value any) map[string]any { return map[string]any{name: value} }
	put := map[string]any{"options": map[string]any{"cas": 1}, "data": map[string]any{"value": "eQ=="}}
	const get, post, del, list = http.MethodGet, http.MethodPost, http.MethodDelete, "LIST"
	for _, c := range []struct {
		who, method, path string
		body              any
		ok                bool
	}{
		{"sign", post, "T/sign/t-1001-credential", batch(nil), true},
		{"sign", post, "T/sign/t-1001-audit", batch(map[string]any{"prehashed": true, "hash_algorithm": "sha2-256", "marshaling_algorithm": "asn1"}), true},
		{"sign", get, "T/keys/t-1001-credential", nil, true},
		{"sign", post, "T/sign/t-1001-credential", map[string]any{"batch_input": item}, false}, // the latest version, whichever
		{"sign", post, "T/sign/t-1001-credential", map[string]any{"input": "bQ==", "key_version": 1}, false},
		{"sign", post, "T/sign/t-1001-audit", batch(map[string]any{"hash_algorithm": "sha1"}), false},
		{"sign", post, "T/sign/t-1001-audit/sha1", batch(nil), false},
		{"sign", post, "T/sign/t-1001-audit/sha2-256", batch(nil), false},
		{"sign", list, "T/keys", nil, false},
		{"sign", post, "T/keys/t-1001-new", map[string]any{"type": "ed25519"}, false},
		{"sign", post, "T/keys/t-1001-credential/rotate", nil, false},
		{"sign", post, "T/keys/t-1001-credential/config", config("exportable", true), false},
		{"sign", post, "T/keys/t-1001-credential/trim", config("min_available_version", 1), false},
		{"sign", del, "T/keys/t-1001-credential", nil, false},
		{"sign", get, "T/export/signing-key/t-1001-credential", nil, false},
		{"sign", get, "T/export/public-key/t-1001-credential", nil, false},
		{"sign", get, "T/backup/t-1001-credential", nil, false},
		{"sign", post, "T/restore", config("backup", "x"), false},
		{"sign", post, "T/hmac/t-1001-credential", config("input", "bQ=="), false},
		{"sign", get, "K/data/t-1001/api-key", nil, false},
		{"sign", get, "K/metadata/t-1001/api-key", nil, false},
		{"sign", list, "K/metadata/t-1001", nil, false},
		{"sign", post, "K/data/t-1001/api-key", put, false},
		{"sign", post, "O/sign/t-1001-credential", batch(nil), false},
		{"sign", get, "O/keys/t-1001-credential", nil, false},
		{"sign", get, "sys/mounts", nil, false},
		{"sign", post, "sys/seal", nil, false},
		{"sign", list, "auth/" + place.AppRole + "/role", nil, false},
		{"sign", post, "auth/" + place.AppRole + "/role/" + vaulttest.AdminRole + "/secret-id", nil, false},

		{"sign credentials", post, "T/sign/t-1001-credential", batch(nil), true},
		{"sign credentials", get, "K/data/t-1001/api-key", nil, true},
		{"sign credentials", get, "K/config", nil, true},
		{"sign credentials", post, "K/data/t-1001/api-key", put, false},
		{"sign credentials", del, "K/data/t-1001/api-key", nil, false},
		{"sign credentials", get, "K/metadata/t-1001/api-key", nil, false},
		{"sign credentials", list, "K/metadata/t-1001", nil, false},
		{"sign credentials", post, "K/config", config("cas_required", false), false},

		{"admin", post, "T/keys/t-1001-webhook", map[string]any{"type": "ed25519"}, true},
		{"admin", post, "T/keys/t-1001-webhook/rotate", nil, true},
		{"admin", post, "T/keys/t-1001-webhook/config", config("min_encryption_version", 2), true},
		{"admin", post, "K/data/t-1001/other", map[string]any{"options": map[string]any{"cas": 0}, "data": map[string]any{"value": "eQ=="}}, true},
		{"admin", post, "K/data/t-1001/third", map[string]any{"data": map[string]any{"value": "eQ=="}}, false}, // no version named
		{"admin", post, "T/keys/t-1001-x", map[string]any{"type": "ed25519", "exportable": true}, false},
		{"admin", post, "T/keys/t-1001-x", map[string]any{"type": "ed25519", "allow_plaintext_backup": true}, false},
		{"admin", post, "T/keys/t-1001-x", map[string]any{"type": "aes256-gcm96"}, false},
		{"admin", post, "T/keys/t-1001-x", map[string]any{}, false}, // the default is a cipher
		{"admin", post, "T/keys/t-1001-credential/config", config("exportable", true), false},
		{"admin", post, "T/keys/t-1001-credential/config", config("allow_plaintext_backup", true), false},
		{"admin", post, "T/keys/t-1001-credential/config", config("deletion_allowed", true), false},
		{"admin", post, "T/keys/t-1001-credential/trim", config("min_available_version", 1), false},
		{"admin", del, "T/keys/t-1001-credential", nil, false},
		{"admin", post, "T/sign/t-1001-credential", batch(nil), false},
		{"admin", post, "T/sign/t-1001-audit/sha2-256", batch(nil), false},
		{"admin", get, "T/export/signing-key/t-1001-credential", nil, false},
		{"admin", get, "T/backup/t-1001-credential", nil, false},
		{"admin", post, "T/keys/t-1001-imported/import", config("ciphertext", "x"), false},
		{"admin", get, "K/data/t-1001/api-key", nil, false},
		{"admin", del, "K/data/t-1001/api-key", nil, false},
		{"admin", post, "K/config", config("cas_required", false), false},
		{"admin", post, "O/keys/t-1001-credential/rotate", nil, false},
		{"admin", get, "sys/mounts", nil, false},
	} {
		path := strings.NewReplacer("T/", place.Transit+"/", "K/", place.KV+"/", "O/", other.Transit+"/").Replace(c.path)
		_, err := server.CallAs(t.Context(), tokens[c.who], c.method, path, c.body)
		var no *vaulttest.Refusal
		switch {
		case c.ok && err != nil:
			t.Errorf("%s may not %s %s: %v", c.who, c.method, c.path, err)
		case !c.ok && !errors.As(err, &no):
			t.Errorf("%s may %s %s with %v (%v)", c.who, c.method, c.path, c.body, err)
		case !c.ok && no.Status != http.StatusForbidden && !strings.Contains(no.Body, "check-and-set"):
			t.Errorf("%s %s %s is refused for another reason than the policy: %v", c.who, c.method, c.path, err)
		}
	}
}

// Nothing is signed with a key that could leave Vault, and a platform key like
// that stops the start.
func TestKeysThatCouldLeaveVaultAreRefused(t *testing.T) {
	server := vaulttest.New(t)
	for name, body := range map[string]map[string]any{
		"exportable": {"type": "ed25519", "exportable": true}, "backup": {"type": "ed25519", "allow_plaintext_backup": true},
		"cipher": {"type": "aes256-gcm96"}, "derived": {"type": "ed25519", "derived": true},
	} {
		t.Run(name, func(t *testing.T) {
			s := through(t, server)
			server.Do(t, http.MethodPost, s.place.Transit+"/keys/"+vault.KeyName(alice, keys.Audit), body)
			if _, err := s.Sign(t.Context(), alice, keys.Audit, 1, [][]byte{{1}}); !errors.Is(err, keys.ErrUnsafe) {
				t.Errorf("Sign: %v, want keys.unsafe", err)
			}
			if err := s.Create(t.Context(), alice, keys.Audit, keys.Ed25519); !errors.Is(err, keys.ErrUnsafe) {
				t.Errorf("Create: %v, want keys.unsafe", err)
			}
			if n := vaulttest.Count(s.proxy.Seen(), "/sign/"); n != 0 {
				t.Errorf("%d signatures were asked for", n)
			}
			if err := s.Inspect(t.Context(), []vault.Ref{{Tenant: alice, Purpose: keys.Credential}, {Tenant: alice, Purpose: keys.Audit}}); !errors.Is(err, keys.ErrUnsafe) ||
				!strings.Contains(err.Error(), "t-1001-audit") || strings.Contains(err.Error(), "t-1001-credential") {
				t.Errorf("Inspect: %v, want the one that is not safe", err)
			}
			server.Do(t, http.MethodPost, s.place.Transit+"/keys/"+vault.KeyName(keys.Platform, keys.Root), body)
			if err := refused(t, s.place.Config(t)); !errors.Is(err, keys.ErrUnsafe) {
				t.Errorf("Open: %v, want keys.unsafe", err)
			}
		})
	}
}

// A key is looked at again while it is in use.
func TestAKeyMadeExportableLater(t *testing.T) {
	s := through(t, vaulttest.New(t))
	if err := sign(t.Context(), s, alice); err != nil {
		t.Fatal(err)
	}
	s.server.Do(t, http.MethodPost, s.place.Transit+"/keys/"+vault.KeyName(alice, keys.Credential)+"/config", map[string]any{"exportable": true})
	s.clock.move(11 * time.Minute)
	if err := sign(t.Context(), s, alice); !errors.Is(err, keys.ErrUnsafe) {
		t.Errorf("a key that was made exportable signs: %v", err)
	}
}

// A store of secrets that loses one of two writers stops the start.
func TestCheckAndSetIsAskedFor(t *testing.T) {
	place := vaulttest.New(t).Place(t)
	place.Server.Do(t, http.MethodPost, place.KV+"/config", map[string]any{"cas_required": false})
	if err := refused(t, place.Config(t)); !errors.Is(err, keys.ErrInvalid) || !strings.Contains(err.Error(), "cas_required") {
		t.Errorf("Open: %v, want it to name cas_required", err)
	}
}

// The longest message is signed, and one byte more is refused here.
func TestTheLongestMessage(t *testing.T) {
	s := through(t, vaulttest.New(t))
	const longest = 768 << 10
	out, err := s.Sign(t.Context(), alice, keys.Credential, 1, [][]byte{make([]byte, longest), make([]byte, longest+1)})
	if err != nil || out[0].Err != nil {
		t.Errorf("%d bytes: %v, %v", longest, err, out[0].Err)
	}
	if err == nil && !errors.Is(out[1].Err, keys.ErrInvalid) {
		t.Errorf("%d bytes: %v, want keys.invalid", longest+1, out[1].Err)
	}
}

// More messages than one request takes.
func TestManyMessages(t *testing.T) {
	s := through(t, vaulttest.New(t))
	messages := make([][]byte, 450)
	for i := range messages {
		messages[i] = []byte{byte(i), byte(i >> 8)}
	}
	out, err := s.Sign(t.Context(), alice, keys.Credential, 1, messages)
	if err != nil || len(out) != len(messages) {
		t.Fatalf("Sign = %d answers, %v", len(out), err)
	}
	versions, err := s.Versions(t.Context(), alice, keys.Credential)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if o.Err != nil || keys.Verify(versions[0].Public, messages[i], o.Bytes) != nil {
			t.Errorf("answer %d is not for message %d: %v", i, i, o.Err)
		}
	}
	if n := vaulttest.Count(s.proxy.Seen(), "/sign/"); n != 3 {
		t.Errorf("%d requests for 450 messages, want 3", n)
	}
}

// Names of keys and secrets are made in names.go and nowhere else.
func TestNamesAreMadeInOnePlace(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				for _, part := range []string{`"t-`, `/keys/`, `/sign/`, `/data/`} {
					if strings.Contains(lit.Value, part) {
						if places++; name != "names.go" {
							t.Errorf("%s makes a name or path of its own: %s", name, lit.Value)
						}
					}
				}
			}
			return true
		})
	}
	if places == 0 {
		t.Error("nothing was looked at")
	}
	if a, b := vault.KeyName(1, "2-x"), vault.KeyName(12, "x"); a == b {
		t.Errorf("two keys are called %s", a)
	}
}
