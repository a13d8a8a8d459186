package main

import (
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/agreement"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// agreementFlags name an agreement of a tenant's contract.
type agreementFlags struct {
	gatewayFlags
	tenant, contract, ours, theirs string
}

func newAdapterAgreementCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "agreement",
		Short: "Invite riders to agreements that later charges rest on, ask after them, end them",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newAgreementInviteCommand(sys), newAgreementShowCommand(sys), newAgreementEndCommand(sys), newAgreementListCommand(sys))
	return c
}

func (f *agreementFlags) register(c *cobra.Command) {
	f.withKeys(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "number or short name (required)")
	c.Flags().StringVar(&f.contract, "contract", "", "that collects on agreements (required)")
	c.Flags().StringVar(&f.ours, "id", "", "the tenant's own name of the agreement: 1 to 32 letters, digits and underscores")
}

// run opens the installation with its keys, which sign requests to providers.
func (f *agreementFlags) run(c *cobra.Command, sys *system, fn func(in *installation, id citygate.TenantID) (any, error)) (err error) {
	if f.tenant == "" || f.contract == "" || f.ours == "" && f.theirs == "" {
		return &usageError{errors.New("adapter agreement needs --tenant, --contract and --id")}
	}
	in, err := f.signing(c.Context(), sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(c.Context())) }()
	t, err := in.tenant(c.Context(), f.tenant)
	if err != nil {
		return err
	}
	answer, err := fn(in, t.ID)
	if err != nil {
		return err
	}
	return json.NewEncoder(sys.Stdout).Encode(answer)
}

func newAgreementInviteCommand(sys *system) *cobra.Command {
	var f agreementFlags
	var account string
	var o agreement.Opening
	c := &cobra.Command{
		Use:   "invite --tenant TENANT --contract CONTRACT --id ID [--account ACCOUNT]",
		Short: "Print what a rider opens to agree",
		Long: `Prints the address that a rider's phone opens to let the tenant charge him under the contract, and the agreement as the
gateway keeps it; the same again invites to the same agreement. The provider tells what became of it at --public-url, that
of serve, and is asked by serve until the rider has confirmed. An account that is named is then collected by the
agreement too, as a further contract for routing.`,
		Example: `  citygate adapter agreement invite --tenant harbour-metro --contract alipay --id RIDER_1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) (_ any, err error) {
				o.Contract, o.OurID = f.contract, f.ours
				if account != "" {
					if o.Account, err = citygate.ParseUUID("acc_", account); err != nil {
						return nil, &usageError{err}
					}
				}
				a, invitation, err := in.OpenAgreement(cmd.Context(), actor(sys), id, o)
				return edge.Invited{Agreement: gateway.AgreementView(&a), URL: invitation.URL}, err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.publicURL, "public-url", "", "what the gateway is called from outside, as of serve")
	c.Flags().StringVar(&account, "account", "", "account that is to be collected by it")
	c.Flags().StringVar(&o.ReturnURL, "return-url", "", "where the rider's phone goes afterwards")
	return c
}

func newAgreementShowCommand(sys *system) *cobra.Command {
	var f agreementFlags
	c := &cobra.Command{
		Use:   "show --tenant TENANT --contract CONTRACT --id ID | --provider-id ID",
		Short: "Ask the provider how an agreement stands",
		Long: `Asks the provider how an agreement stands: pending, active, ended, or unknown to it, and prints what is kept of it. The
rider of one that has ended is denied from then on, and let go once it is active, as when the provider tells by itself.`,
		Example: `  citygate adapter agreement show --tenant harbour-metro --contract alipay --id RIDER_1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) (any, error) {
				a, err := in.Agreements.Ask(cmd.Context(), actor(sys), id, f.contract, f.ours, f.theirs)
				return gateway.AgreementView(&a), err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.theirs, "provider-id", "", "the provider's own number of it")
	return c
}

