package issuance

import (
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Prefix begins the text form of device ids.
const Prefix = "dev_"

// The reasons of deny entries that say nothing bad about a device's key.
const (
	denyLost     = "lost"
	denyReleased = "released"
)

// signingTime is how long a credential may be reserved before the call that
// reserved it counts as dead. A signer answers within seconds or not at all.
const signingTime = time.Minute

// Renew gives a device its credential: the one it has while at least half of its
// life is left, otherwise a new one under the policy in force.
func (o *Office) Renew(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (credential.Issue, error) {
	var request credential.Request
	have, found, err := o.present(ctx, tenant, device, &request)
	if err != nil || found {
		return have, err
	}
	issued, err := o.Credentials.IssueIf(ctx, actor, tenant, []credential.Request{request}, func(tx *pg.Tx) error {
		// What was read above is read again under the device's lock, in the
		// transaction that reserves: two calls at once make one credential.
		var again credential.Request
		_, found, err := standing(ctx, tx, device, &again)
		if err == nil && (found || again.Account != request.Account || again.Cap != request.Cap || again.Product != request.Product || again.Taps != request.Taps || again.TTLHours > request.TTLHours) {
			return ErrInFlight
		}
		return err
	})
	if err != nil {
		return credential.Issue{}, err
	}
	return issued[0], nil
}

func (o *Office) present(ctx context.Context, tenant citygate.TenantID, device citygate.UUID, request *credential.Request) (have credential.Issue, found bool, err error) {
	err = o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		have, found, err = standing(ctx, tx, device, request)
		return err
	})
	return have, found, err
}

// standing gives the credential a device is to use, or fills in the request for
// the next one. It locks the device.
func standing(ctx context.Context, tx *pg.Tx, id citygate.UUID, request *credential.Request) (have credential.Issue, found bool, err error) {
	d, err := lockDevice(ctx, tx, id)
	if err != nil {
		return have, false, err
	}
	if d.State != Bound {
		return have, false, ErrState.Explain("the device is %s", d.State)
	}
	if d.Kind == Band {
		phone, err := deviceByID(ctx, tx, d.Phone)
		if err != nil {
			return have, false, err
		}
		if phone.State != Bound {
			return have, false, ErrState.Explain("its phone is %s: bind the band to another phone", phone.State)
		}
	}
	policy, err := Latest(ctx, tx)
	if err != nil {
		return have, false, err
	}
	held, err := credential.OfDevices(ctx, tx, []citygate.UUID{id})
	if err != nil {
		return have, false, err
	}
	for _, h := range held[id] { // the newest first
		bad := slices.ContainsFunc(h.Denied, func(reason string) bool { return reason != denyLost && reason != denyReleased })
		switch {
		case bad:
			return have, false, ErrCopied
		case len(h.Denied) > 0:
		case h.PartA == nil && tx.Now.Sub(h.IssuedAt) < signingTime:
			return have, false, ErrInFlight
		case h.PartA != nil && !found && 2*h.ExpiresAt.Sub(tx.Now) >= h.ExpiresAt.Sub(h.IssuedAt):
			have = credential.Issue{Rider: h.Rider, Credential: h.PartA, ExpiresAt: h.ExpiresAt, ServerTime: tx.Now}
			found = true
		}
	}
	if found {
		return have, true, nil
	}
	*request, err = wanted(ctx, tx, &policy, &d)
	return have, false, err
}

// wanted gives the request for a device's next credential.
func wanted(ctx context.Context, tx *pg.Tx, policy *Policy, d *Device) (credential.Request, error) {
	limits, ok := policy.limits(d)
	if !ok {
		return credential.Request{}, ErrUnproven
	}
	category, proof, err := categoryOf(ctx, tx, d.Account)
	if err != nil {
		return credential.Request{}, err
	}
	product, ends := policy.product(category, proof, tx.Now)
	hours := limits.TTLHours
	if !ends.IsZero() {
		hours = uint16(min(int64(hours), int64(ends.Sub(tx.Now)/time.Hour)))
	}
	medium := code.MediumPhone
	if d.Kind == Band {
		medium = code.MediumBand
	}
	return credential.Request{
		Account: d.Account, Device: d.ID, Suite: d.Suite, Medium: medium, DeviceKey: d.PublicKey,
		Product: product, Cap: limits.Cap, Taps: limits.Taps, Window: limits.WindowSeconds, TTLHours: hours,
	}, nil
}

// A Loss says what its owner misses.
type Loss string

// The losses.
const (
	LostPhone Loss = "phone"
	LostBand  Loss = "band"
	LostBoth  Loss = "both"
)

