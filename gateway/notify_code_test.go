package gateway

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpayproduct"
	"github.com/cashlesscity/citygate/adapters/wechatpay/wechatpaysim"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/gateway/retention"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/softsm2"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	rideCodeKey = "key-of-the-code-call-of-32-bytes"
	wechatAPIv2 = "apiv2-key-of-32-bytes-for-a-bus!"
)

// keeping sends a request and keeps its body and the answer's.
type keeping struct{ sent, got string }

func (k *keeping) Do(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	k.sent, r.Body = string(raw), io.NopCloser(strings.NewReader(string(raw)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	raw, err = io.ReadAll(resp.Body)
	k.got, resp.Body = string(raw), io.NopCloser(strings.NewReader(string(raw)))
	return resp, err
}

// WeChat Pay asks the bus for a rider's code: it is signed with the bus's SM2 key and
// opens a gate, the same request has the same answer, a forged one and one for a
// rider who is denied have none.
func TestOperatorSignsCodesForWechat(t *testing.T) {
	o := open(t)
	o.onboard()
	o.settleDown()
	server := o.reachable()
	sim, contract := o.wechat(func(c *wechatpaysim.Config) { c.Merchants[0].APIv2Key = []byte(wechatAPIv2) })
	contract.NotifyURL = ""
	contract.RideCode = &wechatpayproduct.RideCode{
		Scheme: json.RawMessage(`{"certificate":"absent"}`), Version: 0x80, CardIssuer: "31047700", Platform: "00000002", CapMinor: 1500,
		LifetimeSeconds: 24 * 3600, ValiditySeconds: 60,
	}
	raw, err := json.Marshal(contract)
	o.must(err)
	o.send(http.MethodPut, busPath("contracts/codes"), map[string]any{"adapter": "wechatpay", "fee_ppm": feePPM, "config": json.RawMessage(raw)}, nil)
	for name, value := range map[string]string{wechatpayproduct.APIv3Key: wechatAPIv3, wechatpayproduct.APIv2Key: wechatAPIv2, wechatpayproduct.RideCodeKey: rideCodeKey} {
		o.secrets.AddText(name, value)
		o.send(http.MethodPut, busPath("contracts/codes/secrets/"+name), map[string]any{"value": []byte(value)}, nil)
	}
	_, err = o.provider(t.Context(), bus, o.contract("codes"))
	o.must(err)
	address := o.notifyAddress("codes") + "/code"
	phone, err := sm2.GenerateKey(rand.Reader)
	o.must(err)
	point := make([]byte, 65)
	point[0] = 4
	phone.Public().X.FillBytes(point[1:33]) //nolint:staticcheck // PublicKey.Bytes knows the NIST curves alone
	phone.Public().Y.FillBytes(point[33:])  //nolint:staticcheck // see above
	wish := wechatpaysim.CodeWish{URL: address, MchID: wechatMchID, Key: []byte(rideCodeKey), OpenID: "o-ann", CardID: "3104770000000017", UserKey: point}

	if _, err := sim.RequestCode(t.Context(), http.DefaultClient, wish); err == nil {
		t.Error("a code without a key of the operator's")
	}
	own, err := (&softsm2.Keys{Secrets: o.Secrets, Random: rand.Reader, Warn: func(string) {}}).Create(t.Context(), bus, keys.Credential)
	o.must(err)
	var kept keeping
	fields, err := sim.RequestCode(t.Context(), &kept, wish)
	o.must(err)
	params := motsm2.Defaults()
	params.Certificate = motsm2.CertificateAbsent
	scheme, err := motsm2.New(params)
	o.must(err)
	shown, err := scheme.Display(fields, o.now().Unix(), func(uid, msg []byte) ([]byte, error) { return phone.Sign(rand.Reader, uid, msg) })
	o.must(err)
	trust := new(code.Trust)
	trust.AddForeign(motsm2.IssuerKey(0x31047700, 2), own.Public())
	var c code.Code
	o.must(scheme.Parse(shown, &c))
	if v := scheme.Verify(&c, trust, nil); v.Outcome != code.Accept {
		t.Errorf("the code at a gate: %+v", v)
	}
	o.move(time.Minute)
	if status, said := o.post(address, "application/json", []byte(kept.sent)); status != http.StatusOK || said != kept.got {
		t.Errorf("the same request again: %d %s; want what it had", status, said)
	}
	for name, spoil := range map[string]func(map[string]string){
		"no signature":     func(f map[string]string) { f["sign"] = "" },
		"another merchant": func(f map[string]string) { f["mch_id"] = "1900000110" },
		"another rider":    func(f map[string]string) { f["encrypted_data"] = "A" + f["encrypted_data"][1:] },
	} {
		wish.Spoil = spoil
		if _, err := sim.RequestCode(t.Context(), http.DefaultClient, wish); err == nil {
			t.Errorf("with %s a code was signed", name)
		}
	}
	wish.Spoil = nil
	wish.URL = o.notifyAddress("wechat") + "/code" // a contract that answers for no codes
	if _, err := sim.RequestCode(t.Context(), http.DefaultClient, wish); err == nil {
		t.Error("a contract without ride codes signed one")
	}
	wish.URL = server.URL + "/v1/notify/wechatpay/1001-aaaaaaaaaaaaaaaaaaaaaaaaaa/code"
	if _, err := sim.RequestCode(t.Context(), http.DefaultClient, wish); err == nil {
		t.Error("an address of nobody's signed one")
	}
	wish.URL = address
	o.in(bus, func(tx *pg.Tx) error {
		accounts, err := credential.OpenAccounts(t.Context(), tx, actor, []credential.Account{{Contract: "codes", RiderRef: "o-ann", Category: "adult"}})
		if err != nil {
			return err
		}
		return credential.Deny(t.Context(), tx, actor, "declined", credential.Targets{Accounts: []citygate.UUID{accounts[0].ID}})
	})
	if _, err := sim.RequestCode(t.Context(), &kept, wish); err == nil || !strings.Contains(kept.got, ErrCodeRefused.Name) {
		t.Errorf("a rider who owes: %v, %s", err, kept.got)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM provider_codes WHERE rider_ref = 'o-ann' AND card_ref = '3104770000000017'`); n != 1 {
		t.Errorf("%d codes are stored, want the one", n)
	}
	o.noSecretIsOut()

	o.move(400 * 24 * time.Hour)
	_, err = retention.Erase(t.Context(), o.DB, actor, bus, o.now().AddDate(0, 0, -130), false)
	o.must(err)
	if n := o.audit.Count(bus, `SELECT count(*) FROM provider_codes`); n != 0 {
		t.Errorf("%d codes are kept for ever", n)
	}
}
