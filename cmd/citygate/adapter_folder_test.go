package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cashlesscity/citygate/adapters/scaffold"
)

// An adapter is its folder and one line: the Go scaffold is laid over this
// repository together with package builtin, to which one line is added, and nothing
// else. It passes the kit and the rules of the repository, and the program that is
// built then has it: in its schemas, as a simulator and as a caller of it.
func TestAnAdapterIsItsFolderAndOneLine(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	written, err := scaffold.Write(filepath.Join(dir, "acme"), "acme", scaffold.Go, scaffold.ImportPath("acme"))
	if err != nil {
		t.Fatal(err)
	}
	over := map[string]string{}
	for _, f := range written {
		over[filepath.Join(root, "adapters", "acme", f)] = filepath.Join(dir, "acme", f)
	}
	list := filepath.Join(root, "adapters", "builtin", "builtin.go")
	before, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "acme", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := "\t_ \"" + scaffold.ImportPath("acme") + "/acmeproduct\"\n"
	if !strings.Contains(string(readme), line) {
		t.Errorf("the README does not say to add %q", line)
	}
	after := strings.Replace(string(before), "\t_ \"", line+"\t_ \"", 1)
	if strings.Count(after, "\n") != strings.Count(string(before), "\n")+1 {
		t.Fatal("more than one line was changed")
	}
	over[list] = filepath.Join(dir, "builtin.go")
	overlay, err := json.Marshal(map[string]any{"Replace": over})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"builtin.go": after, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(in, program string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = in
		cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+filepath.Join(dir, "overlay.json"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
	}
	run(root, "go", "test", "-c", "-vet=off", "-o", filepath.Join(dir, "acme.test"), "./adapters/acme") // its folder is nowhere to run in
	run(dir, filepath.Join(dir, "acme.test"))
	run(root, "go", "test", "-run", "^(TestImports|TestClocks|TestCommandsNameNoProduct|TestEveryPackageHasADoc)", ".")
	program := filepath.Join(dir, "with-acme")
	run(root, "go", "build", "-ldflags=-s -w", "-o", program, "./cmd/citygate")
	script := filepath.Join(dir, "acme.txtar")
	if err := os.WriteFile(script, fmt.Appendf(nil, acmeScript, program), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Files: []string{script}})
}

const acmeScript = `env P=%s
exec $P schema contract
stdout '^acme +acme$'
stdout 'secret token: as acme gave it to the merchant$'
exec $P schema contract acme
stdout '"endpoint"'
exec bash -eu meet.sh
-- meet.sh --
trap 'kill $SIM; wait $SIM || true' EXIT
$P adapter sim acme --keys keys >log & SIM=$!
for i in $(seq 100); do grep -q 'ready at' log && break; sleep 0.1; done
AT=$(sed -n 's/^acme simulator ready at //p' log)
$P adapter call acme payments --biz '{"id":"p1","rider":"r","minor":450,"currency":"HKD"}' --endpoint $AT --keys keys | grep '"outcome":"succeeded"'
$P adapter call acme payments.query id=p1 --endpoint $AT --keys keys | grep '"reference":"ref-p1"'
if $P adapter call acme payments.query id=p2 --endpoint $AT --keys keys >absent; then exit 1; else test $? = 3; fi
grep '^unknown: ' absent
`