// ReportLoss takes an account's phone, its bands or both as lost: their
// credentials are denied when it returns, and the next publication of the deny
// lists carries them. It gives the devices that are lost now; reporting again
// changes nothing.
func (o *Office) ReportLoss(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, what Loss) ([]Device, error) {
	if what != LostPhone && what != LostBand && what != LostBoth {
		return nil, ErrDevice.Explain("lost %q, want phone, band or both", what)
	}
	var lost []Device
	err := o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		lost = nil
		if _, _, err := categoryOf(ctx, tx, account); err != nil { // is there such an account
			return err
		}
		all, err := lockDevices(ctx, tx, account)
		if err != nil {
			return err
		}
		var gone []citygate.UUID
		for _, d := range all {
			if d.State == Released || what != LostBoth && string(what) != string(d.Kind) {
				continue
			}
			if d.State == Bound {
				d.State, d.LostAt = Lost, tx.Now
				if err := audit(ctx, tx, actor, "device.lose", &d); err != nil {
					return err
				}
			}
			gone = append(gone, d.ID)
			lost = append(lost, d)
		}
		if len(gone) == 0 {
			return ErrNoDevice.Explain("the account has no %s", what)
		}
		if err := loseDevices(ctx, tx, gone); err != nil {
			return err
		}
		return deny(ctx, tx, actor, denyLost, gone)
	})
	return lost, err
}

// Release gives a device up: its credentials are denied and anybody may bind its
// key. Releasing a phone leaves its bands without one: they are bound to the
// owner's next phone, or released too.
func (o *Office) Release(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) error {
	return o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		d, err := lockDevice(ctx, tx, id)
		if err != nil || d.State == Released {
			return err
		}
		return release(ctx, tx, actor, &d, "owner")
	})
}

func release(ctx context.Context, tx *pg.Tx, actor string, d *Device, why string) error {
	if err := deny(ctx, tx, actor, denyReleased, []citygate.UUID{d.ID}); err != nil {
		return err
	}
	if err := setState(ctx, tx, d.ID, Released); err != nil {
		return err
	}
	d.State = Released
	return audit(ctx, tx, actor, "device.release_"+why, d)
}

// Found takes back a report of loss. What was denied stays denied: the device is
// given a new credential when it asks.
func (o *Office) Found(ctx context.Context, actor string, tenant citygate.TenantID, id citygate.UUID) error {
	return o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		d, err := lockDevice(ctx, tx, id)
		if err != nil || d.State == Bound {
			return err
		}
		if d.State != Lost {
			return ErrState.Explain("the device is %s", d.State)
		}
		if err := setState(ctx, tx, id, Bound); err != nil {
			return err
		}
		d.State = Bound
		return audit(ctx, tx, actor, "device.find", &d)
	})
}

// deny puts what devices hold on the deny list, reserved credentials included.
func deny(ctx context.Context, tx *pg.Tx, actor, reason string, devices []citygate.UUID) error {
	held, err := credential.OfDevices(ctx, tx, devices)
	if err != nil {
		return err
	}
	var riders []citygate.Rider
	for _, all := range held {
		for _, h := range all {
			riders = append(riders, h.Rider)
		}
	}
	if len(riders) == 0 {
		return nil
	}
	return credential.Deny(ctx, tx, actor, reason, credential.Targets{Riders: riders})
}

// Devices gives an account's devices, the oldest first.
func Devices(ctx context.Context, tx *pg.Tx, account citygate.UUID) ([]Device, error) {
	if _, _, err := categoryOf(ctx, tx, account); err != nil {
		return nil, err
	}
	return devicesOf(ctx, tx, account, "")
}

// SetConcession puts an account into a category of the policy ("" = none), with
// the time its proof runs out. Credentials issued before keep what they say until
// they run out.
func (o *Office) SetConcession(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, category string, proof time.Time) error {
	return o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		policy, err := Latest(ctx, tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(policy.Concessions, func(c Concession) bool { return c.Category == category })
		switch {
		case category != "" && i < 0:
			return ErrNoConcess.Explain("%q", category)
		case category != "" && policy.Concessions[i].Proof && !proof.After(tx.Now):
			return ErrNoConcess.Explain("%q needs a proof that has not run out", category)
		}
		if err := setCategory(ctx, tx, account, category, proof); err != nil {
			return err
		}
		return tx.Audit(ctx, pg.AuditEntry{
			Actor: actor, Verb: "account.concession", Object: "account:" + account.Text("acc_"),
			After: map[string]any{"category": category, "proof_expires_at": proof},
		})
	})
}
