package builtin

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Every product folder is listed, and what it registers is of use.
func TestEveryProductIsListed(t *testing.T) {
	folders, err := filepath.Glob("../*/*product")
	if err != nil || len(folders) < 7 {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	var owners []string
	for _, f := range folders {
		owner := filepath.Base(filepath.Dir(f))
		if owner == "remote" {
			owner = "http"
		}
		owners = append(owners, owner)
	}
	products := Products()
	slices.Sort(owners)
	var names []string
	for name, p := range products {
		names = append(names, name)
		if p.Title == "" {
			t.Errorf("%s has no title", name)
		}
		if p.Open == nil {
			continue
		}
		var form struct {
			Properties map[string]any `json:"properties"`
		}
		if err := json.Unmarshal(p.Config, &form); err != nil || len(form.Properties) == 0 {
			t.Errorf("%s: the schema of its configuration: %v", name, err)
		}
		err := products.CheckConfig(name, json.RawMessage(`{"no_such_field":"hunter2"}`))
		if !errors.Is(err, driver.ErrConfig) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "/config/") {
			t.Errorf("%s takes a field it does not have: %v", name, err)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, owners) {
		t.Errorf("products %v, folders %v: a folder is missing in builtin.go", names, owners)
	}
	products["alipay"] = adapters.Product{}
	if Products()["alipay"].Open == nil {
		t.Error("a caller's set is everybody's")
	}
}
