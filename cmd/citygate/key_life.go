package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
)

// keyFlags name a tenant's key.
type keyFlags struct {
	gatewayFlags
	tenant  string
	purpose string
	kid     uint8
	named   bool // a kid is wanted
}

func (f *keyFlags) register(c *cobra.Command, kid bool) {
	f.withKeys(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "number or short name (default: the platform)")
	c.Flags().StringVar(&f.purpose, "purpose", "", "what the key signs: credential, denylist, policy, audit, explain, webhook; token for the platform")
	f.named = kid
	if kid {
		c.Flags().Uint8Var(&f.kid, "kid", 0, "key id, as key list gives it")
	}
}

// with opens the installation and finds the tenant.
func (f *keyFlags) with(ctx context.Context, sys *system, do func(in *installation, tenant citygate.TenantID, purpose keys.Purpose) error) (err error) {
	switch {
	case f.purpose == "":
		return &usageError{errors.New("name the key by --purpose")}
	case keys.Purpose(f.purpose) == keys.Root:
		return &usageError{errors.New("--purpose root: root keys are not rotated by this command")}
	case f.named && f.kid == 0:
		return &usageError{errors.New("name the key by --kid, as key list gives it")}
	}
	in, err := f.signing(ctx, sys, slog.New(slog.NewTextHandler(sys.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	id := keys.Platform
	if f.tenant != "" {
		t, err := in.tenant(ctx, f.tenant)
		if err != nil {
			return err
		}
		id = t.ID
	}
	return do(in, id, keys.Purpose(f.purpose))
}

func newKeyRotateCommand(sys *system) *cobra.Command {
	var f keyFlags
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Announce a tenant's next key to everybody who verifies",
		Long: `Makes the next key of a purpose, if none is announced, and publishes it: in the key set at /.well-known and
in the trust bundle of every operator that takes the tenant's codes. It does not sign yet: see key activate.`,
		Example: `  citygate key rotate --tenant harbour --purpose credential`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.with(ctx, sys, func(in *installation, tenant citygate.TenantID, purpose keys.Purpose) error {
				k, err := in.RotateKey(ctx, actor(sys), tenant, purpose)
				if err != nil {
					return err
				}
				return in.tellKey(ctx, sys, k)
			})
		},
	}
	f.register(c, false)
	return c
}

// tellKey prints a key and whom it waits for.
func (in *installation) tellKey(ctx context.Context, sys *system, k keys.Key) error {
	if _, err := fmt.Fprintf(sys.Stdout, "%s %d %s\n", k.Purpose, k.KeyID, k.State); err != nil {
		return err
	}
	late, err := in.Ring.Laggards(ctx, k.Tenant, k.Purpose, k.KeyID)
	if err != nil {
		return err
	}
	for _, l := range late {
		say(sys, fmt.Sprintf("waits for terminal %d (%s) of operator %d, heard of %s: it holds bundle %d and needs %d",
			l.Terminal, l.Name, l.Operator, l.Seen.Format(time.RFC3339), l.Holds, l.Needs))
	}
	return nil
}

func newKeyActivateCommand(sys *system) *cobra.Command {
	var f keyFlags
	var anyway string
	c := &cobra.Command{
		Use:   "activate",
		Short: "Have an announced key sign from now on",
		Long: `Has an announced key sign; the one that signed until now retires, and what it signed stays good. While a
terminal that was heard of in the last 7 days does not hold the key yet the command refuses and lists who
it is. --anyway does not wait, and says why in the audit log: honest riders are then refused there.`,
		Example: `  citygate key activate --tenant harbour --purpose credential --kid 2
  citygate key activate --tenant harbour --purpose credential --kid 2 --anyway "gate 7 is scrapped"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return f.with(ctx, sys, func(in *installation, tenant citygate.TenantID, purpose keys.Purpose) error {
				k, err := in.ActivateKey(ctx, actor(sys), tenant, purpose, f.kid, anyway)
				if errors.Is(err, keys.ErrLaggards) {
					told := in.tellKey(ctx, sys, keys.Key{Tenant: tenant, Purpose: purpose, KeyID: f.kid, State: "published"})
					return errors.Join(err, told)
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(sys.Stdout, "%s %d %s\n", k.Purpose, k.KeyID, k.State)
				return err
			})
		},
	}
	f.register(c, true)
	c.Flags().StringVar(&anyway, "anyway", "", "do not wait for terminals, for this reason")
	return c
}

func newKeyRevokeCommand(sys *system) *cobra.Command {
	var f keyFlags
	var reason, after string
	c := &cobra.Command{
		Use:   "revoke",
		Short: "Take a stolen or lost key out of use at once",
		Long: `Takes a key out of use without waiting for anybody: the next announced key signs in its place, and bundles
say so. With --not-issued-after what it signed until then stays good; without, everything it ever signed is
worthless. Works while the key store is away; what needs it is named, and done when this is repeated.`,
		Example: `  citygate key revoke --tenant harbour --purpose credential --kid 2 --reason "backup stolen" --not-issued-after 2026-11-21T08:00:00Z`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if reason == "" {
				return &usageError{errors.New("say why by --reason")}
			}
			var limit time.Time
			if after != "" {
				var err error
				if limit, err = time.Parse(time.RFC3339, after); err != nil {
					return &usageError{fmt.Errorf("--not-issued-after %q: want a time like 2026-11-21T08:00:00Z", after)}
				}
			}
			return f.with(ctx, sys, func(in *installation, tenant citygate.TenantID, purpose keys.Purpose) error {
				stolen, next, err := in.EmergencyKey(ctx, actor(sys), tenant, purpose, f.kid, limit, reason)
				for _, k := range []keys.Key{stolen, next} {
					if k.KeyID != 0 {
						_, _ = fmt.Fprintf(sys.Stdout, "%s %d %s\n", k.Purpose, k.KeyID, k.State)
					}
				}
				return err
			})
		},
	}
	f.register(c, true)
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	c.Flags().StringVar(&after, "not-issued-after", "", "when it was stolen; what it signed before stays good")
	return c
}
