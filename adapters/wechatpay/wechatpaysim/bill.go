package wechatpaysim

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the platform's digest of a bill
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

const (
	billReady    = 10 * time.Hour  // after the end of the day
	addressLife  = 5 * time.Minute // of a download address
	downloadPath = "/v3/billdownload/file"
)

// A row is a line of a bill of trades.
type row struct {
	o        *order
	refund   *refund // of a refund row
	orderNo  string
	refundNo string
	amount   int64 // positive
	fee      int64 // negative on refund rows that give it back
	at       time.Time
}

// startOf is midnight of day in Beijing.
func startOf(day citygate.Date) time.Time {
	return time.Date(day.Year, day.Month, day.Day, 0, 0, 0, 0, beijing)
}

func within(t time.Time, day citygate.Date) bool {
	return !t.Before(startOf(day)) && t.Before(startOf(day.AddDays(1)))
}

// rows are the payments and refunds of a day with the faults of its bill. A
// refund is in the bill of the day it was asked for.
func (s *Server) rows(m *merchant, day citygate.Date) []row {
	var list []row
	for no := range m.orders {
		o := s.find(m, no)
		if o.moved() && within(o.at, day) {
			list = append(list, row{o: o, orderNo: no, amount: o.amount, fee: o.fee, at: o.at})
		}
		for _, r := range o.refunds {
			if within(r.created, day) {
				list = append(list, row{o: o, refund: r, orderNo: no, refundNo: r.outRefundNo, amount: r.amount, at: r.created})
			}
		}
	}
	for _, f := range m.faults[day] {
		list = f.apply(list)
	}
	slices.SortFunc(list, func(a, b row) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.orderNo, b.orderNo), cmp.Compare(a.refundNo, b.refundNo))
	})
	return list
}

const tradeHeader = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"

const tradeFoot = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"

// trades writes the bill of a day. Names of goods keep their commas: the
// platform does not quote.
func (s *Server) trades(m *merchant, day citygate.Date) []byte {
	var b bytes.Buffer
	b.WriteString("\uFEFF" + tradeHeader + "\r\n")
	var settled, refunded, fees int64
	rows := s.rows(m, day)
	for _, r := range rows {
		state, paid, back, refundID, refundKind, refundState := success, r.amount, int64(0), "0", "", ""
		refundNo := "0"
		if r.refund != nil {
			state, paid, back = backState(r), 0, r.amount
			refundID, refundNo, refundKind, refundState = r.refund.id, cmp.Or(r.refundNo, "0"), "ORIGINAL", ifElse(r.refund.reversal, success, "PROCESSING")
		}
		settled, refunded, fees = settled+paid, refunded+back, fees+r.fee
		line := []string{
			r.at.In(beijing).Format(time.DateTime), m.AppID, m.MchID, "0", "", r.o.id, r.orderNo, r.o.openID, ifElse(r.o.kind == kindGlobal, kindCode, r.o.kind), state,
			ifElse(r.o.repay != "", "BPA", "OTHERS"), string(r.o.currency), toYuan(paid), "0.00", refundID, refundNo, toYuan(back), "0.00", refundKind, refundState,
			oneLine(r.o.description), r.o.attach, toYuan(r.fee) + "000", fmt.Sprintf("%d.%02d%%", m.FeePPM/10_000, m.FeePPM/100%100), toYuan(paid), toYuan(back), "",
		}
		b.WriteString("`" + strings.Join(line, ",`") + "\r\n")
	}
	b.WriteString(tradeFoot + "\r\n")
	b.WriteString("`" + strings.Join([]string{
		strconv.Itoa(len(rows)), toYuan(settled), toYuan(refunded), "0.00", toYuan(fees) + "000", toYuan(settled), toYuan(refunded),
	}, ",`") + "\r\n")
	return b.Bytes()
}

func backState(r row) string { return ifElse(r.refund.reversal, revoked, refunded) }

const flowHeader = "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),资金变更提交申请人,备注,业务凭证号"

const flowFoot = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额"

// flows writes the movements of the basic account of a day: a payment comes in,
// its fee and a refund go out.
func (s *Server) flows(m *merchant, day citygate.Date) []byte {
	var b bytes.Buffer
	b.WriteString("\uFEFF" + flowHeader + "\r\n")
	balance := int64(1_000_00)
	var ins, outs, in, out int64
	move := func(r row, name, kind, voucher string, amount int64) {
		if amount == 0 {
			return
		}
		balance += amount
		direction, moved := "收入", amount
		if amount < 0 {
			direction, moved = "支出", -amount
			outs, out = outs+1, out+moved
		} else {
			ins, in = ins+1, in+moved
		}
		flow := fmt.Sprintf("%020d", rank(0, name, r.o.id+voucher))
		b.WriteString("`" + strings.Join([]string{
			r.at.In(beijing).Format(time.DateTime), r.o.id, flow, name, kind, direction, toYuan(moved), toYuan(balance), m.MchID + "API", "结算总金额" + toYuan(moved) + "元", voucher,
		}, ",`") + "\r\n")
	}
	for _, r := range s.rows(m, day) {
		if r.refund != nil {
			move(r, "退款", "退款", cmp.Or(r.refundNo, r.orderNo), -r.amount)
			continue
		}
		move(r, "交易", "交易", r.orderNo, r.amount)
		move(r, "扣除交易手续费", "交易", r.orderNo, -r.fee)
	}
	b.WriteString(flowFoot + "\r\n")
	b.WriteString("`" + strings.Join([]string{
		strconv.FormatInt(ins+outs, 10), strconv.FormatInt(ins, 10), toYuan(in), strconv.FormatInt(outs, 10), toYuan(out),
	}, ",`") + "\r\n")
	return b.Bytes()
}

