package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Phase says whether a transfer moves balances now. A pending transfer
// reserves and moves nothing; it is ended once, by a post or a void that names it.
type Phase string

// The phases. The zero value is Posted.
const (
	Posted  Phase = "posted"
	Pending Phase = "pending"
	PostOf  Phase = "post"
	VoidOf  Phase = "void"
)

// The errors of Post.
var (
	ErrInvalid  = &citygate.Code{Name: "ledger.invalid", Kind: citygate.Internal, Title: "A posting is malformed; nothing was posted."}
	ErrConflict = &citygate.Code{Name: "ledger.conflict", Kind: citygate.Internal, Title: "The event was posted before with other content; nothing was posted."}
	ErrOverflow = &citygate.Code{Name: "ledger.overflow", Kind: citygate.Internal, Title: "An account's total would leave the range of amounts; nothing was posted."}
)

// A Transfer moves Amount from Debit to Credit.
type Transfer struct {
	ID       citygate.UUID
	Debit    string
	Credit   string
	Amount   int64 // minor units, > 0
	Currency citygate.Currency
	Code     string // why: "fare", "charge", "provider_fee" ...
	Event    string // what caused it: the natural key of a decision, charge or payout

	Interbook citygate.UUID // pairs it with a transfer in another tenant's book; zero = none
	Link      citygate.UUID // groups the transfers of one event; zero = none
	Phase     Phase         // "" = Posted
	Pending   citygate.UUID // the pending transfer that a post or void ends

	EffectiveAt  time.Time
	BusinessDate citygate.Date
}

// NewTransfer completes t: the id follows from tenant, t.Event, t.Code and leg
// (its first 48 bits are t.EffectiveAt, so that ids grow with time), leg being
// the transfer's number among those with one event and code. A negative amount
// is the same transfer the other way round. EffectiveAt is kept to the
// microsecond, as the database keeps it, in UTC.
func NewTransfer(tenant citygate.TenantID, leg int, t Transfer) Transfer {
	if t.Amount < 0 {
		t.Debit, t.Credit, t.Amount = t.Credit, t.Debit, -t.Amount
	}
	if t.Phase == "" {
		t.Phase = Posted
	}
	t.EffectiveAt = t.EffectiveAt.UTC().Truncate(time.Microsecond)
	t.ID = DeriveID(t.EffectiveAt, "transfer", tenant.String(), t.Event, t.Code, strconv.Itoa(leg))
	return t
}

// InterbookID is the id that both books put on every transfer of a journey
// that operator decided and another tenant's rider took. Over both books, the
// transfers with one such id are equal and opposite.
func InterbookID(operator citygate.TenantID, journey citygate.UUID) citygate.UUID {
	var ms [8]byte
	copy(ms[2:], journey[:6])
	return DeriveID(time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))), "interbook", operator.String(), string(journey[:]))
}

// DeriveID makes an id that follows from its arguments. It has the shape of a
// version 7 UUID: the time, and in place of the randomness a hash of the parts.
// Give it a name of the kind first, so that two kinds never share an id.
func DeriveID(at time.Time, parts ...string) citygate.UUID {
	sum := sha256.Sum256(appendParts(make([]byte, 0, 192), parts...))
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	var u citygate.UUID
	copy(u[:6], ms[2:])
	copy(u[6:], sum[:10])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return u
}

// appendParts appends each part behind its length.
func appendParts(room []byte, parts ...string) []byte {
	for _, p := range parts {
		room = binary.AppendUvarint(room, uint64(len(p)))
		room = append(room, p...)
	}
	return room
}

// check refuses what must never reach a book.
func (t *Transfer) check() error {
	switch {
	case t.ID.IsZero():
		return ErrInvalid.Because(nil, "event %q code %q: no id", t.Event, t.Code)
	case t.Amount <= 0:
		return ErrInvalid.Because(nil, "transfer %s (%s, %s): amount %d", t.ID, t.Event, t.Code, t.Amount)
	case t.Debit == "" || t.Credit == "" || t.Debit == t.Credit:
		return ErrInvalid.Because(nil, "transfer %s (%s, %s): debit %q, credit %q", t.ID, t.Event, t.Code, t.Debit, t.Credit)
	case !t.Currency.Valid():
		return ErrInvalid.Because(nil, "transfer %s (%s, %s): currency %q", t.ID, t.Event, t.Code, t.Currency)
	case t.Code == "" || t.Event == "" || t.EffectiveAt.IsZero() || t.BusinessDate == (citygate.Date{}):
		return ErrInvalid.Because(nil, "transfer %s (%s, %s): event, code, time and business date are required", t.ID, t.Event, t.Code)
	case (t.Phase == PostOf || t.Phase == VoidOf) == t.Pending.IsZero():
		return ErrInvalid.Because(nil, "transfer %s (%s, %s): phase %q with pending %s", t.ID, t.Event, t.Code, t.Phase, t.Pending)
	}
	switch t.Phase {
	case Posted, Pending, PostOf, VoidOf:
		return nil
	}
	return ErrInvalid.Because(nil, "transfer %s: phase %q", t.ID, t.Phase)
}

