package issuance

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// withBatches is a desk whose policy gives batches of an hour.
func withBatches(t *testing.T) *desk {
	t.Helper()
	d := open(t)
	d.publish(func(p *Policy) { p.Batch = &BatchLimits{Cap: 15, Windows: 120, WindowSeconds: 30} })
	return d
}

func wallet(name string) Registration {
	return Registration{Kind: Wallet, Contract: "pay", RiderRef: "ada", Medium: name}
}

func (d *desk) batch(x Device) Batch {
	d.t.Helper()
	b, err := d.Batch(d.t.Context(), "test", harbour, x.ID)
	d.must(err)
	return b
}

func TestWalletGetsABatch(t *testing.T) {
	d := withBatches(t)
	x := d.bind(wallet("pass-1"))
	if again := d.bind(wallet("pass-1")); again.ID != x.ID || !x.Keyless {
		t.Errorf("bound as %+v, and again as %v", x, again.ID)
	}
	b := d.batch(x)
	if len(b.Codes) != 120 || b.Window != 30*time.Second || !b.From.Equal(epoch) || b.Until().Sub(b.From) != time.Hour || b.ExpiresAt.Sub(epoch) > time.Hour {
		t.Fatalf("%d codes of %v from %v until %v", len(b.Codes), b.Window, b.From, b.ExpiresAt)
	}
	for i, raw := range b.Codes {
		var c code.Code
		d.must(ct1.Scheme{}.Parse(raw, &c))
		if c.Medium != code.MediumServerBatch || c.GeneratedAt != epoch.Unix()+int64(i)*30 || int(c.Counter) != i+1 || c.Cap != 15 || c.Taps != 120 {
			t.Fatalf("code %d: %+v", i, c)
		}
	}
	// An answer that was lost is given again, to the byte, until half of it is over.
	d.clock.move(30 * time.Minute)
	if again := d.batch(x); again.Rider != b.Rider || !slices.EqualFunc(again.Codes, b.Codes, bytes.Equal) || !again.From.Equal(b.From) {
		t.Errorf("given %v of %v, had %v", again.Rider, again.From, b.Rider)
	}
	d.clock.move(time.Second)
	next := d.batch(x)
	if next.Rider == b.Rider || !next.From.Equal(epoch.Add(30*time.Minute+time.Second)) || bytes.Equal(next.Codes[0][23:55], b.Codes[0][23:55]) {
		t.Errorf("past its half: %v from %v, with the key before: %t", next.Rider, next.From, bytes.Equal(next.Codes[0][23:55], b.Codes[0][23:55]))
	}
	// What ran out is not kept.
	d.clock.move(2 * time.Hour)
	d.batch(x)
	var kept int
	d.in(func(tx *pg.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM code_batches WHERE tenant_id = $1`, tx.Tenant).Scan(&kept)
	})
	if kept != 1 {
		t.Errorf("%d batches are kept, want the one that lives", kept)
	}
}

func TestBatchesAreForMediaWithoutAKey(t *testing.T) {
	d := open(t)
	_, err := d.register(wallet("pass-1"))
	d.refuses("under a policy without batches", err, ErrNotGiven)
	d.publish(func(p *Policy) { p.Batch = &BatchLimits{Cap: 15, Windows: 20, WindowSeconds: 30} })
	phone := d.bind(d.asks(newPhone(t), "ada"))
	x := d.bind(wallet("pass-1"))
	band := d.bind(Registration{Kind: Band, Phone: phone.ID, Medium: "band-1"})
	if b := d.batch(band); len(b.Codes) != 20 || band.Account != phone.Account {
		t.Errorf("a band without a key: %d codes", len(b.Codes))
	}
	_, err = d.Batch(t.Context(), "test", harbour, phone.ID)
	d.refuses("a batch for a phone", err, ErrMedium)
	_, err = d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("a credential for a wallet", err, ErrMedium)
	d.refuses("a phone's batch revoked", d.RevokeBatch(t.Context(), "test", harbour, phone.ID), ErrMedium)
	_, err = d.Batch(t.Context(), "test", hill, x.ID)
	d.refuses("another issuer's wallet", err, ErrNoDevice)
	eve := wallet("pass-1")
	eve.RiderRef = "eve"
	_, err = d.register(eve)
	d.refuses("somebody else's pass", err, ErrHeld)
	for name, change := range map[string]func(*Registration){
		"no name":         func(r *Registration) { r.Medium = "" },
		"a key":           func(r *Registration) { r.PublicKey = make([]byte, 32) },
		"a proof":         func(r *Registration) { r.Challenge = make([]byte, 32) },
		"vouched for":     func(r *Registration) { r.Vouched = true },
		"a suite":         func(r *Registration) { r.Suite = ct1.SuiteP256 },
		"on a phone":      func(r *Registration) { r.Phone = phone.ID },
		"nobody's":        func(r *Registration) { r.RiderRef = "" },
		"a phone":         func(r *Registration) { r.Kind = Phone },
		"a name too long": func(r *Registration) { r.Medium = strings.Repeat("x", mediumMax+1) },
	} {
		r := wallet("pass-2")
		change(&r)
		_, err := d.register(r)
		d.refuses(name, err, ErrDevice)
	}
	for name, change := range map[string]func(*Policy){
		"above a band": func(p *Policy) { p.Batch = &BatchLimits{Cap: p.Band.Cap + 1, Windows: 1, WindowSeconds: 30} },
		"no windows":   func(p *Policy) { p.Batch = &BatchLimits{Cap: 1, WindowSeconds: 30} },
		"a blink":      func(p *Policy) { p.Batch = &BatchLimits{Cap: 1, Windows: 1, WindowSeconds: 4} },
		"too long": func(p *Policy) {
			p.Phone.TTLHours, p.Batch = 12, &BatchLimits{Cap: 1, Windows: 250, WindowSeconds: 250}
		},
	} {
		p := usual("")
		change(&p)
		d.refuses(name, p.Check(), ErrPolicy)
	}
}

// The signer dies, the process dies after the credential was stored, two ask at
// once: a wallet never has two batches of one moment, and never codes that nobody
// kept.
func TestBatchSurvivesItsMaker(t *testing.T) {
	d := withBatches(t)
	x := d.bind(wallet("pass-1"))
	d.signer.fail = errors.New("away")
	if _, err := d.Batch(t.Context(), "test", harbour, x.ID); err == nil {
		t.Fatal("a batch without a signer")
	}
	d.signer.fail = nil
	_, err := d.Batch(t.Context(), "test", harbour, x.ID)
	d.refuses("while the call before may go on", err, ErrInFlight)
	d.clock.move(signingTime)
	b := d.batch(x)
	// The credential is stored and its codes are not.
	d.in(func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM code_batches WHERE tenant_id = $1`, tx.Tenant)
		return err
	})
	_, err = d.Batch(t.Context(), "test", harbour, x.ID)
	d.refuses("while the codes may come", err, ErrInFlight)
	d.clock.move(signingTime)
	if again := d.batch(x); again.Rider == b.Rider {
		t.Errorf("given a credential whose codes nobody has")
	}
	y := d.bind(wallet("pass-2"))
	var mu sync.Mutex
	given := map[citygate.Rider]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			b, err := d.Batch(t.Context(), "test", harbour, y.ID)
			if err != nil && !errors.Is(err, ErrInFlight) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				given[b.Rider] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(given) != 1 {
		t.Errorf("%d batches for one wallet", len(given))
	}
	// Lost while its codes are being made: they are denied, and not handed out.
	z := d.bind(wallet("pass-3"))
	d.signer.before = func() {
		_, err := d.ReportLoss(t.Context(), "test", harbour, z.Account, LostWallet)
		d.must(err)
	}
	_, err = d.Batch(t.Context(), "test", harbour, z.ID)
	d.refuses("lost meanwhile", err, ErrState)
}

