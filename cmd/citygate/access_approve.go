package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
)

// proposalsShown is how many proposals a list has.
const proposalsShown = 500

func newAccessProposalsCommand(sys *system) *cobra.Command {
	var f accessFlags
	var state string
	var asJSON bool
	c := &cobra.Command{
		Use:     "proposals --tenant TENANT | --platform",
		Short:   "List requests that wait for a second person, or had one, newest first",
		Example: `  citygate access proposals --tenant harbour-metro --state open`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				all, err := in.Access.Proposals(cmd.Context(), tenant, access.ProposalState(state), nil, proposalsShown)
				if err != nil {
					return err
				}
				if asJSON {
					out := json.NewEncoder(sys.Stdout)
					for _, p := range all {
						if err := out.Encode(map[string]any{
							"id": p.ID.Text(access.ProposalPrefix), "state": p.State, "kind": p.Kind, "operation": p.Operation, "path": p.Path,
							"proposer": p.Proposer, "second": p.Second, "expires_at": p.ExpiresAt,
						}); err != nil {
							return err
						}
					}
					return nil
				}
				t := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(t, "ID\tSTATE\tOPERATION\tPATH\tPROPOSER\tSECOND\tEXPIRES")
				for _, p := range all {
					_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.ID.Text(access.ProposalPrefix), p.State, p.Operation, p.Path, p.Proposer, p.Second, p.ExpiresAt.Format(time.RFC3339))
				}
				return t.Flush()
			})
		},
	}
	f.orPlatform(c)
	c.Flags().StringVar(&state, "state", "", "only those: open, approved, executed, refused, withdrawn, void, expired")
	choice(c, "state", "open", "approved", "executed", "refused", "withdrawn", "void", "expired")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func newAccessApproveCommand(sys *system) *cobra.Command {
	var f accessFlags
	c := &cobra.Command{
		Use:   "approve --tenant TENANT | --platform apr_...",
		Short: "Approve somebody else's request, as whoever runs the installation",
		Long: `Approves a request that waits for a second person, where a tenant has none: under your name, which is in the
tenant's audit log, and never your own request. Its proposer then sends it again with the header Approval.`,
		Example: `  citygate access approve --tenant harbour-metro apr_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the proposal"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID(access.ProposalPrefix, args[0])
			if err != nil {
				return &usageError{err}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				p, err := in.Access.Approve(cmd.Context(), access.Caller{Subject: actor(sys)}, tenant, id)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(sys.Stdout, "%s %s by %s for %s: %s %s\n", args[0], p.State, p.Second, p.Person, p.Operation, p.Path)
				return err
			})
		},
	}
	f.orPlatform(c)
	return c
}
