package wechatpay_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
)

// A said is an answer of a scripted platform, each part of which a test can spoil.
type said struct {
	status                   int
	body, covered            string
	at                       time.Time
	nonce, serial, signature string
	key                      *rsa.PrivateKey
	twice                    bool
}

func (s said) write(w http.ResponseWriter) {
	text := fmt.Sprintf("%d\n%s\n%s\n", s.at.Unix(), s.nonce, s.covered)
	digest := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	h := w.Header()
	set := func(name, value string) {
		if value != "-" {
			h.Set(name, value)
		}
	}
	set("Wechatpay-Timestamp", fmt.Sprint(s.at.Unix()))
	set("Wechatpay-Nonce", s.nonce)
	set("Wechatpay-Serial", s.serial)
	if s.signature == "" {
		s.signature = base64.StdEncoding.EncodeToString(sig)
	}
	set("Wechatpay-Signature", strings.Replace(s.signature, "%", base64.StdEncoding.EncodeToString(sig), 1))
	if s.twice {
		h.Add("Wechatpay-Serial", "PUB_KEY_ID_2")
	}
	w.WriteHeader(s.status)
	_, _ = w.Write([]byte(s.body))
}

// scripted is a contract with a platform that answers every call as change says,
// and counts how often its certificates are asked for.
func scripted(t *testing.T, body string, change func(*said)) (*world, *int) {
	t.Helper()
	keys(t)
	asked := new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/certificates") {
			*asked++
			http.Error(w, "none", http.StatusInternalServerError)
			return
		}
		s := said{status: http.StatusOK, body: body, covered: body, at: start, nonce: "593BEC0C930BF1AFEB40B4A08C8FB242", serial: wechatpaysim.PublicKeyID, key: publicKey}
		if change != nil {
			change(&s)
		}
		s.write(w)
	}))
	t.Cleanup(server.Close)
	w := newWorld(t, wechatpay.Ride, nil)
	w.config.Base = server.URL
	var err error
	if w.provider, err = wechatpay.New(w.config); err != nil {
		t.Fatal(err)
	}
	return w, asked
}

const rideAnswer = `{"out_trade_no":"a","transaction_id":"42","trade_state":"%s","amount":{"total":100,"currency":"CNY"}}`

// An answer is believed only when the platform's signature holds over the bytes
// that came; nothing else may ever become a decline or a success.
func TestUnprovenAnswersAreUnknown(t *testing.T) {
	success := fmt.Sprintf(rideAnswer, "SUCCESS")
	refused := `{"code":"NOT_ENOUGH","message":"no money"}`
	for name, change := range map[string]func(*said){
		"no signature":             func(s *said) { s.signature = "-" },
		"no serial":                func(s *said) { s.serial = "-" },
		"no nonce":                 func(s *said) { s.nonce = "-" },
		"signed by us":             func(s *said) { s.key = merchantKey },
		"signed by another key":    func(s *said) { s.key = platformKey },
		"one byte more is covered": func(s *said) { s.covered += " " },
		"one byte of the body": func(s *said) {
			s.body = strings.Replace(s.body, "42", "43", 1)
			s.body = strings.Replace(s.body, "NOT", "NOU", 1)
		},
		"another key id":            func(s *said) { s.serial = "PUB_KEY_ID_0114000000000000000000000000000002" },
		"an id with a byte flipped": func(s *said) { s.serial = strings.Replace(s.serial, "1", "0", 1) },
		"six minutes old":           func(s *said) { s.at = start.Add(-6 * time.Minute) },
		"of the future":             func(s *said) { s.at = start.Add(6 * time.Minute) },
		"a probe":                   func(s *said) { s.signature = "WECHATPAY/SIGNTEST/%" },
		"a signature of nothing":    func(s *said) { s.signature = "AAAA" },
		"two serials":               func(s *said) { s.twice = true },
		"cut short":                 func(s *said) { s.body = s.body[:len(s.body)/2] },
		"HTTP 500":                  func(s *said) { s.status = http.StatusInternalServerError },
		"HTTP 502":                  func(s *said) { s.status = http.StatusBadGateway; s.body, s.signature = "<html>", "-" },
	} {
		for _, body := range []string{success, refused} {
			w, _ := scripted(t, body, func(s *said) {
				if body == refused {
					s.status = http.StatusForbidden
				}
				change(s)
			})
			r, err := w.submit(t, w.debit("a", 100))
			if err == nil || r.Outcome != driver.Unknown || errors.Is(err, driver.ErrNotPerformed) {
				t.Errorf("%s: %q, %v; want an open error", name, r.Outcome, err)
			}
			if q, err := w.provider.Query(t.Context(), ref(w.debit("a", 100))); err == nil {
				t.Errorf("%s: Query = %q; want an error", name, q.Outcome)
			}
		}
	}
	for body, want := range map[string]driver.Outcome{success: driver.Succeeded, refused: driver.Declined} {
		w, _ := scripted(t, body, func(s *said) {
			if body == refused {
				s.status = http.StatusForbidden
			}
		})
		if r, err := w.submit(t, w.debit("a", 100)); err != nil || r.Outcome != want {
			t.Errorf("unspoilt: %q, %v; want %q", r.Outcome, err, want)
		}
	}
}

