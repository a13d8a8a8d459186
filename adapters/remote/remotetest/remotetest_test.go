package remotetest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/remote"
)

func TestAProgramPassesTheKit(t *testing.T) {
	report, err := Examine(t.Context(), serve(t, newProduct(), nil))
	if err != nil {
		t.Fatal(err)
	}
	if !report.Conforms() {
		var table strings.Builder
		_ = report.WriteTable(&table)
		t.Errorf("the kit found faults:\n%s", table.String())
	}
	if report.Skipped > 0 {
		t.Logf("%d cases do not apply", report.Skipped)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "adapter-tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range unlisted(string(page), report) {
		t.Error(fault)
	}
	if report.Findings = append(report.Findings[1:], drivertest.Finding{Case: "another"}); len(unlisted(string(page), report)) != 2 {
		t.Error("a case that is gone and one that is new are not noticed")
	}
}

var listed = regexp.MustCompile("`([a-z_]+)`")

// unlisted says which cases the tutorial's table has not exactly once, and which of its
// names are no cases.
func unlisted(page string, report drivertest.Report) (faults []string) {
	times := map[string]int{}
	for row := range strings.Lines(page) {
		if cells := strings.Split(row, "|"); len(cells) == 5 {
			for _, name := range listed.FindAllStringSubmatch(cells[2], -1) {
				times[name[1]]++
			}
		}
	}
	for _, f := range report.Findings {
		if times[f.Case] != 1 {
			faults = append(faults, fmt.Sprintf("the tutorial lists %s %d times", f.Case, times[f.Case]))
		}
		delete(times, f.Case)
	}
	for name := range times {
		faults = append(faults, "the tutorial lists "+name+", which is no case")
	}
	return faults
}

// forgetful takes every debit for a new one.
func TestTheKitFindsAFaultOverTheWire(t *testing.T) {
	p := newProduct()
	target := serve(t, p, func(served *remote.Program) { served.Test = forgetful{p} })
	report, err := Examine(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(report.Findings, func(f drivertest.Finding) bool { return f.Case == "amounts" })
	if report.Conforms() || report.Findings[at].Verdict != drivertest.Failed {
		t.Errorf("a test system that hides what moved passes: %+v", report.Findings[at])
	}
	var j, x bytes.Buffer
	if err := errors.Join(report.WriteJSON(&j), report.WriteJUnit(&x)); err != nil {
		t.Fatal(err)
	}
	var back drivertest.Report
	if err := json.Unmarshal(j.Bytes(), &back); err != nil || back.Failed != report.Failed || back.Adapter != "toy" {
		t.Errorf("conformance.json: %+v, %v", back, err)
	}
	var suite struct {
		Failures int `xml:"failures,attr"`
	}
	if err := xml.Unmarshal(x.Bytes(), &suite); err != nil || suite.Failures != report.Failed {
		t.Errorf("JUnit: %+v, %v", suite, err)
	}
}

// A program that cannot be asked at all, for a configuration that is not its, a secret
// that is missing or a key that is another's, has no report: not one case was tried.
func TestWhatCannotBeAskedHasNoReport(t *testing.T) {
	good := serve(t, newProduct(), nil)
	for name, change := range map[string]func(*Target){
		"configuration": func(c *Target) { c.Config = json.RawMessage(`{"merchant":7,"x":1}`) },
		"secret":        func(c *Target) { c.Secrets = nil },
		"key":           func(c *Target) { c.Signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) },
		"program's key": func(c *Target) {
			c.Keys = []remote.ProgramKey{{ID: c.Keys[0].ID, Public: make([]byte, ed25519.PublicKeySize)}}
		},
	} {
		target := good
		change(&target)
		if report, err := Examine(t.Context(), target); err == nil || len(report.Findings) > 0 {
			t.Errorf("%s: %d findings, %v", name, len(report.Findings), err)
		}
	}
}

