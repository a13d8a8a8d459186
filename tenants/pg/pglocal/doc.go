// Package pglocal runs a private PostgreSQL as a child process: the database of
// the demo, of "citygate serve --data" and of the tests.
//
// [Start] finds a PostgreSQL of version 15 or later on the machine or, failing
// that, installs one ([Find] says in which order) and tells its caller what it
// is about to install. The server listens on a unix socket in a directory of
// mode 0700 and nowhere else, so the socket directory is its whole access
// control: every role may connect through it without a password.
//
// PostgreSQL refuses to run as root. Started by root, the server runs as the
// user postgres, or nobody where there is none, and the data directory must be
// one that user can reach; [Start] names the directory that blocks otherwise.
//
// The server dies with the process that started it, also when that process is
// killed (on Linux; elsewhere an orphan is found and stopped by the next
// Start). A second Start on the same directory, in this process or another, attaches to
// the running server and leaves it alone when it stops.
//
// Who makes the same database again and again names it ([Config.Template]): an
// empty one is then kept in the cache directory, by its schema and PostgreSQL, and
// copied.
//
// Limits: one machine, no backup, no replication, and killing its processes does
// not test the disk. Production runs a PostgreSQL of its own, prepared with
// deploy/roles.sql.
package pglocal
