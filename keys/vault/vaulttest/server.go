package vaulttest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The environment variables.
const (
	EnvAddr  = "VAULT_ADDR"  // a server to use instead of starting one
	EnvToken = "VAULT_TOKEN" // its token: may mount engines and write policies
	EnvCI    = "CI"          // "true": no test may be skipped
)

// startWithin bounds the start of a server, not its build.
const startWithin = 30 * time.Second

// A Server is an initialised, unsealed Vault.
type Server struct {
	Address   string `json:"address"`
	Token     string `json:"root_token"`
	UnsealKey string `json:"unseal_key"` // "" = a server that is not ours
	stop      func() error
}

// shared gives the server of this process, which ends with it.
var shared = sync.OnceValues(func() (*Server, error) {
	if addr := os.Getenv(EnvAddr); addr != "" {
		token := os.Getenv(EnvToken)
		if token == "" {
			return nil, fmt.Errorf("%s is set and %s is not: the tests mount engines and write policies there", EnvAddr, EnvToken)
		}
		return &Server{Address: strings.TrimRight(addr, "/"), Token: token}, nil
	}
	return Start(context.Background())
})

// New gives the server that the tests of this binary share.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		missing(t, err)
	}
	return s
}

// Private starts a server of the test's own, which ends with the test.
func Private(t testing.TB) *Server {
	t.Helper()
	s, err := Start(context.Background())
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(EnvCI) == "true" {
		t.Fatalf("vaulttest: no Vault server: %v", err)
	}
	t.Skipf("vaulttest: no Vault server: %v", err)
}

// Start starts a server with a program on PATH or with one built from
// deploy/vaultdev. It ends by Stop or with this process.
func Start(ctx context.Context) (*Server, error) {
	for _, name := range []string{"vault", "bao"} {
		if program, err := exec.LookPath(name); err == nil {
			return startDev(ctx, program)
		}
	}
	program, err := Build(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program) // outlives ctx: Stop ends it
	s := &Server{}
	line, err := s.run(cmd, func(line string) bool { return strings.HasPrefix(line, "{") })
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(line), s); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, s.await(ctx)
}

// startDev starts the development server of a Vault or OpenBao program. A shell
// waits beside it and ends it when we are gone: the program does not by itself.
func startDev(ctx context.Context, program string) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	s := &Server{Address: "http://" + address, Token: "dev-" + rand.Text()}
	cmd := exec.Command("/bin/sh", "-c", `"$@" </dev/null & cat >/dev/null; kill $!; wait`, "sh",
		program, "server", "-dev", "-dev-no-store-token", "-dev-listen-address="+address, "-dev-root-token-id="+s.Token)
	line, err := s.run(cmd, func(line string) bool { return strings.HasPrefix(line, "Unseal Key:") })
	if err != nil {
		return nil, err
	}
	s.UnsealKey = strings.TrimSpace(strings.TrimPrefix(line, "Unseal Key:"))
	return s, s.await(ctx)
}

// run starts cmd, whose life hangs on its standard input, and gives the first
// line that is the one waited for.
func (s *Server) run(cmd *exec.Cmd, wanted func(line string) bool) (string, error) {
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return "", err
	}
	s.stop = sync.OnceValue(func() error {
		_ = lifeline.Close()
		slow := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer slow.Stop()
		return cmd.Wait()
	})
	lines := make(chan string, 1)
	go func() {
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			if wanted(scan.Text()) {
				lines <- scan.Text()
				break
			}
		}
		close(lines)
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case line, ok := <-lines:
		if ok {
			return line, nil
		}
		err = errors.New("it ended at once")
	case <-time.After(startWithin):
		err = fmt.Errorf("it said nothing for %s", startWithin)
	}
	return "", fmt.Errorf("starting %s: %w", cmd.Path, errors.Join(err, s.stop(), errors.New(complaint.String())))
}

// Stop ends a server that was started here.
func (s *Server) Stop() error {
	if s.stop == nil {
		return nil
	}
	return s.stop()
}

// await waits until the server answers requests.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		_, err := s.Call(ctx, http.MethodGet, "sys/mounts", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, s.Stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A Refusal is an answer of Vault other than success.
type Refusal struct {
	Status int
	Body   string
}

func (r *Refusal) Error() string { return fmt.Sprintf("vault: %d %s", r.Status, r.Body) }

// Call asks the server with its root token and gives the answer as JSON. Another
// status than success is a [*Refusal].
func (s *Server) Call(ctx context.Context, method, path string, body any) (map[string]any, error) {
	return s.CallAs(ctx, s.Token, method, path, body)
}

// CallAs is Call with another token.
func (s *Server) CallAs(ctx context.Context, token, method, path string, body any) (map[string]any, error) {
	return call(ctx, s.Address, token, nil, method, path, body)
}

func call(ctx context.Context, address, token string, header http.Header, method, path string, body any) (map[string]any, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if body == nil {
		raw = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, address+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("X-Vault-Token", token)
	req.Header.Set("X-Vault-Request", "true")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, &Refusal{resp.StatusCode, string(bytes.TrimSpace(out))}
	}
	var got map[string]any
	if len(bytes.TrimSpace(out)) > 0 {
		err = json.Unmarshal(out, &got)
	}
	return got, err
}

// Do is Call in a test: a refusal ends it.
func (s *Server) Do(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	got, err := s.Call(context.Background(), method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// Seal seals the server, which forgets its keys until Unseal.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.Do(t, http.MethodPut, "sys/seal", nil)
}

// Unseal unseals the server and waits until it answers.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	if s.UnsealKey == "" {
		t.Fatal("vaulttest: the unseal key of this server is not ours; use Private")
	}
	s.Do(t, http.MethodPut, "sys/unseal", map[string]any{"key": s.UnsealKey})
	if err := s.await(t.Context()); err != nil {
		t.Fatalf("unseal: %v", err)
	}
}
