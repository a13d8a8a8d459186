package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/remote"
	"github.com/cashlesscity/citygate/adapters/scaffold"
)

// A program of the scaffold that is told to end answers what it has taken, takes nothing
// more, and ends. The debit here has moved money when the signal comes, and its answer is
// a second away.
func TestTheScaffoldAnswersWhatItTookBeforeItEnds(t *testing.T) {
	dir := t.TempDir()
	if _, err := scaffold.Write(filepath.Join(dir, "acme"), "acme", scaffold.HTTP, ""); err != nil {
		t.Fatal(err)
	}
	slow := filepath.Join(dir, "acme", "provider.mjs")
	raw, err := os.ReadFile(slow)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "'/v1/submit': ({ debits }) => {", "'/v1/submit': async ({ debits }) => {", 1)
	text = strings.Replace(text, "return { results: debits.map((d) => book.pay(d)) };",
		"const results = debits.map((d) => book.pay(d));\n    console.log('taken');\n    await new Promise((after) => setTimeout(after, 1000));\n    return { results };", 1)
	if !strings.Contains(text, "async ({ debits })") || !strings.Contains(text, "console.log('taken')") {
		t.Fatal("the scaffold's provider.mjs has no submit as this test knows it")
	}
	gateway, program := half(t, dir, "gateway"), half(t, dir, "program")
	if err := os.WriteFile(slow, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "acme", "server.mjs"), "--keys", dir, "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	_, url, ready := strings.Cut(lines.Text(), " ready at ")
	if !ready {
		t.Fatalf("the program says %q", lines.Text())
	}
	client := &http.Client{Transport: &http.Transport{}}
	m, err := remote.FetchManifest(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(program.Public())
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Open(remote.Config{
		Contract: remote.Contract{URL: url, KeyID: "gateway-1", Keys: []remote.ProgramKey{{ID: "program-1", Public: der}}, Manifest: m, Config: json.RawMessage(`{"merchant":"m1"}`)},
		Signer:   gateway, HTTP: client, Clock: time.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		results []driver.Result
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		r, err := d.Submit(context.WithoutCancel(t.Context()), []driver.Debit{{OurID: "c1", RiderRef: "rider-1", Amount: citygate.Money{Minor: 470, Currency: "HKD"}, TripTime: time.Now()}})
		answered <- answer{r, err}
	}()
	if lines.Scan(); lines.Text() != "taken" {
		t.Fatalf("the program says %q", lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := <-answered; a.err != nil || len(a.results) != 1 || a.results[0].Outcome != driver.Succeeded {
		t.Errorf("what it had taken: %+v, %v; want succeeded", a.results, a.err)
	}
	if _, err := remote.FetchManifest(t.Context(), &http.Client{Transport: &http.Transport{}}, url); err == nil {
		t.Error("it takes calls while it ends")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v; want status 0", err)
		}
	case <-time.After(4 * time.Second): // sooner than Node gives up an idle connection
		t.Error("it does not end once all is answered")
		_ = cmd.Process.Kill()
		<-ended
	}
}

// half makes a party's keys, of which the program reads the one and this test the other.
func half(t *testing.T, dir, name string) ed25519.PrivateKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]pem.Block{"_public.pem": {Type: "PUBLIC KEY", Bytes: pub}, "_private.pem": {Type: "PRIVATE KEY", Bytes: priv}} {
		if err := os.WriteFile(filepath.Join(dir, name+file), pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return private
}
