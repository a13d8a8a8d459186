package wechatpaysim

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // APIv2 knows it
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cashlesscity/citygate"
)

// A field is one element of an APIv2 message.
type field struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
}

type message struct {
	XMLName xml.Name `xml:"xml"`
	Fields  []field  `xml:",any"`
}

// An act2 is what an APIv2 path does: fields of the answer.
type act2 func(s *Server, m *merchant, in map[string]string) (map[string]string, fate)

var acts2 = map[string]act2{
	"/transit/pay/payapply":   (*Server).payApply,
	"/transit/queryorder":     (*Server).queryOrder2,
	"/transit/pay/querystate": (*Server).queryState,
}

// sum2 is the APIv2 signature of a message.
func sum2(fields map[string]string, kind string, key []byte) string {
	var names []string
	for name, value := range fields {
		if name != "sign" && value != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var text []byte
	for _, name := range names {
		text = append(text, name+"="+fields[name]+"&"...)
	}
	text = append(append(text, "key="...), key...)
	if kind == "MD5" {
		sum := md5.Sum(text) //nolint:gosec // see the import
		return strings.ToUpper(hex.EncodeToString(sum[:]))
	}
	h := hmac.New(sha256.New, key)
	h.Write(text) // a hash takes every write
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// handle2 answers one APIv2 request. What is wrong with the message itself is
// answered without a signature, as the platform does.
func (s *Server) handle2(do act2) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
		var in message
		if err != nil || xml.Unmarshal(body, &in) != nil {
			s.send2(w, r, nil, map[string]string{"return_code": "FAIL", "return_msg": "XML格式错误"}, delivered)
			return
		}
		fields := make(map[string]string, len(in.Fields))
		for _, f := range in.Fields {
			fields[f.XMLName.Local] = f.Text
		}
		s.mu.Lock()
		m := s.merchants[fields["mch_id"]]
		kind := cmp.Or(fields["sign_type"], "HMAC-SHA256")
		if m == nil || len(m.APIv2Key) == 0 || fields["appid"] != m.AppID || kind != "HMAC-SHA256" ||
			!hmac.Equal([]byte(fields["sign"]), []byte(sum2(fields, kind, m.APIv2Key))) {
			s.mu.Unlock()
			s.send2(w, r, nil, map[string]string{"return_code": "FAIL", "return_msg": "签名错误"}, delivered)
			return
		}
		out, f := do(s, m, fields)
		s.mu.Unlock()
		out["return_code"], out["appid"], out["mch_id"], out["nonce_str"] = success, m.AppID, m.MchID, randomText()
		out["result_code"] = ifElse(out["err_code"] == "", success, "FAIL")
		s.send2(w, r, m, out, f)
	}
}

func (s *Server) send2(w http.ResponseWriter, r *http.Request, m *merchant, out map[string]string, f fate) {
	if s.Cut(w, r, cuts[f]) {
		return
	}
	if m != nil && f != unsigned {
		out["sign"] = sum2(out, "HMAC-SHA256", m.APIv2Key)
		if f == badSigned || f == strange || f == stale || f == probe {
			out["sign"] = strings.Repeat("0", 64)
		}
	}
	text := write2(out)
	if f == garbled {
		text = text[:len(text)/2]
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = w.Write(text) // a client that is gone loses its answer, as everywhere
}

// write2 writes a message with its texts in CDATA, as the platform does.
func write2(fields map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString("<xml>\n")
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString("<" + name + "><![CDATA[" + strings.ReplaceAll(fields[name], "]]>", "") + "]]></" + name + ">\n")
	}
	b.WriteString("</xml>")
	return b.Bytes()
}

