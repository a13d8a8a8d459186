package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/authz"
)

func newAccessCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "access",
		Short: "People of a tenant or of the platform: the first administrator, and help when nobody can get in",
		Long: `What whoever runs the installation does for a tenant whose people cannot do it themselves: make the first
administrator, give a locked-out one the role back, name where people sign in, take tokens and API keys
back. Each is in the tenant's audit log under your name. Everything else is done by the tenant's
administrators through the API. With --platform in place of --tenant all of it is about the people of the
platform itself, and in the platform's audit log.

A lost or stolen token key: "citygate key revoke --purpose token --kid N --reason ..." takes it out of use,
and with it every token it ever signed; "citygate key token" then makes new ones under the next key.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(newAccessAdminCommand(sys), newAccessMembersCommand(sys), newAccessIssuerCommand(sys), newAccessRevokeTokensCommand(sys), newAccessRevokeKeyCommand(sys),
		newAccessProposalsCommand(sys), newAccessApproveCommand(sys))
	return c
}

// accessFlags name the tenant that a command is about, or the platform.
type accessFlags struct {
	gatewayFlags
	tenant   string
	platform bool
}

func (f *accessFlags) register(c *cobra.Command) {
	f.databaseOnly(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "number or short name of the tenant")
}

// orPlatform registers the flags of a command that can be about the platform too.
func (f *accessFlags) orPlatform(c *cobra.Command) {
	f.register(c)
	c.Flags().BoolVar(&f.platform, "platform", false, "the platform itself, and no tenant")
}

// with opens the installation and finds the tenant: 0 for the platform.
func (f *accessFlags) with(ctx context.Context, sys *system, do func(in *installation, tenant citygate.TenantID) error) (err error) {
	switch {
	case f.platform && f.tenant != "":
		return &usageError{errors.New("--platform or --tenant, not both")}
	case !f.platform && f.tenant == "":
		return &usageError{errors.New("name the tenant by --tenant")}
	}
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	if f.platform {
		return do(in, 0)
	}
	t, err := in.tenant(ctx, f.tenant)
	if err != nil {
		return err
	}
	return do(in, t.ID)
}

func newAccessAdminCommand(sys *system) *cobra.Command {
	var f accessFlags
	var m access.Member
	c := &cobra.Command{
		Use:   "admin --tenant TENANT | --platform --person NAME [--issuer NAME]",
		Short: "Make a person an administrator: the first one, or when the last one is locked out",
		Long: `Makes a person an administrator of a tenant (of an authority: with the role authority), or of the platform,
or gives the role back. Without --issuer the person has no sign-in and gets tokens by "citygate key token
--scope member"; with it, --person is what that issuer calls the person (the claim sub).`,
		Example: `  citygate access admin --tenant harbour-metro --person ada
  citygate access admin --tenant harbour-metro --person 00u1abcd --issuer corp
  citygate access admin --platform --person root`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if m.External == "" {
				return &usageError{errors.New("name the person by --person")}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				made, err := in.Access.Recover(cmd.Context(), actor(sys), tenant, m)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(sys.Stdout, "%s %v\n", made.Subject, made.Roles)
				return err
			})
		},
	}
	f.orPlatform(c)
	c.Flags().StringVar(&m.External, "person", "", "short name, or what the issuer calls the person")
	c.Flags().StringVar(&m.Issuer, "issuer", "", "name of one of the tenant's issuers")
	c.Flags().StringVar(&m.Name, "name", "", "name for people")
	return c
}

