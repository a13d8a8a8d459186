package pricing

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func decodeClaims(body []byte) (m interbook.Claims, err error) { return m, json.Unmarshal(body, &m) }

const closed = 40 * time.Hour // by then every journey of a test is closed

func TestLateTapOffLeavesTheRightFare(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(1, 7, 1, 1, tap.On, 0, "A"))
	if j, d := w.only(t); j.State != "open" || len(d) != 0 || w.balance(t, "payable:operator") != 0 {
		t.Fatalf("a lone on was decided at once: %+v %+v", j, d)
	}
	w.at(t, pgtest.Epoch.Add(28*time.Hour-time.Second))
	if j, _ := w.only(t); j.State != "open" {
		t.Fatalf("closed before its time: %+v", j)
	}
	w.at(t, pgtest.Epoch.Add(28*time.Hour))
	if j, d := w.only(t); j.State != "priced" || j.Amount.Minor != 700 || len(d) != 1 || !d[0].Known {
		t.Fatalf("incomplete journey: %+v %+v", j, d)
	}
	if got := w.balance(t, "payable:operator"); got != -700 {
		t.Fatalf("payable %d", got)
	}
	w.upload(t, tapAt(1, 7, 2, 1, tap.Off, 20, "B"))
	j, d := w.only(t)
	if j.Amount.Minor != 300 || len(d) != 2 || d[1].N != 2 || d[1].Amount.Minor != 300 || len(j.Taps) != 2 {
		t.Fatalf("after the late off: %+v %+v", j, d)
	}
	if got, owed := w.balance(t, "payable:operator"), w.balance(t, "interbook_receivable:1"); got != -300 || owed != 300 {
		t.Errorf("payable %d, receivable %d; want -300 and 300", got, owed)
	}
	w.in(t, metro, func(tx *pg.Tx) error { // the fare is of the tap that begins the ride, and of no other
		var ask []TapOf
		for _, x := range []Tap{tapAt(1, 7, 1, 1, tap.On, 0, "A"), tapAt(1, 7, 2, 1, tap.Off, 20, "B"), tapAt(1, 8, 1, 1, tap.On, 0, "A"), tapAt(1, 7, 1, 9, tap.On, 0, "A")} {
			ask = append(ask, TapOf{ID: x.ID, Rider: x.Rider, At: time.UnixMilli(x.At)})
		}
		rides, err := RidesOf(t.Context(), tx, ask[:2])
		if on, off := rides[ask[0].ID], rides[ask[1].ID]; err != nil || !on.First || off.First || on.Fare != j.Amount || off.Fare != j.Amount {
			t.Errorf("the rides of its taps: %+v, %v", rides, err)
		}
		if rides, err = RidesOf(t.Context(), tx, ask[2:]); err != nil || len(rides) != 0 {
			t.Errorf("the rides of another rider's tap, and of one that is in none: %+v, %v", rides, err)
		}
		return nil
	})
	claims := w.carry(t, nil)
	if len(claims) != 2 || claims[0].Amount != 700 || claims[1].Amount != 300 || claims[1].N != 2 || len(claims[1].Taps) != 2 ||
		string(claims[1].Taps[1].Evidence) != "code of tap_2_1" {
		t.Errorf("claims %+v", claims)
	}
	if _, d := w.only(t); d[0].ClaimState != "accepted" || d[1].ClaimState != "accepted" {
		t.Errorf("claim states %s, %s", d[0].ClaimState, d[1].ClaimState)
	}
	w.check(t)
}

func TestTapOnAfterTapOffIsOneJourney(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(2, 7, 2, 1, tap.Off, 20, "B"))
	if j, _ := w.only(t); j.State != "open" {
		t.Fatalf("a lone off was priced at once: %+v", j)
	}
	w.upload(t, tapAt(2, 7, 1, 1, tap.On, 0, "A"))
	if j, d := w.only(t); j.State != "priced" || j.Amount.Minor != 300 || len(d) != 1 {
		t.Errorf("%+v %+v", j, d)
	}
	w.check(t)
}

