package credential

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	defaultTTL        = 168 // hours
	defaultWindow     = 30  // seconds
	defaultBandWindow = 60
)

// Issue gives one credential: see [Registry.IssueBatch].
func (r *Registry) Issue(ctx context.Context, actor string, tenant citygate.TenantID, req Request) (Issue, error) {
	issued, err := r.IssueBatch(ctx, actor, tenant, []Request{req})
	if err != nil {
		return Issue{}, err
	}
	return issued[0], nil
}

// IssueBatch gives one credential per request, in their order, or none: a
// request that cannot be met refuses the whole batch before anything is signed.
func (r *Registry) IssueBatch(ctx context.Context, actor string, tenant citygate.TenantID, requests []Request) ([]Issue, error) {
	return r.IssueIf(ctx, actor, tenant, requests, func(*pg.Tx) error { return nil })
}

// IssueIf is [Registry.IssueBatch] for a caller that decides in the transaction
// that reserves the indices: an error of may is given back, and nothing was
// reserved.
func (r *Registry) IssueIf(ctx context.Context, actor string, tenant citygate.TenantID, requests []Request, may func(*pg.Tx) error) ([]Issue, error) {
	if len(requests) == 0 {
		return nil, nil
	}
	issuer, err := r.issuer(ctx, tenant)
	if err != nil {
		return nil, err
	}
	filled := make([]Request, len(requests))
	for i, req := range requests {
		if filled[i], err = req.filled(); err != nil {
			return nil, ErrRequest.Explain("request %d: %v", i, err)
		}
	}
	kid, version, err := r.Ring.Active(ctx, tenant, keys.Credential)
	if err != nil {
		return nil, err
	}
	var batch []reserved
	err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		if err := may(tx); err != nil {
			return err
		}
		batch, err = r.reserve(ctx, tx, actor, issuer, kid, filled)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := r.sign(ctx, tenant, version, batch); err != nil {
		return nil, err
	}
	var now time.Time
	err = r.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		now = tx.Now
		return store(ctx, tx, batch)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Issue, len(batch))
	for i, b := range batch {
		out[i] = Issue{
			Rider: b.rider, Credential: b.partA, ServerTime: now,
			ExpiresAt: b.issuedAt.Add(time.Duration(b.TTLHours) * time.Hour),
		}
	}
	return out, nil
}

// filled gives the request with its defaults, if a credential can be made of it.
func (req Request) filled() (Request, error) {
	if req.Window == 0 {
		req.Window = defaultWindow
		if req.Medium == code.MediumBand {
			req.Window = defaultBandWindow
		}
	}
	longest := uint16(math.MaxUint16)
	if req.Suite == ct1.SuiteChain {
		longest = uint16(int(req.Window) * ct1.ChainMax / 3600)
	}
	switch {
	case req.TTLHours == 0:
		req.TTLHours = min(defaultTTL, longest)
	case req.TTLHours > longest:
		return req, fmt.Errorf("a life of %d hours; a hash chain with displays of %d seconds lasts %d", req.TTLHours, req.Window, longest)
	}
	if req.Suite == ct1.SuiteChain && req.Taps != 0 {
		return req, fmt.Errorf("a tap budget on a hash chain, which counts displays and not taps")
	}
	if req.Medium > code.MediumOther {
		return req, fmt.Errorf("medium %d is not known", req.Medium)
	}
	return req, ct1.CheckDeviceKey(req.Suite, req.DeviceKey)
}

// A reserved credential has an index and waits for its signature.
type reserved struct {
	Request
	rider    citygate.Rider
	kid      uint8
	issuedAt time.Time // whole seconds
	partA    []byte
}

// reserve gives every request its index in this week's list.
func (r *Registry) reserve(ctx context.Context, tx *pg.Tx, actor string, issuer citygate.Issuer, kid uint8, requests []Request) ([]reserved, error) {
	if err := mayHold(ctx, tx, requests); err != nil {
		return nil, err
	}
	issuedAt := tx.Now.Truncate(time.Second)
	longest := uint16(0)
	for _, req := range requests {
		longest = max(longest, req.TTLHours)
	}
	list := Week(issuedAt)
	indices, err := takeIndices(ctx, tx, r.Random, list, len(requests), issuedAt, issuedAt.Add(time.Duration(longest)*time.Hour))
	if err != nil {
		return nil, err
	}
	batch := make([]reserved, len(requests))
	for i, req := range requests {
		rider := citygate.Rider{Issuer: issuer, List: list, Index: indices[i]}
		batch[i] = reserved{Request: req, rider: rider, kid: kid, issuedAt: issuedAt}
	}
	if err := insertReserved(ctx, tx, batch); err != nil {
		return nil, err
	}
	return batch, tx.Audit(ctx, pg.AuditEntry{
		Actor: actor, Verb: "credential.issue", Object: "credential:" + batch[0].rider.String(),
		After: map[string]any{"count": len(batch), "kid": kid},
	})
}

// mayHold refuses unless every account is there, open and not denied.
func mayHold(ctx context.Context, tx *pg.Tx, requests []Request) error {
	ids := make([]citygate.UUID, 0, len(requests))
	for _, req := range requests {
		ids = append(ids, req.Account)
	}
	standing, err := standings(ctx, tx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		switch s, ok := standing[id]; {
		case !ok:
			return ErrNoAccount.Explain("account %s", id.Text("acc_"))
		case s.state != Active:
			return ErrClosed.Explain("account %s", id.Text("acc_"))
		case s.denied:
			return ErrDenied.Explain("account %s", id.Text("acc_"))
		}
	}
	return nil
}

// signBatch bounds one call to a signer that may be behind a network.
const signBatch = 500

func (r *Registry) sign(ctx context.Context, tenant citygate.TenantID, version int, batch []reserved) error {
	for len(batch) > 0 {
		part := batch[:min(signBatch, len(batch))]
		batch = batch[len(part):]
		messages := make([][]byte, len(part))
		for i, b := range part {
			var err error
			messages[i], err = ct1.BuildCredential(ct1.Credential{
				Suite: b.Suite, Rider: b.rider, KeyID: b.kid, IssuedAt: b.issuedAt.Unix(), TTLHours: b.TTLHours,
				Product: b.Product, Cap: b.Cap, Taps: b.Taps, Window: b.Window, DeviceKey: b.DeviceKey,
			})
			if err != nil {
				return ErrRequest.Because(err, "credential %s", b.rider)
			}
		}
		signatures, err := r.Ring.Signer().Sign(ctx, tenant, keys.Credential, version, messages)
		if err != nil {
			return err
		}
		for i, s := range signatures {
			if s.Err != nil {
				return s.Err
			}
			if part[i].partA, err = ct1.Assemble(messages[i], s.Bytes); err != nil {
				return err
			}
		}
	}
	return nil
}
