package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func (g *Gateway) denyLists() edge.DenyLists {
	return edge.DenyLists{
		Lists: g.listHeads, List: g.listObject, ListAt: g.listAt, Delta: g.deltaObject, Heartbeat: g.heartbeatObject,
		Updates: g.listUpdates, DenyLatency: g.denyLatency,
	}
}

// ofIssuer runs fn in the transaction of the tenant that signs as issuer.
func (g *Gateway) ofIssuer(ctx context.Context, issuer citygate.Issuer, fn func(*pg.Tx) error) error {
	t, err := g.Tenants.ByIssuer(ctx, issuer)
	if err != nil {
		return err
	}
	return g.DB.InTenant(ctx, t.ID, fn)
}

func (g *Gateway) listHeads(ctx context.Context, issuer citygate.Issuer) (heads []edge.ListHead, err error) {
	err = g.ofIssuer(ctx, issuer, func(tx *pg.Tx) error {
		published, err := credential.Lists(ctx, tx)
		if err != nil {
			return err
		}
		heads = make([]edge.ListHead, len(published))
		for i, p := range published {
			blocks, err := credential.Blocks(ctx, tx, p.List)
			if err != nil {
				return err
			}
			heads[i] = edge.ListHead{
				List: p.List, Seq: p.Seq, BuiltAt: p.BuiltAt, ValidUntil: p.ValidUntil, Issued: p.Issued, Denied: p.Denied,
				ETag: strings.Trim(p.ETag, `"`), Blocks: edge.BlocksView(blocks),
			}
		}
		return nil
	})
	return heads, err
}

// issuersObject reads a signed object of an issuer.
func (g *Gateway) issuersObject(ctx context.Context, issuer citygate.Issuer, read func(*pg.Tx) ([]byte, string, error)) (raw []byte, etag string, err error) {
	err = g.ofIssuer(ctx, issuer, func(tx *pg.Tx) (err error) {
		raw, etag, err = read(tx)
		return err
	})
	return raw, strings.Trim(etag, `"`), err
}

func (g *Gateway) listObject(ctx context.Context, issuer citygate.Issuer, list uint16) ([]byte, string, error) {
	return g.issuersObject(ctx, issuer, func(tx *pg.Tx) ([]byte, string, error) { return credential.LatestList(ctx, tx, list) })
}

func (g *Gateway) listAt(ctx context.Context, issuer citygate.Issuer, list uint16, seq uint32) ([]byte, string, error) {
	return g.issuersObject(ctx, issuer, func(tx *pg.Tx) ([]byte, string, error) { return credential.ListAt(ctx, tx, list, seq) })
}

func (g *Gateway) deltaObject(ctx context.Context, issuer citygate.Issuer, list uint16, from, to uint32) ([]byte, string, error) {
	return g.issuersObject(ctx, issuer, func(tx *pg.Tx) ([]byte, string, error) { return credential.DeltaTo(ctx, tx, list, from, to) })
}

func (g *Gateway) heartbeatObject(ctx context.Context, issuer citygate.Issuer) ([]byte, string, error) {
	return g.issuersObject(ctx, issuer, func(tx *pg.Tx) ([]byte, string, error) { return credential.LatestHeartbeat(ctx, tx) })
}

func (g *Gateway) listUpdates(ctx context.Context, issuer citygate.Issuer, have []edge.HeldList) (objects []edge.ListObject, ended []uint16, err error) {
	held := make([]credential.Held, len(have))
	for i, h := range have {
		held[i] = credential.Held(h)
	}
	err = g.ofIssuer(ctx, issuer, func(tx *pg.Tx) error {
		needs, over, err := credential.Updates(ctx, tx, held)
		objects, ended = make([]edge.ListObject, len(needs)), over
		for i, n := range needs {
			objects[i] = edge.ListObject{List: n.List, From: n.From, Seq: n.Seq, Bytes: n.Size}
		}
		return err
	})
	return objects, ended, err
}

func (g *Gateway) denyLatency(ctx context.Context, tenant citygate.TenantID) (edge.DenyLatency, error) {
	var l credential.Latency
	err := g.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		l, err = credential.PublishLatency(ctx, tx)
		return err
	})
	return edge.DenyLatency{
		Pending: l.Pending, OldestSeconds: int64(l.Oldest.Seconds()), Published: l.Published, WorstSeconds: int64(l.Worst.Seconds()),
		Standing: string(l.Standing), TargetSeconds: int64(credential.PublishTarget.Seconds()),
		AlarmSeconds: int64(credential.PublishAlarm.Seconds()), BreachSeconds: int64(credential.PublishBreach.Seconds()),
	}, err
}

// recorded says which codes show a credential as the transaction's tenant issued
// it.
func (g *Gateway) recorded(ctx context.Context, tx *pg.Tx, raw [][]byte) ([]bool, error) {
	codes := make([]code.Code, len(raw))
	riders := make([]citygate.Rider, 0, len(raw))
	for i := range raw {
		if g.schemes.Parse(raw[i], &codes[i]) == nil { // else nothing is on record
			riders = append(riders, codes[i].Rider)
		}
	}
	slices.SortFunc(riders, citygate.Rider.Compare)
	issued, err := credential.Issued(ctx, tx, slices.Compact(riders))
	if err != nil {
		return nil, err
	}
	recorded := make([]bool, len(raw))
	for i := range codes {
		r, ok := issued[codes[i].Rider]
		recorded[i] = ok && r.Issued(&codes[i])
	}
	return recorded, nil
}

// A blockCache keeps the blocks that issuers give indices out of. Blocks are only
// ever added: what is in one stays there.
type blockCache struct {
	mu    sync.Mutex
	lists map[listKey]denylist.Blocks
}

type listKey struct {
	issuer citygate.Issuer
	list   uint16
}

// blocksOf gives the blocks of a list as they were read at any time, or read now;
// none where the issuer is not one of ours or has no such list. It may not be
// called inside a transaction.
func (g *Gateway) blocksOf(ctx context.Context, issuer citygate.Issuer, list uint16, now bool) (denylist.Blocks, error) {
	key := listKey{issuer, list}
	if !now {
		g.blocks.mu.Lock()
		held, ok := g.blocks.lists[key]
		g.blocks.mu.Unlock()
		if ok {
			return held, nil
		}
	}
	var blocks denylist.Blocks
	err := g.ofIssuer(ctx, issuer, func(tx *pg.Tx) (err error) {
		blocks, err = credential.Blocks(ctx, tx, list)
		return err
	})
	if errors.Is(err, tenants.ErrNotFound) {
		err = nil
	}
	if err != nil || len(blocks) == 0 {
		return nil, err
	}
	g.blocks.mu.Lock()
	defer g.blocks.mu.Unlock()
	const most = 10_000 // a list a week and issuer
	if g.blocks.lists == nil || len(g.blocks.lists) >= most {
		g.blocks.lists = map[listKey]denylist.Blocks{}
	}
	g.blocks.lists[key] = blocks
	return blocks, nil
}
