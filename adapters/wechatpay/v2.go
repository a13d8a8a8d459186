package wechatpay

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// A document is the fields of an APIv2 message.
type document map[string]string

const (
	signField = "sign"
	hmacType  = "HMAC-SHA256"
	v2Success = "SUCCESS"
)

// canonical is what an APIv2 signature covers: the fields that are not empty and
// not the signature, sorted by name, and the key behind them.
func (d document) canonical(key citygate.Secret) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(d)) {
		if name != signField && d[name] != "" {
			b.WriteString(name + "=" + d[name] + "&")
		}
	}
	b.WriteString("key=")
	b.Write(key.Reveal())
	return b.Bytes()
}

// sum is the APIv2 signature: HMAC-SHA256 under the key, in capitals.
func (d document) sum(key citygate.Secret) string {
	h := hmac.New(sha256.New, key.Reveal())
	h.Write(d.canonical(key)) // a hash takes every write
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

func (d document) proven(key citygate.Secret) error {
	if !hmac.Equal([]byte(d[signField]), []byte(d.sum(key))) {
		return errUnproven
	}
	return nil
}

// encode writes the document as <xml>, fields in the order of their names, texts
// in CDATA where they need it: parsers in the field do not know numeric
// references, so escapes would change what is signed.
func (d document) encode() []byte {
	var b bytes.Buffer
	b.WriteString("<xml>")
	for _, name := range slices.Sorted(maps.Keys(d)) {
		text := d[name]
		if strings.ContainsAny(text, "<>&\"'\r\n\t") {
			text = "<![CDATA[" + strings.ReplaceAll(text, "]]>", "]]]]><![CDATA[>") + "]]>"
		}
		b.WriteString("<" + name + ">" + text + "</" + name + ">")
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

// decode reads one <xml> element whose children hold text and nothing else. What
// two readers could read in two ways is refused: a field twice, an element in a
// field, anything beside the root.
func decode(body []byte) (document, error) {
	r := xml.NewDecoder(bytes.NewReader(body))
	r.Entity = nil
	doc, depth, ended := document{}, 0, false
	var name string
	var text strings.Builder
	for {
		token, err := r.Token()
		if errors.Is(err, io.EOF) && ended {
			return doc, nil
		}
		if err != nil {
			return nil, errors.New("wechatpay: the message is not XML")
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			if ended || depth > 2 || (depth == 1 && t.Name.Local != "xml") || len(t.Attr) > 0 || t.Name.Space != "" {
				return nil, errors.New("wechatpay: the message is not a flat XML document")
			}
			name = t.Name.Local
			text.Reset()
		case xml.EndElement:
			if depth == 2 {
				if _, twice := doc[name]; twice {
					return nil, fmt.Errorf("wechatpay: the message has %.40q twice", name)
				}
				doc[name] = text.String()
				text.Reset()
			}
			depth--
			ended = depth == 0
		case xml.CharData:
			if depth == 2 {
				text.Write(t)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, errors.New("wechatpay: the message has text outside its fields")
			}
		case xml.Directive:
			return nil, errors.New("wechatpay: the message has a directive")
		}
	}
}

// call2 sends one APIv2 request and gives the believed answer.
func (p *rideV2) call2(ctx context.Context, path string, in document) (document, error) {
	nonce, err := p.nonce()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	in["appid"], in["mch_id"], in["nonce_str"], in["sign_type"] = p.config.AppID, p.config.MchID, nonce, hmacType
	in[signField] = in.sum(p.config.APIv2Key)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, bytes.NewReader(in.encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: wechatpay: the request cannot be built", driver.ErrNotPerformed)
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	got, err := wire.Do(p.config.HTTP, req, wire.CallLimit)
	if err != nil {
		return nil, fmt.Errorf("wechatpay: %w", err)
	}
	if got.Status != http.StatusOK {
		return nil, fmt.Errorf("wechatpay: HTTP status %d", got.Status)
	}
	out, err := decode(got.Body)
	if err != nil {
		return nil, err
	}
	if out["return_code"] != v2Success {
		return nil, errors.New("wechatpay: the call was not taken; the platform does not sign why") // so it proves nothing
	}
	if err := out.proven(p.config.APIv2Key); err != nil {
		return nil, err
	}
	if out["appid"] != p.config.AppID || out["mch_id"] != p.config.MchID {
		return nil, errors.New("wechatpay: the answer is about another merchant")
	}
	return out, nil
}

const (
	pathPayApply   = "/transit/pay/payapply"
	pathQueryOrder = "/transit/queryorder"
	pathQueryState = "/transit/pay/querystate"
	v2Stamp        = "20060102150405"
)

// rideV2 collects on riders' contracts by APIv2. A SUCCESS says that the debit
// was accepted and nothing more; of a debit that fails nothing is ever heard, so
// it has to be asked for. RiderRef is the contract_id.
type rideV2 struct{ *client }

// Describe implements [driver.Provider].
func (p *rideV2) Describe() driver.Description { return p.describe("v2-transit", true) }

// Submit implements [driver.Provider].
func (p *rideV2) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) == 0 {
		return nil, nil
	}
	d, err := p.single(debits)
	if err != nil {
		return nil, err
	}
	if d.RiderRef == "" {
		return nil, fmt.Errorf("%w: debit %s has no rider", driver.ErrNotPerformed, d.OurID)
	}
	facts, err := marshal(map[string]any{"scene_info": p.facts(d)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrNotPerformed, err)
	}
	out, err := p.call2(ctx, pathPayApply, document{
		"body": fitted(d.Subject, subject, descriptionMax), "out_trade_no": d.OurID,
		"total_fee": strconv.FormatInt(d.Amount.Minor, 10), "fee_type": string(d.Amount.Currency),
		"spbill_create_ip": p.config.ClientIP, "notify_url": p.config.NotifyURL, "trade_type": "PAP",
		"contract_id": d.RiderRef, "trade_scene": p.config.Scene, "scene_info": string(facts), "version": p.config.V2Version,
	})
	if err != nil {
		return nil, err
	}
	if out["result_code"] == v2Success {
		return []driver.Result{{OurID: d.OurID, Outcome: driver.Accepted}}, nil
	}
	return one(v2Reply(out).refused("payapply", d.OurID))
}

// facts is what the rider is shown of the ride.
func (p *rideV2) facts(d driver.Debit) map[string]string {
	start := d.TripTime.In(beijing).Format(v2Stamp)
	if p.config.Scene == "METRO" {
		return map[string]string{"start_time": start}
	}
	facts := map[string]string{"start_time": start, "charging_time": start, "space_number": "1"}
	if p.config.Line != "" {
		facts["line_name"] = p.config.Line
	}
	return facts
}

// v2Reply puts a refusal of APIv2 where those of APIv3 are read. Its status
// stands for "a signed refusal".
func v2Reply(out document) reply { return reply{status: http.StatusBadRequest, Code: out["err_code"]} }

// Query implements [driver.Provider].
func (p *rideV2) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	if err := p.priced(ref.OurID, ref.Amount); err != nil {
		return driver.Result{}, err
	}
	out, err := p.call2(ctx, pathQueryOrder, document{"out_trade_no": ref.OurID})
	if err != nil {
		return driver.Result{}, err
	}
	if out["result_code"] != v2Success {
		if noOrder[out["err_code"]] {
			return driver.Result{OurID: ref.OurID, Outcome: driver.Absent, ReasonCode: clip(out["err_code"])}, nil
		}
		return driver.Result{}, v2Reply(out).open("queryorder")
	}
	t, err := v2Transaction(out)
	if err != nil {
		return driver.Result{}, err
	}
	return t.settles(p.client, ref.OurID, ref.Amount)
}

// v2Transaction reads a payment as APIv2 tells of it.
func v2Transaction(out document) (transaction, error) {
	t := transaction{
		OutTradeNo: out["out_trade_no"], TransactionID: out["transaction_id"], TradeState: out["trade_state"],
		BankType: out["bank_type"], SuccessTime: out["time_end"],
	}
	if text := out["total_fee"]; text != "" {
		total, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return t, fmt.Errorf("wechatpay: order %s: an amount that is no number", clip(t.OutTradeNo))
		}
		t.Amount.Total, t.Amount.Currency = &total, citygate.Currency(out["fee_type"])
	}
	return t, nil
}

