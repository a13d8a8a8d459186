package main

import (
	"errors"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fleet"
)

func newTerminalProfileCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var tenant string
	var schemes []string
	var p fleet.TerminalProfile
	c := &cobra.Command{
		Use:   "profile NUMBER --tenant T",
		Short: "Have one terminal do otherwise than its operator's policy says",
		Long: `Gives a terminal a profile and publishes the bundle that carries it. What is not named is as the policy says;
with nothing named the terminal has no profile any more. A profile narrows, but for the mode: what the
policy refuses stays refused.`,
		Example: `  citygate terminal profile 7 --tenant harbour-metro --stop Central --kinds on,off
  citygate terminal profile 7 --tenant harbour-metro`,
		Args: one("the terminal's number"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			id, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil || id == 0 || tenant == "" {
				return &usageError{errors.New("name the terminal by its number and the operator by --tenant")}
			}
			for _, s := range schemes {
				p.Schemes = append(p.Schemes, code.SchemeID(s))
			}
			in, err := f.signing(ctx, sys, slog.New(slog.NewTextHandler(sys.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			t, err := in.tenant(ctx, tenant)
			if err != nil {
				return err
			}
			return in.SetProfile(ctx, actor(sys), t.ID, uint32(id), p)
		},
	}
	f.withKeys(c)
	flags := c.Flags()
	flags.StringVar(&tenant, "tenant", "", "number or short name of the operator")
	flags.StringVar(&p.Mode, "mode", "", "mode of transport, as the policy names it")
	flags.StringVar(&p.Stop, "stop", "", "where it stands, if its software does not say")
	flags.StringVar(&p.Route, "route", "", "which route it serves, if its software does not say")
	flags.StringSliceVar(&p.Kinds, "kinds", nil, "kinds of taps that it takes: on, off, single")
	flags.Int64Var(&p.MaxFareMinor, "max-fare", 0, "highest fare that it takes, in minor units")
	flags.StringSliceVar(&schemes, "schemes", nil, "code schemes that it takes")
	flags.StringSliceVar(&p.Features, "features", nil, "words for its software")
	return c
}
