package pglocal

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An identity is the user the server runs as. The zero identity is this
// process's own.
type identity struct {
	name     string
	uid, gid uint32
	switched bool
}

// serverIdentity gives the user for the server: this process's own, or, as
// PostgreSQL refuses root, postgres or nobody when that is root.
func serverIdentity() (identity, error) {
	if os.Geteuid() != 0 {
		return identity{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return identity{}, err
		}
		return identity{name: name, uid: uint32(uid), gid: uint32(gid), switched: true}, nil
	}
	return identity{}, ErrStart.Explain("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// own gives a directory of mode 0700 to the identity, making it if needed.
func (id identity) own(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if !id.switched {
		return nil
	}
	return os.Chown(dir, int(id.uid), int(id.gid))
}

// blockedBy gives the first directory on the way to path that the identity may
// not pass through, "" when there is none. It sees the classic mode bits only,
// which is what makes a home directory unreachable in practice.
func (id identity) blockedBy(path string) (string, error) {
	if !id.switched {
		return "", nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	var way []string
	for dir := real; ; dir = filepath.Dir(dir) {
		way = append(way, dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for i := len(way) - 1; i >= 0; i-- {
		info, err := os.Stat(way[i])
		if err != nil {
			return "", err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "", nil
		}
		pass := info.Mode().Perm() & 0o001
		switch {
		case stat.Uid == id.uid:
			pass = info.Mode().Perm() & 0o100
		case stat.Gid == id.gid:
			pass = info.Mode().Perm() & 0o010
		}
		if pass == 0 {
			return way[i], nil
		}
	}
	return "", nil
}
