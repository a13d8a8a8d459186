package wechatpaysim

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// clockSkew is how far a request's timestamp may be from the platform's clock.
const clockSkew = 5 * time.Minute

// A problem is a refusal: an HTTP status with a code.
type problem struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func refusal(status int, code, message string) problem { return problem{status, code, message} }

// An asked is one request that was admitted.
type asked struct {
	m     *merchant
	path  map[string]string // what the route names
	query url.Values
	body  []byte
}

// An act is what a route does: an answer ([problem], nil for 204, or something
// that becomes JSON) and what happens to it on the way.
type act func(s *Server, in asked) (answer any, fate fate)

// A fate is what becomes of an answer.
type fate string

const (
	delivered fate = ""
	lost      fate = "lost"
	died      fate = "died"
	delayed   fate = "delayed"
	garbled   fate = "garbled"
	unsigned  fate = "unsigned"
	badSigned fate = "bad_signed"
	strange   fate = "strange" // signed by a key whose serial nobody has heard of
	stale     fate = "stale"   // signed six minutes ago
	probe     fate = "probe"   // the signature that must fail
)

var acts = map[string]act{
	"POST /v3/pay/transactions/codepay":                               (*Server).codepay,
	"GET /v3/pay/transactions/out-trade-no/{no}":                      (*Server).queryOrder,
	"GET /v3/pay/transactions/id/{id}":                                (*Server).queryByID,
	"POST /v3/pay/transactions/out-trade-no/{no}/reverse":             (*Server).reverse,
	"POST /v3/qrcode/transactions":                                    (*Server).ride,
	"GET /v3/qrcode/transactions/out-trade-no/{no}":                   (*Server).queryRide,
	"GET /v3/qrcode/user-services/contract-id/{id}":                   (*Server).userService,
	"GET /v3/ridecode/arrears":                                        (*Server).arrears,
	"POST /v3/refund/domestic/refunds":                                (*Server).refund,
	"GET /v3/refund/domestic/refunds/{no}":                            (*Server).queryRefund,
	"GET /v3/bill/tradebill":                                          (*Server).tradeBill,
	"GET /v3/bill/fundflowbill":                                       (*Server).fundFlowBill,
	"GET /v3/certificates":                                            (*Server).certificates,
	"GET /v3/global/certificates":                                     (*Server).certificates,
	"POST /v3/global/micropay/transactions/pay":                       (*Server).micropay,
	"GET /v3/global/transactions/out-trade-no/{no}":                   (*Server).queryGlobal,
	"POST /v3/global/micropay/transactions/out-trade-no/{no}/reverse": (*Server).reverseGlobal,
	"POST /v3/global/refunds":                                         (*Server).refundGlobal,
	"GET /v3/global/refunds/out-refund-no/{no}":                       (*Server).queryRefundGlobal,
}

// ArrearsPath is where this platform has the list of riders in arrears.
const ArrearsPath = "/v3/ridecode/arrears"

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, do := range acts {
		mux.HandleFunc(pattern, s.handle(pattern, do))
	}
	mux.HandleFunc("GET "+downloadPath, s.download)
	mux.HandleFunc("GET /v3/global/statements", s.statements)
	mux.HandleFunc("GET /sim/book", s.serveBook)
	mux.HandleFunc("POST /sim/arm", s.ServeArm)
	mux.HandleFunc("POST /sim/rider", s.serveRider)
	for path, do := range acts2 {
		mux.HandleFunc("POST "+path, s.handle2(do))
	}
	return mux
}

var named = regexp.MustCompile(`\{(\w+)\}`)

// handle answers one APIv3 request.
func (s *Server) handle(pattern string, do act) http.HandlerFunc {
	names := named.FindAllStringSubmatch(pattern, -1)
	return func(w http.ResponseWriter, r *http.Request) {
		in, refused := s.admit(r)
		if refused.Code != "" {
			s.send(w, r, refused, delivered)
			return
		}
		in.path = map[string]string{}
		for _, n := range names {
			in.path[n[1]] = r.PathValue(n[1])
		}
		s.mu.Lock()
		answer, fate := do(s, in)
		s.mu.Unlock()
		s.send(w, r, answer, fate)
	}
}

var authorization = regexp.MustCompile(`(\w+)="([^"]*)"`)

// admit checks who asks: the signature covers the method, the path with its query
// as it came, the time, the nonce and the body.
func (s *Server) admit(r *http.Request) (asked, problem) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax+1))
	if err != nil || len(body) > bodyMax {
		return asked{}, refusal(http.StatusBadRequest, "PARAM_ERROR", "unreadable body")
	}
	said := map[string]string{}
	kind, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	for _, pair := range authorization.FindAllStringSubmatch(rest, -1) {
		said[pair[1]] = pair[2]
	}
	bad := refusal(http.StatusUnauthorized, "SIGN_ERROR", "the signature does not hold")
	s.mu.Lock()
	m := s.merchants[said["mchid"]]
	s.mu.Unlock()
	if kind != "WECHATPAY2-SHA256-RSA2048" || m == nil || !strings.EqualFold(said["serial_no"], m.Serial) {
		return asked{}, bad
	}
	text := r.Method + "\n" + r.RequestURI + "\n" + said["timestamp"] + "\n" + said["nonce_str"] + "\n" + string(body) + "\n"
	digest := sha256.Sum256([]byte(text))
	sig, err := base64.StdEncoding.DecodeString(said["signature"])
	if err != nil || rsa.VerifyPKCS1v15(m.Key, crypto.SHA256, digest[:], sig) != nil {
		return asked{}, bad
	}
	at, err := strconv.ParseInt(said["timestamp"], 10, 64)
	now := s.config.Clock()
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > clockSkew {
		return asked{}, refusal(http.StatusUnauthorized, "SIGN_ERROR", "the timestamp is not now")
	}
	if !s.firstUse(m.MchID+" "+said["nonce_str"], now) {
		return asked{}, refusal(http.StatusUnauthorized, "SIGN_ERROR", "the nonce was used before")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return asked{}, refusal(http.StatusBadRequest, "PARAM_ERROR", "unreadable query")
	}
	return asked{m: m, query: query, body: body}, problem{}
}

