package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/spf13/cobra"
)

func newTenantCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "tenant",
		Short: "Cities, operators and whoever else takes part",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newTenantListCommand(sys), newTenantShowCommand(sys), newTenantCreateCommand(sys),
		newTenantChecklistCommand(sys), newTenantStateCommand(sys), newTenantTryCommand(sys),
		newTenantRoamingCommand(sys), newTenantExportCommand(sys), newTenantImportCommand(sys), newTenantVerifyCommand(sys),
		newTenantRetentionCommand(sys), newTenantEraseCommand(sys))
	return c
}

// tenant finds a tenant by its number or its short name.
func (in *installation) tenant(ctx context.Context, name string) (tenants.Tenant, error) {
	t, err := in.Tenants.BySlug(ctx, name)
	if number, nan := strconv.ParseInt(name, 10, 64); nan == nil {
		t, err = in.Tenants.ByID(ctx, citygate.TenantID(number))
	}
	if errors.Is(err, tenants.ErrNotFound) {
		return t, fmt.Errorf("%w: 'citygate tenant list' names them", err)
	}
	return t, err
}

func newTenantListCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the tenants by their numbers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			all, err := in.Tenants.All(ctx)
			if err != nil {
				return err
			}
			if len(all) == 0 && !asJSON {
				say(sys, "there is no tenant yet: citygate tenant create makes one")
				return nil
			}
			return printTenants(sys.Stdout, all, asJSON)
		},
	}
	f.databaseOnly(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func newTenantShowCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var asJSON bool
	c := &cobra.Command{
		Use:     "show NUMBER|NAME",
		Short:   "Show a tenant",
		Example: `  citygate tenant show harbour-metro --json`,
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
			return printTenant(sys.Stdout, t, asJSON)
		},
	}
	f.databaseOnly(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}

// one takes exactly one argument and says which.
func one(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &usageError{fmt.Errorf("want one argument, %s (see '%s --help')", what, c.CommandPath())}
		}
		return nil
	}
}

// createFlags are a tenant as flags say it.
type createFlags struct {
	gatewayFlags
	tenant   tenants.Tenant
	id       int64
	kind     string
	mode     string
	state    string
	parent   string
	issuer   uint16
	currency string
	cut      string
}

func newTenantCreateCommand(sys *system) *cobra.Command {
	var f createFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "create --id N --slug NAME --name TEXT --kind KIND --currency CCY --time-zone ZONE",
		Short: "Add a tenant",
		Long: `Adds a tenant and prints it. Number, short name, issuer number and mode can never change; the number is
never used again. Adding the same tenant again changes nothing.

Its keys, provider contracts, fares and rules are added by a file ("citygate apply"), which can make the tenant
too, or step by step through the API; "citygate tenant checklist" says what is missing.`,
		Example: `  citygate tenant create --id 1 --slug harbour-city --name "Harbour City" --kind authority --issuer 101 --cap-unit 10 \
    --currency CNY --time-zone Asia/Shanghai --cut 04:00
  citygate tenant create --id 2 --slug harbour-metro --name "Harbour Metro" --kind metro --parent harbour-city \
    --currency CNY --time-zone Asia/Shanghai --cut 04:00`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return tenantCreate(cmd.Context(), sys, f, asJSON) },
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.Int64Var(&f.id, "id", 0, "number, from 1")
	flags.StringVar(&f.tenant.Slug, "slug", "", "short name in URLs and files: lower-case letters, digits, hyphens")
	flags.StringVar(&f.tenant.Name, "name", "", "name for people")
	flags.StringVar(&f.kind, "kind", "", "authority, metro, rail, bus, minibus, taxi, ferry, parking, biller, clinic or merchant")
	flags.StringVar(&f.parent, "parent", "", "number or short name of the authority that owns it")
	flags.StringVar(&f.mode, "mode", string(tenants.Sandbox), "sandbox, or live where money is real")
	flags.Uint16Var(&f.issuer, "issuer", 0, "number on the codes it signs (default: it issues none)")
	flags.Int64Var(&f.tenant.CapUnit, "cap-unit", 0, "minor units that one step of a code's cap stands for; needed with --issuer")
	flags.StringVar(&f.currency, "currency", "", "currency of its prices and books (ISO 4217)")
	flags.StringVar(&f.tenant.TimeZone, "time-zone", "", "time zone of its business dates, such as Asia/Shanghai")
	flags.StringVar(&f.cut, "cut", "00:00", "local time at which its business date begins")
	flags.StringVar(&f.state, "state", string(tenants.Active), "draft or active")
	flags.BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}

