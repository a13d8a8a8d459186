package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/roaming"
	"github.com/cashlesscity/citygate/tenants"
)

func newTenantRoamingCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "roaming",
		Short: "Terms on which a tenant's readers take the riders of another tree",
		Long: `Tenants of one authority take each other's riders by their acceptance rules alone. Across authorities it takes
terms: one proposes, the other agrees, either ends. The host's acceptance rules must name the issuer as well.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newRoamingProposeCommand(sys), newRoamingAgreeCommand(sys), newRoamingEndCommand(sys), newRoamingListCommand(sys))
	return c
}

// roamingFlags name the two tenants, and which of them speaks.
type roamingFlags struct {
	gatewayFlags
	tenant, issuer, host string
	json                 bool
}

func (f *roamingFlags) register(c *cobra.Command) {
	f.withKeys(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "the tenant that speaks, number or short name; one of the two")
	c.Flags().StringVar(&f.issuer, "issuer", "", "the tenant whose riders are taken")
	c.Flags().StringVar(&f.host, "host", "", "the tenant whose readers take them")
	c.Flags().BoolVar(&f.json, "json", false, "one JSON object a line")
	for _, name := range []string{"tenant", "issuer", "host"} {
		_ = c.MarkFlagRequired(name)
	}
}

// speak opens the gateway for the tenant that speaks.
func (f *roamingFlags) speak(ctx context.Context, sys *system, do func(in *installation, t tenants.Tenant, p roaming.Pair) ([]roaming.Version, error)) (err error) {
	in, err := f.signing(ctx, sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	var named [3]tenants.Tenant
	for i, name := range []string{f.tenant, f.issuer, f.host} {
		if named[i], err = in.tenant(ctx, name); err != nil {
			return err
		}
	}
	if _, err := in.EnsurePlatform(ctx, actor(sys)); err != nil {
		return err
	}
	list, err := do(in, named[0], roaming.Pair{Issuer: named[1].ID, Host: named[2].ID})
	if err != nil {
		return err
	}
	return printRoaming(sys, list, f.json)
}

func newRoamingProposeCommand(sys *system) *cobra.Command {
	var f roamingFlags
	var terms roaming.Terms
	var schemes []string
	var products []uint
	var uncollected, beyond, from string
	c := &cobra.Command{
		Use:     "propose",
		Short:   "Propose the next version of the terms",
		Example: `  citygate tenant roaming propose --tenant hill-city --issuer hill-city --host valley-bus --cap 500 --uncollected host`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range schemes {
				terms.Schemes = append(terms.Schemes, code.SchemeID(s))
			}
			for _, p := range products {
				if p > 0xffff {
					return &usageError{fmt.Errorf("product %d: want 0 to 65535", p)}
				}
				terms.Products = append(terms.Products, uint16(p))
			}
			terms.Uncollected, terms.Beyond = roaming.Bearer(uncollected), roaming.Bearer(beyond)
			var at time.Time
			if from != "" {
				var err error
				if at, err = time.Parse(time.RFC3339, from); err != nil {
					return &usageError{fmt.Errorf("--from %q: want a time such as 2026-12-01T04:00:00+08:00", from)}
				}
			}
			ctx := cmd.Context()
			return f.speak(ctx, sys, func(in *installation, t tenants.Tenant, p roaming.Pair) ([]roaming.Version, error) {
				v, err := in.ProposeRoaming(ctx, actor(sys), t.ID, p, terms, at)
				return []roaming.Version{v}, err
			})
		},
	}
	f.register(c)
	c.Flags().StringSliceVar(&schemes, "scheme", nil, "scheme whose codes are taken (default: all that the host reads)")
	c.Flags().UintSliceVar(&products, "product", nil, "product of the issuer that is taken (default: all)")
	c.Flags().Int64Var(&terms.CapMinor, "cap", 0, "highest fare for one tap, minor units; 0 = what the credential promises")
	c.Flags().Int64Var(&terms.DayCapMinor, "day-cap", 0, "highest sum of one rider's fares on one business date of the host, minor units; 0 = none")
	c.Flags().StringVar(&beyond, "beyond", "", "who bears what goes beyond --day-cap: host, rider or issuer (default: host)")
	c.Flags().Int64Var(&terms.UploadDays, "upload-days", 0, "taps that come later are the host's loss; 0 = as the host's rules say")
	c.Flags().Int64Var(&terms.PayDays, "pay-days", 0, "how long after a decline the issuer pays the host what it bears; 0 = 30 days")
	c.Flags().Int64Var(&terms.NoticeDays, "notice-days", 0, "how long the terms hold on after either has ended them")
	c.Flags().StringVar(&uncollected, "uncollected", "host", "who bears a fare that the rider does not pay: issuer or host")
	c.Flags().StringVar(&from, "from", "", "event time from which they are to hold (default: when they are agreed)")
	return c
}

func newRoamingAgreeCommand(sys *system) *cobra.Command {
	var f roamingFlags
	var version int
	c := &cobra.Command{
		Use:     "agree",
		Short:   "Agree to the terms that the other tenant proposed last, and tell the host's readers",
		Example: `  citygate tenant roaming agree --tenant valley-bus --issuer hill-city --host valley-bus --version 1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.speak(ctx, sys, func(in *installation, t tenants.Tenant, p roaming.Pair) ([]roaming.Version, error) {
				v, err := in.AgreeRoaming(ctx, actor(sys), t.ID, p, version)
				return []roaming.Version{v}, err
			})
		},
	}
	f.register(c)
	c.Flags().IntVar(&version, "version", 0, "the version agreed to")
	_ = c.MarkFlagRequired("version")
	return c
}

