package alipaysim

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// The REST face of the platform: a method's name is a path, its parameters are the
// body, or the query of a GET. It does what the v2 gateway does with the same book, for
// the methods that the platform has in both.

const (
	v3Prefix = "/v3/"
	v3Scheme = "ALIPAY-SHA256withRSA "
)

// v3Verbs are the methods that have a path, by their verbs.
var v3Verbs = map[string]string{
	"alipay.trade.pay": http.MethodPost, "alipay.trade.query": http.MethodPost, "alipay.trade.refund": http.MethodPost, "alipay.trade.cancel": http.MethodPost,
	"alipay.trade.fastpay.refund.query":                  http.MethodPost,
	"alipay.data.dataservice.bill.downloadurl.query":     http.MethodGet,
	"alipay.commerce.cityfacilitator.voucher.generate":   http.MethodPost,
	"alipay.commerce.cityfacilitator.voucher.batchquery": http.MethodPost,
	"alipay.commerce.cityfacilitator.voucher.refund":     http.MethodPost,
	"alipay.commerce.cityfacilitator.station.query":      http.MethodGet,
}

// v3 answers one REST request.
func (s *Server) v3(w http.ResponseWriter, r *http.Request) {
	if s.out() {
		simserve.HangUp(w)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	method := strings.ReplaceAll(strings.TrimPrefix(r.URL.Path, v3Prefix), "/", ".")
	m, refused := s.admitV3(r, body)
	var key cipher.Block
	if refused.Code == "" && r.Header.Get("Alipay-Encrypt-Type") != "" {
		body, key, refused = m.unseal(string(body))
	}
	verb, found := v3Verbs[method]
	switch {
	case refused.Code != "":
		s.sendV3(w, r, refused, delivered)
		return
	case !found || r.Method != verb:
		s.sendV3(w, r, illegal("isv.invalid-method", "no such path, or by another verb"), delivered)
		return
	}
	if verb == http.MethodGet {
		fields := map[string]string{}
		for name, values := range r.URL.Query() {
			fields[name] = values[0]
		}
		if body, err = json.Marshal(fields); err != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
	}
	var told struct {
		NotifyURL string `json:"notify_url"`
	}
	_ = json.Unmarshal(body, &told) // what is wrong with it the method says
	s.mu.Lock()
	m.notifyURL = told.NotifyURL
	answer, fate := methods[method](s, m, body)
	s.mu.Unlock()
	if fate == noticed { // the merchant hears of it before it has the answer
		s.Deliver(r.Context())
		fate = delivered
	}
	if key != nil {
		answer = sealed{answer, answerKey(key, fate)}
	}
	s.sendV3(w, r, answer, fate)
}

// admitV3 checks who asks: the header's own text, the verb, the target and the body are
// under its signature, and so is the authorisation of another's application, if named.
func (s *Server) admitV3(r *http.Request, body []byte) (*merchant, head) {
	auth, isScheme := strings.CutPrefix(r.Header.Get("Authorization"), v3Scheme)
	text, sign, hasSign := strings.Cut(auth, ",sign=")
	if !isScheme || !hasSign {
		return nil, illegal("isv.missing-signature", "Authorization")
	}
	parts := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if _, twice := parts[name]; twice {
			return nil, illegal("isv.invalid-signature", name+" twice")
		}
		parts[name] = value
	}
	s.mu.Lock()
	m := s.merchants[parts["app_id"]]
	s.mu.Unlock()
	if m == nil {
		return nil, illegal("isv.invalid-app-id", "no such application")
	}
	covered := text + "\n" + r.Method + "\n" + r.URL.RequestURI() + "\n" + string(body) + "\n"
	if token := r.Header.Get("Alipay-App-Auth-Token"); token != "" {
		covered += token + "\n"
	}
	digest := sha256.Sum256([]byte(covered))
	sig, err := base64.StdEncoding.DecodeString(sign)
	if err != nil || rsa.VerifyPKCS1v15(m.Key, crypto.SHA256, digest[:], sig) != nil {
		return nil, illegal("isv.invalid-signature", "the signature does not hold")
	}
	if m.CertSN != "" && (parts["app_cert_sn"] != m.CertSN || r.Header.Get("Alipay-Root-Cert-Sn") != s.rootSN) {
		return nil, illegal("isv.invalid-app-cert-sn", "the certificate is not the application's, or its root is not ours")
	}
	ms, err := strconv.ParseInt(parts["timestamp"], 10, 64)
	if err != nil || parts["nonce"] == "" || time.UnixMilli(ms).Sub(s.config.Clock()).Abs() > cmp.Or(s.config.Skew, clockSkew) {
		return nil, illegal("isv.invalid-timestamp", "the timestamp is not now, or there is no nonce")
	}
	return m, head{}
}

// sendV3 writes an answer: what v2 says in a code is a status here, and a refusal has a
// body of its own.
func (s *Server) sendV3(w http.ResponseWriter, r *http.Request, answer any, fate fate) {
	switch fate {
	case lost, died, delayed, failed:
		s.send(w, r, "", answer, fate)
		return
	case delivered, garbled, unsigned, badSigned, otherKeyed, noticed:
	}
	inner, encrypted := answer.(sealed)
	if encrypted {
		answer = inner.answer
	}
	status, body, err := v3Body(answer)
	if encrypted && status < http.StatusBadRequest { // refusals go out in plain
		body = seal(inner.key, body)
	}
	if err != nil {
		http.Error(w, "cannot answer", http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	key, certSN := s.config.Key, s.certSN
	s.mu.Unlock()
	at, nonce := strconv.FormatInt(s.config.Clock().UnixMilli(), 10), rand.Text()
	covered := at + "\n" + nonce + "\n" + string(body) + "\n"
	if fate == badSigned {
		covered = " " + covered
	}
	digest := sha256.Sum256([]byte(covered))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		http.Error(w, "cannot sign", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=utf-8")
	h.Set("Alipay-Timestamp", at)
	h.Set("Alipay-Nonce", nonce)
	h.Set("Alipay-Trace-Id", rand.Text())
	if certSN != "" {
		h.Set("Alipay-Sn", certSN)
	}
	if fate != unsigned {
		h.Set("Alipay-Signature", base64.StdEncoding.EncodeToString(sig))
	}
	w.WriteHeader(status)
	if fate == garbled {
		body = body[:len(body)/2]
	}
	_, _ = w.Write(body) // a client that is gone loses its answer, as everywhere
}

// v3Body turns an answer of the v2 gateway into a status and a body.
func v3Body(answer any) (status int, body []byte, err error) {
	raw, err := json.Marshal(answer)
	if err != nil {
		return 0, nil, err
	}
	var said head
	if err := json.Unmarshal(raw, &said); err != nil {
		return 0, nil, err
	}
	switch said.Code {
	case ok.Code:
		status = http.StatusOK
	case "10003":
		status = http.StatusAccepted
	case "20000":
		return encodeV3(http.StatusInternalServerError, cmp.Or(said.SubCode, "SYSTEM_ERROR"), said.SubMsg)
	default:
		return encodeV3(http.StatusBadRequest, said.SubCode, said.SubMsg)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return 0, nil, err
	}
	for _, name := range []string{"code", "msg", "sub_code", "sub_msg"} {
		delete(fields, name)
	}
	body, err = json.Marshal(fields)
	return status, bytes.ReplaceAll(body, []byte("/"), []byte(`\/`)), err
}

func encodeV3(status int, code, message string) (int, []byte, error) {
	body, err := json.Marshal(map[string]any{"code": code, "message": message, "links": []any{}})
	return status, body, err
}
