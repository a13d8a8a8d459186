package wechatpay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrMethod says that a tool named a method that this package does not speak.
var ErrMethod = &citygate.Code{Name: "wechatpay.method", Kind: citygate.Invalid, Title: "There is no such method of the platform here; name one of the list."}

// A Standing is how an answer leaves what was asked for.
type Standing string

// The standings. The zero value is Open, so that what nobody thought of is never
// taken for an answer.
const (
	Open    Standing = ""        // it may have happened or happen yet: ask again
	Done    Standing = "done"    // the answer is final and says yes
	Refused Standing = "refused" // the answer is final and says no
)

// An Answer is what the platform said to one method. It was proven.
type Answer struct {
	Body     []byte // byte for byte as received; empty where a yes has no content
	Standing Standing
	Why      string // why it is open or refused, in the platform's codes
}

// A method is one call of the platform.
type method struct {
	op     string // the path without /v3/ and values, with dots
	verb   string
	path   string // with {names} for values
	adds   string // appid and mchid that a body or a query gets where it lacks them
	moving bool   // it may move money: a refusal is final only in words of a table
	read   func(body []byte) (Standing, string)
}

var methods = []method{
	{"pay.transactions.codepay", http.MethodPost, pathCodePay, "appid mchid", true, readPayment},
	{"pay.transactions.out-trade-no", http.MethodGet, pathOrder + "{out_trade_no}", "mchid", false, readPayment},
	{"pay.transactions.id", http.MethodGet, "/v3/pay/transactions/id/{transaction_id}", "mchid", false, readPayment},
	{"pay.transactions.out-trade-no.reverse", http.MethodPost, pathOrder + "{out_trade_no}/reverse", "appid mchid", true, readReversal},
	{"qrcode.transactions", http.MethodPost, pathRide, "appid", true, readPayment},
	{"qrcode.transactions.out-trade-no", http.MethodGet, pathRide + "/out-trade-no/{out_trade_no}", "", false, readPayment},
	{"qrcode.user-services.contract-id", http.MethodGet, pathUserService + "{contract_id}", "appid", false, nil},
	{"refund.domestic.refunds", http.MethodPost, pathRefund, "", true, readRefund},
	{"refund.domestic.refunds.query", http.MethodGet, pathRefund + "/{out_refund_no}", "", false, readRefund},
	{"bill.tradebill", http.MethodGet, pathTradeBill, "", false, nil},
	{"bill.fundflowbill", http.MethodGet, pathFundFlowBill, "", false, nil},
	{"certificates", http.MethodGet, pathCertificates, "", false, nil},
	{"global.micropay.transactions.pay", http.MethodPost, pathGlobalPay, "appid mchid", true, readPayment},
	{"global.transactions.out-trade-no", http.MethodGet, pathGlobalOrder + "{out_trade_no}", "mchid", false, readPayment},
	{"global.micropay.transactions.out-trade-no.reverse", http.MethodPost, pathGlobalReverse + "{out_trade_no}/reverse", "appid mchid", true, readReversal},
	{"global.refunds", http.MethodPost, pathGlobalRefund, "appid mchid", true, readGlobalRefund},
	{"global.refunds.out-refund-no", http.MethodGet, pathGlobalRefund + "/out-refund-no/{out_refund_no}", "mchid", false, readGlobalRefund},
	{"transit.pay.payapply", methodV2, pathPayApply, "", true, nil},
	{"transit.queryorder", methodV2, pathQueryOrder, "", false, nil},
	{"transit.pay.querystate", methodV2, pathQueryState, "", false, nil},
}

// methodV2 marks a call of APIv2.
const methodV2 = "XML"

// Ops lists the names of the methods that this package speaks.
func Ops() []string {
	ops := make([]string, len(methods))
	for i, m := range methods {
		ops[i] = m.op
	}
	return ops
}

var valueForm = regexp.MustCompile(`^[A-Za-z0-9_|*@-]{1,64}$`)

// methodOf finds the method that op names: its path without /v3/, with dots or
// slashes, the end of one if that is unique, or a whole path with its values.
func methodOf(op string) (method, map[string]string, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(strings.Trim(op, "/"), "v3/"), "/", ".")
	name = strings.TrimPrefix(name, "v3.")
	var ends []method
	for _, m := range methods {
		if m.op == name {
			return m, nil, nil
		}
		if strings.HasSuffix(m.op, "."+name) {
			ends = append(ends, m)
		}
	}
	if len(ends) == 1 {
		return ends[0], nil, nil
	}
	said := strings.Split("/v3/"+strings.TrimPrefix(strings.Trim(op, "/"), "v3/"), "/")
	for _, m := range methods {
		if values, ok := matches(strings.Split(m.path, "/"), said); ok {
			return m, values, nil
		}
	}
	return method{}, nil, ErrMethod.Explain("%q; there are %s", op, strings.Join(Ops(), ", "))
}

