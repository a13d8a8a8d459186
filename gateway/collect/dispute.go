package collect

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of disputes over who bears a debt.
var (
	ErrDispute       = &citygate.Code{Name: "dispute.invalid", Kind: citygate.Invalid, Title: "The dispute cannot be recorded as it is written. Correct the named field."}
	ErrNoDispute     = &citygate.Code{Name: "dispute.not_found", Kind: citygate.NotFound, Title: "There is no such dispute. List the disputes of the tenant."}
	ErrNotBorne      = &citygate.Code{Name: "dispute.not_borne", Kind: citygate.Conflict, Title: "This party bears nothing of the debt. Look at who bears it."}
	ErrDisputeLate   = &citygate.Code{Name: "dispute.too_late", Kind: citygate.Conflict, Title: "The time to dispute who bears this debt is over."}
	ErrDisputeClosed = &citygate.Code{Name: "dispute.decided", Kind: citygate.Conflict, Title: "The dispute is decided, and stays so."}
	ErrDisputed      = &citygate.Code{Name: "debt.disputed", Kind: citygate.Conflict, Title: "Somebody disputes that he bears this debt. Decide the dispute first."}
	ErrBearerPaid    = &citygate.Code{Name: "bearer.not_owed", Kind: citygate.Conflict, Title: "The bearer does not owe so much, or what it owes is disputed. List what bearers owe."}
	ErrBearerOther   = &citygate.Code{Name: "bearer.other_content", Kind: citygate.Conflict, Title: "A payment of this bearer has that reference and other content. Compare the two; nothing was changed."}
)

// The states of a dispute.
const (
	disputeOpen     = "open"
	DisputeUpheld   = "upheld"
	DisputeRejected = "rejected"
)

// A Dispute says that a party does not bear what it is told to bear of a debt.
type Dispute struct {
	ID           citygate.UUID
	Debt         citygate.UUID
	Bearer       string // issuer, provider or platform
	State        string // open, upheld, rejected
	Reason       string
	Evidence     string
	OpenedBy     string
	OpenedAt     time.Time
	BearsInstead string // of an upheld one: operator or issuer
	Decision     string // why
	DecidedBy    string
	DecidedAt    time.Time // zero while it is open
}

// dispute changes a decision about who bears by the disputes of its debt. It reports
// whether one is open: nothing more is paid then.
func (b *Bearing) dispute(of []Dispute) (open bool) {
	for _, part := range []struct {
		bearer string
		bears  *int64
	}{{byProvider, &b.ProviderBears}, {byPlatform, &b.PlatformBears}, {byIssuer, &b.IssuerBears}} { // the issuer last: it may take over and dispute that
		for i := range of {
			d := &of[i]
			switch {
			case d.Bearer != part.bearer || *part.bears == 0:
			case d.State == disputeOpen:
				open = true
			case d.State == DisputeUpheld:
				if d.BearsInstead == byIssuer {
					b.IssuerBears += *part.bears
				}
				*part.bears, b.Basis = 0, byDispute
			}
		}
	}
	return open
}