func TestRevokedAndLostBatches(t *testing.T) {
	d := withBatches(t)
	phone := d.bind(d.asks(newPhone(t), "ada"))
	x := d.bind(wallet("pass-1"))
	b := d.batch(x)
	d.must(d.RevokeBatch(t.Context(), "test", harbour, x.ID))
	d.must(d.RevokeBatch(t.Context(), "test", harbour, x.ID))
	if !d.denied()[b.Rider] {
		t.Error("a revoked batch is not denied")
	}
	next := d.batch(x) // at once: who copied the codes has no key
	if next.Rider == b.Rider || d.denied()[next.Rider] {
		t.Errorf("after %v was revoked: %v", b.Rider, next.Rider)
	}
	lost, err := d.ReportLoss(t.Context(), "test", harbour, phone.Account, LostPhone)
	if err != nil || len(lost) != 2 || !d.denied()[next.Rider] {
		t.Errorf("the phone with the wallet: %+v, %v", lost, err)
	}
	_, err = d.Batch(t.Context(), "test", harbour, x.ID)
	d.refuses("codes of what is lost", err, ErrState)
	d.must(d.Found(t.Context(), "test", harbour, x.ID))
	if found := d.batch(x); found.Rider == next.Rider {
		t.Error("a denied batch is given again")
	}
}

