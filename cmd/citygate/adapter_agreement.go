package main

import (
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
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
	c.AddCommand(newAgreementInviteCommand(sys), newAgreementShowCommand(sys), newAgreementEndCommand(sys))
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

func agreementLine(a driver.Agreement) any {
	state := a.State
	if state == driver.AgreementUnknown {
		state = "unknown"
	}
	line := map[string]any{"id": a.OurID, "provider_id": a.ID, "rider_ref": a.RiderRef, "state": state}
	if !a.ValidFrom.IsZero() {
		line["valid_from"] = a.ValidFrom.UTC()
	}
	if !a.ValidTo.IsZero() {
		line["valid_to"] = a.ValidTo.UTC()
	}
	if a.ReasonCode != "" {
		line["reason"] = a.ReasonCode
	}
	return line
}

func newAgreementInviteCommand(sys *system) *cobra.Command {
	var f agreementFlags
	var back string
	c := &cobra.Command{
		Use:   "invite --tenant TENANT --contract CONTRACT --id ID",
		Short: "Print what a rider opens to agree",
		Long: `Prints the address that a rider's phone opens to let the tenant charge him under the contract. It is made and signed
here and sends nothing. --public-url is that of serve: the provider tells there what became of the agreement.`,
		Example: `  citygate adapter agreement invite --tenant harbour-metro --contract alipay --id RIDER_1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) (any, error) {
				invitation, err := in.InviteRider(cmd.Context(), actor(sys), id, f.contract, f.ours, back)
				return map[string]any{"id": invitation.OurID, "url": invitation.URL}, err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.publicURL, "public-url", "", "what the gateway is called from outside, as of serve")
	c.Flags().StringVar(&back, "return-url", "", "where the rider's phone goes afterwards")
	return c
}

func newAgreementShowCommand(sys *system) *cobra.Command {
	var f agreementFlags
	c := &cobra.Command{
		Use:   "show --tenant TENANT --contract CONTRACT --id ID | --provider-id ID",
		Short: "Ask the provider how an agreement stands",
		Long: `Asks the provider how an agreement stands: pending, active, ended, or unknown to it. The rider of one that has ended is
denied from then on, and let go once it is active again, as when the provider tells by itself.`,
		Example: `  citygate adapter agreement show --tenant harbour-metro --contract alipay --id RIDER_1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) (any, error) {
				a, err := in.RiderAgreement(cmd.Context(), id, f.contract, driver.Agreement{OurID: f.ours, ID: f.theirs})
				return agreementLine(a), err
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
		Use:     "end --tenant TENANT --contract CONTRACT --id ID | --provider-id ID",
		Short:   "End an agreement at the provider",
		Example: `  citygate adapter agreement end --tenant harbour-metro --contract alipay --id RIDER_1`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, sys, func(in *installation, id citygate.TenantID) (any, error) {
				a, err := in.EndAgreement(cmd.Context(), actor(sys), id, f.contract, driver.Agreement{OurID: f.ours, ID: f.theirs})
				return agreementLine(a), err
			})
		},
	}
	f.register(c)
	c.Flags().StringVar(&f.theirs, "provider-id", "", "the provider's own number of it")
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
(--overdue) or because the card is given up. The tenant numbers its cards itself. The newest state wins.

Exit codes: 0 the wallet has it; 1 it certainly has not; 3 nobody can say: send the same again.`,
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
