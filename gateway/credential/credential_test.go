package credential_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	harbour = citygate.TenantID(20) // issuer 120
	hill    = citygate.TenantID(21) // issuer 121
	plain   = citygate.TenantID(22) // issues nothing
)

type directory struct{}

func (directory) ByID(_ context.Context, id citygate.TenantID) (tenants.Tenant, error) {
	t := tenants.Tenant{ID: id, Slug: fmt.Sprintf("tenant-%d", id), Issuer: citygate.Issuer(100 + id)}
	if id == plain {
		t.Issuer = 0
	}
	return t, nil
}

// brittle is a signer that fails when told to.
type brittle struct {
	keys.Signer
	mu      sync.Mutex
	fail    error
	oneBad  int // index of a message that is not signed; -1 = none
	onCall  func()
	batches []int
}

func (b *brittle) Sign(ctx context.Context, t citygate.TenantID, p keys.Purpose, v int, m [][]byte) ([]keys.Signature, error) {
	b.mu.Lock()
	b.batches = append(b.batches, len(m))
	b.mu.Unlock()
	if b.onCall != nil {
		b.onCall()
	}
	if b.fail != nil {
		return nil, b.fail
	}
	out, err := b.Signer.Sign(ctx, t, p, v, m)
	if err == nil && b.oneBad >= 0 && b.oneBad < len(out) {
		out[b.oneBad] = keys.Signature{Err: errors.New("one of them")}
	}
	return out, err
}

