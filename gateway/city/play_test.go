package city_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/city"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// play plays the smallest city on a database of its own and gives the score as
// JSON, without what differs between machines.
func play(t *testing.T, seed uint64) (*city.Score, []byte) {
	t.Helper()
	app, jobs := pgtest.NewURLs(t, pglocal.App, pglocal.Jobs)
	score, err := city.Play(t.Context(), city.Config{
		Seed: seed, Riders: city.MinRiders, Data: t.TempDir(), AppURL: app, JobsURL: jobs,
		Progress: func(string) {}, Log: slog.New(slog.DiscardHandler), Wall: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(score)
	if err != nil {
		t.Fatal(err)
	}
	return score, raw
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
	_, err := city.Play(t.Context(), city.Config{Seed: 1, Riders: city.MinRiders - 1, Progress: func(string) {}, Log: slog.New(slog.DiscardHandler)})
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
	}, tenants)
	if err != nil {
		t.Fatal(err)
	}
	if !score.OK() || score.Paid != tenants || score.Foreign != 2*tenants || score.Recorded != 2*tenants*riders || score.Books.Tenants != tenants {
		t.Errorf("%+v", score)
	}
}
