package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/audit"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/spf13/cobra"
)

func newAuditCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Who changed what, and whether the log still says so",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newAuditListCommand(sys), newAuditVerifyCommand(sys), newAuditExportCommand(sys), newAuditSealCommand(sys))
	return c
}

// platformLog is how the log of what was changed outside any tenant is called.
const platformLog = "platform"

// log finds the log of a tenant, or the platform's.
func (in *installation) log(ctx context.Context, name string) (citygate.TenantID, error) {
	if name == platformLog {
		return audit.Platform, nil
	}
	t, err := in.tenant(ctx, name)
	return t.ID, err
}

// logs gives the log called name, or all of them for none.
func (in *installation) logs(ctx context.Context, name string) ([]citygate.TenantID, error) {
	if name != "" {
		log, err := in.log(ctx, name)
		return []citygate.TenantID{log}, err
	}
	all, err := in.Tenants.All(ctx)
	logs := []citygate.TenantID{audit.Platform}
	for _, t := range all {
		logs = append(logs, t.ID)
	}
	return logs, err
}

type auditListFlags struct {
	gatewayFlags
	tenant      string
	filter      audit.Filter
	from, until string
	after       string
	limit       int
}

func newAuditListCommand(sys *system) *cobra.Command {
	var f auditListFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List who changed what, newest first",
		Example: `  citygate audit list --tenant harbour-metro --verb key. --from 2026-11-01T00:00:00Z
  citygate audit list --tenant platform --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return auditList(cmd.Context(), sys, f, asJSON) },
	}
	f.databaseOnly(c)
	flags := c.Flags()
	flags.StringVar(&f.tenant, "tenant", platformLog, "number or short name of the tenant, or platform")
	flags.StringVar(&f.filter.Actor, "actor", "", "who, such as user:ada")
	flags.StringVar(&f.filter.Verb, "verb", "", "what was done; one that ends in a dot stands for all that begin so")
	flags.StringVar(&f.filter.Object, "object", "", "what it was done to")
	flags.StringVar(&f.from, "from", "", "not before this time (RFC 3339)")
	flags.StringVar(&f.until, "until", "", "before this time (RFC 3339)")
	flags.StringVar(&f.after, "after", "", "id of the last entry seen, for the next page")
	flags.IntVar(&f.limit, "limit", 100, "how many at most")
	flags.BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func auditList(ctx context.Context, sys *system, f auditListFlags, asJSON bool) (err error) {
	for _, v := range []struct {
		flag string
		at   *time.Time
	}{{f.from, &f.filter.From}, {f.until, &f.filter.Until}} {
		if v.flag == "" {
			continue
		}
		if *v.at, err = time.Parse(time.RFC3339, v.flag); err != nil {
			return &usageError{fmt.Errorf("%q: want a time such as 2026-11-21T08:00:00Z", v.flag)}
		}
	}
	var after citygate.UUID
	if f.after != "" {
		if after, err = citygate.ParseUUID(audit.Prefix, f.after); err != nil {
			return &usageError{fmt.Errorf("--after: %w", err)}
		}
	}
	in, err := f.reading(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	log, err := in.log(ctx, f.tenant)
	if err != nil {
		return err
	}
	var rows []audit.Row
	read := func(tx *pg.Tx) (err error) {
		rows, err = audit.List(ctx, tx, f.filter, after, f.limit)
		return err
	}
	if log == audit.Platform {
		err = in.DB.InSystem(ctx, read)
	} else {
		err = in.DB.InTenant(ctx, log, read)
	}
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(sys.Stdout)
	for _, r := range rows {
		if asJSON {
			err = encoder.Encode(edge.AuditView(r))
		} else {
			_, err = fmt.Fprintf(sys.Stdout, "%s  %s  %s  %s  %s -> %s  %s\n", r.At.Format(time.RFC3339), r.Actor, r.Verb, r.Object,
				orDash(r.Before), orDash(r.After), r.ID.Text(audit.Prefix))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func orDash(raw json.RawMessage) string {
	if raw == nil {
		return "-"
	}
	return string(raw)
}

func newAuditVerifyCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	var copies []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that no row of the audit logs was changed, removed, added or moved",
		Long: `Reads every row of the audit logs, computes its hash again, follows the chain from row to row, and holds it
against the checkpoints that the tenants' audit keys signed. Prints each finding on a line of its own, naming
the row, and exits 1; if there is none it says what it read and exits 0.

The keys are those of the key store, where its key file or --vault-addr is given; else the database's own
word is taken for them, and the result says so. A log that was cut together with its checkpoints, or written
anew by somebody who has the key, is found against a copy of the checkpoints alone: make one by "citygate
audit export" and keep it where nobody who can change the database can change it.

Rows that wait for their checkpoint are counted. They wait for seconds; over a minute is a finding.
It changes nothing and may run beside a gateway.`,
		Example: `  citygate audit verify --data /var/lib/citygate/serve
  citygate audit verify --tenant harbour-metro --checkpoint /mnt/witness/harbour-metro.jsonl --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return auditVerify(cmd.Context(), sys, f, name, copies, asJSON)
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant, or platform (default: all and the platform)")
	c.Flags().StringArrayVar(&copies, "checkpoint", nil, "file of checkpoints that \"citygate audit export\" wrote; can be given more than once")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line: what was read and every finding")
	return c
}