// OpenDispute records that a party disputes what it bears of a debt, within the time that
// the risk terms give after the debt was opened. Until it is decided the operator is paid
// nothing more of it, nobody can record that the bearer paid it, and it is not written
// off. The same dispute again changes nothing.
func (c *Collector) OpenDispute(ctx context.Context, actor string, tenant citygate.TenantID, d Dispute) (Dispute, error) {
	switch {
	case d.Bearer != byIssuer && d.Bearer != byProvider && d.Bearer != byPlatform:
		return d, ErrDispute.Explain("bearer: want issuer, provider or platform")
	case !reasonable(d.Reason) || len([]rune(d.Evidence)) > 2000 || strings.TrimSpace(d.Evidence) == "":
		return d, ErrDispute.Explain("want a reason of 3 to 500 characters, and evidence of at most 2000: what it is and where it lies")
	}
	if err := c.PassBack(ctx, tenant); err != nil { // who bears it is decided first
		return d, err
	}
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		debt, _, err := lockDebt(ctx, tx, d.Debt)
		if err != nil {
			return err
		}
		all, err := disputesOf(ctx, tx, []citygate.UUID{d.Debt})
		if err != nil {
			return err
		}
		for _, old := range all[d.Debt] {
			if old.Bearer == d.Bearer {
				if old.State != disputeOpen {
					return ErrDisputeClosed.Explain("it was %s", old.State)
				}
				d = old
				return nil
			}
		}
		borne, err := bornePart(ctx, tx, d.Debt, d.Bearer)
		if err != nil {
			return err
		}
		if borne == 0 || debt.State != debtOpen && (debt.State != debtWrittenOff || !debt.RepaidAt.IsZero()) {
			return ErrNotBorne.Explain("the debt is %s", debt.State)
		}
		terms, err := c.terms.At(ctx, tx, tx.Now)
		if err != nil {
			return err
		}
		if end := debt.OpenedAt.AddDate(0, 0, terms.Disputable()); tx.Now.After(end) {
			return ErrDisputeLate.Explain("it was until %s", end.Format(time.RFC3339))
		}
		d.ID, d.State, d.OpenedBy, d.OpenedAt = tx.NewID(), disputeOpen, actor, tx.Now.UTC().Truncate(time.Microsecond)
		if _, err := tx.Exec(ctx, `
			INSERT INTO liability_disputes (tenant_id, dispute_id, debt_id, bearer, state, reason, evidence, opened_by, opened_at)
			VALUES ($1, $2, $3, $4, 'open', $5, $6, $7, $8)`, tx.Tenant, d.ID, d.Debt, d.Bearer, d.Reason, d.Evidence, d.OpenedBy, d.OpenedAt); err != nil {
			return err
		}
		if err := c.respread(ctx, tx, d.Debt); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "liability.dispute", Object: "dispute:" + d.ID.Text("dsp_"),
			After: map[string]any{"debt": d.Debt.Text("dbt_"), "bearer": d.Bearer, "amount": borne, "reason": d.Reason, "evidence": d.Evidence}})
	})
	return d, err
}

// DecideDispute ends a dispute. One that is upheld moves what its bearer bore to who
// bears it instead, in the books of both where two are concerned; one that is rejected
// lets go what waited. The same decision again changes nothing.
func (c *Collector) DecideDispute(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID, outcome, instead, reason string) (Dispute, error) {
	upheld := outcome == DisputeUpheld
	switch {
	case !upheld && outcome != DisputeRejected:
		return Dispute{}, ErrDispute.Explain("outcome: want upheld or rejected")
	case upheld != (instead != "") || upheld && instead != byOperator && instead != byIssuer:
		return Dispute{}, ErrDispute.Explain("bears_instead: operator or issuer, of an upheld one alone")
	case !reasonable(reason):
		return Dispute{}, ErrDispute.Explain("reason: want 3 to 500 characters")
	}
	if err := c.PassBack(ctx, tenant); err != nil {
		return Dispute{}, err
	}
	var d Dispute
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		if d, err = disputeByID(ctx, tx, id); err != nil {
			return err
		}
		if _, _, err := lockDebt(ctx, tx, d.Debt); err != nil {
			return err
		}
		if d, err = disputeByID(ctx, tx, id); err != nil { // as it is now that the debt is ours
			return err
		}
		switch {
		case d.State == outcome && d.BearsInstead == instead:
			return nil
		case d.State != disputeOpen:
			return ErrDisputeClosed.Explain("it was %s", d.State)
		case instead == d.Bearer:
			return ErrDispute.Explain("bears_instead: %s is who disputes it", instead)
		}
		d.State, d.BearsInstead, d.Decision, d.DecidedBy, d.DecidedAt = outcome, instead, reason, actor, tx.Now.UTC().Truncate(time.Microsecond)
		if _, err := tx.Exec(ctx, `
			UPDATE liability_disputes SET state = $3, bears_instead = $4, decision = $5, decided_by = $6, decided_at = $7 WHERE tenant_id = $1 AND dispute_id = $2`,
			tx.Tenant, id, d.State, d.BearsInstead, d.Decision, d.DecidedBy, d.DecidedAt); err != nil {
			return err
		}
		if err := c.respread(ctx, tx, d.Debt); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "liability.decide", Object: "dispute:" + id.Text("dsp_"),
			Before: map[string]any{"state": disputeOpen}, After: map[string]any{"state": outcome, "bears_instead": instead, "reason": reason}})
	})
	return d, err
}

