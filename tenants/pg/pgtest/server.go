package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/migrations"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// The environment variables.
const (
	// EnvURL names the superuser URL of the server to use.
	EnvURL = "CITYGATE_TEST_DATABASE_URL"
	// EnvBin names the directory of the PostgreSQL programs.
	EnvBin     = "PG_BIN"
	envJanitor = "CITYGATE_PGTEST_JANITOR"
)

// server gives the superuser URL of the server of this test binary.
var server = sync.OnceValues(func() (string, error) {
	if given := os.Getenv(EnvURL); given != "" {
		return given, nil
	}
	dir, err := DataDir()
	if err != nil {
		return "", err
	}
	s, err := pglocal.Start(context.Background(), Config(dir))
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return s.URL(pglocal.Superuser, "postgres"), nil
})

// DataDir makes a data directory that is removed when this process has ended and
// its server with it, even if the process is killed: a copy of this program
// waits for that.
func DataDir() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "citygate-test-") // not TMPDIR: sockets need a short path
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the server's user passes through
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	janitor := exec.Command(self) // this very program; it must outlive us
	janitor.Env = []string{envJanitor + "=" + dir}
	janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt of the terminal is not for it
	lifeline, err := janitor.StdinPipe()
	if err != nil {
		return "", err
	}
	lifelinesMu.Lock()
	lifelines = append(lifelines, lifeline)
	lifelinesMu.Unlock()
	return dir, janitor.Start()
}

// lifelines are never written to. The end of one, which the kernel brings about
// when we die, is what a janitor waits for; kept here so that the garbage
// collector does not close it before.
var (
	lifelinesMu sync.Mutex
	lifelines   []io.Closer
)

// init turns the copy that DataDir starts into the janitor, before any test.
func init() {
	dir := os.Getenv(envJanitor)
	if dir == "" {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when our parent does
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = pglocal.AwaitStopped(ctx, dir)
	_ = os.RemoveAll(dir)
	os.Exit(0)
}

// Config gives the configuration of a server for tests in dir: fast, and gone
// with a power cut.
func Config(dir string) pglocal.Config {
	cache := filepath.Join("/var/lib", "citygate", "cache")
	if os.Geteuid() != 0 {
		if user, err := os.UserCacheDir(); err == nil {
			cache = filepath.Join(user, "citygate")
		} else {
			cache = ""
		}
	}
	return pglocal.Config{
		DataDir: dir, PGBin: os.Getenv(EnvBin), CacheDir: cache,
		Progress: func(step string) { _, _ = fmt.Fprintln(os.Stderr, "pgtest: "+step) },
	}
}

var (
	templatesMu sync.Mutex
	templates   = map[string]string{} // by server
)

// template gives the name of the migrated template database, making it if this
// set of migration files has none yet. Test binaries that run side by side take
// turns.
func template(ctx context.Context, super string) (string, error) {
	templatesMu.Lock()
	defer templatesMu.Unlock()
	if name, ok := templates[super]; ok {
		return name, nil
	}
	hash, err := migrationsHash()
	if err != nil {
		return "", err
	}
	name := "citygate_template_" + hash
	conn, err := pgx.Connect(ctx, super)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }() // frees the lock
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext('citygate pgtest'))`); err != nil {
		return "", err
	}
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
		return "", err
	}
	if !there {
		if err := makeTemplate(ctx, conn, super, name); err != nil {
			return "", err
		}
	}
	templates[super] = name
	return name, nil
}

func makeTemplate(ctx context.Context, conn *pgx.Conn, super, name string) error {
	draft := name + "_draft"
	for _, sql := range []string{
		deploy.Roles,
		fmt.Sprintf(`DROP DATABASE IF EXISTS %s WITH (FORCE)`, draft),
		fmt.Sprintf(`CREATE DATABASE %s OWNER %s TEMPLATE template0 ENCODING 'UTF8'`, draft, pglocal.Owner),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if _, err := pg.Migrate(ctx, roleURL(super, pglocal.Owner, draft)); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, fmt.Sprintf(`ALTER DATABASE %s RENAME TO %s`, draft, name))
	return err
}

// migrationsHash names the set of migration files.
func migrationsHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(migrations.FS, path)
		_, _ = fmt.Fprintf(h, "%s %d\n", path, len(raw))
		_, _ = h.Write(raw)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6]), err
}
