package pglocal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cashlesscity/citygate/deploy"
	"github.com/jackc/pgx/v5"
)

// A Role is a database role of deploy/roles.sql.
type Role string

// The roles.
const (
	Owner     Role = "citygate_owner"
	App       Role = "citygate_app"
	Jobs      Role = "citygate_jobs"
	Auditor   Role = "citygate_auditor" // reads every tenant: for checks only
	Superuser Role = "postgres"         // for the setting-up of tests only
)

// Database is the database a new server comes with. It is empty: pg.Migrate
// fills it.
const Database = "citygate"

// A Config says what server to run. DataDir is required.
type Config struct {
	DataDir  string // holds the cluster in postgresql/, its log, its lock and port file
	PGBin    string // directory of postgres and initdb; "" = see [Find]
	CacheDir string // where a downloaded PostgreSQL is kept; "" = DataDir/cache
	// Durable keeps every acknowledged commit through a power cut (fsync and
	// all). Tests do without.
	Durable  bool
	Settings map[string]string // postgresql.conf settings that override ours
	// Template names what the caller fills a new cluster with before it calls
	// [Server.KeepTemplate], such as a digest of its schema. A later Start with the
	// same name copies that cluster instead of making one. "" = every cluster is made.
	Template string
	Log      io.Writer    // the server's log; nil = DataDir/postgresql.log
	Progress func(string) // hears of steps that take long or change the machine
}

// A Server is a running PostgreSQL. Its methods are safe for concurrent use.
type Server struct {
	config   Config
	found    Installation
	id       identity
	cluster  string
	socket   string
	lock     *os.File // nil when attached to another Start's server
	ownsSock bool     // the socket directory lies outside DataDir and goes with us
	made     bool     // the cluster comes from initdb, and not from a template
	synced   chan error

	mu   sync.Mutex
	proc *process
}

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// Start runs a PostgreSQL on c.DataDir, making the cluster, the roles and the
// database the first time, and gives it when it takes connections. A server that
// was killed recovers. When another process runs the server of this directory,
// Start attaches to it.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.DataDir == "" {
		return nil, ErrStart.Explain("no data directory given")
	}
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return nil, err
	}
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(c.DataDir, "cache")
	}
	// Others may pass through, which the server's user has to; they see nothing:
	// everything in it has a mode of its own.
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil { //nolint:gosec // as said
		return nil, err
	}
	s := &Server{config: c, cluster: filepath.Join(c.DataDir, "postgresql")}
	if s.id, err = serverIdentity(); err != nil {
		return nil, err
	}
	attached, err := s.lockOrAttach(ctx)
	if err != nil || attached {
		return s, err
	}
	if err := s.prepareAndRun(ctx); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *Server) prepareAndRun(ctx context.Context) error {
	blocked, err := s.id.blockedBy(s.config.DataDir)
	if err != nil {
		return err
	}
	if blocked != "" {
		return ErrUnreachable.Explain("user %s may not pass through %s", s.id.name, blocked)
	}
	want, err := clusterVersion(s.cluster)
	if err != nil {
		return err
	}
	if s.found, err = Find(ctx, s.config.PGBin, s.config.CacheDir, want, s.config.Progress); err != nil {
		return err
	}
	if want != 0 && s.found.Version != want {
		return ErrOther.Explain("%s was made by version %d, and %s is version %d", s.cluster, want, s.found.Bin, s.found.Version)
	}
	if blocked, err = s.id.blockedBy(s.found.Bin); err != nil {
		return err
	}
	if blocked != "" {
		return ErrUnreachable.Explain("user %s may not pass through %s, on the way to PostgreSQL's programs", s.id.name, blocked)
	}
	if want == 0 {
		if err := s.initialise(ctx); err != nil {
			return err
		}
	}
	if err := s.makeSocketDir(); err != nil {
		return err
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if err := s.setUp(ctx); err != nil {
		return errors.Join(err, s.halt(ctx))
	}
	return s.writePortFile()
}

// environment is all the server's processes see of ours: none of the caller's
// PG* variables, no home with a configuration of its own.
func (s *Server) environment() []string {
	return []string{"HOME=" + s.config.DataDir, "TZ=UTC", "LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin"}
}

// initialise makes the cluster under another name and renames it, so that an
// interrupted initdb leaves nothing that looks like a cluster.
func (s *Server) initialise(ctx context.Context) error {
	s.config.Progress(fmt.Sprintf("creating a PostgreSQL %d database in %s", s.found.Version, s.cluster))
	fresh := s.cluster + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if s.fromTemplate(fresh) {
		if err := os.Rename(fresh, s.cluster); err != nil {
			return err
		}
		s.syncBeside()
		return nil
	}
	s.made = true
	if err := s.id.own(fresh); err != nil {
		return err
	}
	args := []string{"-D", fresh, "-U", string(Superuser), "-E", "UTF8", "--locale=C", "-A", "trust", "--no-instructions"}
	if !s.config.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.found.Bin, "initdb"), args...) //nolint:gosec // found or given by the operator
	cmd.Env, cmd.Dir, cmd.SysProcAttr = s.environment(), fresh, s.id.attributes()
	var out []byte
	err := onOneThread(func() (err error) { out, err = cmd.CombinedOutput(); return err })
	if err != nil {
		return ErrStart.Because(err, "initdb: %s", lastLine(out))
	}
	return os.Rename(fresh, s.cluster)
}

