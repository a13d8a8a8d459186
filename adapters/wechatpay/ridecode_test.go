package wechatpay_test

import (
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wechatpay"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
)

const (
	codeKey    = "key-of-the-code-call-of-32-bytes"
	cardIssuer = 0x31047700
	platformID = 0x00000002
)

// The platform asks for a rider's code; what it gets is signed by the operator,
// and with the phone's own signature it opens a gate.
func TestOperatorSignsTheRidersCode(t *testing.T) {
	var operator, phone *sm2.PrivateKey
	for _, k := range []**sm2.PrivateKey{&operator, &phone} {
		made, err := sm2.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		*k = made
	}
	params := motsm2.Defaults()
	params.Certificate = motsm2.CertificateAbsent
	scheme, err := motsm2.New(params)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, wechatpay.Ride, func(_ *wechatpaysim.Config, c *wechatpay.Config) {
		c.RideCode = &wechatpay.RideCode{
			Key: citygate.NewSecret([]byte(codeKey)), Scheme: scheme, Version: 0x80, CardIssuer: cardIssuer, Platform: platformID,
			CapMinor: 1500, Lifetime: 24 * time.Hour, Validity: time.Minute,
		}
	})
	issuer, ok := driver.As[driver.CodeIssuer](w.provider)
	if !ok {
		t.Fatal("a contract with ride codes cannot issue one")
	}
	var issued driver.IssuedCode
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		got, ack, err := issuer.IssueCode(r.Context(), driver.Notification{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body}, operator.Signer())
		if (err != nil) != (ack.Status >= 400) || err != nil && len(got.Code) > 0 {
			t.Errorf("answered %d with %v", ack.Status, err)
		}
		issued = got
		rw.WriteHeader(ack.Status)
		_, _ = rw.Write(ack.Body)
	}))
	t.Cleanup(server.Close)
	point := make([]byte, 65)
	point[0] = 4
	phone.Public().X.FillBytes(point[1:33]) //nolint:staticcheck // PublicKey.Bytes knows the NIST curves alone
	phone.Public().Y.FillBytes(point[33:])  //nolint:staticcheck // see above
	wish := wechatpaysim.CodeWish{URL: server.URL, MchID: mchID, Key: []byte(codeKey), OpenID: "oRider1", CardID: "3104770000000017", UserKey: point}
	fields, err := w.sim.RequestCode(t.Context(), http.DefaultClient, wish)
	if err != nil {
		t.Fatal(err)
	}
	if string(fields) != string(issued.Code) || issued.RiderRef != "oRider1" || issued.CardRef != wish.CardID || !issued.NotAfter.Equal(start.Add(24*time.Hour)) {
		t.Errorf("issued %+v; the platform got %x", issued, fields)
	}
	shown, err := scheme.Display(fields, start.Unix()+60, func(uid, msg []byte) ([]byte, error) { return phone.Sign(rand.Reader, uid, msg) })
	if err != nil {
		t.Fatal(err)
	}
	trust := new(code.Trust)
	trust.AddForeign(motsm2.IssuerKey(cardIssuer, platformID), sm2.Compress(operator.Public()))
	verdict := func(raw []byte) bool {
		var c code.Code
		if scheme.Parse(raw, &c) != nil {
			return false
		}
		return scheme.Verify(&c, trust, nil).Outcome == code.Accept
	}
	if !verdict(shown) {
		t.Error("the code that was issued does not open the gate")
	}
	shown[40] ^= 1
	if verdict(shown) {
		t.Error("a changed account opens the gate")
	}
	for name, spoil := range map[string]func(map[string]string){
		"the merchant":   func(f map[string]string) { f["mch_id"] = "1900000110" },
		"the nonce":      func(f map[string]string) { f["nonce_str"] += "0" },
		"the sealed":     func(f map[string]string) { f["encrypted_data"] = "A" + f["encrypted_data"][1:] },
		"the vector":     func(f map[string]string) { f["iv"] = strings.Replace(f["iv"], f["iv"][:1], "!", 1) },
		"the signature":  func(f map[string]string) { f["sign"] = strings.Repeat("0", 64) },
		"no signature":   func(f map[string]string) { f["sign"] = "" },
		"one field more": func(f map[string]string) { f["cap"] = "99999" },
	} {
		spoilt := wish
		spoilt.Spoil = spoil
		if fields, err := w.sim.RequestCode(t.Context(), http.DefaultClient, spoilt); err == nil {
			t.Errorf("%s changed: %x", name, fields)
		}
	}
	for name, change := range map[string]func(*wechatpaysim.CodeWish){
		"a key off the curve": func(w *wechatpaysim.CodeWish) { w.UserKey = append([]byte{4}, make([]byte, 64)...) },
		"nobody":              func(w *wechatpaysim.CodeWish) { w.OpenID = "" },
		"an account of words": func(w *wechatpaysim.CodeWish) { w.CardID = "card" },
		"another key":         func(w *wechatpaysim.CodeWish) { w.Key = []byte(apiV3) },
	} {
		spoilt := wish
		change(&spoilt)
		if fields, err := w.sim.RequestCode(t.Context(), http.DefaultClient, spoilt); err == nil {
			t.Errorf("%s: %x", name, fields)
		}
	}
	if _, _, err := issuer.IssueCode(t.Context(), driver.Notification{}, rsaSigner()); err == nil {
		t.Error("a key of another curve signed")
	}
}

func rsaSigner() *rsa.PrivateKey { return merchantKey }
