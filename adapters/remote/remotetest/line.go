package remotetest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/httpsig"
	"github.com/cashlesscity/citygate/adapters/remote"
)

// A lineCase is a rule of the protocol itself, which no adapter in this program has to
// keep: whom a program listens to.
type lineCase struct {
	name string
	rule string
	run  func(context.Context, *line) error
}

// lineCases are run beside those of drivertest. All but health and skewed make one debit
// that must not be made.
var lineCases = []lineCase{
	{"line_health", "GET /v1/health says ok to whoever asks", func(ctx context.Context, l *line) error { return l.health(ctx) }},
	{"line_unsigned", "a call without a signature is refused and moves nothing", refused(func(l *line, r *http.Request) error {
		r.Header.Del("Signature")
		r.Header.Del("Signature-Input")
		return nil
	})},
	{"line_stranger", "a call signed with a key that the program does not know is refused, whatever it calls the key", func(ctx context.Context, l *line) error { return l.stranger(ctx) }},
	{"line_tampered", "a call of which one byte was changed is refused", refused(func(l *line, r *http.Request) error {
		return setBody(r, spoilt(l.body), false)
	})},
	{"line_redigested", "a digest that was made for other content is no signature of it", refused(func(l *line, r *http.Request) error {
		return setBody(r, spoilt(l.body), true)
	})},
	{"line_other_path", "a signature for one path is none for another", refused(func(l *line, r *http.Request) error {
		return l.signed(r, func(u *http.Request) { u.URL = u.URL.JoinPath("..", "query") }, l.target.Clock())
	})},
	{"line_other_host", "a signature for another host is none for this one", refused(func(l *line, r *http.Request) error {
		return l.signed(r, func(u *http.Request) { u.Host = "elsewhere.example" }, l.target.Clock())
	})},
	{"line_old", "a call that was signed ten minutes ago is refused", refused(func(l *line, r *http.Request) error {
		return l.signed(r, nil, l.target.Clock().Add(-10*time.Minute))
	})},
	{"line_ahead", "a call that is signed for ten minutes from now is refused", refused(func(l *line, r *http.Request) error {
		return l.signed(r, nil, l.target.Clock().Add(10*time.Minute))
	})},
	{"line_skewed", "clocks differ: a call that was signed four minutes ago is taken, and one that is signed for four minutes from now", func(ctx context.Context, l *line) error { return l.skewed(ctx) }},
	{"line_replayed", "the same bytes a second time are refused", func(ctx context.Context, l *line) error { return l.replayed(ctx) }},
	{"line_version", "a call of a version that the program does not speak is refused as such", func(ctx context.Context, l *line) error { return l.version(ctx) }},
}

// A line is one case's view of the program: a debit, signed and not sent.
type line struct {
	*harness
	target Target
	name   string // of the case
	signer crypto.Signer
	held   *http.Request
	body   []byte
}

var errHeld = errors.New("held back by the kit")

// hold keeps what would be sent.
type hold struct{ l *line }

func (h hold) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	h.l.held, h.l.body = req.Clone(context.WithoutCancel(req.Context())), body
	return nil, errHeld
}

func newLine(ctx context.Context, t Target, m remote.Manifest, name string) (*line, error) {
	made, err := newHarness(ctx, t, m)
	if err != nil {
		return nil, err
	}
	h, _ := made.(*harness)
	l := &line{harness: h, target: t, name: name, signer: t.Signer}
	d, err := remote.Open(remote.Config{
		Contract: remote.Contract{URL: t.URL, KeyID: t.KeyID, Keys: t.Keys, Manifest: m, Config: t.Config},
		Secrets:  t.Secrets, Signer: t.Signer, HTTP: hold{l}, Clock: t.Clock, Random: t.Random,
	})
	if err != nil {
		return nil, err
	}
	if _, err := d.Submit(ctx, []driver.Debit{h.Debit("held", 470)}); l.held == nil {
		return nil, fmt.Errorf("a debit that cannot be made: %w", err)
	}
	return l, nil
}

// send sends the debit as change leaves it.
func (l *line) send(ctx context.Context, change func(*http.Request) error) (status int, body []byte, err error) {
	r := l.held.Clone(ctx)
	if err := errors.Join(setBody(r, l.body, false), change(r)); err != nil {
		return 0, nil, err
	}
	r.Header.Set("User-Agent", "citygate-conformance/"+l.name)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it goes
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}

// refused is a case that changes the call.
func refused(change func(*line, *http.Request) error) func(context.Context, *line) error {
	return func(ctx context.Context, l *line) error {
		status, _, err := l.send(ctx, func(r *http.Request) error { return change(l, r) })
		if err != nil {
			return err
		}
		return l.took(ctx, status)
	}
}

