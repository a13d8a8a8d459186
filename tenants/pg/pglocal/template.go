package pglocal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cashlesscity/citygate/deploy"
)

// To make a cluster and its schema takes a second or two of one core, and gives
// the same each time. A template is a stopped cluster that has them, kept with the
// downloads; to copy it takes a tenth of a second.

// template gives where the template of this server's clusters lies; "" = there is
// none. What it was made by and with is in the name, so that a later release
// makes its own.
func (s *Server) template() string {
	if s.config.Template == "" {
		return ""
	}
	h := sha256.New()
	for _, part := range []string{s.found.Bin, s.id.name, deploy.Roles, s.config.Template} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash takes everything
	}
	return filepath.Join(s.templates(), fmt.Sprintf("%d-%x", s.found.Version, h.Sum(nil)[:12]))
}

func (s *Server) templates() string { return filepath.Join(s.config.CacheDir, "clusters") }

// fromTemplate makes the cluster from its template, and tells whether there was
// one that could be copied.
func (s *Server) fromTemplate(fresh string) bool {
	from := s.template()
	if from == "" {
		return false
	}
	if version, err := clusterVersion(from); err != nil || version != s.found.Version {
		return false
	}
	if err := s.copyCluster(from, fresh); err != nil {
		_ = os.RemoveAll(fresh) // initdb will do
		return false
	}
	return true
}

// KeepTemplate keeps a copy of a cluster that this Start made by initdb, with the
// schema that [Config.Template] names in it, for the next one. It stops and starts
// the server, so nobody may be connected. That the copy could not be made, as on a
// full disk, is no error: the next Start takes longer then.
func (s *Server) KeepTemplate(ctx context.Context) error {
	to := s.template()
	if to == "" || !s.made || s.Attached() {
		return nil
	}
	if err := s.halt(ctx); err != nil {
		return err
	}
	if err := s.writeTemplate(to); err != nil {
		s.config.Progress(fmt.Sprintf("kept no copy of the empty database: %v", err))
	}
	return s.run(ctx)
}

func (s *Server) writeTemplate(to string) error {
	// The cache may be the first thing in a folder that root's database user has to pass
	// through to its data; the templates themselves are nobody's but ours.
	if err := os.MkdirAll(s.config.CacheDir, 0o755); err != nil { //nolint:gosec // as said
		return err
	}
	if err := os.MkdirAll(s.templates(), 0o700); err != nil {
		return err
	}
	half, err := os.MkdirTemp(s.templates(), "half-")
	if err != nil {
		return err
	}
	// Those of other releases go. Moved first: who copies one just now finds
	// nothing more, and not a part.
	others, err := filepath.Glob(filepath.Join(s.templates(), "[0-9]*"))
	for i, other := range others {
		err = errors.Join(err, os.Rename(other, filepath.Join(half, fmt.Sprintf("old-%d", i))))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(half))
	}
	err = s.copyCluster(s.cluster, filepath.Join(half, "cluster"))
	if err == nil {
		err = syncTree(filepath.Join(half, "cluster"))
	}
	if err == nil {
		err = os.Rename(filepath.Join(half, "cluster"), to)
	}
	return errors.Join(err, os.RemoveAll(half))
}

// copyCluster copies a stopped cluster and gives it to the server's user. It goes
// by roots: what that user puts in their way leads nowhere else.
func (s *Server) copyCluster(from, to string) error {
	if err := s.id.own(to); err != nil {
		return err
	}
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }()
	return fs.WalkDir(source.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case entry.IsDir():
			if err := target.Mkdir(path, 0o700); err != nil || !s.id.switched {
				return err
			}
			return target.Lchown(path, int(s.id.uid), int(s.id.gid))
		case entry.Type().IsRegular():
			return s.copyFile(source, target, path)
		}
		return fmt.Errorf("%s is neither a file nor a directory", path)
	})
}

func (s *Server) copyFile(source, target *os.Root, path string) (err error) {
	from, err := source.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := target.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if s.id.switched {
		if err := to.Chown(int(s.id.uid), int(s.id.gid)); err != nil {
			return err
		}
	}
	_, err = io.Copy(to, from)
	return err
}

// syncTree has every file and directory under dir on the disk.
func syncTree(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && (entry.IsDir() || entry.Type().IsRegular()) {
			var f *os.File
			if f, err = root.Open(path); err == nil {
				return errors.Join(f.Sync(), f.Close())
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server took it away meanwhile, or replaced it durably
		}
		return err
	})
}

// syncBeside puts a copied cluster on the disk while the server works already.
// Stop waits for it.
func (s *Server) syncBeside() {
	if !s.config.Durable {
		return
	}
	s.synced = make(chan error, 1)
	go func() { s.synced <- syncTree(s.cluster) }()
}

// awaitSync waits until a copied cluster is on the disk.
func (s *Server) awaitSync() error {
	if s.synced == nil {
		return nil
	}
	err := <-s.synced
	s.synced = nil
	return err
}
