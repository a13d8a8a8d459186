// Package pg is the only door to PostgreSQL.
//
// [DB.InTenant] runs a function in one transaction bound to one tenant;
// row-level security then shows and accepts that tenant's rows only, whatever
// the SQL says. [DB.InSystem] runs one with no tenant bound: tenant tables are
// empty to it, and what it may use lies in schema platform. The pool itself is
// not exported, so there is no third way.
//
// The time of a transaction is fixed when it begins ([Tx.Now]) and comes from
// the injected clock; SQL never asks for the time. A transaction that lost a
// race (SQLSTATE 40001, 40P01) is run again, so a function given to InTenant
// has no effect outside the database.
//
// The package refuses to start on a role that row-level security does not hold:
// a superuser, one with BYPASSRLS, or an owner of tables ([ErrUnsafeRole]).
// Against a hostile statement the setting is a seat belt and no wall: SQL that
// an attacker writes can bind any tenant. Statements are therefore constants,
// and name tenant_id themselves besides.
//
// [Migrate] applies the schema as its owner. pglocal runs a private PostgreSQL,
// pgtest gives a test a database of its own.
package pg
