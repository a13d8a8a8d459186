package gateway

import (
	"context"
	"io/fs"
	"os"
	"strings"

	"github.com/cashlesscity/citygate/gateway/settle"
)

// files keeps bills beside the payout files and gives both out again.
type files struct{ root *os.Root }

// WriteFile implements [recon.Files]. After a death half-way it is called again
// with equal content.
func (f files) WriteFile(_ context.Context, name string, body []byte) error {
	return settle.Dir{Root: f.root}.Replace(name, body)
}

// ReadFile gives a file below the root; hidden and foreign names do not exist.
func (f files) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return nil, fs.ErrNotExist
	}
	return f.root.ReadFile(name)
}
