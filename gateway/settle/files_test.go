package settle

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFileIsWrittenOnce(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	files := Dir{root}
	// A run that died before the rename left a part behind.
	if err := os.WriteFile(filepath.Join(dir, ".a.xml.part"), []byte("half of something longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := files.WriteOnce(t.Context(), "a.xml", []byte("whole")); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.WriteOnce(t.Context(), "a.xml", []byte("other")); !errors.Is(err, ErrFile) {
		t.Errorf("other bytes: %v; want ErrFile", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a.xml")); err != nil || string(got) != "whole" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".a.xml.part")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the part is still there: %v", err)
	}
}
