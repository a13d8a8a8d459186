package gateway

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

// files writes payout files and bills: each appears whole and on disk, or not
// at all, and is written again with equal content after a death half-way.
type files struct{ root *os.Root }

// WriteFile writes a file below the root.
func (f files) WriteFile(_ context.Context, name string, body []byte) error {
	dir := path.Dir(name)
	if err := f.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	aside := path.Join(dir, "."+path.Base(name)+".new")
	file, err := f.root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(body)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.root.Rename(aside, name); err != nil {
		return err
	}
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadFile gives a file below the root; hidden and foreign names do not exist.
func (f files) ReadFile(name string) ([]byte, error) {
	if strings.HasPrefix(path.Base(name), ".") {
		return nil, fs.ErrNotExist
	}
	return f.root.ReadFile(name)
}