// firstUse keeps nonces for as long as a request with one could be repeated.
func (s *Server) firstUse(nonce string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nonces) > 1<<16 {
		for n, at := range s.nonces {
			if now.Sub(at) > 2*clockSkew {
				delete(s.nonces, n)
			}
		}
	}
	at, used := s.nonces[nonce]
	s.nonces[nonce] = now
	return !used || now.Sub(at) > 2*clockSkew
}

// read decodes a request's body.
func (in asked) read(out any) bool {
	d := json.NewDecoder(bytes.NewReader(in.body))
	return d.Decode(out) == nil && !d.More()
}

// send writes an answer, or what its fate leaves of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, answer any, fate fate) {
	if s.Cut(w, r, cuts[fate]) {
		return
	}
	status, body := http.StatusOK, []byte(nil)
	switch a := answer.(type) {
	case nil:
		status = http.StatusNoContent
	case problem:
		status = a.status
		body = encode(a)
	default:
		body = encode(a)
	}
	if fate != unsigned {
		s.sign(w.Header(), r.Header.Get("Wechatpay-Serial"), body, fate)
	}
	if fate == garbled {
		body = body[:len(body)/2]
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON of our own; a client that is gone loses its answer, as everywhere
}

// encode writes JSON with spaces and escapes that do not survive a decoder: a
// client that decodes and encodes again before it checks the signature will not
// find it to hold.
func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own types are written
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("/"), []byte(`\/`)), []byte(`","`), []byte(`", "`))
}

// signingKey gives the key the merchant wants answers signed with, if it is one
// of ours, else the usual one.
func (s *Server) signingKey(wanted string) (string, *rsa.PrivateKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := s.certs[len(s.certs)-1]
	for _, c := range s.certs {
		if wanted == c.serial {
			return newest.serial, newest.key // who wants a certificate's gets the newest one's
		}
	}
	if wanted == s.config.KeyID || !s.config.ByCertificate {
		return s.config.KeyID, s.config.PublicKey
	}
	return newest.serial, newest.key
}

func (s *Server) sign(h http.Header, wanted string, body []byte, fate fate) {
	id, key := s.signingKey(wanted)
	at := s.config.Clock()
	if fate == stale {
		at = at.Add(-clockSkew - time.Minute)
	}
	if fate == strange {
		id = "7777777777777777777777777777777777777777"
	}
	covered := body
	if fate == badSigned {
		covered = append([]byte{' '}, body...)
	}
	nonce := randomText()
	h.Set("Wechatpay-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Wechatpay-Nonce", nonce)
	h.Set("Wechatpay-Serial", id)
	h.Set("Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048")
	h.Set("Wechatpay-Signature", signature(key, strconv.FormatInt(at.Unix(), 10), nonce, covered))
	if fate == probe {
		h.Set("Wechatpay-Signature", "WECHATPAY/SIGNTEST/"+h.Get("Wechatpay-Signature"))
	}
}

func signature(key *rsa.PrivateKey, timestamp, nonce string, body []byte) string {
	digest := sha256.Sum256([]byte(timestamp + "\n" + nonce + "\n" + string(body) + "\n"))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // the key is ours and large enough
	}
	return base64.StdEncoding.EncodeToString(sig)
}

// seal encrypts with a merchant's APIv3 key.
func seal(key []byte, aad string, text []byte) map[string]string {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // AddMerchant checked its length
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // it is AES
	}
	nonce := randomText()[:12]
	return map[string]string{
		"algorithm": "AEAD_AES_256_GCM", "nonce": nonce, "associated_data": aad,
		"ciphertext": base64.StdEncoding.EncodeToString(gcm.Seal(nil, []byte(nonce), text, []byte(aad))),
	}
}

func randomText() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// certificates is GET /v3/certificates.
func (s *Server) certificates(in asked) (any, fate) {
	type entry struct {
		SerialNo string            `json:"serial_no"`
		From     string            `json:"effective_time"`
		Until    string            `json:"expire_time"`
		Sealed   map[string]string `json:"encrypt_certificate"`
	}
	var list struct {
		Data []entry `json:"data"`
	}
	for _, c := range s.certs {
		list.Data = append(list.Data, entry{c.serial, stamp(c.from), stamp(c.until), seal(in.m.APIv3Key, "certificate", []byte(c.pem))})
	}
	return list, delivered
}

func stamp(t time.Time) string { return t.In(beijing).Format(time.RFC3339) }

func ifElse[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}
