package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A served is a gateway that serve runs.
type served struct {
	url    string
	out    *bufio.Reader // standard output behind the address
	errs   *bytes.Buffer // to be read when it has ended
	cancel context.CancelFunc
	exit   <-chan int
}

// startServing runs serve and waits until it says where it listens.
func startServing(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	s := &served{out: bufio.NewReader(reader), errs: &bytes.Buffer{}, cancel: cancel}
	sys := &system{Stdin: strings.NewReader(""), Stdout: writer, Stderr: s.errs, Now: time.Now, Random: rand.Reader, served: checked(t), Env: func(name string) string {
		if name == "DATABASE_URL" {
			return "" // somebody's data
		}
		return os.Getenv(name)
	}}
	exit := make(chan int, 1)
	s.exit = exit
	go func() {
		code := run(ctx, sys, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...))
		_ = writer.Close()
		exit <- code
	}()
	t.Cleanup(func() { s.stop(t) })
	line, err := s.out.ReadString('\n')
	if err != nil {
		code := <-exit
		s.exit = closed
		t.Fatalf("serve ended: exit %d\n%s", code, s.errs)
	}
	var ok bool
	if s.url, ok = strings.CutPrefix(strings.TrimSpace(line), "listening on "); !ok {
		t.Fatalf("first line %q", line)
	}
	return s
}

// stop interrupts serve and gives what it printed since.
func (s *served) stop(t *testing.T) (printed string) {
	t.Helper()
	s.cancel()
	rest, _ := io.ReadAll(s.out)
	select {
	case code, running := <-s.exit:
		if running && code != 0 {
			t.Errorf("exit %d\n%s", code, s.errs)
		}
		s.exit = closed
	case <-time.After(time.Minute):
		t.Fatal("serve did not end")
	}
	return string(rest)
}

var closed = func() <-chan int { c := make(chan int); close(c); return c }()

// get asks the served API, as the bearer of a token if there is one.
func (s *served) get(t *testing.T, path, token string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// servedDir gives a directory that the private database's user can reach, and
// the flags for an installation in it.
func servedDir(t *testing.T) (data string, flags []string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "citygate-serve-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(dir, "data")
	return data, []string{"--data", data, "--key-file", filepath.Join(dir, "apart", "keys.key")}
}

// The first start makes everything and prints a token, once; an interrupt ends
// it cleanly, and what it made is there at the second start.
func TestServe(t *testing.T) {
	data, flags := servedDir(t)
	s := startServing(t, flags...)
	note, err := s.out.ReadString('\n')
	if err != nil || !regexp.MustCompile(`^platform administrator's token, shown this once, works until 20..-..-..T..:..:..Z:\n$`).MatchString(note) {
		t.Fatalf("%q, %v", note, err)
	}
	token, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	token = strings.TrimSpace(token)
	for _, c := range []struct {
		path, token string
		status      int
		want        string
	}{
		{"/healthz", "", http.StatusOK, ""},
		{"/openapi.yaml", "", http.StatusOK, "openapi: 3.1"},
		{"/v1/tenants", token, http.StatusOK, "["},
		{"/v1/tenants", "", http.StatusUnauthorized, "application/problem"},
		{"/v1/tenants", token + "x", http.StatusUnauthorized, ""},
		{"/nowhere", "", http.StatusNotFound, ""},
	} {
		status, body := s.get(t, c.path, c.token)
		if status != c.status || !strings.Contains(body, c.want) && !strings.HasPrefix(c.want, "application/") {
			t.Errorf("%s: %d %.200s; want %d and %q", c.path, status, body, c.status, c.want)
		}
	}
	if printed := s.stop(t); printed != "" {
		t.Errorf("it also printed %q", printed)
	}

	s = startServing(t, flags...)
	if status, body := s.get(t, "/v1/tenants", token); status != http.StatusOK {
		t.Errorf("after a restart the token gives %d %s", status, body)
	}
	if printed := s.stop(t); printed != "" {
		t.Errorf("the second start printed %q", printed)
	}
	if strings.Contains(s.errs.String(), demoProvidersGone) {
		t.Errorf("it takes the installation for a demo's: %s", s.errs)
	}
	if !strings.Contains(s.errs.String(), "citygate key token --data "+data+" --scope platform") {
		t.Errorf("the second start does not say how to get a token: %s", s.errs)
	}
}

// Whoever serves a demo's directory is told once that its simulated provider is
// gone.
func TestServeOfADemoSaysThatItsProviderIsGone(t *testing.T) {
	data, _ := servedDir(t)
	if err := os.MkdirAll(data, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, demoMarker), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServing(t, "--data", data)
	if status, body := s.get(t, "/healthz", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	s.stop(t)
	if n := strings.Count(s.errs.String(), demoProvidersGone); n != 1 {
		t.Errorf("said %d times: %s", n, s.errs)
	}
}

// Requests under way when the interrupt comes get their answer.
func TestServeFinishesWhatItHasBegun(t *testing.T) {
	_, flags := servedDir(t)
	s := startServing(t, flags...)
	// A body that is still being sent keeps the request under way. The server
	// asks for it when the handler reads.
	begun := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	body, writer := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/tap-batches", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Expect", "100-continue")
	answer := make(chan int, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			answer <- 0
			return
		}
		_ = resp.Body.Close()
		answer <- resp.StatusCode
	}()
	<-begun
	s.cancel()
	for { // until it takes no new connections
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	if _, err := writer.Write([]byte("this is no batch")); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if status := <-answer; status < 400 || status >= 500 {
		t.Errorf("the request under way got %d, want a refusal of its content", status)
	}
	s.stop(t)
}

func TestServeRefuses(t *testing.T) {
	data, flags := servedDir(t)
	for _, c := range []struct {
		name string
		args []string
		exit int
		want string
	}{
		{"a key file beside the keys", []string{"--data", data, "--key-file", filepath.Join(data, "k")}, 2, "place outside"},
		{"ticking all the time", append([]string{"--tick", "1ms"}, flags...), 2, "1s"},
		{"an address that is none", append([]string{"--listen", "nowhere"}, flags...), 1, "--listen"},
	} {
		var out, errs bytes.Buffer
		sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Random: rand.Reader, served: checked(t), Env: func(name string) string {
			return map[string]string{"PG_BIN": os.Getenv("PG_BIN"), "HOME": os.Getenv("HOME")}[name]
		}}
		if exit := run(t.Context(), sys, append([]string{"serve"}, c.args...)); exit != c.exit || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: exit %d, want %d\n%s%s", c.name, exit, c.exit, &out, &errs)
		}
	}
}
