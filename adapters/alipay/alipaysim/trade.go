package alipaysim

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A refund is money given back of a trade, under the merchant's number.
type refund struct {
	requestNo string
	amount    int64
	at        time.Time
	seq       int
}

func (t *trade) refunded() int64 {
	var sum int64
	for _, r := range t.refunds {
		sum += r.amount
	}
	return sum
}

type tradeRequest struct {
	OutTradeNo   string `json:"out_trade_no"`
	TradeNo      string `json:"trade_no"`
	OutRequestNo string `json:"out_request_no"`
	RefundAmount scalar `json:"refund_amount"`
}

type tradeAnswer struct {
	head
	OutTradeNo     string `json:"out_trade_no"`
	TradeNo        string `json:"trade_no"`
	TradeStatus    string `json:"trade_status,omitempty"`
	TotalAmount    string `json:"total_amount,omitempty"`
	BuyerPayAmount string `json:"buyer_pay_amount,omitempty"`
	SendPayDate    string `json:"send_pay_date,omitempty"`
	FundChange     string `json:"fund_change,omitempty"`
	RefundFee      string `json:"refund_fee,omitempty"`
	GmtRefundPay   string `json:"gmt_refund_pay,omitempty"`
	OutRequestNo   string `json:"out_request_no,omitempty"`
	RefundStatus   string `json:"refund_status,omitempty"`
	RefundAmount   string `json:"refund_amount,omitempty"`
	ReceiptAmount  string `json:"receipt_amount,omitempty"`
	GmtPayment     string `json:"gmt_payment,omitempty"`
	BuyerUserID    string `json:"buyer_user_id,omitempty"`
	Action         string `json:"action,omitempty"`
	RetryFlag      string `json:"retry_flag,omitempty"`
}

// find gives a paid trade. The platform's own number wins over the merchant's.
// A declined order was never made a trade, so it is not found.
func (m *merchant) find(r tradeRequest) *trade {
	t := m.trades[r.OutTradeNo]
	if r.TradeNo != "" {
		t = nil
		for _, other := range m.trades {
			if other.no == r.TradeNo {
				t = other
			}
		}
	}
	if t == nil || !t.paid {
		return nil
	}
	return t
}

var notExist = refusal("ACQ.TRADE_NOT_EXIST", "no such trade")

// tradeQuery is alipay.trade.query.
func (s *Server) tradeQuery(m *merchant, biz []byte) (any, fate) {
	var request tradeRequest
	if err := json.Unmarshal(biz, &request); err != nil {
		return illegal("isv.invalid-parameter", "biz_content"), delivered
	}
	s.confirmWaiting(m)
	if t := m.trades[request.OutTradeNo]; t != nil && t.online && !t.paid && t.declined == "" && request.TradeNo == "" {
		return tradeAnswer{
			head: ok, OutTradeNo: t.item.OutTradeNo, TradeNo: t.no, TradeStatus: ifElse(t.closed, "TRADE_CLOSED", "WAIT_BUYER_PAY"),
			TotalAmount: toYuan(t.amount), BuyerPayAmount: "0.00",
		}, delivered
	}
	t := m.find(request)
	if t == nil || (!t.online && !s.config.FindOffline) {
		return notExist, delivered
	}
	status := "TRADE_SUCCESS"
	if t.refunded() == t.amount {
		status = "TRADE_CLOSED"
	}
	return tradeAnswer{
		head: ok, OutTradeNo: t.item.OutTradeNo, TradeNo: t.no, TradeStatus: status,
		TotalAmount: toYuan(t.amount), BuyerPayAmount: toYuan(t.amount), SendPayDate: text(t.at),
	}, delivered
}

