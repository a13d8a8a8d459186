package gateway

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

func TestBadContractIsRefusedByTheFieldsName(t *testing.T) {
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	platform, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&platform.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	edwards, err := x509.MarshalPKIXPublicKey(key("not RSA").Public())
	if err != nil {
		t.Fatal(err)
	}
	good := alipayproduct.Contract{Gateway: "https://pay.example/gateway.do", AppID: "2026", Account: "2088", PlatformKeys: [][]byte{der}}
	alipayConfig := func(change func(*alipayproduct.Contract)) string {
		c := good
		change(&c)
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	deps := adapters.Deps{Signer: own, HTTP: http.DefaultClient, Clock: func() time.Time { return pgtest.Epoch }, Files: root}
	for _, c := range []struct{ product, config, names string }{
		{"alipay", alipayConfig(func(c *alipayproduct.Contract) { c.Gateway = "pay.example" }), "gateway"},
		{"alipay", alipayConfig(func(c *alipayproduct.Contract) { c.AppID = "" }), "app id"},
		{"alipay", alipayConfig(func(c *alipayproduct.Contract) { c.Account = "valley" }), "account"},
		{"alipay", alipayConfig(func(c *alipayproduct.Contract) { c.PlatformKeys = nil }), "platform keys"},
		{"alipay", alipayConfig(func(c *alipayproduct.Contract) { c.PlatformKeys = [][]byte{der, []byte("x")} }), "platform_keys[1]"},
		{"alipay", alipayConfig(func(c *alipayproduct.Contract) { c.PlatformKeys = [][]byte{edwards} }), "platform_keys[0]"},
		{"alipay", `{"gateway":"https://pay.example","secret":"x"}`, `"secret"`},
		{"alipay", ``, "configuration"},
		{"sandbox", `{"fee_ppm":1000001}`, "fee_ppm"},
		{"sandbox", `{"fee":1}`, `"fee"`},
	} {
		deps.Config = json.RawMessage(c.config)
		_, err := Products().Open(c.product, deps)
		if err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s %s: %v, want %s named", c.product, c.config, err, c.names)
		}
		if c.product == "alipay" && !errors.Is(err, alipay.ErrConfig) {
			t.Errorf("%s: %v is not %s", c.config, err, alipay.ErrConfig.Name)
		}
	}
	deps.Config = json.RawMessage(alipayConfig(func(*alipayproduct.Contract) {}))
	if _, err := Products().Open("alipay", deps); err != nil {
		t.Errorf("a good contract: %v", err)
	}
	deps.Config, deps.Files = nil, nil
	if _, err := Products().Open("sandbox", deps); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a sandbox without a directory: %v", err)
	}
}

// A contract that cannot be opened does not stay in the cache, and does not hold
// up another one.
func TestProviderOfAContract(t *testing.T) {
	o := open(t)
	o.onboard()
	contract := collect.Contract{Name: "x", Adapter: "barter"}
	_, err := o.provider(t.Context(), bus, contract)
	if !errors.Is(err, adapters.ErrUnknownProduct) || !strings.Contains(err.Error(), "there are alipay, ") || !strings.Contains(err.Error(), "contract x of tenant 1001") {
		t.Errorf("an unknown product: %v", err)
	}
	contract.Adapter = "alipay"
	if _, err := o.provider(t.Context(), bus, contract); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a product that signs, without a key: %v", err)
	}
	contract.Adapter = "sandbox"
	first, err := o.provider(t.Context(), bus, contract)
	o.must(err)
	again, err := o.provider(t.Context(), bus, contract)
	o.must(err)
	foreign, err := o.provider(t.Context(), bus+1, contract)
	o.must(err)
	if first != again || first == foreign {
		t.Error("want one provider per tenant and contract")
	}
	// What the schema of its configuration does not have is refused where it stands,
	// before a contract is kept; the value is not repeated.
	said := o.ask(http.MethodPut, busPath("contracts/ap"), "application/json", []byte(`{"adapter":"alipay","fee_ppm":0,"config":{`+
		`"gateway":"https://pay.example","app_id":"1","account":"2088","platform_keys":["hunter2!"]}}`)).Body.String()
	if !strings.Contains(said, "adapter.config") || !strings.Contains(said, "/config/platform_keys/0") || strings.Contains(said, "hunter2") {
		t.Errorf("refused with %s", said)
	}
	var list struct {
		Items []edge.Adapter `json:"items"`
	}
	o.send(http.MethodGet, busPath("adapters"), nil, &list)
	i := slices.IndexFunc(list.Items, func(a edge.Adapter) bool { return a.Name == "wechatpay" })
	if i < 0 || list.Items[i].Key != "provider-wechatpay" || len(list.Items[i].Secrets) != 3 || !strings.Contains(string(list.Items[i].Config), `"ride_code"`) {
		t.Errorf("adapters: %+v", list.Items)
	}
}
