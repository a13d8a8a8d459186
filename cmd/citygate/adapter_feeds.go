package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/edge"
)

func newAdapterFeedsCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, contract string
	c := &cobra.Command{
		Use:   "feeds --tenant TENANT [--contract CONTRACT]",
		Short: "Show the providers' lists that a tenant follows, or the keys of one contract's list",
		Long: `Prints, one line of JSON each, the lists of providers that a tenant's contracts follow: when they were read,
how many entries they had, and why the last reading changed nothing, if it did not. With --contract the keys of that
provider's own codes: in force, missed (not on the newest list; one more such list takes it out of force) and former.

A list that cannot be read, is empty, is broken or was rolled back to a key that had gone changes nothing. Where the
provider meant it so, take-keys lets the next one through.`,
		Example: `  citygate adapter feeds --tenant harbour-metro
  citygate adapter feeds --tenant harbour-metro --contract alipay`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return &usageError{errors.New("adapter feeds needs --tenant")}
			}
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				out := json.NewEncoder(sys.Stdout)
				if contract == "" {
					found, err := in.ProviderFeeds(cmd.Context(), id)
					return printLines(out, found, err)
				}
				found, err := in.ProviderKeys(cmd.Context(), id, contract)
				return printLines(out, found, err)
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name (required)")
	c.Flags().StringVar(&contract, "contract", "", "show the keys of its list")
	return c
}

// printLines prints rows, one line of JSON each.
func printLines[T any](out *json.Encoder, rows []T, err error) error {
	for _, row := range rows {
		err = errors.Join(err, out.Encode(row))
	}
	return err
}

func newAdapterTakeKeysCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, contract, reason string
	c := &cobra.Command{
		Use:   "take-keys --tenant TENANT --contract CONTRACT --reason TEXT",
		Short: "Have the provider's next list of keys taken as it is",
		Long: `Has the next list of keys of a contract's provider taken as it is, also one with keys that had gone out of
force; what is not on it goes at once. An empty or broken list is refused all the same.`,
		Example: `  citygate adapter take-keys --tenant harbour-metro --contract alipay --reason "the provider confirmed it by letter"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || contract == "" || reason == "" {
				return &usageError{errors.New("adapter take-keys needs --tenant, --contract and --reason")}
			}
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				return in.TakeProviderKeys(cmd.Context(), actor(sys), id, contract, reason)
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name (required)")
	c.Flags().StringVar(&contract, "contract", "", "whose list (required)")
	c.Flags().StringVar(&reason, "reason", "", "for the audit log (required)")
	return c
}

func newAdapterPushesCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, contract, state string
	c := &cobra.Command{
		Use:   "pushes --tenant TENANT [--contract CONTRACT] [--state STATE]",
		Short: "Show what providers were told of a tenant's denials, and what they did not take",
		Long: `Prints, one line of JSON each, the accounts whose denial or release is told to their provider, where the contract
has "push_denials": told (the provider took it), unknown (sent, and nobody can say) and refused (certainly not taken).
What is not told is sent again, a rider's changes one after another.`,
		Example: `  citygate adapter pushes --tenant harbour-metro --state refused`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return &usageError{errors.New("adapter pushes needs --tenant")}
			}
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				out := json.NewEncoder(sys.Stdout)
				page := edge.Page{Limit: 500}
				for {
					found, err := in.DenialPushes(cmd.Context(), id, contract, state, page)
					if err := printLines(out, found, err); err != nil || len(found) < page.Limit {
						return err
					}
					if page.After, err = citygate.ParseUUID("acc_", found[len(found)-1].ID); err != nil {
						return err
					}
				}
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name (required)")
	c.Flags().StringVar(&contract, "contract", "", "of this contract alone")
	c.Flags().StringVar(&state, "state", "", "told, waiting, unknown or refused")
	choice(c, "state", "told", "waiting", "unknown", "refused")
	return c
}
