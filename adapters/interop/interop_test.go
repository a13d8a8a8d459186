package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// stampFile says which lockfile node_modules was installed from.
const stampFile = "node_modules/.citygate-lock"

// install makes node_modules what the lockfile says. It needs npm, and the
// registry or npm's cache only when the lockfile changed. Without npm it skips,
// and fails where tests must not skip.
func install(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed; install Node 20 or later with npm", tool)
			}
			t.Skipf("%s is not installed; install Node 20 or later with npm", tool)
		}
	}
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	stamp := hex.EncodeToString(sum[:])
	if held, err := os.ReadFile(stampFile); err == nil && string(held) == stamp {
		return
	}
	fmt.Fprintln(os.Stderr, "adapters/interop: npm ci installs the payment products' libraries into node_modules")
	run(t, nil, "npm", "ci", "--prefer-offline")
	if err := os.WriteFile(stampFile, []byte(stamp), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var passed = regexp.MustCompile(`(?m)^(?:#|ℹ) pass (\d+)$`)

// TestInterop runs every *.test.mjs here against the program of this tree. A file
// whose tests all vanished must not pass.
func TestInterop(t *testing.T) {
	install(t)
	program := filepath.Join(t.TempDir(), "citygate")
	run(t, nil, "go", "build", "-C", "../..", "-o", program, "./cmd/citygate")
	files, err := filepath.Glob("*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".test.mjs"), func(t *testing.T) {
			out := run(t, []string{"CITYGATE=" + program}, "node", "--test", file)
			if m := passed.FindStringSubmatch(out); m == nil || m[1] == "0" {
				t.Errorf("%s ran no test:\n%s", file, out)
			}
		})
	}
}
