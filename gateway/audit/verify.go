package audit

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// pageMax is how many rows or checkpoints are read at once.
const pageMax = 1000

// A Verifier reads logs and says what is not as it was written. It changes nothing.
type Verifier struct {
	DB   *pg.DB
	Ring *keys.Ring // without a signer the announced keys are believed
}

// Verify reads the logs of tenants, 0 among them for the platform's, and compares
// copies of checkpoints that were kept elsewhere. It may run beside gateways that
// write and seal.
func (v *Verifier) Verify(ctx context.Context, tenants []citygate.TenantID, copies []Copy) (Report, error) {
	r := Report{Keys: KeyStore, Findings: []Finding{}}
	if v.Ring.Signer() == nil {
		r.Keys = Announced
	}
	for _, tenant := range tenants {
		l := &logCheck{Verifier: v, tenant: tenant, report: &r, copied: map[int64][]*Checkpoint{}}
		for i := range copies {
			if copies[i].Tenant != tenant {
				continue
			}
			for j := range copies[i].Checkpoints {
				c := &copies[i].Checkpoints[j]
				l.copied[c.Seq] = append(l.copied[c.Seq], c)
			}
			l.keyCopies = append(l.keyCopies, copies[i].Keys...)
			r.Copies += len(copies[i].Checkpoints)
		}
		if err := l.run(ctx); err != nil {
			return r, fmt.Errorf("audit log of tenant %d: %w", tenant, err)
		}
		r.Logs++
	}
	return r, nil
}

// A logCheck verifies one log.
type logCheck struct {
	*Verifier
	tenant    citygate.TenantID
	now       time.Time // ages are counted from here: the time on the log's clock
	report    *Report
	copied    map[int64][]*Checkpoint // of copies, by the row they seal
	keyCopies []PublicKey

	keys    map[uint8]auditKey
	seals   []Checkpoint
	last    link // the row read last
	waiting int  // rows without a good checkpoint
	oldest  Row  // of those
}

func (l *logCheck) find(kind string, f Finding, format string, args ...any) {
	f.Tenant, f.Kind, f.Detail = l.tenant, kind, fmt.Sprintf(format, args...)
	l.report.find(f)
}

func (l *logCheck) in(ctx context.Context, fn func(*pg.Tx) error) error {
	return in(ctx, l.DB, l.tenant, fn)
}