func matches(template, said []string) (map[string]string, bool) {
	values := map[string]string{}
	for i, part := range template {
		if i >= len(said) {
			return nil, false
		}
		if name, ok := strings.CutPrefix(part, "{"); ok && valueForm.MatchString(said[i]) {
			values[strings.TrimSuffix(name, "}")] = said[i]
		} else if part != said[i] {
			return nil, false
		}
	}
	return values, len(template) == len(said) && len(values) > 0
}

// Exec sends one method with the values of biz and reads how the answer leaves
// the matter. Values that the path names go there, of a GET the others into the
// query; the body of a POST is biz byte for byte, unless it lacks appid or mchid or
// has names with dots, which say where inside an object a value belongs. It is for
// tools: the gateway uses the methods of driver's interfaces, which read the same
// tables.
//
// An error that is [driver.ErrNotPerformed] means that nothing was sent; after any
// other nobody can say.
func Exec(ctx context.Context, c Config, op string, biz json.RawMessage) (Answer, error) {
	m, values, err := methodOf(op)
	if err != nil {
		return Answer{}, err
	}
	if m.verb == methodV2 {
		c.Product = RideV2
	} else if strings.HasPrefix(m.op, "global.") {
		c.Product, c.Currency = Global, orCurrency(c.Currency, "HKD") // the caller names the currency itself
	}
	p, err := New(c)
	if err != nil {
		return Answer{}, err
	}
	fields, err := fieldsOf(biz)
	if err != nil {
		return Answer{}, err
	}
	if m.verb == methodV2 {
		v2, _ := p.(*rideV2)
		return v2.exec(ctx, m, fields)
	}
	return clientOf(p).exec(ctx, m, values, fields, biz)
}

// clientOf gives what all providers of this package share.
func clientOf(p driver.Provider) *client {
	switch p := p.(type) {
	case *ride:
		return p.client
	case *rideV2:
		return p.client
	case *codePay:
		return p.client
	case *global:
		return p.client
	}
	return nil
}

func fieldsOf(biz json.RawMessage) (map[string]any, error) {
	fields := map[string]any{}
	if len(biz) == 0 {
		return fields, nil
	}
	d := json.NewDecoder(bytes.NewReader(biz))
	d.UseNumber() // an amount is never a float
	if err := d.Decode(&fields); err != nil || d.More() {
		return nil, fmt.Errorf("%w: wechatpay: want a JSON object", driver.ErrNotPerformed)
	}
	return fields, nil
}

func (c *client) exec(ctx context.Context, m method, values map[string]string, fields map[string]any, biz json.RawMessage) (Answer, error) {
	target, changed, err := fill(m.path, values, fields)
	if err != nil {
		return Answer{}, err
	}
	for _, name := range strings.Fields(m.adds) {
		if _, there := fields[name]; !there {
			fields[name], changed = map[string]string{"appid": c.config.AppID, "mchid": c.config.MchID}[name], true
		}
	}
	var body []byte
	if m.verb == http.MethodGet {
		query := url.Values{}
		for name, value := range fields {
			query.Set(name, fmt.Sprint(value))
		}
		if len(query) > 0 {
			target += "?" + query.Encode()
		}
	} else if body, err = bodyOf(fields, biz, changed); err != nil {
		return Answer{}, err
	}
	r, text, err := c.exchange(ctx, m.verb, target, body)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Body: text}
	answer.Standing, answer.Why = m.standing(r, text)
	return answer, nil
}

// fill puts values into a path and takes them out of the fields.
func fill(path string, values map[string]string, fields map[string]any) (target string, changed bool, err error) {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		name, is := strings.CutPrefix(part, "{")
		if !is {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		value := values[name]
		if value == "" {
			value, _ = fields[name].(string)
			delete(fields, name)
			changed = true
		}
		if !valueForm.MatchString(value) {
			return "", false, fmt.Errorf("%w: wechatpay: want %s, as letters, digits and _ - | * @", driver.ErrNotPerformed, name)
		}
		parts[i] = value
	}
	return strings.Join(parts, "/"), changed, nil
}