// A device can be reported lost although a credential was reserved for it and the
// signer died, and while one is being signed: that one is denied too.
func TestLossWhileACredentialIsMade(t *testing.T) {
	d := open(t)
	x := d.bind(d.asks(newPhone(t), "ada"))
	d.signer.fail = errors.New("away")
	if _, err := d.Renew(t.Context(), "test", harbour, x.ID); err == nil {
		t.Fatal("a credential without a signer")
	}
	d.signer.fail = nil
	d.clock.move(signingTime)
	d.signer.before = func() {
		_, err := d.ReportLoss(t.Context(), "test", harbour, x.Account, LostPhone)
		d.must(err)
	}
	issue := d.renew(x) // its signature was under way
	if denied := d.denied(); !denied[issue.Rider] || len(denied) != 2 {
		t.Errorf("denied are %v, want %v and the one that was never signed", denied, issue.Rider)
	}
}

// What a copied batch can cost is what the policy states.
func TestBatchLoss(t *testing.T) {
	p := usual("")
	p.Batch = &BatchLimits{Cap: 15, Windows: 120, WindowSeconds: 30}
	unit := citygate.Money{Minor: 50, Currency: "CNY"}
	for unreported, batches := range map[time.Duration]int64{0: 2, time.Nanosecond: 3, 30 * time.Minute: 3, 31 * time.Minute: 4, 12 * time.Hour: 26} {
		if got, want := p.LargestBatchLoss(unit, unreported).Minor, batches*120*15*50; got != want {
			t.Errorf("unreported for %v: %d, want %d", unreported, got, want)
		}
	}
	if got, want := p.LargestLoss(unit, 0).Minor, int64(2*60*40+2*120*15)*50; got != want { // a band without a key costs more than one with
		t.Errorf("phone and band: %d, want %d", got, want)
	}
	p.Chain = &ChainLimits{Cap: 10}
	if got, want := p.LargestLoss(unit, 0).Minor, int64(2*60*40+2*5760*10)*50; got != want {
		t.Errorf("phone and band with a chain: %d, want %d", got, want)
	}
	p.Batch, p.Chain = nil, nil
	if got := p.LargestBatchLoss(unit, 0); got.Minor != 0 || p.LargestLoss(unit, 0).Minor != int64(2*60*40+2*20*10)*50 {
		t.Errorf("without batches: %v", got)
	}
}

