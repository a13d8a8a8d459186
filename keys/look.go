package keys

import (
	"strings"

	"github.com/cashlesscity/citygate/tenants/pg"
)

// KindNext is the look for next keys that are missing.
const KindNext = "key.next"

// Looks finds what [Ring.EnsureNextOf] does: a key that signs, of a purpose that key
// sets announce, with none to follow it.
func Looks() []pg.Look {
	announced := make([]string, len(jwksPurposes))
	for i, p := range jwksPurposes {
		announced[i] = "'" + string(p) + "'"
	}
	return []pg.Look{{
		Kind: KindNext,
		When: `EXISTS (
			SELECT FROM tenant_keys a WHERE a.tenant_id = $1 AND a.state = 'active' AND a.purpose IN (` + strings.Join(announced, ", ") + `) AND NOT EXISTS (
				SELECT FROM tenant_keys n WHERE n.tenant_id = $1 AND n.purpose = a.purpose AND n.state = 'published' AND n.expires > $2))`,
	}}
}
