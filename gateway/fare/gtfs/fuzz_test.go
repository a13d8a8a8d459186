package gtfs

import (
	"os"
	"reflect"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzFeed: whatever the files hold, they read back as they were written, a
// price is the same twice, is not negative, and no feed with a refusal has one.
func FuzzFeed(f *testing.F) {
	names := []string{"fare_leg_rules.txt", "fare_products.txt", "fare_transfer_rules.txt", "fare_leg_join_rules.txt", "timeframes.txt", "calendar.txt", "stop_areas.txt", "stops.txt"}
	for _, dir := range []string{"nigiri-zones-timeframes", "transcollines-2024-10", "zakroczym"} {
		text := make([]string, len(names))
		for i, name := range names {
			raw, err := os.ReadFile("testdata/" + dir + "/" + name)
			if err == nil {
				text[i] = string(raw[:min(len(raw), 2000)])
			}
		}
		f.Add(text[0], text[1], text[2], text[3], text[4], text[5], text[6], text[7])
	}
	f.Add("\ufefffare_product_id,rule_priority\r\nx,\n", "fare_product_id,amount,currency\nx,-1.00,EUR\n", "fare_transfer_type,transfer_count\n0,-1\n", "", "", "", "", "stop_id,parent_station\nA,B\nB,A\n")
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i string) {
		files := fstest.MapFS{"agency.txt": {Data: []byte("agency_timezone\nEurope/Berlin\n")}}
		for k, text := range []string{a, b, c, d, e, g, h, i} {
			if text != "" {
				files[names[k]] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		feed, err := Read(files)
		if err != nil {
			t.Fatalf("a folder with a feed's files was not read: %v", err)
		}
		whole := len(feed.Tables) == len(files)
		written, err := feed.Files()
		if err != nil {
			t.Fatal(err)
		}
		again := fstest.MapFS{}
		for name, raw := range written {
			again[name] = &fstest.MapFile{Data: raw}
		}
		back, err := Read(again)
		if err != nil || !back.Equal(feed) {
			t.Fatalf("reads back differently: %v\n%v\n%v", err, feed.Tables, back.Tables)
		}
		dep := time.Date(2024, 10, 21, 7, 0, 0, 0, time.UTC)
		j := &Journey{}
		for k, stops := range [][2]string{{"A", "B"}, {"B", "C"}, {"GAT", "910001"}, {"1", "3"}} {
			leave := dep.Add(time.Duration(k) * 20 * time.Minute)
			j.Legs = append(j.Legs, Ride{Network: []string{"", "pink", "PLEIN-TARIF", ""}[k], From: stops[0], To: stops[1], Dep: leave, Arr: leave.Add(10 * time.Minute)})
		}
		one, err := feed.Price(j)
		if (err != nil) != (len(feed.Refusals()) > 0) || err == nil && !whole {
			t.Fatalf("%v with the refusals %v", err, feed.Refusals())
		}
		if err != nil {
			return
		}
		two, err := back.Price(j)
		if err != nil {
			t.Fatalf("priced, but not after it was written and read: %v", err)
		}
		// rows are counted anew where blank lines were left out
		for k := range one.Explanation {
			one.Explanation[k].Row, two.Explanation[k].Row = 0, 0
		}
		if !reflect.DeepEqual(one, two) {
			t.Fatalf("priced differently: %+v %+v", one, two)
		}
		if one.Total != nil && one.Total.Minor < 0 {
			t.Fatalf("a negative fare: %+v", one)
		}
	})
}

// FuzzCases: what parses is priced or refused, and never panics.
func FuzzCases(f *testing.F) {
	raw, err := os.ReadFile("testdata/more-cases.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"base":{"tz":"Europe/Berlin","stops":[{"stop_id":1}]},"cases":[{"tables":{"fare_leg_rules":[]},"journey":[]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cases, err := ParseCases("x", raw)
		if err != nil {
			return
		}
		for _, c := range cases {
			p, err := c.Feed.Price(c.Journey)
			if (err != nil) != (len(c.Feed.Refusals()) > 0) {
				t.Fatalf("%v with the refusals %v", err, c.Feed.Refusals())
			}
			if err == nil && (p.EffectiveLegs < 1 || p.EffectiveLegs > len(c.Journey.Legs)) {
				t.Fatalf("%d effective legs of %d rides", p.EffectiveLegs, len(c.Journey.Legs))
			}
		}
	})
}
