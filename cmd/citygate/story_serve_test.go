package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// storyServing runs the gateway beside a script, as its own process.
func storyServing(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serving FLAGS ...")
	}
	program, err := exec.LookPath("citygate")
	ts.Check(err)
	var log bytes.Buffer
	c := exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	c.Dir, c.Stderr = ts.Getenv("WORK"), &log
	c.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH"), "USER=" + ts.Getenv("USER"), "PG_BIN=" + ts.Getenv("PG_BIN"), "XDG_CACHE_HOME=" + ts.Getenv("XDG_CACHE_HOME"),
		envFindings + "=" + ts.Getenv(envFindings)}
	out, err := c.StdoutPipe()
	ts.Check(err)
	ts.Check(c.Start())
	ts.Defer(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	})
	reader := bufio.NewReader(out)
	line, err := reader.ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		_ = c.Wait()
		ts.Fatalf("serve says %q, %v\n%s", line, err, log.String())
	}
	ts.Setenv("GATEWAY", address)
	go func() { _, _ = io.Copy(io.Discard, reader) }()
}

// calls is the key of how many calls a script has made.
type calls struct{}

func storyCall(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: call STATUS METHOD PATH [BODY] [HEADER VALUE]"
	if neg || len(args) < 3 || len(args) > 6 {
		ts.Fatalf(usage)
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	var raw string
	if len(args) > 3 {
		raw = args[3]
	}
	req, err := http.NewRequest(args[1], ts.Getenv("GATEWAY")+args[2], strings.NewReader(raw))
	ts.Check(err)
	if raw != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+ts.Getenv("TOKEN"))
	made, ok := ts.Value(calls{}).(*int)
	if !ok {
		ts.Fatalf("nobody counts calls")
	}
	req.Header.Set("Idempotency-Key", fmt.Sprintf("story-%d", *made))
	*made++
	if len(args) == 6 {
		req.Header.Set(args[4], args[5])
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), append(answer, '\n'), 0o600))
	if resp.StatusCode != status {
		ts.Fatalf("%s %s: %d, want %d: %s", args[1], args[2], resp.StatusCode, status, answer)
	}
}

func storyPick(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pick NAME FIELD")
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("answer")), &object))
	v, ok := object[args[1]]
	if !ok {
		ts.Fatalf("the answer has no %s: %s", args[1], ts.ReadFile("answer"))
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}
