package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/builtin"
	"github.com/cashlesscity/citygate/deploy"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/manifest"
)

// exitDrift is what diff exits with when the gateway is not as the file says.
const exitDrift = 3

// manifestFlags name a file that describes tenants.
type manifestFlags struct {
	gatewayFlags
	file     string
	asJSON   bool
	takeOver bool
}

func (f *manifestFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "file", "f", "", "the file; - is standard input (required)")
	c.Flags().BoolVar(&f.asJSON, "json", false, "one JSON object a line")
}

// read reads the file. What is wrong with it is told by line.
func (f *manifestFlags) read(sys *system) (m gateway.Manifest, err error) {
	if f.file == "" {
		return m, &usageError{errors.New("name the file by -f")}
	}
	var raw []byte
	var files fs.FS
	dir := ""
	if f.file == "-" {
		raw, err = io.ReadAll(sys.Stdin)
		m.Name = "standard input"
	} else {
		raw, err = os.ReadFile(f.file)
		m.Name, dir = filepath.Base(f.file), filepath.Dir(f.file)
		files = os.DirFS(dir)
	}
	if err != nil {
		return m, err
	}
	if m.City, err = manifest.Parse(raw, files); err != nil {
		var found manifest.Problems
		if errors.As(err, &found) {
			return m, fmt.Errorf("%s:\n%s\nthe form of the file: citygate schema manifest", m.Name, found.Error())
		}
		return m, err
	}
	m.Resolve, m.TakeOver = resolver(sys, dir), f.takeOver
	return m, nil
}

// resolver gives the values of secrets by where the file says they are. Standard
// input is read once.
func resolver(sys *system, dir string) func(manifest.Secret) (citygate.Secret, error) {
	var stdin []byte
	var read bool
	const most = 64 << 10
	return func(s manifest.Secret) (citygate.Secret, error) {
		switch {
		case s.Env != "":
			value := sys.Env(s.Env)
			if value == "" {
				return citygate.Secret{}, fmt.Errorf("the environment variable %s, which a secret is to come from, is not set", s.Env)
			}
			return citygate.NewSecret([]byte(value)), nil
		case s.File != "":
			path := s.File
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			raw, err := os.ReadFile(path)
			return citygate.NewSecret([]byte(strings.TrimSuffix(string(raw), "\n"))), err
		default:
			if !read {
				var err error
				if stdin, err = io.ReadAll(io.LimitReader(sys.Stdin, most)); err != nil {
					return citygate.Secret{}, err
				}
				read = true
			}
			return citygate.NewSecret([]byte(strings.TrimSuffix(string(stdin), "\n"))), nil
		}
	}
}

func newApplyCommand(sys *system) *cobra.Command {
	var f manifestFlags
	c := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the gateway agree with a file that describes tenants",
		Long: `Reads a YAML file that describes tenants (keys, provider contracts, payees, stops, vehicles, terminals,
settlement terms, fares, acceptance rules or a rule set, people and where they sign in) and makes the gateway agree with it. It prints what it changed.
Applying the same file again changes nothing; an apply that was stopped half-way is finished by the next.

What the file names is managed by it from then on: the API refuses to change it (409, with the file's
name). What a file no longer names stays as it is and may be changed by the API again. Nothing is deleted.
If one of the changes is not possible none is made: diff shows which. What another file manages is refused
unless --take-over says that it is this file's from now on; a file that says what is there already, such as
a dump, changes nothing and takes nothing over.

Where a tenant wants a second person for a change, a file needs one too: nothing is changed and the proposal is named. When
somebody else has approved it ("citygate access approve", or the API), apply the same file again as the same person.

Secrets are not in the file. It says where each comes from: {env: NAME}, {file: PATH} or {stdin: true}.
The installation is made if there is none: "citygate init" writes a file to begin with.`,
		Example: `  citygate init city.yaml
  citygate apply -f city.yaml
  citygate tenant try harbour-bus`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return apply(cmd.Context(), sys, f) },
	}
	f.withKeys(c)
	f.register(c)
	c.Flags().BoolVar(&f.takeOver, "take-over", false, "manage what another file managed")
	return c
}

