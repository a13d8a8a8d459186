package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/keys/offline"
)

func newBundleRootCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "root",
		Short: "Offline root keys: make them, rotate them, sign with them",
		Long: `The platform's root keys sign every trust bundle: two of three, or more. These commands work on a machine
that never sees the gateway; only files go back and forth, and none of those is secret but the key files.

  1. Each of three holders makes a key:        citygate bundle root init ada.key
  2. One of them names the three public keys:  citygate bundle root rotate --root A --root B --root C --out first.tr1
  3. Two or more of them sign that:            citygate bundle root sign --key ada.key first.tr1
  4. The gateway takes it over, before its first start:  citygate bundle import first.tr1

From then on the gateway prepares bundles ("citygate bundle prepare"), the holders sign them ("root sign"),
and it imports what they signed. Bundles live 30 days and are prepared anew after a week, so sign weekly.

To replace a root, "root rotate --from first.tr1" names the next set. A threshold of the old set AND of the
new one sign it; terminals follow by themselves, those that were away as well.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newRootInitCommand(sys), newRootRotateCommand(sys), newRootSignCommand(sys))
	return c
}

func newRootInitCommand(sys *system) *cobra.Command {
	var phrase passphraseFlags
	var work int
	c := &cobra.Command{
		Use:   "init KEYFILE",
		Short: "Make a root key in a sealed file and print its public half",
		Long: `Makes a root key, seals it in KEYFILE under a passphrase (the format of age, mode 0600) and prints the
public half on a line of its own. A key file is never replaced. Keep copies in different places: a root that
is lost has to be rotated out by the others.`,
		Example: `  citygate bundle root init /media/stick/ada.key`,
		Args:    one("the file to make"),
		RunE: func(_ *cobra.Command, args []string) error {
			if work < offline.WorkFactorMin || work > offline.WorkFactorMax {
				return &usageError{fmt.Errorf("--work-factor %d: want %d to %d", work, offline.WorkFactorMin, offline.WorkFactorMax)}
			}
			if exists(args[0]) {
				return fmt.Errorf("%s is there already: a root key is never replaced", args[0])
			}
			secret, err := phrase.choose(sys)
			if err != nil {
				return err
			}
			root, err := offline.Create(args[0], secret, work, sys.Random)
			if err != nil {
				return err
			}
			say(sys, fmt.Sprintf("made the root key %x in %s: keep a copy elsewhere; nobody can recover the passphrase", root.ID(), args[0]))
			_, err = fmt.Fprintln(sys.Stdout, hex.EncodeToString(root.Public))
			return err
		},
	}
	phrase.register(c)
	c.Flags().IntVar(&work, "work-factor", offline.WorkFactor, "cost of one guess of the passphrase, as a power of two")
	return c
}

func newRootRotateCommand(sys *system) *cobra.Command {
	var from, out string
	var roots []string
	var threshold int
	c := &cobra.Command{
		Use:   "rotate --root HEX... --out FILE",
		Short: "Name the roots that sign from now on: the first set, or the next one",
		Long: `Writes a root set (TR1) that nobody has signed yet. Without --from it is the first one; with --from it follows
that set, and a threshold of that set AND of the new one have to sign it. Roots that stay are named again.`,
		Example: `  citygate bundle root rotate --root 3f… --root 90… --root c2… --out first.tr1
  citygate bundle root rotate --from first.tr1 --root 3f… --root 90… --root 71… --out second.tr1`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" || len(roots) == 0 {
				return &usageError{errors.New("name the new roots by --root and the file to write by --out")}
			}
			known, err := parseRoots(roots)
			if err != nil {
				return err
			}
			var before *bundle.RootSet
			if from != "" {
				set, err := readRootSet(sys, from)
				if err != nil {
					return fmt.Errorf("--from: %w", err)
				}
				before = &set
			}
			next, err := bundle.NextRoots(before, sys.Now().Unix(), threshold, known...)
			if err != nil {
				return err
			}
			draft, err := next.Prepare()
			if err != nil {
				return err
			}
			if err := writeNew(out, draft); err != nil {
				return err
			}
			return printRootSet(sys.Stdout, &next)
		},
	}
	c.Flags().StringVar(&from, "from", "", "the set in force, as \"citygate bundle roots --out\" writes it")
	c.Flags().StringArrayVar(&roots, "root", nil, "public half of a root of the new set, in hexadecimal")
	c.Flags().IntVar(&threshold, "threshold", bundle.ThresholdMin, "how many of the new set must sign")
	c.Flags().StringVar(&out, "out", "", "file to write")
	return c
}

func newRootSignCommand(sys *system) *cobra.Command {
	var phrase passphraseFlags
	var key, from, after, out string
	c := &cobra.Command{
		Use:   "sign --key KEYFILE FILE",
		Short: "Sign a prepared bundle or a root set with a root key",
		Long: `Says what FILE would make terminals trust, asks for the passphrase and adds the signature to FILE, or writes
