package gateway

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals of notification addresses. A provider that hears one sends again.
var (
	ErrNoAddress  = &citygate.Code{Name: "notify.no_address", Kind: citygate.NotFound, Title: "No contract takes notifications at this address. Send to the address that the request named."}
	ErrNotifyBusy = &citygate.Code{Name: "notify.busy", Kind: citygate.TooMany, Title: "Too many notifications of this contract at once, or too many that were not proven. Send it again later."}
)

// notifyPath is where notifications go, below the gateway's public address: the
// product, and an address that tells the tenant and cannot be guessed.
const notifyPath = "/v1/notify/"

// agreementEnded is the reason of deny entries of riders whose agreement is over.
const agreementEnded = "agreement_ended"

// notifyActor writes what notifications cause.
const notifyActor = "system:notify"

// tokenBytes of randomness are in an address.
const tokenBytes = 16

var addressWords = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// notifyURL gives where the provider of a contract finds us, "" where the gateway
// has no public address.
func (g *Gateway) notifyURL(tenant citygate.TenantID, product, token string) string {
	if g.PublicURL == "" || token == "" {
		return ""
	}
	return strings.TrimSuffix(g.PublicURL, "/") + notifyPath + product + "/" + tenant.String() + "-" + token
}

// notifyToken gives the contract's token, and makes it when it has none.
func (g *Gateway) notifyToken(ctx context.Context, tenant citygate.TenantID, contract string) (token string, err error) {
	var random [tokenBytes]byte
	if _, err := io.ReadFull(g.Random, random[:]); err != nil {
		return "", fmt.Errorf("notification address: %w", err)
	}
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		token, err = collect.NotifyToken(ctx, tx, contract, addressWords.EncodeToString(random[:]))
		return err
	})
	return token, err
}

// addressed finds whose address it is, by what the address says alone: nothing of
// the request is opened before. Every address that is nobody's is answered alike.
func (g *Gateway) addressed(ctx context.Context, product, address string) (t tenants.Tenant, c collect.Contract, err error) {
	number, token, ok := strings.Cut(address, "-")
	id, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || id <= 0 || len(token) != addressWords.EncodedLen(tokenBytes) {
		return t, c, ErrNoAddress
	}
	t, err = g.Tenants.ByID(ctx, citygate.TenantID(id))
	if errors.Is(err, tenants.ErrNotFound) {
		return t, c, ErrNoAddress
	}
	if err != nil {
		return t, c, err
	}
	found := false
	err = g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
		c, found, err = collect.NotifiedContract(ctx, tx, token)
		return err
	})
	if err == nil && (!found || c.Adapter != product) {
		err = ErrNoAddress
	}
	return t, c, err
}

// notify takes a notification in: the address finds tenant and contract, the
// contract's adapter proves and reads it, it is stored with what follows from it in
// one transaction, and only then acknowledged in the provider's own words. What is
// not proven is refused in them, and leaves no row.
func (g *Gateway) notify(ctx context.Context, product, address string, in edge.Notification) (edge.Ack, error) {
	t, c, err := g.addressed(ctx, product, address)
	if err != nil {
		return edge.Ack{}, err
	}
	leave, err := g.notices.enter(providerKey{t.ID, c.Name}, g.Clock())
	if err != nil {
		return edge.Ack{}, err
	}
	defer leave()
	p, err := g.provider(ctx, t.ID, c)
	if err != nil {
		return edge.Ack{}, err
	}
	notifier, ok := p.Notifier()
	if !ok {
		return edge.Ack{}, ErrNoAddress
	}
	notice, ack, err := notifier.ParseNotify(ctx, driver.Notification{Method: in.Method, Target: in.Target, Header: in.Header, Body: in.Body, At: g.Clock()})
	if errors.Is(err, driver.ErrProbe) {
		return edge.Ack(ack), nil
	}
	if err != nil {
		g.notices.unproven(providerKey{t.ID, c.Name}, g.Clock())
		g.Log.WarnContext(ctx, "a notification is not proven to be the provider's", "tenant", t.ID, "contract", c.Name, "error", err)
		return edge.Ack(ack), nil
	}
	if err := g.takeNotice(ctx, t, c, p, notice); err != nil {
		return edge.Ack{}, err
	}
	return edge.Ack(ack), nil
}