// An answer about another order or amount is no answer, however well it is signed.
func TestAnswersOfSomethingElse(t *testing.T) {
	for name, body := range map[string]string{
		"another order":         strings.Replace(fmt.Sprintf(rideAnswer, "SUCCESS"), `"a"`, `"b"`, 1),
		"another order failed":  `{"out_trade_no":"b","trade_state":"PAY_FAIL"}`,
		"another amount":        strings.Replace(fmt.Sprintf(rideAnswer, "SUCCESS"), "100", "101", 1),
		"another amount failed": strings.Replace(fmt.Sprintf(rideAnswer, "PAY_FAIL"), "100", "101", 1),
		"another currency":      strings.Replace(fmt.Sprintf(rideAnswer, "SUCCESS"), "CNY", "HKD", 1),
		"no amount":             `{"out_trade_no":"a","transaction_id":"42","trade_state":"SUCCESS"}`,
		"no order":              `{"trade_state":"SUCCESS","amount":{"total":100}}`,
	} {
		w, _ := scripted(t, body, nil)
		if r, err := w.submit(t, w.debit("a", 100)); err == nil || errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: Submit = %+v, %v; want an open error", name, r, err)
		}
		if r, err := w.provider.Query(t.Context(), ref(w.debit("a", 100))); err == nil {
			t.Errorf("%s: Query = %+v; want an error", name, r)
		}
	}
}

// A signature that is meant to fail causes nothing else; a made-up serial causes
// one look at the certificates and not one a call.
func TestProbesAndStrangersCauseNoStorm(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*said)
		asked  int
	}{
		"probe":            {func(s *said) { s.signature, s.serial = "WECHATPAY/SIGNTEST/%", "0A0B" }, 0},
		"public key id":    {func(s *said) { s.serial = "PUB_KEY_ID_9" }, 0},
		"serial":           {func(s *said) { s.serial = "0A0B" }, 1},
		"no serial at all": {func(s *said) { s.serial = "rubbish!" }, 0},
		"stale":            {func(s *said) { s.serial, s.at = "0A0B", start.Add(-time.Hour) }, 0},
	} {
		w, asked := scripted(t, fmt.Sprintf(rideAnswer, "SUCCESS"), c.change)
		for range 20 {
			if _, err := w.submit(t, w.debit("a", 100)); err == nil || errors.Is(err, driver.ErrNotPerformed) {
				t.Fatalf("%s: %v; want an open error", name, err)
			}
		}
		if *asked != c.asked {
			t.Errorf("%s: the certificates were asked for %d times; want %d", name, *asked, c.asked)
		}
		if c.asked > 0 {
			w.clock.add(time.Minute)
			_, _ = w.submit(t, w.debit("a", 100)) // stale by now only after five minutes
			if *asked != c.asked+1 {
				t.Errorf("%s: a minute later asked %d times; want %d", name, *asked, c.asked+1)
			}
		}
	}
}

