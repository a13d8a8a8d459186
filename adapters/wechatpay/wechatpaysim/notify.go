package wechatpaysim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// pauses are between the tries of one notification.
var pauses = []time.Duration{
	15 * time.Second, 15 * time.Second, 30 * time.Second, 3 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, 30 * time.Minute,
	30 * time.Minute, time.Hour, 3 * time.Hour, 3 * time.Hour, 3 * time.Hour, 6 * time.Hour, 6 * time.Hour,
}

// A notice is a notification that has not been taken yet.
type notice struct {
	m       *merchant
	url     string
	id      string
	body    []byte
	v2      bool
	tries   int
	subject string // the order's or the refund's number
}

// A Delivery is one try of a notification.
type Delivery struct {
	Subject string // number of the order or of the refund
	Status  int    // 0 = nobody answered
	Taken   bool
}

// announce queues the notice of a payment that was made. Of one that was not,
// nothing is ever sent.
func (s *Server) announce(m *merchant, o *order, _ *refund) {
	if o.notifyURL == "" || o.said || chosen(s.config.Faults.Silent, o.outTradeNo) {
		return
	}
	o.said = true
	now := s.config.Clock()
	n := &notice{m: m, url: o.notifyURL, id: "EV-" + o.id, subject: o.outTradeNo, v2: o.v2}
	if o.v2 {
		n.body = o.notice2(m)
	} else {
		n.body = s.envelope(m, n.id, "TRANSACTION.SUCCESS", "transaction", encode(o.show(m)), now)
	}
	s.notices.Add(n, now)
}

// announceRefund queues the notice of a refund.
func (s *Server) announceRefund(m *merchant, o *order, r *refund, url string) {
	if chosen(s.config.Faults.Silent, r.outRefundNo) {
		return
	}
	state := ifElse(r.abnormal, "ABNORMAL", success)
	text := encode(map[string]any{
		"mchid": m.MchID, "out_trade_no": o.outTradeNo, "transaction_id": o.id, "out_refund_no": r.outRefundNo, "refund_id": r.id,
		"refund_status": state, "success_time": stamp(r.at), "user_received_account": "支付用户零钱",
		"amount": map[string]any{"total": o.amount, "refund": r.amount, "payer_total": o.paid, "payer_refund": r.amount, "currency": o.currency},
	})
	id := "ER-" + r.id + r.outRefundNo
	s.notices.Add(&notice{m: m, url: url, id: id, subject: r.outRefundNo, body: s.envelope(m, id, "REFUND."+state, "refund", text, s.config.Clock())}, r.at)
}

func (s *Server) envelope(m *merchant, id, event, original string, text []byte, at time.Time) []byte {
	box := seal(m.APIv3Key, original, text)
	box["original_type"] = original
	return encode(map[string]any{
		"id": id, "create_time": stamp(at), "resource_type": "encrypt-resource", "event_type": event, "summary": "支付成功", "resource": box,
	})
}

// Deliver sends every notification that is due and has not been taken, once, in
// the order they came up; those sent in vain are due again after the platform's
// pauses. It is called by whoever plays the time.
func (s *Server) Deliver(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}) (tries []Delivery) {
	s.notices.Deliver(s.config.Clock(), func(n *notice) bool {
		d := Delivery{Subject: n.subject, Status: s.post(ctx, doer, n, delivered)}
		d.Taken = d.Status >= 200 && d.Status < 300
		n.tries++
		tries = append(tries, d)
		return d.Taken
	})
	return tries
}

// Probe sends the notification of an order or refund that is waiting, with
// something wrong about its signature, and gives the status it was answered with.
func (s *Server) Probe(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}, subject string, a Arm) (int, error) {
	var found *notice
	for _, n := range s.notices.Waiting() {
		if n.subject == subject {
			found = n
		}
	}
	if found == nil {
		return 0, fmt.Errorf("wechatpaysim: no notification about %s is waiting", subject)
	}
	return s.post(ctx, doer, found, armFates[a]), nil
}

func (s *Server) post(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}, n *notice, f fate) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, bytes.NewReader(n.body))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", ifElse(n.v2, "text/xml", "application/json"))
	if !n.v2 && f != unsigned {
		// In the weeks of a change both kinds of keys are used at random.
		wanted := s.config.KeyID
		if rank(s.config.Seed, "notice "+strconv.Itoa(n.tries), n.id)%2 == 0 {
			wanted, _ = s.Certificate()
		}
		s.sign(req.Header, wanted, n.body, f)
	}
	resp, err := doer.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }() // read below
	said, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
	if err != nil || (n.v2 && !bytes.Contains(said, []byte("SUCCESS"))) {
		return 0 // APIv2 looks at the text
	}
	return resp.StatusCode
}