func newRoamingEndCommand(sys *system) *cobra.Command {
	var f roamingFlags
	c := &cobra.Command{
		Use:     "end",
		Short:   "End the terms after their notice, and withdraw what is only proposed",
		Example: `  citygate tenant roaming end --tenant valley-bus --issuer hill-city --host valley-bus`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.speak(ctx, sys, func(in *installation, t tenants.Tenant, p roaming.Pair) ([]roaming.Version, error) {
				return in.EndRoaming(ctx, actor(sys), t.ID, p, time.Time{})
			})
		},
	}
	f.register(c)
	return c
}

func newRoamingListCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var asJSON bool
	c := &cobra.Command{
		Use:     "list NUMBER|NAME",
		Short:   "List the terms a tenant is a party of, all versions",
		Example: `  citygate tenant roaming list valley-bus`,
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
			list, err := in.RoamingTerms(ctx, t.ID)
			if err != nil {
				return err
			}
			return printRoaming(sys, list, asJSON)
		},
	}
	f.databaseOnly(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func printRoaming(sys *system, list []roaming.Version, asJSON bool) error {
	now := sys.Now()
	table := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
	if !asJSON {
		_, _ = fmt.Fprintln(table, "issuer\thost\tversion\tstate\tfrom\tuntil\tproposed by\tagreed by\tterms")
	}
	for i := range list {
		v := &list[i]
		terms, err := json.Marshal(v.Terms)
		if err != nil {
			return err
		}
		if asJSON {
			line := map[string]any{"issuer": v.Issuer, "host": v.Host, "version": v.Number, "state": v.State(now), "terms": json.RawMessage(terms),
				"proposed_by": v.ProposedBy, "agreed_by": v.AgreedBy, "effective_at": whenOrNone(v.EffectiveAt), "ends_at": whenOrNone(v.EndsAt)}
			if err := json.NewEncoder(sys.Stdout).Encode(line); err != nil {
				return err
			}
			continue
		}
		_, _ = fmt.Fprintf(table, "%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Issuer, v.Host, v.Number, v.State(now), whenOrNone(v.EffectiveAt), whenOrNone(v.EndsAt), v.ProposedBy, v.AgreedBy, terms)
	}
	return table.Flush()
}

// whenOrNone gives a time for people, "-" where there is none.
func whenOrNone(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}
