package city

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Config says which day to play, and where.
type Config struct {
	Seed     uint64
	Riders   int
	Data     string // directory for keys, journals and files
	AppURL   string // a migrated, empty database
	JobsURL  string
	Progress func(string)
	Log      *slog.Logger
	Wall     func() time.Time                // real time, for progress alone
	Served   func(http.Handler) http.Handler // stands before the API; see gateway.Config
}

// A clock is the one clock of the play.
type clock struct{ unixMicro atomic.Int64 }

func (c *clock) now() time.Time  { return time.UnixMicro(c.unixMicro.Load()).UTC() }
func (c *clock) set(t time.Time) { c.unixMicro.Store(t.UnixMicro()) }

// A world is a city while it is played.
type world struct {
	Config
	*plan
	clock clock
	day   time.Time // local midnight at the start of the service day
	parts

	validators []*validator
	phones     []*phone
	clones     map[int]*phone // copied devices, by rider
	held       map[int][]byte // the code a rider shows again, by rider
	inside     map[ride]bool  // entries the gate opened for

	played   int // visits that have been
	made     int
	wronged  int          // honest taps let in offline and refused later
	refunded int          // refunds sent to providers
	lost     atomic.Int64 // replies the provider did not send after acting
	// unsent are the visits in each validator's journal, sent the entries that
	// have been uploaded, and backwards the exits that were uploaded before them.
	unsent    map[int][]visit
	sent      map[ride]bool
	backwards int
	abroad    int // of them Harbour City's riders at other operators' validators
	seeded    map[attack][]evidence
	// honestly is every code an honest rider showed, and whether the gate opened.
	honestly map[[32]byte]bool
	// originals are the codes that riders whose device was cloned showed themselves.
	originals map[int][][32]byte
}

// A ride is one trip of one rider.
type ride struct{ rider, trip int }

// An evidence is what an attack left behind: the code's digest and who did it.
type evidence struct {
	digest  [32]byte
	rider   int
	variant int
}

// Play plays the day and gives its score.
func Play(ctx context.Context, c Config) (score *Score, err error) {
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		return nil, err
	}
	day := time.Date(serviceDay.Year, serviceDay.Month, serviceDay.Day, 0, 0, 0, 0, shanghai)
	p, err := newPlan(c.Seed, c.Riders, day)
	if err != nil {
		return nil, err
	}
	w := &world{
		Config: c, plan: p, day: day, clones: map[int]*phone{}, held: map[int][]byte{}, inside: map[ride]bool{},
		seeded: map[attack][]evidence{}, honestly: map[[32]byte]bool{}, originals: map[int][][32]byte{},
		unsent: map[int][]visit{}, sent: map[ride]bool{},
	}
	w.clock.set(day.Add(3 * time.Hour))
	if err := w.build(ctx); err != nil {
		return nil, errors.Join(err, w.tearDown(ctx))
	}
	defer func() { err = errors.Join(err, w.tearDown(ctx)) }()
	for _, step := range []struct {
		says string
		do   func(context.Context) error
	}{
		{"onboarding Harbour City and Hillside: tenants, keys, contracts, fares, calendars", w.onboard},
		{fmt.Sprintf("enrolling %d validators and %d riders", len(w.places), len(w.riders)), w.enrol},
		{fmt.Sprintf("playing the service day: %d presentations, phones and validators offline", len(w.visits)), w.serviceDay},
		{"collecting the rest, recovering debts, importing bills, settling, paying out", w.nextDays},
	} {
		c.Progress(step.says)
		if err := step.do(ctx); err != nil {
			return nil, err
		}
	}
	c.Progress("reading the rows back and checking the invariants")
	return w.score(ctx)
}

// serviceDay plays every hour of the day: taps offline, then uploads in the
// order of the validators, then, every second time, whatever became due. While
// the gateway works on one hour, phones and validators play the next: they have
// fetched what they hold, and know nothing of it.
func (w *world) serviceDay(ctx context.Context) error {
	first, last := w.day.Add(5*time.Hour), w.day.Add(26*time.Hour)
	if err := w.offline(first); err != nil {
		return err
	}
	for at := first; at.Before(last); at = at.Add(wake) {
		end := at.Add(wake)
		w.clock.set(end)
		if err := w.happenings(ctx, end); err != nil {
			return err
		}
		if err := w.uploads(ctx, end); err != nil {
			return err
		}
		made, pending := w.made, w.pending()
		var playing sync.WaitGroup
		var failed error
		if end.Before(last) {
			playing.Go(func() { failed = w.offline(end) })
		}
		settle := w.settleDown
		if end.Sub(w.day)%(2*wake) != 0 {
			settle = w.gateway.Drain
		}
		err := settle(ctx)
		playing.Wait()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if local := end.In(w.day.Location()); local.Minute() == 0 && local.Hour()%3 == 0 {
			w.Progress(fmt.Sprintf("  %s  %d taps made, %d pending in journals", local.Format("Mon 15:04"), made, pending))
		}
	}
	return nil
}