// takeNotice stores a proven notice and what follows from it.
func (g *Gateway) takeNotice(ctx context.Context, t tenants.Tenant, c collect.Contract, p *adapters.Provider, n driver.Notice) error {
	if err := g.hold(ctx); err != nil {
		return err
	}
	settings, err := g.collectSettings(ctx, t.ID)
	if err != nil {
		return err
	}
	// The provider may hang up; what it said is stored all the same, or it would be
	// told nothing and say it again.
	ctx = context.WithoutCancel(ctx)
	if n.Kind == driver.NoticeReversal {
		if err := g.Collector.PassBack(ctx, t.ID); err != nil { // what is told of its fares comes first
			return err
		}
	}
	var taken collect.Taken
	err = g.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) (err error) {
		taken, err = g.Collector.TakeNotice(ctx, tx, c, p.Describe(), settings.Rules, n, t.State == tenants.Closed)
		if err != nil || !taken.Fresh || taken.Verdict != collect.NoticeNoted {
			return err
		}
		if _, manages := p.Agreements(); manages && n.Kind == driver.NoticeAgreement {
			return g.Agreements.Noticed(ctx, tx, notifyActor, c.Name, n.Agreement)
		}
		return followNotice(ctx, tx, c, n)
	})
	if err == nil && n.Kind == driver.NoticeReversal && (taken.Verdict == collect.NoticeApplied || taken.Verdict == collect.NoticeKnown) {
		err = g.recognise(ctx, t.ID, c.Name, n.Taken.Reference) // its bill may have come first; not done, the provider tells again
	}
	if err == nil && taken.Fresh {
		g.Log.InfoContext(ctx, "a provider notified", "tenant", t.ID, "contract", c.Name, "kind", n.Kind, "our_id", n.Result.OurID, "verdict", taken.Verdict)
	}
	return err
}

// followNotice denies riders of whom the provider says that they cannot pay, and
// lets them go when it says that they can. Of an agreement that a product tells of and
// cannot be asked about, the latest notice is all that is known.
func followNotice(ctx context.Context, tx *pg.Tx, c collect.Contract, n driver.Notice) error {
	switch n.Kind {
	case driver.NoticeRider:
		return followRider(ctx, tx, notifyActor, c.Name, n.Rider.RiderRef, n.Rider.State)
	case driver.NoticeAgreement:
		switch n.Agreement.State {
		case driver.AgreementActive, driver.AgreementEnded:
			return credential.MirrorOne(ctx, tx, notifyActor, agreementEnded, c.Name, n.Agreement.ID, n.Agreement.State == driver.AgreementEnded)
		case driver.AgreementUnknown, driver.AgreementPending:
		}
	case driver.NoticePayment, driver.NoticeRefund, driver.NoticeReversal, driver.NoticeOther:
	}
	return nil
}

// What one contract's notifications may take of a process.
const (
	noticesAtOnce  = 8                // at a time
	unprovenAtMost = 60               // that proved to be nobody's ...
	unprovenWithin = 10 * time.Second // ... in such a time; then none is looked at until it is over
)

// noticeGates keep notifications of one contract, and who sends forged ones to its
// address, from taking what others need: proving one costs a signature.
type noticeGates struct {
	mu sync.Mutex
	of map[providerKey]*noticeGate
}

type noticeGate struct {
	running, unproven int
	since             time.Time
}

func (n *noticeGates) gate(key providerKey) *noticeGate {
	if n.of == nil {
		n.of = map[providerKey]*noticeGate{}
	}
	if n.of[key] == nil {
		n.of[key] = &noticeGate{}
	}
	return n.of[key]
}

// enter lets one in, or is ErrNotifyBusy.
func (n *noticeGates) enter(key providerKey, now time.Time) (leave func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.gate(key)
	if now.Sub(g.since).Abs() >= unprovenWithin {
		g.since, g.unproven = now, 0
	}
	if g.running >= noticesAtOnce || g.unproven >= unprovenAtMost {
		return nil, ErrNotifyBusy
	}
	g.running++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		g.running--
	}, nil
}

func (n *noticeGates) unproven(key providerKey, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.gate(key)
	if now.Sub(g.since).Abs() >= unprovenWithin {
		g.since, g.unproven = now, 0
	}
	g.unproven++
}

// noticeList gives the notices of a tenant for people.
func (g *Gateway) noticeList(ctx context.Context, tenant citygate.TenantID, state string, page edge.Page) (list []edge.Notice, err error) {
	err = g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		found, err := collect.Notices(ctx, tx, state, page.After, page.Limit)
		list = make([]edge.Notice, len(found))
		for i, n := range found {
			list[i] = edge.Notice{
				ID: n.ID.Text("ntc_"), Contract: n.Contract, ProviderID: n.ProviderID, Kind: n.Kind, OurID: n.OurID, ChargeOurID: n.ChargeOurID, RiderRef: n.RiderRef,
				Outcome: n.Outcome, ProviderRef: n.ProviderRef, Reason: n.Reason, Verdict: n.Verdict, Detail: n.Detail, State: n.State, Note: n.Note,
				Repeats: n.Repeats, ReceivedAt: n.ReceivedAt, LastAt: n.LastAt,
			}
			if n.Amount.Currency != "" {
				list[i].Amount = &found[i].Amount
			}
			if !n.ResolvedAt.IsZero() {
				list[i].ResolvedAt = &found[i].ResolvedAt
			}
		}
		return err
	})
	return list, err
}

func (g *Gateway) resolveNotice(ctx context.Context, actor string, tenant citygate.TenantID, notice citygate.UUID, note string) error {
	return g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return collect.ResolveNotice(ctx, tx, actor, notice, note) })
}
