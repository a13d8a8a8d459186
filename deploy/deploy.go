// Package deploy holds what an operator applies to a PostgreSQL and a Vault
// before the gateway's first start. The private PostgreSQL of tenants/pg/pglocal
// and the Vault of keys/vault/vaulttest are set up from the same files, so what
// runs in tests is what is deployed.
package deploy

import _ "embed"

// Roles is roles.sql: the database roles, to be run by a superuser. Running it
// again changes nothing.
//
//go:embed roles.sql
var Roles string

// The policies of the gateway's identities in Vault, for the mounts
// citygate-transit and citygate-kv. vault/README.md says who gets which.
var (
	//go:embed vault/sign.hcl
	VaultSign string
	//go:embed vault/credentials.hcl
	VaultCredentials string
	//go:embed vault/admin.hcl
	VaultAdmin string
)

// ExampleCity is a file for "citygate apply" to begin with: "citygate init"
// writes it.
//
//go:embed example-city.yaml
var ExampleCity []byte
