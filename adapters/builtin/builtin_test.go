package builtin

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/party"
)

// Every product folder is listed, and what it registers is of use.
func TestEveryProductIsListed(t *testing.T) {
	folders, err := filepath.Glob("../*/*product")
	if err != nil || len(folders) < 7 {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	var owners []string
	for _, f := range folders {
		owner := filepath.Base(filepath.Dir(f))
		if owner == "remote" {
			owner = "http"
		}
		owners = append(owners, owner)
	}
	products := Products()
	slices.Sort(owners)
	var names []string
	for name, p := range products {
		names = append(names, name)
		if p.Title == "" {
			t.Errorf("%s has no title", name)
		}
		if p.Open == nil {
			continue
		}
		var form struct {
			Properties map[string]any `json:"properties"`
		}
		if err := json.Unmarshal(p.Config, &form); err != nil || len(form.Properties) == 0 {
			t.Errorf("%s: the schema of its configuration: %v", name, err)
		}
		err := products.CheckConfig(name, json.RawMessage(`{"no_such_field":"hunter2"}`))
		if !errors.Is(err, driver.ErrConfig) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "/config/") {
			t.Errorf("%s takes a field it does not have: %v", name, err)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, owners) {
		t.Errorf("products %v, folders %v: a folder is missing in builtin.go", names, owners)
	}
	products["alipay"] = adapters.Product{}
	if Products()["alipay"].Open == nil {
		t.Error("a caller's set is everybody's")
	}
}

// A simulator that outsiders run tells merchants of payments, as its product does:
// without being asked to. One that they made to die comes back with its book.
func TestSimulatorsTellOutsiders(t *testing.T) {
	for name, c := range map[string]struct{ op, biz, query, ask, told string }{
		"alipay": {"trade.pay", `{"out_trade_no":"ride00001","total_amount":"4.70","subject":"bus","product_code":"FACE_TO_FACE_PAYMENT","scene":"bar_code","auth_code":"2812345678000001"}`,
			"trade.query", `{"out_trade_no":"ride00002"}`, "total_amount=4.70"},
		"wechatpay": {"codepay", `{"description":"bus","out_trade_no":"ride00001","amount":{"total":470,"currency":"CNY"},"payer":{"auth_code":"130061098828009406"},"notify_url":"NOTIFY"}`,
			"pay.transactions.out-trade-no", `{"out_trade_no":"ride00002"}`, `"event_type":"TRANSACTION.SUCCESS"`},
		"alipayplus": {"pay", `{"productCode":"IN_STORE_PAYMENT","paymentRequestId":"ride00001","order":{"referenceOrderId":"ride00001","orderAmount":{"currency":"HKD","value":"470"}},
			"paymentAmount":{"currency":"HKD","value":"470"},"paymentMethod":{"paymentMethodType":"CONNECT_WALLET","paymentMethodId":"288888888888888888"},
			"settlementStrategy":{"settlementCurrency":"HKD"},"paymentNotifyUrl":"NOTIFY"}`, "inquiryPayment", `{"paymentRequestId":"ride00002"}`, `"value":"470"`},
		"unionpay": {"consume", `{"orderId":"ride00001","txnTime":"20260302143000","txnAmt":"470","qrNo":"6220485073630469936"}`,
			"query", `{"orderId":"ride00002","txnTime":"20260302143000"}`, "470"},
		"openloop": {"pay", `{"order":"day1","amount":{"minor":470,"currency":"EUR"},"source":{"token":"tok_1"},"notify_url":"NOTIFY"}`, "query", `{"order":"day2"}`, "470"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(chan string, 4)
			merchant := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				told <- string(body)
			}))
			defer merchant.Close()
			tools := Products()[name].Tools
			account := maps.Clone(tools.Account)
			account["notify_url"] = merchant.URL + "/told"
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = root.Close() }()
			dir, err := party.Open(root, account, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			m := party.Meeting{Dir: dir, Clock: time.Now, Random: rand.Reader, HTTP: http.DefaultClient}
			sim, err := tools.Sim(t.Context(), m, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer sim.Stop()
			biz := strings.ReplaceAll(c.biz, "NOTIFY", account["notify_url"])
			if a, err := tools.Call(t.Context(), m, party.Call{Endpoint: sim.Address, Op: c.op, Biz: json.RawMessage(biz)}); err != nil || a.Refused != "" {
				t.Fatalf("%+v, %v", a, err)
			}
			select {
			case body := <-told:
				if !strings.Contains(body, c.told) {
					t.Errorf("told %s", body)
				}
			case <-time.After(20 * time.Second):
				t.Error("nobody was told")
			}
			armed, err := http.Post(sim.Address+"/sim/arm?next=die", "", nil)
			if err != nil || armed.StatusCode != http.StatusNoContent {
				t.Fatalf("%+v, %v", armed, err)
			}
			_ = armed.Body.Close()
			second := strings.NewReplacer("ride00001", "ride00002", "day1", "day2", "2812345678000001", "2812345678000002").Replace(biz)
			if a, err := tools.Call(t.Context(), m, party.Call{Endpoint: sim.Address, Op: c.op, Biz: json.RawMessage(second)}); err != nil || a.Unknown == "" {
				t.Fatalf("a payment whose answer died: %+v, %v", a, err)
			}
			var a party.Answer
			for range 400 {
				a, err = tools.Call(t.Context(), m, party.Call{Endpoint: sim.Address, Op: c.query, Biz: json.RawMessage(c.ask)})
				if err == nil && a.Unknown == "" {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if err != nil || a.Unknown != "" || a.Refused != "" || !strings.Contains(strings.ReplaceAll(string(a.Body), ".", ""), "470") {
				t.Errorf("after it came back: %+v, %v", a, err)
			}
		})
	}
}
