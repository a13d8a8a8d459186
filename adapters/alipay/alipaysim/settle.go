package alipaysim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

const cny citygate.Currency = "CNY"

type offlineTrade struct {
	OutTradeNo      string   `json:"out_trade_no"`
	Amount          scalar   `json:"amount"`
	ActualOrderTime string   `json:"actual_order_time"`
	Subject         string   `json:"subject"`
	UserID          string   `json:"user_id"`
	Records         []string `json:"records"`
}

type itemResult struct {
	OutTradeNo   string `json:"out_trade_no"`
	TradeNo      string `json:"trade_no,omitempty"`
	Result       string `json:"result"`
	NeedRetry    bool   `json:"need_retry"`
	NextTryTime  string `json:"next_try_time,omitempty"`
	ErrorCode    string `json:"error_code,omitempty"`
	ErrorMessage string `json:"error_message,omitempty"`
}

type settleAnswer struct {
	head
	ResultList []itemResult `json:"result_list"`
}

// A trade is an order in the platform's book.
type trade struct {
	no        string
	item      offlineTrade
	digest    [sha256.Size]byte // of the content; the same number with other content is another order
	amount    int64
	fee       int64
	at        time.Time // when it was decided
	notBefore time.Time // of an order that is not decided: when it will be looked at
	vague     time.Time // until then a decided order is answered UNKNOWN
	declined  string    // error code of a final no
	paid      bool
	refunds   []refund
	seq       int

	online    bool      // of trade.pay, not of settle
	waits     time.Time // for its payer, who confirms then
	closed    bool      // unpaid, for good
	notifyURL string
}

// settle is trade.settle. The caller of an act holds the lock.
func (s *Server) settle(m *merchant, biz []byte) (any, fate) {
	var request struct {
		TradeList []offlineTrade `json:"trade_list"`
	}
	if err := json.Unmarshal(biz, &request); err != nil || len(request.TradeList) == 0 {
		return illegal("isv.invalid-parameter", "trade_list"), delivered
	}
	arm := s.Disarm()
	answer := settleAnswer{head: ok}
	fate := fateOf(arm)
	for i, item := range request.TradeList {
		result := s.one(m, item, plan(arm, i))
		key := m.AppID + "/" + item.OutTradeNo
		first := m.trades[item.OutTradeNo] != nil && m.trades[item.OutTradeNo].decided() && !s.hasActed[key]
		if first {
			s.hasActed[key] = true
			fate = cmp.Or(fate, s.replyFault(item.OutTradeNo))
		}
		switch {
		case first && chosen(s.config.Faults.Omit, item.OutTradeNo):
		case first && chosen(s.config.Faults.Duplicate, item.OutTradeNo):
			answer.ResultList = append(answer.ResultList, result, result)
		default:
			answer.ResultList = append(answer.ResultList, result)
		}
	}
	if arm == ArmPartial {
		slices.Reverse(answer.ResultList)
	}
	return answer, fate
}

// fateOf is what an armed thing does to the answer.
func fateOf(a Arm) fate {
	return map[Arm]fate{ArmLose: lost, ArmDie: died, ArmDelay: delayed, ArmGarble: garbled, ArmUnsigned: unsigned, ArmBadSign: badSigned, ArmOtherKey: otherKeyed, ArmFail: failed, ArmNotice: noticed}[a]
}

// lineFault is the fate of the answer to a request that moves no money: what is armed
// for money stays armed for it.
func (s *Server) lineFault() fate {
	return fateOf(s.DisarmOf(ArmLose, ArmDie, ArmDelay, ArmGarble, ArmUnsigned, ArmBadSign, ArmOtherKey, ArmFail))
}

// plan is what an armed thing does to the item at place i.
func plan(a Arm, i int) Arm {
	if a == ArmPartial {
		return [...]Arm{"", ArmDelay, ArmDecline}[i%3] // acts; does not act and says UNKNOWN; says no
	}
	if a == ArmDecline || a == ArmBusy {
		return a
	}
	return ""
}

// replyFault is the fate of the answer to an id that was acted on just now.
func (s *Server) replyFault(id string) fate {
	f := s.config.Faults
	switch {
	case chosen(f.LoseReply, id):
		return lost
	case chosen(f.Garble, id):
		return garbled
	case chosen(f.Unsigned, id):
		return unsigned
	case chosen(f.BadSign, id):
		return badSigned
	}
	return delivered
}

func (t *trade) decided() bool { return t.paid || t.declined != "" }

