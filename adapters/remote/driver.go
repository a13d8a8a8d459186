package remote

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/httpsig"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// ErrConfig says that a contract with a program cannot work.
var ErrConfig = &citygate.Code{Name: "remote.config", Kind: citygate.Invalid, Title: "The contract with this provider program is incomplete or wrong; correct the named field."}

// A Contract is the configuration of one tenant's contract, as it is stored.
type Contract struct {
	URL      string          `json:"url"`    // of the program; calls go to paths below it
	KeyID    string          `json:"key_id"` // what the program calls the key that signs our requests
	Keys     []ProgramKey    `json:"keys"`   // what the program signs its answers with
	Manifest Manifest        `json:"manifest"`
	Config   json.RawMessage `json:"config,omitempty"` // the tenant's, for the program
}

// A ProgramKey is a public key of the program.
type ProgramKey struct {
	ID     string `json:"id"`
	Public []byte `json:"public"` // PKIX DER
}

// A Config is what a [Driver] is made of.
type Config struct {
	Contract
	Secrets map[string]citygate.Secret // those the manifest names
	Signer  crypto.Signer              // Ed25519 or P-256
	HTTP    driver.Doer
	Clock   citygate.Clock
	Random  io.Reader // of nonces

	// NotifyURL is the contract's own address for notifications, told with each
	// call to a program that can read them; "" = it has none.
	NotifyURL string
}

// A Driver asks a program. It is safe for concurrent use.
type Driver struct {
	config Config
	base   *url.URL
	zone   *time.Location // of bills
	keys   map[string]crypto.PublicKey
	part   contractPart
	page   int // rows of a bill asked for at once; 0 = billPage
}

var (
	_ driver.Provider       = (*Driver)(nil)
	_ driver.Selective      = (*Driver)(nil)
	_ driver.Refunder       = (*Driver)(nil)
	_ driver.Reverser       = (*Driver)(nil)
	_ driver.Notifier       = (*Driver)(nil)
	_ driver.Biller         = (*Driver)(nil)
	_ driver.BillReader     = (*Driver)(nil)
	_ driver.KeyFeed        = (*Driver)(nil)
	_ driver.DenyFeed       = (*Driver)(nil)
	_ driver.CodeResolver   = (*Driver)(nil)
	_ driver.RiderCheck     = (*Driver)(nil)
	_ driver.Marker         = (*Driver)(nil)
	_ driver.DenyPush       = (*Driver)(nil)
	_ driver.Quoter         = (*Driver)(nil)
	_ driver.Authorizer     = (*Driver)(nil)
	_ driver.DeviceEnroller = (*Driver)(nil)
	_ driver.ArrearSync     = (*Driver)(nil)

	_ driver.EvidenceCheck = (*Driver)(nil)
	_ driver.Contract      = (*Driver)(nil)
	_ driver.CardIssuer    = (*Driver)(nil)
)

// Open checks a contract and gives its driver. Nothing is sent.
func Open(c Config) (*Driver, error) {
	base, err := programURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Signer == nil || httpsig.AlgorithmOf(c.Signer.Public()) == "" {
		return nil, ErrConfig.Explain("the gateway's key for it: want one of Ed25519 or P-256")
	}
	if c.HTTP == nil || c.Clock == nil || c.Random == nil {
		return nil, ErrConfig.Explain("http, clock and randomness: all are needed")
	}
	if c.KeyID == "" || len(c.KeyID) > 64 || strings.ContainsFunc(c.KeyID, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }) {
		return nil, ErrConfig.Explain("key_id: want 1 to 64 visible characters")
	}
	if err := c.Manifest.Check(); err != nil {
		return nil, err
	}
	d := &Driver{config: c, base: base, keys: map[string]crypto.PublicKey{}}
	if len(c.Keys) == 0 {
		return nil, ErrConfig.Explain("keys: missing, no answer could be believed")
	}
	for i, k := range c.Keys {
		public, err := x509.ParsePKIXPublicKey(k.Public)
		if err != nil || httpsig.AlgorithmOf(public) == "" || k.ID == "" {
			return nil, ErrConfig.Explain("keys[%d]: want an id and an Ed25519 or P-256 key as PKIX DER", i)
		}
		if d.keys[k.ID] != nil {
			return nil, ErrConfig.Explain("keys[%d]: the id %.32q twice", i, k.ID)
		}
		d.keys[k.ID] = public
	}
	if d.zone, err = time.LoadLocation(c.Manifest.BillZone); err != nil {
		return nil, ErrConfig.Explain("manifest.bill_zone: not a time zone")
	}
	if err := d.contract(); err != nil {
		return nil, err
	}
	return d, nil
}

