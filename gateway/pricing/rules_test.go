package pricing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const rulesText = `{"version": 1, "max_journey_minutes": 240, "upload_grace_minutes": 1440, "passback_seconds": 20,
	"same_station": [{"upto_seconds": 120, "do": "no_charge"}, {"upto_seconds": 1800, "do": "cheapest_single"}, {"do": "two_incompletes"}],
	"retype": "suspect", "max_stay_seconds": 1800, "stops": [{"id": "A"}, {"id": "B"}, {"id": "C"}],
	"travel": [{"from": "A", "to": "B", "min_seconds": 300}, {"from": "B", "to": "C", "min_seconds": 300}],
	"inference": {"methods": ["next_on", "regular_trip", "gates_opened"], "min_confidence_permille": 800, "min_trips": 3, "history_days": 10, "next_within_minutes": 600},
	"claims": {"per_month": 2, "within_weeks": 8}}`

const aDay = 24 * 60 // minutes

// rulesWorld is a world whose metro has published journey rules.
func rulesWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	d, err := journey.ParseDocument([]byte(rulesText))
	if err != nil {
		t.Fatal(err)
	}
	w.in(t, metro, func(tx *pg.Tx) error { return PublishRules(t.Context(), tx, "test", d, w.now) })
	return w
}

// aCommute is a rider of the metro going A to C in the morning for some days.
func aCommute(days int) []Tap {
	var taps []Tap
	for d := range days {
		taps = append(taps, tapAt(2, 1, 1, uint64(2*d+1), tap.On, d*aDay+60, "A"), tapAt(2, 1, 2, uint64(2*d+2), tap.Off, d*aDay+80, "C"))
	}
	return taps
}

func (w *world) last(t testing.TB) (Journey, []Decision) {
	t.Helper()
	var j Journey
	var d []Decision
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 1000)
		if err != nil {
			return err
		}
		j, d, err = Find(t.Context(), tx, list[len(list)-1].ID)
		return err
	})
	return j, d
}

func TestInferenceThenTheLateTap(t *testing.T) {
	w := rulesWorld(t)
	w.upload(t, aCommute(5)...)
	w.upload(t, tapAt(2, 1, 1, 99, tap.On, 5*aDay+62, "A"))
	w.at(t, pgtest.Epoch.Add(8*24*time.Hour))
	j, d := w.last(t)
	if j.State != "priced" || j.Amount.Minor != 700 || j.Reading == nil || j.Reading.Inferred == nil || len(d) != 1 {
		t.Fatalf("%+v %+v", j, d)
	}
	if in := j.Reading.Inferred; in.Stop != "C" || in.Method != journey.RegularTrip || in.Confidence < 800 || j.Reading.Missing != journey.MissingOff {
		t.Errorf("%+v", in)
	}
	if e := string(d[0].Explanation); !strings.Contains(e, `"regular_trip"`) || !strings.Contains(e, `"inferred"`) {
		t.Errorf("the explanation does not tell of it: %s", e)
	}
	w.upload(t, tapAt(2, 1, 3, 1, tap.Off, 5*aDay+75, "B"))
	j, d = w.last(t)
	if j.Amount.Minor != 300 || j.Reading != nil || len(d) != 2 || d[1].N != 2 {
		t.Errorf("after the late tap: %+v %+v", j, d)
	}
	if b := w.balance(t, "payable:operator"); b != -(5*700+300) && b != 5*700+300 {
		t.Errorf("payable %d", b)
	}
	w.check(t)
}

// A trip that arrives late can make a later journey regular: what was charged as
// incomplete days after it is decided again.
func TestLateHistoryIsLearntFrom(t *testing.T) {
	w := rulesWorld(t)
	commute := aCommute(4)
	w.upload(t, commute[4:]...)
	w.upload(t, tapAt(2, 1, 1, 99, tap.On, 4*aDay+62, "B"), tapAt(2, 1, 1, 100, tap.On, 4*aDay+900, "B"))
	w.at(t, pgtest.Epoch.Add(8*24*time.Hour))
	if j, _ := w.last(t); j.Reading == nil || j.Reading.Inferred != nil || j.Amount.Minor != 400 {
		t.Fatalf("%+v", j)
	}
	w2 := rulesWorld(t)
	late := aCommute(3)
	w2.upload(t, late[4:]...)
	w2.upload(t, tapAt(2, 1, 1, 99, tap.On, 5*aDay+62, "A"))
	w2.at(t, pgtest.Epoch.Add(8*24*time.Hour))
	if j, d := w2.last(t); j.Amount.Minor != 700 || j.Reading.Inferred != nil || len(d) != 1 {
		t.Fatalf("one trip is no habit: %+v", j)
	}
	w2.upload(t, late[:4]...)
	if j, d := w2.last(t); j.Reading.Inferred == nil || j.Reading.Inferred.Stop != "C" || len(d) != 1 && len(d) != 2 {
		t.Errorf("three are: %+v %+v", j, d)
	}
	w2.check(t)
}

