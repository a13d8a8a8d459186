package gateway

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/archive"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/roaming"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// fileOf gives a tenant as it is, as a file that says terms besides.
func (o *office) fileOf(tenant citygate.TenantID, say ...manifest.Roaming) Manifest {
	o.t.Helper()
	city, err := o.Describe(o.t.Context(), tenant)
	o.must(err)
	city.Tenants[0].Roaming = say
	raw, err := city.Write()
	o.must(err)
	if city, err = manifest.Parse(raw, nil); err != nil {
		o.t.Fatalf("%v\n%s", err, raw)
	}
	return Manifest{Name: city.Tenants[0].Slug + ".yaml", City: city}
}

// roamingChanges gives what a file would change of terms.
func (o *office) roamingChanges(m Manifest) (list []string) {
	o.t.Helper()
	changes, err := o.Diff(o.t.Context(), m)
	o.must(err)
	for _, c := range changes {
		list = append(list, c.Verb+" "+c.Kind+" "+c.Name)
	}
	return list
}

func (o *office) applied(m Manifest) {
	o.t.Helper()
	_, err := o.Apply(o.t.Context(), actor, m)
	o.must(err)
	if left := o.roamingChanges(m); len(left) != 0 {
		o.t.Errorf("after applying %s there is still to do: %v", m.Name, left)
	}
}

// termStates gives the states of the versions between the hill and the bus.
func (o *office) termStates() (list []string) {
	o.t.Helper()
	o.in(bus, func(tx *pg.Tx) error {
		all, err := roaming.Between(o.t.Context(), tx, hill, bus)
		list = nil
		for i := range all {
			list = append(list, all[i].State(o.now().Add(time.Minute)))
		}
		return err
	})
	return list
}

// A file is one tenant's word: it proposes, the other one's file agrees to the same
// terms and proposes other ones, drift is shown, the API changes nothing of it, and
// both take one of them home in an export.
func TestTermsInFiles(t *testing.T) {
	o := open(t)
	o.onboard()
	o.neighbour("")
	terms := roaming.Terms{Schemes: []code.SchemeID{"ct1"}, CapMinor: 500, DayCapMinor: 2000, Beyond: roaming.ByHost, Uncollected: roaming.ByIssuer}
	slugs := map[citygate.TenantID]string{}
	all, err := o.Tenants.All(t.Context())
	o.must(err)
	for _, each := range all {
		slugs[each.ID] = each.Slug
	}
	ofHill := manifest.Roaming{Role: "issuer", With: slugs[bus], Terms: &terms}
	ofBus := manifest.Roaming{Role: "host", With: slugs[hill], Terms: &terms}

	hillFile := o.fileOf(hill, ofHill)
	if got := o.roamingChanges(hillFile); !slices.Equal(got, []string{"add roaming issuer " + slugs[bus]}) {
		t.Errorf("the hill's file wants %v", got)
	}
	o.applied(hillFile)
	o.applied(hillFile)
	if got := o.termStates(); !slices.Equal(got, []string{"proposed"}) {
		t.Fatalf("one file alone made %v", got)
	}
	busFile := o.fileOf(bus, ofBus)
	o.applied(busFile)
	if got := o.termStates(); !slices.Equal(got, []string{"in_force"}) {
		t.Fatalf("both files made %v", got)
	}
	for _, tenant := range []citygate.TenantID{hill, bus} { // dump, apply: nothing
		city, err := o.Describe(t.Context(), tenant)
		o.must(err)
		if len(city.Tenants[0].Roaming) != 1 || len(o.roamingChanges(Manifest{City: city})) != 0 {
			t.Errorf("dumped %+v, which wants %v", city.Tenants[0].Roaming, o.roamingChanges(Manifest{City: city}))
		}
	}
	for path, body := range map[string]any{
		"roaming":       edge.ProposeRoaming{RoamingPartner: edge.RoamingPartner{Partner: int64(hill), Role: "host"}, Terms: edge.Roamable{Uncollected: "host"}},
		"roaming/agree": map[string]any{"partner": hill, "role": "host", "version": 1},
		"roaming/end":   map[string]any{"partner": hill, "role": "host"},
	} {
		w := o.ask(http.MethodPost, busPath(path), "application/json", []byte(asJSON(t, body)))
		if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "managed by "+busFile.Name) {
			t.Errorf("%s by hand: %d %s", path, w.Code, w.Body)
		}
	}

	// The books of both go elsewhere together, and the terms with them; of one alone they stay out.
	together, alone := open(t), open(t)
	for other, ids := range map[*office][]citygate.TenantID{together: {hill, bus}, alone: {bus}} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		o.must(err)
		defer root.Close()
		_, err = archive.Exporter{DB: o.DB, Tenants: o.Tenants, Ring: o.Ring, PayoutFiles: o.Files.FS(), Clock: o.now}.Export(t.Context(), root, ids...)
		o.must(err)
		other.micro.Store(o.micro.Load())
		_, err = archive.Import(t.Context(), other.DB, other.Tenants, actor, os.DirFS(dir))
		o.must(err)
		want := o.termStates()
		if other == alone {
			want = nil
		}
		if got := other.termStates(); !slices.Equal(got, want) {
			t.Errorf("elsewhere, of %v: %v", ids, got)
		}
		was, err := o.CheckBooks(t.Context())
		o.must(err)
		is, err := other.CheckBooks(t.Context())
		o.must(err)
		if other == together && (!is.OK() || is.Transfers != was.Transfers) {
			t.Errorf("the books were %+v and are %+v", was, is)
		}
	}

	other := terms
	other.Uncollected = roaming.ByHost
	ofBus.Terms = &other
	busFile.City.Tenants[0].Roaming[0].Terms = &other
	o.applied(busFile)
	if got := o.roamingChanges(hillFile); len(got) != 0 {
		t.Errorf("what the bus proposes is drift of the hill: %v", got)
	}
	hillFile.City.Tenants[0].Roaming[0].Terms = &other
	o.applied(hillFile)
	if got := o.termStates(); !slices.Equal(got, []string{"in_force", "in_force"}) {
		t.Errorf("after a change by both: %v", got)
	}
	hillFile.City.Tenants[0].Roaming[0] = manifest.Roaming{Role: "issuer", With: slugs[bus], End: true}
	o.applied(hillFile)
	if got := o.termStates(); !slices.Equal(got, []string{"ended", "ended"}) {
		t.Errorf("after the hill's end: %v", got)
	}
	if got := o.roamingChanges(busFile); !slices.Equal(got, []string{"add roaming host " + slugs[hill]}) {
		t.Errorf("the bus's file wants %v", got)
	}
}

// A file that says what cannot be agreed on is refused with the line.
func TestTermsOfFilesAreChecked(t *testing.T) {
	o := open(t)
	o.onboard()
	o.neighbour("")
	for _, c := range []struct{ say, want string }{
		{"role: guest\n        with: x\n        terms: {uncollected: host}", "role"},
		{"role: issuer\n        with: hill-city\n        terms: {uncollected: host}", "with"},
		{"role: issuer\n        with: x", "terms or end"},
		{"role: issuer\n        with: x\n        terms: {uncollected: nobody}", "uncollected"},
		{"role: issuer\n        with: x\n        terms: {uncollected: host, cap: 5}", "unknown field"},
	} {
		city, err := o.Describe(t.Context(), hill)
		o.must(err)
		raw, err := city.Write()
		o.must(err)
		raw = append(raw, []byte("    roaming:\n      - "+c.say+"\n")...)
		if _, err := manifest.Parse(raw, nil); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", c.say, err)
		}
	}
}
