package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A Source derives, from rows that are not the books, the transfers that one
// kind of event should have posted in the transaction's tenant. It uses the
// pure function that made them when they were posted. The order is free; yield
// may be called many times and must get every transfer once.
type Source interface {
	Name() string
	Derive(ctx context.Context, tx *pg.Tx, yield func(Transfer) error) error
}

// The kinds of findings.
const (
	Missing      = "missing_transfer" // an event's transfer is not in the books
	Extra        = "extra_transfer"   // nothing that happened explains it
	Doubled      = "doubled_transfer" // extra, and the copy of one that is explained
	Altered      = "altered_transfer" // a field differs from what the event says
	Unbalanced   = "balance_cache"    // a balance is not the sum of its transfers
	Unpaired     = "interbook_pair"   // two books disagree about a journey
	NotClear     = "clearing"         // a clearing account is not what is explained
	DerivedTwice = "derived_twice"    // two sources claim one transfer
)

// A Finding is one disagreement.
type Finding struct {
	Tenant    citygate.TenantID `json:"tenant"`
	Invariant string            `json:"invariant"` // books_rederive, interbook_pairs, clearing_zero
	Kind      string            `json:"kind"`
	Transfer  string            `json:"transfer,omitempty"`
	Event     string            `json:"event,omitempty"`
	Code      string            `json:"code,omitempty"`
	Account   string            `json:"account,omitempty"`
	Currency  citygate.Currency `json:"currency,omitempty"`
	Field     string            `json:"field,omitempty"`
	Want      string            `json:"want,omitempty"`
	Got       string            `json:"got,omitempty"`
}

// String gives one line.
func (f Finding) String() string {
	s := fmt.Sprintf("tenant %d: %s", f.Tenant, f.Kind)
	for _, p := range [...]struct{ name, value string }{
		{"transfer", f.Transfer}, {"event", f.Event}, {"code", f.Code}, {"account", f.Account},
		{"currency", string(f.Currency)}, {"field", f.Field}, {"want", f.Want}, {"got", f.Got},
	} {
		if p.value != "" {
			s += fmt.Sprintf(" %s=%s", p.name, p.value)
		}
	}
	return s
}

// findingsMax bounds a report; what is beyond is only counted.
const findingsMax = 1_000

// A Report is what a check saw. Its counts let a reader tell "nothing wrong"
// from "nothing read".
type Report struct {
	Tenants   int       `json:"tenants"`
	Transfers int       `json:"transfers"` // rows read
	Derived   int       `json:"derived"`   // transfers that sources gave
	Accounts  int       `json:"accounts"`
	Pairs     int       `json:"pairs"` // journeys in two books
	Wrong     int       `json:"wrong"`
	Findings  []Finding `json:"findings"` // the first ones
	Erased    []Erased  `json:"erased,omitempty"`
}

// An Erased says of which of a tenant's fares the taps are erased: the books are
// derived from the decisions, but whether a decision follows from its taps can be
// seen no more.
type Erased struct {
	Tenant   citygate.TenantID `json:"tenant"`
	Before   time.Time         `json:"before"` // event time
	Taps     int64             `json:"taps"`
	Journeys int64             `json:"journeys"`
}

// OK reports whether the check found nothing. A command exits 1 when it did.
func (r *Report) OK() bool { return r.Wrong == 0 }

// Holds reports whether nothing was found against the invariant.
func (r *Report) Holds(invariant string) bool {
	if r.Wrong > len(r.Findings) {
		return false
	}
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Invariant == invariant })
}

// Merge adds what another check saw of the same tenants.
func (r *Report) Merge(o Report) {
	r.Wrong += o.Wrong
	r.Accounts += o.Accounts
	room := max(0, findingsMax-len(r.Findings))
	r.Findings = append(r.Findings, o.Findings[:min(room, len(o.Findings))]...)
}

func (r *Report) add(f Finding) {
	r.Wrong++
	if len(r.Findings) < findingsMax {
		r.Findings = append(r.Findings, f)
	}
}

