package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const codeTime = 1_795_000_000

// citygate runs the program as at codeTime and gives its exit code and output.
func runAt(t *testing.T, stdin string, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	sys := &system{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		Now: func() time.Time { return time.Unix(codeTime, 0) }, Random: rand.Reader, served: checked(t), Env: func(string) string { return "" }}
	exit = run(t.Context(), sys, args)
	return exit, out.String(), errs.String()
}

func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	exit, out, errs := runAt(t, stdin, args...)
	if exit != 0 {
		t.Fatalf("citygate %s: exit %d\n%s%s", strings.Join(args, " "), exit, out, errs)
	}
	return out
}

func TestCodeIssueShowVerify(t *testing.T) {
	for _, suite := range []string{"3", "0"} {
		dir := t.TempDir()
		keys, other := filepath.Join(dir, "keys.json"), filepath.Join(dir, "other.json")
		must(t, "", "code", "issue", "--keys", keys, "--suite", suite, "--taps", "9", "--ttl", "2")
		must(t, "", "code", "issue", "--keys", other, "--suite", suite)
		shown := must(t, "", "code", "show", "--keys", keys, "--quiet")
		text := strings.TrimRight(shown, "\n")
		raw, err := hex.DecodeString(strings.TrimSpace(must(t, "", "code", "show", "--keys", keys, "--quiet", "--bytes")))
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(raw)
		flipped[len(flipped)-40] ^= 1
		for _, test := range []struct {
			name  string
			stdin string
			args  []string
			exit  int
			want  string
		}{
			{"text", "", []string{text, "--keys", keys}, 0, `{"outcome":"accept","reason":"","strength":"device_bound"}`},
			{"text on standard input", shown, []string{"--keys", keys}, 0, `"accept"`},
			{"hexadecimal", "", []string{hex.EncodeToString(raw), "--keys", keys}, 0, `"accept"`},
			{"bytes on standard input", string(raw), []string{"-", "--keys", keys}, 0, `"accept"`},
			{"no keys", "", []string{text}, 3, `{"outcome":"defer","reason":"unknown_issuer","strength":"unverified"}`},
			{"another issuer's key", "", []string{text, "--keys", other}, 1, `{"outcome":"reject","reason":"bad_issuer_signature","strength":"unverified"}`},
			{"altered", "", []string{hex.EncodeToString(flipped), "--keys", keys}, 1, `"bad_device_signature"`},
			{"cut off", "", []string{hex.EncodeToString(raw[:100]), "--keys", keys}, 1, `"malformed"`},
			{"not a code", "", []string{"hello", "--keys", keys}, 1, `"unsupported"`},
			{"nothing", "", []string{"-", "--keys", keys}, 1, `"unsupported"`},
			{"last second", "", []string{text, "--keys", keys, "--at", "1795000060"}, 0, `"accept"`},
			{"too late", "", []string{text, "--keys", keys, "--at", "1795000061"}, 1, `"expired_code"`},
			{"too late without keys", "", []string{text, "--at", "1795000061"}, 1, `"expired_code"`},
			{"ahead of time", "", []string{text, "--keys", keys, "--at", "2026-11-18T11:05:29Z", "--skew", "0"}, 1, `"not_yet_valid"`},
			{"long over", "", []string{text, "--keys", keys, "--at", "1795007200"}, 1, `"expired_credential"`},
		} {
			exit, out, errs := runAt(t, test.stdin, append([]string{"code", "verify"}, test.args...)...)
			if exit != test.exit || !strings.Contains(out, test.want) || strings.Count(out, "\n") != 1 || errs != "" {
				t.Errorf("suite %s, %s: exit %d, %q, %q; want %d, %q", suite, test.name, exit, out, errs, test.exit, test.want)
			}
		}
	}
}