// one settles one item.
func (s *Server) one(m *merchant, item offlineTrade, planned Arm) itemResult {
	digest := contentOf(item)
	t := m.trades[item.OutTradeNo]
	if t != nil && t.digest != digest {
		return itemResult{OutTradeNo: item.OutTradeNo, Result: "FAIL", ErrorCode: "ACQ.CONTEXT_INCONSISTENT", ErrorMessage: "the number was used for another order"}
	}
	now := s.config.Clock()
	if t == nil {
		if planned == ArmDelay {
			return itemResult{OutTradeNo: item.OutTradeNo, Result: "UNKNOWN", NextTryTime: text(now)}
		}
		t = &trade{item: item, digest: digest, no: tradeNo(m.AppID, item.OutTradeNo, now)}
		if planned == ArmBusy || chosen(s.config.Faults.RetryLater, item.OutTradeNo) {
			t.notBefore = now.Add(s.retryAfter())
		}
		m.trades[item.OutTradeNo] = t
	}
	if !t.decided() && now.Before(t.notBefore) {
		return itemResult{OutTradeNo: item.OutTradeNo, Result: "FAIL", NeedRetry: true, NextTryTime: text(t.notBefore), ErrorCode: "SYSTEM_BUSY"}
	}
	if !t.decided() {
		s.decide(m, t, planned, now)
	}
	return t.result(now)
}

// decide does it: the one place where money moves.
func (s *Server) decide(m *merchant, t *trade, planned Arm, now time.Time) {
	amount, err := fromYuan(t.item.Amount)
	t.at, t.amount = now, amount
	switch {
	case err != nil || amount <= 0 || t.item.OutTradeNo == "" || t.item.UserID == "" || !isTime(t.item.ActualOrderTime):
		t.declined = "ACQ.INVALID_PARAMETER"
	case planned == ArmDecline, s.isPoor(t.item.UserID):
		t.declined = "ACQ.BUYER_BALANCE_NOT_ENOUGH"
		if planned != ArmDecline {
			s.owing[t.item.UserID] = true
		}
	case s.banned[t.item.UserID]:
		t.declined = "ACQ.BUYER_ENABLE_STATUS_FORBID"
	case !s.genuine(t.item.Records):
		t.declined = "ACQ.OFFLINE_RECORD_INVALID"
	default:
		t.paid, t.fee = true, feeOf(amount, m.FeePPM)
		t.seq = s.acted()
		if chosen(s.config.Faults.Unknown, t.item.OutTradeNo) {
			t.vague = now.Add(s.retryAfter())
		}
	}
}

func feeOf(amount, ppm int64) int64 { return citygate.PartPerMillion(amount, ppm) }

// acted numbers a movement of money.
func (s *Server) acted() int {
	s.acts++
	return s.acts
}

func (t *trade) result(now time.Time) itemResult {
	switch {
	case now.Before(t.vague):
		return itemResult{OutTradeNo: t.item.OutTradeNo, Result: "UNKNOWN", NeedRetry: true, NextTryTime: text(t.vague), ErrorCode: "SYSTEM_ERROR"}
	case t.paid:
		return itemResult{OutTradeNo: t.item.OutTradeNo, TradeNo: t.no, Result: "SUCCESS"}
	}
	return itemResult{OutTradeNo: t.item.OutTradeNo, Result: "FAIL", ErrorCode: t.declined}
}

// genuine verifies every record as a code under the issuers' published keys.
// Windows and counters are the validator's and the issuer's business.
func (s *Server) genuine(records []string) bool {
	if s.config.Keys == nil {
		return true
	}
	for _, text := range records {
		if s.ownRecord(text) {
			continue
		}
		raw, err := s.schemes.Binary(nil, evidence(text))
		if err != nil {
			return false
		}
		var c code.Code
		if s.schemes.Parse(raw, &c) != nil || s.schemes.Verify(&c, s.config.Keys, nil).Outcome != code.Accept {
			return false
		}
	}
	return len(records) > 0
}

// evidence gives the bytes of a record: base64, or the code's own text form.
func evidence(record string) []byte {
	if raw, err := base64.StdEncoding.DecodeString(record); err == nil {
		return raw
	}
	return []byte(record)
}

// contentOf is a digest of everything an item says.
func contentOf(item offlineTrade) [sha256.Size]byte {
	raw, err := json.Marshal(item)
	if err != nil {
		panic(err) // strings always encode
	}
	return sha256.Sum256(raw)
}

// tradeNo makes the platform's number from the merchant's: the day and 20 digits.
func tradeNo(appID, outTradeNo string, at time.Time) string {
	return at.In(beijing).Format("20060102") + fmt.Sprintf("%020d", rank(0, "trade "+appID, outTradeNo))
}

func text(at time.Time) string { return at.In(beijing).Format(stamp) }

func isTime(s string) bool {
	_, err := time.Parse(stamp, s)
	return err == nil
}
