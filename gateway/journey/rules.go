package journey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// ErrRules says that pairing rules cannot be used; the detail names the part.
var ErrRules = &citygate.Code{Name: "journey.bad_rules", Kind: citygate.Invalid, Title: "The journey rules are not valid. Correct the named part and publish them as a new version."}

// Rules say how a network pairs its taps. The zero value of everything but
// MaxJourney and UploadGrace switches that rule off.
type Rules struct {
	Version        uint64        // 0 = of the tenant's acceptance policy alone
	MaxJourney     time.Duration // longest time from on to off
	UploadGrace    time.Duration // how long a terminal may keep a tap before a journey is closed without it
	PassbackWindow time.Duration // touches of one gate this close are one; zero = every touch counts
	SameStation    []SameStation // ascending; what no entry covers is the tariff's to judge
	Retype         Retype
	Places         *Places    // nil = nothing is known of stations and travel times
	Inference      *Inference // nil = missing taps are never inferred
}

// SameStation says what a ride is that ends where it began within UpTo of its
// beginning; zero UpTo is any time.
type SameStation struct {
	UpTo time.Duration
	Do   Treatment
}

// A Treatment is what becomes of a ride that ended where it began.
type Treatment string

// The treatments. The empty one leaves the ride to the tariff's same-stop rule.
const (
	NoCharge       Treatment = "no_charge"
	CheapestSingle Treatment = "cheapest_single" // the lowest price from the station
	TwoIncompletes Treatment = "two_incompletes" // the taps are not one ride: both others are missing
)

// Retype says when the declared kind of a tap is not believed. It is only ever
// doubted of two lone taps in a row that would be one plausible ride.
type Retype string

// The ways to doubt a kind. The empty one is RetypeNever.
const (
	RetypeNever   Retype = "never"
	RetypeSuspect Retype = "suspect" // of readers that are reported to declare it wrongly
	RetypeAny     Retype = "any"     // of every reader, when Places knows that the time fits a ride
)

// Reach is how far in time from a tap the journeys lie whose taps, kinds or
// station treatment can depend on it. What is inferred of them can depend on
// taps that are [Rules.Horizon] further away.
func (r *Rules) Reach() time.Duration {
	reach := r.MaxJourney + r.PassbackWindow
	if r.Retype == RetypeSuspect || r.Retype == RetypeAny {
		reach = 3*r.MaxJourney + 2*r.PassbackWindow // a run of lone taps, and what makes its ends lone
	}
	return reach
}

// Horizon is how far in time an inference looks for evidence.
func (r *Rules) Horizon() time.Duration {
	if r.Inference == nil {
		return 0
	}
	return r.Inference.NextWithin + r.Inference.History
}

// treatment gives the rule for a ride that ended where it began, "" if none covers it.
func (r *Rules) treatment(elapsed int64) Treatment {
	for _, s := range r.SameStation {
		if s.UpTo == 0 || elapsed <= s.UpTo.Milliseconds() {
			return s.Do
		}
	}
	return ""
}

// A Document is the published form of Rules: one immutable version of a
// tenant's, in JSON.
type Document struct {
	Version        uint64            `json:"version"`
	MaxJourneyMin  int64             `json:"max_journey_minutes"`
	UploadGraceMin int64             `json:"upload_grace_minutes"`
	PassbackSec    int64             `json:"passback_seconds,omitempty"`
	SameStation    []SameStationRule `json:"same_station,omitempty"`
	Retype         Retype            `json:"retype,omitempty"`
	MaxSpeedKMH    int64             `json:"max_speed_kmh,omitempty"`
	Stops          []Stop            `json:"stops,omitempty"`
	Travel         []Travel          `json:"travel,omitempty"`
	Inference      *InferenceRule    `json:"inference,omitempty"`
	Claims         *ClaimRule        `json:"claims,omitempty"`
	MaxStaySec     int64             `json:"max_stay_seconds,omitempty"` // how much longer than the shortest travel time a ride plausibly takes
	NearMetres     int64             `json:"near_metres,omitempty"`      // stations this close are one place to a walker
}

