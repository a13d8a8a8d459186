package issuance

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

func TestPhoneGetsWhatThePolicyGives(t *testing.T) {
	d := open(t)
	phone := newPhone(t)
	x := d.bind(d.asks(phone, "ada"))
	if x.Assurance != Hardware || x.State != Bound {
		t.Errorf("registered as %+v", x)
	}
	issue := d.renew(x)
	c := d.shows(phone, issue, 1)
	if c.Cap != 60 || c.Taps != 40 || c.Window != 30 || c.Product != 1 || c.ExpiresAt-c.IssuedAt != 168*3600 || len(issue.Credential) != 120 {
		t.Errorf("issued %+v, %d bytes", c, len(issue.Credential))
	}
	if !issue.ServerTime.Equal(epoch) {
		t.Errorf("server time %v", issue.ServerTime)
	}
	// An answer that was lost is given again; past half of its life it is renewed
	// under another index.
	d.clock.move(83 * time.Hour)
	if again := d.renew(x); again.Rider != issue.Rider || !bytes.Equal(again.Credential, issue.Credential) || !again.ExpiresAt.Equal(issue.ExpiresAt) {
		t.Errorf("given %+v, had %+v", again, issue)
	}
	d.clock.move(2 * time.Hour)
	if next := d.renew(x); next.Rider == issue.Rider {
		t.Errorf("not renewed past half of its life")
	}
}

func TestWhoMayRegister(t *testing.T) {
	d := open(t)
	phone := newPhone(t)
	forged := d.asks(phone, "ada")
	forged.Signature = newPhone(t).sign(t, Proof(harbour, forged.Challenge, phone.public()))
	elsewhere := d.asks(phone, "ada")
	elsewhere.Signature = phone.sign(t, Proof(hill, elsewhere.Challenge, phone.public()))
	made := d.asks(phone, "ada")
	made.Challenge = make([]byte, 32)
	made.Signature, made.Attestation = phone.sign(t, Proof(harbour, made.Challenge, phone.public())), nil
	late := d.asks(phone, "ada")
	d.clock.move(ChallengeTime)
	for name, r := range map[string]Registration{"another key's signature": forged, "for another tenant": elsewhere, "a challenge of its own": made, "late": late} {
		_, err := d.register(r)
		d.refuses(name, err, ErrProof)
	}
	first := d.asks(phone, "ada")
	x := d.bind(first)
	if again := d.bind(first); again.ID != x.ID { // the answer was lost
		t.Errorf("registered twice: %v, %v", x.ID, again.ID)
	}
	// A challenge is good for one device, an attestation for one key.
	second := newPhone(t)
	replay := first
	replay.PublicKey, replay.Attestation = second.public(), nil
	replay.Signature = second.sign(t, Proof(harbour, first.Challenge, second.public()))
	_, err := d.register(replay)
	d.refuses("a used challenge", err, ErrProof)
	borrowed := d.asks(second, "eve")
	borrowed.Attestation = d.asks(phone, "ada").Attestation
	_, err = d.register(borrowed)
	d.refuses("a borrowed attestation", err, ErrAttest)
	_, err = d.register(d.asks(phone, "eve"))
	d.refuses("somebody else's phone", err, ErrHeld)
	for name, r := range map[string]Registration{
		"a band of nobody":       {Kind: Band, Suite: ct1.SuiteEd25519, PublicKey: newBand(1).public()},
		"a phone of nobody":      {Kind: Phone, Suite: ct1.SuiteP256, PublicKey: phone.public()},
		"no kind":                {Contract: "pay", RiderRef: "ada", Suite: ct1.SuiteP256, PublicKey: phone.public()},
		"another suite":          {Kind: Phone, Contract: "pay", RiderRef: "ada", Suite: ct1.SuiteEd25519, PublicKey: phone.public()},
		"a band that is vouched": {Kind: Band, Phone: x.ID, Vouched: true, Suite: ct1.SuiteEd25519, PublicKey: newBand(1).public()},
		"a phone with a chain":   {Kind: Phone, Contract: "pay", RiderRef: "ada", Suite: 4, PublicKey: make([]byte, 16)},
	} {
		_, err := d.register(r)
		d.refuses(name, err, ErrDevice)
	}
}

