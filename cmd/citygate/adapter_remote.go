package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/remote"
	"github.com/cashlesscity/citygate/adapters/remote/remotetest"
	"github.com/cashlesscity/citygate/adapters/scaffold"
)

// The ids of the two keys that a program and the kit meet with.
const (
	gatewayKeyID = "gateway-1"
	programKeyID = "program-1"
)

const programKeysHelp = `--keys names the directory over which the gateway's side and a program meet:

  gateway_private.pem, gateway_public.pem   signs calls, as key id gateway-1; made when absent
  program_private.pem, program_public.pem   signs answers, as key id program-1; the program has the private half.
                                            "citygate adapter keys DIR" makes both pairs where they are absent

All are Ed25519 (PKCS #8, SPKI).`

func newAdapterNewCommand(sys *system) *cobra.Command {
	var language, dir, importPath string
	c := &cobra.Command{
		Use:   "new NAME --lang go|http",
		Short: "Write the beginning of an adapter",
		Long: `Writes a folder with an adapter that runs, or compiles, as it is.

  --lang http   a program in Node without packages, which speaks the provider protocol: for a product whose adapter
                is written in another language than Go, or lives with the provider. docs/adapter-tutorial.md begins here
  --lang go     a package for this repository's adapters folder, with a simulator and the conformance kit as its test`,
		Example: `  citygate adapter new acme --lang http
  citygate adapter new acme --lang go --dir adapters/acme`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if dir == "" {
				dir = args[0]
			}
			if importPath == "" {
				importPath = scaffold.ImportPath(args[0])
			}
			written, err := scaffold.Write(dir, args[0], language, importPath)
			if errors.Is(err, scaffold.ErrName) || errors.Is(err, scaffold.ErrLanguage) {
				return &usageError{err}
			}
			if err != nil {
				return err
			}
			for _, f := range written {
				if _, err := fmt.Fprintln(sys.Stdout, filepath.Join(dir, f)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&language, "lang", scaffold.HTTP, "http or go")
	c.Flags().StringVar(&dir, "dir", "", "folder to make (default: NAME)")
	c.Flags().StringVar(&importPath, "import", "", "with --lang go: the package's import path, if it is not in this repository")
	return c
}

// targetFlags say which program is meant.
type targetFlags struct {
	url, keys, config string
	secrets           []string
}

func (f *targetFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.url, "url", "", "URL of the program")
	flags.StringVar(&f.keys, "keys", "", "directory of the keys")
	required(c, "url", "keys")
	flags.StringVar(&f.config, "config", "{}", "the contract's configuration for the program, as JSON")
	flags.StringArrayVar(&f.secrets, "secret", nil, "NAME=FILE: a secret the manifest names, from a file")
}

func (f *targetFlags) target(sys *system) (remotetest.Target, error) {
	t := remotetest.Target{URL: f.url, KeyID: gatewayKeyID, Config: json.RawMessage(f.config), Clock: sys.Now, Random: sys.Random}
	if !json.Valid(t.Config) {
		return t, &usageError{errors.New("adapter: --config is not JSON")}
	}
	private, err := ensureEd25519(f.keys, "gateway", sys.Random)
	if err != nil {
		return t, err
	}
	t.Signer = private
	public, err := publicEd25519(f.keys, "program")
	if err != nil {
		return t, err
	}
	t.Keys = []remote.ProgramKey{{ID: programKeyID, Public: public}}
	for _, s := range f.secrets {
		name, file, ok := strings.Cut(s, "=")
		if !ok {
			return t, &usageError{fmt.Errorf("adapter: --secret %q: want NAME=FILE", s)}
		}
		value, err := os.ReadFile(file)
		if err != nil {
			return t, err
		}
		if t.Secrets == nil {
			t.Secrets = map[string]citygate.Secret{}
		}
		t.Secrets[name] = citygate.NewSecret(bytes.TrimRight(value, "\r\n"))
	}
	return t, nil
}

func newAdapterTestCommand(sys *system) *cobra.Command {
	var (
		f   targetFlags
		out string
	)
	c := &cobra.Command{
		Use:   "test --url URL --keys DIR",
		Short: "Run the conformance kit against an adapter program",
		Long: `Runs every case of the conformance kit (adapters/drivertest) that applies against a program that speaks the
provider protocol. Lost, late and spoilt answers are played on the line; the program stands beside a test system
(manifest.test), whose book the kit resets for each case. Never point it at a program in production: it charges.

Prints one line for each case with the rule it stands for, and writes conformance.json and conformance.xml (JUnit)
into --out. Exit codes: 0 the program conforms, 1 it does not, 2 it could not be asked.

` + programKeysHelp,
		Example: `  citygate adapter test --url http://127.0.0.1:9000 --keys ./keys --config '{"merchant":"m1"}'`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := f.target(sys)
			if err != nil {
				return &exitError{2, err}
			}
			report, err := remotetest.Examine(cmd.Context(), target)
			if err != nil {
				return &exitError{2, err}
			}
			if err := writeReport(out, report); err != nil {
				return err
			}
			if err := report.WriteTable(sys.Stdout); err != nil {
				return err
			}
			if !report.Conforms() {
				return &exitError{1, errors.New("the program does not conform: see the rules of the cases that failed")}
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&out, "out", ".", "directory for conformance.json and conformance.xml")
	return c
}

func writeReport(dir string, r drivertest.Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // reports are for everybody
		return err
	}
	for name, write := range map[string]func(io.Writer) error{"conformance.json": r.WriteJSON, "conformance.xml": r.WriteJUnit} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil { //nolint:gosec // reports are for everybody
			return err
		}
	}
	return nil
}