// contract makes the part that every call carries.
func (d *Driver) contract() error {
	d.part.Config = d.config.Config
	if len(d.part.Config) == 0 {
		d.part.Config = json.RawMessage("{}")
	}
	if err := d.config.Manifest.Accepts(d.part.Config); err != nil {
		return err
	}
	if slices.Contains(d.config.Manifest.Capabilities, driver.CapNotify) {
		d.part.NotifyURL = d.config.NotifyURL
	}
	for _, name := range d.config.Manifest.Secrets {
		s, ok := d.config.Secrets[name]
		if !ok || s.IsZero() {
			return ErrConfig.Explain("the secret %.32q that the program needs is missing", name)
		}
		if d.part.Secrets == nil {
			d.part.Secrets = map[string]string{}
		}
		d.part.Secrets[name] = base64.StdEncoding.EncodeToString(s.Reveal())
	}
	return nil
}

// programURL takes https, and http to this machine: calls carry secrets.
func programURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, ErrConfig.Explain("url: want https://HOST/PATH")
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback())
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return nil, ErrConfig.Explain("url: want https, or http on a loopback address: calls carry secrets")
	}
	return u, nil
}

// Able reports what the manifest says.
func (d *Driver) Able(c driver.Capability) bool {
	return slices.Contains(d.config.Manifest.Capabilities, c)
}

// Describe gives the manifest's limits.
func (d *Driver) Describe() driver.Description { return d.config.Manifest.describe() }

// Mark is driver.Marker's: the instant itself, of which the program makes what its
// product wants.
func (d *Driver) Mark(at time.Time) string { return string(markAt(at)) }

// Submit is driver.Provider's. Amounts of nothing and less are never sent.
func (d *Driver) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) == 0 {
		return nil, nil
	}
	call := submitCall{Contract: d.part}
	for _, x := range debits {
		if x.Amount.Minor <= 0 {
			return nil, fmt.Errorf("%w: an amount of %s", driver.ErrNotPerformed, x.Amount)
		}
		call.Debits = append(call.Debits, debitOut(x))
	}
	var answer submitAnswer
	if err := d.call(ctx, pathSubmit, call, &answer); err != nil {
		return nil, err
	}
	results := make([]driver.Result, len(answer.Results))
	for i, r := range answer.Results {
		results[i] = r.result()
	}
	return results, nil
}

// Query is driver.Provider's.
func (d *Driver) Query(ctx context.Context, r driver.Ref) (driver.Result, error) {
	var answer result
	if err := d.call(ctx, pathQuery, refCall{d.part, refOut(r)}, &answer); err != nil {
		return driver.Result{}, err
	}
	return answer.result(), nil
}

// Reverse is driver.Reverser's.
func (d *Driver) Reverse(ctx context.Context, r driver.Ref) (driver.Reversal, string, error) {
	var answer reverseAnswer
	if err := d.call(ctx, pathReverse, refCall{d.part, refOut(r)}, &answer); err != nil {
		return driver.ReversalUnknown, "", err
	}
	return ofWord[driver.Reversal](answer.Reversal), answer.Reason, nil
}

// Refund is driver.Refunder's.
func (d *Driver) Refund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return d.refund(ctx, pathRefund, r)
}

// QueryRefund is driver.Refunder's.
func (d *Driver) QueryRefund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	return d.refund(ctx, pathQueryRefund, r)
}

