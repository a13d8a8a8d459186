package pglocal

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// programs makes a directory with a postgres that says version.
func programs(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheGivenDirectoryIsUsedOrRefused(t *testing.T) {
	quiet := func(step string) { t.Errorf("something was installed: %s", step) }
	dir := programs(t, "17.2 (Debian 17.2-1)")
	if got, err := Find(t.Context(), dir, "", 0, quiet); err != nil || got.Version != 17 || got.Bin != dir {
		t.Errorf("version 17: %+v, %v", got, err)
	}
	if got, err := Find(t.Context(), programs(t, "18beta1"), "", 0, quiet); err != nil || got.Version != 18 {
		t.Errorf("version 18beta1: %+v, %v", got, err)
	}
	if _, err := Find(t.Context(), programs(t, "14.9"), "", 0, quiet); !errors.Is(err, ErrTooOld) {
		t.Errorf("version 14: %v, want ErrTooOld", err)
	}
	if _, err := Find(t.Context(), t.TempDir(), "", 0, quiet); !errors.Is(err, ErrNotFound) {
		t.Errorf("an empty directory: %v, want ErrNotFound", err)
	}
	if _, err := Find(t.Context(), programs(t, "of unknown make"), "", 0, quiet); !errors.Is(err, ErrNotFound) {
		t.Errorf("a program of another kind: %v, want ErrNotFound", err)
	}
}

func TestTheNewestInstalledVersionWins(t *testing.T) {
	old := versioned
	t.Cleanup(func() { versioned = old })
	versioned = []string{programs(t, "97.1"), programs(t, "99.3"), programs(t, "14.1"), programs(t, "98.2")}
	if got, ok := installed(t.Context(), 0); !ok || got.Version != 99 {
		t.Errorf("%+v, %v; want version 99", got, ok)
	}
	if got, ok := installed(t.Context(), 98); !ok || got.Version != 98 {
		t.Errorf("%+v, %v; want the version the data needs", got, ok)
	}
	if got, ok := installed(t.Context(), 14); ok {
		t.Errorf("%+v; want none, 14 is too old", got)
	}
}

// tarball makes an npm package of files.
func tarball(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for name, content := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "package.tgz")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUnpackMakesProgramsAndLinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	err := unpack(tarball(t, map[string]string{
		"package/native/bin/postgres":      "program",
		"package/native/lib/libpq.so.5.18": "library",
		"package/native/pg-symlinks.json":  `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]`,
		"elsewhere/file":                   "not ours",
	}), dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "native/bin/postgres")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program: %v, %v", info, err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "native/lib/libpq.so.5")); err != nil || string(raw) != "library" {
		t.Errorf("the link leads to %q, %v", raw, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a file outside the package was unpacked")
	}
}

func TestUnpackStaysInItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	if err := unpack(tarball(t, map[string]string{"package/../../escaped": "x"}), dir); err == nil {
		t.Error("a name that leaves the directory was unpacked")
	}
	if _, err := os.Stat(filepath.Join(dir, "..", "..", "escaped")); err == nil {
		t.Error("the file lies outside")
	}
}

func TestAnotherTarballThanThePinnedOneIsRefused(t *testing.T) {
	file := tarball(t, map[string]string{"package/x": "x"})
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(raw)
	pin := base64.StdEncoding.EncodeToString(sum[:])
	if err := verify(file, pin); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(file, append(raw, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(file, pin); err == nil {
		t.Error("an altered tarball passed")
	}
}