// respread brings what was told and booked of one locked debt to what should be.
func (c *Collector) respread(ctx context.Context, tx *pg.Tx, debt citygate.UUID) error {
	advices, err := c.spread(ctx, tx, []citygate.UUID{debt})
	if err != nil {
		return err
	}
	return c.tell(ctx, tx, advices)
}

// A BearerPayment is what provider or platform paid of what it bears. Negative is what
// was given back to it, as riders paid after all.
type BearerPayment struct {
	ID         citygate.UUID
	Bearer     string // provider or platform
	Contract   string // of a provider
	Reference  string // of the payment: the same again is the same
	Amount     citygate.Money
	Reason     string
	RecordedBy string
	At         time.Time

	date citygate.Date
}

// transfer takes the payment off what is claimed from its bearer. The platform keeps no
// book here, so the other side of its payment is the bank's.
func (p *BearerPayment) transfer(tenant citygate.TenantID) ledger.Transfer {
	t := ledger.Transfer{Event: "bearer:" + p.Bearer + ":" + p.Contract + "/" + p.Reference, Debit: ledger.Bank(), Credit: ledger.PlatformReceivable(),
		Amount: p.Amount.Minor, Currency: p.Amount.Currency, Code: codeBearerPaid, EffectiveAt: p.At, BusinessDate: p.date}
	if p.Bearer == byProvider {
		t.Credit = ledger.Suspense(p.Contract)
	}
	return ledger.NewTransfer(tenant, 0, t)
}

// A BearerClaim is what a bearer owes in one currency.
type BearerClaim struct {
	Bearer   string
	Contract string
	Currency citygate.Currency
	Claimed  int64
	Disputed int64 // of it, and not to be paid until that is decided
	Paid     int64
}

// Owed is what it may pay now; negative: what it is owed back.
func (b *BearerClaim) Owed() int64 { return b.Claimed - b.Disputed - b.Paid }