type office struct {
	*credential.Registry
	t      *testing.T
	db     *pg.DB
	ring   *keys.Ring
	signer *brittle
	clock  *clock
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func open(t *testing.T) *office {
	t.Helper()
	c := &clock{at: time.Date(2026, 11, 21, 8, 0, 0, 500_000_000, time.UTC)}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(local.Config{Dir: filepath.Join(dir, "store"), KeyFile: keyFile, Random: rand.Reader, Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, db: pgtest.New(t, pgtest.WithClock(c.now)), signer: &brittle{Signer: s, oneBad: -1}, clock: c}
	o.ring = keys.NewRing(o.db, o.signer)
	for _, tenant := range []citygate.TenantID{harbour, hill} {
		for _, p := range []keys.Purpose{keys.Credential, keys.DenyList} {
			if _, err := o.ring.Ensure(t.Context(), "test", tenant, p, keys.Ed25519); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.Registry = credential.New(credential.Config{DB: o.db, Ring: o.ring, Directory: directory{}})
	return o
}

func (o *office) in(tenant citygate.TenantID, fn func(tx *pg.Tx) error) {
	o.t.Helper()
	if err := o.db.InTenant(o.t.Context(), tenant, fn); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) accounts(tenant citygate.TenantID, n int) []credential.Account {
	o.t.Helper()
	asked := make([]credential.Account, n)
	for i := range asked {
		asked[i] = credential.Account{Contract: "alipay", RiderRef: fmt.Sprintf("payer-%05d", i), Category: "adult"}
	}
	var got []credential.Account
	o.in(tenant, func(tx *pg.Tx) (err error) {
		got, err = credential.OpenAccounts(o.t.Context(), tx, "test", asked)
		return err
	})
	return got
}

func band(t *testing.T) (request credential.Request, sign func([]byte) ([]byte, error)) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if sign, err = ct1.Signer(private); err != nil {
		t.Fatal(err)
	}
	return credential.Request{Suite: ct1.SuiteEd25519, Medium: code.MediumBand, DeviceKey: public, Product: 2, Cap: 500, Taps: 20}, sign
}

func (o *office) issue(tenant citygate.TenantID, account credential.Account) (credential.Issue, error) {
	o.t.Helper()
	req, _ := band(o.t)
	req.Account = account.ID
	return o.Issue(o.t.Context(), "test", tenant, req)
}

func (o *office) mustIssue(tenant citygate.TenantID, account credential.Account) credential.Issue {
	o.t.Helper()
	got, err := o.issue(tenant, account)
	if err != nil {
		o.t.Fatal(err)
	}
	return got
}

// ringKeys is the key source a bundle would be.
type ringKeys struct{ keys map[uint8]crypto.PublicKey }

func (ringKeys) Version() uint64 { return 1 }

func (r ringKeys) IssuerKey(issuer citygate.Issuer, kid uint8, _ int64) (crypto.PublicKey, code.Reason) {
	if k, ok := r.keys[kid]; ok && issuer == 120 {
		return k, ""
	}
	return nil, code.UnknownKey
}

func (o *office) keysOf(tenant citygate.TenantID, p keys.Purpose) map[uint8]crypto.PublicKey {
	o.t.Helper()
	all, err := o.ring.Keys(o.t.Context(), tenant)
	if err != nil {
		o.t.Fatal(err)
	}
	out := map[uint8]crypto.PublicKey{}
	for _, k := range all {
		if k.Purpose == p {
			out[k.KeyID] = ed25519.PublicKey(k.Public)
		}
	}
	return out
}

func TestIssuedCredentialMakesValidCodes(t *testing.T) {
	o := open(t)
	account := o.accounts(harbour, 1)[0]
	req, sign := band(t)
	req.Account = account.ID
	got, err := o.Issue(t.Context(), "user:ada", harbour, req)
	if err != nil {
		t.Fatal(err)
	}
	at := o.clock.now()
	want := citygate.Rider{Issuer: 120, List: credential.Week(at), Index: got.Rider.Index}
	if got.Rider != want || want.Index >= 256 || !got.ServerTime.Equal(at) || !got.ExpiresAt.Equal(at.Truncate(time.Second).Add(168*time.Hour)) {
		t.Errorf("issued %+v", got)
	}
	raw, err := ct1.Display(got.Credential, ct1.Dynamic{GeneratedAt: at.Unix() + 5, Counter: 1, Party: 1, Medium: code.MediumBand}, sign)
	if err != nil {
		t.Fatal(err)
	}
	var c code.Code
	if err := (ct1.Scheme{}).Parse(raw, &c); err != nil {
		t.Fatal(err)
	}
	if v := (ct1.Scheme{}).Verify(&c, ringKeys{o.keysOf(harbour, keys.Credential)}, nil); v.Outcome != code.Accept {
		t.Errorf("%+v", v)
	}
	if c.Rider != want || c.Window != 60 || c.Cap != 500 || c.Taps != 20 || c.Product != 2 || c.ExpiresAt != got.ExpiresAt.Unix() {
		t.Errorf("%+v", c)
	}
	o.in(harbour, func(tx *pg.Tx) error {
		issued, err := credential.Issued(t.Context(), tx, []citygate.Rider{want})
		if err != nil {
			return err
		}
		if r := issued[want]; r.Account != account.ID || !r.Issued(&c) {
			t.Errorf("on record: %+v", r)
		}
		c.Credential = append(slices.Clone(c.Credential[:50]), c.Credential[51:]...)
		if issued[want].Issued(&c) {
			t.Error("another credential with the same rider passes for the one on record")
		}
		return nil
	})
	if n := pgtest.Owner(t, o.db).Count(harbour, `SELECT count(*) FROM audit_log WHERE tenant_id = 20 AND actor = 'user:ada' AND verb = 'credential.issue'`); n != 1 {
		t.Errorf("%d audit rows", n)
	}
}

func TestIndicesAreDenseWhateverHappens(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 30)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []uint32
	for g := range 3 {
		wg.Go(func() {
			requests := make([]credential.Request, 10)
			for i := range requests {
				requests[i], _ = band(t)
				requests[i].Account = accounts[g*10+i].ID
			}
			issued, err := o.IssueBatch(t.Context(), "test", harbour, requests)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, i := range issued {
				got = append(got, i.Rider.Index)
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != 30 || len(got) != 30 || got[29] >= 256 {
		t.Fatalf("%d of 30 indices of the first block: %v", n, got)
	}
	if other := o.mustIssue(hill, o.accounts(hill, 1)[0]); other.Rider.Index >= 256 || other.Rider.Issuer != 121 {
		t.Errorf("another tenant's first credential: %+v", other.Rider)
	}
	o.clock.move(7 * 24 * time.Hour)
	if next := o.mustIssue(harbour, accounts[0]); next.Rider.Index >= 256 || next.Rider.List != credential.Week(o.clock.now()) {
		t.Errorf("the next week's first credential: %+v", next.Rider)
	}
}

// A call that dies between reserving and storing hands nothing out, and its
// indices never come back.
func TestSignerThatFailsIssuesNothing(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 3)
	requests := make([]credential.Request, 3)
	for i := range requests {
		requests[i], _ = band(t)
		requests[i].Account = accounts[i].ID
	}
	o.signer.fail = errors.New("sealed")
	if got, err := o.IssueBatch(t.Context(), "test", harbour, requests); err == nil || got != nil {
		t.Fatalf("issued %v, %v", got, err)
	}
	o.signer.fail, o.signer.oneBad = nil, 1
	if got, err := o.IssueBatch(t.Context(), "test", harbour, requests); err == nil || got != nil {
		t.Fatalf("issued %v, %v with one signature missing", got, err)
	}
	o.signer.oneBad = -1
	week := credential.Week(o.clock.now())
	var riders []citygate.Rider
	for i := range uint32(256) {
		riders = append(riders, citygate.Rider{Issuer: 120, List: week, Index: i})
	}
	o.in(harbour, func(tx *pg.Tx) error {
		issued, err := credential.Issued(t.Context(), tx, riders)
		owners, err2 := credential.AccountsOf(t.Context(), tx, riders)
		if len(issued)+len(owners) != 0 {
			t.Errorf("reserved credentials count as issued: %v, %v", issued, owners)
		}
		return errors.Join(err, err2)
	})
	got, err := o.IssueBatch(t.Context(), "test", harbour, requests)
	if err != nil || len(got) != 3 {
		t.Errorf("afterwards: %v, %v", got, err)
	}
	if n := pgtest.Owner(t, o.db).Count(harbour, `SELECT count(*) FROM credentials WHERE tenant_id = 20`); n != 9 {
		t.Errorf("%d indices are used up, want the six lost ones and three", n)
	}
}

func TestNothingIsSignedInsideATransaction(t *testing.T) {
	o := open(t)
	o.db = pgtest.Reopen(t, o.db, pgtest.WithClock(o.clock.now), pgtest.WithMaxConns(1))
	o.Registry = credential.New(credential.Config{DB: o.db, Ring: keys.NewRing(o.db, o.signer), Directory: directory{}})
	account := o.accounts(harbour, 1)[0]
	// One connection: inside an open transaction this would wait for ever.
	o.signer.onCall = func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := o.db.InTenant(ctx, harbour, func(*pg.Tx) error { return nil }); err != nil {
			t.Errorf("a transaction is open while signing: %v", err)
		}
	}
	o.mustIssue(harbour, account)
	if _, err := o.PublishLists(t.Context(), harbour); err != nil || len(o.signer.batches) != 3 { // credential, list, heartbeat
		t.Errorf("%v, signer called %v", err, o.signer.batches)
	}
}

func TestIssueRefusals(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 3)
	foreign := o.accounts(hill, 1)[0]
	o.in(harbour, func(tx *pg.Tx) error {
		return errors.Join(
			credential.Deny(t.Context(), tx, "test", "declined", credential.Targets{Accounts: []citygate.UUID{accounts[1].ID}}),
			credential.CloseAccount(t.Context(), tx, "test", accounts[2].ID))
	})
	good, _ := band(t)
	good.Account = accounts[0].ID
	with := func(change func(*credential.Request)) credential.Request {
		r := good
		change(&r)
		return r
	}
	for name, test := range map[string]struct {
		tenant citygate.TenantID
		req    credential.Request
		want   error
	}{
		"no issuer":             {plain, good, credential.ErrNoIssuer},
		"account nobody opened": {harbour, with(func(r *credential.Request) { r.Account = citygate.UUID{7} }), credential.ErrNoAccount},
		"another tenant's":      {harbour, with(func(r *credential.Request) { r.Account = foreign.ID }), credential.ErrNoAccount},
		"denied account":        {harbour, with(func(r *credential.Request) { r.Account = accounts[1].ID }), credential.ErrDenied},
		"closed account":        {harbour, with(func(r *credential.Request) { r.Account = accounts[2].ID }), credential.ErrClosed},
		"short key":             {harbour, with(func(r *credential.Request) { r.DeviceKey = r.DeviceKey[1:] }), credential.ErrRequest},
		"key of small order":    {harbour, with(func(r *credential.Request) { r.DeviceKey = make([]byte, 32) }), credential.ErrRequest},
		"suite unknown":         {harbour, with(func(r *credential.Request) { r.Suite = 4 }), credential.ErrRequest},
		"medium unknown":        {harbour, with(func(r *credential.Request) { r.Medium = 9 }), credential.ErrRequest},
	} {
		if _, err := o.IssueBatch(t.Context(), "test", test.tenant, []credential.Request{good, test.req}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if len(o.signer.batches) != 0 {
		t.Errorf("refused and signed all the same: %v", o.signer.batches)
	}
	if n := pgtest.Owner(t, o.db).Count(harbour, `SELECT count(*) FROM credential_blocks WHERE tenant_id = 20`); n != 0 {
		t.Errorf("refusals used up indices of %d blocks", n)
	}
}

func TestOpenAccountsTwiceOpensOnce(t *testing.T) {
	o := open(t)
	first := o.accounts(harbour, 5)
	second := o.accounts(harbour, 7)
	if !slices.Equal(first, second[:5]) || second[6].ID.IsZero() {
		t.Errorf("first %v, second %v", first, second)
	}
	if other := o.accounts(hill, 1); other[0].ID == first[0].ID {
		t.Error("two tenants share an account")
	}
	err := o.db.InTenant(t.Context(), harbour, func(tx *pg.Tx) error {
		_, err := credential.OpenAccounts(t.Context(), tx, "test", []credential.Account{{Contract: "alipay"}})
		return err
	})
	if !errors.Is(err, credential.ErrBadAccount) {
		t.Errorf("an account without a payer: %v", err)
	}
}

func TestAccountsOfKnowsItsOwnRidersOnly(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 2)
	a, b := o.mustIssue(harbour, accounts[0]).Rider, o.mustIssue(harbour, accounts[1]).Rider
	otherIssuer := a
	otherIssuer.Issuer = 121
	never := citygate.Rider{Issuer: 120, List: a.List, Index: 99}
	for tenant, want := range map[citygate.TenantID]int{harbour: 2, hill: 0} {
		o.in(tenant, func(tx *pg.Tx) error {
			got, err := credential.AccountsOf(t.Context(), tx, []citygate.Rider{a, b, a, otherIssuer, never})
			if len(got) != want || want == 2 && (got[a].ID != accounts[0].ID || got[b].RiderRef != "payer-00001") {
				t.Errorf("tenant %d: %v", tenant, got)
			}
			return err
		})
	}
}

func TestIssueTwoThousandQuickly(t *testing.T) {
	o := open(t)
	accounts := o.accounts(harbour, 2500)
	requests := make([]credential.Request, len(accounts))
	for i := range requests {
		requests[i], _ = band(t)
		requests[i].Account = accounts[i].ID
	}
	start := time.Now()
	got, err := o.IssueBatch(t.Context(), "test", harbour, requests)
	if err != nil || len(got) != 2500 || got[2499].Rider.Index >= 4096 {
		t.Fatalf("%d, %v", len(got), err)
	}
	t.Logf("2,500 credentials in %v, signer batches %v", time.Since(start), o.signer.batches)
}

func (o *office) publish(tenant citygate.TenantID) []*denylist.List {
	o.t.Helper()
	got, err := o.PublishLists(o.t.Context(), tenant)
	if err != nil {
		o.t.Fatal(err)
	}
	return got
}

// Opening accounts that are there costs a few rows for each, and not all that
// there are, on a table of which the planner knows nothing.
func TestOpeningAccountsAgainCostsWhatIsAskedFor(t *testing.T) {
	const riders, asked = 4000, 400
	o := open(t)
	owner := pgtest.Owner(t, o.db)
	owner.Exec(harbour, `INSERT INTO accounts (tenant_id, account_id, contract, rider_ref, category, state, created_at)
		SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'alipay', 'rider-' || n, '', 'active', $2 FROM generate_series(1, $3::int) AS n`, harbour, pgtest.Epoch, riders)
	contracts, refs := make([]string, asked), make([]string, asked)
	accounts := make([]credential.Account, asked)
	for i := range refs {
		contracts[i], refs[i] = "alipay", fmt.Sprintf("rider-%d", i+1)
		accounts[i] = credential.Account{Contract: contracts[i], RiderRef: refs[i]}
	}
	o.in(harbour, func(tx *pg.Tx) error {
		opened, err := credential.OpenAccounts(t.Context(), tx, "test", accounts)
		for i, a := range opened {
			if a.RiderRef != refs[i] || a.ID.String() != fmt.Sprintf("00000000-0000-7000-8000-%012d", i+1) {
				t.Errorf("account %d is %+v", i, a)
			}
		}
		return err
	})
	if got, most := owner.Touched(harbour, credential.AccountsByRef, harbour, contracts, refs), int64(asked*6); got > most {
		t.Errorf("%d accounts: %d rows were looked at, want at most %d", asked, got, most)
	}
}
