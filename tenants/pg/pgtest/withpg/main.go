// Command withpg runs a command beside a PostgreSQL server for tests:
//
//	go run ./tenants/pg/pgtest/withpg -- go test ./...
//
// The server's superuser URL is in the command's CITYGATE_TEST_DATABASE_URL, so
// that all its test binaries share the server. When the command ends the server
// is stopped and its data removed; withpg exits with the command's exit code.
// A CITYGATE_TEST_DATABASE_URL that is set already is used as it is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: withpg -- command [argument ...]")
		os.Exit(2)
	}
	code, err := run(args)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "withpg:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := os.Environ()
	if os.Getenv(pgtest.EnvURL) == "" {
		dir, err := pgtest.DataDir()
		if err != nil {
			return 1, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		server, err := pglocal.Start(ctx, pgtest.Config(dir))
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, server.Stop(context.Background())) }()
		env = append(env, pgtest.EnvURL+"="+server.URL(pglocal.Superuser, "postgres"))
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) // running it is our purpose
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second // for the command's own cleaning up
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
