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
