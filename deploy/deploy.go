// Package deploy holds what an operator applies to a PostgreSQL before the
// gateway's first start. The private PostgreSQL of tenants/pg/pglocal is set up
// from the same file, so what runs in tests is what is deployed.
package deploy

import _ "embed"

// Roles is roles.sql: the database roles, to be run by a superuser. Running it
// again changes nothing.
//
//go:embed roles.sql
var Roles string
