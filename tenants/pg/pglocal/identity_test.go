package pglocal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A user who may not pass through one directory on the way is told which.
func TestTheBlockingDirectoryIsNamed(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "citygate-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	closed := filepath.Join(base, "closed")
	inner := filepath.Join(closed, "data")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, mode := range map[string]os.FileMode{base: 0o711, closed: 0o700} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	stranger := identity{name: "stranger", uid: 4_000_001, gid: 4_000_001, switched: true}
	if got, err := stranger.blockedBy(inner); err != nil || got != closed {
		t.Errorf("blocked by %q, %v; want %s", got, err, closed)
	}
	s := &Server{id: stranger, config: Config{DataDir: inner}}
	if err := s.prepareAndRun(t.Context()); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), closed) {
		t.Errorf("started there: %v", err)
	}
	if err := os.Chmod(closed, 0o711); err != nil {
		t.Fatal(err)
	}
	if got, err := stranger.blockedBy(inner); err != nil || got != "" {
		t.Errorf("blocked by %q, %v; want by nothing", got, err)
	}
	if got, err := (identity{}).blockedBy(inner); err != nil || got != "" {
		t.Errorf("the process's own user is blocked by %q, %v", got, err)
	}
}