func (d *Driver) refund(ctx context.Context, path string, r driver.Refund) (driver.Result, error) {
	var answer result
	if err := d.call(ctx, path, refundCall{d.part, refundOut(r)}, &answer); err != nil {
		return driver.Result{}, err
	}
	return answer.result(), nil
}

// PullDeny is driver.DenyFeed's: all pages of one snapshot. A page that does not
// come makes the whole an error, as a part of a list would free riders.
func (d *Driver) PullDeny(ctx context.Context) ([]string, error) {
	const pagesMost = 1000
	var all []string
	call := plainCall{Contract: d.part}
	for range pagesMost {
		var page denyAnswer
		if err := d.call(ctx, pathDeny, call, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Riders...)
		if page.Next == "" {
			return all, nil
		}
		if page.Next == call.After {
			break
		}
		call.After = page.Next
	}
	return nil, errors.New("remote: the deny list does not end")
}

// PullKeys is driver.KeyFeed's.
func (d *Driver) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	var answer keysAnswer
	if err := d.call(ctx, pathKeys, plainCall{Contract: d.part}, &answer); err != nil {
		return nil, err
	}
	keys := make([]driver.FeedKey, len(answer.Keys))
	for i, k := range answer.Keys {
		keys[i] = driver.FeedKey{ID: k.ID, Material: k.Material}
	}
	return keys, nil
}

// PushDeny is driver.DenyPush's. An answer about another change is none.
func (d *Driver) PushDeny(ctx context.Context, c driver.DenyChange) error {
	var answer denyChangeAnswer
	call := denyChangeCall{Contract: d.part, ID: c.OurID, Rider: c.RiderRef, Card: c.CardRef, Denied: c.Denied, Reason: c.Reason, At: c.At.UTC()}
	if err := d.call(ctx, pathDenyChange, call, &answer); err != nil {
		return err
	}
	if answer.ID != c.OurID {
		return errors.New("remote: the answer is about another change of the deny list")
	}
	return nil
}

// ResolveCode is driver.CodeResolver's.
func (d *Driver) ResolveCode(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
	var a codeAnswer
	if err := d.call(ctx, pathCode, codeCall{d.part, q.OurID, q.Scheme, q.Evidence, q.At.UTC(), moneyOf(q.Fare)}, &a); err != nil {
		return driver.CodeAnswer{}, err
	}
	return driver.CodeAnswer{
		OurID: a.ID, Outcome: ofWord[driver.CodeOutcome](a.Outcome), RiderRef: a.Rider, ReasonCode: a.Reason, RetryAt: instantOf(a.RetryAt),
	}, nil
}

// RiderState is driver.RiderCheck's.
func (d *Driver) RiderState(ctx context.Context, q driver.RiderQuestion) (driver.RiderStatus, error) {
	var a riderAnswer
	if err := d.call(ctx, pathRider, riderCall{d.part, q.RiderRef, q.AgreementID}, &a); err != nil {
		return driver.RiderStatus{}, err
	}
	return a.status(), nil
}

func (a riderAnswer) status() driver.RiderStatus {
	return driver.RiderStatus{
		RiderRef: a.Rider, State: ofWord[driver.RiderState](a.State), Owes: a.Owes.money(), ReasonCode: a.Reason, At: instantOf(a.At),
	}
}