func TestKeyOutsideHardwareGetsLessOrNothing(t *testing.T) {
	d := open(t)
	phone := newPhone(t)
	r := d.asks(phone, "ada")
	r.Attestation = nil
	x := d.bind(r)
	_, err := d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("no proof", err, ErrUnproven)
	d.publish(func(p *Policy) { p.Unproven = &Limits{Cap: 5, Taps: 3, TTLHours: 6, WindowSeconds: 20} })
	if c := d.shows(phone, d.renew(x), 1); c.Cap != 5 || c.Taps != 3 {
		t.Errorf("issued %+v", c)
	}
	other := d.asks(newPhone(t), "eve")
	other.Attestation, other.Vouched = nil, true
	if y := d.bind(other); y.Assurance != Vouched || d.renew(y).Rider.Issuer != 120 {
		t.Errorf("vouched for: %+v", y)
	}
}

// The thief of a band cannot bind it to a phone of his own.
func TestBandIsBoundToOnePhone(t *testing.T) {
	d := open(t)
	ada, eve := d.bind(d.asks(newPhone(t), "ada")), d.bind(d.asks(newPhone(t), "eve"))
	band := newBand(1)
	x := d.bind(d.asksBand(band, ada.ID))
	if x.Account != ada.Account {
		t.Errorf("the band rides on %v, its phone on %v", x.Account, ada.Account)
	}
	c := d.shows(band, d.renew(x), 1)
	if c.Cap != 20 || c.Taps != 10 || c.Window != 60 || c.ExpiresAt-c.IssuedAt != 12*3600 {
		t.Errorf("issued %+v", c)
	}
	_, err := d.register(d.asksBand(band, eve.ID))
	d.refuses("while it is bound", err, ErrHeld)
	_, err = d.register(d.asksBand(newBand(2), ada.ID))
	d.refuses("one band too many", err, ErrTooMany)
	_, err = d.register(d.asksBand(newBand(2), x.ID))
	d.refuses("a band of a band", err, ErrState)

	// Lost: nobody for three days, but the owner.
	_, err = d.ReportLoss(t.Context(), "test", harbour, ada.Account, LostBand)
	d.must(err)
	_, err = d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("renewing what is lost", err, ErrState)
	d.clock.move(72*time.Hour - time.Second)
	_, err = d.register(d.asksBand(band, eve.ID))
	d.refuses("before the waiting period is over", err, ErrHeld)
	d.clock.move(time.Second)
	y := d.bind(d.asksBand(band, eve.ID))
	d.refuses("the finder has it", d.Found(t.Context(), "test", harbour, x.ID), ErrState)

	// Released: at once.
	d.must(d.Release(t.Context(), "test", harbour, y.ID))
	d.must(d.Release(t.Context(), "test", harbour, y.ID)) // again
	if z := d.bind(d.asksBand(band, ada.ID)); z.Account != ada.Account || z.ID == x.ID {
		t.Errorf("bound again as %+v", z)
	}
}

// The owner's next phone takes the band over, but not beside a phone in use.
func TestBandMovesToTheOwnersNextPhone(t *testing.T) {
	d := open(t)
	first := d.bind(d.asks(newPhone(t), "ada"))
	band := newBand(1)
	x := d.bind(d.asksBand(band, first.ID))
	d.renew(x)
	second := d.bind(d.asks(newPhone(t), "ada"))
	_, err := d.register(d.asksBand(band, second.ID))
	d.refuses("beside a phone in use", err, ErrHeld)
	d.must(d.Release(t.Context(), "test", harbour, first.ID))
	_, err = d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("a band without its phone", err, ErrState)
	y := d.bind(d.asksBand(band, second.ID))
	if y.Account != x.Account || y.ID == x.ID || y.Phone != second.ID {
		t.Errorf("bound as %+v", y)
	}
	d.renew(y)
}

func TestLossReachesTheDenyList(t *testing.T) {
	for what, lost := range map[Loss][2]bool{LostPhone: {true, false}, LostBand: {false, true}, LostBoth: {true, true}} {
		d := open(t)
		phone, other := d.bind(d.asks(newPhone(t), "ada")), d.bind(d.asks(newPhone(t), "eve"))
		band := d.bind(d.asksBand(newBand(1), phone.ID))
		issued := [2]credential.Issue{d.renew(phone), d.renew(band)}
		d.renew(other)
		for range 2 { // the second time changes nothing
			gone, err := d.ReportLoss(t.Context(), "test", harbour, phone.Account, what)
			d.must(err)
			for _, x := range gone {
				if x.State != Lost || !x.LostAt.Equal(epoch) {
					t.Errorf("lost %s: %+v", what, x)
				}
			}
		}
		denied := d.denied()
		for i, want := range lost {
			if denied[issued[i].Rider] != want {
				t.Errorf("lost %s: credential %d denied %v", what, i, !want)
			}
		}
		if n := len(denied); n != map[bool]int{true: 2, false: 1}[what == LostBoth] {
			t.Errorf("lost %s: %d denied", what, n)
		}
		_, err := d.ReportLoss(t.Context(), "test", harbour, other.Account, LostBand)
		d.refuses("a band that never was", err, ErrNoDevice)
		_, err = d.ReportLoss(t.Context(), "test", harbour, citygate.UUID{1}, LostBoth)
		d.refuses("an account of nobody", err, credential.ErrNoAccount)
		_, err = d.ReportLoss(t.Context(), "test", hill, phone.Account, LostBoth)
		d.refuses("another tenant", err, credential.ErrNoAccount)
	}
}

