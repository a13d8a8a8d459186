package main

import (
	"context"
	"errors"
	"os"
)

// benchDatabase makes a folder under data ("" = the usual one) and starts a
// private database in it, never the one that DATABASE_URL names: that is
// somebody's data. remove stops the database and deletes the folder.
func benchDatabase(ctx context.Context, sys *system, data, prefix string) (dir string, server *database, remove func() error, err error) {
	if data == "" {
		data = defaultData(sys, "bench")
	}
	if err := os.MkdirAll(data, 0o755); err != nil { //nolint:gosec // root's database user must reach its part of it
		return "", nil, nil, err
	}
	if dir, err = os.MkdirTemp(data, prefix); err != nil {
		return "", nil, nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // as above
		return "", nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	private := *sys
	private.Env = func(name string) string {
		if name == "DATABASE_URL" {
			return ""
		}
		return sys.Env(name)
	}
	server, err = databaseFlags{data: dir}.open(ctx, &private, func(s string) { say(sys, s) })
	if err != nil {
		return "", nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, server, func() error {
		return errors.Join(server.stop(context.WithoutCancel(ctx)), os.RemoveAll(dir))
	}, nil
}
