package fleet_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// A device has a key and redeems codes.
type device struct{ ed25519.PrivateKey }

func newDevice(seed string) device {
	sum := sha256.Sum256([]byte(seed))
	return device{ed25519.NewKeyFromSeed(sum[:])}
}

func (d device) public() ed25519.PublicKey { return d.Public().(ed25519.PublicKey) }

func (d device) redeem(t *testing.T, f *fleet.Fleet, tenant citygate.TenantID, code string) (fleet.Terminal, error) {
	t.Helper()
	message, _ := fleet.PairingProof(tenant, code, d.public())
	return f.Redeem(t.Context(), tenant, code, d.public(), ed25519.Sign(d.PrivateKey, message))
}

func pair(t *testing.T, f *fleet.Fleet, tenant citygate.TenantID, want fleet.Terminal) (fleet.Pairing, string) {
	t.Helper()
	p, code, err := f.Pair(t.Context(), "user:ada", tenant, want, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return p, string(code.Reveal())
}

// A code enrols one key, once; its answer comes again for that key and for no
// other, and everything that is wrong is refused alike.
func TestPairingCodeEnrolsOneDevice(t *testing.T) {
	c := &clock{at: start}
	db := pgtest.New(t, pgtest.WithClock(c.now))
	f := fleet.New(db)
	p, code := pair(t, f, metro, gate(0))
	if len(code) != 14 || strings.Count(code, "-") != 2 {
		t.Fatalf("the code is %q", code)
	}
	if n := pgtest.Owner(t, db).Count(metro, `SELECT count(*) FROM access_pairings AS p WHERE p::text LIKE '%`+code+`%'`); n != 0 {
		t.Error("the code itself is stored")
	}
	mine, thief := newDevice("mine"), newDevice("thief")
	_, err := mine.redeem(t, f, hillsid, code)
	want(t, "at another tenant", err, fleet.ErrPairing)
	message, _ := fleet.PairingProof(metro, code, mine.public())
	_, err = f.Redeem(t.Context(), metro, code, mine.public(), ed25519.Sign(thief.PrivateKey, message))
	want(t, "a key that is not the device's", err, fleet.ErrPairing)
	message, _ = fleet.PairingProof(hillsid, code, mine.public())
	_, err = f.Redeem(t.Context(), metro, code, mine.public(), ed25519.Sign(mine.PrivateKey, message))
	want(t, "a proof for another tenant", err, fleet.ErrPairing)
	for _, wrong := range []string{"", "7K2M", "0000-0000-0000", code + "0", "ÄÄÄÄ-ÄÄÄÄ-ÄÄÄÄ"} {
		_, err = mine.redeem(t, f, metro, wrong)
		want(t, wrong, err, fleet.ErrPairing)
	}

	first, err := mine.redeem(t, f, metro, strings.ToLower(strings.ReplaceAll(code, "-", " ")))
	if err != nil || first.Name != "gate 0" || first.ID == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	if n := pgtest.Owner(t, db).Count(metro, `SELECT count(*) FROM audit_log WHERE verb = 'terminal.enrol' AND actor = 'pairing:`+p.ID.Text("pcd_")+`/user:ada'`); n != 1 {
		t.Errorf("the audit log has the enrolment %d times", n)
	}
	_, err = thief.redeem(t, f, metro, code)
	want(t, "another key, after it was used", err, fleet.ErrPairing)
	c.move(2 * fleet.PairingLife)
	again, err := mine.redeem(t, f, metro, code)
	if err != nil || again.ID != first.ID {
		t.Errorf("the answer was lost, and is asked for after the code's end: %+v, %v", again, err)
	}
	_, err = thief.redeem(t, f, metro, code)
	want(t, "another key, after its end", err, fleet.ErrPairing)
}

func TestPairingCodeEnds(t *testing.T) {
	c := &clock{at: start}
	f := fleet.New(pgtest.New(t, pgtest.WithClock(c.now)))
	old, code := pair(t, f, metro, gate(0))
	c.move(fleet.PairingLife)
	_, err := newDevice("late").redeem(t, f, metro, code)
	want(t, "ten minutes later", err, fleet.ErrPairing)
	want(t, "withdrawn after its end", f.WithdrawPairing(t.Context(), actor, metro, old.ID), fleet.ErrNoPairing)

	p, code := pair(t, f, metro, gate(0))
	waiting, err := f.Pairings(t.Context(), metro)
	if err != nil || len(waiting) != 1 || waiting[0].ID != p.ID || waiting[0].Terminal.Name != "gate 0" || waiting[0].CreatedBy != "user:ada" {
		t.Errorf("%+v, %v", waiting, err)
	}
	want(t, "another tenant's", f.WithdrawPairing(t.Context(), actor, hillsid, p.ID), fleet.ErrNoPairing)
	if err := f.WithdrawPairing(t.Context(), actor, metro, p.ID); err != nil {
		t.Error(err)
	}
	_, err = newDevice("withdrawn").redeem(t, f, metro, code)
	want(t, "withdrawn", err, fleet.ErrPairing)
}

// The number that a code names can be taken in between: the device is refused,
// and the code is still good when the number is free for it.
func TestPairingCodeOfATakenNumber(t *testing.T) {
	db := pgtest.New(t)
	f := fleet.New(db)
	_, code := pair(t, f, metro, gate(7))
	if _, err := f.Enrol(t.Context(), actor, metro, gate(7), newDevice("other").public()); err != nil {
		t.Fatal(err)
	}
	_, err := newDevice("mine").redeem(t, f, metro, code)
	want(t, "number 7 is taken", err, fleet.ErrConflict)
	_, _, err = f.Pair(t.Context(), actor, metro, gate(7), rand.Reader)
	want(t, "a code for a number that is taken", err, fleet.ErrConflict)
	if n := pgtest.Owner(t, db).Count(metro, `SELECT count(*) FROM access_pairings WHERE used_at IS NOT NULL`); n != 0 {
		t.Error("a refused device used up the code")
	}
}

// Of many devices that send one code at once, one is enrolled.
func TestPairingCodeIsRacedFor(t *testing.T) {
	db := pgtest.New(t)
	f := fleet.New(db)
	_, code := pair(t, f, metro, gate(0))
	const racers = 8
	var enrolled, refused int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			_, err := newDevice(strings.Repeat("racer", i+1)).redeem(t, f, metro, code)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				enrolled++
				return
			}
			refused++
			want(t, "one of many", err, fleet.ErrPairing)
		})
	}
	all.Wait()
	if enrolled != 1 || refused != racers-1 {
		t.Errorf("%d enrolled, %d refused", enrolled, refused)
	}
	if n := pgtest.Owner(t, db).Count(metro, `SELECT count(*) FROM terminals`); n != 1 {
		t.Errorf("%d terminals", n)
	}
}

// A tenant in which a thousand codes wait gets no more until some are over.
func TestTooManyPairingCodesWait(t *testing.T) {
	c := &clock{at: start}
	db := pgtest.New(t, pgtest.WithClock(c.now))
	f := fleet.New(db)
	p, _ := pair(t, f, metro, gate(0))
	pgtest.Owner(t, db).Exec(metro, `INSERT INTO access_pairings SELECT (jsonb_populate_record(p, jsonb_build_object('pairing_id', gen_random_uuid(),
		'code_hash', '\x' || encode(sha256(n::text::bytea), 'hex')))).* FROM access_pairings AS p, generate_series(1, 999) AS n WHERE p.pairing_id = $1`, p.ID)
	_, _, err := f.Pair(t.Context(), "user:ada", metro, gate(0), rand.Reader)
	want(t, "the 1001st", err, fleet.ErrPairings)
	c.move(2 * fleet.PairingLife)
	pair(t, f, metro, gate(0))
}