func TestClaimOfAMissingTap(t *testing.T) {
	w := rulesWorld(t)
	ctx := t.Context()
	rider := citygate.Rider{Issuer: 2, Index: 1}
	for i := range 4 {
		w.upload(t, tapAt(2, 1, 1, uint64(i+1), tap.On, i*aDay+60, "A"))
	}
	claim := func(m MissingTap) error { m.Rider = rider; return w.engine.Claim(ctx, metro, m) }
	var ids []citygate.UUID
	list := func() []Journey {
		var all []Journey
		w.in(t, metro, func(tx *pg.Tx) (err error) { //nolint:contextcheck // a test transaction has a context of its own
			all, err = List(ctx, tx, Filter{}, citygate.UUID{}, 10)
			return err
		})
		ids = nil
		for _, j := range all {
			ids = append(ids, j.ID)
		}
		return all
	}
	list()
	if err := claim(MissingTap{Journey: ids[0], Stop: "B"}); !errors.Is(err, ErrNoClaim) {
		t.Errorf("while the tap may come: %v", err)
	}
	w.at(t, pgtest.Epoch.Add(8*24*time.Hour))
	for _, c := range []struct {
		m    MissingTap
		want *citygate.Code
	}{
		{MissingTap{Journey: ids[0], Stop: "Q"}, ErrClaimPlace}, {MissingTap{Journey: ids[0], Stop: "A"}, ErrClaimPlace},
		{MissingTap{Journey: citygate.UUID{7}, Stop: "B"}, ErrNotFound},
	} {
		if err := claim(c.m); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.m, err)
		}
	}
	if err := w.engine.Claim(ctx, metro, MissingTap{Rider: citygate.Rider{Issuer: 2, Index: 2}, Journey: ids[0], Stop: "B"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another rider's journey: %v", err)
	}
	if err := claim(MissingTap{Journey: ids[0], Stop: "B"}); err != nil {
		t.Fatal(err)
	}
	j := list()[0]
	if j.Amount.Minor != 300 || j.Reading.Inferred == nil || j.Reading.Inferred.Method != journey.RiderClaim || j.Reading.Inferred.Claim == "" {
		t.Errorf("%+v %+v", j, j.Reading)
	}
	if err := claim(MissingTap{Journey: ids[0], Stop: "C"}); !errors.Is(err, ErrNoClaim) {
		t.Errorf("twice: %v", err)
	}
	if err := claim(MissingTap{Journey: ids[1], Stop: "B"}); err != nil {
		t.Fatal(err)
	}
	if err := claim(MissingTap{Journey: ids[2], Stop: "B"}); !errors.Is(err, ErrClaimMost) {
		t.Errorf("a third one this month: %v", err)
	}
	w.now = pgtest.Epoch.Add(80 * 24 * time.Hour)
	if err := claim(MissingTap{Journey: ids[2], Stop: "B"}); !errors.Is(err, ErrClaimLate) {
		t.Errorf("after eleven weeks: %v", err)
	}
	w.upload(t, tapAt(2, 1, 3, 1, tap.Off, 90, "C"))
	if j := list()[0]; j.Amount.Minor != 700 || j.Reading != nil {
		t.Errorf("the tap itself: %+v", j)
	}
	w.check(t)
}

