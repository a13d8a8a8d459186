package manifest_test

import (
	"archive/zip"
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cashlesscity/citygate/gateway/manifest"
)

// a feed of one bus line: any ride is 2.50, of children 1.25.
var feed = map[string]string{
	"agency.txt":           "agency_id,agency_name,agency_url,agency_timezone\n1,Hill,https://hill.example,Asia/Shanghai\n",
	"rider_categories.txt": "rider_category_id,rider_category_name,is_default_fare_category\nNORMAL,Everybody,1\nCHILD,Children,0\n",
	"fare_products.txt":    "fare_product_id,rider_category_id,amount,currency\none,NORMAL,2.50,CNY\none,CHILD,1.25,CNY\n",
	"fare_leg_rules.txt":   "leg_group_id,fare_product_id\nhill,one\n",
}

// TestATariffNamesItsFeed: the folder of a feed and a zip file of it make the same tariff,
// with what stands beside it, and the parsed file says it as any other.
func TestATariffNamesItsFeed(t *testing.T) {
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	files := fstest.MapFS{}
	for name, text := range feed {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		files["feeds/hill/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files["hill.zip"] = &fstest.MapFile{Data: packed.Bytes()}
	files["other.json"] = &fstest.MapFile{Data: []byte("{}")}
	one := func(file, tariff string) []byte {
		raw := string(edit(t))
		from := strings.Index(raw, "        tariff:\n")
		to := from + strings.Index(raw[from:], "    acceptance:")
		text := raw[:from]
		if file != "" {
			text += "        file: " + file + "\n"
		}
		text += "        feed: {name: Hill, version: 1, riders: {adult: NORMAL, child: CHILD}, products: {2: child}}\n"
		if tariff != "" {
			text += "        tariff: " + tariff + "\n"
		}
		return []byte(text + raw[to:])
	}
	const capped = "{caps: [{id: day, period: {kind: day}, amounts: {adult: 900}}]}"
	folder := one("feeds/hill", capped)
	zipped := one("hill.zip", capped)
	a, err := manifest.Parse(folder, files)
	if err != nil {
		t.Fatal(err)
	}
	b, err := manifest.Parse(zipped, files)
	if err != nil {
		t.Fatal(err)
	}
	if d := same(a, b); len(d) > 0 {
		t.Errorf("the zip file differs: %v", d)
	}
	for _, tenant := range a.Tenants {
		for _, p := range tenant.Tariffs {
			made, err := p.Compiled()
			if err != nil || p.Feed != nil || p.File != "" || len(made.Caps) != 1 || made.Rules[0].Feed == nil || made.Rules[0].Feed.Riders["child"] != "CHILD" || made.Currency != "CNY" {
				t.Errorf("the tariff is %+v, %v", made, err)
			}
			if c, _ := made.Category(2); c != "child" {
				t.Errorf("product 2 is %q", c)
			}
		}
	}
	written, err := a.Write()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := manifest.Parse(written, nil); err != nil || len(same(a, again)) > 0 {
		t.Errorf("what was written differs: %v", err)
	}
	for _, c := range []struct{ file, tariff, says string }{
		{"", "", "it goes with file"},
		{"hill.zap", "", "hill.zap: "},
		{"other.json", "", "neither a folder nor a zip file"},
		{"../hill", "", "../hill: "},
		{"/etc", "", "/etc: "},
		{"hill.zip", "{currency: HKD}", "currency is the feed's"},
		{"hill.zip", "[1]", "want an object"},
		{"hill.zip", "{capps: []}", `unknown field "capps"`},
	} {
		text := one(c.file, c.tariff)
		if _, err := manifest.Parse(text, files); err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%s %s: %v, want %q", c.file, c.tariff, err, c.says)
		}
	}
	if _, err := manifest.Parse(folder, nil); err == nil || !strings.Contains(err.Error(), "cannot be read here") {
		t.Errorf("without files: %v", err)
	}
	if _, err := manifest.Parse(folder, os.DirFS(t.TempDir())); err == nil {
		t.Error("a folder that is not there was read")
	}
}
