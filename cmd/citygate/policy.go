package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/policies"
	"github.com/cashlesscity/citygate/policies/policytest"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newPolicyCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Rule sets: what readers take, limits, routing and liability",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newPolicyPublishCommand(sys, false), newPolicyPublishCommand(sys, true), newPolicyRollbackCommand(sys), newPolicyListCommand(sys),
		newPolicyShowCommand(sys), newPolicyDiffCommand(sys), newPolicyTestCommand(sys), newPolicyReplayCommand(sys), newPolicyExplainCommand(sys))
	for _, k := range documentKinds {
		c.AddCommand(newPolicyDocumentCommand(sys, k))
	}
	return c
}

// policyFlags name a tenant and a time.
type policyFlags struct {
	gatewayFlags
	tenant string
	at     string
	json   bool
}

func (f *policyFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.tenant, "tenant", "", "number or short name")
	c.Flags().BoolVar(&f.json, "json", false, "JSON, one object a line")
	_ = c.MarkFlagRequired("tenant") // the flag is there
}

// when reads --at: an instant with its offset.
func (f *policyFlags) when() (time.Time, error) {
	if f.at == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, f.at)
	if err != nil {
		return at, &usageError{fmt.Errorf("--at %q: want a time with its offset, such as 2026-12-01T04:00:00+08:00", f.at)}
	}
	return at, nil
}

// readRules reads and compiles a rule set, and says where it is wrong.
func readRules(file string) (*ruleset.Set, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set, err := ruleset.Parse(source)
	if faults := ruleset.FaultsOf(err); faults != nil {
		lines := make([]string, len(faults))
		for i, f := range faults {
			lines[i] = file + ":" + f.String()
		}
		return nil, fmt.Errorf("%s: the rule set is not valid:\n%s", ruleset.ErrSet.Name, strings.Join(lines, "\n"))
	}
	return set, err
}

func newPolicyPublishCommand(sys *system, later bool) *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "publish FILE",
		Short: "Publish a rule set as the tenant's next version, from now on",
		Long: `Compiles the rule set in FILE, stores it as the tenant's next version and publishes the bundle that carries
it to the tenant's readers. It holds for taps from now on; readers apply it when they have the bundle. The content of
the last version again changes nothing.

What readers cannot decide offline is refused with line, column, rule and variable. Published versions never
change: 'citygate policy rollback' publishes an earlier one again.`,
		Example: `  citygate policy publish --tenant harbour-bus rules.yaml`,
		Args:    one("the rule set's file"),
	}
	if later {
		c.Use, c.Short = "schedule FILE", "Publish a rule set that holds from a later time on"
		c.Long = `Does what 'citygate policy publish' does, for a version that holds from --at on. Readers get it with the version
before, and change over at that event time, offline as well. A version that is published afterwards takes its place.`
		c.Example = `  citygate policy schedule --tenant harbour-bus --at 2026-12-01T04:00:00+08:00 rules.yaml`
		c.Flags().StringVar(&f.at, "at", "", "event time from which it holds, such as 2026-12-01T04:00:00+08:00")
		_ = c.MarkFlagRequired("at")
	}
	f.register(c)
	f.withKeys(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := f.when()
		if err != nil {
			return err
		}
		set, err := readRules(args[0])
		if err != nil {
			return err
		}
		return f.publish(cmd.Context(), sys, func(ctx context.Context, in *installation, t tenants.Tenant) (policies.Published, error) {
			return in.PublishRules(ctx, actor(sys), t.ID, policies.Proposal{Set: set, At: at})
		})
	}
	return c
}

// publish runs a change of the rules and prints the version it made.
func (f *policyFlags) publish(ctx context.Context, sys *system, do func(context.Context, *installation, tenants.Tenant) (policies.Published, error)) (err error) {
	in, err := f.signing(ctx, sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, f.tenant)
	if err != nil {
		return err
	}
	if _, err := in.EnsurePlatform(ctx, actor(sys)); err != nil {
		return err
	}
	p, err := do(ctx, in, t)
	if err != nil {
		return err
	}
	return printPolicies(sys.Stdout, []policies.Published{p}, 0, f.json)
}

