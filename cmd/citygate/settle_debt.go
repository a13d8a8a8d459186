package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/collect"
)

func newSettleWriteOffCommand(sys *system) *cobra.Command {
	var f accessFlags
	var amount int64
	var currency, reason string
	c := &cobra.Command{
		Use:   "write-off --tenant TENANT --amount MINOR --currency CODE --reason TEXT dbt_...",
		Short: "Give up a debt of a rider, for good",
		Long: `Takes what a rider owes off his account, at the cost of those who bear it (issuer, operator, provider, platform, as the
liability rules and roaming terms say). What others than the operator bear is still paid to it when that is due.
Name what is owed: another amount is refused. When it was written off before this changes nothing. What the rider
pays later ("settle collect-written-off") comes to those who bore it.

People of the tenant do it by the API, where it may need two of them.`,
		Example: `  citygate settle write-off --tenant harbour-city --amount 200 --currency CNY --reason "moved away" dbt_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the debt"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID("dbt_", args[0])
			if err != nil {
				return &usageError{err}
			}
			if amount <= 0 || currency == "" || reason == "" {
				return &usageError{errors.New("say what you give up by --amount and --currency, and why by --reason")}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				d, err := in.WriteOff(cmd.Context(), actor(sys), tenant, collect.WriteOff{
					Debt: id, Amount: citygate.Money{Minor: amount, Currency: citygate.Currency(currency)}, Reason: reason,
				})
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s %s\n", args[0], d.State)
				}
				return err
			})
		},
	}
	f.register(c)
	c.Flags().Int64Var(&amount, "amount", 0, "what is owed, in minor units")
	c.Flags().StringVar(&currency, "currency", "", "its currency")
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return c
}

func newSettleCollectCommand(sys *system) *cobra.Command {
	var f accessFlags
	c := &cobra.Command{
		Use:     "collect-written-off --tenant TENANT dbt_...",
		Short:   "Collect a debt that was written off once more, as its rider offers to pay",
		Long:    `A running gateway then asks the provider once. What comes in is income of those who bore the debt; if it is declined the debt stays as it is.`,
		Example: `  citygate settle collect-written-off --tenant harbour-city dbt_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the debt"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID("dbt_", args[0])
			if err != nil {
				return &usageError{err}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				d, err := in.CollectWrittenOff(cmd.Context(), actor(sys), tenant, id)
				if err == nil {
					_, err = fmt.Fprintf(sys.Stdout, "%s %s, collected next\n", args[0], d.State)
				}
				return err
			})
		},
	}
	f.register(c)
	return c
}
