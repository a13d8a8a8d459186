package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
)

func newTerminalPairCommand(sys *system) *cobra.Command {
	var f accessFlags
	var t fleet.Terminal
	var kind string
	c := &cobra.Command{
		Use:   "pair --tenant TENANT --kind KIND --name NAME",
		Short: "Make a code by which one device enrols itself as a terminal, within ten minutes",
		Long: `Says what a device is to be and prints a code for it, this once. The device sends the code with its public key
and a signature to /v1/tenants/{tenant}/paired-terminals and is told its number; its private key never leaves
it. "citygate terminal redeem" does what a device does. A code enrols one device.`,
		Example: `  citygate terminal pair --tenant harbour-metro --kind gate --name "Central, gate 4" --stop Central
  citygate terminal pair --tenant harbour-bus --kind validator --name "bus 7" --vehicle V-7 --route 12 --number 700`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.Kind = fleet.Kind(kind)
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				p, code, err := in.Pair(cmd.Context(), actor(sys), tenant, t)
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(sys.Stdout, "%s\n", code.Reveal()); err != nil {
					return err
				}
				say(sys, fmt.Sprintf("for one device of tenant %d, until %s", tenant, p.ExpiresAt.Format(time.RFC3339)))
				return nil
			})
		},
	}
	f.register(c)
	flags := c.Flags()
	flags.Uint32Var(&t.ID, "number", 0, "the terminal's number (default: the next free one)")
	flags.StringVar(&t.Name, "name", "", "name for people")
	flags.StringVar(&kind, "kind", "", "gate, validator or taximeter")
	flags.StringVar(&t.Stop, "stop", "", "where a gate stands")
	flags.StringVar(&t.Route, "route", "", "which route a validator serves")
	flags.StringVar(&t.Vehicle, "vehicle", "", "in which vehicle it rides")
	return c
}

type redeemFlags struct {
	gateway string
	tenant  int64
	key     string
	code    string
}

func newTerminalRedeemCommand(sys *system) *cobra.Command {
	var f redeemFlags
	c := &cobra.Command{
		Use:   "redeem --gateway URL --tenant NUMBER --key FILE",
		Short: "Be a device: enrol a key of one's own with a pairing code",
		Long: `Makes an Ed25519 key in FILE, if there is none, and enrols it with a pairing code: read from --code-file, or from
standard input. Prints the answer, which tells the device its number. When the answer was lost, the same
command again gets the same one.`,
		Example: `  citygate terminal redeem --gateway https://gateway.example --tenant 2 --key gate.key --code-file code.txt`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.gateway == "" || f.tenant <= 0 || f.key == "" {
				return &usageError{errors.New("name the gateway by --gateway, the operator's number by --tenant and the key's file by --key")}
			}
			base, err := url.Parse(f.gateway)
			if err != nil || base.Host == "" {
				return &usageError{fmt.Errorf("--gateway %q: want an address such as https://gateway.example", f.gateway)}
			}
			return redeem(cmd.Context(), sys, f)
		},
	}
	c.Flags().StringVar(&f.gateway, "gateway", "", "address of the gateway")
	c.Flags().Int64Var(&f.tenant, "tenant", 0, "number of the operator")
	c.Flags().StringVar(&f.key, "key", "", "file of the device's private key (PKCS #8 in PEM); made if there is none")
	c.Flags().StringVar(&f.code, "code-file", "", "file with the pairing code (default: standard input)")
	return c
}

func redeem(ctx context.Context, sys *system, f redeemFlags) error {
	code, err := pairingCode(sys, f.code)
	if err != nil {
		return err
	}
	key, err := deviceKeyFile(sys, f.key)
	if err != nil {
		return err
	}
	public, _ := key.Public().(ed25519.PublicKey)
	message, ok := fleet.PairingProof(citygate.TenantID(f.tenant), code, public)
	if !ok {
		return errors.New("this is no pairing code: want 12 letters and digits, such as 7K2M-Q9XT-4BHC")
	}
	raw, err := json.Marshal(edge.RedeemPairing{Code: code, PublicKey: public, Signature: ed25519.Sign(key, message)})
	if err != nil {
		return err
	}
	at := fmt.Sprintf("%s/v1/tenants/%d/paired-terminals", strings.TrimSuffix(f.gateway, "/"), f.tenant)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := providerClient().Do(req)
	if err != nil {
		return fmt.Errorf("%w: whether the device is enrolled is not known; run the same command again", err)
	}
	defer func() { _ = resp.Body.Close() }()
	const longest = 64 << 10
	answer, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return fmt.Errorf("%w: run the same command again", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway answered %d: %s", resp.StatusCode, bytes.TrimSpace(answer))
	}
	_, err = fmt.Fprintf(sys.Stdout, "%s\n", bytes.TrimSpace(answer))
	return err
}

func pairingCode(sys *system, file string) (string, error) {
	from := sys.Stdin
	if file != "" {
		opened, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer func() { _ = opened.Close() }()
		from = opened
	}
	line, err := bufio.NewReader(from).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// deviceKeyFile reads a device's key, or makes it: the file is on disk before
// anybody hears of the key.
func deviceKeyFile(sys *system, name string) (ed25519.PrivateKey, error) {
	const block = "PRIVATE KEY"
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(sys.Random)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		err = errors.Join(pem.Encode(file, &pem.Block{Type: block, Bytes: der}), file.Sync(), file.Close())
		return key, err
	}
	if err != nil {
		return nil, err
	}
	found, _ := pem.Decode(raw)
	if found == nil || found.Type != block {
		return nil, fmt.Errorf("%s holds no private key: want PKCS #8 in PEM", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(found.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of another kind: want Ed25519", name)
	}
	return ed, nil
}