func TestCodeShowCountsEveryDisplay(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	must(t, "", "code", "issue", "--keys", keys, "--taps", "2", "--list", "7", "--index", "41")
	var seen []string
	for range 3 {
		seen = append(seen, must(t, "", "code", "show", "--keys", keys, "--quiet"))
	}
	for i, text := range seen {
		var c struct{ Counter, List, Index int }
		if err := json.Unmarshal([]byte(must(t, text, "code", "inspect")), &c); err != nil || c.Counter != i+1 || c.List != 7 || c.Index != 41 {
			t.Errorf("display %d: %+v, %v", i+1, c, err)
		}
	}
	if exit, out, _ := runAt(t, seen[2], "code", "verify", "--keys", keys); exit != 1 || !strings.Contains(out, "taps_exhausted") {
		t.Errorf("third of two: exit %d, %s", exit, out)
	}
	var again struct{ Rider string }
	if err := json.Unmarshal([]byte(must(t, "", "code", "issue", "--keys", keys)), &again); err != nil || again.Rider != "1/7/42" {
		t.Errorf("issued again: %+v, %v", again, err)
	}
}

func TestCodeShowDraws(t *testing.T) {
	dir := t.TempDir()
	keys, picture := filepath.Join(dir, "keys.json"), filepath.Join(dir, "code.png")
	must(t, "", "code", "issue", "--keys", keys)
	out := must(t, "", "code", "show", "--keys", keys, "--png", picture)
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	// 292 characters at level M are version 10, 57 modules, and 4 of quiet zone a side.
	if got, want := len(lines), (57+8+1)/2+1; got != want || !strings.HasPrefix(lines[len(lines)-1], "CT1:") {
		t.Errorf("%d lines, want %d with the text last: %q", got, want, lines[len(lines)-1])
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 57 {
		t.Errorf("PNG: %v", err)
	}
}

func TestCodeKeyFileIsPrivate(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	must(t, "", "code", "issue", "--keys", keys)
	info, err := os.Stat(keys)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	text := must(t, "", "code", "show", "--keys", keys, "--quiet")
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit, _, errs := runAt(t, "", "code", "show", "--keys", keys); exit != 1 || !strings.Contains(errs, "chmod 600") {
		t.Errorf("readable by others: exit %d, %q", exit, errs)
	}
	// Without its private keys the file may lie anywhere and still verifies.
	data, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	var k map[string]any
	if err := json.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"issuer", "device"} {
		if m, ok := k[part].(map[string]any); ok {
			delete(m, "private")
		}
	}
	data, _ = json.Marshal(k)
	if err := os.WriteFile(keys, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit, out, errs := runAt(t, "", "code", "verify", strings.TrimRight(text, "\n"), "--keys", keys); exit != 0 {
		t.Errorf("public keys only: exit %d, %s%s", exit, out, errs)
	}
	if exit, _, errs := runAt(t, "", "code", "show", "--keys", keys); exit != 1 || !strings.Contains(errs, "no private device key") {
		t.Errorf("show without a private key: exit %d, %q", exit, errs)
	}
}

func TestCodeUsage(t *testing.T) {
	for _, args := range []string{"issue", "show", "verify X --at yesterday", "verify X --bundle b", "verify X --keys a --bundle b", "verify X --bundle b --root 12", "verify --none"} {
		if exit, out, errs := runAt(t, "", append([]string{"code"}, strings.Fields(args)...)...); exit != 2 || out != "" || errs == "" {
			t.Errorf("code %s: exit %d, %q, %q; want 2 and a message", args, exit, out, errs)
		}
	}
	if exit, _, errs := runAt(t, "", "code", "inspect", "7d2c"); exit != 1 || !strings.Contains(errs, "malformed") {
		t.Errorf("inspect of a stump: exit %d, %q", exit, errs)
	}
}

func TestBenchVerifyMeasuresAll(t *testing.T) {
	var out bytes.Buffer
	sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard, Now: time.Now, Random: rand.Reader, served: checked(t), Env: func(string) string { return "" }}
	if exit := run(t.Context(), sys, []string{"bench", "verify", "--json", "--seconds", "1"}); exit != 0 {
		t.Fatalf("exit %d", exit)
	}
	var f verifyFigures
	if err := json.Unmarshal(out.Bytes(), &f); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Fatalf("%v: %s", err, &out)
	}
	if f.FullMicros <= 0 || f.BareMicros <= 0 || f.CachedMicros <= 0 || f.DeviceMicros <= 0 || f.Ratio <= 0 || f.CachedRatio <= 0 {
		t.Errorf("%+v", f)
	}
}
