package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// document is the part of the OpenAPI file that the types are held against.
type document struct {
	Paths      map[string]map[string]any `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Required   []string       `yaml:"required"`
			Properties map[string]any `yaml:"properties"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

// The document and the types say the same fields, and the same ones required.
func TestTheDocumentSaysWhatTheTypesSay(t *testing.T) {
	var doc document
	if err := yaml.Unmarshal(OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	types := map[string]any{
		"Manifest": Manifest{}, "TestSystem": TestSystem{}, "Contract": contractPart{}, "Money": money{}, "Debit": debit{}, "Ref": ref{},
		"Result": result{}, "SubmitCall": submitCall{}, "SubmitAnswer": submitAnswer{}, "RefCall": refCall{}, "ReverseAnswer": reverseAnswer{},
		"Refund": refund{}, "RefundCall": refundCall{}, "BillCall": billCall{}, "BillHead": billHead{}, "BillRow": billRow{}, "BillEnd": billEnd{}, "BillMore": billMore{},
		"PlainCall": plainCall{}, "DenyAnswer": denyAnswer{}, "DenyChangeCall": denyChangeCall{}, "DenyChangeAnswer": denyChangeAnswer{}, "KeysAnswer": keysAnswer{}, "FeedKey": feedKey{}, "Notification": notification{},
		"NotifyCall": notifyCall{}, "Ack": ack{}, "Notice": notice{}, "Agreement": agreement{}, "NotifyAnswer": notifyAnswer{}, "CodeCall": codeCall{},
		"CodeAnswer": codeAnswer{}, "RiderCall": riderCall{}, "RiderAnswer": riderAnswer{}, "Problem": problem{}, "TestCall": testCall{},
		"TestAnswer": testAnswer{}, "TestMove": testMove{}, "Taken": taken{},
		"EvidenceCall": evidenceCall{}, "EvidenceAnswer": evidenceAnswer{},
		"CardTap": cardTap{}, "Authorization": authorization{}, "AuthorizationCall": authorizationCall{}, "AuthorizationAnswer": authorizationAnswer{},
		"DeviceCall": deviceCall{}, "DeviceAnswer": deviceAnswer{}, "ArrearsAnswer": arrearsAnswer{},
		"CodeForm": codeForm{}, "Rate": rate{}, "Quote": quote{}, "QuoteCall": quoteCall{}, "Exchange": exchange{},
		"CardCall": cardCall{}, "CardAnswer": cardAnswer{}, "TestCard": testCard{},
		"OpenAgreementCall": openAgreementCall{}, "Invitation": invitation{}, "AgreementCall": agreementCall{},
	}
	for name := range doc.Components.Schemas {
		if types[name] == nil {
			t.Errorf("the document has %s, which no type is", name)
		}
	}
	for name, v := range types {
		schema, ok := doc.Components.Schemas[name]
		if !ok {
			t.Errorf("the document has no %s", name)
			continue
		}
		var has, needs []string
		for f := range reflect.TypeOf(v).Fields() {
			tag, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			has = append(has, tag)
			if option != "omitempty" {
				needs = append(needs, tag)
			}
		}
		said := make([]string, 0, len(schema.Properties))
		for p := range schema.Properties {
			said = append(said, p)
		}
		slices.Sort(has)
		slices.Sort(said)
		if !slices.Equal(has, said) {
			t.Errorf("%s has %v, the document says %v", name, has, said)
		}
		slices.Sort(needs)
		slices.Sort(schema.Required)
		if !slices.Equal(needs, schema.Required) {
			t.Errorf("%s always writes %v, the document requires %v", name, needs, schema.Required)
		}
	}
	for path := range (&handler{}).calls() {
		if doc.Paths[path]["post"] == nil {
			t.Errorf("the document has no POST %s", path)
		}
	}
	if got, want := len(doc.Paths), len((&handler{}).calls())+3; got != want { // manifest, health and test
		t.Errorf("the document has %d paths, want %d", got, want)
	}
}

// What the two sides write is what the schemas allow.
func TestMessagesFitTheirSchemas(t *testing.T) {
	var doc any
	if err := yaml.Unmarshal(OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", value); err != nil {
		t.Fatal(err)
	}
	at, hkd := time.Unix(1_800_000_000, 0), citygate.Money{Minor: 470, Currency: "HKD"}
	part := contractPart{Config: json.RawMessage("{}"), NotifyURL: "https://gateway.example/v1/notify/http/x"}
	for name, v := range map[string]any{
		"SubmitCall":          submitCall{part, []debit{debitOut(driver.Debit{OurID: "a", Amount: hkd, TripTime: at, Attempted: at, Mark: string(markAt(at))})}},
		"Result":              resultOut(driver.Result{OurID: "a", RetryAt: at, Amount: hkd, Advance: driver.AdvanceOwed}),
		"RefundCall":          refundCall{part, refundOut(driver.Refund{OurID: "b", Charge: driver.Ref{OurID: "a", SubmittedAt: at}, Amount: hkd})},
		"Notice":              noticeOut(driver.Notice{Kind: driver.NoticeAgreement, Agreement: driver.Agreement{OurID: "a", State: driver.AgreementActive, SingleMax: hkd}}),
		"Taken":               noticeOut(driver.Notice{Kind: driver.NoticeReversal, ChargeID: "a", Taken: driver.Taken{Reference: "cb", State: driver.TakenBack, Amount: hkd, Fee: 9, At: at}}).Taken,
		"NotifyCall":          notifyCall{part, notification{Method: "POST", Target: "/", At: at}},
		"AuthorizationCall":   authorizationCall{part, authorizationOut(driver.Authorization{OurID: "a", Tap: driver.CardTap{Token: "t", At: at}, Of: driver.Ref{OurID: "b"}})},
		"AuthorizationAnswer": authorizationAnswer{resultOut(driver.Result{OurID: "a"}), wordOf(driver.LiabilityIssuer), true},
		"Quote":               quoteOut(driver.Quote{Asked: hkd, Pays: hkd, Rate: driver.Rate{ID: "r", Price: "1.03", Until: at}}),
		"BillRow":             billRow{ID: "a", AmountMinor: 470, At: at, Exchange: exchangeOut(driver.Exchange{Paid: hkd, SettleRate: driver.Rate{Price: "1"}})},
		"CodeAnswer":          codeAnswer{ID: "a", Outcome: wordOf(driver.CodeUnknown)},
		"Manifest":            manifest(),

		"EvidenceCall": evidenceCall{part, []byte("a record")}, "EvidenceAnswer": evidenceAnswer{recordName([]byte("a record")), wordOf(driver.EvidenceUnknown), ""},

		"CardCall": cardCall{Contract: part, Card: "1", Rider: "ann", Balance: moneyOf(hkd), At: at}, "CardAnswer": cardAnswer{"1"}, "TestCard": testCard{Card: "1", Rider: "ann"},
		"OpenAgreementCall": openAgreementCall{part, "a", "ann", "rides", moneyOf(hkd), "https://operator.example/back"},
		"AgreementCall":     agreementCall{part, "", "N-a"}, "Agreement": agreementOut(driver.Agreement{ID: "N-a", ValidTo: at}), "Invitation": invitation{"a", "wallet://agree?a"},
	} {
		schema, err := c.Compile("openapi.json#/components/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func manifest() Manifest {
	return Manifest{
		Protocol: []string{"1"}, Name: "toy", Version: "1", Currencies: []string{"HKD"}, BatchMax: 1, IDMax: 64, PollSeconds: 1, DeadlineSeconds: 1,
		Capabilities: []driver.Capability{driver.CapBill}, BillZone: "Asia/Shanghai", BillStartSeconds: -3600, Secrets: []string{"key"},
		ConfigSchema: json.RawMessage(`{"type":"object","required":["merchant"],"additionalProperties":false,"properties":{"merchant":{"type":"string","maxLength":5}}}`),
	}
}

func config(t *testing.T) Config {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Contract: Contract{
			URL: "https://adapter.test", KeyID: "g1", Keys: []ProgramKey{{"p1", der}}, Manifest: manifest(), Config: json.RawMessage(`{"merchant":"m1"}`),
		},
		Secrets: map[string]citygate.Secret{"key": citygate.NewSecret([]byte("s"))}, Signer: private, HTTP: http.DefaultClient, Clock: time.Now, Random: rand.Reader,
	}
}

func TestAContractThatCannotWorkIsRefusedByField(t *testing.T) {
	if _, err := Open(config(t)); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"url: want https, or http":          func(c *Config) { c.URL = "http://adapter.test" },
		"url: want https://HOST":            func(c *Config) { c.URL = "https://user@adapter.test" },
		"key_id":                            func(c *Config) { c.KeyID = `a"b` },
		"keys: missing":                     func(c *Config) { c.Keys = nil },
		"keys[0]":                           func(c *Config) { c.Keys[0].Public = []byte("x") },
		"keys[1]: the id":                   func(c *Config) { c.Keys = append(c.Keys, c.Keys[0]) },
		"the secret":                        func(c *Config) { c.Secrets = nil },
		"/merchant does not fit":            func(c *Config) { c.Config = json.RawMessage(`{"merchant":"too long"}`) },
		"/config/x: there is no such field": func(c *Config) { c.Config = json.RawMessage(`{"merchant":"m1","x":1}`) },
		"config: not JSON":                  func(c *Config) { c.Config = json.RawMessage(`{`) },
		"manifest.config_schema":            func(c *Config) { c.Manifest.ConfigSchema = json.RawMessage(`{"$ref":"https://elsewhere.test/s.json"}`) },
		"manifest.protocol":                 func(c *Config) { c.Manifest.Protocol = []string{"2"} },
		"manifest.batch_max":                func(c *Config) { c.Manifest.BatchMax = 0 },
		"manifest.id_max":                   func(c *Config) { c.Manifest.IDMax = driver.IDMade - 1 },
		"manifest.capabilities":             func(c *Config) { c.Manifest.Capabilities = []driver.Capability{"fly"} },
		"manifest.bill_zone":                func(c *Config) { c.Manifest.BillZone = "Mars" },
		"manifest.poll_seconds":             func(c *Config) { c.Manifest.PollSeconds = 0 },
		"manifest.deadline":                 func(c *Config) { c.Manifest.DeadlineSeconds = 0 },
		"manifest.by_agreement":             func(c *Config) { c.Manifest.ByAgreement = true },
		"manifest.payment_codes[1]": func(c *Config) {
			c.Manifest.PaymentCodes = []codeForm{{From: "28", To: "29", Min: 16, Max: 24}, {From: "a", To: "b", Min: 1, Max: 9}}
		},
		"payment_codes[0]":          func(c *Config) { c.Manifest.PaymentCodes = []codeForm{{From: "29", To: "28", Min: 16, Max: 24}} },
		"manifest.payment_codes[0]": func(c *Config) { c.Manifest.PaymentCodes = []codeForm{{From: "28", To: "3", Min: 16, Max: 24}} },
		"manifest.test.payment_code": func(c *Config) {
			c.Manifest.PaymentCodes, c.Manifest.Test = []codeForm{{Min: 16, Max: 24}}, &TestSystem{Rider: "r", Currency: "HKD"}
		},
		"manifest.recover_tries":          func(c *Config) { c.Manifest.RecoverTries = -1 },
		"manifest.recover_within_seconds": func(c *Config) { c.Manifest.RecoverWithinSeconds = 1 << 40 }, // as nanoseconds it is negative
		"manifest.deadline_seconds":       func(c *Config) { c.Manifest.DeadlineSeconds = 1<<55 + 2 },    // as nanoseconds it is two seconds
		"manifest.recoveries":             func(c *Config) { c.Manifest.Recoveries = []driver.Recovery{"by_force"} },
		"manifest.payer_poll_seconds":     func(c *Config) { c.Manifest.PayerPollSeconds = -1 },
		"manifest.currencies":             func(c *Config) { c.Manifest.Currencies = []string{"dollars"} },
	} {
		c := config(t)
		spoil(&c)
		_, err := Open(c)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want it refused with %q", err, want)
		}
	}
}

func TestABillsDayBeginsWhereTheManifestSays(t *testing.T) {
	d, err := Open(config(t))
	if err != nil {
		t.Fatal(err)
	}
	shanghai := time.FixedZone("", 8*3600)
	for at, want := range map[time.Time]string{
		time.Date(2026, 11, 21, 22, 59, 59, 0, shanghai): "2026-11-21",
		time.Date(2026, 11, 21, 23, 0, 0, 0, shanghai):   "2026-11-22",
		time.Date(2026, 11, 22, 0, 30, 0, 0, shanghai):   "2026-11-22",
	} {
		if got := d.BillDay(at).String(); got != want {
			t.Errorf("%s is of the bill of %s, want %s", at, got, want)
		}
	}
}

var billDay = citygate.Date{Year: 2026, Month: 11, Day: 21}

func bill(body string) driver.Bill {
	return driver.Bill{Day: billDay, Currency: "HKD", Name: "b", Body: []byte(body)}
}

const (
	head = `{"bill":"1","day":"2026-11-21","currency":"HKD","name":"b"}` + "\n"
	row1 = `{"id":"a","amount_minor":470,"fee_minor":3,"at":"2026-11-21T04:00:00Z"}` + "\n"
	row2 = `{"id":"a","refund_id":"r","amount_minor":-70,"fee_minor":0,"at":"2026-11-21T05:00:00Z"}` + "\n"
	foot = `{"end":true,"rows":2,"amount_minor":400,"fee_minor":3}` + "\n"
)

// What a program tells of payments that were taken back comes out as it went in, by
// notice and by a bill's row.
func TestPaymentsTakenBackAreTold(t *testing.T) {
	at, hkd := time.Unix(1_800_000_000, 0).UTC(), citygate.Money{Minor: 470, Currency: "HKD"}
	for _, want := range []driver.Notice{
		{ID: "1", Kind: driver.NoticeReversal, ChargeID: "a", Taken: driver.Taken{Reference: "cb", State: driver.TakenBack, Amount: hkd, Fee: 9, ReasonCode: "C28", At: at}},
		{Kind: driver.NoticeReversal, Taken: driver.Taken{Reference: "rp", Of: "cb", State: driver.TakenWon, Amount: hkd, Fee: -9}},
		{Kind: driver.NoticeReversal, Taken: driver.Taken{Reference: "rp", Of: "cb", State: driver.TakenLost}},
		{Kind: driver.NoticeReversal, Taken: driver.Taken{Reference: "rp", Of: "cb", State: driver.TakenLost, FeeUnsaid: true}},
		{Kind: driver.NoticeReversal, Taken: driver.Taken{Reference: "cb", State: driver.TakenOther}},
	} {
		raw, err := json.Marshal(noticeOut(want))
		if err != nil {
			t.Fatal(err)
		}
		var n notice
		if err := json.Unmarshal(raw, &n); err != nil {
			t.Fatal(err)
		}
		if got := n.notice(); got != want {
			t.Errorf("%s gives %+v, want %+v", raw, got, want)
		}
	}
	row := func(rest string) string {
		return `{"id":"a",` + rest + `,"fee_minor":0,"at":"2026-11-21T05:00:00Z"}` + "\n"
	}
	foot := func(amount int64) string {
		return fmt.Sprintf("{\"end\":true,\"rows\":1,\"amount_minor\":%d,\"fee_minor\":0}\n", amount)
	}
	for _, amount := range []int64{-70, 70} {
		lines, err := parseBill(bill(head + row(fmt.Sprintf(`"refund_id":"cb","amount_minor":%d,"reversed":true`, amount)) + foot(amount)))
		if err != nil || len(lines) != 1 || !lines[0].Reversed || !lines[0].Refund || lines[0].RefundID != "cb" || lines[0].Amount.Minor != amount {
			t.Errorf("%d: %+v, %v", amount, lines, err)
		}
	}
	for _, rest := range []string{`"amount_minor":-70,"reversed":true`, `"refund_id":"r","amount_minor":70`} {
		if lines, err := parseBill(bill(head + row(rest) + foot(70))); err == nil {
			t.Errorf("%s: %+v", rest, lines)
		}
	}
}

func TestABillThatDoesNotAddUpIsRefused(t *testing.T) {
	lines, err := parseBill(bill(head + row1 + row2 + foot))
	if err != nil || len(lines) != 2 || !lines[1].Refund || lines[1].RefundID != "r" || lines[0].Fee != 3 {
		t.Fatalf("%+v, %v", lines, err)
	}
	for name, body := range map[string]string{
		"empty": "", "no head": row1 + row2 + foot, "no end": head + row1 + row2, "a row lost": head + row1 + foot,
		"a row twice": head + row1 + row1 + row2 + foot, "behind the end": head + row1 + row2 + foot + row1, "no last line feed": head + row1 + row2 + strings.TrimSpace(foot),
		"another day":                    strings.Replace(head, "-21", "-20", 1) + row1 + row2 + foot,
		"another currency":               strings.Replace(head, "HKD", "CNY", 1) + row1 + row2 + foot,
		"a refund above 0":               head + row1 + strings.Replace(row2, "-70", "70", 1) + foot,
		"unknown field":                  head + strings.Replace(row1, `"id"`, `"x":1,"id"`, 1) + row2 + foot,
		"an exchange of another sign":    head + strings.Replace(row1, `"at"`, `"exchange":{"paid":{"minor":-9,"currency":"MOP"}},"at"`, 1) + row2 + foot,
		"an exchange without a currency": head + strings.Replace(row1, `"at"`, `"exchange":{"settled":{"minor":9,"currency":""}},"at"`, 1) + row2 + foot,
	} {
		if _, err := parseBill(bill(body)); !errors.Is(err, ErrBill) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

// A bill is an error, or its rows add up to its end, and written again it reads
// the same.
func FuzzParseBill(f *testing.F) {
	f.Add(head + row1 + row2 + foot)
	f.Add(head + strings.Replace(row1, "470", "9223372036854775807", 1) + foot)
	f.Fuzz(func(t *testing.T, body string) {
		lines, err := parseBill(bill(body))
		if err != nil {
			if !errors.Is(err, ErrBill) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		var end billEnd
		rows := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		if err := json.Unmarshal([]byte(rows[len(rows)-1]), &end); err != nil {
			t.Fatal(err)
		}
		var total int64
		for _, l := range lines {
			total += l.Amount.Minor
		}
		if total != end.AmountMinor || len(lines) != end.Rows {
			t.Errorf("%d rows of %d, its end says %d of %d", len(lines), total, end.Rows, end.AmountMinor)
		}
		again, err := writeBill(bill(""), 0, 0, func(visit func(driver.BillLine) error) error { return visitAll(lines, visit) })
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseBill(bill(string(again))); err != nil || len(back) != len(lines) {
			t.Errorf("written again it does not read: %v", err)
		}
	})
}