// Check compares the books of tenants with what sources derive, row by row and
// both ways, the balances with the transfers, and the tenants' books with each
// other. It keeps 40 bytes for each derived transfer and each interbook row in
// memory, and reads the books in a stream.
func Check(ctx context.Context, db *pg.DB, tenants []citygate.TenantID, sources []Source) (Report, error) {
	r := Report{Findings: []Finding{}}
	var pairs []side
	for _, tenant := range tenants {
		err := db.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			c := checker{tx: tx, sources: sources}
			if err := c.run(ctx); err != nil {
				return err
			}
			r.Tenants++
			r.Transfers += c.read
			r.Derived += len(c.derived)
			r.Accounts += c.accounts
			r.Wrong += c.report.Wrong - len(c.report.Findings)
			for _, f := range c.report.Findings {
				r.add(f)
			}
			pairs = append(pairs, c.pairs...)
			return nil
		})
		if err != nil {
			return r, fmt.Errorf("ledger check of tenant %d: %w", tenant, err)
		}
	}
	comparePairs(&r, pairs)
	return r, nil
}

// A fingerprint is what is kept of a derived transfer.
type fingerprint struct {
	id     citygate.UUID
	digest [16]byte
	source uint32
	seen   bool
}

type checker struct {
	tx       *pg.Tx
	sources  []Source
	report   Report
	derived  []fingerprint
	pairs    []side
	read     int
	accounts int
}

