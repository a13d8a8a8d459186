package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
)

func newSettleRetryCommand(sys *system) *cobra.Command {
	var f accessFlags
	c := &cobra.Command{
		Use:   "retry-debts --tenant TENANT acc_...",
		Short: "Try to collect an account's open debts now",
		Long: `Makes all open debts of an account due, whatever the risk terms say of tries: a running gateway then asks the provider
once. A debt that is being collected already is left alone. "risk debts" names the accounts, when each debt is tried
next and who asked for it.

People of the tenant do it by the API, and riders by paying.`,
		Example: `  citygate settle retry-debts --tenant harbour-city acc_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the account"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID("acc_", args[0])
			if err != nil {
				return &usageError{err}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				n, err := in.RetryDebts(cmd.Context(), actor(sys), tenant, id)
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s debts tried next: %d\n", args[0], n)
				}
				return err
			})
		},
	}
	f.register(c)
	return c
}
