package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// The first run applies every file and names it, the second has nothing to do.
func TestMigrate(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "citygate-test-") // the database's user cannot reach t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		exit int
		want string // the first line of standard output, or in standard error
	}{
		{"the first run", []string{"--data", dir}, 0, "20261121000100_base.sql"},
		{"the second run", []string{"--data", dir}, 0, ""},
		{"no database", nil, 2, "--database-url"},
		{"two databases", []string{"--data", dir, "--database-url", "postgres:///x"}, 2, "one of"},
		{"no server", []string{"--database-url", "postgres:///citygate?host=/nowhere"}, 1, "/nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Env: os.Getenv, served: checked(t)}
			if exit := run(t.Context(), sys, append([]string{"migrate"}, c.args...)); exit != c.exit {
				t.Fatalf("exit %d, want %d\n%s%s", exit, c.exit, &out, &errs)
			}
			first, _, _ := strings.Cut(out.String(), "\n")
			if c.exit == 0 && first != c.want || c.exit != 0 && !strings.Contains(errs.String(), c.want) {
				t.Errorf("standard output %q, standard error %q; want %q", &out, &errs, c.want)
			}
		})
	}
}
