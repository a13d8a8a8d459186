package alipaysim

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// repeats are the waits after the sends of a notification that nobody
// acknowledged: eight sends in some 25 hours.
var repeats = []time.Duration{4 * time.Minute, 10 * time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 15 * time.Hour}

// A notice is a notification on its way to a merchant.
type notice struct {
	url    string
	fields map[string]string
	keep   bool // sign_type is under the signature, as in some kinds of message
}

// tell queues the notification of an order. The caller holds the lock.
func (s *Server) tell(m *merchant, t *trade, status string, more map[string]string) {
	if t.notifyURL == "" {
		return
	}
	fields := map[string]string{
		"notify_type": "trade_status_sync", "app_id": m.AppID, "seller_id": m.Account, "buyer_id": t.item.UserID,
		"out_trade_no": t.item.OutTradeNo, "trade_no": t.no, "trade_status": status, "subject": t.item.Subject,
		"total_amount": toYuan(t.amount), "gmt_create": text(t.at), "body": "100% 乘车",
	}
	if t.paid {
		fields["gmt_payment"], fields["receipt_amount"], fields["buyer_pay_amount"] = text(t.at), toYuan(t.amount), toYuan(t.amount)
	}
	maps.Copy(fields, more)
	s.queue(t.notifyURL, fields, false)
}

func (s *Server) tellAgreement(m *merchant, a *agreement, kind, address string) {
	if address == "" {
		address = m.AgreementURL
	}
	if address == "" {
		return
	}
	s.queue(address, map[string]string{
		"notify_type": kind, "app_id": m.AppID, "agreement_no": a.no, "external_agreement_no": a.external,
		"alipay_user_id": a.rider, "status": a.status, "sign_time": text(a.signed), "valid_time": text(a.signed), "invalid_time": "2115-02-01 00:00:00",
	}, true)
}

func (s *Server) queue(address string, fields map[string]string, keep bool) {
	s.told++
	now := s.config.Clock()
	fields["notify_id"] = fmt.Sprintf("%032x", rank(uint64(s.told), "notify", address+fields["out_trade_no"]+fields["agreement_no"]))
	fields["notify_time"], fields["charset"], fields["version"], fields["sign_type"] = text(now), "utf-8", "1.0", "RSA2"
	s.notices.Add(&notice{url: address, fields: fields, keep: keep}, now)
}

// Deliver sends every notification that is due, in the order in which things
// happened, and gives the number of those that were acknowledged by the seven
// bytes success.
func (s *Server) Deliver(ctx context.Context) int {
	s.mu.Lock()
	for _, app := range slices.Sorted(maps.Keys(s.merchants)) {
		s.confirmWaiting(s.merchants[app])
	}
	s.mu.Unlock()
	return s.notices.Deliver(s.config.Clock(), func(n *notice) bool { return s.post(ctx, n) })
}

// Notifications gives what is on its way, as the forms that would be sent.
func (s *Server) Notifications() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.notices.Waiting()
	forms := make([]url.Values, len(waiting))
	for i, n := range waiting {
		forms[i] = s.form(n)
	}
	return forms
}

// form signs a notification. The caller holds the lock.
func (s *Server) form(n *notice) url.Values {
	fields := maps.Clone(n.fields)
	if s.certSN != "" {
		fields["alipay_cert_sn"] = s.certSN
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if n.keep || name != "sign_type" {
			pairs = append(pairs, name+"="+fields[name])
		}
	}
	digest := sha256.Sum256([]byte(strings.Join(pairs, "&")))
	sig, err := rsa.SignPKCS1v15(nil, s.config.Key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // a key of a checked size signs
	}
	values := url.Values{"sign": {base64.StdEncoding.EncodeToString(sig)}}
	for name, value := range fields {
		values.Set(name, value)
	}
	return values
}

func (s *Server) post(ctx context.Context, n *notice) bool {
	s.mu.Lock()
	form := s.form(n)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, strings.NewReader(form.Encode()))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	resp, err := s.client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }() // read to the end, or not the answer
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	return err == nil && string(body) == "success"
}