// moves reports whether t changes balances.
func (t *Transfer) moves() bool { return t.Phase == Posted || t.Phase == PostOf }

// difference names the first field in which two transfers with one id differ,
// with both values, or gives "".
func (t *Transfer) difference(o *Transfer) (field, want, got string) {
	fields := [...]struct{ name, a, b string }{
		{"debit", t.Debit, o.Debit},
		{"credit", t.Credit, o.Credit},
		{"amount", strconv.FormatInt(t.Amount, 10), strconv.FormatInt(o.Amount, 10)},
		{"currency", string(t.Currency), string(o.Currency)},
		{"code", t.Code, o.Code},
		{"event", t.Event, o.Event},
		{"interbook", t.Interbook.String(), o.Interbook.String()},
		{"link", t.Link.String(), o.Link.String()},
		{"phase", string(t.Phase), string(o.Phase)},
		{"pending", t.Pending.String(), o.Pending.String()},
		{"effective_at", t.EffectiveAt.UTC().Format(time.RFC3339Nano), o.EffectiveAt.UTC().Format(time.RFC3339Nano)},
		{"business_date", t.BusinessDate.String(), o.BusinessDate.String()},
	}
	for _, f := range fields {
		if f.a != f.b {
			return f.name, f.a, f.b
		}
	}
	return "", "", ""
}

// digest is a short fingerprint of everything but the id.
func (t *Transfer) digest(room []byte) [16]byte {
	room = room[:0]
	for _, s := range [...]string{t.Debit, t.Credit, string(t.Currency), t.Code, t.Event, string(t.Phase)} {
		room = binary.AppendUvarint(room, uint64(len(s)))
		room = append(room, s...)
	}
	room = binary.BigEndian.AppendUint64(room, uint64(t.Amount))
	room = append(room, t.Interbook[:]...)
	room = append(room, t.Link[:]...)
	room = append(room, t.Pending[:]...)
	room = binary.BigEndian.AppendUint64(room, uint64(t.EffectiveAt.UnixMicro()))
	d := t.BusinessDate
	room = binary.BigEndian.AppendUint32(room, uint32(d.Year*10_000+int(d.Month)*100+d.Day))
	sum := sha256.Sum256(room)
	return [16]byte(sum[:16])
}

// A Balance is an account's totals in one currency.
type Balance struct {
	Account  string            `json:"account"`
	Currency citygate.Currency `json:"currency"`
	Debit    int64             `json:"debit"`
	Credit   int64             `json:"credit"`
}

// Net is debits less credits: positive for what is owed to us.
func (b Balance) Net() int64 { return b.Debit - b.Credit }

// Net adds up what transfers do to each account and currency, ascending by
// account and currency: the order in which balances are locked. Pending and
// void transfers do nothing.
func Net(transfers []Transfer) ([]Balance, error) {
	type key struct {
		account  string
		currency citygate.Currency
	}
	at := make(map[key]int, 64)
	var out []Balance
	add := func(account string, t *Transfer, debit, credit int64) error {
		k := key{account, t.Currency}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, Balance{Account: account, Currency: t.Currency})
		}
		b := &out[i]
		if b.Debit > math.MaxInt64-debit || b.Credit > math.MaxInt64-credit {
			return ErrOverflow.Because(nil, "account %s", account)
		}
		b.Debit += debit
		b.Credit += credit
		return nil
	}
	for i := range transfers {
		t := &transfers[i]
		if !t.moves() {
			continue
		}
		if err := add(t.Debit, t, t.Amount, 0); err != nil {
			return nil, err
		}
		if err := add(t.Credit, t, 0, t.Amount); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Balance) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Currency, b.Currency))
	})
	return out, nil
}

// prepare checks transfers, orders them by id and leaves out repetitions. Two
// of one id with different content are refused.
func prepare(transfers []Transfer) ([]Transfer, error) {
	for i := range transfers {
		if transfers[i].Phase == "" {
			return nil, ErrInvalid.Because(nil, "transfer %s was not made by NewTransfer", transfers[i].ID)
		}
		if err := transfers[i].check(); err != nil {
			return nil, err
		}
	}
	sorted := slices.Clone(transfers)
	slices.SortStableFunc(sorted, func(a, b Transfer) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	out := sorted[:0]
	for i := range sorted {
		if n := len(out); n > 0 && out[n-1].ID == sorted[i].ID {
			if field, a, b := out[n-1].difference(&sorted[i]); field != "" {
				return nil, ErrConflict.Because(nil, "transfer %s (%s, %s): %s %s and %s in one batch", sorted[i].ID, sorted[i].Event, sorted[i].Code, field, a, b)
			}
			continue
		}
		out = append(out, sorted[i])
	}
	return out, nil
}
