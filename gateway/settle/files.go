package settle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// Dir keeps files in a directory that the host opened. One process writes to it
// at a time.
type Dir struct{ Root *os.Root }

// WriteOnce implements [Files].
func (d Dir) WriteOnce(_ context.Context, name string, body []byte) error {
	old, err := d.Root.ReadFile(name)
	if err == nil {
		if !bytes.Equal(old, body) {
			return ErrFile.Because(nil, "%s", name)
		}
		return d.sync(path.Dir(name))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("payout file: %w", err)
	}
	if err := d.Replace(name, body); err != nil {
		return fmt.Errorf("payout file: %w", err)
	}
	return nil
}

// Replace stores a file whole or not at all, in place of one that exists: the
// bytes are written to a hidden file beside it, synced, and renamed. Directories
// on the way to it are made.
func (d Dir) Replace(name string, body []byte) error {
	dir := path.Dir(name)
	if err := d.Root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	part := path.Join(dir, "."+path.Base(name)+".part")
	f, err := d.Root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.Root.Rename(part, name); err != nil {
		return err
	}
	return d.sync(dir)
}

// sync makes the names in a directory durable.
func (d Dir) sync(dir string) error {
	f, err := d.Root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