// looking opens an installation with its keys where they are at hand, and makes
// nothing.
func (f gatewayFlags) looking(ctx context.Context, sys *system) (*installation, error) {
	if err := f.mustExist(sys); err != nil {
		return nil, err
	}
	if f.vault.addr == "" && !exists(f.keyFile) {
		return f.reading(ctx, sys)
	}
	return f.signing(ctx, sys, slog.New(slog.DiscardHandler))
}

func auditVerify(ctx context.Context, sys *system, f gatewayFlags, name string, files []string, asJSON bool) (err error) {
	var copies []audit.Copy
	for _, file := range files {
		r, err := os.Open(file)
		if err != nil {
			return err
		}
		more, err := audit.ReadCopies(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		copies = append(copies, more...)
	}
	in, err := f.looking(ctx, sys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	logs, err := in.logs(ctx, name)
	if err != nil {
		return err
	}
	report, err := in.VerifyAudit(ctx, logs, copies)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(sys.Stdout).Encode(report)
	} else {
		err = printAudit(sys, &report)
	}
	if err != nil || report.OK() {
		return err
	}
	if more := report.Wrong - len(report.Findings); more > 0 {
		say(sys, fmt.Sprintf("%d more findings are not listed", more))
	}
	return &exitError{code: 1, err: fmt.Errorf("the audit logs do not hold: %d findings", report.Wrong)}
}

func printAudit(sys *system, r *audit.Report) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(sys.Stdout, f); err != nil {
			return err
		}
	}
	if r.Keys == audit.Announced {
		say(sys, "the seals were held against the keys that the database announces: give --key-file, --vault-addr or --checkpoint to hold those against something else")
	}
	if !r.OK() {
		return nil
	}
	_, err := fmt.Fprintf(sys.Stdout, "the audit logs hold: %d logs, %d rows, %d checkpoints, %d of them compared with copies; %d rows wait for a checkpoint, the oldest for %ds\n",
		r.Logs, r.Rows, r.Checkpoints, r.Copies, r.Waiting, r.OldestSeconds)
	return err
}

func newAuditExportCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	var name string
	var after int64
	c := &cobra.Command{
		Use:   "export",
		Short: "Print the checkpoints of the audit logs, to be kept elsewhere",
		Long: `Prints one JSON object a line for each log: its checkpoints and the public keys that verify them. Keep it where
nobody who can change the database can change it, and give it to "citygate audit verify --checkpoint".
A copy of the last checkpoint is enough to find every change before it.`,
		Example: `  citygate audit export --tenant harbour-metro > /mnt/witness/harbour-metro.jsonl`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			in, err := f.reading(ctx, sys)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			logs, err := in.logs(ctx, name)
			if err != nil {
				return err
			}
			encoder := json.NewEncoder(sys.Stdout)
			for _, log := range logs {
				copied, err := audit.Export(ctx, in.DB, in.Ring, log, after)
				if err != nil {
					return err
				}
				if err := encoder.Encode(copied); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.databaseOnly(c)
	c.Flags().StringVar(&name, "tenant", "", "number or short name of the tenant, or platform (default: all and the platform)")
	c.Flags().Int64Var(&after, "after", 0, "only checkpoints with higher numbers")
	return c
}

func newAuditSealCommand(sys *system) *cobra.Command {
	var f gatewayFlags
	c := &cobra.Command{
		Use:   "seal",
		Short: "Seal the audit logs now",
		Long: `A running gateway seals its logs every second. This does it once where none runs: after commands that had no
keys, or before the logs are verified or exported.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			if err := f.mustExist(sys); err != nil {
				return err
			}
			in, err := f.signing(ctx, sys, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.close(ctx)) }()
			return in.SealAll(ctx)
		},
	}
	f.withKeys(c)
	return c
}