// A SameStationRule is a [SameStation] in a [Document].
type SameStationRule struct {
	UpToSec int64     `json:"upto_seconds,omitempty"` // 0 = any time
	Do      Treatment `json:"do"`
}

// An InferenceRule is an [Inference] in a [Document].
type InferenceRule struct {
	Methods       []Method `json:"methods"`
	MinConfidence int64    `json:"min_confidence_permille"`
	NextWithinMin int64    `json:"next_within_minutes,omitempty"`
	HistoryDays   int64    `json:"history_days,omitempty"`
	BandMin       int64    `json:"band_minutes,omitempty"`
	MinTrips      int64    `json:"min_trips,omitempty"`
	PriorPermille int64    `json:"prior_permille,omitempty"`
	PriorWeight   int64    `json:"prior_weight,omitempty"`
	GatesPermille int64    `json:"gates_permille,omitempty"`
}

// A ClaimRule says how riders may claim a missing tap.
type ClaimRule struct {
	PerMonth    int64 `json:"per_month"`    // claims of one rider in a calendar month
	WithinWeeks int64 `json:"within_weeks"` // of the journey
}

// ParseDocument reads the JSON form of rules, strictly: an unknown field or
// anything after the object is refused.
func ParseDocument(raw []byte) (*Document, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	doc := new(Document)
	if err := d.Decode(doc); err != nil {
		return nil, ErrRules.Explain("not the JSON of journey rules: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrRules.Explain("something follows the rules")
	}
	if _, err := doc.Rules(); err != nil {
		return nil, err
	}
	return doc, nil
}

// Encode gives the one JSON form of the document.
func (d *Document) Encode() ([]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, ErrRules.Because(err, "encode")
	}
	return raw, nil
}

// Rules checks the document and makes it ready for [Build].
func (d *Document) Rules() (*Rules, error) {
	r, err := d.rules()
	if err != nil {
		return nil, ErrRules.Explain("%v", err)
	}
	return r, nil
}

func (d *Document) rules() (*Rules, error) {
	const day = 24 * 60
	switch {
	case d.Version == 0 || d.Version > 1<<62:
		return nil, errors.New("version: want a number from 1")
	case d.MaxJourneyMin < 1 || d.MaxJourneyMin > day:
		return nil, fmt.Errorf("max_journey_minutes: %d is not from 1 to %d", d.MaxJourneyMin, day)
	case d.UploadGraceMin < 0 || d.UploadGraceMin > 14*day:
		return nil, fmt.Errorf("upload_grace_minutes: %d is not from 0 to %d", d.UploadGraceMin, 14*day)
	case d.PassbackSec < 0 || d.PassbackSec > 3600:
		return nil, fmt.Errorf("passback_seconds: %d is not from 0 to 3600", d.PassbackSec)
	case d.MaxSpeedKMH < 0 || d.MaxSpeedKMH > 500:
		return nil, fmt.Errorf("max_speed_kmh: %d is not from 0 to 500", d.MaxSpeedKMH)
	case d.MaxStaySec < 0 || d.MaxStaySec > 86_400:
		return nil, fmt.Errorf("max_stay_seconds: %d is not from 0 to 86400", d.MaxStaySec)
	case d.NearMetres < 0 || d.NearMetres > 5_000:
		return nil, fmt.Errorf("near_metres: %d is not from 0 to 5000", d.NearMetres)
	case !slices.Contains([]Retype{"", RetypeNever, RetypeSuspect, RetypeAny}, d.Retype):
		return nil, fmt.Errorf("retype: no way %q", d.Retype)
	case d.Claims != nil && (d.Claims.PerMonth < 0 || d.Claims.PerMonth > 100 || d.Claims.WithinWeeks < 1 || d.Claims.WithinWeeks > 52):
		return nil, errors.New("claims: want per_month from 0 to 100 and within_weeks from 1 to 52")
	}
	r := &Rules{
		Version: d.Version, MaxJourney: time.Duration(d.MaxJourneyMin) * time.Minute, UploadGrace: time.Duration(d.UploadGraceMin) * time.Minute,
		PassbackWindow: time.Duration(d.PassbackSec) * time.Second, Retype: d.Retype,
	}
	last := int64(0)
	for i, s := range d.SameStation {
		switch {
		case !slices.Contains([]Treatment{NoCharge, CheapestSingle, TwoIncompletes}, s.Do):
			return nil, fmt.Errorf("same_station %d: no treatment %q", i+1, s.Do)
		case s.UpToSec < 0 || s.UpToSec > 86_400 || (s.UpToSec != 0 && s.UpToSec <= last) || (s.UpToSec == 0 && i < len(d.SameStation)-1):
			return nil, fmt.Errorf("same_station %d: the limits must grow, and only the last may be without one", i+1)
		}
		last = s.UpToSec
		r.SameStation = append(r.SameStation, SameStation{UpTo: time.Duration(s.UpToSec) * time.Second, Do: s.Do})
	}
	var err error
	if len(d.Stops) > 0 || len(d.Travel) > 0 {
		if r.Places, err = newPlaces(d); err != nil {
			return nil, err
		}
	}
	if r.Retype == RetypeAny && (r.Places == nil || r.Places.stay == 0) {
		return nil, errors.New("retype: any needs stops with travel times and max_stay_seconds, or every pair of taps would look like a ride")
	}
	if d.Inference != nil {
		r.Inference, err = d.Inference.inference()
	}
	return r, err
}

