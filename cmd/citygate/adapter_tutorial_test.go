package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cashlesscity/citygate/adapters/remote"
)

// The tutorial is run as it stands: its files written, its commands run in order.
func TestTheTutorialHolds(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("the tutorial's program runs in Node: install Node 20 or later")
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "adapter-tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := tutorialScript(t, string(page), freePort(t))
	dir := t.TempDir()
	path := filepath.Join(dir, "tutorial.txtar")
	if err := os.WriteFile(path, []byte("exec bash -eu tutorial.sh\ncp contract.json $CONTRACT\n-- tutorial.sh --\n"+script), 0o600); err != nil {
		t.Fatal(err)
	}
	contract := filepath.Join(dir, "contract.json")
	t.Run("page", func(t *testing.T) { // its scripts run in parallel with what follows, so wait for them here
		testscript.Run(t, testscript.Params{Files: []string{path}, Setup: func(env *testscript.Env) error {
			env.Setenv("CONTRACT", contract)
			env.Setenv(envFindings, filepath.Join(dir, "findings"))
			return nil
		}})
	})
	raw, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	var c remote.Contract
	if err := json.Unmarshal(raw, &c); err != nil || c.Manifest.Name != "acme" || c.Manifest.Test != nil || len(c.Keys) != 1 {
		t.Errorf("the contract: %+v, %v", c, err)
	}
}

var fence = regexp.MustCompile("(?ms)^```(sh|js)( [^\n]*)?\n(.*?)^```$")

// tutorialScript makes one bash script of the page's blocks.
func tutorialScript(t *testing.T, page, port string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("trap 'kill $PROGRAM 2>/dev/null; wait' EXIT\n")
	blocks := fence.FindAllStringSubmatch(page, -1)
	if len(blocks) < 7 {
		t.Fatalf("the page has %d blocks", len(blocks))
	}
	run := 0
	for _, m := range blocks {
		kind, how, text := m[1], strings.TrimSpace(m[2]), strings.ReplaceAll(m[3], "127.0.0.1:9000", "127.0.0.1:"+port)
		file, isFile := strings.CutPrefix(how, "file=")
		switch {
		case kind == "js" && isFile:
			fmt.Fprintf(&b, "cat > %s <<'TUTORIAL'\n%sTUTORIAL\n", file, text)
		case how == "background", how == "restart":
			if how == "restart" {
				b.WriteString("kill $PROGRAM; wait $PROGRAM || true\n")
			}
			fmt.Fprintf(&b, "rm -f program.log\n%s >program.log 2>&1 &\nPROGRAM=$!\nfor i in $(seq 100); do grep -q 'ready at' program.log && break; sleep 0.1; done\ngrep 'ready at' program.log\n", strings.TrimSpace(text))
		case how == "fails":
			fmt.Fprintf(&b, "if %s >report; then echo it should fail; exit 1; fi\ngrep -q '^failed *duplicate' report\ngrep -q '^failed *other_content' report\ntest $(grep -c '^failed' report) = 8\n", strings.TrimSpace(text))
		case kind == "sh" && how == "":
			run++
			b.WriteString(text)
		default:
			t.Fatalf("a block of a kind the test does not know: %s %s", kind, how)
		}
	}
	b.WriteString("grep -q '\"failed\": 0' conformance.json\ngrep -q 'failures=\"0\"' conformance.xml\n")
	for _, asked := range []string{"refund_once", "evidence_genuine", "agreement_ended_debit", "card_older"} { // not skipped: what the page offers is tried
		fmt.Fprintf(&b, "grep -A3 '\"case\": \"%s\"' conformance.json | grep -q '\"verdict\": \"passed\"'\n", asked)
	}
	return b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // its number is all that is wanted
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
