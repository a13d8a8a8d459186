// Command citygate is the whole gateway in one binary: the server, the demo
// and the tools of operators, adapter authors and terminal makers.
//
// Results go to standard output, one fact a line or one JSON object a line;
// everything else goes to standard error. Exit codes: 0 done, 1 failed or
// refused, 2 wrong usage; commands that say more name their codes in --help.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // a scratch image has no zone files, and calendars need them

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
)

// A system is everything a command may touch of the process around it, so that
// tests run commands without a process.
type system struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Now    func() time.Time
	Random io.Reader
	Env    func(string) string

	// served stands before the API of every gateway that a command opens: tests
	// hold what passes to the document. nil = the API as it is.
	served func(http.Handler) http.Handler
}

// An exitError ends the process with a code of its own. Err may be nil when
// everything has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	ignoreVaultEnvironment()
	os.Exit(run(context.Background(), process(), os.Args[1:]))
}

// process is the system of this process.
func process() *system {
	return &system{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Random: rand.Reader, Env: os.Getenv}
}

// ignoreVaultEnvironment takes the variables of Vault's tools out of this
// process. Vault's library reads them and fails on a malformed one.
func ignoreVaultEnvironment() {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "VAULT_") {
			_ = os.Unsetenv(name) // fails for no name that is set
		}
	}
}

// run is the program: it gives the exit code. An interrupt cancels the context
// once; commands then stop what they started.
func run(ctx context.Context, sys *system, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRootCommand(sys)
	root.SetArgs(args)
	root.SetIn(sys.Stdin)
	root.SetOut(sys.Stdout)
	root.SetErr(sys.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			complain(sys.Stderr, exit.err)
		}
		return exit.code
	}
	complain(sys.Stderr, err)
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// complain says what failed and, for each code in it, what to do next.
func complain(w io.Writer, err error) {
	said := err.Error()
	_, _ = fmt.Fprintf(w, "citygate: %s\n", said)
	var advise func(error)
	advise = func(err error) {
		if code, ok := err.(*citygate.Code); ok && !strings.Contains(said, code.Title) { //nolint:errorlint // the tree is walked here
			_, _ = fmt.Fprintf(w, "citygate: %s: %s\n", code.Name, code.Title)
			said += code.Title // once is enough
		}
		switch e := err.(type) { //nolint:errorlint // likewise
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				advise(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				advise(inner)
			}
		}
	}
	advise(err)
}

// A usageError is a command line that cannot be understood.
type usageError struct{ error }

func newRootCommand(sys *system) *cobra.Command {
	root := &cobra.Command{
		Use:           "citygate",
		Short:         "The gateway a city plugs its operators and payment providers into",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w (see '%s --help')", err, c.CommandPath())}
	})
	for _, command := range commands {
		root.AddCommand(command(sys))
	}
	understood(root)
	return root
}

// understood makes every command refuse, as a command line that cannot be understood,
// what it does not take: cobra by itself answers a misspelled sub-command with the help
// of its group and success, and a script would go on.
func understood(c *cobra.Command) {
	if group := c.HasSubCommands() && !c.Runnable(); group {
		c.Args, c.DisableFlagsInUseLine, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, true, 2
		c.RunE = func(c *cobra.Command, given []string) error {
			if len(given) == 0 {
				return c.Help()
			}
			hint := ""
			if near := c.SuggestionsFor(given[0]); len(near) > 0 {
				hint = "; did you mean " + strings.Join(near, " or ") + "?"
			}
			return &usageError{fmt.Errorf("%s has no command %q%s (see '%[1]s --help')", c.CommandPath(), given[0], hint)}
		}
	} else if takes := c.Args; takes != nil {
		c.Args = func(c *cobra.Command, given []string) error {
			err := takes(c, given)
			if err == nil || strings.Contains(err.Error(), "--help") {
				return err
			}
			return &usageError{fmt.Errorf("%w (see '%s --help')", err, c.CommandPath())}
		}
	}
	for _, sub := range c.Commands() {
		understood(sub)
	}
}
