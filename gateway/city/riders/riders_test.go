package riders_test

import (
	"testing"

	"github.com/cashlesscity/citygate/gateway/city/riders"
)

// The bound that inference is held to: of 20,000 journeys with 3 % of the taps
// deleted, at least 95 % of what is completed is right, a good part is completed,
// and nobody pays more than for an incomplete journey.
func TestInferenceIsRightAndNeverDearer(t *testing.T) {
	for _, seed := range []uint64{1, 7, 99} {
		town, err := riders.Play(seed, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		price, err := riders.MTRPrice()
		if err != nil {
			t.Fatal(err)
		}
		r, err := town.Lose(seed, 30, price)
		if err != nil {
			t.Fatal(err)
		}
		if r.Rides != 20_000 || r.Deleted < 1000 || r.Missing+2*r.Invisible != r.Deleted {
			t.Errorf("seed %d: the town is not what was asked for: %+v", seed, r)
		}
		if r.Right*100 < r.Completed*95 || r.Completed*100 < r.Missing*60 || r.Above != 0 || r.PaidMinor >= r.WouldMinor {
			t.Errorf("seed %d: %+v", seed, r)
		}
	}
}

// The count of those that pay more can count.
func TestDearerPricesAreCounted(t *testing.T) {
	town, err := riders.Play(3, 2_000)
	if err != nil {
		t.Fatal(err)
	}
	r, err := town.Lose(3, 100, riders.Dearer)
	if err != nil {
		t.Fatal(err)
	}
	if r.Completed == 0 || r.Above != r.Completed {
		t.Errorf("%+v", r)
	}
}

// The bounds that flags are held to: every copied credential, 99 % of impossible
// travel, and nobody on a clean day.
func TestFlagsFindAbuseAndNobodyElse(t *testing.T) {
	for _, seed := range []uint64{1, 7, 99} {
		town, err := riders.Play(seed, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		r := town.Find(seed, town.Abuse(seed, 50))
		if r.Clones != 50 || r.ClonesFound != r.Clones || r.Impossible < 40 || r.ImpossibleFound*100 < r.Impossible*99 || r.RushesFound != r.Rushes ||
			r.FlagsOfClean != 0 || r.Innocent != 0 || r.Unnamed != 0 {
			t.Errorf("seed %d: %+v", seed, r)
		}
	}
}