// A second touch of the gate belongs to the journey and costs nothing.
func TestRepeatedTouchIsNamedAndFree(t *testing.T) {
	w := newWorld(t)
	again := tapAt(2, 7, 1, 2, tap.On, 0, "A")
	again.At += 5_000
	w.upload(t, tapAt(2, 7, 1, 1, tap.On, 0, "A"), again, tapAt(2, 7, 2, 1, tap.Off, 20, "B"))
	if j, d := w.only(t); j.Amount.Minor != 300 || len(j.Taps) != 3 || len(d) != 1 {
		t.Errorf("%+v %+v", j, d)
	}
	if err := w.engine.RunBatch(t.Context(), metro, 1, 1, 2); err != nil {
		t.Fatal(err)
	}
	if _, d := w.only(t); len(d) != 1 {
		t.Errorf("decided again: %+v", d)
	}
	w.check(t)
}

// randomTaps gives taps of a few riders that meet in every way.
func randomTaps(seed uint64, n int) []Tap {
	r := rand.New(rand.NewPCG(seed, 1))
	seqs := map[uint32]uint64{}
	var taps []Tap
	for range n {
		terminal := uint32(r.IntN(4) + 1)
		seqs[terminal]++
		kind := tap.Kind(r.IntN(3) + 1)
		taps = append(taps, tapAt(citygate.Issuer(r.IntN(2)+1), uint32(r.IntN(6)+1), terminal, seqs[terminal], kind, r.IntN(600), []string{"A", "B", "C"}[r.IntN(3)]))
	}
	return taps
}

// TestUploadOrderDoesNotChangeTheTotals uploads the same taps in different
// orders, in pieces, twice, with the clock running on in between, and all at once.
func TestUploadOrderDoesNotChangeTheTotals(t *testing.T) {
	for seed := range uint64(3) {
		taps := randomTaps(seed, 120)
		var want []string
		var wantBalance int64
		for order := range uint64(4) {
			w := newWorld(t)
			r := rand.New(rand.NewPCG(order, 2))
			mixed := slices.Clone(taps)
			if order > 0 {
				r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			}
			if order == 3 {
				w.taps.add(mixed...)
				if err := w.engine.RunBatches(t.Context(), metro, []Batch{{4, 1, 50}, {1, 1, 50}, {3, 1, 50}, {2, 1, 50}}); err != nil {
					t.Fatal(err)
				}
				mixed = nil
			}
			for i, x := range mixed {
				w.upload(t, x)
				if order > 0 && r.IntN(10) == 0 { // a job runs twice
					if err := w.engine.RunBatch(t.Context(), metro, x.ID.Terminal, 1, 50); err != nil {
						t.Fatal(err)
					}
				}
				if order == 2 && i == len(mixed)/2 { // half of it was charged as incomplete
					w.at(t, pgtest.Epoch.Add(closed))
				}
			}
			w.at(t, pgtest.Epoch.Add(closed))
			got, balance := w.journeys(t), w.balance(t, "payable:operator")
			w.carry(t, nil)
			w.check(t)
			if want == nil {
				want, wantBalance = got, balance
				if balance == 0 {
					t.Fatal("nothing was priced")
				}
				continue
			}
			if !reflect.DeepEqual(got, want) || balance != wantBalance {
				t.Fatalf("seed %d, order %d: balance %d, want %d\n got %v\nwant %v", seed, order, balance, wantBalance, got, want)
			}
		}
	}
}

// Every record of every batch is in one transaction's share, and none is larger
// than a transaction may be.
func TestChunks(t *testing.T) {
	batches := []Batch{{1, 5, 400}, {2, 1, 0}, {3, 7, 2*chunkRiders + 100}, {4, 1, 1}}
	left := map[uint32]Batch{}
	for _, b := range batches {
		left[b.Terminal] = b
	}
	got := chunks(batches)
	for _, chunk := range got {
		n := 0
		for _, b := range chunk {
			n += b.Count
			rest := left[b.Terminal]
			if b.First != rest.First || b.Count > rest.Count {
				t.Fatalf("%+v where %+v is left", b, rest)
			}
			left[b.Terminal] = Batch{b.Terminal, b.First + uint64(b.Count), rest.Count - b.Count}
		}
		if n > chunkRiders || n == 0 {
			t.Errorf("a transaction takes %d records", n)
		}
	}
	for terminal, rest := range left {
		if rest.Count != 0 {
			t.Errorf("of terminal %d %d records are left", terminal, rest.Count)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d transactions, want 3", len(got))
	}
}

func TestRunTwiceChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.taps.add(randomTaps(9, 100)...)
	run := func() {
		for terminal := range uint32(4) {
			if err := w.engine.RunBatch(t.Context(), metro, terminal+1, 1, 100); err != nil {
				t.Fatal(err)
			}
		}
		w.at(t, pgtest.Epoch.Add(closed))
	}
	run()
	owner := pgtest.Owner(t, w.db)
	count := func() [3]int64 {
		return [3]int64{owner.Count(metro, `SELECT count(*) FROM fare_decisions`), owner.Count(metro, `SELECT count(*) FROM transfers`), owner.Count(metro, `SELECT count(*) FROM outbox`)}
	}
	before := count()
	run()
	if after := count(); after != before || before[0] == 0 || before[1] == 0 || before[2] == 0 {
		t.Errorf("decisions, transfers, messages: %v, then %v", before, after)
	}
	w.check(t)
}