func (i *InferenceRule) inference() (*Inference, error) {
	if len(i.Methods) == 0 {
		return nil, errors.New("inference: name at least one method")
	}
	for _, m := range i.Methods {
		if !slices.Contains([]Method{NextOn, RegularTrip, GatesOpened}, m) {
			return nil, fmt.Errorf("inference: no method %q", m)
		}
	}
	if i.MinConfidence < 500 || i.MinConfidence > 1000 {
		return nil, fmt.Errorf("inference: min_confidence_permille: %d is not from 500 to 1000", i.MinConfidence)
	}
	in := &Inference{
		Methods: slices.Clone(i.Methods), MinConfidence: i.MinConfidence,
		NextWithin: time.Duration(or(i.NextWithinMin, 18*60)) * time.Minute, History: time.Duration(or(i.HistoryDays, 28)) * 24 * time.Hour,
		Band: time.Duration(or(i.BandMin, 90)) * time.Minute, MinTrips: int(or(i.MinTrips, 4)),
		Prior: or(i.PriorPermille, 900), PriorWeight: or(i.PriorWeight, 4), Gates: or(i.GatesPermille, 960),
	}
	switch {
	case in.NextWithin < 0 || in.NextWithin > 48*time.Hour:
		return nil, errors.New("inference: next_within_minutes is not from 0 to 2880")
	case in.History < 0 || in.History > 90*24*time.Hour:
		return nil, errors.New("inference: history_days is not from 0 to 90")
	case in.Band < 0 || in.Band > 12*time.Hour:
		return nil, errors.New("inference: band_minutes is not from 0 to 720")
	case in.MinTrips < 1 || in.MinTrips > 1000 || in.PriorWeight < 1 || in.PriorWeight > 1000:
		return nil, errors.New("inference: min_trips and prior_weight want 1 to 1000")
	case in.Prior < 1 || in.Prior > 999 || in.Gates < 1 || in.Gates > 999:
		return nil, errors.New("inference: prior_permille and gates_permille want 1 to 999")
	}
	return in, nil
}

func or(v, otherwise int64) int64 {
	if v == 0 {
		return otherwise
	}
	return v
}