// took says what is wrong if the call was not refused or moved something.
func (l *line) took(ctx context.Context, status int) error {
	var faults []error
	if status < 400 || status >= 500 {
		faults = append(faults, fmt.Errorf("it was answered with status %d; want a refusal from 400 to 499", status))
	}
	moves, err := l.plain.Moves(ctx)
	if len(moves) > 0 {
		faults = append(faults, fmt.Errorf("the far side moved %v", moves))
	}
	return errors.Join(append(faults, err)...)
}

func (l *line) health(ctx context.Context) error {
	base := strings.TrimSuffix(l.target.URL, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/health", nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "citygate-conformance/"+l.name)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it goes
	var said struct {
		Status string `json:"status"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&said)
	if resp.StatusCode != http.StatusOK || err != nil || said.Status != "ok" {
		return fmt.Errorf("status %d, %q; want 200 and {\"status\":\"ok\"}", resp.StatusCode, said.Status)
	}
	return nil
}

func (l *line) stranger(ctx context.Context) error {
	_, own, err := ed25519.GenerateKey(l.target.Random)
	if err != nil {
		return err
	}
	l.signer = own
	return refused(func(l *line, r *http.Request) error { return l.signed(r, nil, l.target.Clock()) })(ctx, l)
}

// skewed sends what a clock has signed that is within the five minutes.
func (l *line) skewed(ctx context.Context) error {
	var faults []error
	for _, off := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		if err := l.plain.Reset(ctx); err != nil {
			return err
		}
		status, _, err := l.send(ctx, func(r *http.Request) error { return l.signed(r, nil, l.target.Clock().Add(off)) })
		if err != nil {
			return err
		}
		moves, err := l.plain.Moves(ctx)
		if err != nil {
			return err
		}
		if status != http.StatusOK || len(moves) != 1 {
			faults = append(faults, fmt.Errorf("signed %s from now: it was answered with status %d and the far side moved %v; want 200 and one payment", off, status, moves))
		}
	}
	return errors.Join(faults...)
}

func (l *line) replayed(ctx context.Context) error {
	same := func(*http.Request) error { return nil }
	if status, _, err := l.send(ctx, same); err != nil || status != http.StatusOK {
		return fmt.Errorf("the first time: status %d, %w", status, err)
	}
	if err := l.plain.Reset(ctx); err != nil { // so that what is made again is seen
		return err
	}
	status, _, err := l.send(ctx, same)
	if err != nil {
		return err
	}
	return l.took(ctx, status)
}

func (l *line) version(ctx context.Context) error {
	status, body, err := l.send(ctx, func(r *http.Request) error {
		r.Header.Set("Citygate-Protocol", "999")
		return l.signed(r, nil, l.target.Clock())
	})
	if err != nil {
		return err
	}
	var said struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &said) != nil || said.Code != "protocol_version" {
		err = fmt.Errorf("it was refused with the code %.32q; want protocol_version", said.Code)
	}
	return errors.Join(err, l.took(ctx, status))
}

// signed signs a call anew as it would be if change had been made to it.
func (l *line) signed(r *http.Request, change func(*http.Request), at time.Time) error {
	var nonce [16]byte
	if _, err := io.ReadFull(l.target.Random, nonce[:]); err != nil {
		return err
	}
	other := r.Clone(r.Context())
	other.Header.Del("Signature")
	other.Header.Del("Signature-Input")
	if change != nil {
		change(other)
	}
	err := httpsig.Sign(httpsig.Request(other, "", ""), httpsig.Params{
		Components: []string{"@method", "@authority", "@path", "content-digest", "citygate-protocol"}, Created: at,
		Nonce: base64.RawURLEncoding.EncodeToString(nonce[:]), KeyID: l.target.KeyID, Tag: remote.Tag,
	}, l.signer)
	r.Header.Set("Signature", other.Header.Get("Signature"))
	r.Header.Set("Signature-Input", other.Header.Get("Signature-Input"))
	return err
}

// spoilt is the call with another amount.
func spoilt(body []byte) []byte {
	return bytes.Replace(slices.Clone(body), []byte("470"), []byte("471"), 1)
}

func setBody(r *http.Request, body []byte, digest bool) error {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if digest {
		r.Header.Set("Content-Digest", httpsig.Digest(body))
	}
	return nil
}

// examineLine adds what the cases of the protocol find to a report.
func examineLine(ctx context.Context, t Target, m remote.Manifest, report *drivertest.Report) {
	for _, c := range lineCases {
		f := drivertest.Finding{Case: c.name, Rule: c.rule, Verdict: drivertest.Passed}
		l, err := newLine(ctx, t, m, c.name)
		if err != nil {
			f.Verdict, f.Faults = drivertest.Broken, []string{err.Error()}
		} else if err := c.run(ctx, l); err != nil {
			f.Verdict, f.Faults = drivertest.Failed, strings.Split(err.Error(), "\n")
		}
		report.Add(f)
	}
}