func newAccessMembersCommand(sys *system) *cobra.Command {
	var f accessFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "members --tenant TENANT | --platform",
		Short: "List the people of a tenant and their roles",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				all, err := in.Access.Members(cmd.Context(), tenant)
				if err != nil {
					return err
				}
				if asJSON {
					out := json.NewEncoder(sys.Stdout)
					for _, m := range all {
						if err := out.Encode(map[string]any{"subject": m.Subject, "name": m.Name, "roles": m.Roles, "issuer": m.Issuer, "added_by": m.AddedBy, "added_at": m.AddedAt}); err != nil {
							return err
						}
					}
					return nil
				}
				t := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(t, "SUBJECT\tNAME\tROLES")
				for _, m := range all {
					_, _ = fmt.Fprintf(t, "%s\t%s\t%v\n", m.Subject, m.Name, m.Roles)
				}
				return t.Flush()
			})
		},
	}
	f.orPlatform(c)
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func newAccessIssuerCommand(sys *system) *cobra.Command {
	var f accessFlags
	var i access.Issuer
	c := &cobra.Command{
		Use:     "issuer --tenant TENANT | --platform --name NAME --url URL --client-id ID",
		Short:   "Name an OpenID Connect issuer where a tenant's people sign in",
		Example: `  citygate access issuer --tenant harbour-metro --name corp --url https://login.example --client-id citygate`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				return in.Access.PutIssuer(cmd.Context(), actor(sys), tenant, i)
			})
		},
	}
	f.orPlatform(c)
	c.Flags().StringVar(&i.Name, "name", "", "short name, which is part of its people's names")
	c.Flags().StringVar(&i.URL, "url", "", "its address, as its tokens say it")
	c.Flags().StringVar(&i.ClientID, "client-id", "", "audience of ID tokens for this gateway")
	return c
}

func newAccessRevokeTokensCommand(sys *system) *cobra.Command {
	var f accessFlags
	var subject string
	c := &cobra.Command{
		Use:   "revoke-tokens --tenant TENANT | --platform",
		Short: "Take back the access tokens that were made until now",
		Example: `  citygate access revoke-tokens --tenant harbour-metro --subject user:ada
  citygate access revoke-tokens --platform`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				return in.Access.RevokeTokens(cmd.Context(), actor(sys), tenant, subject)
			})
		},
	}
	f.orPlatform(c)
	c.Flags().StringVar(&subject, "subject", "", "whose (default: everybody's)")
	return c
}

func newAccessRevokeKeyCommand(sys *system) *cobra.Command {
	var f accessFlags
	c := &cobra.Command{
		Use:     "revoke-key --tenant TENANT | --platform key_...",
		Short:   "Take an API key back for good",
		Example: `  citygate access revoke-key --tenant harbour-metro key_0195e2a4c1de7f0f8f6f7b7f3c1a2b3c`,
		Args:    one("the id of the API key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := citygate.ParseUUID("key_", args[0])
			if err != nil {
				return &usageError{err}
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				return in.Access.RevokeKey(cmd.Context(), actor(sys), tenant, id)
			})
		},
	}
	f.orPlatform(c)
	return c
}

func newPolicyExplainCommand(sys *system) *cobra.Command {
	var f accessFlags
	var subject, operation string
	var below bool
	c := &cobra.Command{
		Use:     "explain --tenant TENANT | --platform --subject SUBJECT --operation ID",
		Short:   "Say which rule lets somebody do something, or what is missing and who could give it",
		Example: `  citygate policy explain --tenant harbour-metro --subject user:ada --operation list-payouts`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			need, ok := edge.PermissionOf(operation)
			if !ok {
				return &usageError{fmt.Errorf("--operation %q: want the id of an operation of /openapi.yaml that needs a permission", operation)}
			}
			domain := authz.Own
			if below {
				domain = authz.Below
			}
			if id, err := citygate.ParseUUID("key_", subject); err == nil {
				subject = id.String()
			}
			return f.with(cmd.Context(), sys, func(in *installation, tenant citygate.TenantID) error {
				x, err := in.Access.Explain(cmd.Context(), tenant, subject, operation, need, domain)
				if err != nil {
					return err
				}
				verdict := "refused"
				if x.Allowed {
					verdict = "allowed"
				}
				grants := fmt.Sprint(x.GrantedBy)
				if len(x.GrantedBy) == 0 {
					grants = `nobody yet: "citygate access admin" makes the first administrator`
				}
				_, err = fmt.Fprintf(sys.Stdout, "%s: %s needs %s\n%s\nroles of %s: %v\nroles that have it: %v\ngiven by: %s\npolicy version: %d\n",
					verdict, operation, x.Permission, x.Why, subject, x.Roles, x.HeldBy, grants, x.Version)
				return err
			})
		},
	}
	f.orPlatform(c)
	c.Flags().StringVar(&subject, "subject", "", "a member such as user:ada or platform:root, or key_... of an API key")
	c.Flags().StringVar(&operation, "operation", "", "id of an operation of /openapi.yaml")
	c.Flags().BoolVar(&below, "below", false, "in a tenant that this one owns, or of the platform in any")
	return c
}
