package manifest_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/gateway/manifest"
)

// with adds parts to the tenant of the example that has tariffs first.
func with(t *testing.T, parts string) []byte {
	t.Helper()
	return edit(t, "    tariffs:   ", parts+"    tariffs:   ")
}

const products = `    products:
      - from: 2026-12-01T00:00:00Z
        document: {version: 1, currency: CNY, products: [{id: ten, kind: ticket, price: 1800, rides: 10, sold_by: [rider]}]}
`

// TestDocumentsWithVersions: catalogues, journey rules and risk terms are parts of a
// tenant, in the file or in files of their own, and a version never changes.
func TestDocumentsWithVersions(t *testing.T) {
	plain, err := manifest.Parse(deploy.ExampleCity, nil)
	if err != nil {
		t.Fatal(err)
	}
	rules := "    journey_rules:\n      - {from: 2026-12-01T00:00:00Z, file: rules.json}\n"
	terms := "    risk_terms:\n      - from: 2026-12-01T00:00:00Z\n        document: {version: 1, contracts: []}\n"
	files := fstest.MapFS{"rules.json": {Data: []byte(`{"version":1,"max_journey_minutes":180,"upload_grace_minutes":300}`)}}
	one, err := manifest.Parse(with(t, products+rules+terms), files)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, c := range manifest.Diff(plain, one) {
		kinds[c.Kind] = c.Verb + c.Refused
	}
	for _, kind := range []string{manifest.KindProducts, manifest.KindJourneyRules, manifest.KindRiskTerms} {
		if kinds[kind] != "add" {
			t.Errorf("%s: %q of %v", kind, kinds[kind], kinds)
		}
	}
	again, err := manifest.Parse(with(t, strings.Replace(products, "1800", "1700", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	changed := manifest.Diff(one, again)
	if len(changed) != 1 || !strings.Contains(changed[0].Refused, "add the next one") {
		t.Errorf("another price of the same version: %v", changed)
	}
	for name, parts := range map[string]string{
		"a product that cannot be sold": strings.Replace(products, "rides: 10", "rides: 0", 1),
		"no instant":                    strings.Replace(products, "from: 2026-12-01T00:00:00Z\n        ", "", 1),
		"nothing":                       "    risk_terms:\n      - from: 2026-12-01T00:00:00Z\n",
		"a file that is not there":      rules,
	} {
		if _, err := manifest.Parse(with(t, parts), fstest.MapFS{}); !errors.Is(err, manifest.ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