// A program that listens to anybody fails, case by case: each case has a program that
// takes just what the case sends, as if it had been called as it should.
func TestEveryRuleOfTheLineCatchesAProgram(t *testing.T) {
	for _, c := range lineCases {
		t.Run(c.name, func(t *testing.T) {
			var target Target
			asked := 0
			target = serveBehind(t, newProduct(), nil, func(inner http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.UserAgent() != "citygate-conformance/"+c.name {
						inner.ServeHTTP(w, r)
						return
					}
					if asked++; (c.name == "line_replayed" || c.name == "line_skewed") && asked == 1 {
						inner.ServeHTTP(w, r)
						return
					}
					if c.name == "line_skewed" { // takes nothing from after its own time
						http.Error(w, "no", http.StatusUnauthorized)
						return
					}
					if r.Method == http.MethodGet { // of health
						http.Error(w, "no", http.StatusServiceUnavailable)
						return
					}
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					l := &line{target: target, signer: target.Signer}
					r.Header.Set("Citygate-Protocol", remote.Protocol)
					if err := errors.Join(setBody(r, body, true), l.signed(r, nil, time.Now())); err != nil {
						t.Error(err)
					}
					inner.ServeHTTP(w, r)
				})
			})
			report, err := Examine(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				if failed := f.Verdict == drivertest.Failed; failed != (f.Case == c.name) || f.Rule == "" {
					t.Errorf("%s: %s %q", f.Case, f.Verdict, f.Faults)
				}
			}
		})
	}
}

type forgetful struct{ *product }

func (forgetful) Moves() ([]remote.Move, error) { return nil, nil }

func open(t *testing.T, target Target, line driver.Doer) *remote.Driver {
	t.Helper()
	m, err := remote.FetchManifest(t.Context(), http.DefaultClient, target.URL)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Open(remote.Config{
		Contract: remote.Contract{URL: target.URL, KeyID: target.KeyID, Keys: target.Keys, Manifest: m, Config: target.Config},
		Secrets:  target.Secrets, Signer: target.Signer, HTTP: line, Clock: target.Clock, Random: target.Random, NotifyURL: notifyURL,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const notifyURL = "https://gateway.example/v1/notify/http/abc"

var debit = driver.Debit{OurID: "c1", RiderRef: "ann", Amount: citygate.Money{Minor: 470, Currency: "HKD"}, TripTime: time.Unix(1, 0)}

func TestEveryAbilityTravels(t *testing.T) {
	p := newProduct()
	d := adapters.New(open(t, serve(t, p, nil), http.DefaultClient), time.Now)
	ctx := t.Context()
	if r, err := d.Submit(ctx, []driver.Debit{debit}); err != nil || r[0].Outcome != driver.Succeeded {
		t.Fatalf("Submit = %+v, %v", r, err)
	}
	if p.secret != secret {
		t.Error("the program did not get its secret")
	}
	if p.notify != notifyURL {
		t.Errorf("the program was told to have notifications sent to %q", p.notify)
	}
	reverser, ok := d.Reverser()
	if !ok {
		t.Fatal("no Reverser")
	}
	said, reason, err := reverser.Reverse(ctx, adapters.Unknown, driver.Ref{OurID: "c1", SubmittedAt: time.Now()})
	if err != nil || said != driver.ReversalRefused || reason != "paid" {
		t.Errorf("Reverse = %q, %q, %v", said, reason, err)
	}
	deny, _ := d.DenyFeed()
	if riders, err := deny.PullDeny(ctx); err != nil || !slices.Equal(riders, []string{"thief"}) {
		t.Errorf("PullDeny = %v, %v", riders, err)
	}
	push, _ := d.DenyPush()
	change := driver.DenyChange{OurID: "CHANGE1", RiderRef: "ann", CardRef: "card", Denied: true, Reason: "debt", At: time.Unix(7, 0).UTC()}
	if err := push.PushDeny(ctx, change); err != nil || len(p.pushed) != 1 || p.pushed[0] != change {
		t.Errorf("PushDeny: %v, the program has %+v", err, p.pushed)
	}
	feed, _ := d.KeyFeed()
	if keys, err := feed.PullKeys(ctx); err != nil || len(keys) != 1 || keys[0].ID != 7 || !bytes.Equal(keys[0].Material, []byte{1, 2}) {
		t.Errorf("PullKeys = %v, %v", keys, err)
	}
	raw := open(t, serve(t, p, nil), http.DefaultClient)
	if s, err := raw.RiderState(ctx, driver.RiderQuestion{RiderRef: "ann"}); err != nil || s.State != driver.RiderOverdue || s.Owes.Minor != 470 {
		t.Errorf("RiderState = %+v, %v", s, err)
	}
	n := driver.Notification{Method: "POST", Target: "/n?x=1", Header: map[string][]string{"X-Toy": {"yes"}}, Body: []byte("paid c1"), At: time.Now()}
	notice, ack, err := raw.ParseNotify(ctx, n)
	if err != nil || notice.Result.OurID != "c1" || notice.Result.Outcome != driver.Succeeded || string(ack.Body) != "success" || ack.Status != 200 {
		t.Errorf("ParseNotify = %+v, %+v, %v", notice, ack, err)
	}
	n.Body = []byte("paid c2")
	if notice, ack, err := raw.ParseNotify(ctx, n); err == nil || notice.Kind != "" || ack.Status != 400 || string(ack.Body) != "fail" {
		t.Errorf("a forged notification: %+v, %+v, %v", notice, ack, err)
	}
}

// A line that changes, forges or repeats is never believed and never repeats an
// effect.
func TestALineThatLies(t *testing.T) {
	for name, lie := range map[string]func(*http.Response, []byte) []byte{
		"status":       func(r *http.Response, b []byte) []byte { r.StatusCode = 422; return b },
		"body":         func(_ *http.Response, b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"no signature": func(r *http.Response, b []byte) []byte { r.Header.Del("Signature"); return b },
		"key id":       func(r *http.Response, b []byte) []byte { swap(r, "toy-1", "toy-2"); return b },
		"digest left":  func(r *http.Response, b []byte) []byte { return []byte(`{"results":[]}`) },
		"a proxy's page": func(r *http.Response, _ []byte) []byte {
			r.StatusCode, r.Header = 502, http.Header{}
			return []byte("<html>")
		},
		"a forged not_performed": func(r *http.Response, _ []byte) []byte {
			r.StatusCode, r.Header = 503, http.Header{}
			return []byte(`{"code":"not_performed"}`)
		},
	} {
		p := newProduct()
		d := open(t, serve(t, p, nil), lying{lie})
		r, err := d.Submit(t.Context(), []driver.Debit{debit})
		if err == nil || errors.Is(err, driver.ErrNotPerformed) {
			t.Errorf("%s: %+v, %v; want an open outcome", name, r, err)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the secret", name)
		}
		if moves, _ := p.Moves(); len(moves) != 1 {
			t.Errorf("%s: the far side moved %v", name, moves)
		}
	}
}

func swap(r *http.Response, old, with string) {
	r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), old, with, 1))
}

type lying struct {
	lie func(*http.Response, []byte) []byte
}

func (l lying) Do(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(l.lie(resp, body)))
	return resp, nil
}