func TestRefusedClaimTakesTheFareBack(t *testing.T) {
	w := newWorld(t)
	on, off := tapAt(1, 7, 1, 1, tap.On, 0, "A"), tapAt(1, 7, 2, 1, tap.Off, 20, "B")
	ride := tapAt(1, 8, 3, 1, tap.Single, 5, "")
	w.upload(t, on, off, ride)
	if got := w.balance(t, "payable:operator"); got != -780 {
		t.Fatalf("payable %d", got)
	}
	w.carry(t, map[citygate.TapID]bool{off.ID: true, ride.ID: true})
	if got := w.balance(t, "payable:operator"); got != 0 {
		t.Errorf("payable %d after both were refused and the on still waits", got)
	}
	owner := pgtest.Owner(t, w.db)
	if n := owner.Count(metro, `SELECT count(*) FROM claim_verdicts WHERE NOT accepted`); n != 2 {
		t.Errorf("%d refused decisions, want 2", n)
	}
	w.carry(t, nil)
	w.at(t, pgtest.Epoch.Add(closed))
	if got := w.balance(t, "payable:operator"); got != -700 {
		t.Errorf("payable %d, want the incomplete fare of the on", got)
	}
	claims := w.carry(t, nil)
	if len(claims) != 1 || claims[0].Amount != 700 || len(claims[0].Taps) != 1 {
		t.Errorf("claims after the refusals: %+v", claims)
	}
	w.check(t)
}