// offline plays what happens at the gates in the hour that begins at from, slot
// by slot. It uses neither the gateway nor the clock: a visit has its own time.
func (w *world) offline(from time.Time) error {
	for end := from.Add(slot); !end.After(from.Add(wake)); end = end.Add(slot) {
		next := w.played
		for next < len(w.visits) && w.visits[next].at.Before(end) {
			next++
		}
		if err := w.present(w.visits[w.played:next]); err != nil {
			return err
		}
		w.played = next
	}
	return nil
}

func (w *world) pending() int {
	n := 0
	for _, v := range w.validators {
		n += v.sdk.Pending()
	}
	return n
}

// A shown is a visit with the code its rider shows.
type shown struct {
	visit
	raw    []byte
	opened bool
	reason code.Reason
	err    error
}

// present plays the visits of one slot. Codes are made in the order of time;
// the validators, which know nothing of each other, then work side by side.
func (w *world) present(visits []visit) error {
	byPlace := map[int][]*shown{}
	all := make([]*shown, 0, len(visits))
	for _, v := range visits {
		if v.kind == tap.Off && !w.inside[ride{v.rider, v.trip}] {
			continue // the gate did not open at the start: nobody comes out
		}
		raw, err := w.show(v)
		if err != nil {
			return fmt.Errorf("rider %d at %s: %w", v.rider, v.at, err)
		}
		s := &shown{visit: v, raw: raw}
		all = append(all, s)
		byPlace[v.place] = append(byPlace[v.place], s)
	}
	var wait sync.WaitGroup
	for place, list := range byPlace {
		wait.Go(func() {
			for _, s := range list {
				d, err := w.validators[place].present(s.at, s.raw, s.visit)
				s.opened, s.reason, s.err = d.Open, d.Reason, err
			}
		})
	}
	wait.Wait()
	for _, s := range all {
		if s.err != nil {
			return fmt.Errorf("rider %d at %s: %w", s.rider, w.places[s.place].name, s.err)
		}
		w.remember(s)
	}
	return nil
}

// show makes what the rider holds before the reader.
func (w *world) show(v visit) ([]byte, error) {
	p := w.phones[v.rider]
	if v.again {
		return w.held[v.rider], nil
	}
	var raw []byte
	var err error
	switch v.attack {
	case forged:
		return p.forge(v.at, v.variant)
	case expired: // either the display is old or, for every second rider, the credential
		made := v.at
		if v.variant%2 != 0 {
			made = made.Add(-10 * time.Minute)
		}
		raw, err = p.show(made)
	case future:
		raw, err = p.show(v.at.Add(10 * time.Minute))
	case cloned:
		raw, err = w.clones[v.rider].show(v.at)
	default:
		raw, err = p.show(v.at)
	}
	if v.trip == 1 && w.riders[v.rider].attack == cloned && v.attack == honest {
		twin := *p // copied with its counter, right after the first ride
		w.clones[v.rider] = &twin
	}
	w.held[v.rider] = raw
	return raw, err
}

// remember keeps what the score compares with the gateway's rows.
func (w *world) remember(s *shown) {
	w.made++
	w.unsent[s.place] = append(w.unsent[s.place], s.visit)
	if s.kind == tap.On && s.opened {
		w.inside[ride{s.rider, s.trip}] = true
	}
	digest := digestOf(s.raw)
	switch {
	case s.attack != honest:
		w.seeded[s.attack] = append(w.seeded[s.attack], evidence{digest, s.rider, s.variant})
	case w.riders[s.rider].attack == cloned:
		w.originals[s.rider] = append(w.originals[s.rider], digest)
	case w.riders[s.rider].attack == replayed || w.riders[s.rider].attack == forwarded:
		// the honest half of an attack: judged with it
	default:
		w.honestly[digest] = s.opened
	}
	if w.places[s.place].operator != w.riders[s.rider].tenant && w.riders[s.rider].tenant == harbourCity {
		w.abroad++
	}
}

