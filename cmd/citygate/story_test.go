package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"citygate": checkedMain})
}

// TestStories runs the program as people do, by the scripts in testdata/script.
// Beside the usual commands there are:
//
//	exits CODE command ...      the command's exit status is CODE
//	simulator NAME DIR          starts citygate adapter sim and sets $SIM to its address
//	arm FAULT                   has the next request that moves money at $SIM meet a fault, as POST /sim/arm knows it
//	database                    makes an empty migrated database and sets $DATABASE to its URL
//	value NAME FILE             sets $NAME to the line in FILE
//	serving FLAGS ...           runs "citygate serve" until the script ends; sets $GATEWAY to its address
//	call STATUS METHOD PATH [BODY] [HEADER VALUE]
//	                            asks $GATEWAY with the token $TOKEN, and wants that status; the answer is in the file "answer"
//	pick NAME FIELD             sets $NAME to that member of the JSON object in the file "answer"
//	trust TENANT VERSION        makes the tenant's keys and prepares the bundle with that version of its policy
//	tamper DIR TENANT HOW WHAT  changes one row behind the gateway's back: HOW is drop, double or alter for a
//	                            transfer of code WHAT, close for an open exception of kind WHAT, drift for
//	                            a balance of an account that begins with WHAT, stuff for the totals of
//	                            a window in state WHAT, rewrite and unlog for a change of verb WHAT that the platform audited;
//	                            sets $CHANGED to its id. DIR may be a database's URL
func TestStories(t *testing.T) {
	root, err := os.MkdirTemp("/tmp", "citygate-stories-") // the database's user cannot reach t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o711); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:         filepath.Join("testdata", "script"),
		WorkdirRoot: root,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return fmt.Errorf("a script's test is a %T", env.T())
			}
			env.Values["tb"] = tb
			findings := filepath.Join(t.TempDir(), "findings") // beside what the script makes
			env.Setenv(envFindings, findings)
			env.Values[calls{}] = new(int)
			env.Defer(func() { wasChecked(tb, conform.File(findings), *env.Values[calls{}].(*int)) })
			env.Setenv("USER", "story")
			env.Setenv("PG_BIN", os.Getenv(pgtest.EnvBin))
			if cache, err := os.UserCacheDir(); err == nil { // where a downloaded PostgreSQL lies
				env.Setenv("XDG_CACHE_HOME", cache)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": storyExits, "simulator": storySimulator, "arm": storyArm, "database": storyDatabase, "tamper": storyTamper, "trust": storyTrust, "value": storyValue,
			"serving": storyServing, "call": storyCall, "pick": storyPick,
		},
	})
}

func storyExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command ...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func storySimulator(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: simulator NAME DIR")
	}
	program, err := exec.LookPath("citygate") // testscript puts this program in front of the path
	ts.Check(err)
	sim := exec.CommandContext(context.Background(), program, "adapter", "sim", args[0], "--keys", ts.MkAbs(args[1]), "--listen", "127.0.0.1:0")
	sim.Stderr, sim.Env = ts.Stderr(), append(os.Environ(), envFindings+"="+ts.Getenv(envFindings))
	out, err := sim.StdoutPipe()
	ts.Check(err)
	ts.Check(sim.Start())
	ts.Defer(func() {
		_ = sim.Process.Signal(os.Interrupt)
		if err := sim.Wait(); err != nil {
			ts.Logf("the simulator ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	_, address, ok := strings.Cut(strings.TrimSpace(line), " simulator ready at ")
	if !ok {
		ts.Fatalf("the simulator said %q", line)
	}
	ts.Setenv("SIM", address)
}

func storyArm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: arm FAULT")
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, ts.Getenv("SIM")+"/sim/arm?next="+url.QueryEscape(args[0]), nil)
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	if resp.StatusCode != http.StatusNoContent {
		ts.Fatalf("the simulator answers %s", resp.Status)
	}
}

func storyDatabase(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: database")
	}
	u, err := url.Parse(pgtest.NewURL(ts.Value("tb").(testing.TB), pglocal.Owner))
	ts.Check(err)
	q := u.Query()
	q.Del("user") // commands name the role themselves
	u.RawQuery = q.Encode()
	ts.Setenv("DATABASE", u.String())
}

