package gateway

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	f := files{root}
	const name = "bills/7/sandbox/2026-11-21.csv"
	hidden := filepath.Join(dir, "bills/7/sandbox/.2026-11-21.csv.part")
	if err := os.MkdirAll(filepath.Dir(hidden), 0o700); err != nil {
		t.Fatal(err)
	}
	// A run that died half-way left more bytes behind than there are to write.
	if err := os.WriteFile(hidden, []byte("half of something longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		t.Helper()
		if err := f.WriteFile(t.Context(), name, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := f.ReadFile(name); err != nil || string(got) != content {
			t.Errorf("the file holds %q, %v; want %q", got, err, content)
		}
	}
	write("older")
	reader, err := root.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	write("whole")
	write("whole") // the same content twice
	if got, err := io.ReadAll(reader); err != nil || string(got) != "older" {
		t.Errorf("who was reading got %q, %v: the file was not replaced but written over", got, err)
	}
	entries, err := os.ReadDir(filepath.Dir(hidden))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
	if err := root.Mkdir("bills/7/sandbox/taken", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile(t.Context(), "bills/7/sandbox/taken", []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if got, err := f.ReadFile(name); err != nil || string(got) != "whole" {
		t.Errorf("a failed write touched a file: %q, %v", got, err)
	}
}

func TestHiddenAndForeignNamesDoNotExist(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"outside", "root/.hidden", "root/.dir/file", "root/a/.b", "root/seen"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	f := files{root}
	if got, err := f.ReadFile("seen"); err != nil || string(got) != "root/seen" {
		t.Errorf("seen: %q, %v", got, err)
	}
	for _, name := range []string{".hidden", ".dir/file", "a/.b", "../outside", "a/../../outside", filepath.Join(dir, "outside"), "", "./seen", "missing"} {
		if got, err := f.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %q, %v; want what a missing file gives", name, got, err)
		}
	}
	for _, name := range []string{"../outside", filepath.Join(dir, "outside")} {
		if err := f.WriteFile(t.Context(), name, []byte("changed")); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "outside")); err != nil || string(got) != "outside" {
		t.Errorf("the file outside holds %q, %v", got, err)
	}
}