func TestFactsThatComeLater(t *testing.T) {
	w := rulesWorld(t)
	w.upload(t, tapAt(2, 1, 1, 1, tap.On, 60, "A"), tapAt(2, 1, 9, 1, tap.On, 75, "B"), tapAt(2, 2, 1, 2, tap.On, 60, "A"))
	w.at(t, pgtest.Epoch.Add(8*24*time.Hour))
	at := func(minutes int) time.Time { return pgtest.Epoch.Add(time.Duration(minutes) * time.Minute) }
	if _, err := w.engine.Record(t.Context(), metro, Fact{Kind: ReaderKindWrong, Terminal: 9, From: at(70), To: at(90), Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.engine.Record(t.Context(), metro, Fact{Kind: GatesOpened, Stop: "B", From: at(70), To: at(90), Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"2/0/1 [tap_1_1 tap_9_1] priced  300 operator",
		"2/0/2 [tap_1_2] priced  300 operator",
	}
	if got := w.journeys(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for _, f := range []Fact{{Kind: "moon", Terminal: 1}, {Kind: GatesOpened, Terminal: 1, Stop: "B"}, {Kind: GatesOpened}, {Kind: ReaderKindWrong}, {Kind: GatesOpened, Stop: "B", From: at(10), To: at(9)}} {
		if _, err := w.engine.Record(t.Context(), metro, f); !errors.Is(err, ErrFact) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	w.check(t)
}

// A tap that arrives late takes the off of another journey: the fare moves, and
// the two corrections sum to zero.
func TestAFareThatMovesIsAPairOfCorrections(t *testing.T) {
	w := newWorld(t)
	w.upload(t, tapAt(2, 1, 1, 1, tap.On, 0, "A"), tapAt(2, 1, 1, 2, tap.Off, 30, "C"))
	w.upload(t, tapAt(2, 1, 2, 1, tap.On, 20, "A"))
	w.at(t, pgtest.Epoch.Add(closed))
	var pairs []Correction
	var total int64
	w.in(t, metro, func(tx *pg.Tx) error {
		list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 10)
		for _, j := range list {
			more, err := CorrectionsOf(t.Context(), tx, j.ID)
			if err != nil {
				return err
			}
			total += j.Amount.Minor
			if j.ID == list[0].ID {
				pairs = more
			} else if !reflect.DeepEqual(more, pairs) {
				t.Errorf("the two journeys tell of %v and %v", pairs, more)
			}
		}
		return err
	})
	if total != 1400 || len(pairs) != 1 || pairs[0].Amount.Minor != 700 || pairs[0].From == pairs[0].To {
		t.Errorf("total %d, pairs %+v", total, pairs)
	}
	w.check(t)
}

// With every rule on, in any order of upload, in pieces, twice, with the clock
// running on in between: the same journeys, read the same way, and the same totals.
func TestUploadOrderDoesNotChangeWhatIsInferred(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 4))
	var taps []Tap
	seq := map[uint32]uint64{}
	add := func(rider uint32, kind tap.Kind, minutes int, stop string) {
		if r.IntN(6) == 0 {
			return // lost
		}
		terminal := uint32(r.IntN(4) + 1)
		seq[terminal]++
		taps = append(taps, tapAt(2, rider, terminal, seq[terminal], kind, minutes, stop))
	}
	for rider := range uint32(3) {
		for d := range 9 {
			add(rider+1, tap.On, d*aDay+60+r.IntN(30), "A")
			add(rider+1, tap.Off, d*aDay+100+r.IntN(30), "C")
			add(rider+1, tap.On, d*aDay+500+r.IntN(30), "C")
			add(rider+1, tap.Off, d*aDay+540+r.IntN(30), []string{"A", "A", "B"}[r.IntN(3)])
		}
	}
	var want []string
	for order := range uint64(3) {
		w := rulesWorld(t)
		if _, err := w.engine.Record(t.Context(), metro, Fact{Kind: ReaderKindWrong, Terminal: 3, From: pgtest.Epoch, To: pgtest.Epoch.Add(100 * time.Hour), Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		mixed := slices.Clone(taps)
		if order > 0 {
			rand.New(rand.NewPCG(order, 2)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		}
		for i, x := range mixed {
			w.upload(t, x)
			if order > 0 && i%40 == 20 {
				w.at(t, pgtest.Epoch.Add(time.Duration(13+i/40)*24*time.Hour))
			}
		}
		w.at(t, pgtest.Epoch.Add(20*24*time.Hour))
		var got []string
		w.in(t, metro, func(tx *pg.Tx) error {
			list, err := List(t.Context(), tx, Filter{}, citygate.UUID{}, 1000)
			got = nil
			for _, j := range list {
				if j.State != "empty" {
					line := fmt.Sprintf("%v %v %s %d", j.Rider, j.Taps, j.State, j.Amount.Minor)
					if j.Reading != nil {
						line += fmt.Sprintf(" %+v %+v", *j.Reading, j.Reading.Inferred)
					}
					got = append(got, pointers.ReplaceAllString(line, ""))
				}
			}
			slices.Sort(got)
			return err
		})
		w.check(t)
		if want == nil {
			want = got
			if n := strings.Count(strings.Join(got, "\n"), "Method:"); n < 5 {
				t.Fatalf("only %d were inferred: %v", n, got)
			}
			continue
		}
		if !reflect.DeepEqual(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("order %d: %s\nwant     %s", order, got[i], want[i])
				}
			}
			t.Fatalf("order %d: %d journeys, want %d", order, len(got), len(want))
		}
	}
}

func TestPublishRules(t *testing.T) {
	w := rulesWorld(t)
	d, err := journey.ParseDocument([]byte(rulesText))
	if err != nil {
		t.Fatal(err)
	}
	publish := func(version uint64, change int64, from time.Time) (err error) {
		next := *d
		next.Version, next.PassbackSec = version, d.PassbackSec+change
		err = w.db.InTenant(t.Context(), metro, func(tx *pg.Tx) error { return PublishRules(t.Context(), tx, "test", &next, from) })
		return err
	}
	for _, c := range []struct {
		version uint64
		change  int64
		from    time.Time
		want    error
	}{
		{1, 0, w.now, nil}, {1, 1, w.now, ErrRulesExist}, {1, 0, w.now.Add(1), nil}, {1, 0, w.now.Add(time.Hour), ErrRulesExist},
		{2, 0, w.now.Add(-time.Hour), ErrRulesDate}, {3, 0, w.now.Add(time.Hour), nil}, {2, 0, w.now.Add(2 * time.Hour), ErrRulesDate},
		{4, 0, w.now.Add(time.Hour), ErrRulesDate}, {0, 0, w.now.Add(3 * time.Hour), journey.ErrRules},
	} {
		if err := publish(c.version, c.change, c.from); !errors.Is(err, c.want) {
			t.Errorf("version %d from %v: %v, want %v", c.version, c.from, err, c.want)
		}
	}
}

// pointers are the addresses in a printed struct.
var pointers = regexp.MustCompile(`0x[0-9a-f]+`)
