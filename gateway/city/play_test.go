package city_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/city"
	"github.com/cashlesscity/citygate/gateway/edge/conform"
	"github.com/cashlesscity/citygate/keys/sentinel"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
	"github.com/jackc/pgx/v5"
)

// held holds the API of a played gateway to its document.
func held(t *testing.T) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler { return conform.Handler(t, h) }
}

// play plays the smallest city on a database of its own and gives the score as
// JSON, without what differs between machines.
func play(t *testing.T, seed uint64) (*city.Score, []byte) {
	t.Helper()
	app, jobs := pgtest.NewURLs(t, pglocal.App, pglocal.Jobs)
	var secrets sentinel.Set
	data := t.TempDir()
	score, err := city.Play(t.Context(), city.Config{
		Seed: seed, Riders: city.MinRiders, Data: data, AppURL: app, JobsURL: jobs,
		Progress: func(string) {}, Log: secrets.Logger(), Wall: time.Now,
		Served: held(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	noKeyIsOut(t, &secrets, data, app)
	raw, err := json.Marshal(score)
	if err != nil {
		t.Fatal(err)
	}
	return score, raw
}

// noKeyIsOut looks for the file that opens the city's keys in its log, in every
// table and in every other file.
func noKeyIsOut(t *testing.T, secrets *sentinel.Set, data, app string) {
	t.Helper()
	keyFile, err := os.ReadFile(city.KeyFile(data))
	if err != nil {
		t.Fatal(err)
	}
	secrets.Add("the key file", keyFile)
	found, _ := secrets.Logged()
	conn, err := pgx.Connect(t.Context(), strings.Replace(app, string(pglocal.App), string(pglocal.Auditor), 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	stored, rows := secrets.Tables(auditor{t, conn})
	filed, err := secrets.Files(data, nil)
	if err != nil || rows < 1000 {
		t.Errorf("%d rows were looked at, %v", rows, err)
	}
	if len(filed) != 1 || !strings.HasPrefix(filed[0], city.KeyFile(data)) {
		t.Errorf("files that have the key: %v", filed)
	}
	for _, what := range slices.Concat(found, stored) {
		t.Error(what)
	}
}

// An auditor reads every tenant's rows.
type auditor struct {
	t    *testing.T
	conn *pgx.Conn
}

func (a auditor) Rows(_ citygate.TenantID, sql string, args ...any) [][]any {
	rows, err := a.conn.Query(a.t.Context(), sql, args...)
	if err != nil {
		a.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
	if err != nil {
		a.t.Fatal(err)
	}
	return all
}

// The same seed plays the same day, to the cent, whatever the machine does
// meanwhile; another seed another day. Odd seeds play with a provider whose
// query finds offline orders, even ones with one that does not know them.
func TestTheSameSeedPlaysTheSameDay(t *testing.T) {
	t.Parallel()
	first, once := play(t, 1)
	if !first.OK() {
		t.Errorf("seed 1: %v", first.Broken)
	}
	if _, again := play(t, 1); !bytes.Equal(once, again) {
		t.Errorf("seed 1 played two days:\n%s\n%s", once, again)
	}
	second, other := play(t, 2)
	if !second.OK() {
		t.Errorf("seed 2: %v", second.Broken)
	}
	if bytes.Equal(once, other) {
		t.Error("seeds 1 and 2 played the same day")
	}
	if second.Charges.UnknownOpen != 0 || second.Charges.UnknownSeen == 0 {
		t.Errorf("without trade.query finding orders: %+v", second.Charges)
	}
}

func TestACityTooSmallForItsAttacksIsRefused(t *testing.T) {
	_, err := city.Play(t.Context(), city.Config{Seed: 1, Riders: city.MinRiders - 1, Progress: func(string) {}, Log: slog.New(slog.DiscardHandler), Served: held(t)})
	if err == nil {
		t.Error("a city that cannot hold every attack was played")
	}
}

// Tenants that have nothing to do with each other play on one gateway, and each
// one's fares, charges and payouts agree to the cent.
func TestManyTenantsPlayOneDay(t *testing.T) {
	t.Parallel()
	app, jobs := pgtest.NewURLs(t, pglocal.App, pglocal.Jobs)
	const tenants, riders = 4, 3
	score, err := city.PlayMany(t.Context(), city.Config{
		Seed: 1, Riders: riders, Data: t.TempDir(), AppURL: app, JobsURL: jobs,
		Progress: func(string) {}, Log: slog.New(slog.DiscardHandler), Wall: time.Now,
		Served: held(t),
	}, tenants)
	if err != nil {
		t.Fatal(err)
	}
	if !score.OK() || score.Paid != tenants || score.Foreign != 2*tenants || score.Recorded != 2*tenants*riders || score.Books.Tenants != tenants {
		t.Errorf("%+v", score)
	}
}
