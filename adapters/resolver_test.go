package adapters_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// knower answers questions about codes, and does nothing else.
type knower struct {
	driver.Provider
	answer driver.CodeAnswer
	err    error
}

func (k knower) Describe() driver.Description { return driver.Description{Name: "knower", IDMax: 8} }

func (k knower) ResolveCode(context.Context, driver.CodeQuestion) (driver.CodeAnswer, error) {
	return k.answer, k.err
}

// Nobody is named and nobody refused on the strength of an answer that contradicts
// itself or that is about something else.
func TestOnlyPlainAnswersAboutCodesCount(t *testing.T) {
	known := driver.CodeAnswer{OurID: "q1", Outcome: driver.CodeKnown, RiderRef: "ann"}
	for name, c := range map[string]struct {
		id   string
		k    knower
		want driver.CodeOutcome
	}{
		"known":                   {"q1", knower{answer: known}, driver.CodeKnown},
		"refused":                 {"q1", knower{answer: driver.CodeAnswer{OurID: "q1", Outcome: driver.CodeRefused}}, driver.CodeRefused},
		"known, with an error":    {"q1", knower{answer: known, err: errors.New("broken")}, driver.CodeUnknown},
		"about something else":    {"q2", knower{answer: known}, driver.CodeUnknown},
		"an id that it cannot be": {"q 1", knower{answer: known}, driver.CodeUnknown},
		"known, of nobody":        {"q1", knower{answer: driver.CodeAnswer{OurID: "q1", Outcome: driver.CodeKnown}}, driver.CodeUnknown},
		"known, of too long a name": {"q1", knower{answer: driver.CodeAnswer{OurID: "q1", Outcome: driver.CodeKnown,
			RiderRef: strings.Repeat("x", 201)}}, driver.CodeUnknown},
		"refused, and whose it is": {"q1", knower{answer: driver.CodeAnswer{OurID: "q1", Outcome: driver.CodeRefused, RiderRef: "ann"}}, driver.CodeUnknown},
		"a word that is not known": {"q1", knower{answer: driver.CodeAnswer{OurID: "q1", Outcome: "maybe"}}, driver.CodeUnknown},
	} {
		r, ok := adapters.New(c.k, time.Now).CodeResolver()
		if !ok {
			t.Fatal("the ability was not found")
		}
		got := r.ResolveCode(t.Context(), driver.CodeQuestion{OurID: c.id})
		if got.Outcome != c.want || got.OurID != c.id || got.Outcome != driver.CodeKnown && got.RiderRef != "" {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
		if silent := got.ReasonCode == adapters.NoAnswer; silent != (c.k.err != nil) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// When a code is asked about again is the provider's to say, a week ahead at most.
func TestACodeIsAskedAboutWithinAWeek(t *testing.T) {
	now := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	for ahead, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, 24 * 365 * time.Hour: 7 * 24 * time.Hour} {
		k := knower{answer: driver.CodeAnswer{OurID: "q1", RetryAt: now.Add(ahead)}}
		r, _ := adapters.New(k, func() time.Time { return now }).CodeResolver()
		if got := r.ResolveCode(t.Context(), driver.CodeQuestion{OurID: "q1"}); !got.RetryAt.Equal(now.Add(want)) {
			t.Errorf("%s ahead: asked again at %s", ahead, got.RetryAt)
		}
	}
}