// What was found gets a new credential; the old one stays denied.
func TestFound(t *testing.T) {
	d := open(t)
	x := d.bind(d.asks(newPhone(t), "ada"))
	before := d.renew(x)
	_, err := d.ReportLoss(t.Context(), "test", harbour, x.Account, LostPhone)
	d.must(err)
	d.clock.move(time.Minute)
	d.must(d.Found(t.Context(), "test", harbour, x.ID))
	d.must(d.Found(t.Context(), "test", harbour, x.ID))
	after := d.renew(x)
	denied := d.denied()
	if after.Rider == before.Rider || !denied[before.Rider] || denied[after.Rider] {
		t.Errorf("before %v, after %v, denied %v", before.Rider, after.Rider, denied)
	}
}

// A key that was copied gets no further credential, whoever asks.
func TestCopiedKeyIsNotRenewed(t *testing.T) {
	d := open(t)
	x := d.bind(d.asks(newPhone(t), "ada"))
	d.in(func(tx *pg.Tx) error {
		return credential.Deny(t.Context(), tx, "test", "clone", credential.Targets{Riders: []citygate.Rider{d.renew(x).Rider}})
	})
	_, err := d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("copied", err, ErrCopied)
	_, err = d.Renew(t.Context(), "test", hill, x.ID)
	d.refuses("another tenant's device", err, ErrNoDevice)
}

