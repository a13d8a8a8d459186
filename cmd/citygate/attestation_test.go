package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/issuance"
)

// The file of revoked certificates is read when it changes; what is wrong with it
// is logged once and stops nothing.
func TestStatusFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	put := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	logged := func(s *statusFile, wants ...string) {
		t.Helper()
		s.look()
		s.look() // nothing changed
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if out.Len() == 0 {
			lines = nil
		}
		out.Reset()
		if len(lines) != len(wants) {
			t.Fatalf("logged %q, want %q", lines, wants)
		}
		for i, want := range wants {
			if !strings.Contains(lines[i], want) {
				t.Errorf("logged %q, want %q", lines[i], want)
			}
		}
	}
	sys, log := &system{Now: func() time.Time { return now }, served: checked(t)}, slog.New(slog.NewTextHandler(&out, nil))
	logged(statusFlags{maxAge: time.Hour}.open(sys, log), "there is no revocation list")

	s := statusFlags{file: path, maxAge: time.Hour}.open(sys, log)
	logged(s, "cannot be read", "there is no revocation list") // a name mistyped, or not fetched yet
	put(`{"entries":{"ab":{"status":"REVOKED"}}}`, now)
	logged(s, "entries=1")
	if s.statuses.State(now) != issuance.Fresh || s.statuses.Check([]string{"ab"}) == nil {
		t.Error("not read")
	}
	put(`{"entries":{"ab":{"status":"REV`, now.Add(time.Minute))
	logged(s, "cannot be read; the one before counts")
	if s.statuses.Check([]string{"ab"}) == nil {
		t.Error("a broken file took the list away")
	}
	now = now.Add(time.Hour + time.Second)
	logged(s, "too old")
	put(`{"entries":{"cd":{"status":"REVOKED"}}}`, now)
	logged(s, "entries=1")
	if s.statuses.State(now) != issuance.Fresh || s.statuses.Check([]string{"ab"}) != nil || s.statuses.Check([]string{"cd"}) == nil {
		t.Error("not read again")
	}
}
