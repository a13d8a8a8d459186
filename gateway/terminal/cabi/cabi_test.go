package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
)

var (
	once   sync.Once
	folder string // of the library
	fault  string
)

func TestMain(m *testing.M) {
	status := m.Run()
	if folder != "" {
		os.RemoveAll(folder)
	}
	os.Exit(status)
}

// compiler gives the C compiler. Without one the tests skip, and fail where
// tests must not skip.
func compiler(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "CC").Output()
	if err != nil {
		t.Fatal(err)
	}
	cc := strings.Fields(string(out))[0]
	path, err := exec.LookPath(cc)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no C compiler %s: install gcc (apt-get install gcc)", cc)
		}
		t.Skipf("no C compiler %s: install gcc (apt-get install gcc)", cc)
	}
	return path
}

// program builds the library once and a C program against it.
func program(t *testing.T, source string) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the shared library is built for Linux")
	}
	cc := compiler(t)
	once.Do(func() {
		var err error
		if folder, err = os.MkdirTemp("", "citygate-cabi-*"); err != nil {
			fault = err.Error()
			return
		}
		build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-o", filepath.Join(folder, "libcitygate_terminal.so"), ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			fault = fmt.Sprintf("%v\n%s", err, out)
		}
	})
	if fault != "" {
		t.Fatal(fault)
	}
	binary := filepath.Join(folder, strings.TrimSuffix(filepath.Base(source), ".c"))
	out, err := exec.CommandContext(t.Context(), cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L", "-O1", "-I.", "-o", binary, source,
		"-L"+folder, "-lcitygate_terminal", "-Wl,-rpath,"+folder).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", source, err, out)
	}
	return binary
}

type vectors struct {
	Rules map[string]json.RawMessage `json:"rules"`
	Cases []struct {
		ID           string          `json:"id"`
		Scanned      string          `json:"scanned_hex"`
		Keys         json.RawMessage `json:"keys"`
		Rules        string          `json:"rules"`
		At           int64           `json:"at_ms"`
		ClockOK      bool            `json:"clock_ok"`
		Mode         string          `json:"mode"`
		Kind         string          `json:"kind"`
		Context      int             `json:"context"`
		TrustExpired bool            `json:"trust_expired"`
		Lists        json.RawMessage `json:"lists"`
		Seen         json.RawMessage `json:"seen"`
		Fare         *struct {
			Minor    int64  `json:"minor"`
			Currency string `json:"currency"`
		} `json:"fare"`
		Want struct {
			Outcome, Reason, Strength string
		} `json:"want"`
	} `json:"cases"`
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	raw, err := os.ReadFile("../../code/ct1/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	f := new(vectors)
	if err := json.Unmarshal(raw, f); err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) < 300 {
		t.Fatalf("%d cases", len(f.Cases))
	}
	return f
}

