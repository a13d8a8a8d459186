// Command withvault runs a command beside a real Vault server for tests:
//
//	go run ./keys/vault/vaulttest/withvault -- go test ./keys/...
//
// The server's address and root token are in the command's VAULT_ADDR and
// VAULT_TOKEN. When the command ends the server does, and what it held is gone;
// withvault exits with the command's exit code. A VAULT_ADDR that is set already
// is used as it is. Without a command it builds the server and exits.
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

	"github.com/cashlesscity/citygate/keys/vault/vaulttest"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	code, err := run(args)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "withvault:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := os.Environ()
	if os.Getenv(vaulttest.EnvAddr) == "" {
		server, err := vaulttest.Start(ctx)
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		env = append(env, vaulttest.EnvAddr+"="+server.Address, vaulttest.EnvToken+"="+server.Token)
	}
	if len(args) == 0 {
		return 0, nil
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) // running it is our purpose
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second // for the command's own cleaning up
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
