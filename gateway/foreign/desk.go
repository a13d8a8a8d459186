package foreign

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals.
var (
	ErrScheme   = &citygate.Code{Name: "foreign.scheme", Kind: citygate.Invalid, Title: "The code scheme cannot be read like this. Correct the named field."}
	ErrNoScheme = &citygate.Code{Name: "foreign.no_scheme", Kind: citygate.Conflict, Title: "The tenant answers for no codes of this scheme. Put the scheme first."}
	ErrCode     = &citygate.Code{Name: "foreign.code", Kind: citygate.Invalid, Title: "That is no code of the scheme. Give the code as a reader reads it."}
	ErrTaken    = &citygate.Code{Name: "foreign.taken", Kind: citygate.Conflict, Title: "The code is of another account already. A rider keeps his account; have the provider give another code."}
	ErrNoIssuer = &citygate.Code{Name: "foreign.no_issuer", Kind: citygate.Conflict, Title: "The tenant answers for no riders: it has no issuer number."}
	ErrFull     = &citygate.Code{Name: "foreign.full", Kind: citygate.Internal, Title: "No index is left for another foreign rider."}
)

// An Entry is how a tenant that answers for a scheme's codes has them read.
type Entry struct {
	Scheme    code.SchemeID
	Params    []byte // as the scheme's plug-in takes them, with the tenant's issuer number
	Roots     []bundle.ForeignRoot
	Operators []citygate.TenantID // besides the tenant itself, ascending
	Contract  string              // that collects; "" = registered accounts alone
	Opens     bool                // an account at first sight of a proven code
	Asks      bool                // the contract's provider about deferred codes
}

// admits reports whether the tenant answers for the scheme's codes to operator.
func (e *Entry) admits(tenant, operator citygate.TenantID) bool {
	return operator == tenant || slices.Contains(e.Operators, operator)
}

// A Directory gives tenants, inside transactions too.
type Directory interface {
	ByID(ctx context.Context, id citygate.TenantID) (tenants.Tenant, error)
}

// A Config is what a [Desk] is made of. All fields are required.
type Config struct {
	DB        *pg.DB
	Directory Directory
	Plugins   []code.Plugin
	// Resolver gives the provider of a contract that can say whose codes are. It is
	// called outside transactions. ok is false for a provider that cannot.
	Resolver func(ctx context.Context, tenant citygate.TenantID, contract string) (r *adapters.CodeResolver, ok bool, err error)
	// Beside has work with a contract's provider done beside the caller of RunDue, or
	// not at all just now; nil = within it.
	Beside func(ctx context.Context, tenant citygate.TenantID, contract string, work func(context.Context) error) error
	// Tell hands names to the operator that the transaction's tenant itself is.
	Tell func(ctx context.Context, tx *pg.Tx, names []interbook.Name) error
	// Listed gives the keys of providers' lists by scheme, also those that went out of
	// force lately: codes come in late. former are those alone, the last first, also
	// under names that have another key now.
	Listed func(ctx context.Context, tx *pg.Tx) (roots, former map[code.SchemeID][]bundle.ForeignRoot, err error)
}

// A Desk answers for every tenant. It is safe for concurrent use.
type Desk struct{ Config }

// New makes a Desk.
func New(c Config) *Desk { return &Desk{c} }

func (d *Desk) issuer(ctx context.Context, tenant citygate.TenantID) (citygate.Issuer, error) {
	t, err := d.Directory.ByID(ctx, tenant)
	if err != nil {
		return 0, err
	}
	if t.Issuer == 0 {
		return 0, ErrNoIssuer.Explain("tenant %s", t.Slug)
	}
	return t.Issuer, nil
}

// Plugin gives the plug-in of a scheme, if this gateway has it.
func (d *Desk) Plugin(scheme code.SchemeID) (p code.Plugin, ok bool) {
	i := slices.IndexFunc(d.Plugins, func(p code.Plugin) bool { return p.ID == scheme })
	if i < 0 {
		return p, false
	}
	return d.Plugins[i], true
}

