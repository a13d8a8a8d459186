package pglocal_test

import (
	"os"
	"syscall"
	"testing"
)

// chownLike gives a file the owner of another one, when we may.
func chownLike(t *testing.T, name string, like os.FileInfo) {
	t.Helper()
	stat, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(name, int(stat.Uid), int(stat.Gid)); err != nil {
		t.Fatal(err)
	}
}

// runAsOwnerOf has a command run as the owner of a file, when we may.
func runAsOwnerOf(info os.FileInfo) *syscall.SysProcAttr {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}}
}