func storyValue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: value NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func storyTrust(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: trust TENANT VERSION")
	}
	tenant, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	version, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	u, err := url.Parse(ts.Getenv("DATABASE"))
	ts.Check(err)
	q := u.Query()
	q.Set("user", string(pglocal.App))
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := pg.Open(ctx, pg.Config{URL: u.String(), Clock: time.Now, Random: rand.Reader})
	ts.Check(err)
	defer db.Close()
	keyFile := ts.MkAbs("tenants.key")
	if !exists(keyFile) {
		ts.Check(local.CreateKeyFile(keyFile, rand.Reader))
	}
	store, err := local.Open(local.Config{Dir: ts.MkAbs("tenants"), KeyFile: keyFile, Random: rand.Reader, Clock: time.Now})
	ts.Check(err)
	ring := keys.NewRing(db, store)
	id := citygate.TenantID(tenant)
	for _, p := range []keys.Purpose{keys.Credential, keys.DenyList} {
		_, err := ring.Ensure(ctx, "user:story", id, p, keys.Ed25519)
		ts.Check(err)
	}
	published, err := fleet.NewPublisher(db, ring, tenants.NewDirectory(db, time.Now)).Publish(ctx, "user:story",
		fleet.Profile{Operator: id, Policy: fleet.Policy{Version: version, Body: []byte(args[1])}})
	ts.Check(err)
	if !published.Draft {
		ts.Fatalf("bundle %d is in force although the roots are offline", published.Version)
	}
}

// tampering gives, for each way, a statement that changes one row of tenant $1
// and code or kind $2 and returns its id.
var tampering = map[string]string{
	"drop": `DELETE FROM transfers WHERE tenant_id = $1 AND transfer_id = (
		SELECT transfer_id FROM transfers WHERE tenant_id = $1 AND code = $2 ORDER BY transfer_id LIMIT 1) RETURNING transfer_id::text`,
	"double": `INSERT INTO transfers SELECT tenant_id, gen_random_uuid(), debit, credit, amount, currency, code, event, interbook_id, link_id, phase, pending_id,
		effective_at, business_date, recorded_at FROM transfers WHERE tenant_id = $1 AND code = $2 ORDER BY transfer_id LIMIT 1 RETURNING transfer_id::text`,
	"alter": `UPDATE transfers SET amount = amount + 1 WHERE tenant_id = $1 AND transfer_id = (
		SELECT transfer_id FROM transfers WHERE tenant_id = $1 AND code = $2 ORDER BY transfer_id DESC LIMIT 1) RETURNING transfer_id::text`,
	"close": `UPDATE recon_items SET state = 'resolved', resolved_at = opened_at WHERE tenant_id = $1 AND item = (
		SELECT item FROM recon_items WHERE tenant_id = $1 AND kind = $2 AND state = 'open' ORDER BY item LIMIT 1) RETURNING item`,
	"drift": `UPDATE balances SET debit_total = debit_total + 5 WHERE tenant_id = $1 AND account = (
		SELECT account FROM balances WHERE tenant_id = $1 AND account LIKE $2 || '%' ORDER BY account LIMIT 1) RETURNING account`,
	"rewrite": `UPDATE platform.audit_log SET actor = 'user:mallory' WHERE tenant_id = $1 AND seq = (
		SELECT seq FROM platform.audit_log WHERE tenant_id = $1 AND verb = $2 ORDER BY seq LIMIT 1) RETURNING seq::text`,
	"unlog": `DELETE FROM platform.audit_log WHERE tenant_id = $1 AND seq = (
		SELECT max(seq) FROM platform.audit_log WHERE tenant_id = $1 AND verb = $2) RETURNING seq::text`,
	"stuff": `UPDATE windows SET totals_hash = sha256(totals_hash) WHERE tenant_id = $1 AND business_date = (
		SELECT business_date FROM windows WHERE tenant_id = $1 AND state = $2 ORDER BY business_date LIMIT 1) RETURNING business_date::text`,
}

func storyTamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 || tampering[args[2]] == "" {
		ts.Fatalf("usage: tamper DIR TENANT HOW WHAT")
	}
	tenant, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	where := args[0] + "&user=" + string(pglocal.Owner)
	if !strings.Contains(args[0], "://") {
		server, err := pglocal.Start(ctx, pglocal.Config{DataDir: ts.MkAbs(args[0]), PGBin: os.Getenv(pgtest.EnvBin), CacheDir: filepath.Join(ts.Getenv("XDG_CACHE_HOME"), "citygate")})
		ts.Check(err)
		defer func() { ts.Check(server.Stop(ctx)) }()
		where = server.URL(pglocal.Owner, pglocal.Database)
	}
	conn, err := pgx.Connect(ctx, where)
	ts.Check(err)
	defer func() { ts.Check(conn.Close(ctx)) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL app.tenant_id = '%d'", tenant)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, tampering[args[2]], tenant, args[3])
		if err != nil {
			return err
		}
		changed, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(changed) != 1 {
			return fmt.Errorf("%s changed %d rows, not one", args[2], len(changed))
		}
		ts.Setenv("CHANGED", changed[0])
		return nil
	})
	ts.Check(err)
}
