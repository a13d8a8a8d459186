package vault

import (
	"strconv"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// KeyName is the name of a tenant's key in the transit mount. Nothing else makes
// such a name: a mistake here would sign with another tenant's key. The purpose
// is a checked one ([keys.Purpose.Check]); it has no slash and the tenant has no
// sign, so that two pairs never share a name.
func KeyName(tenant citygate.TenantID, purpose keys.Purpose) string {
	return "t-" + strconv.FormatInt(int64(tenant), 10) + "-" + string(purpose)
}

// secretPath is where a tenant's secret lies in the key/value mount. The name is
// a checked one ([keys.CheckSecretName]).
func secretPath(tenant citygate.TenantID, name string) string {
	return "t-" + strconv.FormatInt(int64(tenant), 10) + "/" + name
}

// The paths of the API that the package uses.

func (s *Store) keyPath(tenant citygate.TenantID, p keys.Purpose) string {
	return s.transit + "/keys/" + KeyName(tenant, p)
}

func (s *Store) rotatePath(tenant citygate.TenantID, p keys.Purpose) string {
	return s.transit + "/keys/" + KeyName(tenant, p) + "/rotate"
}

func (s *Store) signPath(tenant citygate.TenantID, p keys.Purpose) string {
	return s.transit + "/sign/" + KeyName(tenant, p)
}

func (s *Store) dataPath(tenant citygate.TenantID, name string) string {
	return s.kv + "/data/" + secretPath(tenant, name)
}