func newAgreementEndCommand(sys *system) *cobra.Command {
	var f agreementFlags
	c := &cobra.Command{
		Use:   "end --tenant TENANT --contract CONTRACT --id ID | --provider-id ID",
		Short: "End an agreement at the provider",
		Long: `Ends an agreement at the provider and prints what is kept of it. Twice is once. One that says "ending" is ended later by
the provider, or nobody can say: serve asks for its end again until it is confirmed. One that its rider never confirmed
says so for 30 days after he was invited last: he still can, and it is ended as soon as he has.

Exit codes: 0 the provider has answered; 3 nobody can say yet.`,
		Example: `  citygate adapter agreement end --tenant harbour-metro --contract alipay --id RIDER_1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) (any, error) {
				a, err := in.Agreements.EndNamed(cmd.Context(), actor(sys), id, f.contract, f.ours, f.theirs)
				if a.Ending && err != nil {
					err = &exitError{3, err}
				}
				return gateway.AgreementView(&a), err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.theirs, "provider-id", "", "the provider's own number of it")
	return c
}

func newAgreementListCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	var filter agreement.Filter
	c := &cobra.Command{
		Use:     "list --tenant TENANT [--contract CONTRACT] [--state STATE]",
		Short:   "Print a tenant's agreements as they are known, one line of JSON each; nobody is asked",
		Example: `  citygate adapter agreement list --tenant harbour-metro --state ended`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				out := json.NewEncoder(sys.Stdout)
				return eachPage(func(last *agreement.Agreement) (found []agreement.Agreement, err error) {
					err = in.DB.InTenant(cmd.Context(), id, func(tx *pg.Tx) (err error) {
						found, err = agreement.List(cmd.Context(), tx, filter, last.ID, pageRows)
						return err
					})
					return found, err
				}, func(a *agreement.Agreement) error { return out.Encode(gateway.AgreementView(a)) })
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name")
	c.Flags().StringVar(&filter.Contract, "contract", "", "of this contract alone")
	c.Flags().StringVar((*string)(&filter.State), "state", "", "unknown, pending, active or ended")
	choice(c, "state", "unknown", "pending", "active", "ended")
	required(c, "tenant")
	return c
}

func newAdapterCardCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name, contract string
	var card driver.CardState
	c := &cobra.Command{
		Use:   "card --tenant TENANT --contract CONTRACT --card NUMBER --rider RIDER [--disabled [--overdue] [--tip TEXT]]",
		Short: "Have a rider's wallet show a card of the tenant's as it is now",
		Long: `Has the wallet of a rider show a card of the tenant's as it is now: enabled, or disabled, because the rider owes
(--overdue) or because the card is given up. The tenant numbers its cards itself; the gateway keeps them (adapter cards).
The newest state wins.

Exit codes: 0 the wallet has it; 1 it certainly has not; 3 nobody can say. serve sends what the
wallet has not.`,
		Example: `  citygate adapter card --tenant harbour-metro --contract alipay --card 0370001 --rider 2088123 --disabled --overdue`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if name == "" || contract == "" || card.CardRef == "" || card.RiderRef == "" {
				return &usageError{errors.New("adapter card needs --tenant, --contract, --card and --rider")}
			}
			in, err := f.signing(cmd.Context(), sys, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(cmd.Context())) }()
			t, err := in.tenant(cmd.Context(), name)
			if err != nil {
				return err
			}
			err = in.PushCard(cmd.Context(), actor(sys), t.ID, contract, card)
			if errors.Is(err, adapters.ErrOpen) {
				return &exitError{3, err}
			}
			return err
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name (required)")
	c.Flags().StringVar(&contract, "contract", "", "whose wallet shows it (required)")
	c.Flags().StringVar(&card.CardRef, "card", "", "the card's number (required)")
	c.Flags().StringVar(&card.RiderRef, "rider", "", "the provider's name for its rider (required)")
	c.Flags().BoolVar(&card.Disabled, "disabled", false, "it cannot be used")
	c.Flags().BoolVar(&card.Overdue, "overdue", false, "because its rider owes")
	c.Flags().StringVar(&card.Tip, "tip", "", "what the rider is shown")
	return c
}

func newAdapterCardsCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	var filter credential.CardFilter
	c := &cobra.Command{
		Use:   "cards --tenant TENANT [--contract CONTRACT] [--state STATE]",
		Short: "Show a tenant's cards in riders' wallets, and what the wallets know of them",
		Long: `Prints a tenant's cards in riders' wallets, one line of JSON each: told (the wallet has it), unknown (sent, and nobody can
say) and refused (certainly not taken). What is not told is sent again by serve. With "lock_cards" in the contract the
card of a rider who is denied for what he owes is locked, until nothing is owed.`,
		Example: `  citygate adapter cards --tenant harbour-metro --state refused`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withTenant(cmd, sys, name, func(in *installation, id citygate.TenantID) error {
				out := json.NewEncoder(sys.Stdout)
				return eachPage(func(last *credential.Card) (found []credential.Card, err error) {
					err = in.DB.InTenant(cmd.Context(), id, func(tx *pg.Tx) (err error) {
						found, err = credential.Cards(cmd.Context(), tx, filter, last.ID, pageRows)
						return err
					})
					return found, err
				}, func(c *credential.Card) error { return out.Encode(gateway.CardView(c)) })
			})
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name")
	c.Flags().StringVar(&filter.Contract, "contract", "", "of this contract alone")
	c.Flags().StringVar((*string)(&filter.State), "state", "", "told, waiting, unknown or refused")
	choice(c, "state", "told", "waiting", "unknown", "refused")
	required(c, "tenant")
	return c
}