func newPolicyRollbackCommand(sys *system) *cobra.Command {
	var f policyFlags
	var to uint64
	c := &cobra.Command{
		Use:   "rollback --to VERSION",
		Short: "Publish the rule set of an earlier version as the next one",
		Long: `Publishes the file of an earlier version as the tenant's next version, from now on or from --at. What was
decided stays decided; a version that was scheduled for later does not come into force any more.`,
		Example: `  citygate policy rollback --tenant harbour-bus --to 4`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := f.when()
			if err != nil {
				return err
			}
			return f.publish(cmd.Context(), sys, func(ctx context.Context, in *installation, t tenants.Tenant) (policies.Published, error) {
				return in.RestoreRules(ctx, actor(sys), t.ID, to, at)
			})
		},
	}
	c.Flags().Uint64Var(&to, "to", 0, "the version whose rule set is to hold again")
	c.Flags().StringVar(&f.at, "at", "", "event time from which it holds (default: now)")
	_ = c.MarkFlagRequired("to")
	f.register(c)
	f.withKeys(c)
	return c
}

// look runs a query on a tenant's policies.
func (f *policyFlags) look(ctx context.Context, sys *system, do func(context.Context, *pg.Tx) error) (err error) {
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, f.tenant)
	if err != nil {
		return err
	}
	return in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error { return do(ctx, tx) })
}

func newPolicyListCommand(sys *system) *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the versions of a tenant's rules, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []policies.Published
			var held uint64
			err := f.look(cmd.Context(), sys, func(ctx context.Context, tx *pg.Tx) (err error) {
				if all, err = policies.List(ctx, tx, 0, 1000); err != nil || len(all) == 0 {
					return err
				}
				held, err = policies.InForce(ctx, tx, tx.Now)
				return err
			})
			if err != nil {
				return err
			}
			if len(all) == 0 && !f.json {
				say(sys, "the tenant has published no rules yet: citygate policy publish does")
				return nil
			}
			return printPolicies(sys.Stdout, all, held, f.json)
		},
	}
	f.register(c)
	f.databaseOnly(c)
	return c
}

type policyLine struct {
	Version     uint64    `json:"version"`
	InForce     bool      `json:"in_force,omitempty"`
	EffectiveAt time.Time `json:"effective_at"`
	PublishedAt time.Time `json:"published_at"`
	By          string    `json:"published_by,omitempty"`
	Hash        string    `json:"hash,omitempty"`
	Restores    uint64    `json:"restores,omitempty"`
}

