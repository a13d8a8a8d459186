package terminal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Files is one flat directory on stable storage. It has as many methods as a
// journal needs system calls, because what is promised hangs on their order:
// tests put a disk behind it that forgets whatever was not synced.
type Files interface {
	// List gives the names in the directory, in any order.
	List() ([]string, error)
	// ReadFile gives a whole file; a missing one is fs.ErrNotExist.
	ReadFile(name string) ([]byte, error)
	// Create makes an empty file, in place of one that exists.
	Create(name string) (File, error)
	// Append opens an existing file; writes go to its end.
	Append(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes created, renamed and removed names durable.
	SyncDir() error
}

// A File is open for writing at its end.
type File interface {
	Write(p []byte) (int, error)
	Truncate(size int64) error
	// Sync returns once the content is on stable storage.
	Sync() error
	Close() error
}

// Dir gives the files of a directory. The caller opens root and closes it after
// the Verifier is closed.
func Dir(root *os.Root) Files { return dir{root} }

type dir struct{ root *os.Root }

func (d dir) List() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d dir) ReadFile(name string) ([]byte, error) { return d.root.ReadFile(name) }

func (d dir) Create(name string) (File, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
}

func (d dir) Append(name string) (File, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
}

func (d dir) Rename(from, to string) error { return d.root.Rename(from, to) }
func (d dir) Remove(name string) error     { return d.root.Remove(name) }

func (d dir) SyncDir() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// replaceFile puts data under name so that after a crash the name holds either
// what it held before or data, and data for sure once replaceFile returned nil.
func replaceFile(files Files, name string, data []byte) error {
	temporary := name + ".new"
	if err := writeSynced(files, temporary, data); err != nil {
		return err
	}
	if err := files.Rename(temporary, name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := files.SyncDir(); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

// writeSynced writes a file whose name may still be lost by a crash.
func writeSynced(files Files, name string, data []byte) error {
	f, err := files.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// readFile gives a file, or nil when there is none.
func readFile(files Files, name string) ([]byte, error) {
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
