package vaulttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// sources are what the built server depends on. go.sum names every module with
// its hash.
var sources = []string{"go.sum", "go.mod", "main.go"}

// Build gives the path of the server of deploy/vaultdev, building it if this
// user has not built these sources with this toolchain before. Processes that
// build at the same time take turns.
func Build(ctx context.Context) (program string, err error) {
	source, err := sourceDir()
	if err != nil {
		return "", err
	}
	name, err := cacheName(source)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	program = filepath.Join(cache, name)
	if runnable(program) {
		return program, nil
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if runnable(program) { // somebody built it while we waited
		return program, nil
	}
	say("building a Vault server from deploy/vaultdev, once: it takes some minutes and up to 2.7 GB of modules")
	fresh := program + ".new"
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", fresh, ".")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building deploy/vaultdev: %w\n%s", err, tail(out))
	}
	return program, os.Rename(fresh, program)
}

// tail leaves the end of what a build printed.
func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }

func say(what string) { _, _ = fmt.Fprintln(os.Stderr, "vaulttest: "+what) }

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o100 != 0
}

// sourceDir finds deploy/vaultdev from where the test runs.
func sourceDir() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		dir := filepath.Join(at, "deploy", "vaultdev")
		if _, err := os.Stat(filepath.Join(dir, "go.sum")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", errors.New("deploy/vaultdev is not above the working directory: run the tests inside the repository")
		}
		at = up
	}
}

// cacheName is the name of the built program: it tells sources, toolchain and
// platform apart.
func cacheName(source string) (string, error) {
	h := sha256.New()
	for _, name := range sources {
		raw, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(h, "%s %d\n", name, len(raw))
		_, _ = h.Write(raw)
	}
	_, _ = io.WriteString(h, strings.Join([]string{runtime.Version(), runtime.GOOS, runtime.GOARCH}, " "))
	return "vaultdev-" + hex.EncodeToString(h.Sum(nil)[:12]), nil
}

// cacheDir makes the directory of built servers, outside the repository.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil { // no home: as good as none
		base = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
	}
	dir := filepath.Join(base, "citygate", "vaultdev")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s belongs to another user: its programs are not run", dir)
	}
	return dir, nil
}

// lock waits for its turn on a file. It ends with the process at the latest.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f.Close, nil
}