// settings gives the whole configuration: ours, then what durability asks for,
// then the caller's.
func (s *Server) settings() map[string]string {
	all := map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": s.socket,
		"port":                    "5432",
		"max_connections":         "200",
		"shared_buffers":          "256MB",
		"max_wal_size":            "2GB",
		"checkpoint_timeout":      "15min",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_min_messages":        "warning",
		"jit":                     "off",
		// A new database has no statistics, and without them the planner takes a
		// tenant's rows for few and reads them all. Look often, and again each time
		// a table has doubled.
		"autovacuum_naptime":              "2s",
		"autovacuum_analyze_scale_factor": "1.0",
	}
	if !s.config.Durable {
		maps.Copy(all, map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
	}
	maps.Copy(all, s.config.Settings)
	return all
}

// run starts the postmaster and waits until it takes connections.
func (s *Server) run(ctx context.Context) error {
	if pid, ok := orphan(s.cluster); ok {
		if err := awaitEnd(ctx, pid); err != nil {
			return err
		}
	}
	args := []string{"-D", s.cluster}
	settings := s.settings()
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", k+"="+settings[k])
	}
	cmd := exec.Command(filepath.Join(s.found.Bin, "postgres"), args...) //nolint:gosec,noctx // it outlives ctx; Stop ends it
	cmd.Env, cmd.Dir, cmd.SysProcAttr = s.environment(), s.cluster, s.id.attributes()
	cmd.WaitDelay = stopTimeout
	cmd.Stdout = s.config.Log
	if s.config.Log == nil {
		log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = log.Close() }() // the server has its own copy
		cmd.Stdout = log
	}
	cmd.Stderr = cmd.Stdout
	proc, err := launch(cmd)
	if err != nil {
		return ErrStart.Because(err, "")
	}
	s.mu.Lock()
	s.proc = proc
	s.mu.Unlock()
	if err := s.awaitReady(ctx, proc); err != nil {
		return errors.Join(err, s.halt(context.WithoutCancel(ctx)))
	}
	return nil
}

func (s *Server) logFile() string { return filepath.Join(s.config.DataDir, "postgresql.log") }