// RecordBearerPayment records what provider or platform paid of what it bears, never
// more than it owes; or, negative, what was given back, never more than it had overpaid.
func (c *Collector) RecordBearerPayment(ctx context.Context, actor string, tenant citygate.TenantID, p BearerPayment) (BearerPayment, error) {
	switch {
	case p.Bearer != byProvider && p.Bearer != byPlatform || (p.Bearer == byProvider) != (p.Contract != ""):
		return p, ErrDispute.Explain("bearer: platform, or provider with its contract")
	case !referable(p.Reference) || !reasonable(p.Reason) || p.Amount.Minor == 0 || !p.Amount.Currency.Valid():
		return p, ErrDispute.Explain("want a reference of 1 to 64 characters, an amount, and a reason of 3 to 500 characters")
	}
	if err := c.PassBack(ctx, tenant); err != nil {
		return p, err
	}
	err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		old, found, err := paymentOf(ctx, tx, p.Bearer, p.Contract, p.Reference)
		if err != nil || found {
			if err == nil && old.Amount != p.Amount {
				err = ErrBearerOther.Explain("it was recorded as %d %s", old.Amount.Minor, old.Amount.Currency)
			}
			p = old
			return err
		}
		claims, err := BearerClaims(ctx, tx)
		if err != nil {
			return err
		}
		owed := int64(0)
		for i := range claims {
			if b := &claims[i]; b.Bearer == p.Bearer && b.Contract == p.Contract && b.Currency == p.Amount.Currency {
				owed = b.Owed()
			}
		}
		if p.Amount.Minor > max(owed, 0) || p.Amount.Minor < min(owed, 0) {
			return ErrBearerPaid.Explain("%d %s are owed", owed, p.Amount.Currency)
		}
		settings, err := c.Settings(ctx, tx.Tenant)
		if err != nil {
			return err
		}
		p.ID, p.RecordedBy, p.At, p.date = tx.NewID(), actor, tx.Now.UTC().Truncate(time.Microsecond), settings.Calendar.BusinessDate(tx.Now)
		if _, err := tx.Exec(ctx, `
			INSERT INTO bearer_payments (tenant_id, payment_id, n, bearer, contract, reference, amount, currency, reason, recorded_by, at, business_date)
			SELECT $1, $2, 1 + (SELECT count(*)::int FROM bearer_payments WHERE tenant_id = $1), $3, $4, $5, $6, $7, $8, $9, $10, $11`,
			tx.Tenant, p.ID, p.Bearer, p.Contract, p.Reference, p.Amount.Minor, string(p.Amount.Currency), p.Reason, p.RecordedBy, p.At, p.date); err != nil {
			if pg.SQLState(err) == pg.StateUniqueViolation { // what is owed was looked at before the other
				return pg.ErrUnavailable.Because(err, "another payment is being recorded")
			}
			return err
		}
		if err := tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "liability.paid", Object: "bearer_payment:" + p.ID.Text("bpm_"),
			After: map[string]any{"bearer": p.Bearer, "contract": p.Contract, "reference": p.Reference, "amount": p.Amount, "reason": p.Reason}}); err != nil {
			return err
		}
		return ledger.Post(ctx, tx, []ledger.Transfer{p.transfer(tx.Tenant)})
	})
	return p, err
}

const disputeColumns = `dispute_id, debt_id, bearer, state, reason, evidence, opened_by, opened_at, bears_instead, decision, decided_by, decided_at`

func scanDispute(row pgx.CollectableRow) (d Dispute, err error) {
	var decided *time.Time
	err = row.Scan(&d.ID, &d.Debt, &d.Bearer, &d.State, &d.Reason, &d.Evidence, &d.OpenedBy, &d.OpenedAt, &d.BearsInstead, &d.Decision, &d.DecidedBy, &decided)
	d.OpenedAt = d.OpenedAt.UTC()
	if decided != nil {
		d.DecidedAt = decided.UTC()
	}
	return d, err
}

func disputeByID(ctx context.Context, tx *pg.Tx, id citygate.UUID) (Dispute, error) {
	rows, err := tx.Query(ctx, `SELECT `+disputeColumns+` FROM liability_disputes WHERE tenant_id = $1 AND dispute_id = $2`, tx.Tenant, id)
	if err != nil {
		return Dispute{}, err
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDispute)
	if pg.IsNoRows(err) {
		err = ErrNoDispute
	}
	return d, err
}

// disputesOf gives the disputes of debts.
func disputesOf(ctx context.Context, tx *pg.Tx, debts []citygate.UUID) (map[citygate.UUID][]Dispute, error) {
	rows, err := tx.Query(ctx, `SELECT `+disputeColumns+` FROM liability_disputes WHERE tenant_id = $1 AND debt_id = ANY($2::uuid[])`, tx.Tenant, debts)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, scanDispute)
	out := map[citygate.UUID][]Dispute{}
	for _, d := range all {
		out[d.Debt] = append(out[d.Debt], d)
	}
	return out, err
}

// Disputes lists disputes in one state, or in any for "", after one of them, at most
// limit.
func Disputes(ctx context.Context, tx *pg.Tx, state string, after citygate.UUID, limit int) ([]Dispute, error) {
	where, err := inState("state", state, disputeOpen, DisputeUpheld, DisputeRejected)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT `+disputeColumns+` FROM liability_disputes WHERE tenant_id = $1 AND dispute_id > $2`+where+` ORDER BY dispute_id LIMIT $3`,
		tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanDispute)
}

// bornePart gives what a party bears of a debt.
func bornePart(ctx context.Context, tx *pg.Tx, debt citygate.UUID, bearer string) (amount int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(sum(CASE $3 WHEN 'issuer' THEN issuer_bears WHEN 'provider' THEN provider_bears ELSE platform_bears END), 0)::bigint
		FROM debt_bearers WHERE tenant_id = $1 AND aggregation_id = $2`, tx.Tenant, debt, bearer).Scan(&amount)
	return amount, err
}