// with opens the installation that a file is for.
func (f *manifestFlags) with(ctx context.Context, sys *system, do func(*installation, gateway.Manifest) error) (err error) {
	m, err := f.read(sys)
	if err != nil {
		return err
	}
	in, err := f.signing(ctx, sys, slog.New(slog.NewTextHandler(sys.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	return do(in, m)
}

func apply(ctx context.Context, sys *system, f manifestFlags) error {
	return f.with(ctx, sys, func(in *installation, m gateway.Manifest) error {
		if _, err := in.EnsurePlatform(ctx, actor(sys)); err != nil {
			return err
		}
		changes, err := in.Apply(ctx, actor(sys), m)
		if err != nil {
			return err
		}
		if err := printChanges(sys.Stdout, changes, f.asJSON); err != nil {
			return err
		}
		if len(changes) == 0 {
			say(sys, "the gateway is as "+m.Name+" says: nothing was changed")
		}
		return nil
	})
}

func printChanges(w io.Writer, changes []manifest.Change, asJSON bool) error {
	out := json.NewEncoder(w)
	for _, c := range changes {
		var err error
		if asJSON {
			err = out.Encode(c)
		} else {
			_, err = fmt.Fprintln(w, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func newDiffCommand(sys *system) *cobra.Command {
	var f manifestFlags
	c := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show what apply would change",
		Long: `Prints what "citygate apply" would change, one change a line, and changes nothing. What the gateway has beyond
the file is no difference.

Exits 0 if the gateway is as the file says, 3 if it is not, 1 if it cannot be said.`,
		Example: `  citygate diff -f city.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.with(ctx, sys, func(in *installation, m gateway.Manifest) error {
				changes, err := in.Diff(ctx, m)
				if err != nil {
					return err
				}
				if err := printChanges(sys.Stdout, changes, f.asJSON); err != nil || len(changes) == 0 {
					return err
				}
				return &exitError{code: exitDrift}
			})
		},
	}
	f.withKeys(c)
	f.register(c)
	return c
}

func newDumpCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	c := &cobra.Command{
		Use:   "dump [TENANT...]",
		Short: "Write tenants as the file that apply reads",
		Long: `Writes the tenants that are named, or all, as a file for "citygate apply": applied to the same gateway it
changes nothing. Secrets and private keys are not in it; the bank accounts of payees are.`,
		Example: `  citygate dump > city.yaml
  citygate dump harbour-metro`,
		RunE: func(cmd *cobra.Command, names []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			var ids []citygate.TenantID
			for _, name := range names {
				t, err := in.tenant(ctx, name)
				if err != nil {
					return err
				}
				ids = append(ids, t.ID)
			}
			city, err := in.Describe(ctx, ids...)
			if err != nil {
				return err
			}
			raw, err := city.Write()
			if err != nil {
				return err
			}
			_, err = sys.Stdout.Write(raw)
			return err
		},
	}
	f.databaseOnly(c)
	return c
}

func newValidateCommand(sys *system) *cobra.Command {
	var f manifestFlags
	c := &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check a file that describes tenants, without a gateway",
		Long: `Reads a file for "citygate apply" and prints everything that is wrong with it, by line. It asks no gateway:
whether a change is possible there says "citygate diff".`,
		Example: `  citygate validate -f city.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := f.read(sys)
			if err != nil {
				return err
			}
			if err := checkContracts(m.City); err != nil {
				return err
			}
			say(sys, fmt.Sprintf("%s describes %d tenants and is valid", m.Name, len(m.City.Tenants)))
			return nil
		},
	}
	c.Flags().StringVarP(&f.file, "file", "f", "", "the file; - is standard input (required)")
	return c
}

// checkContracts holds configurations of contracts to the schemas of this build's
// products; a gateway with others checks those itself.
func checkContracts(city *manifest.City) error {
	products := builtin.Products()
	var failed error
	for _, t := range city.Tenants {
		for _, c := range t.Contracts {
			if !slices.Contains(products.Names(), c.Adapter) {
				continue
			}
			if err := products.CheckConfig(c.Adapter, json.RawMessage(c.Config)); err != nil {
				failed = errors.Join(failed, fmt.Errorf("tenant %s, contract %s: %w", t.Slug, c.Name, err))
			}
		}
	}
	return failed
}

func newInitCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a file that describes a small city, to begin with",
		Long: `Writes a file with an authority that issues codes and a bus operator that accepts them, both in sandbox mode, with
comments. Without a name it goes to standard output; a file that is there is not overwritten.`,
		Example: `  citygate init city.yaml`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := sys.Stdout.Write(deploy.ExampleCity)
				return err
			}
			out, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // it holds no secret and is for people to read
			if err != nil {
				return err
			}
			_, err = out.Write(deploy.ExampleCity)
			if err = errors.Join(err, out.Close()); err == nil {
				say(sys, fmt.Sprintf("wrote %s: edit it, then citygate apply -f %s", args[0], args[0]))
			}
			return err
		},
	}
	return c
}