// Refund implements [driver.Refunder]: refunds are made by APIv3 here too.
func (p *rideV2) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.refund(ctx, refund)
}

// QueryRefund implements [driver.Refunder].
func (p *rideV2) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	return p.queryRefund(ctx, refund)
}

// v2States are riders as APIv2 tells of them.
var v2States = map[string]driver.RiderState{
	"NORMAL": driver.RiderNormal, "BLOCKED": driver.RiderBlocked, "OVERDUE": driver.RiderOverdue,
}

// RiderState implements [driver.RiderCheck]: by the contract, or by the rider's
// open id before there is one. A contract that was ended blocks.
func (p *rideV2) RiderState(ctx context.Context, q driver.RiderQuestion) (driver.RiderStatus, error) {
	in := document{"contract_id": q.AgreementID}
	if q.AgreementID == "" {
		in = document{"openid": q.RiderRef}
	}
	out, err := p.call2(ctx, pathQueryState, in)
	if err != nil {
		return driver.RiderStatus{}, err
	}
	if out["result_code"] != v2Success {
		return driver.RiderStatus{}, v2Reply(out).open("querystate")
	}
	s := driver.RiderStatus{RiderRef: q.RiderRef, State: v2States[out["user_state"]], ReasonCode: clip(out["user_state"]), At: p.config.Clock()}
	if q.AgreementID != "" && out["contract_state"] == "1" && s.State == driver.RiderNormal {
		s.State, s.ReasonCode = driver.RiderBlocked, "CONTRACT_TERMINATED"
	}
	return s, nil
}