// The same signed request twice: the program refuses the second.
type replaying struct{ second *http.Response }

func (r *replaying) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	send := func() (*http.Response, error) {
		again := req.Clone(req.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		return http.DefaultClient.Do(again)
	}
	first, err := send()
	if err != nil {
		return nil, err
	}
	if r.second, err = send(); err != nil {
		return nil, err
	}
	return first, nil
}

func TestWhoIsNotTheGatewayGetsNothing(t *testing.T) {
	p := newProduct()
	target := serve(t, p, nil)
	line := &replaying{}
	if _, err := open(t, target, line).Query(t.Context(), driver.Ref{OurID: "c1"}); err != nil {
		t.Fatal(err)
	}
	if line.second.StatusCode != http.StatusUnauthorized {
		t.Errorf("a replayed request got status %d", line.second.StatusCode)
	}
	_ = line.second.Body.Close()
	stranger := target
	stranger.Signer = newParty(t, "x").private
	if r, err := open(t, stranger, http.DefaultClient).Submit(t.Context(), []driver.Debit{debit}); err == nil {
		t.Errorf("a stranger's debit: %+v", r)
	}
	late := target
	late.Clock = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	if r, err := open(t, late, http.DefaultClient).Submit(t.Context(), []driver.Debit{debit}); err == nil {
		t.Errorf("a request from ten minutes ago: %+v", r)
	}
	resp, err := http.Post(target.URL+"/v1/submit", "application/json", strings.NewReader(`{"contract":{"config":{}},"debits":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("an unsigned request got status %d", resp.StatusCode)
	}
	if moves, _ := p.Moves(); len(moves) != 0 {
		t.Errorf("the far side moved %v", moves)
	}
}
