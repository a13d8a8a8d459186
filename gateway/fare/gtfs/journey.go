package gtfs

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Journey is the rides of one rider in order, with the times of their taps.
// Rider and Media are ids of the feed; empty means the default category and no
// medium.
type Journey struct {
	Legs  []Ride
	Rider string
	Media string
}

// A Ride is one leg. From and To are stops, or areas where the feed knows no
// stop of that id. Network may be empty; Route names it instead if the feed
// says which network the route is in.
type Ride struct {
	Network, Route string
	From, To       string
	Dep, Arr       time.Time
}

// rideJSON is the form of a leg in a file.
type rideJSON struct {
	Network *string `json:"network_id"`
	Route   *string `json:"route_id"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Dep     string  `json:"dep"`
	Arr     string  `json:"arr"`
	remarks
}

// remarks are fields that may stand beside anything and mean nothing here.
type remarks struct {
	ID   any `json:"id,omitempty"`
	Why  any `json:"why,omitempty"`
	Note any `json:"note,omitempty"`
}

// ParseJourney reads
//
//	{"legs":[{"network_id":..,"from":..,"to":..,"dep":..,"arr":..}],"rider":..,"media":..}
//
// with RFC 3339 times. name stands for the file in messages. A field that it
// does not know is refused, so that a misspelt rider is not taken for none.
func ParseJourney(name string, raw []byte) (*Journey, error) {
	var form struct {
		Legs  []rideJSON `json:"legs"`
		Rider *string    `json:"rider"`
		Media *string    `json:"media"`
		remarks
	}
	if err := strictJSON(raw, &form); err != nil {
		return nil, ErrJourney.Explain("%s: %v", name, err)
	}
	j, err := makeJourney(form.Legs, form.Rider, form.Media)
	if err != nil {
		return nil, ErrJourney.Explain("%s: legs%v", name, err)
	}
	return j, nil
}

// makeJourney checks the legs; its errors begin with the place behind the name
// of the list.
func makeJourney(legs []rideJSON, rider, media *string) (*Journey, error) {
	if len(legs) == 0 || len(legs) > maxTransfers {
		return nil, fmt.Errorf(": %d rides; 1 to %d are possible", len(legs), maxTransfers)
	}
	j := &Journey{Rider: text(rider), Media: text(media)}
	for i, leg := range legs {
		r := Ride{Network: text(leg.Network), Route: text(leg.Route), From: leg.From, To: leg.To}
		if r.From == "" || r.To == "" {
			return nil, fmt.Errorf("[%d]: from and to are required", i)
		}
		if r.Network != "" && r.Route != "" {
			return nil, fmt.Errorf("[%d]: give network_id or route_id, not both", i)
		}
		var err error
		if r.Dep, err = time.Parse(time.RFC3339, leg.Dep); err != nil {
			return nil, fmt.Errorf("[%d].dep: %q is no time such as 2026-03-30T08:00:00+02:00", i, leg.Dep)
		}
		if r.Arr, err = time.Parse(time.RFC3339, leg.Arr); err != nil {
			return nil, fmt.Errorf("[%d].arr: %q is no time such as 2026-03-30T08:00:00+02:00", i, leg.Arr)
		}
		if r.Arr.Before(r.Dep) {
			return nil, fmt.Errorf("[%d].arr: the ride arrives before it departs", i)
		}
		if i > 0 && r.Dep.Before(j.Legs[i-1].Dep) {
			return nil, fmt.Errorf("[%d].dep: the rides are not in order", i)
		}
		j.Legs = append(j.Legs, r)
	}
	return j, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// strictJSON reads one JSON value without unknown fields and nothing after it.
func strictJSON(raw []byte, into any) error {
	raw = bytes.TrimPrefix(raw, bom)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			line, column := position(raw, at.Offset)
			return fmt.Errorf("row %d column %d: not JSON: %w", line, column, err)
		}
		if at, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			line, column := position(raw, at.Offset)
			return fmt.Errorf("row %d column %d: %s: %s does not fit here", line, column, cmp.Or(at.Field, "the whole"), at.Value)
		}
		line, column := position(raw, d.InputOffset())
		return fmt.Errorf("row %d column %d: %w", line, column, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		line, column := position(raw, d.InputOffset())
		return fmt.Errorf("row %d column %d: something follows the object", line, column)
	}
	return nil
}

// position gives the line and column, from 1, of an offset.
func position(raw []byte, offset int64) (line, column int) {
	before := raw[:min(max(offset, 0), int64(len(raw)))]
	return 1 + bytes.Count(before, []byte{'\n'}), len(before) - bytes.LastIndexByte(before, '\n')
}