// An issuer is told of a correction to 0 only if it ever accepted something.
func TestNothingAcceptedNeedsNoTakingBack(t *testing.T) {
	w := newWorld(t)
	ride := tapAt(1, 8, 3, 1, tap.Single, 5, "")
	w.upload(t, ride)
	refuse := map[citygate.TapID]bool{ride.ID: true}
	if claims := w.carry(t, refuse); len(claims) != 1 {
		t.Fatalf("claims %+v", claims)
	}
	if claims := w.carry(t, refuse); len(claims) != 0 {
		t.Errorf("claimed again: %+v", claims)
	}
	if j, d := w.only(t); j.State != "empty" || len(d) != 2 || d[1].Amount.Minor != 0 || !d[1].Known || d[1].ClaimState != "none" {
		t.Errorf("%+v %+v", j, d)
	}
	// the same job once more must not bring it back
	if err := w.engine.RunBatch(t.Context(), metro, 3, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, d := w.only(t); len(d) != 2 {
		t.Errorf("%d decisions", len(d))
	}
}

func TestOwnRiderIsClaimedInTheSameTransaction(t *testing.T) {
	w := newWorld(t)
	on, off := tapAt(2, 7, 1, 1, tap.On, 0, "A"), tapAt(2, 7, 2, 1, tap.Off, 20, "B")
	copied := tapAt(2, 7, 4, 1, tap.Single, 30, "")
	w.issuer.refuse[copied.ID] = true
	w.upload(t, on, off, copied)
	account := "rider_receivable:" + accountOf(on.Rider).String()
	if owed, paid := w.balance(t, account), w.balance(t, "payable:operator"); owed != 300 || paid != -300 {
		t.Errorf("rider owes %d, operator is owed %d; want 300 and -300", owed, paid)
	}
	if w.taps.known[copied.ID].Accepted {
		t.Error("the refused tap got no verdict")
	}
	owner := pgtest.Owner(t, w.db)
	if n := owner.Count(metro, `SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d messages to oneself", n)
	}
	if r := w.check(t); r.Transfers != 1 || r.Derived != 1 {
		t.Errorf("%d transfers, %d derived; want 1", r.Transfers, r.Derived)
	}
}

// An off whose claim is refused leaves an on that was charged before: the
// refused decision must not move the books.
func TestOwnRefusalOfASecondTapKeepsWhatWasPosted(t *testing.T) {
	w := newWorld(t)
	on, off := tapAt(2, 7, 1, 1, tap.On, 0, "A"), tapAt(2, 7, 2, 1, tap.Off, 20, "B")
	w.upload(t, on)
	w.at(t, pgtest.Epoch.Add(closed))
	w.issuer.refuse[off.ID] = true
	w.upload(t, off)
	j, d := w.only(t)
	if j.Amount.Minor != 700 || len(j.Taps) != 1 || len(d) != 3 || d[1].ClaimState != "refused" {
		t.Errorf("%+v %+v", j, d)
	}
	if got := w.balance(t, "payable:operator"); got != -700 {
		t.Errorf("payable %d, want -700", got)
	}
	w.check(t)
}

func TestUnknownFareIsSetAside(t *testing.T) {
	w := newWorld(t)
	ghost := tapAt(1, 7, 1, 1, tap.Single, 0, "")
	ghost.Route = "no such route"
	stranger := tapAt(9, 7, 1, 2, tap.Single, 0, "")
	early := tapAt(1, 7, 1, 3, tap.Single, -2000*60, "")
	w.upload(t, ghost, stranger, early)
	var got []string
	w.in(t, metro, func(tx *pg.Tx) error {
		if _, err := List(t.Context(), tx, Filter{State: "lost' OR '' = '"}, citygate.UUID{}, 10); !errors.Is(err, ErrFilter) {
			t.Errorf("a state that is none: %v", err)
		}
		list, err := List(t.Context(), tx, Filter{State: "set_aside"}, citygate.UUID{}, 10)
		got = nil
		for _, j := range list {
			got = append(got, j.Reason)
		}
		slices.Sort(got)
		return err
	})
	if want := []string{"issuer_unknown", "no_rule", "no_tariff"}; !slices.Equal(got, want) {
		t.Errorf("set aside %v, want %v", got, want)
	}
	if claims := w.carry(t, nil); len(claims) != 0 {
		t.Errorf("an unknown fare was claimed: %+v", claims)
	}
	if r := w.check(t); r.Transfers != 0 {
		t.Errorf("%d transfers", r.Transfers)
	}
}

func TestAnotherPayeeIsPaidInFull(t *testing.T) {
	w := newWorld(t)
	w.payees["v1"], w.payees["v2"] = "ann", "bob"
	on, off := tapAt(1, 7, 1, 1, tap.On, 0, "A"), tapAt(1, 7, 2, 1, tap.Off, 20, "B")
	off.Vehicle, on.Vehicle = "v2", "v1"
	w.upload(t, off)
	w.at(t, pgtest.Epoch.Add(closed))
	if got := w.balance(t, "payable:bob"); got != -400 {
		t.Fatalf("bob is owed %d", got)
	}
	w.upload(t, on)
	if ann, bob := w.balance(t, "payable:ann"), w.balance(t, "payable:bob"); ann != -300 || bob != 0 {
		t.Errorf("ann is owed %d, bob %d; want -300 and 0", ann, bob)
	}
	if j, _ := w.only(t); j.Payee != "ann" {
		t.Errorf("payee %s", j.Payee)
	}
	w.check(t)
}

func TestVerdictsOfAnotherTenantAreRefused(t *testing.T) {
	w := newWorld(t)
	own := tapAt(2, 7, 1, 1, tap.Single, 0, "")
	w.upload(t, own)
	_, d := w.only(t)
	j, _ := w.only(t)
	body, err := json.Marshal(interbook.Verdicts{Items: []interbook.Verdict{{Journey: j.ID, N: d[0].N, Refused: []interbook.TapVerdict{{Terminal: 1, Seq: 1, Reason: "clone"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	err = w.db.InTenant(t.Context(), metro, func(tx *pg.Tx) error { return w.engine.Verdicts(t.Context(), tx, city, body) })
	if !errors.Is(err, ErrVerdict) {
		t.Errorf("the city judged the metro's rider: %v", err)
	}
	if got := w.balance(t, "payable:operator"); got != -480 {
		t.Errorf("payable %d", got)
	}
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(1, 7, 1, 1, tap.Single, 0, ""))
	j, _ := w.only(t)
	w.in(t, city, func(tx *pg.Tx) error {
		if _, _, err := Find(t.Context(), tx, j.ID); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("found another tenant's journey: %w", err)
		}
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10)
		if len(list) != 0 {
			t.Errorf("lists %+v", list)
		}
		return err
	})
	// the same taps in another tenant are other journeys, and it has no tariff
	if err := w.engine.RunBatch(t.Context(), city, 1, 1, 1); err != nil {
		t.Fatal(err)
	}
	w.in(t, city, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{State: "set_aside"}, citygate.UUID{}, 10)
		if len(list) != 1 || list[0].ID == j.ID {
			t.Errorf("set aside %+v", list)
		}
		return err
	})
}

func TestWorkersPriceTheSameTapsOnce(t *testing.T) {
	w := newWorld(t)
	w.taps.add(randomTaps(4, 200)...)
	errs := make(chan error, 16)
	for i := range 16 {
		go func() {
			err := error(ErrRaced)
			for try := 0; try < 20 && errors.Is(err, ErrRaced); try++ {
				err = w.engine.RunBatch(t.Context(), metro, uint32(i%4+1), 1, 100)
			}
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	w.at(t, pgtest.Epoch.Add(closed))
	got := w.journeys(t)
	quiet := newWorld(t)
	quiet.upload(t, randomTaps(4, 200)...)
	quiet.at(t, pgtest.Epoch.Add(closed))
	if want := quiet.journeys(t); !reflect.DeepEqual(got, want) {
		t.Errorf("side by side %v\none by one %v", got, want)
	}
	w.check(t)
}

func TestTamperedBooksAreNamed(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(2, 7, 1, 1, tap.Single, 0, ""), tapAt(2, 8, 1, 2, tap.Single, 0, ""))
	owner := pgtest.Owner(t, w.db)
	if n := owner.Exec(metro, `DELETE FROM transfers WHERE transfer_id = (SELECT min(transfer_id::text)::uuid FROM transfers)`); n != 1 {
		t.Fatalf("%d rows", n)
	}
	r, err := ledger.Check(t.Context(), w.db, []citygate.TenantID{metro}, []ledger.Source{Books{}})
	if err != nil || r.OK() || r.Findings[0].Kind != ledger.Missing {
		t.Errorf("a transfer is gone and the check says %+v, %v", r, err)
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	version := func(n uint64, child string) *fare.Tariff {
		tariff, err := fare.ParseTariff([]byte(`{"name":"x","version":` + fmt.Sprint(n) + `,"currency":"CNY","categories":{"default":"adult"},
			"rules":[{"id":"f","flat":{"adult":` + child + `}}],"incomplete":{},"same_stop":{},"rounding":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		return tariff
	}
	publish := func(tariff *fare.Tariff, from time.Duration) error {
		return w.db.InTenant(t.Context(), metro, func(tx *pg.Tx) error {
			return Publish(t.Context(), tx, "user:ada", tariff, pgtest.Epoch.Add(from))
		})
	}
	if err := publish(version(2, "900"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"the same again", publish(version(2, "900"), time.Hour), nil},
		{"other content", publish(version(2, "901"), time.Hour), ErrTariffExists},
		{"another instant", publish(version(2, "900"), 2*time.Hour), ErrTariffExists},
		{"in the past", publish(version(3, "900"), -time.Hour), ErrTariffDate},
		{"before the last", publish(version(3, "900"), time.Minute), ErrTariffDate},
		{"not compiled", publish(&fare.Tariff{Name: "x", Version: 9}, 9*time.Hour), ErrTariffDate},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	w.upload(t, tapAt(1, 7, 1, 1, tap.Single, 59, ""), tapAt(1, 7, 1, 2, tap.Single, 60, ""))
	if got := w.balance(t, "payable:operator"); got != -480-900 {
		t.Errorf("payable %d: each ride goes by the version valid at its time", got)
	}
}

// An issuer that refuses a claim for itself, not for a tap, gets its answer
// through: the fare is taken back and the journey set aside with the reason, and
// it stays so until the journey has other taps.
func TestRefusedClaimIsTakenBackAndSetAside(t *testing.T) {
	for _, kind := range []tap.Kind{tap.Single, tap.On} {
		w := newWorld(t)
		w.upload(t, tapAt(1, 7, 1, 1, kind, 0, "A"))
		if kind == tap.On {
			w.upload(t, tapAt(1, 7, 2, 1, tap.Off, 20, "B"))
		}
		j, d := w.only(t)
		refuse := func(n int) {
			t.Helper()
			body, err := json.Marshal(interbook.Verdicts{Items: []interbook.Verdict{{Journey: j.ID, N: n, Reason: interbook.NoEvidence}}})
			if err != nil {
				t.Fatal(err)
			}
			w.in(t, metro, func(tx *pg.Tx) error { return w.engine.Verdicts(t.Context(), tx, city, body) })
		}
		refuse(d[0].N)
		w.carry(t, nil) // the claim of the first decision; it was answered above
		for range 2 {
			j, d = w.only(t)
			if j.State != "set_aside" || j.Reason != "claim_no_evidence" || j.Amount.Minor != 0 || len(j.Taps) == 0 || len(d) != 2 || d[1].Known || d[0].ClaimState != "refused" {
				t.Fatalf("%+v %+v", j, d)
			}
			if got, owed := w.balance(t, "payable:operator"), w.balance(t, "interbook_receivable:1"); got != 0 || owed != 0 {
				t.Errorf("payable %d, receivable %d; want nothing", got, owed)
			}
			if err := w.engine.RunBatch(t.Context(), metro, 1, 1, 1); err != nil { // it does not come back by itself
				t.Fatal(err)
			}
			w.at(t, pgtest.Epoch.Add(closed))
			refuse(1) // an answer to a decision that is not the last says nothing
		}
		if kind == tap.On {
			again := tapAt(1, 7, 1, 2, tap.On, 0, "A")
			again.At += 5_000
			w.upload(t, again)
			if j, _ := w.only(t); j.State != "priced" || j.Amount.Minor != 300 {
				t.Errorf("with other taps: %+v", j)
			}
		}
		w.check(t)
	}
}

// A verdict that says neither yes nor why not is nobody's word.
func TestVerdictWithoutAReasonWaits(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(1, 7, 1, 1, tap.Single, 0, ""))
	j, d := w.only(t)
	own := tapAt(2, 8, 1, 2, tap.Single, 0, "")
	w.upload(t, own)
	for name, v := range map[string]interbook.Verdict{
		"no reason":       {Journey: j.ID, N: d[0].N},
		"another's rider": {Journey: journeyID(metro, &own.Tap, 0), N: 1, Reason: interbook.NoEvidence},
	} {
		body, err := json.Marshal(interbook.Verdicts{Items: []interbook.Verdict{v}})
		if err != nil {
			t.Fatal(err)
		}
		err = w.db.InTenant(t.Context(), metro, func(tx *pg.Tx) error { return w.engine.Verdicts(t.Context(), tx, city, body) })
		if !errors.Is(err, ErrVerdict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPayeesNameTheIssuer(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(1, 7, 1, 1, tap.Single, 0, ""))
	j, _ := w.only(t)
	w.in(t, metro, func(tx *pg.Tx) error {
		got, err := PayeesOf(t.Context(), tx, []citygate.UUID{j.ID, {1}})
		if len(got) != 1 || got[j.ID] != (Payee{"operator", city}) {
			t.Errorf("payees %+v", got)
		}
		return err
	})
}

// Two publish at once: the second waits and finds what the first published, be
// it a tenant's first version or a later one.
func TestTwoTariffsAtOnce(t *testing.T) {
	for _, c := range []struct {
		tenant       citygate.TenantID
		first, other time.Duration // when they begin
	}{{city, -time.Hour, -2 * time.Hour}, {metro, 2 * time.Hour, time.Hour}} {
		twoTariffsAtOnce(t, c.tenant, c.first, c.other)
	}
}

func twoTariffsAtOnce(t *testing.T, tenant citygate.TenantID, first, other time.Duration) {
	w := newWorld(t) // in which the metro has a version 1
	publish := func(tx *pg.Tx, version string, from time.Duration) error {
		tariff, err := fare.ParseTariff([]byte(strings.Replace(tariffText, `"version":1`, `"version":`+version, 1)))
		if err != nil {
			return err
		}
		return Publish(t.Context(), tx, "test", tariff, w.now.Add(from))
	}
	done := make(chan error, 1)
	w.in(t, tenant, func(tx *pg.Tx) error {
		if err := publish(tx, "2", first); err != nil {
			return err
		}
		go func() {
			done <- w.db.InTenant(t.Context(), tenant, func(tx *pg.Tx) error { return publish(tx, "3", other) })
		}()
		select {
		case err := <-done:
			t.Errorf("the second did not wait: %v", err)
			done <- err
		case <-time.After(200 * time.Millisecond):
		}
		return nil
	})
	if err := <-done; !errors.Is(err, ErrTariffDate) {
		t.Errorf("tenant %d: the second version: %v, want ErrTariffDate", tenant, err)
	}
}

func TestAPartIsMissing(t *testing.T) {
	if _, err := New(Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("put together of nothing: %v", err)
	}
}