// call sends one signed call and reads its signed answer into out.
func (d *Driver) call(ctx context.Context, path string, in, out any) error {
	reply, err := d.send(ctx, path, in, wire.CallLimit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(reply, out); err != nil {
		return errors.New("remote: the answer is not what the protocol says")
	}
	return nil
}

// send gives the body of an authentic answer with status 200.
func (d *Driver) send(ctx context.Context, path string, in any, limit int64) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("%w: a call that cannot be written", driver.ErrNotPerformed)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	nonce := make([]byte, 16)
	if _, err := io.ReadFull(d.config.Random, nonce); err != nil {
		return nil, fmt.Errorf("%w: no randomness", driver.ErrNotPerformed)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Digest", httpsig.Digest(body))
	req.Header.Set(protocolHeader, Protocol)
	req.GetBody = nil // it is not sent twice behind our back
	message := httpsig.Request(req, "", "")
	err = httpsig.Sign(message, httpsig.Params{
		Components: requestCovers, Created: d.config.Clock(), Nonce: base64.RawURLEncoding.EncodeToString(nonce), KeyID: d.config.KeyID, Tag: tag,
	}, d.config.Signer)
	if err != nil {
		return nil, fmt.Errorf("%w: signing: %w", driver.ErrNotPerformed, err)
	}
	reply, err := wire.Do(d.config.HTTP, req, limit)
	if err != nil {
		return nil, err
	}
	if err := d.authentic(reply, message); err != nil {
		return nil, err
	}
	if reply.Status == http.StatusOK {
		return reply.Body, nil
	}
	return nil, problemOf(reply)
}

// authentic reports whether the answer is the program's to this call.
func (d *Driver) authentic(reply wire.Reply, to httpsig.Message) error {
	_, err := httpsig.Verify(httpsig.Response(reply.Status, reply.Header, to), httpsig.Policy{
		Tag: tag, Required: answerCovers, Now: d.config.Clock(), MaxAge: clockDifference,
		Keys: func(id string) (crypto.PublicKey, bool) { k, ok := d.keys[id]; return k, ok },
	})
	if err != nil {
		return fmt.Errorf("remote: status %d without a signature that holds: %w", reply.Status, err)
	}
	return httpsig.CheckDigest(reply.Header, reply.Body)
}

func problemOf(reply wire.Reply) error {
	var p problem
	if err := json.Unmarshal(reply.Body, &p); err != nil || reply.Status < 400 {
		return fmt.Errorf("remote: status %d without a problem", reply.Status)
	}
	switch p.Code {
	case codeNotPerformed, codeProtocol:
		return fmt.Errorf("%w: the program says %s", driver.ErrNotPerformed, p.Code)
	case codeCurrencyUnsupported:
		return driver.ErrCurrencyUnsupported
	case codeBillNotReady:
		return driver.ErrBillNotReady
	}
	return fmt.Errorf("remote: status %d, %.64q", reply.Status, p.Code)
}

// ParseNotify is driver.Notifier's. The program proves the notification, so this
// asks it.
func (d *Driver) ParseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	refusal := driver.Ack{Status: http.StatusServiceUnavailable}
	var a notifyAnswer
	err := d.call(ctx, pathNotify, notifyCall{d.part, notification{n.Method, n.Target, n.Header, n.Body, n.At.UTC()}}, &a)
	if err != nil {
		return driver.Notice{}, refusal, err
	}
	if a.Ack.Status < 200 || a.Ack.Status > 599 {
		return driver.Notice{}, refusal, errors.New("remote: an acknowledgement without a status")
	}
	say := driver.Ack{Status: a.Ack.Status, ContentType: a.Ack.ContentType, Body: a.Ack.Body}
	if !a.Proven || a.Notice == nil {
		return driver.Notice{}, say, errors.New("remote: the program did not find the notification proven")
	}
	return a.Notice.notice(), say, nil
}

func (n *notice) notice() driver.Notice {
	out := driver.Notice{ID: n.ID, Kind: driver.NoticeKind(n.Kind), ChargeID: n.ChargeID}
	if n.Result != nil {
		out.Result = n.Result.result()
	}
	if n.Agreement != nil {
		out.Agreement = n.Agreement.agreement()
	}
	if n.Rider != nil {
		out.Rider = n.Rider.status()
	}
	if t := n.Taken; t != nil {
		out.Taken = driver.Taken{Reference: t.Reference, Of: t.Of, State: ofWord[driver.TakenState](t.State), Amount: t.Amount.money(), FeeUnsaid: t.FeeMinor == nil,
			ReasonCode: t.Reason, At: instantOf(t.At)}
		if t.FeeMinor != nil {
			out.Taken.Fee = *t.FeeMinor
		}
	}
	return out
}