// numbers are fields that the platform wants as numbers; who types name=value
// cannot say so.
var numbers = map[string]bool{"total": true, "refund": true}

// bodyOf gives biz as it is, or the fields, names with dots unfolded.
func bodyOf(fields map[string]any, biz json.RawMessage, changed bool) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		path := strings.Split(name, ".")
		if len(path) == 1 {
			continue
		}
		value := fields[name]
		delete(fields, name)
		changed = true
		into := fields
		for _, step := range path[:len(path)-1] {
			inner, ok := into[step].(map[string]any)
			if !ok {
				inner = map[string]any{}
				into[step] = inner
			}
			into = inner
		}
		last := path[len(path)-1]
		if text, ok := value.(string); ok && numbers[last] {
			value = json.Number(text)
		}
		into[last] = value
	}
	if !changed {
		return biz, nil
	}
	body, err := marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("%w: wechatpay: %w", driver.ErrNotPerformed, err)
	}
	return body, nil
}

// exec sends one method of APIv2.
func (p *rideV2) exec(ctx context.Context, m method, fields map[string]any) (Answer, error) {
	in := document{}
	for name, value := range fields {
		if text, ok := value.(string); ok {
			in[name] = text
			continue
		}
		text, err := marshal(value)
		if err != nil {
			return Answer{}, fmt.Errorf("%w: wechatpay: %w", driver.ErrNotPerformed, err)
		}
		in[name] = string(text)
	}
	out, err := p.call2(ctx, m.path, in)
	if err != nil {
		return Answer{}, err
	}
	body, err := marshal(out)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Body: body}
	code := out["err_code"]
	switch {
	case out["result_code"] != v2Success && noOrder[code]:
		answer.Why = clip(code) + ": the platform does not know it, or not yet"
	case out["result_code"] != v2Success && (declined[code] || notTaken[code] || !m.moving):
		answer.Standing, answer.Why = Refused, clip(code)
	case out["result_code"] != v2Success:
		answer.Why = clip(code)
	case m.path == pathPayApply:
		answer.Why = "it was accepted; ask transit.queryorder what became of it"
	case m.path == pathQueryOrder:
		answer.Standing, answer.Why = standingOf(outcomes[out["trade_state"]], "trade_state "+clip(out["trade_state"]))
	default:
		answer.Standing = Done
	}
	return answer, nil
}

// standing reads an answer of APIv3.
func (m method) standing(r reply, body []byte) (Standing, string) {
	refusing := r.status >= 400 && r.status < 500
	switch {
	case r.ok() && m.read != nil:
		return m.read(body)
	case r.ok():
		return Done, ""
	case waiting[r.Code]:
		return Open, r.String() + ": it waits for the payer"
	case r.missing() && !m.moving:
		return Open, r.String() + ": the platform does not know it, or not yet"
	case refusing && (notTaken[r.Code] || !m.moving):
		return Refused, r.String()
	case refusing && m.op != "refund.domestic.refunds" && m.op != "global.refunds" && (declined[r.Code] || reverseRefused[r.Code]):
		return Refused, r.String()
	case refusing && (refundRefused[r.Code] || refundLater[r.Code]):
		return Refused, r.String()
	}
	return Open, r.String()
}

func standingOf(o driver.Outcome, why string) (Standing, string) {
	switch o {
	case driver.Succeeded:
		return Done, ""
	case driver.Declined:
		return Refused, why
	case driver.Unknown, driver.Accepted, driver.Absent:
	}
	return Open, why
}

func readPayment(body []byte) (Standing, string) {
	var t transaction
	if err := json.Unmarshal(body, &t); err != nil {
		return Open, "unreadable"
	}
	if t.TradeState == stateRevoked {
		return Done, ""
	}
	return standingOf(outcomes[t.TradeState], "trade_state "+clip(t.TradeState))
}

// readReversal reads a yes, which is also said of a number that never existed.
func readReversal([]byte) (Standing, string) {
	return Open, "a yes is no proof: ask what became of it"
}

func readRefund(body []byte) (Standing, string) {
	var r refunded
	if err := json.Unmarshal(body, &r); err != nil {
		return Open, "unreadable"
	}
	return standingOf(refundStates[r.Status], "status "+clip(r.Status))
}

func readGlobalRefund(body []byte) (Standing, string) {
	var r globalRefunded
	if err := json.Unmarshal(body, &r); err != nil {
		return Open, "unreadable"
	}
	status := r.plain().Status
	return standingOf(refundStates[status], "status "+clip(status))
}
