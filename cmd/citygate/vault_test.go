package main

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// command runs a command and gives its exit code and what it said.
func command(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var errs bytes.Buffer
	sys := &system{Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &errs, Now: time.Now, Random: rand.Reader, served: checked(t), Env: func(name string) string {
		if name == "DATABASE_URL" {
			return ""
		}
		return os.Getenv(name)
	}}
	code = run(t.Context(), sys, args)
	return code, errs.String()
}

// A gateway with its keys in a real Vault. Each start is delivered SecretIDs that
// work once.
func TestServeOnVault(t *testing.T) {
	place := vaulttest.New(t).Place(t)
	data, local := servedDir(t)
	secrets := t.TempDir()
	file := func(role string) string { return filepath.Join(secrets, role) }
	deliver := func(role string) {
		if err := os.WriteFile(file(role), []byte(place.Wrapped(t, role)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"--data", data, "--vault-addr", place.Server.Address, "--vault-transit", place.Transit, "--vault-kv", place.KV,
		"--vault-login-mount", place.AppRole,
		"--vault-sign-role-id", place.Login(t, vaulttest.SignRole).RoleID, "--vault-sign-secret-id-file", file(vaulttest.SignRole),
		"--vault-admin-role-id", place.Login(t, vaulttest.AdminRole).RoleID, "--vault-admin-secret-id-file", file(vaulttest.AdminRole)}
	deliver(vaulttest.SignRole)
	deliver(vaulttest.AdminRole)
	s := startServing(t, flags...)
	if _, err := s.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	token, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if status, body := s.get(t, "/v1/tenants", strings.TrimSpace(token)); status != http.StatusOK {
		t.Errorf("a token signed by Vault: %d %s", status, body)
	}
	s.stop(t)
	if sealed, _ := os.ReadDir(filepath.Join(data, "keys")); len(sealed) != 0 {
		t.Errorf("keys lie in the data directory: %v", sealed)
	}
	made := place.Server.Do(t, "LIST", place.Transit+"/keys", nil)
	if list, _ := made["data"].(map[string]any); list == nil || len(list["keys"].([]any)) != 3 {
		t.Errorf("Vault has the keys %v, want the platform's three", made["data"])
	}

	// The same SecretIDs again: opened before, by whomever.
	if code, said := command(t, append([]string{"key", "token"}, flags...)...); code != 1 || !strings.Contains(said, "SecretID") {
		t.Errorf("with spent SecretIDs: exit %d, %s", code, said)
	}
	// Without the administering identity everything goes on that makes no keys.
	deliver(vaulttest.SignRole)
	if code, said := command(t, append([]string{"key", "token"}, flags[:len(flags)-4]...)...); code != 0 {
		t.Errorf("key token as the identity that signs: exit %d, %s", code, said)
	}
	// The database's keys are in Vault: a store of files is not theirs.
	if code, said := command(t, append([]string{"key", "token"}, local...)...); code != 1 || !strings.Contains(said, "key store") {
		t.Errorf("with files for keys: exit %d, %s", code, said)
	}
	deliver(vaulttest.SignRole)
	if err := os.Chmod(file(vaulttest.SignRole), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, said := command(t, append([]string{"key", "token"}, flags[:len(flags)-4]...)...); code != 1 || !strings.Contains(said, "chmod 600") {
		t.Errorf("with a SecretID that others can read: exit %d, %s", code, said)
	}
}

func TestVaultFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--vault-sign-role-id x", "--vault-addr"},
		{"--vault-addr https://v --keys /k", "two places"},
		{"--vault-addr https://v", "--vault-sign-role-id"},
		{"--vault-addr https://v --vault-sign-role-id x", "--vault-sign-secret-id-file"},
		{"--vault-addr https://v --vault-jwt-file j --vault-sign-secret-id-file f", "two ways"},
		{"--vault-addr https://v --vault-sign-role-id x --vault-sign-secret-id-file f --vault-admin-role-id y", "go together"},
	} {
		code, said := command(t, append([]string{"serve"}, strings.Fields(c.args)...)...)
		if code != 2 || !strings.Contains(said, c.want) {
			t.Errorf("serve %s: exit %d, %q; want 2 and %q", c.args, code, said, c.want)
		}
	}
}

// At the start the log names the tenant whose key could leave Vault, and no
// other.
func TestKeysInVaultAreInspected(t *testing.T) {
	ctx := t.Context()
	place := vaulttest.New(t).Place(t)
	c := place.Config(t)
	c.Clock = time.Now
	store, err := vault.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(ctx) })
	db := pgtest.New(t)
	in := &installation{Gateway: &gateway.Gateway{Tenants: tenants.NewDirectory(db, time.Now), Ring: keys.NewRing(db, store)}, vault: store}
	for id, slug := range map[citygate.TenantID]string{5: "sound", 6: "leaky"} {
		err := in.Tenants.Create(ctx, "test", tenants.Tenant{
			ID: id, Slug: slug, Name: slug, Kind: tenants.Bus, Currency: "CNY", Mode: tenants.Sandbox, TimeZone: "Asia/Hong_Kong", CutMinutes: 240,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Ring.Ensure(ctx, "test", id, keys.Audit, keys.Ed25519); err != nil {
			t.Fatal(err)
		}
	}
	place.Server.Do(t, http.MethodPost, place.Transit+"/keys/"+vault.KeyName(6, keys.Audit)+"/config", map[string]any{"exportable": true})
	var out bytes.Buffer
	in.inspectKeys(ctx, slog.New(slog.NewTextHandler(&out, nil)))
	if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "tenant=6") || !strings.Contains(log, "exportable") {
		t.Errorf("the log says %q", log)
	}
}