// A C program answers every published vector as it must.
func TestVectorsInC(t *testing.T) {
	check, f := program(t, "example/check.c"), readVectors(t)
	var lines, want strings.Builder
	for _, c := range f.Cases {
		minor, currency := int64(0), "-"
		if c.Fare != nil {
			minor, currency = c.Fare.Minor, c.Fare.Currency
		}
		fmt.Fprintf(&lines, "%s\t{\"rules\":%s,\"mode\":%q,\"keys\":%s,\"lists\":%s,\"seen\":%s}\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\n",
			c.ID, f.Rules[c.Rules], c.Mode, c.Keys, c.Lists, c.Seen, c.Scanned, c.At, number(c.ClockOK),
			map[string]int{"on": 1, "off": 2, "single": 3}[c.Kind], minor, currency, c.Context, number(c.TrustExpired))
		fmt.Fprintf(&want, "%s\t%s\t%s\t%s\n", c.ID, c.Want.Outcome, c.Want.Reason, c.Want.Strength)
	}
	cmd := exec.CommandContext(t.Context(), check)
	cmd.Stdin = strings.NewReader(lines.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	got, expected := strings.Split(string(out), "\n"), strings.Split(want.String(), "\n")
	if len(got) != len(expected) {
		t.Fatalf("%d answers, want %d", len(got), len(expected))
	}
	for i := range got {
		if got[i] != expected[i] {
			t.Errorf("answered %q, want %q", got[i], expected[i])
		}
	}
}

// A C program decides every case of the shared corpus of decision tables.
func TestTablesInC(t *testing.T) {
	table := program(t, "example/table.c")
	raw, err := os.ReadFile("../../../policies/accept/testdata/tables.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus struct {
		Tables map[string]string `json:"tables"`
		Cases  []struct {
			ID    string            `json:"id"`
			Table string            `json:"table"`
			Facts map[string]string `json:"facts"`
			Rule  string            `json:"rule"`
			Want  string            `json:"want"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(raw, &corpus); err != nil {
		t.Fatal(err)
	}
	if len(corpus.Cases) < 200 {
		t.Fatalf("%d cases", len(corpus.Cases))
	}
	var lines, want strings.Builder
	for _, c := range corpus.Cases {
		f := c.Facts
		_, remembers := f["day_taps"]
		fields := []string{c.ID, corpus.Tables[c.Table], f["at"], fmt.Sprint(number(f["clock_ok"] == "true")), fmt.Sprint(number(remembers))}
		for _, name := range []string{"scheme", "mode", "kind", "medium", "currency", "stop", "route", "issuer", "product", "party", "amount", "counter",
			"credential_age", "day_taps", "day_amount", "hour_taps", "since_last"} {
			fields = append(fields, f[name])
		}
		fmt.Fprintln(&lines, strings.Join(fields, "\t"))
		fmt.Fprintf(&want, "%s\t%s\t%s\n", c.ID, c.Want, c.Rule)
	}
	cmd := exec.CommandContext(t.Context(), table)
	cmd.Stdin = strings.NewReader(lines.String())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	got, expected := strings.Split(string(out), "\n"), strings.Split(want.String(), "\n")
	if len(got) != len(expected) {
		t.Fatalf("%d answers, want %d", len(got), len(expected))
	}
	for i := range got {
		if got[i] != expected[i] {
			t.Errorf("answered %q, want %q", got[i], expected[i])
		}
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// What a host must not do is an error, and neither a crash nor an open gate.
func TestMisuseInC(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), program(t, "testdata/misuse.c"), t.TempDir()).CombinedOutput()
	if err != nil || string(out) != "0 failures\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// A gate in C is killed after a tap and started again: the journal has the tap,
// the batch comes out signed by the host's key, once.
func TestGateInC(t *testing.T) {
	binary, dir := program(t, "example/gate.c"), t.TempDir()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	g := startGate(t, binary, dir, key)
	g.want("tap 1795000000000 "+hex.EncodeToString([]byte("hello")), "shut unsupported 1")
	genuine := ""
	for _, c := range readVectors(t).Cases {
		if c.ID == "s3-plain" {
			genuine = c.Scanned
		}
	}
	g.want("tap 1795000000001 "+genuine, "shut unknown_issuer 2") // no bundle: nobody is known
	g.want("bundle 1795000000000 00", "error bundle.malformed")
	g.want("list 1795000000000 00", "error denylist.malformed")
	g.want("list 1795000000000 "+hex.EncodeToString([]byte("DL1S")), "error terminal.no_trust")
	g.kill()

	g = startGate(t, binary, dir, key)
	g.want("pending", "pending 2")
	first := g.ask("upload")
	g.want("upload", first) // until it is acknowledged
	raw, err := hex.DecodeString(strings.TrimPrefix(first, "batch "))
	if err != nil {
		t.Fatalf("upload gave %q", first)
	}
	batch, err := tap.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Verify(key.Public()); err != nil {
		t.Error(err)
	}
	records, err := batch.Records()
	if err != nil || len(records) != 2 || records[0].Reason != code.Unsupported || records[1].Vehicle != "bus-7" || hex.EncodeToString(records[1].Evidence) != genuine {
		t.Errorf("%v, %+v", err, records)
	}
	g.want("ack", "acknowledged")
	g.want("pending", "pending 0")
	g.want("upload", "nothing")
	g.close()
}

type gate struct {
	t   *testing.T
	key ed25519.PrivateKey
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startGate(t *testing.T, binary, dir string, key ed25519.PrivateKey) *gate {
	t.Helper()
	setup := fmt.Sprintf(`{"tenant":12,"terminal":5,"mode":"bus","software":"gate-1","boot_id":1,"roots_hex":[%q],"threshold":1}`,
		hex.EncodeToString(key.Public().(ed25519.PublicKey)))
	g := &gate{t: t, key: key, cmd: exec.CommandContext(t.Context(), binary, dir, setup)}
	var err error
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	g.out = bufio.NewReaderSize(out, 1<<20)
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

// ask sends a command and gives its answer; a request to sign is served.
func (g *gate) ask(command string) string {
	g.t.Helper()
	if _, err := fmt.Fprintln(g.in, command); err != nil {
		g.t.Fatal(err)
	}
	for {
		line, err := g.out.ReadString('\n')
		if err != nil {
			g.t.Fatalf("%s: %v", command, err)
		}
		line = strings.TrimSuffix(line, "\n")
		message, asked := strings.CutPrefix(line, "sign ")
		if !asked {
			return line
		}
		raw, err := hex.DecodeString(message)
		if err != nil {
			g.t.Fatal(err)
		}
		fmt.Fprintln(g.in, hex.EncodeToString(ed25519.Sign(g.key, raw)))
	}
}

func (g *gate) want(command, answer string) {
	g.t.Helper()
	if got := g.ask(command); got != answer {
		g.t.Errorf("%.60s: %.200q, want %.200q", command, got, answer)
	}
}

// kill stops the gate as a power cut would.
func (g *gate) kill() {
	g.t.Helper()
	if err := g.cmd.Process.Kill(); err != nil {
		g.t.Fatal(err)
	}
	_ = g.cmd.Wait() // killed
}

func (g *gate) close() {
	g.t.Helper()
	g.in.Close()
	if err := g.cmd.Wait(); err != nil {
		g.t.Errorf("the gate ended with %v", err)
	}
}

// A panic of ours is an error for the host, and so is every other error by its code.
func TestAPanicDoesNotReachTheHost(t *testing.T) {
	into := reflect.New(reflect.TypeOf(call).In(0).Elem()) // a citygate_error: tests cannot name C's types
	code := func(f func() error) string {
		reflect.ValueOf(call).Call([]reflect.Value{into, reflect.ValueOf(f)})
		var b strings.Builder
		for field, i := into.Elem().FieldByName("code"), 0; i < field.Len() && field.Index(i).Int() != 0; i++ {
			b.WriteByte(byte(field.Index(i).Int()))
		}
		return b.String()
	}
	if got := code(func() error { panic("a bug") }); got != "abi.panic" {
		t.Errorf("a panic is %q", got)
	}
	if got := code(func() error { return errTooSmall.Explain("9 bytes are needed") }); got != "abi.too_small" {
		t.Errorf("a small buffer is %q", got)
	}
	if got := code(func() error { return nil }); got != "" {
		t.Errorf("success is %q", got)
	}
}
