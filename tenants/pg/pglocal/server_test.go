package pglocal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/jackc/pgx/v5"
)

// dataDir gives a directory that a server of another user can reach, which
// t.TempDir is not.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "citygate-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func config(dir string) pglocal.Config {
	return pglocal.Config{DataDir: dir, PGBin: os.Getenv("PG_BIN"), CacheDir: filepath.Join(os.TempDir(), "citygate-test-cache")}
}

func start(t *testing.T, c pglocal.Config) *pglocal.Server {
	t.Helper()
	s, err := pglocal.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return s
}

func query[T any](t *testing.T, s *pglocal.Server, role pglocal.Role, sql string) (value T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL(role, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func exec1(t *testing.T, s *pglocal.Server, role pglocal.Role, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL(role, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestTheServerKeepsItsDataAndLeavesNothingRunning(t *testing.T) {
	dir := dataDir(t)
	first := start(t, config(dir))
	exec1(t, first, pglocal.Owner, `CREATE TABLE kept AS SELECT 42::bigint AS n`)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	if err := first.Stop(t.Context()); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
	for _, leftover := range []string{"postgresql/postmaster.pid", "postgresql.json"} {
		if _, err := os.Stat(filepath.Join(dir, leftover)); err == nil {
			t.Errorf("%s is still there", leftover)
		}
	}
	second := start(t, config(dir))
	if n := query[int64](t, second, pglocal.Owner, `SELECT n FROM kept`); n != 42 {
		t.Errorf("after a restart the row reads %d", n)
	}
}

func TestEveryRoleConnectsAndNoneIsMoreThanItShould(t *testing.T) {
	s := start(t, config(dataDir(t)))
	for role, want := range map[pglocal.Role]string{
		pglocal.Owner: "false false", pglocal.App: "false false", pglocal.Jobs: "false false", pglocal.Auditor: "false true",
	} {
		got := query[string](t, s, role, `SELECT rolsuper::text || ' ' || rolbypassrls::text FROM pg_roles WHERE rolname = current_user`)
		if got != want {
			t.Errorf("%s: superuser and BYPASSRLS are %s, want %s", role, got, want)
		}
	}
	if listens := query[string](t, s, pglocal.Superuser, `SELECT current_setting('listen_addresses')`); listens != "" {
		t.Errorf("it listens on %q", listens)
	}
}

func TestDurableMeansThatCommitsAreOnDisk(t *testing.T) {
	const settings = `SELECT concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes'))`
	c := config(dataDir(t))
	c.Durable = true
	if got := query[string](t, start(t, c), pglocal.App, settings); got != "on on on" {
		t.Errorf("durable: fsync, synchronous_commit and full_page_writes are %s", got)
	}
	if got := query[string](t, start(t, config(dataDir(t))), pglocal.App, settings); got != "off off off" {
		t.Errorf("not durable: %s", got)
	}
}

// What was committed is there after every process of the server was killed.
func TestAKilledServerRecovers(t *testing.T) {
	c := config(dataDir(t))
	c.Durable = true
	s := start(t, c)
	exec1(t, s, pglocal.Owner, `CREATE TABLE kept (n bigint)`)
	for n := range 3 {
		exec1(t, s, pglocal.Owner, fmt.Sprintf(`INSERT INTO kept VALUES (%d)`, n))
		s.KillAll()
		select {
		case <-s.Done():
		default:
			t.Fatal("the server lives")
		}
		if err := s.Restart(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := query[int64](t, s, pglocal.Owner, `SELECT count(*) FROM kept`); got != int64(n+1) {
			t.Fatalf("after kill %d there are %d rows", n+1, got)
		}
	}
}

// The same kill loses commits that were acknowledged too early. A harness that
// cannot lose anything proves nothing.
func TestTheKillLosesWhatWasNotSynced(t *testing.T) {
	c := config(dataDir(t))
	c.Durable = true
	s := start(t, c)
	exec1(t, s, pglocal.Owner, `CREATE TABLE kept (n bigint)`)
	s.KillAll()
	if err := s.Restart(t.Context(), map[string]string{"synchronous_commit": "off", "wal_writer_delay": "10s"}); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		exec1(t, s, pglocal.Owner, fmt.Sprintf(`INSERT INTO kept VALUES (%d)`, n))
	}
	s.KillAll()
	if err := s.Restart(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := query[int64](t, s, pglocal.Owner, `SELECT count(*) FROM kept`); got == 20 {
		t.Error("all 20 acknowledged rows survived with synchronous_commit off")
	}
}

func TestASecondStartAttaches(t *testing.T) {
	dir := dataDir(t)
	first := start(t, config(dir))
	exec1(t, first, pglocal.Owner, `CREATE TABLE kept AS SELECT 42::bigint AS n`)
	second := start(t, config(dir))
	if !second.Attached() || first.Attached() {
		t.Fatalf("attached: first %v, second %v", first.Attached(), second.Attached())
	}
	if n := query[int64](t, second, pglocal.Owner, `SELECT n FROM kept`); n != 42 {
		t.Errorf("the attached server reads %d", n)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int64](t, first, pglocal.Owner, `SELECT n FROM kept`); n != 42 {
		t.Errorf("after the attached one stopped the first reads %d", n)
	}
	if err := second.Restart(t.Context(), nil); !errors.Is(err, pglocal.ErrBusy) {
		t.Errorf("an attached server was restarted: %v", err)
	}
}

// Several starts at one moment make one server, and everybody has it.
func TestStartsAtOneMomentShareOneServer(t *testing.T) {
	dir := dataDir(t)
	var wg sync.WaitGroup
	servers, errs := make([]*pglocal.Server, 3), make([]error, 3)
	for i := range servers {
		wg.Go(func() { servers[i], errs[i] = pglocal.Start(t.Context(), config(dir)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	owners := 0
	for _, s := range servers {
		if n := query[int64](t, s, pglocal.App, `SELECT 1::bigint`); n != 1 {
			t.Error(n)
		}
		if !s.Attached() {
			owners++
			defer func() { _ = s.Stop(context.Background()) }()
		}
	}
	if owners != 1 {
		t.Errorf("%d of the starts own the server, want 1", owners)
	}
}

// TestMain doubles as the process that runs a server and is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CITYGATE_PGLOCAL_VICTIM"); dir != "" {
		s, err := pglocal.Start(context.Background(), config(dir))
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println(s.URL(pglocal.Owner, ""))
		select {}
	}
	os.Exit(m.Run())
}

// The process that started the server is killed with SIGKILL. Its server goes
// too, and the next start finds the directory free and the data whole.
func TestTheServerDiesWithItsProcess(t *testing.T) {
	dir := dataDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(self)
	victim.Env = append(os.Environ(), "CITYGATE_PGLOCAL_VICTIM="+dir)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(url, "failed") {
		t.Fatalf("the victim says %q, %v", url, err)
	}
	conn, err := pgx.Connect(t.Context(), strings.TrimSpace(url))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `CREATE TABLE kept AS SELECT 42::bigint AS n`); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	if runtime.GOOS == "linux" {
		awaitEnd(t, dir)
	}
	next := start(t, config(dir))
	if next.Attached() {
		t.Fatal("attached to the dead process's server")
	}
	if n := query[int64](t, next, pglocal.Owner, `SELECT n FROM kept`); n != 42 {
		t.Errorf("the row reads %d", n)
	}
}

// awaitEnd waits for the server of a killed process to end by itself.
func awaitEnd(t *testing.T, dir string) {
	t.Helper()
	for range 1000 {
		if _, err := os.Stat(filepath.Join(dir, "postgresql", "postmaster.pid")); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the server outlives the process that started it")
}

// A data directory far down the tree has no room for a socket's path.
func TestADeepDataDirectory(t *testing.T) {
	dir := filepath.Join(dataDir(t), strings.Repeat("deep/", 20))
	s := start(t, config(dir))
	if n := query[int64](t, s, pglocal.App, `SELECT 1::bigint`); n != 1 {
		t.Error(n)
	}
	again := start(t, config(dir))
	if n := query[int64](t, again, pglocal.App, `SELECT 1::bigint`); n != 1 || !again.Attached() {
		t.Errorf("attached %v, reads %d", again.Attached(), n)
	}
	url := s.URL(pglocal.App, "")
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob("/tmp/citygate-*/.s.PGSQL.5432")
	for _, socket := range left {
		if strings.Contains(url, filepath.Base(filepath.Dir(socket))) {
			t.Errorf("the socket %s is left behind, %v", socket, err)
		}
	}
}

// An initdb that was cut off leaves a directory that is not taken for a cluster;
// a postmaster.pid whose number now belongs to another program stops nobody.
func TestLeftoversOfACrashAreNoObstacle(t *testing.T) {
	dir := dataDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "postgresql.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := start(t, config(dir))
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A living program of the server's user has the number that a postmaster had
	// before the machine went down.
	info, err := os.Stat(filepath.Join(dir, "postgresql"))
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "60")
	other.SysProcAttr = runAsOwnerOf(info)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	stale := filepath.Join(dir, "postgresql", "postmaster.pid")
	content := fmt.Sprintf("%d\n%s/postgresql\n1\n5432\n%s/run\n\n  5432001    0\nready\n", other.Process.Pid, dir, dir)
	if err := os.WriteFile(stale, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	chownLike(t, stale, info)
	second := start(t, config(dir))
	if n := query[int64](t, second, pglocal.App, `SELECT 1::bigint`); n != 1 {
		t.Error(n)
	}
}

func TestAnotherMajorVersionsClusterIsRefused(t *testing.T) {
	dir := dataDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "postgresql"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "postgresql", "PG_VERSION"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(dir)
	if c.PGBin == "" {
		found, err := pglocal.Find(t.Context(), "", c.CacheDir, 0, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		c.PGBin = found.Bin
	}
	_, err := pglocal.Start(t.Context(), c)
	if !errors.Is(err, pglocal.ErrOther) {
		t.Errorf("%v, want ErrOther", err)
	}
}

// A server that cannot start says so and points at its log; the directory is
// free afterwards.
func TestAFailedStartIsAnErrorAndFreesTheDirectory(t *testing.T) {
	c := config(dataDir(t))
	c.Settings = map[string]string{"shared_buffers": "plenty"}
	began := time.Now()
	_, err := pglocal.Start(t.Context(), c)
	if !errors.Is(err, pglocal.ErrStart) || !strings.Contains(err.Error(), "postgresql.log") {
		t.Errorf("%v, want ErrStart naming the log", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v to notice", took)
	}
	c.Settings = nil
	start(t, c)
}
