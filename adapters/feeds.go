package adapters

import (
	"context"
	"encoding/json"
	"regexp"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Feeds says which lists of its provider a contract follows, where the product has
// them, and how long they and bills may take. The gateway reads it; a product's
// configuration embeds it.
type Feeds struct {
	DenyEvery string `json:"deny_every,omitempty" doc:"how often the provider's list of refused riders is read, such as 1h; never, if empty"`
	KeysEvery string `json:"keys_every,omitempty" doc:"how often the provider's list of the keys of its own codes is read, such as 1h; never, if empty"`

	KeysScheme string `json:"keys_scheme,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,31}$" doc:"code scheme that reads those codes; default opaque"`
	KeysOwner  string `json:"keys_owner,omitempty" maxLength:"64" doc:"whose keys they are, as the scheme writes it; default, for opaque, the product"`
	KeysList   string `json:"keys_list,omitempty" maxLength:"64" doc:"which of the owner's lists: other institutions use the same numbers for other keys"`
	KeysKind   string `json:"keys_kind,omitempty" maxLength:"64" doc:"what they are for in the scheme, such as root_ca"`

	CheckEvidence bool `json:"check_evidence,omitempty" doc:"the provider is asked about what a charge rests on before it is sent, one request a record"`

	CheckRiders bool `json:"check_riders,omitempty" doc:"the provider is asked how a rider stands when his account is opened"`

	PushDenials bool `json:"push_denials,omitempty" doc:"the provider is told which of its riders the tenant denies, and which no more"`
	LockCards   bool `json:"lock_cards,omitempty" doc:"the tenant's cards in wallets of riders who are denied for what they owe are locked, until nothing is owed"`

	ListsWithin string `json:"lists_within,omitempty" doc:"a list that takes longer is given up; default 1m"`
	BillsWithin string `json:"bills_within,omitempty" doc:"a bill that takes longer is given up; default 10m"`
}

// The deadlines of what is fetched, where a contract names none.
const (
	listsWithin = time.Minute
	billsWithin = 10 * time.Minute
)

const (
	everyLeast  = time.Minute
	withinLeast = time.Second
	withinMost  = time.Hour

	opaque = "opaque" // the scheme of codes that only their provider can read
)

// ErrFeeds says that a contract's configuration asks for something of its
// provider's lists or bills that cannot be done.
var ErrFeeds = &citygate.Code{Name: "adapters.feeds", Kind: citygate.Invalid,
	Title: "The contract's times for lists or bills cannot be kept. Correct the named field."}

// A Following is a contract's [Feeds], read.
type Following struct {
	Deny, Keys  time.Duration // how often; 0 = never
	Scheme      string        // of the keys
	Owner       string
	List        string
	Kind        string
	PushDenials bool
	LockCards   bool

	CheckEvidence bool

	Lists, Bills time.Duration // deadlines
}

var schemeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// FollowingOf reads what a contract of a product says of lists and bills. What else
// the configuration holds, and whether it is one, is the product's to check.
func FollowingOf(product string, config json.RawMessage) (Following, error) {
	var f Feeds
	_ = json.Unmarshal(config, &f) // what is wrong with it the adapter says
	out := Following{Scheme: f.KeysScheme, Owner: f.KeysOwner, List: f.KeysList, Kind: f.KeysKind, PushDenials: f.PushDenials, LockCards: f.LockCards, CheckEvidence: f.CheckEvidence, Lists: listsWithin, Bills: billsWithin}
	if out.Scheme == "" {
		out.Scheme = opaque
	}
	if out.Scheme == opaque && out.Owner == "" {
		out.Owner = product
	}
	if !schemeName.MatchString(out.Scheme) || max(len(out.Owner), len(out.List), len(out.Kind)) > 64 {
		return Following{}, ErrFeeds.Explain("keys_scheme, keys_owner, keys_list or keys_kind: %q", out.Scheme)
	}
	for _, t := range []struct {
		field, text string
		into        *time.Duration
		least, most time.Duration
	}{
		{"deny_every", f.DenyEvery, &out.Deny, everyLeast, 0}, {"keys_every", f.KeysEvery, &out.Keys, everyLeast, 0},
		{"lists_within", f.ListsWithin, &out.Lists, withinLeast, withinMost}, {"bills_within", f.BillsWithin, &out.Bills, withinLeast, withinMost},
	} {
		if t.text == "" {
			continue
		}
		d, err := time.ParseDuration(t.text)
		if err != nil || d < t.least || (t.most > 0 && d > t.most) {
			return Following{}, ErrFeeds.Explain("%s: %q: want a time of at least %s, such as 1h", t.field, t.text, t.least)
		}
		*t.into = d
	}
	return out, nil
}

// A DenyFeed is the ability of a [Provider] to list riders it refuses.
type DenyFeed struct {
	p *Provider
	d driver.DenyFeed
}

// DenyFeed finds out whether the product lists riders it refuses.
func (p *Provider) DenyFeed() (*DenyFeed, bool) {
	d, ok := driver.As[driver.DenyFeed](p.driver)
	if !ok {
		return nil, false
	}
	return &DenyFeed{p, d}, true
}

// PullDeny gives the whole list, within the contract's deadline for lists.
func (f *DenyFeed) PullDeny(ctx context.Context) ([]string, error) {
	ctx, done := f.p.within(OwnDeadline(ctx), f.p.lists)
	defer done()
	riders, err := contained(f.p.about.Name, func() ([]string, error) { return f.d.PullDeny(ctx) })
	if err != nil {
		return nil, f.p.failed(ctx, err)
	}
	return riders, nil
}

// A KeyFeed is the ability of a [Provider] to publish the keys of its own codes.
type KeyFeed struct {
	p *Provider
	d driver.KeyFeed
}

// KeyFeed finds out whether the product publishes keys of its own codes.
func (p *Provider) KeyFeed() (*KeyFeed, bool) {
	d, ok := driver.As[driver.KeyFeed](p.driver)
	if !ok {
		return nil, false
	}
	return &KeyFeed{p, d}, true
}

// PullKeys gives the whole list, within the contract's deadline for lists.
func (f *KeyFeed) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	ctx, done := f.p.within(OwnDeadline(ctx), f.p.lists)
	defer done()
	keys, err := contained(f.p.about.Name, func() ([]driver.FeedKey, error) { return f.d.PullKeys(ctx) })
	if err != nil {
		return nil, f.p.failed(ctx, err)
	}
	return keys, nil
}

type ownDeadline struct{}

// OwnDeadline marks a context of a call that ends by a deadline of its own, so that
// whoever sends its requests need not end them as those of a payment.
func OwnDeadline(ctx context.Context) context.Context {
	return context.WithValue(ctx, ownDeadline{}, true)
}

// HasOwnDeadline reports whether ctx is marked so.
func HasOwnDeadline(ctx context.Context) bool { return ctx.Value(ownDeadline{}) != nil }
