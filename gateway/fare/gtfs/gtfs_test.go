package gtfs

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func read(t *testing.T, dir string) *Feed {
	t.Helper()
	feed, err := Read(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

// minor gives the total as text: "200", or "null" where it is unknown.
func minor(p *Price) string {
	if p.Total == nil {
		return "null"
	}
	return strconv.FormatInt(p.Total.Minor, 10)
}

func price(t *testing.T, f *Feed, j *Journey) *Price {
	t.Helper()
	p, err := f.Price(j)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Explanation) == 0 || (p.Total == nil) != (p.Explanation[len(p.Explanation)-1].Op == "unknown") {
		t.Errorf("the explanation does not end with the result: %+v", p.Explanation)
	}
	return p
}

// TestCases prices the worked cases, which were derived by hand from the reference.
func TestCases(t *testing.T) {
	for file, number := range map[string]int{"gtfs-fares-v2-cases.json": 20, "more-cases.json": 56} {
		raw, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := ParseCases(file, raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(cases) != number {
			t.Fatalf("%s: %d cases, want %d", file, len(cases), number)
		}
		for _, c := range cases {
			t.Run(c.ID, func(t *testing.T) { check(t, c) })
		}
	}
}

// TestACaseAlone: a case with the base beside its own tables is the same case.
func TestACaseAlone(t *testing.T) {
	raw, err := os.ReadFile("testdata/gtfs-fares-v2-cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Base  json.RawMessage
		Cases []map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, form := range file.Cases {
		form["base"] = file.Base
		alone, err := json.Marshal(form)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := ParseCases("case.json", alone)
		if err != nil || len(cases) != 1 {
			t.Fatalf("%d cases, %v", len(cases), err)
		}
		check(t, cases[0])
		form["cases"] = json.RawMessage(`[{}]`)
		if both, err := json.Marshal(form); err != nil {
			t.Fatal(err)
		} else if _, err := ParseCases("case.json", both); !errors.Is(err, ErrCase) {
			t.Errorf("a case and a list of cases: %v", err)
		}
	}
}

func check(t *testing.T, c Case) {
	t.Helper()
	p := price(t, c.Feed, c.Journey)
	said := false
	if c.Expect.Products != nil {
		said = true
		if !slices.Equal(p.Products, c.Expect.Products) {
			t.Errorf("products %v, want %v", p.Products, c.Expect.Products)
		}
	}
	if c.Expect.EffectiveLegs != nil {
		said = true
		if p.EffectiveLegs != *c.Expect.EffectiveLegs || minor(p) != string(c.Expect.TotalMinor) {
			t.Errorf("%d effective legs, total %s; want %d and %s", p.EffectiveLegs, minor(p), *c.Expect.EffectiveLegs, c.Expect.TotalMinor)
		}
	}
	if !said {
		t.Error("the case expects nothing")
	}
}

// TestNigiri prices the journeys that another implementation prices with the
// same feed, and the amounts that follow from them.
func TestNigiri(t *testing.T) {
	feed := read(t, "testdata/nigiri-zones-timeframes")
	if r := feed.Refusals(); len(r) > 0 {
		t.Fatalf("refused: %v", r)
	}
	raw, err := os.ReadFile("testdata/nigiri-zones-timeframes/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	type rideForm struct {
		Route          *string
		From, To       string
		Dep, Arr       time.Time
		Note, Departed string
	}
	var form struct {
		Cases []struct {
			ID            string
			SameAs        string `json:"same_as"`
			ShiftHours    int    `json:"shift_hours"`
			Rides         []rideForm
			EffectiveLegs [][]string `json:"effective_legs"`
			Products      [][]string `json:"leg_products"`
			Transfer      *struct {
				Product string `json:"fare_product_id"`
			}
			Cost string `json:"cost_adult_paper_oneway_EUR"`
		}
	}
	if err := json.Unmarshal(raw, &form); err != nil {
		t.Fatal(err)
	}
	if len(form.Cases) != 4 {
		t.Fatalf("%d cases, want 4", len(form.Cases))
	}
	rides := map[string][]rideForm{}
	for _, c := range form.Cases {
		rides[c.ID] = c.Rides
		t.Run(c.ID, func(t *testing.T) {
			j := &Journey{Rider: "adult", Media: "paper-card"}
			from := c.Rides
			if c.SameAs != "" {
				from = rides[c.SameAs]
			}
			for _, r := range from {
				leg := Ride{From: r.From, To: r.To, Dep: r.Dep.Add(time.Duration(c.ShiftHours) * time.Hour), Arr: r.Arr.Add(time.Duration(c.ShiftHours) * time.Hour)}
				if r.Route != nil {
					leg.Route = *r.Route
				}
				j.Legs = append(j.Legs, leg)
			}
			run := &pricing{fares: &feed.fares, journey: j, price: &Price{}}
			run.run()
			if len(run.legs) != len(c.EffectiveLegs) {
				t.Fatalf("%d effective legs, want %d", len(run.legs), len(c.EffectiveLegs))
			}
			for i, e := range run.legs {
				if got, want := slices.Sorted(slices.Values(e.products)), slices.Sorted(slices.Values(c.Products[i])); !slices.Equal(got, want) {
					t.Errorf("leg %d: products %v, want %v", i+1, got, want)
				}
			}
			want := "null"
			if c.Cost != "" {
				want = strings.Replace(c.Cost, ".", "", 1)
			}
			if got := minor(price(t, feed, j)); got != want {
				t.Errorf("total %s, want %s", got, want)
			}
			transferred := ""
			for _, s := range run.price.Explanation {
				if s.Op == "transfer" {
					transferred = s.Product
				}
			}
			if c.Transfer != nil && transferred != c.Transfer.Product || c.Transfer == nil && transferred != "" {
				t.Errorf("transfer product %q, want %v", transferred, c.Transfer)
			}
		})
	}
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRealFeeds: prices written by hand from the operators' tables.
func TestRealFeeds(t *testing.T) {
	collines, zakroczym := read(t, "testdata/transcollines-2024-10"), read(t, "testdata/zakroczym")
	for _, c := range []struct {
		name                    string
		feed                    *Feed
		network, from, to, when string
		rider, media            string
		want                    string
		currency                string
	}{
		{"Pontiac from Gatineau", collines, "PLEIN-TARIF", "GAT", "PNT", "2024-10-21T08:00:00-04:00", "", "", "2000", "CAD"},
		{"Collines from Gatineau", collines, "PLEIN-TARIF", "GAT", "COL", "2024-10-21T08:00:00-04:00", "", "", "500", "CAD"},
		{"inside the Collines", collines, "PLEIN-TARIF", "COL", "COL", "2024-10-21T08:00:00-04:00", "", "", "500", "CAD"},
		{"inside Gatineau no rule", collines, "PLEIN-TARIF", "GAT", "GAT", "2024-10-21T08:00:00-04:00", "", "", "null", ""},
		{"by stops", collines, "PLEIN-TARIF", "9154", "910001", "2024-10-21T08:00:00-04:00", "", "", "2000", "CAD"},
		{"924 is free on a Sunday of autumn", collines, "924", "GAT", "COL", "2024-10-20T10:00:00-04:00", "", "", "0", "CAD"},
		{"924 is free on Thanksgiving Sunday", collines, "924", "GAT", "COL", "2024-10-13T10:00:00-04:00", "", "", "0", "CAD"},
		{"924 costs in November", collines, "924", "GAT", "PNT", "2024-11-02T10:00:00-04:00", "", "", "2000", "CAD"},
		{"924 has no fare on a Monday", collines, "924", "GAT", "COL", "2024-10-21T10:00:00-04:00", "", "", "null", ""},
		{"a network that is none", collines, "925", "GAT", "COL", "2024-10-21T10:00:00-04:00", "", "", "null", ""},
		{"zone 1 to 3", zakroczym, "", "1", "3", "2025-12-01T08:00:00+01:00", "0", "0", "500", "PLN"},
		{"zone 1 to 3, nothing said", zakroczym, "", "1", "3", "2025-12-01T08:00:00+01:00", "", "", "500", "PLN"},
		{"zone 3 to 1", zakroczym, "", "3", "1", "2025-12-01T08:00:00+01:00", "0", "0", "500", "PLN"},
		{"zone 1 to 2", zakroczym, "", "1", "2", "2025-12-01T08:00:00+01:00", "0", "0", "400", "PLN"},
		{"inside zone 1 is free", zakroczym, "", "1", "1", "2025-12-01T08:00:00+01:00", "0", "0", "0", "PLN"},
		{"stops, any network", zakroczym, "bus", "100", "117-2", "2025-12-01T08:00:00+01:00", "0", "0", "400", "PLN"},
		{"a child has no single ticket", zakroczym, "", "1", "3", "2025-12-01T08:00:00+01:00", "2", "0", "null", ""},
		{"no single ticket on a monthly pass", zakroczym, "", "1", "3", "2025-12-01T08:00:00+01:00", "0", "1", "null", ""},
		{"a category that is none", zakroczym, "", "1", "3", "2025-12-01T08:00:00+01:00", "9", "0", "null", ""},
		{"a stop that is none", zakroczym, "", "100", "999", "2025-12-01T08:00:00+01:00", "0", "0", "null", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dep := at(t, c.when)
			p := price(t, c.feed, &Journey{Rider: c.rider, Media: c.media, Legs: []Ride{{Network: c.network, From: c.from, To: c.to, Dep: dep, Arr: dep.Add(40 * time.Minute)}}})
			if minor(p) != c.want || p.Total != nil && string(p.Total.Currency) != c.currency {
				t.Errorf("total %s %+v, want %s %s", minor(p), p.Total, c.want, c.currency)
			}
		})
	}
}

// TestFindingsOfRealFeeds: what is wrong with real feeds is named with its place.
func TestFindingsOfRealFeeds(t *testing.T) {
	lines := func(f *Feed) []string {
		var out []string
		for _, finding := range f.Findings {
			out = append(out, string(finding.Severity)+" "+finding.Code+" "+finding.File)
		}
		return out
	}
	collines := lines(read(t, "testdata/transcollines-2024-10"))
	for _, want := range []string{
		"note byte_order_mark fare_leg_rules.txt", "note byte_order_mark fare_products.txt", "note byte_order_mark fare_transfer_rules.txt",
		"note no_final_newline fare_leg_rules.txt", "note no_final_newline timeframes.txt", "breach networks_twice networks.txt",
	} {
		if !slices.Contains(collines, want) {
			t.Errorf("not found: %s in %q", want, collines)
		}
	}
	zakroczym := slices.DeleteFunc(lines(read(t, "testdata/zakroczym")), func(l string) bool { return strings.HasPrefix(l, "note no_final_newline") })
	if want := []string{"breach white_space stops.txt", "breach default_category rider_categories.txt"}; !slices.Equal(slices.Compact(zakroczym), want) {
		t.Errorf("zakroczym: %q, want %q", zakroczym, want)
	}
	if got, want := slices.Compact(lines(read(t, "testdata/nigiri-zones-timeframes"))), []string{"breach row_length stops.txt", "breach forbidden_value fare_transfer_rules.txt"}; !slices.Equal(got, want) {
		t.Errorf("nigiri: %q, want %q", got, want)
	}
}

// TestWithoutStopsAndTrips: a feed prices by area with nothing but its fare files.
func TestWithoutStopsAndTrips(t *testing.T) {
	files := fstest.MapFS{
		"fare_leg_rules.txt": {Data: []byte("fare_product_id,from_area_id,to_area_id\nlong,a,b\n")},
		"fare_products.txt":  {Data: []byte("fare_product_id,amount,currency\nlong,2.50,EUR\n")},
	}
	feed, err := Read(files)
	if err != nil {
		t.Fatal(err)
	}
	dep := at(t, "2026-03-30T08:00:00+02:00")
	p := price(t, feed, &Journey{Legs: []Ride{{Network: "any", From: "a", To: "b", Dep: dep, Arr: dep}}})
	if minor(p) != "250" {
		t.Errorf("total %s, want 250: %+v", minor(p), p.Explanation)
	}
}

// TestZipAndFolder: a zip is the same feed as its folder, also with the files
// in a folder of the zip.
func TestZipAndFolder(t *testing.T) {
	want := read(t, "testdata/zakroczym")
	for _, prefix := range []string{"", "zakroczym/"} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		entries, err := os.ReadDir("testdata/zakroczym")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			raw, err := os.ReadFile("testdata/zakroczym/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			f, err := w.Create(prefix + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(raw); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		feed, err := Read(r)
		if err != nil {
			t.Fatal(err)
		}
		if !feed.Equal(want) {
			t.Errorf("prefix %q: the zip reads differently", prefix)
		}
		if found := slices.ContainsFunc(feed.Findings, func(f Finding) bool { return f.Code == "in_folder" }); found != (prefix != "") {
			t.Errorf("prefix %q: in_folder found: %v", prefix, found)
		}
	}
}

// again writes a feed and reads it back.
func again(t *testing.T, f *Feed) *Feed {
	t.Helper()
	files, err := f.Files()
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for name, raw := range files {
		fsys[name] = &fstest.MapFile{Data: raw}
	}
	back, err := Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func TestImportExportImport(t *testing.T) {
	for _, dir := range []string{"nigiri-zones-timeframes", "transcollines-2024-10", "zakroczym"} {
		first := read(t, "testdata/"+dir)
		second := again(t, first)
		if !second.Equal(first) {
			t.Errorf("%s: reads back differently", dir)
		}
		for _, f := range second.Findings {
			if f.Code == "byte_order_mark" || f.Code == "no_final_newline" {
				t.Errorf("%s: written with %v", dir, f)
			}
		}
	}
}

// base is a small sound feed; each damage below is one change of it.
var base = map[string]string{
	"fare_leg_rules.txt":      "leg_group_id,network_id,from_area_id,to_area_id,from_timeframe_group_id,fare_product_id\ng,bus,a,b,,single\n",
	"fare_products.txt":       "fare_product_id,amount,currency,rider_category_id,fare_media_id\nsingle,2.00,EUR,adult,card\n",
	"fare_transfer_rules.txt": "from_leg_group_id,to_leg_group_id,transfer_count,duration_limit,duration_limit_type,fare_transfer_type,fare_product_id\ng,g,1,3600,1,0,\n",
	"rider_categories.txt":    "rider_category_id,rider_category_name,is_default_fare_category\nadult,Adult,1\n",
	"fare_media.txt":          "fare_media_id,fare_media_name,fare_media_type\ncard,Card,2\n",
	"areas.txt":               "area_id,area_name\na,A\nb,B\n",
	"timeframes.txt":          "timeframe_group_id,start_time,end_time,service_id\npeak,06:00:00,09:00:00,wk\n",
	"calendar.txt":            "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\nwk,1,1,1,1,1,0,0,20260101,20261231\n",
	"agency.txt":              "agency_id,agency_name,agency_url,agency_timezone\nx,X,https://example.org,Europe/Berlin\n",
}

func feedOf(t *testing.T, files map[string]string) *Feed {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	f, err := Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDamage: every damage is found at its file, row and column, and what has a
// say in prices refuses to price.
func TestDamage(t *testing.T) {
	if f := feedOf(t, base); len(f.Findings) > 0 {
		t.Fatalf("the sound feed has findings: %v", f.Findings)
	}
	for _, c := range []struct {
		name, file, old, new string
		want                 string // as Finding.String begins
		severity             Severity
	}{
		{"unknown column", "fare_products.txt", "fare_media_id\nsingle,2.00,EUR,adult,card", "fare_media_id,transfer_only\nsingle,2.00,EUR,adult,card,1", "fare_products.txt row 1 column transfer_only: ", Refuse},
		{"unknown column in areas", "areas.txt", "area_name\na,A\nb,B", "area_name,area_set\na,A,\nb,B,", "areas.txt row 1 column area_set: ", Refuse},
		{"column missing", "fare_products.txt", "amount,currency", "amount,currencies", "fare_products.txt row 1 column currency: ", Refuse},
		{"column twice", "fare_products.txt", "amount,currency", "amount,amount", "fare_products.txt row 1 column amount: ", Refuse},
		{"value missing", "fare_products.txt", "single,2.00", ",2.00", "fare_products.txt row 2 column fare_product_id: ", Refuse},
		{"float amount", "fare_products.txt", "2.00", "2e0", "fare_products.txt row 2 column amount: ", Refuse},
		{"too many decimals", "fare_products.txt", "2.00", "2.005", "fare_products.txt row 2 column amount: ", Refuse},
		{"too few decimals", "fare_products.txt", "2.00", "2", "fare_products.txt row 2 column amount: ", Refuse},
		{"yen with decimals", "fare_products.txt", "EUR", "JPY", "fare_products.txt row 2 column amount: ", Refuse},
		{"no number", "fare_products.txt", "2.00", "two", "fare_products.txt row 2 column amount: ", Refuse},
		{"huge", "fare_products.txt", "2.00", "99999999999999999999.00", "fare_products.txt row 2 column amount: ", Refuse},
		{"no currency", "fare_products.txt", "EUR", "EUX", "fare_products.txt row 2 column currency: ", Refuse},
		{"two prices", "fare_products.txt", "card\n", "card\nsingle,3.00,EUR,adult,card\n", "fare_products.txt row 3 column fare_product_id: ", Refuse},
		{"same row twice", "fare_products.txt", "card\n", "card\nsingle,2.00,EUR,adult,card\n", "fare_products.txt row 3: ", Breach},
		{"short row", "fare_products.txt", "adult,card", "adult", "fare_products.txt row 2: ", Refuse},
		{"open quote", "fare_products.txt", "single", `"single`, "fare_products.txt row ", Refuse},
		{"priority no number", "fare_leg_rules.txt", "fare_product_id\ng,bus,a,b,,single", "fare_product_id,rule_priority\ng,bus,a,b,,single,high", "fare_leg_rules.txt row 2 column rule_priority: ", Refuse},
		{"product undefined", "fare_leg_rules.txt", "single", "double", "fare_leg_rules.txt row 2 column fare_product_id: ", Breach},
		{"area undefined", "fare_leg_rules.txt", "bus,a,b", "bus,a,c", "fare_leg_rules.txt row 2 column to_area_id: ", Breach},
		{"group in two", "fare_leg_rules.txt", "single\n", "single\nh,bus,a,b,,single\n", "fare_leg_rules.txt row 3 column network_id: ", Refuse},
		{"count missing", "fare_transfer_rules.txt", "g,g,1", "g,g,", "fare_transfer_rules.txt row 2 column transfer_count: ", Refuse},
		{"count zero", "fare_transfer_rules.txt", "g,g,1", "g,g,0", "fare_transfer_rules.txt row 2 column transfer_count: ", Refuse},
		{"limit without type", "fare_transfer_rules.txt", "3600,1", "3600,", "fare_transfer_rules.txt row 2 column duration_limit_type: ", Refuse},
		{"type without limit", "fare_transfer_rules.txt", "3600,1", ",1", "fare_transfer_rules.txt row 2 column duration_limit_type: ", Breach},
		{"limit negative", "fare_transfer_rules.txt", "3600", "-5", "fare_transfer_rules.txt row 2 column duration_limit: ", Refuse},
		{"no such type", "fare_transfer_rules.txt", ",0,\n", ",3,\n", "fare_transfer_rules.txt row 2 column fare_transfer_type: ", Refuse},
		{"group undefined", "fare_transfer_rules.txt", "g,g,1", "h,h,1", "fare_transfer_rules.txt row 2 column from_leg_group_id: ", Breach},
		{"time beyond the day", "timeframes.txt", "09:00:00", "25:00:00", "timeframes.txt row 2 column end_time: ", Refuse},
		{"time backwards", "timeframes.txt", "09:00:00", "05:00:00", "timeframes.txt row 2 column end_time: ", Refuse},
		{"half a timeframe", "timeframes.txt", "09:00:00", "", "timeframes.txt row 2 column start_time: ", Breach},
		{"service undefined", "timeframes.txt", "wk", "we", "timeframes.txt row 2 column service_id: ", Breach},
		{"overlap", "timeframes.txt", "wk\n", "wk\npeak,08:00:00,10:00:00,wk\n", "timeframes.txt row 3 column start_time: ", Breach},
		{"date", "calendar.txt", "20261231", "20261301", "calendar.txt row 2 column end_date: ", Refuse},
		{"weekday", "calendar.txt", "wk,1", "wk,2", "calendar.txt row 2 column monday: ", Refuse},
		{"timezone", "agency.txt", "Europe/Berlin", "Europe/Berlim", "agency.txt row 2 column agency_timezone: ", Refuse},
		{"media type", "fare_media.txt", "Card,2", "Card,7", "fare_media.txt row 2 column fare_media_type: ", Refuse},
		{"not utf-8", "areas.txt", "a,A", "a,\xff", "areas.txt: ", Refuse},
		{"white space", "fare_products.txt", "single,", "single ,", "fare_products.txt row 2 column fare_product_id: ", Breach},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := maps.Clone(base)
			if !strings.Contains(files[c.file], c.old) {
				t.Fatalf("%q is not in %s", c.old, c.file)
			}
			files[c.file] = strings.Replace(files[c.file], c.old, c.new, 1)
			f := feedOf(t, files)
			at := slices.IndexFunc(f.Findings, func(found Finding) bool { return strings.HasPrefix(found.String(), c.want) })
			if at < 0 {
				t.Fatalf("no finding %q in %v", c.want, f.Findings)
			}
			if f.Findings[at].Severity != c.severity {
				t.Errorf("%v is a %s, want %s", f.Findings[at], f.Findings[at].Severity, c.severity)
			}
			dep := time.Date(2026, 3, 30, 7, 0, 0, 0, time.UTC)
			_, err := f.Price(&Journey{Rider: "adult", Media: "card", Legs: []Ride{{Network: "bus", From: "a", To: "b", Dep: dep, Arr: dep}}})
			if refused := err != nil; refused != (c.severity == Refuse) {
				t.Errorf("Price: %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the refusal %q does not say %q", err, c.want)
			}
		})
	}
	files := maps.Clone(base)
	files["fare_capping.txt"] = "fare_cap_id\nx\n"
	if r := feedOf(t, files).Refusals(); len(r) != 1 || r[0].Code != "unknown_fare_file" {
		t.Errorf("a foreign fare file: %v", r)
	}
	for _, missing := range []string{"fare_products.txt", "fare_leg_rules.txt"} {
		files := maps.Clone(base)
		delete(files, missing)
		if r := feedOf(t, files).Refusals(); !slices.ContainsFunc(r, func(f Finding) bool { return f.Code == "missing_file" && f.File == missing }) {
			t.Errorf("without %s: %v", missing, r)
		}
	}
}
