package ts_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
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
	fmt.Fprintln(os.Stderr, "gateway/terminal/ts: npm ci installs typescript and zxing-wasm into node_modules (28 MB)")
	run(t, "npm", "ci", "--prefer-offline")
	if err := os.WriteFile(stampFile, []byte(stamp), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var passed = regexp.MustCompile(`(?m)^(?:#|ℹ) pass (\d+)$`)

// node runs one test file; a file whose tests all vanished must not pass.
func node(t *testing.T, file string) {
	t.Helper()
	out := run(t, "node", "--test", file)
	if m := passed.FindStringSubmatch(out); m == nil || m[1] == "0" {
		t.Errorf("%s ran no test:\n%s", file, out)
	}
}

// An independent decoder reads 50 vectors from their pictures.
func TestPicturesReadBack(t *testing.T) {
	install(t)
	node(t, "test/qr.test.mjs")
}

// The verifier is compiled, type-checked and held to every published vector.
func TestVerifier(t *testing.T) {
	install(t)
	run(t, "npm", "run", "--silent", "build")
	node(t, "test/vectors.test.mjs")
	node(t, "test/table.test.mjs")
}