// scheme makes the reader of an entry.
func (d *Desk) scheme(e *Entry) (code.Scheme, error) {
	p, ok := d.Plugin(e.Scheme)
	if !ok {
		return nil, ErrScheme.Explain("scheme: this gateway does not know %q", e.Scheme)
	}
	s, err := p.New(e.Params)
	if err != nil {
		return nil, ErrScheme.Explain("params: %v", err)
	}
	return s, nil
}

// NameOf gives the name of a scheme's key.
func NameOf(scheme code.SchemeID, r bundle.ForeignRoot) code.KeyName {
	return code.KeyName{Scheme: scheme, Owner: r.Owner, List: r.List, Kind: r.Kind, ID: r.ID}
}

// trust gives the foreign keys of an entry, with those that providers' lists name and
// named.
func (e *Entry) trust(listed, gone []bundle.ForeignRoot) code.KeySource {
	t := &code.Trust{Number: 1}
	for _, r := range slices.Concat(listed, e.Roots) { // one that was put by hand goes before a list's
		t.AddForeign(NameOf(e.Scheme, r), r.Key)
	}
	former := map[code.KeyName][][]byte{}
	for _, r := range gone {
		former[NameOf(e.Scheme, r)] = append(former[NameOf(e.Scheme, r)], r.Key)
	}
	return code.WithFormer(t, former)
}

// Put stores how the tenant of tx has a scheme read, in place of what it said
// before.
func (d *Desk) Put(ctx context.Context, tx *pg.Tx, actor string, e Entry) error {
	issuer, err := d.issuer(ctx, tx.Tenant)
	if err != nil {
		return err
	}
	slices.Sort(e.Operators)
	e.Operators = slices.Compact(e.Operators)
	if err := d.Check(e, issuer); err != nil {
		return err
	}
	if err := putEntry(ctx, tx, e); err != nil {
		return err
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "code_scheme.put", Object: "code_scheme:" + string(e.Scheme),
		After: map[string]any{"operators": e.Operators, "contract": e.Contract, "opens": e.Opens, "asks": e.Asks, "roots": len(e.Roots)}})
}

func (d *Desk) needsSecret(scheme code.SchemeID) bool {
	p, _ := d.Plugin(scheme)
	return p.NeedsSecret
}

// SecretName is the contract's secret that proves the codes of a scheme whose
// plug-in needs one. Its value is the object that [code.Plugin.Trust] reads.
func SecretName(scheme code.SchemeID) string { return "code-" + string(scheme) }

// Check refuses what cannot be how a tenant with an issuer number has a scheme
// read.
func (d *Desk) Check(e Entry, issuer citygate.Issuer) error {
	s, err := d.scheme(&e)
	if err != nil {
		return err
	}
	var c code.Code
	named, err := issuerOf(e.Params)
	switch {
	case err != nil || named != issuer:
		return ErrScheme.Explain("params.issuer: want %d, the tenant's own", issuer)
	case s.Parse(nil, &c) == nil:
		return ErrScheme.Explain("params: the scheme takes anything for a code")
	case e.Contract == "" && (e.Opens || e.Asks):
		return ErrScheme.Explain("contract: accounts that are opened need one")
	case d.needsSecret(e.Scheme) && e.Contract == "":
		return ErrScheme.Explain("contract: the scheme's codes are proven by a secret, which the contract holds as %q", SecretName(e.Scheme))
	case d.needsSecret(e.Scheme) && len(e.Operators) > 0:
		return ErrScheme.Explain("operators: the scheme's codes are proven by a secret, which is used for no other tenant's validators")
	case len(e.Params) > bundle.ParamsMax:
		return ErrScheme.Explain("params: more than %d bytes", bundle.ParamsMax)
	case len(e.Roots) > bundle.ForeignMax:
		return ErrScheme.Explain("keys: more than %d", bundle.ForeignMax)
	}
	for i, r := range e.Roots {
		if len(r.Key) == 0 || len(r.Key) > 2048 || len(r.Owner) > 64 || len(r.List) > 64 || len(r.Kind) > 64 {
			return ErrScheme.Explain("keys[%d]: want a key of 1 to 2048 bytes, and names of at most 64", i)
		}
		if slices.ContainsFunc(e.Roots[:i], func(o bundle.ForeignRoot) bool {
			return o.Owner == r.Owner && o.List == r.List && o.Kind == r.Kind && o.ID == r.ID
		}) {
			return ErrScheme.Explain("keys[%d]: named twice", i)
		}
	}
	return nil
}