func newAdapterKeysCommand(sys *system) *cobra.Command {
	return &cobra.Command{
		Use:   "keys DIR",
		Short: "Make the keys over which the kit and an adapter program meet",
		Long: `DIR names the directory over which the gateway's side and a program meet; a pair that is absent is made:

  gateway_private.pem, gateway_public.pem   signs calls, as key id gateway-1
  program_private.pem, program_public.pem   signs answers, as key id program-1

All are Ed25519 (PKCS #8, SPKI).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, party := range []string{"gateway", "program"} {
				if _, err := ensureEd25519(args[0], party, sys.Random); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(sys.Stdout, args[0])
			return err
		},
	}
}

func newAdapterContractCommand(sys *system) *cobra.Command {
	var f targetFlags
	c := &cobra.Command{
		Use:   "contract --url URL --keys DIR",
		Short: "Print the contract configuration for an adapter program",
		Long: `Reads a program's manifest and prints the configuration of a contract of the product "http" with it, as the file
of citygate apply and PUT /v1/tenants/{tenant}/contracts/{contract} take it. Look at it before you use it: the
manifest is not signed. key_id is what the program calls the tenant's key of purpose provider-http, which keys: in
the file of citygate apply makes; replace it and the keys by those agreed with the provider.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := f.target(sys)
			if err != nil {
				return err
			}
			m, err := fetchManifest(cmd.Context(), target.URL)
			if err != nil {
				return &exitError{2, err}
			}
			m.Test = nil // of no concern to a contract
			if err := m.Accepts(target.Config); err != nil {
				return err
			}
			enc := json.NewEncoder(sys.Stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(remote.Contract{URL: target.URL, KeyID: target.KeyID, Keys: target.Keys, Manifest: m, Config: target.Config})
		},
	}
	f.add(c)
	return c
}

func fetchManifest(ctx context.Context, url string) (remote.Manifest, error) {
	return remote.FetchManifest(ctx, http.DefaultClient, url)
}

// ensureEd25519 gives a party's private key of dir, made if it is absent. Where
// the public half alone is there, the private one is somebody else's.
func ensureEd25519(dir, party string, random io.Reader) (crypto.Signer, error) {
	privatePath, publicPath := filepath.Join(dir, party+"_private.pem"), filepath.Join(dir, party+"_public.pem")
	text, err := os.ReadFile(privatePath)
	if err == nil {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("%s is not PEM", privatePath)
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		private, ok := key.(ed25519.PrivateKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("%s is not an Ed25519 key in PKCS #8", privatePath)
		}
		return private, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(publicPath); err == nil {
		return nil, fmt.Errorf("%s is there without its private half, which somebody else has", publicPath)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(privatePath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return nil, err
	}
	return private, os.WriteFile(publicPath, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open}), 0o644) //nolint:gosec // public
}

// publicEd25519 gives a party's public key as PKIX DER.
func publicEd25519(dir, party string) ([]byte, error) {
	path := filepath.Join(dir, party+"_public.pem")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: make the keys by citygate adapter keys %s, or put the program's public key there", err, dir)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	return block.Bytes, nil
}