// refund is alipay.trade.refund: one refund of one out_request_no.
func (s *Server) refund(m *merchant, biz []byte) (any, fate) {
	var request tradeRequest
	amount := int64(0)
	err := json.Unmarshal(biz, &request)
	if err == nil {
		amount, err = fromYuan(request.RefundAmount)
	}
	if err != nil || amount <= 0 || request.OutRequestNo == "" {
		return refusal("ACQ.INVALID_PARAMETER", "refund_amount or out_request_no"), delivered
	}
	t := m.find(request)
	if t == nil {
		return notExist, delivered
	}
	answer := tradeAnswer{head: ok, OutTradeNo: t.item.OutTradeNo, TradeNo: t.no, FundChange: "N"}
	fate := fateOf(s.Disarm())
	i := slices.IndexFunc(t.refunds, func(r refund) bool { return r.requestNo == request.OutRequestNo })
	switch {
	case i >= 0 && t.refunds[i].amount != amount:
		return refusal("ACQ.DISCORDANT_REPEAT_REQUEST", "the number was used for another amount"), fate
	case i < 0 && t.refunded()+amount > t.amount:
		return refusal("ACQ.REASON_TRADE_REFUND_FEE_ERR", "more than is left of the trade"), fate
	case i < 0:
		now := s.config.Clock()
		t.refunds = append(t.refunds, refund{request.OutRequestNo, amount, now, s.acted()})
		answer.FundChange, answer.GmtRefundPay = "Y", text(now)
		if fate == delivered {
			fate = s.replyFault(request.OutRequestNo)
		}
		s.tell(m, t, ifElse(t.refunded() == t.amount, "TRADE_CLOSED", "TRADE_SUCCESS"), map[string]string{
			"refund_fee": toYuan(t.refunded()), "gmt_refund": text(now), "out_biz_no": request.OutRequestNo,
		})
	}
	answer.RefundFee = toYuan(t.refunded())
	return answer, fate
}

// refundQuery is alipay.trade.fastpay.refund.query. Of a refund it does not
// know it says nothing, which is not a no.
func (s *Server) refundQuery(m *merchant, biz []byte) (any, fate) {
	var request tradeRequest
	if err := json.Unmarshal(biz, &request); err != nil {
		return illegal("isv.invalid-parameter", "biz_content"), delivered
	}
	t := m.find(request)
	if t == nil {
		return notExist, delivered
	}
	answer := tradeAnswer{head: ok}
	for _, r := range t.refunds {
		if r.requestNo == request.OutRequestNo {
			answer.OutTradeNo, answer.TradeNo, answer.OutRequestNo = t.item.OutTradeNo, t.no, r.requestNo
			answer.TotalAmount, answer.RefundAmount = toYuan(t.amount), toYuan(r.amount)
			answer.RefundStatus = "REFUND_SUCCESS"
		}
	}
	return answer, delivered
}

// keyQuery is offlinepay.key.query.
func (s *Server) keyQuery(*merchant, []byte) (any, fate) {
	type key struct {
		KeyID     uint32 `json:"key_id"`
		PublicKey string `json:"public_key"`
	}
	answer := struct {
		head
		Keys []key `json:"keys"`
	}{head: ok}
	for _, id := range slices.Sorted(maps.Keys(s.config.KeyList)) {
		answer.Keys = append(answer.Keys, key{id, hex.EncodeToString(s.config.KeyList[id])})
	}
	return answer, delivered
}

// blacklistQuery is offlinepay.userblacklist.query: a page of the riders who
// are banned or owe.
func (s *Server) blacklistQuery(_ *merchant, biz []byte) (any, fate) {
	var request struct {
		PageIndex scalar `json:"page_index"`
		PageSize  scalar `json:"page_size"`
	}
	err := json.Unmarshal(biz, &request)
	page, pageErr := strconv.Atoi(string(request.PageIndex))
	size, sizeErr := strconv.Atoi(string(request.PageSize))
	if errors.Join(err, pageErr, sizeErr) != nil || page < 1 || size < 1 || size > 1000 {
		return illegal("isv.invalid-parameter", "page_index or page_size"), delivered
	}
	listed := maps.Clone(s.banned)
	for rider := range s.owing {
		if s.isPoor(rider) {
			listed[rider] = true
		}
	}
	riders := slices.Sorted(maps.Keys(listed))
	from := min((page-1)*size, len(riders))
	to := min(from+size, len(riders))
	return struct {
		head
		BlackList []string `json:"black_list"`
	}{ok, append([]string{}, riders[from:to]...)}, delivered
}

// toYuan writes fen as yuan.
func toYuan(fen int64) string {
	if fen < 0 {
		return "-" + toYuan(-fen)
	}
	cents := strconv.FormatInt(fen%100, 10)
	return strconv.FormatInt(fen/100, 10) + "." + strings.Repeat("0", 2-len(cents)) + cents
}

// fromYuan reads yuan with at most two decimals.
func fromYuan(s scalar) (int64, error) {
	whole, cents, found := strings.Cut(string(s), ".")
	if whole == "" || len(cents) > 2 || found && cents == "" || strings.Trim(whole+cents, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(whole+cents+strings.Repeat("0", 2-len(cents)), 10, 64)
}

// A scalar is a value that the platform takes as text and as a number: clients write
// amounts and pages in both ways.
type scalar string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *scalar) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(s))
	}
	var n json.Number
	err := json.Unmarshal(raw, &n)
	*s = scalar(n)
	return err
}
