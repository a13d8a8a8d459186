// Package schemes lists the code schemes this build knows. It is wiring: a
// scheme is added by its folder beside this one and one line here.
package schemes

import (
	"fmt"
	"strings"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/emvcpm"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/opaque"
	"github.com/cashlesscity/citygate/gateway/code/rotating"
	"github.com/cashlesscity/citygate/gateway/code/tokendefer"
	"github.com/cashlesscity/citygate/gateway/code/uicdosipas"
)

// All gives every scheme, in the order a dispatcher would try them.
func All() []code.Plugin {
	return []code.Plugin{
		ct1.Plugin,
		motsm2.Plugin,
		uicdosipas.Plugin,
		emvcpm.Plugin,
		rotating.Plugin,
		tokendefer.Plugin,
		opaque.Plugin,
	}
}

// Find gives the scheme with an ID. The error lists the ones there are.
func Find(id code.SchemeID) (code.Plugin, error) {
	var known []string
	for _, p := range All() {
		if p.ID == id {
			return p, nil
		}
		known = append(known, string(p.ID))
	}
	return code.Plugin{}, fmt.Errorf("scheme %q is not one of %s", id, strings.Join(known, ", "))
}