func toYuan(fen int64) string {
	if fen < 0 {
		return "-" + toYuan(-fen)
	}
	return fmt.Sprintf("%d.%02d", fen/100, fen%100)
}

func oneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", " ", "`", "'").Replace(s) }

// tradeBill is GET /v3/bill/tradebill.
func (s *Server) tradeBill(in asked) (any, fate) {
	if kind := in.query.Get("bill_type"); kind != "ALL" && kind != "" {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "bill_type"), delivered
	}
	return s.billAddress(in, "trade")
}

// fundFlowBill is GET /v3/bill/fundflowbill.
func (s *Server) fundFlowBill(in asked) (any, fate) {
	if account := in.query.Get("account_type"); account != "BASIC" && account != "" {
		return refusal(http.StatusBadRequest, "NO_STATEMENT_EXIST", "the account has no movements"), delivered
	}
	return s.billAddress(in, "flow")
}

// billAddress answers where a bill is. An address carries its own expiry and a
// MAC, so nothing needs to be kept.
func (s *Server) billAddress(in asked, kind string) (any, fate) {
	day, err := citygate.ParseDate(in.query.Get("bill_date"))
	if err != nil {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "bill_date"), delivered
	}
	now := s.config.Clock()
	if now.Before(startOf(day.AddDays(1)).Add(billReady)) {
		return refusal(http.StatusBadRequest, "STATEMENT_CREATING", "not ready"), delivered
	}
	if now.After(startOf(day).AddDate(0, 3, 0)) {
		return refusal(http.StatusBadRequest, "NO_STATEMENT_EXIST", "too old"), delivered
	}
	file := s.file(in.m, kind, day)
	expires := strconv.FormatInt(now.Add(addressLife).UnixMilli(), 10)
	tar := in.query.Get("tar_type")
	query := url.Values{"mch": {in.m.MchID}, "kind": {kind}, "day": {day.String()}, "expires": {expires}, "tar": {tar}}
	query.Set("token", s.mac(in.m.MchID, kind, day.String(), expires, tar))
	sum := sha1.Sum(file) //nolint:gosec // see the import
	return map[string]string{
		"hash_type": "SHA1", "hash_value": hex.EncodeToString(sum[:]), "download_url": s.Base() + downloadPath + "?" + query.Encode(),
	}, delivered
}

func (s *Server) file(m *merchant, kind string, day citygate.Date) []byte {
	if kind == "flow" {
		return s.flows(m, day)
	}
	return s.trades(m, day)
}

func (s *Server) mac(parts ...string) string {
	h := hmac.New(sha256.New, s.config.Key.D.Bytes())
	h.Write([]byte(strings.Join(parts, "\x00"))) // a hash takes every write
	return hex.EncodeToString(h.Sum(nil))
}

// download serves a bill while its address lives, to the merchant it is of. The
// answer has no signature.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	in, refused := s.admit(r)
	if refused.Code != "" {
		s.send(w, r, refused, delivered)
		return
	}
	q := in.query
	mch, kind, date, expires, tar := q.Get("mch"), q.Get("kind"), q.Get("day"), q.Get("expires"), q.Get("tar")
	until, err := strconv.ParseInt(expires, 10, 64)
	day, dateErr := citygate.ParseDate(date)
	switch {
	case !hmac.Equal([]byte(s.mac(mch, kind, date, expires, tar)), []byte(q.Get("token"))), err != nil, dateErr != nil, mch != in.m.MchID:
		s.send(w, r, refusal(http.StatusForbidden, "NO_AUTH", "not your bill"), delivered)
		return
	case s.config.Clock().UnixMilli() >= until:
		s.send(w, r, refusal(http.StatusForbidden, "NO_AUTH", "the address is dead"), delivered)
		return
	}
	s.mu.Lock()
	file := s.file(in.m, kind, day)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(packed(file, tar == "GZIP")) // a client that is gone asks again
}

func packed(file []byte, zip bool) []byte {
	if !zip {
		return file
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(file) // into memory
	_ = z.Close()
	return b.Bytes()
}

// statements is GET /v3/global/statements: the bill itself, without a signature,
// its digest in a header.
func (s *Server) statements(w http.ResponseWriter, r *http.Request) {
	in, refused := s.admit(r)
	if refused.Code == "" && in.query.Get("mchid") != in.m.MchID {
		refused = refusal(http.StatusBadRequest, "PARAM_ERROR", "mchid")
	}
	at, err := time.Parse("20060102", in.query.Get("date"))
	day := citygate.DateOf(at)
	switch {
	case refused.Code != "":
	case err != nil:
		refused = refusal(http.StatusBadRequest, "PARAM_ERROR", "date")
	case s.config.Clock().Before(startOf(day.AddDays(1)).Add(billReady)):
		refused = refusal(http.StatusBadRequest, "NO_STATEMENT_EXIST", "not ready")
	}
	if refused.Code != "" {
		s.send(w, r, refused, delivered)
		return
	}
	s.mu.Lock()
	file := s.trades(in.m, day)
	s.mu.Unlock()
	sum := sha1.Sum(file) //nolint:gosec // see the import
	w.Header().Set("Wechatpay-Statement-Sha1", hex.EncodeToString(sum[:]))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(file) // a client that is gone asks again
}