// happenings are the events of the day that are not taps.
func (w *world) happenings(ctx context.Context, now time.Time) error {
	hour := now.Sub(w.day)
	if hour != 12*time.Hour {
		return nil
	}
	for _, t := range w.riders { // phones reported lost at noon
		if t.attack == denied {
			if err := w.reportLost(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// uploads lets the validators that are online now send their journals and
// fetch bundles and lists, in the order of their numbers.
func (w *world) uploads(ctx context.Context, now time.Time) error {
	n := int(now.Sub(w.day) / wake)
	last := now.Equal(w.day.Add(25 * time.Hour))
	var online []*validator
	for i, v := range w.validators {
		period := 2 + i%3 // every two, three or four hours, each at its own time
		if (n+3*i)%period != 0 && !last || w.lateUploads[i] {
			continue
		}
		if err := w.send(ctx, v, (n+i)%9 == 0); err != nil {
			return err
		}
		online = append(online, v)
	}
	return w.fetch(ctx, online)
}

// send uploads one validator's journal. again repeats its last batch, as if the
// answer had been lost.
func (w *world) send(ctx context.Context, v *validator, again bool) error {
	if _, err := v.upload(ctx, &w.network); err != nil {
		return err
	}
	for _, x := range w.unsent[v.index] {
		trip := ride{x.rider, x.trip}
		if x.kind == tap.On {
			w.sent[trip] = true
		} else if x.kind == tap.Off && !w.sent[trip] {
			w.backwards++
		}
	}
	w.unsent[v.index] = nil
	if again {
		return v.again(ctx, &w.network)
	}
	return nil
}

// fetch lets validators fetch what is published, several at a time: nothing is
// published while the clock stands still and nobody looks for due work.
func (w *world) fetch(ctx context.Context, online []*validator) error {
	const atOnce = 4
	var wait sync.WaitGroup
	failed := make([]error, atOnce)
	for k := range atOnce {
		wait.Go(func() {
			for i := k; i < len(online) && failed[k] == nil; i += atOnce {
				failed[k] = online[i].sync(ctx, &w.network, w.clock.now(), w.issuersFor(online[i].operator))
			}
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

// issuersFor lists whose riders an operator takes.
func (w *world) issuersFor(operator citygate.TenantID) []citygate.Issuer {
	switch operator {
	case hillsideBus:
		return []citygate.Issuer{hillsideIssuer}
	case harbourMetro:
		return []citygate.Issuer{harbourIssuer, metroIssuer}
	}
	return []citygate.Issuer{harbourIssuer}
}

// settleDown wakes what is due and waits until jobs, messages and provider
// calls are drained. The clock stands still meanwhile.
//
// What the uploads asked for is done before due work is looked for: otherwise
// it would depend on the machine's speed whether a ride is in a charge yet.
func (w *world) settleDown(ctx context.Context) error {
	if err := w.gateway.Drain(ctx); err != nil {
		return err
	}
	if err := w.gateway.Tick(ctx); err != nil {
		return err
	}
	return w.gateway.Drain(ctx)
}

// nextDays goes on some hours of each day until nothing is open: late uploads, incomplete
// journeys, charges, recoveries, bills, windows and payouts.
func (w *world) nextDays(ctx context.Context) error {
	const most = 6 * 24
	for hour := 4; hour < most; hour += 2 {
		if !slices.Contains([]int{8, 10, 12, 14, 16, 22}, hour%24) || hour%24 == 14 && hour > 24 {
			continue // bills come at nine, windows are paid at noon, the last journals arrive at two
		}
		now := w.day.Add(24*time.Hour + time.Duration(hour)*time.Hour)
		w.clock.set(now)
		if hour == 14 { // of the next day: the last journals arrive, half of the empty wallets fill up
			var late []*validator
			for i, v := range w.validators {
				if w.lateUploads[i] {
					if err := w.send(ctx, v, true); err != nil {
						return err
					}
					late = append(late, v)
				}
			}
			if err := w.fetch(ctx, late); err != nil {
				return err
			}
			w.topUp()
		}
		if hour%24 == 8 { // before the bills of the day before are ready
			if err := w.faultyBills(ctx, citygate.DateOf(now.AddDate(0, 0, -1))); err != nil {
				return err
			}
		}
		if err := w.settleDown(ctx); err != nil {
			return err
		}
		if hour < 24 {
			continue
		}
		open, err := w.open(ctx)
		if err != nil {
			return err
		}
		if len(open) == 0 {
			w.Progress(fmt.Sprintf("  %s  nothing is open any more", now.Format("Mon 15:04")))
			return nil
		}
		if hour%24 == 22 {
			w.Progress(fmt.Sprintf("  %s  still open: %v", now.Format("Mon 15:04"), open))
		}
	}
	open, err := w.open(ctx)
	return errors.Join(err, fmt.Errorf("after %d hours this is still open: %v", most, open))
}

// sortedSeeded gives the evidence of an attack in the order of its riders.
func (w *world) sortedSeeded(a attack) []evidence {
	return slices.SortedFunc(slices.Values(w.seeded[a]), func(x, y evidence) int { return cmp.Compare(x.rider, y.rider) })
}
