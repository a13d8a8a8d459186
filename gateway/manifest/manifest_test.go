package manifest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/gateway/manifest"
)

// same reports what differs between two files, in both directions.
func same(a, b *manifest.City) []manifest.Change {
	return append(manifest.Diff(a, b), manifest.Diff(b, a)...)
}

func TestWrittenIsReadBack(t *testing.T) {
	city, err := manifest.Parse(deploy.ExampleCity, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := city.Write()
	if err != nil {
		t.Fatal(err)
	}
	again, err := manifest.Parse(raw, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	if d := same(city, again); len(d) > 0 {
		t.Errorf("what was written differs: %v", d)
	}
}

// edit changes the example; old must be in it.
func edit(t *testing.T, pairs ...string) []byte {
	t.Helper()
	raw := deploy.ExampleCity
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(raw, []byte(pairs[i])) {
			t.Fatalf("the example has no %q", pairs[i])
		}
		raw = bytes.Replace(raw, []byte(pairs[i]), []byte(pairs[i+1]), 1)
	}
	return raw
}

// lineOf gives the line of the first occurrence of what.
func lineOf(raw []byte, what string) int {
	return 1 + bytes.Count(raw[:bytes.Index(raw, []byte(what))], []byte("\n"))
}

func TestProblemsNameTheirLines(t *testing.T) {
	for _, c := range []struct{ old, new, at, says string }{
		{"name: Harbour City", "nom: Harbour City", "nom:", "unknown field"},
		{"name: Harbour City", "name: a\n    name: b", "name: b", "already defined"},
		{"time_zone: Asia/Shanghai", "time_zone: Asia/Nowhere", "Asia/Nowhere", "time_zone"},
		{`cut: "04:00"`, "cut: noon", "cut: noon", "cut"},
		{"kind: bus\n    parent", "kind: zeppelin\n    parent", "kind: zeppelin", "kind"},
		{"purpose: policy", "purpose: root", "purpose: root", "root"},
		{"payee: owner-1", "payee: owner-9", "owner-9", "not in this file"},
		{"adult: 200", "adult: -200", "name: Flat fare", "out of range"},
		{"skew_seconds: 30", "skew_seconds: 3000", "skew_seconds: 3000", "skew_seconds"},
		{"cap_unit_minor: 10", "cap_unit_minor: 0", "cap_unit_minor: 0", "cap_unit_minor"},
		{"schemes: [ct1]", "schemas: [ct1]", "schemas", "unknown field"},
		{"kind: owner,", "kind: landlord,", "landlord", "payee"},
		{"pay_after_minutes: 1920", "pay_after_minutes: 5", "pay_after_minutes: 5", "close_after_minutes"},
		{"slug: harbour-bus", "slug: harbour-city", "id: 2", "earlier tenant"},
		{"kind: bus, plate", "kind: boat, plate", "kind: boat", "vehicle"},
	} {
		raw := edit(t, c.old, c.new)
		_, err := manifest.Parse(raw, nil)
		var found manifest.Problems
		if !errors.As(err, &found) || !errors.Is(err, manifest.ErrManifest) {
			t.Errorf("%s: %v", c.new, err)
			continue
		}
		want := lineOf(raw, c.at)
		if !slices.ContainsFunc(found, func(p manifest.Problem) bool { return p.Line == want && strings.Contains(p.Text, c.says) }) {
			t.Errorf("%s: want line %d to say %q, got %v", c.new, want, c.says, found)
		}
	}
}

func TestReferencesAreRefused(t *testing.T) {
	for _, raw := range [][]byte{
		edit(t, "currency: CNY\n", "currency: &c CNY\n"),
		edit(t, "currency: CNY\n", "currency: *c\n"),
		edit(t, "currency: CNY\n", "currency: !!str CNY\n"),
		append(slices.Clone(deploy.ExampleCity), []byte("\n---\ncitygate: 1\n")...),
		edit(t, "citygate: 1", "citygate: 2"),
		nil,
	} {
		if _, err := manifest.Parse(raw, nil); !errors.Is(err, manifest.ErrManifest) {
			t.Errorf("was read: %v\n%.200s", err, raw)
		}
	}
}

// An error of the YAML library shows the lines around it; somebody may have put
// a secret there.
func TestProblemsShowNoContent(t *testing.T) {
	raw := edit(t, "fee_ppm: 5000 ", "fee_ppm: hunter2 ")
	if _, err := manifest.Parse(raw, nil); err == nil || strings.Contains(err.Error(), "slug") {
		t.Errorf("want a problem without the file's lines: %v", err)
	}
}

func TestTariffInAFileOfItsOwn(t *testing.T) {
	raw := edit(t, "        tariff:\n          name: Flat fare\n          version: 1\n          currency: CNY\n          categories: {products: {1: adult, 2: student, 3: elderly}, default: adult}\n          rules:\n            - {id: flat, flat: {adult: 200, student: 100, elderly: 0}}\n",
		"        file: prices.json\n")
	files := fstest.MapFS{"prices.json": {Data: []byte(`{"name":"Flat fare","version":1,"currency":"CNY","categories":{"products":{"1":"adult","2":"student","3":"elderly"},"default":"adult"},
		"rules":[{"id":"flat","flat":{"adult":200,"student":100,"elderly":0}}]}`)}}
	got, err := manifest.Parse(raw, files)
	if err != nil {
		t.Fatal(err)
	}
	want, err := manifest.Parse(deploy.ExampleCity, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := same(got, want); len(d) > 0 {
		t.Errorf("the same prices differ: %v", d)
	}
	if _, err := manifest.Parse(raw, fstest.MapFS{}); !errors.Is(err, manifest.ErrManifest) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := manifest.Parse(edit(t, "        tariff:\n", "        file: ../../etc/passwd\n        tariff:\n"), os.DirFS(t.TempDir())); !errors.Is(err, manifest.ErrManifest) {
		t.Errorf("file and tariff: %v", err)
	}
}

// Whether a change is possible is part of the difference.
func TestDiffKnowsWhatCannotChange(t *testing.T) {
	have, err := manifest.Parse(deploy.ExampleCity, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		old, new, kind string
		refused        bool
	}{
		{"name: Harbour Bus\n    kind", "name: Harbour Buses\n    kind", manifest.KindTenant, false},
		{"issuer: 101  ", "issuer: 102  ", manifest.KindTenant, true},
		{"plate: HC 1001", "plate: HC 1002", manifest.KindVehicle, false},
		{"fee_ppm: 5000 ", "fee_ppm: 5001 ", manifest.KindContract, true},
		{"adult: 200", "adult: 250", manifest.KindTariff, true},
		{"close_after_minutes: 120", "close_after_minutes: 60", manifest.KindSettlement, true},
		{"{vehicle: bus-1, payee: owner-1,", "{vehicle: bus-1, payee: harbour-bus,", manifest.KindAssignment, true},
		{"kind: owner,", "kind: driver,", manifest.KindPayee, true},
		{"skew_seconds: 30", "skew_seconds: 60", manifest.KindAcceptance, false},
		{"slug: harbour-bus", "slug: harbour-bus\n    state: suspended", manifest.KindState, false},
		{"slug: harbour-bus", "slug: harbour-bus\n    state: closed", manifest.KindState, false},
		{"slug: harbour-bus", "slug: harbour-bus\n    state: draft", manifest.KindState, true},
	} {
		want, err := manifest.Parse(edit(t, c.old, c.new), nil)
		if err != nil {
			t.Errorf("%s: %v", c.new, err)
			continue
		}
		d := manifest.Diff(have, want)
		if len(d) != 1 || d[0].Kind != c.kind || (d[0].Refused != "") != c.refused || d[0].Verb != "change" || d[0].Line == 0 {
			t.Errorf("%s: %v", c.new, d)
		}
	}
	// What the gateway has beyond the file is no difference.
	less, err := manifest.Parse(edit(t, "      - {id: market, name: Market Street, area: centre}\n", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := manifest.Diff(have, less); len(d) > 0 {
		t.Errorf("a stop less: %v", d)
	}
}

// Whatever is read is written as something that reads the same.
func FuzzParse(f *testing.F) {
	f.Add(deploy.ExampleCity)
	f.Add([]byte("citygate: 1\ntenants: []\n"))
	f.Add([]byte("citygate: 1\ntenants:\n  - {id: 1, slug: abc, name: \"- a: b\", kind: bus, mode: live, currency: CNY, time_zone: UTC, contracts: [{name: x, adapter: y, fee_ppm: 1, config: {a: [1, 2.5, null, \"~\", true]}}]}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		city, err := manifest.Parse(raw, nil)
		if err != nil {
			return
		}
		written, err := city.Write()
		if err != nil {
			t.Fatal(err)
		}
		again, err := manifest.Parse(written, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if d := same(city, again); len(d) > 0 {
			t.Fatalf("%v\n%s", fmt.Sprint(d), written)
		}
	})
}
