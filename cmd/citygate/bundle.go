package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/keys/bundle"
)

func newBundleCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Trust bundles: what terminals accept codes by, and who signs them",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newBundleInspectCommand(sys), newBundleRootCommand(sys), newBundleRootsCommand(sys), newBundlePrepareCommand(sys), newBundleImportCommand(sys))
	return c
}

func newBundleInspectCommand(sys *system) *cobra.Command {
	var roots []string
	var threshold int
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print a trust bundle or root set, and check it if root keys are given",
		Long: `Print what a trust bundle (TB1) or a root set (TR1) says, signed or only prepared. FILE may be - for
standard input.

With --root (64 hexadecimal digits, may be repeated) a bundle is also opened as a terminal would that was
enrolled with these roots: the exit code is then 1 unless they lead to those that signed it and it is valid
now. Without --root nothing is checked but the form.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := readBounded(sys, args[0], bundle.BytesMax)
			if err != nil {
				return err
			}
			if set, err := bundle.InspectRoots(raw); err == nil && !asJSON && len(roots) == 0 {
				return printRootSet(sys.Stdout, &set)
			}
			b, signers, err := bundle.Inspect(raw)
			if err != nil {
				return err
			}
			trust := "not checked"
			if len(roots) > 0 {
				known, err := parseRoots(roots)
				if err != nil {
					return err
				}
				if _, err := bundle.Open(raw, known, threshold, sys.Now().Unix(), 0); err != nil {
					return err
				}
				trust = "trusted"
			}
			if asJSON {
				return json.NewEncoder(sys.Stdout).Encode(describeBundle(b, signers, trust))
			}
			return printBundle(sys.Stdout, b, signers, trust)
		},
	}
	c.Flags().StringArrayVar(&roots, "root", nil, "a root key to trust, in hexadecimal")
	c.Flags().IntVar(&threshold, "threshold", bundle.ThresholdMin, "how many of the roots must have signed")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}

// readBounded reads a file, or standard input for "-", of at most limit bytes.
func readBounded(sys *system, name string, limit int64) ([]byte, error) {
	in := sys.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return raw, err
}

func parseRoots(texts []string) ([]bundle.RootKey, error) {
	var roots []bundle.RootKey
	for _, s := range texts {
		public, err := hex.DecodeString(s)
		if err != nil || len(public) != 32 {
			return nil, &usageError{fmt.Errorf("root %q: want 64 hexadecimal digits", s)}
		}
		roots = append(roots, bundle.RootKey{Public: public})
	}
	return roots, nil
}

type bundleJSON struct {
	Version    uint64             `json:"version"`
	Issued     time.Time          `json:"issued"`
	Expires    time.Time          `json:"expires"`
	Prev       string             `json:"prev"`
	Trust      string             `json:"trust"`
	RootSet    uint64             `json:"root_set"`
	Threshold  uint8              `json:"threshold"`
	Roots      []string           `json:"roots"`
	SignedBy   []string           `json:"signed_by"`
	MinBundle  uint64             `json:"min_bundle"`
	Tenants    []bundleTenantJSON `json:"tenants"`
	Keys       []bundleKeyJSON    `json:"keys"`
	Schemes    []bundleSchemeJSON `json:"schemes,omitempty"`
	DenyFloors int                `json:"deny_floors"`
}

type bundleSchemeJSON struct {
	Tenant citygate.TenantID `json:"tenant"`
	ID     code.SchemeID     `json:"id"`
	Params string            `json:"params"` // hexadecimal: what it is the scheme knows
	Roots  int               `json:"foreign_roots"`
}

type bundleTenantJSON struct {
	ID            citygate.TenantID `json:"id"`
	Issuer        citygate.Issuer   `json:"issuer"`
	Name          string            `json:"name"`
	Currency      citygate.Currency `json:"currency"`
	CapUnit       int64             `json:"cap_unit"`
	PolicyVersion uint64            `json:"policy_version"`
	PolicyBytes   int               `json:"policy_bytes"`
	Home          bool              `json:"home"`
}

type bundleKeyJSON struct {
	Tenant         citygate.TenantID `json:"tenant"`
	Issuer         citygate.Issuer   `json:"issuer"`
	KeyID          uint8             `json:"kid"`
	Algorithm      bundle.Algorithm  `json:"algorithm"`
	Usage          []string          `json:"usage"`
	State          bundle.State      `json:"state"`
	NotBefore      time.Time         `json:"not_before"`
	Expires        time.Time         `json:"expires"`
	NotIssuedAfter *time.Time        `json:"not_issued_after,omitempty"`
	Public         string            `json:"public"`
}

func describeBundle(b *bundle.Bundle, signers [][8]byte, trust string) bundleJSON {
	out := bundleJSON{
		Version: b.Number, Issued: time.Unix(b.Issued, 0).UTC(), Expires: time.Unix(b.Expires, 0).UTC(), Prev: hex.EncodeToString(b.Prev[:]),
		Trust: trust, Threshold: b.Threshold, MinBundle: b.MinBundle, DenyFloors: len(b.DenyFloors),
	}
	set := b.RootSet()
	out.RootSet = set.Version
	for _, s := range b.Schemes {
		out.Schemes = append(out.Schemes, bundleSchemeJSON{s.Tenant, s.ID, hex.EncodeToString(s.Params), len(s.Roots)})
	}
	for _, r := range b.Roots {
		out.Roots = append(out.Roots, hex.EncodeToString(r.Public))
	}
	for _, id := range signers {
		out.SignedBy = append(out.SignedBy, hex.EncodeToString(id[:]))
	}
	for _, t := range b.Tenants {
		out.Tenants = append(out.Tenants, bundleTenantJSON{t.ID, t.Issuer, t.Name, t.Currency, t.CapUnit, t.PolicyVersion, len(t.Policy), t.Home})
	}
	for _, k := range b.Keys {
		j := bundleKeyJSON{
			Tenant: k.Tenant, Issuer: k.Issuer, KeyID: k.KeyID, Algorithm: k.Algorithm, Usage: k.Usage.Names(), State: k.State,
			NotBefore: time.Unix(k.NotBefore, 0).UTC(), Expires: time.Unix(k.Expires, 0).UTC(), Public: hex.EncodeToString(k.Public),
		}
		if k.NotIssuedAfter != 0 {
			at := time.Unix(k.NotIssuedAfter, 0).UTC()
			j.NotIssuedAfter = &at
		}
		out.Keys = append(out.Keys, j)
	}
	return out
}

func printBundle(w io.Writer, b *bundle.Bundle, signers [][8]byte, trust string) error {
	d := describeBundle(b, signers, trust)
	var out strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&out, format+"\n", args...) }
	line("bundle %d: issued %s, expires %s, %s", d.Version, d.Issued.Format(time.RFC3339), d.Expires.Format(time.RFC3339), trust)
	line("root set %d: %d of %d sign", d.RootSet, d.Threshold, len(d.Roots))
	for _, id := range d.SignedBy {
		line("signed by root %s", id)
	}
	for _, r := range d.Roots {
		line("root %s", r)
	}
	for _, t := range d.Tenants {
		home := ""
		if t.Home {
			home = ", home"
		}
		line("tenant %d: %s, issuer %d, %s, policy %d of %d bytes%s", t.ID, t.Name, t.Issuer, t.Currency, t.PolicyVersion, t.PolicyBytes, home)
	}
	for _, k := range d.Keys {
		line("key of tenant %d: issuer %d, kid %d, %s, %s, %s, from %s until %s", k.Tenant, k.Issuer, k.KeyID, k.Algorithm,
			strings.Join(k.Usage, "+"), k.State, k.NotBefore.Format(time.DateOnly), k.Expires.Format(time.DateOnly))
	}
	for _, s := range d.Schemes {
		line("scheme %s of tenant %d: %d bytes of parameters, %d foreign roots", s.ID, s.Tenant, len(s.Params)/2, s.Roots)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