// Two calls at once, and one whose signer dies, never make more than one
// credential beside the one before.
func TestRenewingAtOnceMakesOne(t *testing.T) {
	d := open(t)
	x := d.bind(d.asks(newPhone(t), "ada"))
	var inner error
	d.signer.before = func() { _, inner = d.Renew(t.Context(), "test", harbour, x.ID) }
	first := d.renew(x)
	d.refuses("a second call while the first one signs", inner, ErrInFlight)
	if again := d.renew(x); again.Rider != first.Rider {
		t.Errorf("two credentials: %v, %v", first.Rider, again.Rider)
	}
	d.clock.move(100 * time.Hour)
	var faster credential.Issue
	d.shelf.before = func() { faster = d.renew(x) }
	_, err := d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("another call was faster", err, ErrInFlight)
	if again := d.renew(x); again.Rider != faster.Rider {
		t.Errorf("two credentials: %v, %v", faster.Rider, again.Rider)
	}
	d.clock.move(100 * time.Hour)
	d.signer.fail = errors.New("sealed")
	if _, err := d.Renew(t.Context(), "test", harbour, x.ID); err == nil {
		t.Fatal("signed by a signer that fails")
	}
	d.signer.fail = nil
	_, err = d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("right after", err, ErrInFlight)
	d.clock.move(signingTime)
	d.renew(x)
	var wg sync.WaitGroup
	d.clock.move(100 * time.Hour)
	for range 6 {
		wg.Go(func() {
			if _, err := d.Renew(t.Context(), "test", harbour, x.ID); err != nil && !errors.Is(err, ErrInFlight) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d.in(func(tx *pg.Tx) error {
		held, err := credential.OfDevices(t.Context(), tx, []citygate.UUID{x.ID})
		alive := 0
		for _, h := range held[x.ID] {
			if h.PartA != nil {
				alive++
			}
		}
		if alive > 2 {
			t.Errorf("%d credentials are alive", alive)
		}
		return err
	})
}

func TestConcessionEndsWithItsProof(t *testing.T) {
	d := open(t)
	phone := newPhone(t)
	x := d.bind(d.asks(phone, "ada"))
	set := func(category string, until time.Time) error {
		return d.SetConcession(t.Context(), "test", harbour, x.Account, category, until)
	}
	d.refuses("no such concession", set("pirate", time.Time{}), ErrNoConcess)
	d.refuses("without a proof", set("student", time.Time{}), ErrNoConcess)
	d.refuses("with an old proof", set("student", epoch), ErrNoConcess)
	d.must(set("student", epoch.Add(90*time.Hour+30*time.Minute)))
	issue := d.renew(x)
	if c := d.shows(phone, issue, 1); c.Product != 2 || c.ExpiresAt-c.IssuedAt != 90*3600 {
		t.Errorf("issued %+v", c)
	}
	d.clock.move(90 * time.Hour)
	if c := d.shows(phone, d.renew(x), 1); c.Product != 1 || c.ExpiresAt-c.IssuedAt != 168*3600 {
		t.Errorf("after the proof: %+v", c)
	}
	d.must(set("staff", time.Time{}))
	d.clock.move(100 * time.Hour)
	if c := d.shows(phone, d.renew(x), 1); c.Product != 9 {
		t.Errorf("staff: %+v", c)
	}
}

// What a thief of phone and band can ride for stays under the figure that the
// policy states, however he times his renewals, and comes near it.
func TestLargestLoss(t *testing.T) {
	policy := usual("")
	unit := citygate.Money{Minor: 100, Currency: "CNY"}
	for _, unreported := range []time.Duration{0, time.Minute, 5 * time.Hour, 40 * time.Hour} {
		bound := policy.LargestLoss(unit, unreported).Minor
		var worst int64
		for start := range 96 { // the age of the oldest credential at the theft, in steps of its life
			var loss int64
			for _, l := range []Limits{policy.Phone, policy.Band} {
				life := time.Duration(l.TTLHours) * time.Hour
				loss += int64(played(life, unreported, life*time.Duration(start)/96)) * int64(l.Taps) * int64(l.Cap) * unit.Minor
			}
			worst = max(worst, loss)
		}
		if worst > bound || worst*2 < bound {
			t.Errorf("unreported for %v: a thief rides for %d, the policy states %d", unreported, worst, bound)
		}
	}
	if got := policy.LargestLoss(unit, 0); got.Minor != (2*40*60+2*10*20)*100 || got.Currency != "CNY" {
		t.Errorf("reported at once: %+v", got)
	}
}

// played counts the credentials of one device that are alive at some time from
// the theft to the report, if it is renewed as soon as that is possible, and the
// first one was issued since before the theft.
func played(life, unreported, since time.Duration) int {
	n := 0
	for issued := -since; issued <= unreported; issued += life/2 + 1 {
		if issued+life > 0 {
			n++
		}
	}
	return n
}

func TestPolicyIsBounded(t *testing.T) {
	d := open(t)
	for name, change := range map[string]func(*Policy){
		"no cap":              func(p *Policy) { p.Phone.Cap = 0 },
		"no tap budget":       func(p *Policy) { p.Band.Taps = 0 },
		"band above phone":    func(p *Policy) { p.Band.Cap = p.Phone.Cap + 1 },
		"band for longer":     func(p *Policy) { p.Band.TTLHours = p.Phone.TTLHours + 1 },
		"longer than a code":  func(p *Policy) { p.Phone.TTLHours = 4465 },
		"a blink":             func(p *Policy) { p.Phone.WindowSeconds = 4 },
		"weaker has more":     func(p *Policy) { u := p.Phone; u.Taps++; p.Unproven = &u },
		"concession twice":    func(p *Policy) { p.Concessions = append(p.Concessions, p.Concessions[0]) },
		"no waiting period":   func(p *Policy) { p.WaitAfterLossHours = 0 },
		"roots that are none": func(p *Policy) { p.AttestationRoots += "x" },
	} {
		p := usual(d.maker.pem())
		change(&p)
		d.refuses(name, p.Check(), ErrPolicy)
	}
	p := usual(d.maker.pem())
	p.Unproven = &Limits{Cap: 1, Taps: 1, TTLHours: 1, WindowSeconds: 5}
	d.in(func(tx *pg.Tx) error {
		stored, err := Publish(t.Context(), tx, "test", p)
		if err != nil {
			return err
		}
		back, err := Latest(t.Context(), tx)
		one, _ := json.Marshal(stored)
		two, _ := json.Marshal(back)
		if err != nil || !bytes.Equal(one, two) || back.Version != 2 {
			t.Errorf("stored %s, read %s, %v", one, two, err)
		}
		return nil
	})
	if _, err := d.Register(t.Context(), "test", hill, Registration{}); err == nil {
		t.Error("registered nothing")
	}
	err := d.DB.InTenant(t.Context(), hill, func(tx *pg.Tx) error { _, err := Latest(t.Context(), tx); return err })
	d.refuses("a tenant without a policy", err, ErrNoPolicy)
}
