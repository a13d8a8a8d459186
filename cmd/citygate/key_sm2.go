package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/softsm2"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func newKeySM2Command(sys *system) *cobra.Command {
	var f gatewayFlags
	var tenant string
	c := &cobra.Command{
		Use:   "sm2 --tenant TENANT",
		Short: "Make a tenant's SM2 key, a SOFTWARE key, and print its public half",
		Long: `Makes the SM2 key that a tenant signs credentials with for partners who demand SM2, unless it is there, and
prints one line of JSON with its public half (compressed, hexadecimal).

THIS IS A SOFTWARE KEY. Vault's transit engine has no SM2, so the private key is a secret in the secret store
and is handed to the process that signs: whoever reads that process or that secret can sign as the tenant, for
good and without a trace. Give such a key to tenants that need one and to nobody else. Each use warns.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return &usageError{errors.New("key sm2: --tenant is required")}
			}
			return keySM2(cmd.Context(), sys, f, tenant)
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&tenant, "tenant", "", "number or short name (required)")
	return c
}

func keySM2(ctx context.Context, sys *system, f gatewayFlags, tenant string) (err error) {
	in, err := f.signing(ctx, sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	t, err := in.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	all := softsm2.Keys{Secrets: in.Secrets, Random: sys.Random, Warn: func(line string) { say(sys, "WARNING: "+line) }}
	key, err := all.Open(ctx, t.ID, keys.Credential)
	created := errors.Is(err, keys.ErrNotFound)
	if created {
		if err := in.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error { // before it is made: a key nobody recorded is worse than a record of none
			return tx.Audit(ctx, pg.AuditEntry{Actor: actor(sys), Verb: "key.sm2.create", Object: string(keys.Credential), After: map[string]any{"software": true}})
		}); err != nil {
			return err
		}
		key, err = all.Create(ctx, t.ID, keys.Credential)
	}
	if err != nil {
		return err
	}
	return printJSON(sys, struct {
		Tenant   citygate.TenantID `json:"tenant"`
		Purpose  keys.Purpose      `json:"purpose"`
		Public   string            `json:"public"`
		Software bool              `json:"software"`
		Created  bool              `json:"created"`
	}{t.ID, keys.Credential, fmt.Sprintf("%x", key.Public()), true, created})
}
