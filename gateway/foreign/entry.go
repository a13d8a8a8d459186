package foreign

import (
	"cmp"
	"encoding/json"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// issuerOf gives the issuer number that a scheme's parameters name.
func issuerOf(params []byte) (citygate.Issuer, error) {
	var common struct {
		Issuer citygate.Issuer `json:"issuer"`
	}
	err := json.Unmarshal(params, &common)
	return common.Issuer, err
}

// CompareRoots is the order of foreign keys in a bundle.
func CompareRoots(a, b bundle.ForeignRoot) int {
	return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.List, b.List), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
}
