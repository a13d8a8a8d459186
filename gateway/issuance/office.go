package issuance

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Prefix begins the text form of device ids.
const Prefix = "dev_"

// The reasons of deny entries that say nothing bad about a device's key.
const (
	denyLost     = "lost"
	denyReleased = "released"
	denyRevoked  = "revoked" // a batch, of which nobody has the key
)

// signingTime is how long a credential may be reserved before the call that
// reserved it counts as dead. A signer answers within seconds or not at all.
const signingTime = time.Minute

// An ask is what a device wants and what it is to get.
type ask struct {
	keyless bool   // it wants a batch
	anchor  []byte // of the chain that a band will use; nil = the one it was bound with

	statuses *Statuses

	request credential.Request // for the next credential
	batch   madeBatch          // of the credential it has
}

// Renew gives a device its credential: the one it has while at least half of its
// life is left, otherwise a new one under the policy in force.
func (o *Office) Renew(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (credential.Issue, error) {
	return o.renew(ctx, actor, tenant, device, &ask{})
}

// RenewChain is [Office.Renew] for a band with a hash chain. A chain is good for
// one credential, because what it showed under the first would count again under
// a second; so the band's phone prepares a new one and sends its anchor, as often
// as it likes. The answer names the chain that counts: the band keeps the one it
// has until an answer names the new one ([ct1.ParseCredential]).
func (o *Office) RenewChain(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID, anchor []byte) (credential.Issue, error) {
	if len(anchor) != chainAnchor {
		return credential.Issue{}, ErrDevice.Explain("an anchor of %d bytes, want %d", len(anchor), chainAnchor)
	}
	return o.renew(ctx, actor, tenant, device, &ask{anchor: anchor})
}

func (o *Office) renew(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID, a *ask) (credential.Issue, error) {
	have, found, err := o.present(ctx, tenant, device, a)
	if err != nil || found {
		return have, err
	}
	return o.issue(ctx, actor, tenant, device, a)
}

// issue makes the credential that a wants, unless somebody else did meanwhile.
func (o *Office) issue(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID, a *ask) (credential.Issue, error) {
	request := &a.request
	issued, err := o.Credentials.IssueIf(ctx, actor, tenant, []credential.Request{*request}, func(tx *pg.Tx) error {
		// What was read above is read again under the device's lock, in the
		// transaction that reserves: two calls at once make one credential.
		now := ask{keyless: a.keyless, anchor: a.anchor, statuses: o.Statuses}
		_, found, err := standing(ctx, tx, device, &now)
		again := &now.request
		if err == nil && (found || again.Account != request.Account || again.Cap != request.Cap || again.Product != request.Product || again.Taps != request.Taps ||
			again.Window != request.Window || again.TTLHours > request.TTLHours) {
			return ErrInFlight
		}
		return err
	})
	if err != nil {
		return credential.Issue{}, err
	}
	return issued[0], nil
}

func (o *Office) present(ctx context.Context, tenant citygate.TenantID, device citygate.UUID, a *ask) (have credential.Issue, found bool, err error) {
	a.statuses = o.Statuses
	err = o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		have, found, err = standing(ctx, tx, device, a)
		return err
	})
	return have, found, err
}

// standing gives the credential a device is to use, or fills in the request for
// the next one. It locks the device.
func standing(ctx context.Context, tx *pg.Tx, id citygate.UUID, a *ask) (have credential.Issue, found bool, err error) {
	d, err := usable(ctx, tx, id, a)
	if err != nil {
		return have, false, err
	}
	policy, err := Latest(ctx, tx)
	if err != nil {
		return have, false, err
	}
	held, err := credential.OfDevices(ctx, tx, []citygate.UUID{id})
	if err != nil {
		return have, false, err
	}
	var batches map[citygate.Rider]madeBatch
	if d.Keyless {
		if batches, err = batchesOf(ctx, tx, id); err != nil {
			return have, false, err
		}
	}
	for _, h := range held[id] { // the newest first
		begins, ends, anchored := h.IssuedAt, h.ExpiresAt, false
		made, complete := batches[citygate.Rider{List: h.Rider.List, Index: h.Rider.Index}]
		switch {
		case d.Keyless && complete:
			begins, ends = made.starts, made.ends()
		case !d.Keyless:
			complete = h.PartA != nil
			anchored = a.anchor != nil && complete && holdsKey(h.PartA, a.anchor)
		}
		bad := slices.ContainsFunc(h.Denied, func(reason string) bool { return reason != denyLost && reason != denyReleased && reason != denyRevoked })
		switch {
		case bad:
			return have, false, ErrCopied
		case len(h.Denied) > 0:
		case !complete && tx.Now.Sub(h.IssuedAt) < signingTime:
			return have, false, ErrInFlight
		case complete && !found && (anchored || 2*ends.Sub(tx.Now) >= ends.Sub(begins)):
			have = credential.Issue{Rider: h.Rider, Credential: h.PartA, ExpiresAt: h.ExpiresAt, ServerTime: tx.Now}
			found, a.batch = true, made
		}
	}
	if found {
		return have, true, nil
	}
	a.request, err = wanted(ctx, tx, &policy, &d, a)
	return have, false, err
}