// run reads the checkpoints before the chain's end, and the end before the rows: a
// gateway that goes on adding makes each longer than what was read before.
func (l *logCheck) run(ctx context.Context) error {
	if err := l.readKeys(ctx); err != nil {
		return err
	}
	if err := l.readSeals(ctx); err != nil {
		return err
	}
	l.checkSeals()
	l.checkCopies()
	var s standing
	err := l.in(ctx, func(tx *pg.Tx) (err error) {
		l.now = tx.Now
		s, err = standingOf(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	if err := l.readRows(ctx, s.head.seq); err != nil {
		return err
	}
	l.checkEnd(s)
	return nil
}

type auditKey struct {
	public   crypto.PublicKey
	state    bundle.State
	notAfter time.Time
}

// readKeys reads the announced audit keys and holds them against the key store,
// where there is one, and against copies.
func (l *logCheck) readKeys(ctx context.Context) error {
	announced, err := l.Ring.Keys(ctx, l.tenant)
	if err != nil {
		return err
	}
	l.keys = map[uint8]auditKey{}
	var versions []keys.Version
	if signer := l.Ring.Signer(); signer != nil {
		versions, err = signer.Versions(ctx, l.tenant, keys.Audit)
		if err != nil && !errors.Is(err, keys.ErrNotFound) {
			return err
		}
	}
	for _, k := range announced {
		if k.Purpose != keys.Audit {
			continue
		}
		public, err := keys.ParsePublic(k.Algorithm, k.Public)
		if err != nil {
			l.find(WrongKey, Finding{}, "the announced key audit/%d cannot be read", k.KeyID)
			continue
		}
		if l.Ring.Signer() != nil && !holds(versions, k.Version, public) {
			l.find(WrongKey, Finding{}, "the key store does not have the announced key audit/%d", k.KeyID)
			continue
		}
		l.keys[k.KeyID] = auditKey{public, k.State, k.NotIssuedAfter}
	}
	l.believeCopies()
	return nil
}

// believeCopies takes the keys of copies for the right ones: they were kept where
// whoever can change the database and the key store could not.
func (l *logCheck) believeCopies() {
	for _, c := range l.keyCopies {
		public, err := keys.ParsePublic(keys.Algorithm(c.Algorithm), c.Public)
		if err != nil {
			l.find(CopyDiffers, Finding{}, "the copy's key audit/%d cannot be read", c.KeyID)
			continue
		}
		k, ok := l.keys[c.KeyID]
		if !ok || !same(k.public, public) {
			l.find(CopyDiffers, Finding{}, "the copy has another key audit/%d than the log's keys now", c.KeyID)
		}
		l.keys[c.KeyID] = auditKey{public, k.state, k.notAfter}
	}
}

func holds(versions []keys.Version, version int, public crypto.PublicKey) bool {
	for _, v := range versions {
		if v.Version == version {
			return same(v.Public, public)
		}
	}
	return false
}

func same(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func (l *logCheck) readSeals(ctx context.Context) error {
	for after := int64(0); ; after = l.seals[len(l.seals)-1].N {
		var page []Checkpoint
		err := l.in(ctx, func(tx *pg.Tx) (err error) {
			page, err = Checkpoints(ctx, tx, after, pageMax)
			return err
		})
		l.seals = append(l.seals, page...)
		if err != nil || len(page) < pageMax {
			return err
		}
	}
}

// checkSeals verifies the checkpoints by themselves; those that are wrong cover
// nothing.
func (l *logCheck) checkSeals() {
	var good []Checkpoint
	before := Checkpoint{}
	for i := range l.seals {
		c := &l.seals[i]
		at := Finding{Checkpoint: c.N, Row: c.Seq}
		if c.N != before.N+1 {
			l.find(NoSeal, Finding{Checkpoint: before.N + 1}, "checkpoints %d to %d are not there", before.N+1, c.N-1)
		} else if c.Prev != before.Root {
			l.find(Altered, at, "it does not follow the checkpoint before it")
		}
		if c.Seq <= before.Seq {
			l.find(Altered, at, "it seals no more rows than the checkpoint before it")
		}
		before = *c
		if why := l.distrust(c); why != "" {
			l.find(Altered, at, "%s", why)
			continue
		}
		good = append(good, *c)
	}
	l.report.Checkpoints += len(l.seals)
	l.seals = good
	if len(good) == 0 {
		return
	}
	last := good[len(good)-1]
	if k := l.keys[last.KeyID]; k.state == bundle.Revoked || !k.notAfter.IsZero() && last.At.After(k.notAfter) {
		l.find(WrongKey, Finding{Checkpoint: last.N, Row: last.Seq}, "the key audit/%d that made the last checkpoint must not count any more: seal once more with the next key", last.KeyID)
	}
}

// distrust says why a checkpoint is not one that the key made, or "".
func (l *logCheck) distrust(c *Checkpoint) string {
	k, ok := l.keys[c.KeyID]
	if !ok {
		return fmt.Sprintf("there is no good key audit/%d to verify it with", c.KeyID)
	}
	if keys.Verify(k.public, c.message(), c.Signature) != nil {
		return fmt.Sprintf("its signature is not one of key audit/%d", c.KeyID)
	}
	return ""
}

// checkCopies compares the copies with the checkpoints that are there.
func (l *logCheck) checkCopies() {
	have := map[int64]*Checkpoint{}
	for i := range l.seals {
		have[l.seals[i].N] = &l.seals[i]
	}
	for _, list := range l.copied {
		for _, c := range list {
			at := Finding{Checkpoint: c.N, Row: c.Seq}
			if why := l.distrust(c); why != "" {
				l.find(CopyDiffers, at, "the copy itself is not good: %s", why)
				continue
			}
			switch mine, ok := have[c.N]; {
			case !ok:
				l.find(CopyDiffers, at, "the copy has this checkpoint and the log has not: the log was cut or written anew")
			case string(mine.message()) != string(c.message()):
				l.find(CopyDiffers, at, "the copy's checkpoint is another one: the log was written anew")
			}
		}
	}
}

// readRows follows the chain. What comes behind end was added since.
func (l *logCheck) readRows(ctx context.Context, end int64) error {
	seals := l.seals
	for after := int64(0); ; {
		var page []Row
		err := l.in(ctx, func(tx *pg.Tx) (err error) {
			page, err = rows(ctx, tx, selectChained, tx.Tenant, after, pageMax)
			return err
		})
		if err != nil {
			return err
		}
		for i := range page {
			r := &page[i]
			after = r.Seq
			if r.Seq > end {
				return nil // added since; checkEnd looks at what must not be there
			}
			if err := l.row(r); err != nil {
				return err
			}
			for len(seals) > 0 && seals[0].Seq <= r.Seq {
				l.sealOf(&seals[0], r)
				seals = seals[1:]
			}
		}
		if len(page) < pageMax {
			return nil
		}
	}
}

func (l *logCheck) row(r *Row) error {
	l.report.Rows++
	at := Finding{Row: r.Seq, Entry: r.ID.Text(Prefix)}
	sum, err := r.Sum()
	if err != nil {
		return err
	}
	if r.Seq != l.last.seq+1 {
		l.find(Missing, Finding{Row: l.last.seq + 1, LastRow: r.Seq - 1}, "not in the log")
	} else if r.Prev != l.last.hash {
		l.find(BrokenLink, at, "it does not follow row %d", l.last.seq)
	}
	if sum != r.Hash {
		l.find(Altered, at, "its columns do not fit its hash")
	}
	l.last = link{r.Seq, r.Hash}
	for _, c := range l.copied[r.Seq] {
		if c.Root != r.Hash {
			l.find(CopyDiffers, at, "checkpoint %d of the copy sealed another row here", c.N)
		}
	}
	if r.Seq > l.covers() {
		l.wait(r)
	}
	return nil
}

// covers gives the last row that a checkpoint with a good signature speaks of.
func (l *logCheck) covers() int64 {
	if len(l.seals) == 0 {
		return 0
	}
	return l.seals[len(l.seals)-1].Seq
}

func (l *logCheck) wait(r *Row) {
	if l.waiting++; l.waiting == 1 || r.At.Before(l.oldest.At) {
		l.oldest = *r
	}
}

// sealOf holds a checkpoint against the first row at or behind the one it seals.
func (l *logCheck) sealOf(c *Checkpoint, r *Row) {
	if c.Seq != r.Seq {
		return // the row is missing, which was said
	}
	if c.Root != r.Hash {
		l.find(WrongRoot, Finding{Row: r.Seq, Entry: r.ID.Text(Prefix), Checkpoint: c.N}, "the checkpoint sealed another row here: this one, or one before it, was written anew")
	}
}

// checkEnd holds the end of the rows against the head and the last checkpoint, and
// reports what waits.
func (l *logCheck) checkEnd(s standing) {
	end := max(s.head.seq, l.covers())
	if l.last.seq < end {
		f := Finding{Row: l.last.seq + 1, LastRow: end}
		if n := len(l.seals); n > 0 && l.covers() > l.last.seq {
			f.Checkpoint = l.seals[n-1].N
		}
		l.find(Missing, f, "the log ends at row %d: its tail is not there", l.last.seq)
	} else if l.last.hash != s.head.hash {
		l.find(WrongHead, Finding{Row: l.last.seq}, "the chain's end is not the hash of its last row")
	}
	if s.head.seq < l.covers() {
		l.find(WrongHead, Finding{Row: s.head.seq}, "the chain's end lies before the last checkpoint")
	}
	if s.last > s.head.seq {
		l.find(Beyond, Finding{Row: s.head.seq + 1, LastRow: s.last}, "added past the chain's end")
	}
	if s.waiting > 0 {
		l.wait(&s.oldest)
		l.waiting += int(s.waiting) - 1
	}
	l.checkWaiting()
}

// checkWaiting reports what no checkpoint covers.
func (l *logCheck) checkWaiting() {
	l.report.Waiting += l.waiting
	if l.waiting == 0 {
		return
	}
	age := max(0, l.now.Sub(l.oldest.At))
	l.report.OldestSeconds = max(l.report.OldestSeconds, int64(age/time.Second))
	if age > WaitMax {
		l.find(Unsealed, Finding{Row: l.oldest.Seq, Entry: l.oldest.ID.Text(Prefix)},
			"%d rows wait for a checkpoint, this one for %s: it was added in secret, or no gateway runs (then \"citygate audit seal\")", l.waiting, age.Truncate(time.Second))
	}
}
