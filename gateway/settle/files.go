package settle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Dir keeps payout files in a directory that the host opened.
type Dir struct{ Root *os.Root }

// WriteOnce implements [Files]: the bytes are written to a file of another name,
// synced, and renamed. One process writes to a directory at a time.
func (d Dir) WriteOnce(_ context.Context, name string, body []byte) error {
	old, err := d.Root.ReadFile(name)
	if err == nil {
		if !bytes.Equal(old, body) {
			return ErrFile.Because(nil, "%s", name)
		}
		return d.sync()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("payout file: %w", err)
	}
	f, err := d.Root.OpenFile(name+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("payout file: %w", err)
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("payout file: %w", err)
	}
	if err := d.Root.Rename(name+".part", name); err != nil {
		return fmt.Errorf("payout file: %w", err)
	}
	return d.sync()
}

// sync makes the names in the directory durable.
func (d Dir) sync() error {
	dir, err := d.Root.Open(".")
	if err != nil {
		return fmt.Errorf("payout file: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("payout file: %w", err)
	}
	return nil
}
