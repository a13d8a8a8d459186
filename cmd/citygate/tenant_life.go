package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/city"
	"github.com/cashlesscity/citygate/tenants"
)

func newTenantChecklistCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "checklist NUMBER|NAME",
		Short: "Say what a tenant still needs before riders can use it",
		Long: `Prints what a tenant needs, whether it has it, and what to do about what is missing. Lines with "may" are no
must. Exits 1 if something that must be there is not.`,
		Example: `  citygate tenant checklist harbour-bus`,
		Args:    one("the tenant's number or short name"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, args[0])
			if err != nil {
				return err
			}
			list, err := in.Checklist(ctx, t.ID)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(sys.Stdout).Encode(list)
			} else {
				table := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
				for _, i := range list.Items {
					mark := "missing"
					switch {
					case i.Done:
						mark = "ok"
					case i.Optional:
						mark = "may"
					}
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", mark, i.Name, i.Detail, strings.ReplaceAll(i.Do, "{tenant}", t.ID.String()))
				}
				err = table.Flush()
			}
			if err == nil && !list.Ready {
				return &exitError{code: 1, err: fmt.Errorf("%s is not ready to go live", t.Slug)}
			}
			return err
		},
	}
	f.databaseOnly(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}

func newTenantStateCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	c := &cobra.Command{
		Use:   "state NUMBER|NAME active|suspended|closed",
		Short: "Move a tenant along its life",
		Long: `Moves a tenant to another state and prints it. A tenant goes from draft to active, between active and suspended,
and from any of them to closed, which is for ever: what it has under way is finished first, and meanwhile it
is closing. A running gateway closes it then.

` + tenants.StateTable(),
		Example: `  citygate tenant state harbour-bus suspended`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return &usageError{fmt.Errorf("want the tenant and its new state (see '%s --help')", c.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, args[0])
			if err != nil {
				return err
			}
			if t, err = in.SetState(ctx, actor(sys), t.ID, tenants.State(args[1])); err != nil {
				return err
			}
			if t.State == tenants.Closing {
				open, err := in.UnderWay(ctx, t.ID)
				if err != nil {
					return err
				}
				say(sys, fmt.Sprintf("%s is closing: it waits for %s", t.Slug, open))
			}
			return printTenant(sys.Stdout, t, false)
		},
	}
	f.databaseOnly(c)
	return c
}

func newTenantTryCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	c := &cobra.Command{
		Use:   "try NUMBER|NAME",
		Short: "Send one test tap through a sandbox tenant",
		Long: `Makes up a rider's band and a reader. An issuer that the operator accepts issues the band a credential; the reader
fetches trust bundle and deny lists, verifies the band's code offline and uploads the tap. All of it goes the
way of real devices. The reader is suspended afterwards. The tap is priced, collected and settled like any
other, which in a sandbox moves no money.

Prints one JSON object on one line; exits 1 if the tap was not recorded as accepted.`,
		Example: `  citygate tenant try harbour-bus`,
		Args:    one("the operator's number or short name"),
		RunE:    func(cmd *cobra.Command, args []string) error { return tenantTry(cmd.Context(), sys, f, args[0]) },
	}
	f.withKeys(c)
	return c
}

func tenantTry(ctx context.Context, sys *system, f gatewayFlags, name string) (err error) {
	if err := f.mustExist(sys); err != nil {
		return err
	}
	in, err := f.signing(ctx, sys, slog.New(slog.NewTextHandler(sys.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, name)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "citygate-try-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := in.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	got, err := city.Trial{Gateway: in.Gateway, Actor: actor(sys), Tenant: t, Dir: dir}.Run(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(sys.Stdout).Encode(got); err != nil {
		return err
	}
	if got.Outcome != "recorded" {
		return &exitError{code: 1, err: fmt.Errorf("the tap was not taken: %s %s", got.Outcome, got.Reason)}
	}
	return nil
}
