package issuance

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"
)

// published is the example of the format's documentation, with other names.
const published = `{
  "entries": {
    "2c8cdddfd5e03bfc": {"status": "REVOKED", "expires": "2020-11-13", "reason": "KEY_COMPROMISE", "comment": "Key stored on unsecure system"},
    "c8966fcb2fbb0d7a": {"status": "SUSPENDED", "reason": "SOFTWARE_FLAW", "comment": "Bug in keystore"},
    "a": {"status": "REVOKED"}
  }
}
`

func TestParseStatusList(t *testing.T) {
	list, err := ParseStatusList([]byte(published))
	if err != nil || len(list) != 3 || list["2c8cdddfd5e03bfc"] != (Entry{"REVOKED", "KEY_COMPROMISE", "2020-11-13", "Key stored on unsecure system"}) || list["a"].Status != "REVOKED" {
		t.Fatalf("%+v, %v", list, err)
	}
	real, err := os.ReadFile("testdata/android-status.json")
	if err != nil {
		t.Fatal(err)
	}
	if list, err = ParseStatusList(real); err != nil || len(list) != 5 || list["cc66e9a93713b6e643b26c15879786f7"].Status != "SUSPENDED" {
		t.Errorf("Google's own sample: %+v, %v", list, err)
	}
	for name, raw := range map[string]string{
		"nothing":              ``,
		"cut off":              published[:len(published)-4],
		"a list":               `[]`,
		"no entries":           `{}`,
		"entries of no object": `{"entries":[]}`,
		"null":                 `{"entries":null}`,
		"entries twice":        `{"entries":{"a":{"status":"REVOKED"}},"entries":{}}`,
		"other letters":        `{"Entries":{}}`,
		"a field more":         `{"entries":{},"signature":"x"}`,
		"something behind":     `{"entries":{}}{}`,
		"a leading zero":       `{"entries":{"0a":{"status":"REVOKED"}}}`,
		"capitals":             `{"entries":{"AB":{"status":"REVOKED"}}}`,
		"no serial":            `{"entries":{"":{"status":"REVOKED"}}}`,
		"colons":               `{"entries":{"a:b":{"status":"REVOKED"}}}`,
		"serial twice":         `{"entries":{"ab":{"status":"REVOKED"},"ab":{"status":"SUSPENDED"}}}`,
		"no status":            `{"entries":{"ab":{"reason":"SUPERSEDED"}}}`,
		"unknown status":       `{"entries":{"ab":{"status":"VALID"}}}`,
		"status in small":      `{"entries":{"ab":{"status":"revoked"}}}`,
		"status twice":         `{"entries":{"ab":{"status":"REVOKED","status":"SUSPENDED"}}}`,
		"status of no text":    `{"entries":{"ab":{"status":1}}}`,
		"unknown reason":       `{"entries":{"ab":{"status":"REVOKED","reason":"BORED"}}}`,
		"no day":               `{"entries":{"ab":{"status":"REVOKED","expires":"2020-13-01"}}}`,
		"a long comment":       `{"entries":{"ab":{"status":"REVOKED","comment":"` + strings.Repeat("é", commentMax+1) + `"}}}`,
		"unknown field":        `{"entries":{"ab":{"status":"REVOKED","until":"x"}}}`,
		"no UTF-8":             "{\"entries\":{\"ab\":{\"status\":\"REVOKED\",\"comment\":\"\xff\"}}}",
	} {
		if list, err := ParseStatusList([]byte(raw)); !errors.Is(err, ErrStatusList) {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

// Whatever a list says, what is read of it is what it says: package json reads the
// same of it, every serial is as certificates are asked for, and it can be written
// and read again.
func FuzzStatusList(f *testing.F) {
	f.Add([]byte(published))
	f.Add([]byte(`{"entries":{"ab":{"status":"REVOKED","comment":"\u00e9\ud83d\ude00"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := ParseStatusList(raw)
		if err != nil {
			if !errors.Is(err, ErrStatusList) {
				t.Error(err)
			}
			return
		}
		var plain struct {
			Entries map[string]struct{ Status, Reason, Expires, Comment string }
		}
		if err := json.Unmarshal(raw, &plain); err != nil || len(plain.Entries) != len(list) {
			t.Fatalf("%d entries, package json has %d, %v", len(list), len(plain.Entries), err)
		}
		for serial, e := range list {
			n, ok := new(big.Int).SetString(serial, 16)
			if !ok || n.Text(16) != serial {
				t.Errorf("serial %q", serial)
			}
			if Entry(plain.Entries[serial]) != e {
				t.Errorf("%s: %+v, package json has %+v", serial, e, plain.Entries[serial])
			}
		}
	})
}

func TestStatusesAge(t *testing.T) {
	var none *Statuses
	if none.State(epoch) != NoList || none.Check([]string{"a"}) != nil || new(Statuses).State(epoch) != NoList {
		t.Error("a list out of nothing")
	}
	s := &Statuses{MaxAge: time.Hour}
	if n, err := s.Put([]byte(published), epoch); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	for after, want := range map[time.Duration]Revocation{
		0: Fresh, time.Hour: Fresh, time.Hour + time.Second: Stale, -clockSlack: Fresh, -clockSlack - time.Second: Stale,
	} {
		if got := s.State(epoch.Add(after)); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	// A broken list replaces nothing and makes nothing younger.
	if _, err := s.Put([]byte(`{"entries":{`), epoch.Add(time.Hour)); !errors.Is(err, ErrStatusList) {
		t.Error(err)
	}
	if s.State(epoch.Add(2*time.Hour)) != Stale {
		t.Error("a broken list made it younger")
	}
	if err := s.Check([]string{"1", "c8966fcb2fbb0d7a"}); !errors.Is(err, ErrRevoked) || !strings.Contains(err.Error(), "SUSPENDED SOFTWARE_FLAW") {
		t.Errorf("%v: an old list still revokes", err)
	}
}

// Each certificate of a real phone's chain can be the one that is revoked.
func TestRevokedRealChain(t *testing.T) {
	chain, roots, key, at := realChain(t)
	found, err := roots.Check(chain, []byte("challenge"), key, at)
	if err != nil || len(found.Serials) != len(chain) {
		t.Fatalf("%+v, %v", found, err)
	}
	for i, serial := range found.Serials {
		for _, status := range statuses {
			var s Statuses
			if _, err := s.Put(fmt.Appendf(nil, `{"entries":{"beef":{"status":"REVOKED"},%q:{"status":%q}}}`, serial, status), at); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(found.Serials); !errors.Is(err, ErrRevoked) {
				t.Errorf("certificate %d is %s: %v", i, status, err)
			}
		}
	}
	// The root counts also if the device does not send it.
	if short, err := roots.Check(chain[:4], []byte("challenge"), key, at); err != nil || len(short.Serials) != len(chain) {
		t.Errorf("without the root: %+v, %v", short, err)
	}
}

// The maker's certificate in the chains of tests.
const makersSerial = `{"entries":{"1":{"status":"REVOKED","reason":"KEY_COMPROMISE"}}}`

func TestRevokedMakerRegistersNobody(t *testing.T) {
	d := open(t)
	d.list(makersSerial)
	phone := newPhone(t)
	r := d.asks(phone, "ada")
	_, err := d.register(r)
	d.refuses("a revoked maker", err, ErrRevoked)
	r.Attestation = nil // the refusal used nothing up
	if x := d.bind(r); x.Assurance != Unproven {
		t.Errorf("bound %+v", x)
	}
}

// A list that is not there or too old takes the assurance, or the device if the
// issuer's policy says so.
func TestAttestationWithoutFreshList(t *testing.T) {
	d := open(t)
	kept := d.Statuses
	if x := d.bind(d.asks(newPhone(t), "ada")); x.Assurance != Hardware || x.Evidence.Android.Revocation != Fresh {
		t.Errorf("with a fresh list: %+v", x)
	}
	for name, c := range map[string]struct {
		statuses *Statuses
		want     Revocation
	}{"none": {nil, NoList}, "old": {kept, Stale}} {
		d.Statuses = c.statuses
		d.clock.move(kept.MaxAge + time.Hour)
		phone := newPhone(t)
		d.publish(func(p *Policy) { p.FreshStatus = true })
		r := d.asks(phone, name)
		_, err := d.register(r)
		d.refuses(name, err, ErrStatus)
		d.publish(func(*Policy) {})
		x := d.bind(r)
		if x.Assurance != Vouched || x.Evidence.Android.Revocation != c.want {
			t.Errorf("%s: %+v", name, x)
		}
		if again := d.bind(r); again.Assurance != Vouched || again.Evidence.Android == nil || again.Evidence.Android.Revocation != c.want {
			t.Errorf("%s, asked again: %+v", name, again)
		}
	}
}

// A maker's key that is revoked later takes the limits of hardware from the
// devices it attested, from their next credential on.
func TestRevokedAfterRegistration(t *testing.T) {
	d := open(t)
	phone := newPhone(t)
	x := d.bind(d.asks(phone, "ada"))
	had := d.renew(x)
	d.list(makersSerial)
	if again := d.renew(x); again.Rider != had.Rider {
		t.Error("another credential before half of its life")
	}
	d.clock.move(85 * time.Hour)
	_, err := d.Renew(t.Context(), "test", harbour, x.ID)
	d.refuses("a revoked maker", err, ErrRevoked)
	d.publish(func(p *Policy) { p.Unproven = &Limits{Cap: 5, Taps: 3, TTLHours: 6, WindowSeconds: 20} })
	if c := d.shows(phone, d.renew(x), 1); c.Cap != 5 || c.Taps != 3 {
		t.Errorf("issued %+v", c)
	}
	d.list(`{"entries":{}}`) // it was suspended, and is not any more
	d.clock.move(4 * time.Hour)
	if c := d.shows(phone, d.renew(x), 1); c.Cap != 60 {
		t.Errorf("issued %+v", c)
	}
}
