package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// A token is recorded, in the log of whom it gives power over, and nothing of
// the token itself is.
func TestKeyTokenIsAudited(t *testing.T) {
	given := pgtest.NewURL(t, pglocal.Owner)
	url := strings.Replace(given, "user="+string(pglocal.Owner), "", 1) // commands name the role themselves
	dir := t.TempDir()
	citygate := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Random: rand.Reader, served: checked(t), Env: func(name string) string {
			return map[string]string{"USER": "grace"}[name]
		}}
		if exit := run(t.Context(), sys, append(args, "--database-url", url)); exit != 0 {
			t.Fatalf("%v: exit %d\n%s", args, exit, &errs)
		}
		return out.String()
	}
	citygate("tenant", "create", "--id", "7", "--slug", "ferry", "--name", "Ferry", "--kind", "ferry", "--currency", "HKD", "--time-zone", "Asia/Hong_Kong")
	keys := []string{"--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(dir, "keys.key")}
	tokens := citygate(append([]string{"key", "token", "--tenant", "ferry", "--scope", "admin", "--subject", "user:ada"}, keys...)...)
	tokens += citygate(append([]string{"key", "token"}, keys...)...)

	conn, err := pgx.Connect(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, c := range []struct{ log, want string }{
		{"audit_log", "user:grace token.mint user:ada admin"},
		{"platform.audit_log", "user:grace token.mint user:grace platform"},
	} {
		var got, all string
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "SET LOCAL app.tenant_id = '7'"); err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), fmt.Sprintf(`
				SELECT concat_ws(' ', actor, verb, object, after -> 'scopes' ->> 0), to_jsonb(l)::text FROM %s l WHERE verb = 'token.mint'`, c.log)).Scan(&got, &all)
		})
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.log, got, err, c.want)
		}
		for _, token := range strings.Fields(tokens) {
			if strings.Contains(all, token[len(token)-20:]) {
				t.Errorf("%s holds a token: %s", c.log, all)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "keys.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
}