// holdsKey reports whether a credential names key.
func holdsKey(partA, key []byte) bool {
	var c code.Code
	return ct1.ParseCredential(partA, &c) == nil && bytes.Equal(c.DeviceKey, key)
}

// usable gives a device that may be given what a wants, locked.
func usable(ctx context.Context, tx *pg.Tx, id citygate.UUID, a *ask) (Device, error) {
	d, err := lockDevice(ctx, tx, id)
	switch {
	case err != nil:
		return d, err
	case d.State != Bound:
		return d, ErrState.Explain("the device is %s", d.State)
	case d.Keyless != a.keyless:
		return d, ErrMedium
	case a.anchor != nil && d.Suite != ct1.SuiteChain:
		return d, ErrDevice.Explain("an anchor is for bands with a hash chain, this device has a key")
	case d.Kind != Band:
		return d, nil
	}
	phone, err := deviceByID(ctx, tx, d.Phone)
	if err == nil && phone.State != Bound {
		err = ErrState.Explain("its phone is %s: bind the band to another phone", phone.State)
	}
	return d, err
}

// wanted gives the request for a device's next credential.
func wanted(ctx context.Context, tx *pg.Tx, policy *Policy, d *Device, a *ask) (credential.Request, error) {
	// A maker's key can be revoked after a device was attested by it: from its next
	// credential on the device is one that nobody showed to be in hardware.
	var revoked error
	if d.Evidence.Android != nil {
		revoked = a.statuses.Check(d.Evidence.Android.Serials)
	}
	if revoked != nil {
		d.Assurance = Unproven
	}
	limits, ok := policy.limits(d)
	switch {
	case !ok && revoked != nil:
		return credential.Request{}, revoked
	case !ok && (d.Keyless || d.Suite == ct1.SuiteChain):
		return credential.Request{}, ErrNotGiven
	case !ok:
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
	medium, key := code.MediumPhone, d.PublicKey
	switch {
	case d.Keyless:
		medium, key = code.MediumServerBatch, nil // made with the batch
	case d.Kind == Band:
		medium = code.MediumBand
	}
	if d.Suite == ct1.SuiteChain {
		if a.anchor != nil {
			key = a.anchor
		}
		if used, err := usedAnchor(ctx, tx, key); err != nil {
			return credential.Request{}, err
		} else if used {
			return credential.Request{}, ErrAnchor
		}
	}
	return credential.Request{
		Account: d.Account, Device: d.ID, Suite: d.Suite, Medium: medium, DeviceKey: key,
		Product: product, Cap: limits.Cap, Taps: limits.Taps, Window: limits.WindowSeconds, TTLHours: hours,
	}, nil
}

// A Loss says what its owner misses.
type Loss string

// The losses.
const (
	LostPhone  Loss = "phone" // with the wallets that are on it
	LostBand   Loss = "band"
	LostWallet Loss = "wallet"
	LostBoth   Loss = "both" // phone, wallets and bands
)

// takes reports whether a loss is one of devices of kind k. Nobody knows on which
// phone a wallet is, so it is lost with the account's phone.
func (l Loss) takes(k Kind) bool {
	return l == LostBoth || string(l) == string(k) || l == LostPhone && k == Wallet
}

// ReportLoss takes an account's phone, its bands, its wallets or all as lost: their
// credentials are denied when it returns, and the next publication of the deny
// lists carries them. It gives the devices that are lost now; reporting again
// changes nothing.
func (o *Office) ReportLoss(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, what Loss) ([]Device, error) {
	if what != LostPhone && what != LostBand && what != LostWallet && what != LostBoth {
		return nil, ErrDevice.Explain("lost %q, want phone, band, wallet or both", what)
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
			if d.State == Released || !what.takes(d.Kind) {
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
		return credential.DenyDevices(ctx, tx, actor, denyLost, gone)
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
	if err := credential.DenyDevices(ctx, tx, actor, denyReleased, []citygate.UUID{d.ID}); err != nil {
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
