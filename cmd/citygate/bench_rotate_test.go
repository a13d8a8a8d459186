package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

// A few tenants are rotated with their keys in a real Vault: nothing fails to
// verify, and in the end every tenant signs with its new key.
func TestBenchRotate(t *testing.T) {
	place := vaulttest.New(t).Place(t)
	data, _ := servedDir(t)
	secrets := t.TempDir()
	args := []string{"bench", "rotate", "--json", "--tenants", "4", "--data", filepath.Dir(data), "--vault-addr", place.Server.Address,
		"--vault-transit", place.Transit, "--vault-kv", place.KV, "--vault-login-mount", place.AppRole}
	for flag, role := range map[string]string{"sign": vaulttest.SignRole, "admin": vaulttest.AdminRole} {
		file := filepath.Join(secrets, role)
		if err := os.WriteFile(file, []byte(place.Wrapped(t, role)), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--vault-"+flag+"-role-id", place.Login(t, role).RoleID, "--vault-"+flag+"-secret-id-file", file)
	}
	var out, errs bytes.Buffer
	sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Random: rand.Reader, Env: os.Getenv, served: checked(t)}
	if code := run(context.Background(), sys, args); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs.String())
	}
	var f rotateFigures
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	if f.Tenants != 4 || f.Keys != "vault" || f.Failed != 0 || f.ByNewKeys < 4 || f.Verifications < 16 || f.Seconds <= 0 {
		t.Errorf("%s", out.String())
	}
}