// payApply is /transit/pay/payapply: SUCCESS says that it was accepted.
func (s *Server) payApply(m *merchant, in map[string]string) (map[string]string, fate) {
	amount, err := strconv.ParseInt(in["total_fee"], 10, 64)
	var facts map[string]map[string]string
	if err != nil || in["trade_type"] != "PAP" || in["notify_url"] == "" || in["spbill_create_ip"] == "" || (in["trade_scene"] != "METRO" && in["trade_scene"] != "BUS") ||
		len(in["scene_info"]) > 1024 || json.Unmarshal([]byte(in["scene_info"]), &facts) != nil || facts["scene_info"]["start_time"] == "" {
		return map[string]string{"err_code": "PARAM_ERROR", "err_code_des": "参数错误"}, delivered
	}
	arm := s.Disarm()
	o, refused := s.place(m, wish{kind: kindRide, outTradeNo: in["out_trade_no"], description: in["body"], attach: in["attach"], payer: in["contract_id"],
		notifyURL: in["notify_url"], amount: amount, currency: citygate.Currency(in["fee_type"]), content: []byte(in["scene_info"]), v2: true}, arm)
	if o == nil {
		return map[string]string{"err_code": refused.Code, "err_code_des": refused.Message}, delivered
	}
	f := armFates[arm]
	if f == delivered {
		f = s.replyFault(m, o.outTradeNo)
	}
	if arm == ArmDecline {
		return map[string]string{"err_code": "RULELIMIT", "err_code_des": "拒绝"}, f
	}
	return map[string]string{}, f
}

// queryOrder2 is /transit/queryorder.
func (s *Server) queryOrder2(m *merchant, in map[string]string) (map[string]string, fate) {
	o := s.find(m, in["out_trade_no"])
	if o == nil || !o.v2 {
		return map[string]string{"err_code": "ORDERNOTEXIST", "err_code_des": "此交易订单号不存在"}, delivered
	}
	return o.fields2(), delivered
}

// states2 are the states in the words of APIv2.
var states2 = map[string]string{accepted: "ACCEPT", payFail: payError}

func (o *order) fields2() map[string]string {
	out := map[string]string{
		"out_trade_no": o.outTradeNo, "trade_state": cmp.Or(states2[o.shownState()], o.shownState()), "trade_type": "PAP",
		"total_fee": strconv.FormatInt(o.amount, 10), "fee_type": string(o.currency), "attach": o.attach, "openid": o.openID,
	}
	if o.moved() {
		out["transaction_id"], out["time_end"], out["cash_fee"] = o.id, o.at.In(beijing).Format("20060102150405"), strconv.FormatInt(o.paid, 10)
		out["bank_type"] = ifElse(o.repay != "", "BPA", "OTHERS")
	}
	return out
}

// notice2 is the APIv2 notification of a payment.
func (o *order) notice2(m *merchant) []byte {
	out := o.fields2()
	delete(out, "trade_state")
	out["return_code"], out["result_code"], out["appid"], out["mch_id"], out["nonce_str"] = success, success, m.AppID, m.MchID, randomText()
	out["sign_type"] = "HMAC-SHA256"
	out["sign"] = sum2(out, "HMAC-SHA256", m.APIv2Key)
	return write2(out)
}

// queryState is /transit/pay/querystate.
func (s *Server) queryState(_ *merchant, in map[string]string) (map[string]string, fate) {
	var found *contract
	for _, c := range s.contracts {
		if c.id == in["contract_id"] || (in["contract_id"] == "" && c.openID == in["openid"]) {
			found = c
		}
	}
	if found == nil {
		return map[string]string{"err_code": "CONTRACT_NOT_EXIST", "err_code_des": "签约协议不存在"}, delivered
	}
	out := map[string]string{"user_state": "NORMAL", "openid": found.openID}
	switch {
	case found.owes > 0:
		out["user_state"] = "OVERDUE"
	case found.blocked != "":
		out["user_state"] = "BLOCKED"
	}
	if in["contract_id"] != "" {
		out["contract_id"], out["contract_state"] = found.id, ifElse(found.ended, "1", "0")
	}
	return out, delivered
}
