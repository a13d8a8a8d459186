package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newFareMembersCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "members",
		Short: "Whose rides an authority prices by its integrated tariff",
		Long: `An authority proposes, its operator agrees, either ends. Taps of the operator with event times from then on are
handed over to the authority, which pairs them with those of its other members, prices each journey once, asks the
issuer for the fare, and divides what is paid by the "sharing" of its tariff. Begin at an hour when few ride: a
journey that is under way then lacks a tap on either side.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newMembersListCommand(sys), newMembersProposeCommand(sys), newMembersAgreeCommand(sys), newMembersEndCommand(sys))
	return c
}

// memberFlags name the tenant that speaks.
type memberFlags struct {
	gatewayFlags
	tenant string
	json   bool
}

func (f *memberFlags) register(c *cobra.Command) {
	f.databaseOnly(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "the tenant that speaks, number or short name (required)")
	c.Flags().BoolVar(&f.json, "json", false, "one JSON object a line")
	_ = c.MarkFlagRequired("tenant")
}

// speak runs do for the tenant and prints what it gives.
func (f *memberFlags) speak(cmd *cobra.Command, sys *system, do func(in *installation, t tenants.Tenant) ([]pricing.Member, error)) (err error) {
	ctx := cmd.Context()
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, f.tenant)
	if err != nil {
		return err
	}
	list, err := do(in, t)
	if err != nil {
		return err
	}
	now := in.DB.ClockOf(t.ID)()
	if f.json {
		out := json.NewEncoder(sys.Stdout)
		for i := range list {
			m := &list[i]
			if err := out.Encode(map[string]any{"authority": m.Authority, "operator": m.Operator, "version": m.Version, "name": m.Name,
				"state": m.State(now), "effective_at": timeOrNil(m.EffectiveAt), "ends_at": timeOrNil(m.EndsAt)}); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(sys.Stdout, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "AUTHORITY\tOPERATOR\tVERSION\tNAME\tSTATE\tFROM\tUNTIL")
	for i := range list {
		m := &list[i]
		_, _ = fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%s\t%s\n", m.Authority, m.Operator, m.Version, m.Name, m.State(now), timeOrDash(m.EffectiveAt), timeOrDash(m.EndsAt))
	}
	return w.Flush()
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Format(time.RFC3339)
}

func timeOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func newMembersListCommand(sys *system) *cobra.Command {
	var f memberFlags
	c := &cobra.Command{
		Use: "list", Short: "All versions of the memberships that a tenant is a party of", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.speak(cmd, sys, func(in *installation, t tenants.Tenant) (list []pricing.Member, err error) {
				err = in.DB.InTenant(cmd.Context(), t.ID, func(tx *pg.Tx) error {
					list, err = pricing.Members(cmd.Context(), tx)
					return err
				})
				return list, err
			})
		},
	}
	f.register(c)
	return c
}

func newMembersProposeCommand(sys *system) *cobra.Command {
	var f memberFlags
	var operator, called, from string
	c := &cobra.Command{
		Use: "propose", Short: "Propose to an operator of this authority that its rides are priced here",
		Example: `  citygate fare members propose --tenant the-county --operator north-bus --name north --from 2026-12-01T04:00:00+08:00`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := optionalTime(from)
			if err != nil {
				return err
			}
			return f.speak(cmd, sys, func(in *installation, t tenants.Tenant) ([]pricing.Member, error) {
				o, err := in.tenant(cmd.Context(), operator)
				if err != nil {
					return nil, err
				}
				m, err := in.Pricing.ProposeMember(cmd.Context(), actor(sys), t.ID, o.ID, called, at)
				return []pricing.Member{m}, err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&operator, "operator", "", "the operator, number or short name (required)")
	c.Flags().StringVar(&called, "name", "", "what the tariff calls it (required)")
	c.Flags().StringVar(&from, "from", "", "event time from which it is to hold (default: from the agreement on)")
	_ = c.MarkFlagRequired("operator")
	_ = c.MarkFlagRequired("name")
	return c
}

func newMembersAgreeCommand(sys *system) *cobra.Command {
	var f memberFlags
	var version int
	c := &cobra.Command{
		Use: "agree", Short: "Agree that the authority prices this operator's rides",
		Example: `  citygate fare members agree --tenant north-bus --version 1`, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.speak(cmd, sys, func(in *installation, t tenants.Tenant) ([]pricing.Member, error) {
				m, err := in.AgreeMember(cmd.Context(), actor(sys), t.ID, version)
				return []pricing.Member{m}, err
			})
		},
	}
	f.register(c)
	c.Flags().IntVar(&version, "version", 0, "the version agreed to (required)")
	_ = c.MarkFlagRequired("version")
	return c
}

func newMembersEndCommand(sys *system) *cobra.Command {
	var f memberFlags
	var operator, at string
	c := &cobra.Command{
		Use: "end", Short: "End a membership from a time to come on",
		Example: `  citygate fare members end --tenant north-bus --operator north-bus --at 2027-01-01T04:00:00+08:00`, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			when, err := optionalTime(at)
			if err != nil {
				return err
			}
			return f.speak(cmd, sys, func(in *installation, t tenants.Tenant) ([]pricing.Member, error) {
				o, err := in.tenant(cmd.Context(), operator)
				if err != nil {
					return nil, err
				}
				m, err := in.EndMember(cmd.Context(), actor(sys), t.ID, o.ID, when)
				return []pricing.Member{m}, err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&operator, "operator", "", "the member, number or short name (required)")
	c.Flags().StringVar(&at, "at", "", "event time (default: the next minute)")
	_ = c.MarkFlagRequired("operator")
	return c
}

func optionalTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, &usageError{fmt.Errorf("%q: want a time such as 2026-11-21T08:30:00+08:00", text)}
	}
	return at, nil
}