const paymentColumns = `payment_id, bearer, contract, reference, amount, currency, reason, recorded_by, at, business_date`

func scanPayment(row pgx.CollectableRow) (p BearerPayment, err error) {
	err = row.Scan(&p.ID, &p.Bearer, &p.Contract, &p.Reference, &p.Amount.Minor, &p.Amount.Currency, &p.Reason, &p.RecordedBy, &p.At, &p.date)
	p.At = p.At.UTC()
	return p, err
}

func paymentOf(ctx context.Context, tx *pg.Tx, bearer, contract, reference string) (p BearerPayment, found bool, err error) {
	rows, err := tx.Query(ctx, `SELECT `+paymentColumns+` FROM bearer_payments WHERE tenant_id = $1 AND bearer = $2 AND contract = $3 AND reference = $4`,
		tx.Tenant, bearer, contract, reference)
	if err != nil {
		return p, false, err
	}
	p, err = pgx.CollectExactlyOneRow(rows, scanPayment)
	if pg.IsNoRows(err) {
		return p, false, nil
	}
	return p, err == nil, err
}

// BearerPayments lists what bearers paid, after one of them, at most limit.
func BearerPayments(ctx context.Context, tx *pg.Tx, after citygate.UUID, limit int) ([]BearerPayment, error) {
	rows, err := tx.Query(ctx, `SELECT `+paymentColumns+` FROM bearer_payments WHERE tenant_id = $1 AND payment_id > $2 ORDER BY payment_id LIMIT $3`, tx.Tenant, after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanPayment)
}

// BearerClaims gives what each bearer was told to bear and has paid of it.
func BearerClaims(ctx context.Context, tx *pg.Tx) ([]BearerClaim, error) {
	rows, err := tx.Query(ctx, `
		SELECT bearer, contract, currency, sum(claimed)::bigint, sum(disputed)::bigint, sum(paid)::bigint FROM (
			SELECT CASE a.kind WHEN 'platform_claim' THEN 'platform' ELSE 'provider' END AS bearer, CASE a.kind WHEN 'platform_claim' THEN '' ELSE a.contract END AS contract,
			       a.currency, a.amount AS claimed, CASE WHEN d.dispute_id IS NULL THEN 0 ELSE a.amount END AS disputed, 0::bigint AS paid
			FROM advices a LEFT JOIN liability_disputes d ON d.tenant_id = $1 AND d.debt_id = a.ref_id AND d.state = 'open'
				AND d.bearer = CASE a.kind WHEN 'platform_claim' THEN 'platform' ELSE 'provider' END
			WHERE a.tenant_id = $1 AND a.kind IN ('provider_claim', 'platform_claim')
			UNION ALL
			SELECT bearer, contract, currency, 0, 0, amount FROM bearer_payments WHERE tenant_id = $1) AS m
		GROUP BY bearer, contract, currency ORDER BY bearer, contract, currency`, tx.Tenant)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[BearerClaim])
}

func deriveBearerPayments(ctx context.Context, tx *pg.Tx, all func([]ledger.Transfer) error) error {
	rows, err := tx.Query(ctx, `SELECT `+paymentColumns+` FROM bearer_payments WHERE tenant_id = $1`, tx.Tenant)
	if err != nil {
		return err
	}
	payments, err := pgx.CollectRows(rows, scanPayment)
	for i := range payments {
		if err := all([]ledger.Transfer{payments[i].transfer(tx.Tenant)}); err != nil {
			return err
		}
	}
	return err
}