it to --out. A bundle is signed by a root of the set it carries; a root set by a root of its own or, with
--from naming the set before, by one of that. With --after naming the bundle in force it says what changes,
and refuses a bundle that does not follow it. Holders may sign one after the other or copies of one file:
"citygate bundle import" takes several.`,
		Example: `  citygate bundle root sign --key ada.key --after held.tb1 next.tb1
  citygate bundle root sign --key ada.key --from first.tr1 second.tr1`,
		Args: one("the file to sign"),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return &usageError{errors.New("name the root key file by --key")}
			}
			raw, err := readBounded(sys, args[0], bundle.BytesMax)
			if err != nil {
				return err
			}
			roots, err := reviewDraft(sys, raw, from, after)
			if err != nil {
				return err
			}
			if err := offline.Check(key); err != nil {
				return err
			}
			secret, err := phrase.ask(sys, key)
			if err != nil {
				return err
			}
			k, err := offline.Open(key, secret)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(roots, func(r bundle.RootKey) bool { return bytes.Equal(r.Public, k.Root().Public) }) {
				return bundle.ErrNotTrusted.Explain("root %x is none of those that may sign this", k.Root().ID())
			}
			signed, err := bundle.Cosign(raw, k.Signer())
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0]
			}
			if err := replaceFile(out, signed); err != nil {
				return err
			}
			say(sys, fmt.Sprintf("signed by root %x: %s", k.Root().ID(), out))
			return nil
		},
	}
	phrase.register(c)
	c.Flags().StringVar(&key, "key", "", "sealed root key file")
	c.Flags().StringVar(&from, "from", "", "the root set before, to sign the next one as one of its roots")
	c.Flags().StringVar(&after, "after", "", "the bundle in force, to see what changes")
	c.Flags().StringVar(&out, "out", "", "file to write (default: FILE itself)")
	return c
}

// reviewDraft prints what a root is about to sign and gives the roots that may.
func reviewDraft(sys *system, raw []byte, from, after string) ([]bundle.RootKey, error) {
	if set, err := bundle.InspectRoots(raw); err == nil {
		if after != "" {
			return nil, &usageError{errors.New("--after is for bundles; this is a root set: use --from")}
		}
		roots := set.Roots
		if from != "" {
			before, err := readRootSet(sys, from)
			if err != nil {
				return nil, fmt.Errorf("--from: %w", err)
			}
			if set.Version != before.Version+1 || set.Prev != before.Digest() {
				return nil, bundle.ErrForked.Explain("root set %d does not follow root set %d of %s", set.Version, before.Version, from)
			}
			roots = slices.Concat(roots, before.Roots)
		}
		return roots, printRootSet(sys.Stderr, &set)
	}
	b, signers, err := bundle.Inspect(raw)
	if err != nil {
		return nil, err
	}
	if from != "" {
		return nil, &usageError{errors.New("--from is for root sets; this is a bundle: use --after")}
	}
	if after == "" {
		return b.Roots, printBundle(sys.Stderr, b, signers, "to be signed")
	}
	heldRaw, err := readBounded(sys, after, bundle.BytesMax)
	if err != nil {
		return nil, err
	}
	held, _, err := bundle.Inspect(heldRaw)
	if err != nil {
		return nil, fmt.Errorf("--after: %w", err)
	}
	if b.Number != held.Number+1 || b.Prev != held.Digest() {
		return nil, bundle.ErrForked.Explain("bundle %d does not follow bundle %d of %s", b.Number, held.Number, after)
	}
	say(sys, fmt.Sprintf("bundle %d, valid until %s, follows bundle %d:", b.Number, time.Unix(b.Expires, 0).UTC().Format(time.DateOnly), held.Number))
	for _, change := range bundleChanges(held, b) {
		say(sys, "  "+change)
	}
	return b.Roots, nil
}

// bundleChanges says in words what a bundle changes for those who hold the one
// before.
func bundleChanges(held, next *bundle.Bundle) (changes []string) {
	add := func(format string, args ...any) { changes = append(changes, fmt.Sprintf(format, args...)) }
	name := func(k bundle.Key) string {
		return fmt.Sprintf("key %d of tenant %d (%s, %x…)", k.KeyID, k.Tenant, strings.Join(k.Usage.Names(), "+"), k.Public[:4])
	}
	heldKeys, nextKeys := map[string]bundle.Key{}, map[string]bundle.Key{}
	for _, k := range held.Keys {
		heldKeys[string(k.Public)] = k
	}
	for _, k := range next.Keys {
		nextKeys[string(k.Public)] = k
		old, ok := heldKeys[string(k.Public)]
		switch {
		case !ok:
			add("adds %s, %s", name(k), k.State)
		case old.State != k.State || old.NotIssuedAfter != k.NotIssuedAfter || old.Expires != k.Expires || old.Usage != k.Usage:
			add("changes %s: %s, was %s", name(k), k.State, old.State)
		}
	}
	for _, k := range held.Keys {
		if _, ok := nextKeys[string(k.Public)]; !ok {
			add("DROPS %s", name(k))
		}
	}
	for _, t := range next.Tenants {
		i := slices.IndexFunc(held.Tenants, func(x bundle.Tenant) bool { return x.ID == t.ID })
		switch {
		case i < 0:
			add("adds tenant %d, %s", t.ID, t.Name)
		case held.Tenants[i].PolicyVersion != t.PolicyVersion || !bytes.Equal(held.Tenants[i].Policy, t.Policy):
			add("policy of tenant %d: version %d, was %d", t.ID, t.PolicyVersion, held.Tenants[i].PolicyVersion)
		case held.Tenants[i].Issuer != t.Issuer || held.Tenants[i].Home != t.Home || held.Tenants[i].CapUnit != t.CapUnit || held.Tenants[i].Currency != t.Currency:
			add("CHANGES what tenant %d is", t.ID)
		}
	}
	for _, t := range held.Tenants {
		if !slices.ContainsFunc(next.Tenants, func(x bundle.Tenant) bool { return x.ID == t.ID }) {
			add("DROPS tenant %d, %s", t.ID, t.Name)
		}
	}
	for _, s := range next.Schemes {
		old, ok := held.Scheme(s.Tenant, s.ID)
		same := slices.EqualFunc(old.Roots, s.Roots, func(a, b bundle.ForeignRoot) bool {
			return a.Owner == b.Owner && a.List == b.List && a.Kind == b.Kind && a.ID == b.ID && bytes.Equal(a.Key, b.Key)
		})
		if !ok || !same || !bytes.Equal(old.Params, s.Params) {
			add("scheme %s of tenant %d: %d bytes of parameters, %d foreign roots", s.ID, s.Tenant, len(s.Params), len(s.Roots))
		}
	}
	for _, s := range held.Schemes {
		if _, ok := next.Scheme(s.Tenant, s.ID); !ok {
			add("DROPS scheme %s of tenant %d", s.ID, s.Tenant)
		}
	}
	if was, is := held.RootSet(), next.RootSet(); was.Version != is.Version {
		add("root set %d, was %d", is.Version, was.Version)
	}
	if next.MinBundle != held.MinBundle {
		add("bundles below %d are refused, was %d", next.MinBundle, held.MinBundle)
	}
	if len(changes) == 0 {
		add("nothing but its dates")
	}
	return changes
}

func readRootSet(sys *system, name string) (bundle.RootSet, error) {
	raw, err := readBounded(sys, name, bundle.BytesMax)
	if err != nil {
		return bundle.RootSet{}, err
	}
	return bundle.InspectRoots(raw)
}

// writeNew writes a file that must not be there.
func writeNew(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // nothing in it is secret
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