func tenantCreate(ctx context.Context, sys *system, f createFlags, asJSON bool) (err error) {
	t := f.tenant
	t.ID, t.Kind, t.Mode, t.State = citygate.TenantID(f.id), tenants.Kind(f.kind), tenants.Mode(f.mode), tenants.State(f.state)
	t.Issuer, t.Currency, t.CalendarVersion = citygate.Issuer(f.issuer), citygate.Currency(f.currency), 1
	cut, err := time.Parse("15:04", f.cut)
	if err != nil {
		return &usageError{fmt.Errorf("--cut %q: want a time of day such as 04:00", f.cut)}
	}
	t.CutMinutes = cut.Hour()*60 + cut.Minute()
	if t.State != tenants.Draft && t.State != tenants.Active {
		return &usageError{fmt.Errorf("--state %q: a tenant begins as draft or active", f.state)}
	}
	if err := t.Check(); err != nil {
		return &usageError{fmt.Errorf("%w (see 'citygate tenant create --help')", err)}
	}
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	if f.parent != "" {
		parent, err := in.tenant(ctx, f.parent)
		if err != nil {
			return fmt.Errorf("--parent: %w", err)
		}
		t.Parent = parent.ID
	}
	if err := in.Tenants.Create(ctx, actor(sys), t); err != nil {
		return err
	}
	if t, err = in.Tenants.ByID(ctx, t.ID); err != nil { // its state may be another by now
		return err
	}
	return printTenant(sys.Stdout, t, asJSON)
}

// tenantJSON is a tenant as the API shows it.
func tenantJSON(t tenants.Tenant) edge.NumberedTenant {
	return edge.NumberedTenant{ID: int64(t.ID), TenantDocument: edge.TenantDocument{
		Slug: t.Slug, Name: t.Name, Kind: string(t.Kind), Parent: int64(t.Parent), Mode: string(t.Mode), Issuer: uint16(t.Issuer),
		Currency: t.Currency, TimeZone: t.TimeZone, CutMinutes: t.CutMinutes, CapUnit: t.CapUnit, State: string(t.State),
	}}
}

func printTenants(w io.Writer, all []tenants.Tenant, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		for _, t := range all {
			if err := out.Encode(tenantJSON(t)); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tSLUG\tNAME\tKIND\tPARENT\tISSUER\tCURRENCY\tMODE\tSTATE")
	for _, t := range all {
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Slug, t.Name, t.Kind, number(int64(t.Parent)), number(int64(t.Issuer)),
			t.Currency, t.Mode, t.State)
	}
	return table.Flush()
}

func number(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func printTenant(w io.Writer, t tenants.Tenant, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(tenantJSON(t))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"id", t.ID.String()},
		{"slug", t.Slug},
		{"name", t.Name},
		{"kind", string(t.Kind)},
		{"parent", number(int64(t.Parent))},
		{"mode", string(t.Mode)},
		{"state", string(t.State)},
		{"issuer", number(int64(t.Issuer))},
		{"cap unit", number(t.CapUnit)},
		{"currency", string(t.Currency)},
		{"time zone", t.TimeZone},
		{"business date from", fmt.Sprintf("%02d:%02d", t.CutMinutes/60, t.CutMinutes%60)},
	} {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", line[0], line[1])
	}
	return table.Flush()
}
