package issuance

import (
	"context"
	"crypto/ed25519"
	"io"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// batchSuite is the suite of codes made ahead: no secure hardware asks for
// another, and it is the cheapest to verify.
const batchSuite = ct1.SuiteEd25519

const signatureSize = 64

// A Batch is codes made ahead for a medium without a key. Code i is to be shown
// in [From + i x Window, From + (i+1) x Window) and is good for one tap.
type Batch struct {
	credential.Issue
	From   time.Time
	Window time.Duration
	Codes  [][]byte
}

// Until is when the last code's window is over.
func (b *Batch) Until() time.Time { return b.From.Add(time.Duration(len(b.Codes)) * b.Window) }

// Batch gives a wallet or band without a key its codes of consecutive windows
// from now on: those it has while at least half of them are ahead, new ones
// otherwise. So an answer that was lost is given again, to the byte.
//
// The key of a batch is made for it, signs it and is forgotten: nobody can make a
// further code. What is kept are the codes, until they run out.
//
// The promise is weaker than a device's: see [ct1.Batch]. Who has a copy of the
// codes rides as well as the owner, each code once. [Policy.LargestBatchLoss] says
// how much that can be, and [Office.RevokeBatch] ends it.
func (o *Office) Batch(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (Batch, error) {
	a := ask{keyless: true}
	have, found, err := o.present(ctx, tenant, device, &a)
	if err != nil {
		return Batch{}, err
	}
	if found {
		return unfold(have, &a.batch)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(o.Random, seed); err != nil {
		return Batch{}, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	clear(seed)
	a.request.DeviceKey = key[ed25519.SeedSize:]
	issued, err := o.issue(ctx, actor, tenant, device, &a)
	if err != nil {
		return Batch{}, err
	}
	made, err := makeBatch(issued, &a, key)
	clear(key[:ed25519.SeedSize])
	if err != nil {
		return Batch{}, err
	}
	// Died here: the credential has no codes and nobody has its key. The next call
	// issues another when signingTime is over.
	err = o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		d, err := lockDevice(ctx, tx, device)
		if err != nil {
			return err
		}
		if d.State != Bound { // lost meanwhile: what was reserved is denied already
			return ErrState.Explain("the device is %s", d.State)
		}
		return putBatch(ctx, tx, device, issued.Rider, &made)
	})
	if err != nil {
		return Batch{}, err
	}
	return unfold(issued, &made)
}

// makeBatch signs the codes of a new credential.
func makeBatch(issued credential.Issue, a *ask, key ed25519.PrivateKey) (madeBatch, error) {
	from := issued.ExpiresAt.Add(-time.Duration(a.request.TTLHours) * time.Hour)
	made := madeBatch{starts: from, window: time.Duration(a.request.Window) * time.Second}
	// A concession's proof may end the credential before the last window.
	count := min(int(a.request.Taps), int(a.request.TTLHours)*3600/int(a.request.Window))
	_, err := ct1.Batch(issued.Credential, made.plan(count), func(msg []byte) ([]byte, error) {
		signature := ed25519.Sign(key, msg)
		made.signatures = append(made.signatures, signature...)
		return signature, nil
	})
	return made, err
}

func (b *madeBatch) plan(count int) ct1.BatchPlan {
	return ct1.BatchPlan{From: b.starts.Unix(), Count: count, Counter: 1, Party: 1}
}

// unfold gives the codes whose signatures are kept.
func unfold(issued credential.Issue, b *madeBatch) (Batch, error) {
	rest := b.signatures
	codes, err := ct1.Batch(issued.Credential, b.plan(b.count()), func([]byte) ([]byte, error) {
		next := rest[:signatureSize]
		rest = rest[signatureSize:]
		return next, nil
	})
	return Batch{Issue: issued, From: b.starts, Window: b.window, Codes: codes}, err
}

// RevokeBatch denies the codes a medium has, because somebody may have copied
// them: the next deny list carries them, and the medium is given others when it
// asks. Doing it twice changes nothing but what was made between.
func (o *Office) RevokeBatch(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) error {
	return o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		d, err := lockDevice(ctx, tx, device)
		if err != nil {
			return err
		}
		if !d.Keyless {
			return ErrMedium.Explain("%s has a key", device.Text(Prefix))
		}
		if err := credential.DenyDevices(ctx, tx, actor, denyRevoked, []citygate.UUID{device}); err != nil {
			return err
		}
		return audit(ctx, tx, actor, "device.revoke_batch", &d)
	})
}