func printPolicies(w io.Writer, all []policies.Published, held uint64, asJSON bool) error {
	encoder := json.NewEncoder(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range all {
		line := policyLine{Version: p.Version, InForce: p.Version == held, EffectiveAt: p.EffectiveAt, PublishedAt: p.PublishedAt, By: p.By, Restores: p.Restores}
		if p.Hash != [32]byte{} {
			line.Hash = hex.EncodeToString(p.Hash[:])
		}
		if asJSON {
			if err := encoder.Encode(line); err != nil {
				return err
			}
			continue
		}
		note := ""
		if line.InForce {
			note = "in force"
		}
		if p.Restores != 0 {
			note = strings.TrimSpace(note + " as version " + strconv.FormatUint(p.Restores, 10))
		}
		hash := line.Hash
		if hash == "" {
			hash = "no rule set"
		}
		if _, err := fmt.Fprintf(table, "version %d\tfrom %s\t%.12s\t%s\t%s\n", p.Version, p.EffectiveAt.Format(time.RFC3339), hash, p.By, note); err != nil {
			return err
		}
	}
	return table.Flush()
}

func newPolicyShowCommand(sys *system) *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "show [VERSION]",
		Short: "Print the rule set of a version (default: the one in force), as it was published",
		Example: `  citygate policy show --tenant harbour-bus > rules.yaml
  citygate policy show --tenant harbour-bus 4 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := versionArgument(args)
			if err != nil {
				return err
			}
			p, source, err := f.source(cmd.Context(), sys, version)
			if err != nil {
				return err
			}
			if !f.json {
				_, err = sys.Stdout.Write(source)
				return err
			}
			set, err := ruleset.Parse(source)
			if err != nil {
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(map[string]any{"version": p.Version, "effective_at": p.EffectiveAt, "hash": hex.EncodeToString(p.Hash[:]),
				"source": string(source), "rules": set.Summary(), "steps": set.Steps()})
		},
	}
	f.register(c)
	f.databaseOnly(c)
	return c
}

func versionArgument(args []string) (uint64, error) {
	if len(args) == 0 {
		return 0, nil
	}
	version, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil || version == 0 {
		return 0, &usageError{fmt.Errorf("%q is no version: want a number such as 4", args[0])}
	}
	return version, nil
}

// source reads a version's file; 0 is the version in force.
func (f *policyFlags) source(ctx context.Context, sys *system, version uint64) (p policies.Published, source []byte, err error) {
	err = f.look(ctx, sys, func(ctx context.Context, tx *pg.Tx) (err error) {
		if version == 0 {
			if version, err = policies.InForce(ctx, tx, tx.Now); err != nil {
				return err
			}
		}
		p, source, err = policies.Source(ctx, tx, version)
		return err
	})
	return p, source, err
}

func newPolicyDiffCommand(sys *system) *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "diff VERSION|FILE [VERSION|FILE]",
		Short: "Say what differs between two rule sets, by what they say and not how it is written",
		Long: `Compares two rule sets, each a published version or a file; with one, it is compared with the version in
force. Exits 0 if they say the same, 1 if they differ.`,
		Example: `  citygate policy diff --tenant harbour-bus rules.yaml
  citygate policy diff --tenant harbour-bus 4 5`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			read := func(name string) (*ruleset.Set, error) {
				if version, err := strconv.ParseUint(name, 10, 63); err == nil {
					_, source, err := f.source(cmd.Context(), sys, version)
					if err != nil {
						return nil, err
					}
					return ruleset.Parse(source)
				}
				return readRules(name)
			}
			if len(args) == 1 {
				args = []string{"0", args[0]}
			}
			before, err := read(args[0])
			if err != nil {
				return err
			}
			after, err := read(args[1])
			if err != nil {
				return err
			}
			lines := ruleset.Diff(before, after)
			for _, line := range lines {
				if _, err := fmt.Fprintln(sys.Stdout, line); err != nil {
					return err
				}
			}
			if len(lines) > 0 {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	f.register(c)
	f.databaseOnly(c)
	return c
}

func newPolicyTestCommand(sys *system) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run decision tables: files that say what a rule set should decide",
		Long: `Runs the cases of each FILE and prints a line for each that fails. The rule set that a file names lies beside
it. The form is described in the package policies/policytest:

  rules: night.yaml
  defaults: mode=bus kind=single issuer=101 currency=CNY amount=200

  taps:  at                 medium | outcome  rule
         2026-11-22T23:00   band   | refuse   no-bands-at-night

Exits 1 if a case fails or a file cannot be read.`,
		Example: `  citygate policy test policies/*.cases`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cases, failed := 0, 0
			for _, file := range args {
				source, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				n, failures, err := policytest.Run(file, source, func(name string) ([]byte, error) {
					return os.ReadFile(filepath.Join(filepath.Dir(file), name))
				})
				cases += n
				if broken, ok := errors.AsType[policytest.Failure](err); ok {
					failures = append(failures, broken)
				} else if err != nil {
					return err
				}
				failed += len(failures)
				for _, f := range failures {
					if asJSON {
						err = json.NewEncoder(sys.Stdout).Encode(f)
					} else {
						_, err = fmt.Fprintln(sys.Stdout, f)
					}
					if err != nil {
						return err
					}
				}
			}
			say(sys, fmt.Sprintf("%d cases, %d failed", cases, failed))
			if failed > 0 {
				return &exitError{code: 1}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object for each failure")
	return c
}