func (s *Server) awaitReady(ctx context.Context, proc *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-proc.done:
			return ErrStart.Because(proc.err, "see %s", s.logFile())
		case <-ctx.Done():
			return ErrStart.Because(err, "not ready in time; see %s", s.logFile())
		case <-tick.C:
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL(Superuser, "postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// setUp makes the roles and the database. It runs at every start, so that a
// data directory of an older release gets what a newer one added.
func (s *Server) setUp(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL(Superuser, "postgres"))
	if err != nil {
		return ErrStart.Because(err, "connecting")
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, deploy.Roles); err != nil {
		return ErrStart.Because(err, "roles.sql")
	}
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, Database).Scan(&there); err != nil {
		return ErrStart.Because(err, "")
	}
	if !there {
		if _, err := conn.Exec(ctx, `CREATE DATABASE `+Database+` OWNER `+string(Owner)+` TEMPLATE template0`); err != nil {
			return ErrStart.Because(err, "creating the database")
		}
	}
	return nil
}

// URL gives the connection URL of a role, to database or, when that is "", to
// [Database].
func (s *Server) URL(role Role, database string) string {
	if database == "" {
		database = Database
	}
	q := url.Values{"host": {s.socket}, "port": {"5432"}, "user": {string(role)}}
	return "postgres:///" + url.PathEscape(database) + "?" + q.Encode()
}

// Attached reports whether the server belongs to another Start, which also
// decides when it stops.
func (s *Server) Attached() bool { return s.lock == nil }

// Bin gives the directory of the PostgreSQL programs; "" when attached.
func (s *Server) Bin() string { return s.found.Bin }

// Stop shuts the server down: connections are cut, what was committed stays. An
// attached server is left running. Stop may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	if s.Attached() {
		return nil
	}
	err := errors.Join(s.halt(ctx), s.awaitSync())
	s.release()
	return err
}

// halt asks for a fast shutdown, and insists when that takes too long.
func (s *Server) halt(ctx context.Context) error {
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	if proc == nil || proc.exited() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	proc.signal(syscall.SIGINT) // fast: roll back, disconnect, checkpoint
	select {
	case <-proc.done:
		return nil
	case <-ctx.Done():
	}
	s.KillAll()
	return ErrStart.Because(nil, "the server did not stop within %s and was killed", stopTimeout)
}

// release gives up the directory: the port file, the socket and the lock.
func (s *Server) release() {
	if s.lock == nil {
		return
	}
	_ = os.Remove(s.portFile())
	if s.ownsSock {
		_ = os.RemoveAll(s.socket)
	}
	_ = s.lock.Close()
	s.lock = nil
}

// KillAll kills the postmaster and all its processes at once with SIGKILL, as a
// crash would, and gives when they are gone. What the operating system had been
// handed survives: this is not a power cut. [Server.Restart] recovers.
func (s *Server) KillAll() {
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	if proc == nil || proc.exited() {
		return
	}
	proc.signal(syscall.SIGSTOP) // so that it forks nothing and reaps nothing meanwhile
	victims := children(proc.pid)
	for _, pid := range victims {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	proc.signal(syscall.SIGKILL)
	<-proc.done
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(victims, alive) {
		<-tick.C
	}
}

// Restart runs the server again after [Server.KillAll], on the same data and
// under the same URLs, with the settings of Start or, if given, these on top.
func (s *Server) Restart(ctx context.Context, settings map[string]string) error {
	if s.Attached() {
		return ErrBusy.Explain("the server belongs to another process")
	}
	if err := s.halt(ctx); err != nil {
		return err
	}
	merged := maps.Clone(s.config.Settings)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, settings)
	s.config.Settings = merged
	return s.run(ctx)
}

// Done is closed when the server has ended, wanted or not. It is nil when
// attached.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	return s.proc.done
}

// onOneThread runs f on a thread that lives until f returns: the signal on the
// parent's death comes when the forking thread ends.
func onOneThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// awaitEnd has a postmaster that lost its parent shut down, and waits for it.
func awaitEnd(ctx context.Context, pid int) error {
	_ = syscall.Kill(pid, syscall.SIGINT)
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-ctx.Done():
			return ErrBusy.Explain("a PostgreSQL (process %d) still runs there and does not stop", pid)
		case <-tick.C:
		}
	}
	return nil
}
