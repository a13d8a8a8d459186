// Package pgtest gives a test a migrated PostgreSQL database of its own.
//
// [New] copies a template database that is migrated once per set of migration
// files, opens it as the gateway's role, and drops it when the test ends. The
// server comes from CITYGATE_TEST_DATABASE_URL, a superuser URL that "make test"
// sets so that all packages share one server:
//
//	go run ./tenants/pg/pgtest/withpg -- go test ./...
//
// Without it the test binary runs a private server of its own, which takes less
// than a second and is removed when the binary ends, however it ends. PG_BIN
// names the PostgreSQL to use. DATABASE_URL is not read: it is somebody's data.
//
// Every statement that passes through such a database is held to rules: it names
// tenant_id for each tenant table it uses, does not take the time from the
// database, and a bulk insert says ON CONFLICT or RETURNING. A statement that
// breaks one fails the test. [WithStatements] turns that off.
//
// A test that cannot get a database fails. It never skips.
//
// The clock of a database stands still at [Epoch] unless [WithClock] gives
// another one.
package pgtest