// A Registration says whose account is behind a code.
type Registration struct {
	Scheme  code.SchemeID
	Code    []byte // as a reader reads it: any display of the subject
	Account citygate.UUID
}

// Register gives accounts to subjects, and the riders that they are. The same
// again changes nothing.
func (d *Desk) Register(ctx context.Context, tx *pg.Tx, actor string, regs []Registration) ([]citygate.Rider, error) {
	issuer, err := d.issuer(ctx, tx.Tenant)
	if err != nil {
		return nil, err
	}
	entries, err := d.readers(ctx, tx)
	if err != nil {
		return nil, err
	}
	wanted := make([]subject, len(regs))
	for i, r := range regs {
		e, ok := entries[r.Scheme]
		if !ok {
			return nil, ErrNoScheme.Explain("request %d: scheme %q", i, r.Scheme)
		}
		var c code.Code
		if err := e.scheme.Parse(r.Code, &c); err != nil || c.Account == [32]byte{} {
			return nil, ErrCode.Because(err, "request %d: scheme %q", i, r.Scheme)
		}
		wanted[i] = subject{r.Scheme, c.Account, r.Account}
	}
	known, err := enlist(ctx, tx, issuer, "registered", wanted)
	if err != nil {
		return nil, err
	}
	riders := make([]citygate.Rider, len(wanted))
	for i, w := range wanted {
		r := known[w.key()]
		if r.account != w.account {
			return nil, ErrTaken.Explain("request %d", i)
		}
		riders[i] = r.rider
	}
	return riders, tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: "foreign_rider.register", Object: "rider:" + riders[0].String(),
		After: map[string]any{"count": len(riders)}})
}

// A reader is an entry with its scheme and keys.
type reader struct {
	Entry
	scheme code.Scheme
	keys   code.KeySource
}

// readers gives the tenant's entries by scheme. One that this build cannot read
// any more is left out: its codes wait, or are refused, and nothing else stops.
func (d *Desk) readers(ctx context.Context, tx *pg.Tx) (map[code.SchemeID]*reader, error) {
	entries, err := Entries(ctx, tx)
	if err != nil {
		return nil, err
	}
	var listed, former map[code.SchemeID][]bundle.ForeignRoot
	if len(entries) > 0 {
		if listed, former, err = d.Listed(ctx, tx); err != nil {
			return nil, err
		}
	}
	out := make(map[code.SchemeID]*reader, len(entries))
	for _, e := range entries {
		if s, err := d.scheme(&e); err == nil {
			out[e.Scheme] = &reader{e, s, e.trust(listed[e.Scheme], former[e.Scheme])}
		}
	}
	return out, nil
}

// payerOf names the payer of an account that is opened at first sight.
func payerOf(s subject) string {
	return fmt.Sprintf("%s:%s", s.scheme, hex.EncodeToString(s.digest[:]))
}

// bySaid is the subject of what a provider calls a payer.
func bySaid(scheme code.SchemeID, payer string) [32]byte {
	return code.Digest(scheme, "payer", []byte(payer))
}

// questionID is the id that a provider knows a question by: 32 characters that
// follow from what it is about.
func questionID(tenant citygate.TenantID, c *row) string {
	h := sha256.New()
	for _, p := range []string{tenant.String(), "code", string(c.scheme), string(c.once[:])} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20])
}

// slack is how far a terminal's clock and a device's may be apart for a tap of
// another operator to be believed, as for its claims.
const slack = 24 * time.Hour