// The platform changes its certificate, and signs with certificate and public key
// by turns.
func TestKeysChange(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.ByCertificate = true })
	w.pay(t, w.debit("first", 100)) // by a certificate that is not held: fetched
	w.pay(t, w.debit("second", 100))
	if n := w.http.of("/v3/certificates"); n != 1 {
		t.Errorf("the certificates were asked for %d times; want once", n)
	}
	if err := w.sim.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.submit(t, w.debit("third", 100)); err == nil {
		t.Error("an answer under a new certificate was believed without looking for it")
	}
	w.clock.add(time.Minute)
	if r, err := w.provider.Query(t.Context(), ref(w.debit("third", 100))); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("a minute later: %q, %v; want succeeded", r.Outcome, err)
	}
	w.config.AnswerKey = wechatpaysim.PublicKeyID
	p, err := wechatpay.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	before := w.http.of("/v3/certificates")
	if _, err := p.Query(t.Context(), ref(w.debit("third", 100))); err != nil || w.http.of("/v3/certificates") != before {
		t.Errorf("an answer was asked for under the public key: %v", err)
	}
}

// A certificate that is over proves nothing, although the platform still lists it.
func TestCertificatesEnd(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, func(s *wechatpaysim.Config, _ *wechatpay.Config) { s.ByCertificate = true })
	w.pay(t, w.debit("first", 100))
	w.clock.set(start.AddDate(20, 0, 0))
	if r, err := w.provider.Query(t.Context(), ref(w.debit("first", 100))); err == nil {
		t.Errorf("twenty years later: %+v", r)
	}
}

// What the platform's certificates are sealed with decides whose they are.
func TestForeignCertificatesAreRefused(t *testing.T) {
	w := newWorld(t, wechatpay.Ride, func(s *wechatpaysim.Config, _ *wechatpay.Config) {
		s.ByCertificate = true
		s.Merchants[0].APIv3Key = []byte("another-apiv3-key-of-32-bytes-xx")
	})
	if r, err := w.submit(t, w.debit("a", 100)); err == nil || errors.Is(err, driver.ErrNotPerformed) {
		t.Errorf("sealed with another key: %+v, %v; want an open error", r, err)
	}
}

// What the simulator refuses: a byte of any part that is signed.
func TestChangedRequestsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"path":      func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/a", "/b", 1) },
		"query":     func(r *http.Request) { r.URL.RawQuery = "x=1" },
		"method":    func(r *http.Request) { r.Method = http.MethodHead },
		"nonce":     header(`nonce_str="`),
		"timestamp": header(`timestamp="`),
		"merchant":  header(`mchid="`),
		"serial":    header(`serial_no="`),
		"signature": header(`signature="`),
		"body": func(r *http.Request) {
			r.Body = http.NoBody
		},
	} {
		w := newWorld(t, wechatpay.Ride, nil)
		w.config.HTTP = doer(func(r *http.Request) (*http.Response, error) {
			change(r)
			return http.DefaultClient.Do(r)
		})
		p, err := wechatpay.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		if name == "body" {
			_, err = p.Submit(t.Context(), []driver.Debit{w.debit("a", 100)})
		} else {
			var r driver.Result
			r, err = p.Query(t.Context(), ref(w.debit("a", 100)))
			if err == nil {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if err == nil {
			t.Errorf("%s: a changed request was answered", name)
		}
		if len(w.sim.Book()) != 0 {
			t.Errorf("%s: a changed request moved money", name)
		}
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// header flips the character behind prefix in the Authorization header.
func header(prefix string) func(*http.Request) {
	return func(r *http.Request) {
		text := []byte(r.Header.Get("Authorization"))
		i := strings.Index(string(text), prefix) + len(prefix)
		if text[i] == '1' {
			text[i] = '2'
		} else {
			text[i] = '1'
		}
		r.Header.Set("Authorization", string(text))
	}
}
