package alipaysim

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// clockSkew is how far a request's timestamp may be from the platform's clock
// unless the configuration says otherwise.
const clockSkew = 10 * time.Minute

// A head is what every answer carries.
type head struct {
	Code    string `json:"code"`
	Msg     string `json:"msg"`
	SubCode string `json:"sub_code,omitempty"`
	SubMsg  string `json:"sub_msg,omitempty"`
}

var ok = head{Code: "10000", Msg: "Success"}

func refusal(subCode, subMsg string) head {
	return head{"40004", "Business Failed", subCode, subMsg}
}

func illegal(subCode, subMsg string) head {
	return head{"40002", "Invalid Arguments", subCode, subMsg}
}

// An act is what a method does: an answer and what happens to it on the way.
type act func(s *Server, m *merchant, biz []byte) (answer any, fate fate)

// A fate is what becomes of an answer.
type fate string

const (
	delivered  fate = ""
	lost       fate = "lost"
	died       fate = "died"
	delayed    fate = "delayed"
	garbled    fate = "garbled"
	unsigned   fate = "unsigned"
	badSigned  fate = "bad_signed"
	otherKeyed fate = "other_keyed"
	failed     fate = "failed"  // HTTP 500
	noticed    fate = "noticed" // the notification overtakes the answer
)

var methods = map[string]act{
	"alipay.commerce.transport.offlinepay.trade.settle":           (*Server).settle,
	"alipay.commerce.transport.offlinepay.key.query":              (*Server).keyQuery,
	"alipay.commerce.transport.offlinepay.userblacklist.query":    (*Server).blacklistQuery,
	"alipay.commerce.transport.offlinepay.record.verify":          (*Server).recordVerify,
	"alipay.commerce.transport.offlinepay.virtualcard.send":       (*Server).cardSend,
	"alipay.commerce.transport.offlinepay.virtualcard.batchquery": (*Server).cardQuery,
	"alipay.commerce.transport.qrpass.verify.query":               (*Server).passQuery,
	"alipay.commerce.cityfacilitator.namelist.sync":               (*Server).nameList,
	"alipay.commerce.cityfacilitator.voucher.generate":            facilitator(ticketMake),
	"alipay.commerce.cityfacilitator.voucher.confirm":             ticketTo("USED", "INIT"),
	"alipay.commerce.cityfacilitator.voucher.upload":              ticketTo("USED", "INIT"),
	"alipay.commerce.cityfacilitator.voucher.cancel":              ticketTo("CANCELED", "INIT"),
	"alipay.commerce.cityfacilitator.voucher.refund":              ticketTo("REFUNDED", "INIT", "CANCELED"),
	"alipay.commerce.cityfacilitator.voucher.query":               facilitator(ticketQuery),
	"alipay.commerce.cityfacilitator.voucher.batchquery":          facilitator(ticketQuery),
	"alipay.commerce.cityfacilitator.deposit.cancel":              ticketTo("CANCELED", "INIT"),
	"alipay.commerce.cityfacilitator.station.query":               facilitator(stations),
	"alipay.trade.pay":                               (*Server).pay,
	"alipay.trade.cancel":                            (*Server).cancel,
	"alipay.user.agreement.page.sign":                (*Server).page,
	"alipay.user.agreement.query":                    (*Server).agreementQuery,
	"alipay.user.agreement.unsign":                   (*Server).unsign,
	"alipay.open.app.alipaycert.download":            (*Server).certDownload,
	"alipay.trade.query":                             (*Server).tradeQuery,
	"alipay.trade.refund":                            (*Server).refund,
	"alipay.trade.fastpay.refund.query":              (*Server).refundQuery,
	"alipay.data.dataservice.bill.downloadurl.query": (*Server).billQuery,
}

// gateway answers one request of the v2 gateway.
func (s *Server) gateway(w http.ResponseWriter, r *http.Request) {
	if s.out() {
		simserve.HangUp(w)
		return
	}
	params, err := parameters(r)
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	method := params["method"]
	do, found := methods[method]
	node := "error_response"
	if found { // the platform answers under the method's name as soon as it knows it
		node = strings.ReplaceAll(method, ".", "_") + "_response"
	}
	m, refused, known := s.admit(params)
	if refused.Code != "" {
		// The platform cannot know which key an unknown application expects.
		s.send(w, r, ifElse(known, node, "error_response"), refused, ifElse(known, delivered, unsigned))
		return
	}
	if !found {
		s.send(w, r, node, illegal("isv.invalid-method", "no such method"), delivered)
		return
	}
	biz, key := []byte(params["biz_content"]), cipher.Block(nil)
	if params["encrypt_type"] != "" {
		if biz, key, refused = m.unseal(params["biz_content"]); refused.Code != "" {
			s.send(w, r, node, refused, delivered) // in plain: there is no key for it
			return
		}
	}
	s.mu.Lock()
	m.notifyURL = params["notify_url"] // under the request's signature
	answer, fate := do(s, m, biz)
	s.mu.Unlock()
	if key != nil {
		answer = sealed{answer, answerKey(key, fate)}
	}
	if fate == noticed { // the merchant hears of it before it has the answer
		s.Deliver(r.Context())
		fate = delivered
	}
	s.send(w, r, node, answer, fate)
}

