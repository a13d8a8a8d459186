package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/spf13/cobra"
)

func newKeyCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Keys and access tokens",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newKeyTokenCommand(sys), newKeyListCommand(sys), newKeyRotateCommand(sys), newKeyActivateCommand(sys), newKeyRevokeCommand(sys), newKeySM2Command(sys))
	return c
}

// tokenLongest bounds an access token's life.
const tokenLongest = 24 * time.Hour

type tokenFlags struct {
	gatewayFlags
	tenant  string
	scope   string
	ttl     time.Duration
	subject string
}

func newKeyTokenCommand(sys *system) *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:   "token",
		Short: "Mint an access token for the API",
		Long: `Mints an access token and prints it on a line of its own. Scope platform onboards tenants and acts for
any of them and takes no tenant; admin changes a tenant's own things, read looks at them; member does what
the roles of the member --subject allow at that moment, who without --tenant is one of the platform's.

It is signed with the platform's token key, so this needs the installation's keys; the first use makes
them. The audit log records who it was made for, before it is made. "citygate access revoke-tokens" takes
tokens back.`,
		Example: `  citygate key token --scope platform
  citygate key token --tenant harbour-metro --scope read --ttl 15m --subject user:ada
  citygate key token --scope member --subject platform:root`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return &usageError{err}
			}
			return keyToken(cmd.Context(), sys, f)
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&f.tenant, "tenant", "", "number or short name of the tenant it is for")
	c.Flags().StringVar(&f.scope, "scope", "", "platform, admin, read or member (default: read with --tenant, else platform)")
	c.Flags().DurationVar(&f.ttl, "ttl", time.Hour, "how long it works, at most 24h")
	c.Flags().StringVar(&f.subject, "subject", "", "whom it speaks for, in the audit log (default: user:, and your name)")
	return c
}

func (f *tokenFlags) check() error {
	if f.scope == "" {
		f.scope = edge.ScopePlatform
		if f.tenant != "" {
			f.scope = edge.ScopeRead
		}
	}
	switch {
	case !slices.Contains([]string{edge.ScopePlatform, edge.ScopeAdmin, edge.ScopeRead, edge.ScopeMember}, f.scope):
		return fmt.Errorf("--scope %q: want platform, admin, read or member", f.scope)
	case f.scope == edge.ScopePlatform && f.tenant != "":
		return errors.New("scope platform is for every tenant: leave out --tenant, or ask for admin or read")
	case f.scope == edge.ScopeMember && f.tenant == "" && strings.HasPrefix(f.subject, access.PlatformPrefix):
	case f.scope != edge.ScopePlatform && f.tenant == "":
		return fmt.Errorf("scope %s is a tenant's: name it by --tenant, or a member of the platform by --subject %sNAME", f.scope, access.PlatformPrefix)
	case f.ttl < time.Second || f.ttl > tokenLongest:
		return fmt.Errorf("--ttl %s: want 1s to %s", f.ttl, tokenLongest)
	}
	return nil
}

func keyToken(ctx context.Context, sys *system, f tokenFlags) (err error) {
	if f.subject == "" {
		f.subject = actor(sys)
	}
	in, err := f.signing(ctx, sys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	caller := edge.Caller{Subject: f.subject, Scopes: []string{f.scope}}
	if f.tenant != "" {
		t, err := in.tenant(ctx, f.tenant)
		if err != nil {
			return err
		}
		caller.Tenant = t.ID
	}
	if _, err := in.EnsurePlatform(ctx, actor(sys)); err != nil {
		return err
	}
	token, expires, err := in.mint(ctx, actor(sys), caller, f.ttl)
	if err != nil {
		return err
	}
	say(sys, fmt.Sprintf("%s for %s, works until %s", f.scope, f.subject, expires.Format(time.RFC3339)))
	_, err = fmt.Fprintln(sys.Stdout, token)
	return err
}

// mint makes a token. It is recorded first, in the log of whom it gives power
// over.
func (in *installation) mint(ctx context.Context, actor string, caller edge.Caller, ttl time.Duration) (token string, expires time.Time, err error) {
	now, err := in.DB.NowOf(ctx, caller.Tenant)
	if err != nil {
		return "", expires, err
	}
	expires = now.Add(ttl).UTC().Truncate(time.Second)
	entry := pg.AuditEntry{Actor: actor, Verb: "token.mint", Object: caller.Subject, After: map[string]any{"scopes": caller.Scopes, "expires": expires}}
	record := func(tx *pg.Tx) error { return tx.Audit(ctx, entry) }
	if caller.Tenant == 0 {
		err = in.DB.InSystem(ctx, record)
	} else {
		err = in.DB.InTenant(ctx, caller.Tenant, record)
	}
	if err != nil {
		return "", expires, err
	}
	token, err = in.Tokens.Mint(ctx, caller, ttl)
	return token, expires, err
}

func newKeyListCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var tenant string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the announced keys of a tenant, or of the platform",
		Long: `Lists every key ever announced to verifiers, by purpose and key id, with its state: published (known,
does not sign yet), active (signs), retiring (signs no more, still counts) or revoked (counts no more).
These are the public halves; the private ones never leave their store.`,
		Example: `  citygate key list
  citygate key list --tenant harbour-metro --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return keyList(cmd.Context(), sys, f, tenant, asJSON)
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&tenant, "tenant", "", "number or short name (default: the platform's keys)")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

// A keyLine is how key list writes a key.
type keyLine struct {
	Purpose        keys.Purpose   `json:"purpose"`
	KeyID          uint8          `json:"kid"`
	Version        int            `json:"version"`
	Algorithm      keys.Algorithm `json:"algorithm"`
	State          string         `json:"state"`
	NotBefore      time.Time      `json:"not_before"`
	Expires        time.Time      `json:"expires"`
	NotIssuedAfter *time.Time     `json:"not_issued_after,omitempty"`
	Public         []byte         `json:"public"`
}

func keyList(ctx context.Context, sys *system, f gatewayFlags, tenant string, asJSON bool) (err error) {
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	id := keys.Platform
	if tenant != "" {
		t, err := in.tenant(ctx, tenant)
		if err != nil {
			return err
		}
		id = t.ID
	}
	all, err := in.Ring.Keys(ctx, id)
	if err != nil {
		return err
	}
	if asJSON {
		return printKeysJSON(sys.Stdout, all)
	}
	return printKeys(sys, id, all)
}

func printKeysJSON(w io.Writer, all []keys.Key) error {
	out := json.NewEncoder(w)
	for _, k := range all {
		line := keyLine{
			Purpose: k.Purpose, KeyID: k.KeyID, Version: k.Version, Algorithm: k.Algorithm, State: string(k.State),
			NotBefore: k.NotBefore.UTC(), Expires: k.Expires.UTC(), Public: k.Public,
		}
		if !k.NotIssuedAfter.IsZero() {
			at := k.NotIssuedAfter.UTC()
			line.NotIssuedAfter = &at
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func printKeys(sys *system, tenant citygate.TenantID, all []keys.Key) error {
	if len(all) == 0 {
		whose := "the platform"
		if tenant != keys.Platform {
			whose = fmt.Sprintf("tenant %d", tenant)
		}
		say(sys, whose+" has no keys yet")
		return nil
	}
	t := tabwriter.NewWriter(sys.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "PURPOSE\tKID\tVERSION\tALGORITHM\tSTATE\tFROM\tUNTIL")
	for _, k := range all {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", k.Purpose, k.KeyID, k.Version, k.Algorithm, k.State,
			k.NotBefore.UTC().Format(time.DateOnly), k.Expires.UTC().Format(time.DateOnly))
	}
	return t.Flush()
}
