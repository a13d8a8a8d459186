// Package jobs runs work after the transaction that asked for it.
//
// A [Client] is the pg.Enqueuer that wiring hands to the database: pg.Tx.Enqueue
// puts a job into the queue within the caller's transaction, so a job exists if
// and only if what it is about was committed. Jobs carry ids only, and one job
// covers a batch, never a single tap.
//
// [Client.Start] works the queue with the registered handlers. A job runs at
// least once: a process that dies half-way, or after the work and before the
// tick, makes it run again. Handlers are therefore idempotent. They enter the
// database by pg.InTenant like everybody else; the queue's own role reaches
// nothing but schema river.
//
// A handler that fails is tried again later, up to 25 times, each time after a
// longer wait. [Client.Failed] tells of such jobs, and [Client.RetryNow] does
// not wait. Jobs have their turns in the order in which they were put in: with one
// worker they run one after another, and with several those that share a [Lane]
// do. Jobs of a kind that wait for their turn can be done at once, see [Together].
//
// The queue's times are the database's and the process's, not the injected
// clock's: what is due when is a row of the asking package, and a job only says
// "look what is due".
//
// This is the only package that imports River, whose tables are the migration
// 20261121000200_river.sql.
package jobs
