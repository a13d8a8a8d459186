package agreement

import (
	"errors"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func cny(minor int64) citygate.Money { return citygate.Money{Minor: minor, Currency: "CNY"} }

// Only ended is final, an answer that was overtaken says nothing but the end, and an
// answer about another agreement changes nothing.
func TestHear(t *testing.T) {
	open := func() Agreement {
		return Agreement{Contract: "c", OurID: "A", State: Unknown, OpenedAt: noon, InvitedAt: noon, ChangedAt: noon}
	}
	said := func(s driver.AgreementState) driver.Agreement { return driver.Agreement{OurID: "A", ID: "9", State: s} }
	const minute = time.Minute
	for name, c := range map[string]struct {
		was    func(*Agreement)
		said   driver.Agreement
		from   time.Duration // after noon; it is heard a second later
		want   State
		asked  time.Duration // from when it is heard until it is asked again; 0 = never
		number string
		wrong  bool
	}{
		"not confirmed":   {said: driver.Agreement{OurID: "A"}, from: minute, want: Unknown, asked: minute},
		"pending":         {said: said(driver.AgreementPending), from: minute, want: Pending, asked: minute, number: "9"},
		"active":          {said: said(driver.AgreementActive), from: minute, want: Active, number: "9"},
		"ended":           {said: said(driver.AgreementEnded), from: minute, want: Ended, number: "9"},
		"suspended":       {was: func(a *Agreement) { a.State = Active }, said: said(driver.AgreementPending), from: minute, want: Pending, asked: minute, number: "9"},
		"forgotten":       {was: func(a *Agreement) { a.State = Active }, said: driver.Agreement{OurID: "A"}, from: minute, want: Active},
		"active at last":  {was: func(a *Agreement) { a.State, a.EndedAt = Ended, noon }, said: said(driver.AgreementActive), from: minute, want: Ended},
		"ending, active":  {was: func(a *Agreement) { a.State, a.Ending, a.Asks = Active, true, 2 }, said: said(driver.AgreementActive), from: minute, want: Active, asked: minute, number: "9"},
		"overtaken":       {was: func(a *Agreement) { a.State = Active }, said: said(driver.AgreementPending), from: -minute, want: Active, asked: minute, number: "9"},
		"overtaken, end":  {was: func(a *Agreement) { a.State = Active }, said: said(driver.AgreementEnded), from: -minute, want: Ended, number: "9"},
		"clock set back":  {was: func(a *Agreement) { a.ChangedAt = noon.Add(time.Hour) }, said: said(driver.AgreementActive), from: minute, want: Active, number: "9"},
		"another number":  {was: func(a *Agreement) { a.ProviderID = "8" }, said: said(driver.AgreementEnded), from: minute, want: Unknown, number: "8", wrong: true},
		"another name":    {said: driver.Agreement{OurID: "B", ID: "9", State: driver.AgreementActive}, from: minute, want: Unknown, wrong: true},
		"asked for weeks": {was: func(a *Agreement) { a.InvitedAt, a.Asks = noon.Add(-31*24*time.Hour), 90 }, said: driver.Agreement{OurID: "A"}, from: minute, want: Unknown},
		"for some time": {said: driver.Agreement{OurID: "A", ID: "9", State: driver.AgreementActive, ValidTo: noon.Add(time.Hour)}, from: minute, want: Active,
			asked: time.Hour - minute - time.Second, number: "9"},
	} {
		a := open()
		if c.was != nil {
			c.was(&a)
		}
		now := noon.Add(c.from + time.Second)
		if c.from < 0 {
			now = noon.Add(time.Second)
		}
		err := a.Hear(c.said, noon.Add(c.from), now)
		if errors.Is(err, ErrOther) != c.wrong || err != nil && !c.wrong {
			t.Errorf("%s: %v", name, err)
		}
		if a.State != c.want || a.ProviderID != c.number || (a.State == Ended) != !a.EndedAt.IsZero() {
			t.Errorf("%s: %s, number %q, ended %v; want %s, %q", name, a.State, a.ProviderID, a.EndedAt, c.want, c.number)
		}
		if c.asked == 0 && !a.NextAskAt.IsZero() || c.asked != 0 && a.NextAskAt.Sub(now) != c.asked {
			t.Errorf("%s: asked again at %v; want after %s", name, a.NextAskAt, c.asked)
		}
	}
}

// An answer that something newer has overtaken says who is meant, and nothing of how the
// agreement stands: a limit of before is none of now.
func TestAnOvertakenAnswerChangesNoLimit(t *testing.T) {
	a := Agreement{OurID: "A", State: Active, ChangedAt: noon, SingleMax: cny(500), Reason: "now"}
	said := driver.Agreement{OurID: "A", ID: "9", RiderRef: "2088", State: driver.AgreementActive, ValidTo: noon.Add(-time.Hour), SingleMax: cny(1), ReasonCode: "before"}
	if err := a.Hear(said, noon.Add(-time.Second), noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if a.SingleMax != cny(500) || !a.ValidTo.IsZero() || a.Reason != "now" || a.ProviderID != "9" || a.RiderRef != "2088" || !a.NextAskAt.Equal(noon.Add(time.Second+askFirst)) {
		t.Errorf("%+v", a)
	}
}

// What stops a charge, what waits, and when the provider is asked first. An unanswered
// question stops nothing but what has ended for good.
func TestJudge(t *testing.T) {
	const day = 24 * time.Hour
	active := Agreement{State: Active, AskedAt: noon.Add(-time.Hour), ValidFrom: noon.Add(-day)}
	with := func(change func(*Agreement)) *Agreement {
		a := active
		change(&a)
		return &a
	}
	old := func(a *Agreement) { a.AskedAt = noon.Add(-Fresh) }
	for name, c := range map[string]struct {
		a          *Agreement
		made       time.Duration // before noon
		prompt     bool
		ask        bool
		unanswered Ruling // after a question without an answer, where one is asked
		answered   Ruling // after one whose answer a is
	}{
		"active":            {a: &active, answered: Ruling{}},
		"not known":         {ask: true},
		"old":               {a: with(old), ask: true},
		"never asked":       {a: with(func(a *Agreement) { a.AskedAt = time.Time{} }), ask: true},
		"clock set back":    {a: with(func(a *Agreement) { a.AskedAt = noon.Add(time.Hour) }), ask: true},
		"being ended":       {a: with(func(a *Agreement) { a.Ending = true }), ask: true},
		"nothing of it":     {a: with(func(a *Agreement) { a.State = Unknown }), ask: false},
		"ended":             {a: with(func(a *Agreement) { a.State = Ended; old(a) }), unanswered: Ruling{Reason: ReasonEnded}, answered: Ruling{Reason: ReasonEnded}},
		"expired":           {a: with(func(a *Agreement) { a.ValidTo = noon }), ask: true, unanswered: Ruling{Reason: ReasonExpired}, answered: Ruling{Reason: ReasonExpired}},
		"not yet expired":   {a: with(func(a *Agreement) { a.ValidTo = noon.Add(time.Nanosecond) })},
		"expired, old":      {a: with(func(a *Agreement) { a.ValidTo = noon; old(a) }), ask: true, answered: Ruling{Reason: ReasonExpired}},
		"too small":         {a: with(func(a *Agreement) { a.SingleMax = cny(499) }), ask: true, unanswered: Ruling{Reason: ReasonLimit}, answered: Ruling{Reason: ReasonLimit}},
		"large enough":      {a: with(func(a *Agreement) { a.SingleMax = cny(500) })},
		"another currency":  {a: with(func(a *Agreement) { a.SingleMax = citygate.Money{Minor: 1, Currency: "HKD"} })},
		"too small, old":    {a: with(func(a *Agreement) { a.SingleMax = cny(1); old(a) }), ask: true, answered: Ruling{Reason: ReasonLimit}},
		"begins in minutes": {a: with(func(a *Agreement) { a.ValidFrom = noon.Add(skew) })},
		"begins soon": {a: with(func(a *Agreement) { a.ValidFrom = noon.Add(10 * time.Minute) }), ask: true,
			unanswered: Ruling{ReasonPending, noon.Add(10 * time.Minute)}, answered: Ruling{ReasonPending, noon.Add(10 * time.Minute)}},
		"pending": {a: with(func(a *Agreement) { a.State = Pending }), ask: true,
			unanswered: Ruling{ReasonPending, noon.Add(time.Hour)}, answered: Ruling{ReasonPending, noon.Add(time.Hour)}},
		"pending, and somebody waits": {a: with(func(a *Agreement) { a.State = Pending }), prompt: true, ask: true,
			unanswered: Ruling{Reason: ReasonPending}, answered: Ruling{Reason: ReasonPending}},
		"begins soon, and somebody waits": {a: with(func(a *Agreement) { a.ValidFrom = noon.Add(10 * time.Minute) }), prompt: true, ask: true,
			unanswered: Ruling{Reason: ReasonPending}, answered: Ruling{Reason: ReasonPending}},
		"pending for days": {a: with(func(a *Agreement) { a.State = Pending }), made: waitAtMost, ask: true, unanswered: Ruling{Reason: ReasonPending}, answered: Ruling{Reason: ReasonPending}},
	} {
		judge := func(asked, answered bool) (Ruling, bool) {
			return Judge(c.a, Question{Amount: cny(500), Made: noon.Add(-c.made), Prompt: c.prompt}, noon, asked, answered)
		}
		r, ask := judge(false, false)
		if ask != c.ask {
			t.Errorf("%s: asked first: %t", name, ask)
		}
		if !ask && r != c.answered {
			t.Errorf("%s: %+v; want %+v", name, r, c.answered)
		}
		if got, again := judge(true, false); again || got != c.unanswered {
			t.Errorf("%s, unanswered: %+v, asked again %t; want %+v", name, got, again, c.unanswered)
		}
		if got, again := judge(true, true); c.a != nil && (again || got != c.answered) {
			t.Errorf("%s, answered: %+v, asked again %t; want %+v", name, got, again, c.answered)
		}
	}
}