// parameters gathers the query's and the body's; none may be there twice.
func parameters(r *http.Request) (map[string]string, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	params := make(map[string]string)
	for _, values := range []url.Values{query, form} {
		for k, v := range values {
			if _, twice := params[k]; twice || len(v) != 1 {
				return nil, http.ErrNotSupported
			}
			params[k] = v[0]
		}
	}
	return params, nil
}

// admit checks who asks. known says whether the application is one of ours.
func (s *Server) admit(params map[string]string) (m *merchant, refused head, known bool) {
	s.mu.Lock()
	m = s.merchants[params["app_id"]]
	s.mu.Unlock()
	if m == nil {
		return nil, illegal("isv.invalid-app-id", "no such application"), false
	}
	for _, name := range []string{"method", "charset", "sign_type", "sign", "timestamp", "version"} {
		if params[name] == "" {
			return nil, head{"40001", "Missing Required Arguments", "isv.missing-" + name, name}, true
		}
	}
	if params["sign_type"] != "RSA2" || params["charset"] != "utf-8" || params["version"] != "1.0" {
		return nil, illegal("isv.invalid-signature-type", "want RSA2, utf-8, 1.0"), true
	}
	if !signedBy(m.Key, params) {
		return nil, illegal("isv.invalid-signature", "the signature does not hold"), true
	}
	if m.CertSN != "" && (params["app_cert_sn"] != m.CertSN || params["alipay_root_cert_sn"] != s.rootSN) {
		return nil, illegal("isv.invalid-app-cert-sn", "the certificate is not the application's, or its root is not ours"), true
	}
	at, err := time.ParseInLocation(stamp, params["timestamp"], beijing)
	if err != nil || at.Sub(s.config.Clock()).Abs() > cmp.Or(s.config.Skew, clockSkew) {
		return nil, illegal("isv.invalid-timestamp", "the timestamp is not now"), true
	}
	return m, head{}, true
}

// signedBy checks a request's signature: all parameters but sign itself, in
// the order of their names, unescaped.
func signedBy(key *rsa.PublicKey, params map[string]string) bool {
	names := make([]string, 0, len(params))
	for name := range params {
		if name != "sign" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	pairs := make([]string, len(names))
	for i, name := range names {
		pairs[i] = name + "=" + params[name]
	}
	digest := sha256.Sum256([]byte(strings.Join(pairs, "&")))
	sig, err := base64.StdEncoding.DecodeString(params["sign"])
	return err == nil && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
}

// send writes an answer, or what its fate leaves of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, node string, answer any, fate fate) {
	if s.Cut(w, r, cuts[fate]) {
		return
	}
	if fate == failed {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	text, err := s.encode(node, answer, fate)
	if err != nil {
		http.Error(w, "cannot answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	_, _ = w.Write(text) // a client that is gone loses its answer, as everywhere
}

// encode writes the envelope. Slashes are escaped, as the platform's own
// encoder does: a client that decodes and encodes again before it checks the
// signature will not find it to hold.
func (s *Server) encode(node string, answer any, fate fate) ([]byte, error) {
	inner, encrypted := answer.(sealed)
	if encrypted {
		answer = inner.answer
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	raw = bytes.ReplaceAll(raw, []byte("/"), []byte(`\/`))
	if encrypted {
		raw = fmt.Appendf(nil, `"%s"`, seal(inner.key, raw))
	}
	covered := raw
	if fate == badSigned {
		covered = append([]byte{' '}, raw...)
	}
	digest := sha256.Sum256(covered)
	s.mu.Lock()
	key, certSN := s.config.Key, s.certSN
	s.mu.Unlock()
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(`{"` + node + `":`)
	b.Write(raw)
	if certSN != "" {
		b.WriteString(`,"alipay_cert_sn":"` + certSN + `"`)
	}
	if fate != unsigned {
		b.WriteString(`,"sign":"` + base64.StdEncoding.EncodeToString(sig) + `"`)
	}
	b.WriteString("}")
	if fate == garbled {
		b.Truncate(b.Len() / 2)
	}
	return b.Bytes(), nil
}

func ifElse[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}