func (c *checker) run(ctx context.Context) error {
	*c = checker{tx: c.tx, sources: c.sources} // the transaction may run again
	if err := c.derive(ctx); err != nil {
		return err
	}
	var altered, extra []citygate.UUID
	at := 0
	room := make([]byte, 0, 512)
	err := read(ctx, c.tx, `SELECT `+columns+` FROM transfers WHERE tenant_id = $1 ORDER BY transfer_id`, []any{int64(c.tx.Tenant)}, func(t *Transfer) error {
		c.read++
		for at < len(c.derived) && bytes.Compare(c.derived[at].id[:], t.ID[:]) < 0 {
			at++
		}
		switch {
		case at == len(c.derived) || c.derived[at].id != t.ID:
			extra = append(extra, t.ID)
		default:
			c.derived[at].seen = true
			if c.derived[at].digest != t.digest(room) {
				altered = append(altered, t.ID)
			}
		}
		c.pairs = appendSide(c.pairs, c.tx.Tenant, t)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.name(ctx, altered, extra); err != nil {
		return err
	}
	return c.balances(ctx)
}

// derive collects fingerprints in id order. An id given twice is a finding.
func (c *checker) derive(ctx context.Context) error {
	room := make([]byte, 0, 512)
	for i, s := range c.sources {
		err := s.Derive(ctx, c.tx, func(t Transfer) error {
			if err := t.check(); err != nil {
				return err
			}
			c.derived = append(c.derived, fingerprint{id: t.ID, digest: t.digest(room), source: uint32(i)})
			return nil
		})
		if err != nil {
			return fmt.Errorf("source %s: %w", s.Name(), err)
		}
	}
	slices.SortFunc(c.derived, func(a, b fingerprint) int { return bytes.Compare(a.id[:], b.id[:]) })
	for i := 1; i < len(c.derived); i++ {
		if a, b := c.derived[i-1], c.derived[i]; a.id == b.id {
			c.report.add(Finding{Tenant: c.tx.Tenant, Invariant: "books_rederive", Kind: DerivedTwice, Transfer: a.id.String(),
				Want: c.sources[a.source].Name(), Got: c.sources[b.source].Name()})
		}
	}
	c.derived = slices.CompactFunc(c.derived, func(a, b fingerprint) bool { return a.id == b.id })
	return nil
}

// name turns ids into findings with event, code and field. Only when something
// is wrong are the transfers themselves derived and read again.
func (c *checker) name(ctx context.Context, altered, extra []citygate.UUID) error {
	wanted := map[citygate.UUID]*Transfer{}
	for _, id := range altered {
		wanted[id] = nil
	}
	missing := 0
	for _, f := range c.derived {
		if !f.seen {
			wanted[f.id] = nil
			missing++
		}
	}
	if len(wanted) > 0 {
		for _, s := range c.sources {
			err := s.Derive(ctx, c.tx, func(t Transfer) error {
				if old, ok := wanted[t.ID]; ok && old == nil {
					wanted[t.ID] = &t
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("source %s: %w", s.Name(), err)
			}
		}
	}
	for _, f := range c.derived {
		if t := wanted[f.id]; !f.seen && t != nil {
			c.report.add(c.finding(Missing, t, "", "", ""))
		}
	}
	for chunk := range slices.Chunk(altered, rowsMax) {
		if err := c.each(ctx, chunk, func(t *Transfer) error {
			if w := wanted[t.ID]; w != nil {
				field, want, got := w.difference(t)
				c.report.add(c.finding(Altered, w, field, want, got))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(extra, rowsMax) {
		var rows []Transfer
		if err := c.each(ctx, chunk, func(t *Transfer) error { rows = append(rows, *t); return nil }); err != nil {
			return err
		}
		for i := range rows {
			if err := c.nameExtra(ctx, &rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameExtra tells a copy from an invention.
func (c *checker) nameExtra(ctx context.Context, t *Transfer) error {
	if c.report.Wrong > findingsMax {
		c.report.Wrong++ // beyond what a report names
		return nil
	}
	var copies int
	if err := c.tx.QueryRow(ctx, `
		SELECT count(*) FROM transfers WHERE tenant_id = $1 AND event = $2 AND code = $3 AND debit = $4 AND credit = $5
		AND amount = $6 AND currency = $7 AND transfer_id <> $8`,
		int64(c.tx.Tenant), t.Event, t.Code, t.Debit, t.Credit, t.Amount, string(t.Currency), nullable(t.ID)).Scan(&copies); err != nil {
		return err
	}
	kind := Extra
	if copies > 0 {
		kind = Doubled
	}
	c.report.add(c.finding(kind, t, "", "", ""))
	return nil
}

func (c *checker) each(ctx context.Context, ids []citygate.UUID, yield func(*Transfer) error) error {
	raw := make([][16]byte, len(ids))
	for i := range ids {
		raw[i] = ids[i]
	}
	return read(ctx, c.tx, `SELECT `+columns+` FROM transfers WHERE tenant_id = $1 AND transfer_id = ANY($2::uuid[]) ORDER BY transfer_id`,
		[]any{int64(c.tx.Tenant), raw}, yield)
}

func (c *checker) finding(kind string, t *Transfer, field, want, got string) Finding {
	return Finding{Tenant: c.tx.Tenant, Invariant: "books_rederive", Kind: kind, Transfer: t.ID.String(), Event: t.Event, Code: t.Code,
		Currency: t.Currency, Field: field, Want: want, Got: got}
}

// balances compares the cache with the transfers.
func (c *checker) balances(ctx context.Context) error {
	if err := c.tx.QueryRow(ctx, `SELECT count(*) FROM balances WHERE tenant_id = $1`, int64(c.tx.Tenant)).Scan(&c.accounts); err != nil {
		return err
	}
	return eachDrift(ctx, c.tx, func(account, currency string, want, got Balance) {
		f := Finding{Tenant: c.tx.Tenant, Invariant: "books_rederive", Kind: Unbalanced, Account: account, Currency: citygate.Currency(currency)}
		if f.Field, f.Want, f.Got = "debit_total", fmt.Sprint(want.Debit), fmt.Sprint(got.Debit); want.Debit == got.Debit {
			f.Field, f.Want, f.Got = "credit_total", fmt.Sprint(want.Credit), fmt.Sprint(got.Credit)
		}
		c.report.add(f)
	})
}

// A side is one book's word on one journey: what operator is owed by issuer.
type side struct {
	id               citygate.UUID
	operator, issuer citygate.TenantID
	currency         [3]byte
	fromIssuer       bool
	amount           int64 // seen from the operator; the issuer's word is negated
}

func (s *side) compare(o *side) int {
	return cmp.Or(bytes.Compare(s.id[:], o.id[:]), cmp.Compare(s.operator, o.operator), cmp.Compare(s.issuer, o.issuer), bytes.Compare(s.currency[:], o.currency[:]))
}

func appendSide(out []side, tenant citygate.TenantID, t *Transfer) []side {
	if t.Interbook.IsZero() || !t.moves() {
		return out
	}
	for i, account := range [2]string{t.Debit, t.Credit} {
		text, operator, ok := interbookSide(account)
		if !ok {
			continue
		}
		var other citygate.TenantID
		if _, err := fmt.Sscan(text, &other); err != nil {
			continue
		}
		s := side{id: t.Interbook, operator: tenant, issuer: other, amount: t.Amount, fromIssuer: !operator}
		copy(s.currency[:], t.Currency)
		if !operator {
			s.operator, s.issuer = other, tenant
		}
		if i == 1 { // credit
			s.amount = -s.amount
		}
		// The operator's debit is the issuer's credit: added up, they are zero.
		out = append(out, s)
	}
	return out
}

func comparePairs(r *Report, sides []side) {
	slices.SortFunc(sides, func(a, b side) int { return a.compare(&b) })
	for len(sides) > 0 {
		n := 1
		for n < len(sides) && sides[0].compare(&sides[n]) == 0 {
			n++
		}
		var operator, issuer int64
		for _, s := range sides[:n] {
			if s.fromIssuer {
				issuer -= s.amount
			} else {
				operator += s.amount
			}
		}
		r.Pairs++
		if s := sides[0]; operator != issuer {
			r.add(Finding{Tenant: s.operator, Invariant: "interbook_pairs", Kind: Unpaired, Transfer: s.id.String(),
				Account: InterbookReceivable(s.issuer), Currency: citygate.Currency(s.currency[:]), Field: "operator and issuer " + s.issuer.String(),
				Want: fmt.Sprint(operator), Got: fmt.Sprint(issuer)})
		}
		sides = sides[n:]
	}
}

// Explained is an amount that may stand on a clearing account, and why.
type Explained struct {
	Account  string
	Currency citygate.Currency
	Net      int64 // debits less credits
	Why      string
}

// CheckClearing proves that every account whose name begins with one of
// prefixes is zero in each tenant and currency but for what explain gives: the
// amounts that open exceptions hold, or that wait for their business day.
func CheckClearing(ctx context.Context, db *pg.DB, tenants []citygate.TenantID, prefixes []string, explain func(context.Context, *pg.Tx) ([]Explained, error)) (Report, error) {
	r := Report{Findings: []Finding{}}
	for _, tenant := range tenants {
		var part Report
		err := db.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
			part, err = clearing(ctx, tx, prefixes, explain)
			return err
		})
		if err != nil {
			return r, fmt.Errorf("clearing check of tenant %d: %w", tenant, err)
		}
		r.Tenants++
		r.Merge(part)
	}
	return r, nil
}

func clearing(ctx context.Context, tx *pg.Tx, prefixes []string, explain func(context.Context, *pg.Tx) ([]Explained, error)) (Report, error) {
	var r Report
	type key struct {
		account  string
		currency citygate.Currency
	}
	nets := map[key][2]int64{} // what is explained, what is
	reasons, err := explain(ctx, tx)
	if err != nil {
		return r, err
	}
	for _, e := range reasons {
		k := key{e.Account, e.Currency}
		n := nets[k]
		n[0] += e.Net
		nets[k] = n
	}
	for _, prefix := range prefixes {
		balances, err := Balances(ctx, tx, prefix)
		if err != nil {
			return r, err
		}
		for _, b := range balances {
			k := key{b.Account, b.Currency}
			n := nets[k]
			n[1] = b.Net()
			nets[k] = n
			r.Accounts++
		}
	}
	keys := make([]key, 0, len(nets))
	for k := range nets {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.currency, b.currency))
	})
	for _, k := range keys {
		if n := nets[k]; n[0] != n[1] {
			r.add(Finding{Tenant: tx.Tenant, Invariant: "clearing_zero", Kind: NotClear, Account: k.account, Currency: k.currency, Field: "net",
				Want: fmt.Sprint(n[0]), Got: fmt.Sprint(n[1])})
		}
	}
	return r, nil
}