// A band with a hash chain gets the longest life its chain has by default, under
// a policy for phones of a week, and a new chain with every new credential.
func TestChainBand(t *testing.T) {
	d := open(t)
	phone := d.bind(d.asks(newPhone(t), "ada"))
	seeds := [][]byte{bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16), bytes.Repeat([]byte{3}, 16)}
	anchors := make([][]byte, len(seeds))
	for i, seed := range seeds {
		var err error
		anchors[i], err = ct1.ChainAnchor(seed)
		d.must(err)
	}
	asks := func(anchor []byte) Registration {
		challenge, _, err := d.Challenge(t.Context(), harbour)
		d.must(err)
		return Registration{Phone: phone.ID, Kind: Band, Suite: ct1.SuiteChain, PublicKey: anchor, Challenge: challenge}
	}
	_, err := d.register(asks(anchors[0]))
	d.refuses("under a policy without chains", err, ErrNotGiven)
	d.publish(func(p *Policy) { p.Chain = &ChainLimits{Cap: 10} })
	x := d.bind(asks(anchors[0]))
	first := d.renew(x)
	if first.ExpiresAt.Sub(epoch) != 96*time.Hour {
		t.Errorf("a chain of 60 second displays lives until %v", first.ExpiresAt)
	}
	sign, err := ct1.ChainSigner(seeds[0])
	d.must(err)
	raw, err := ct1.Display(first.Credential, ct1.Dynamic{GeneratedAt: epoch.Unix() + 300, Party: 1, ClockQuality: code.ClockUnknown, Medium: code.MediumBand}, sign)
	d.must(err)
	var c code.Code
	d.must(ct1.Scheme{}.Parse(raw, &c))
	if c.Cap != 10 || c.Taps != 0 || c.Window != 60 {
		t.Errorf("issued %+v", c)
	}
	renew := func(anchor []byte) citygate.Rider {
		t.Helper()
		issue, err := d.RenewChain(t.Context(), "test", harbour, x.ID, anchor)
		d.must(err)
		if !holdsKey(issue.Credential, anchor) {
			return citygate.Rider{}
		}
		return issue.Rider
	}
	// Online in its first half, with another chain ready: it keeps the one it has.
	d.clock.move(47 * time.Hour)
	if got := renew(anchors[1]); got != (citygate.Rider{}) {
		t.Errorf("a fresh credential before half of the life of the one before: %v", got)
	}
	d.clock.move(2 * time.Hour)
	_, err = d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("the chain that was shown, once more", err, ErrAnchor)
	_, err = d.RenewChain(t.Context(), "test", harbour, x.ID, anchors[0][:8])
	d.refuses("half an anchor", err, ErrDevice)
	_, err = d.RenewChain(t.Context(), "test", harbour, phone.ID, anchors[1])
	d.refuses("a phone's anchor", err, ErrDevice)
	second := renew(anchors[1])
	if second == first.Rider || second != renew(anchors[1]) { // the answer was lost
		t.Errorf("renewed as %v and %v", second, renew(anchors[1]))
	}
	d.clock.move(60 * time.Hour)
	if got := renew(anchors[1]); got != second { // and late: its chain is alive
		t.Errorf("the chain it has: %v, want %v", got, second)
	}
	if got := renew(anchors[2]); got == second || got == (citygate.Rider{}) {
		t.Errorf("past half of its life: %v", got)
	}
	d.clock.move(96 * time.Hour)
	_, err = d.RenewChain(t.Context(), "test", harbour, x.ID, anchors[0])
	d.refuses("a chain from long ago", err, ErrAnchor)
	for name, change := range map[string]func(*Policy){
		"longer than the chain": func(p *Policy) { p.Chain = &ChainLimits{Cap: 10, TTLHours: 97} },
		"a blink":               func(p *Policy) { p.Chain = &ChainLimits{Cap: 10, WindowSeconds: 4} },
		"above a band":          func(p *Policy) { p.Chain = &ChainLimits{Cap: p.Band.Cap + 1} },
		"above a phone":         func(p *Policy) { p.Phone.TTLHours, p.Chain = 40, &ChainLimits{Cap: 1, TTLHours: 41} },
	} {
		p := usual("")
		change(&p)
		d.refuses(name, p.Check(), ErrPolicy)
	}
}
