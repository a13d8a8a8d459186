package wechatpaysim

import (
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
)

type placedAmount struct {
	Total    int64             `json:"total"`
	Currency citygate.Currency `json:"currency"`
}

// codepay is POST /v3/pay/transactions/codepay.
func (s *Server) codepay(in asked) (any, fate) {
	var r struct {
		AppID       string       `json:"appid"`
		MchID       string       `json:"mchid"`
		Description string       `json:"description"`
		Attach      string       `json:"attach"`
		OutTradeNo  string       `json:"out_trade_no"`
		NotifyURL   string       `json:"notify_url"`
		Amount      placedAmount `json:"amount"`
		Payer       struct {
			AuthCode string `json:"auth_code"`
		} `json:"payer"`
	}
	if !in.read(&r) || r.AppID != in.m.AppID || r.MchID != in.m.MchID || r.Amount.Currency != cny {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "appid, mchid or currency"), delivered
	}
	return s.byCode(in, wish{kind: kindCode, outTradeNo: r.OutTradeNo, description: r.Description, attach: r.Attach,
		payer: r.Payer.AuthCode, notifyURL: r.NotifyURL, amount: r.Amount.Total, currency: r.Amount.Currency})
}

func (s *Server) byCode(in asked, w wish) (any, fate) {
	if !paymentCode(w.payer) {
		return refusal(http.StatusBadRequest, "AUTH_CODE_INVALID", "not a payment code"), delivered
	}
	arm := s.Disarm()
	o, refused := s.place(in.m, w, arm)
	if o == nil {
		return refused, delivered
	}
	return s.answerTo(in.m, o, arm)
}

// paymentCode reports whether code has the form of one: 18 digits, 10 to 15 first.
func paymentCode(code string) bool {
	if len(code) != 18 || code[0] != '1' || code[1] > '5' {
		return false
	}
	for _, c := range code {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// micropay is POST /v3/global/micropay/transactions/pay.
func (s *Server) micropay(in asked) (any, fate) {
	var r struct {
		AppID       string       `json:"appid"`
		MchID       string       `json:"mchid"`
		Description string       `json:"description"`
		Attach      string       `json:"attach"`
		OutTradeNo  string       `json:"out_trade_no"`
		TradeType   string       `json:"trade_type"`
		MCC         string       `json:"merchant_category_code"`
		NotifyURL   string       `json:"notify_url"`
		Amount      placedAmount `json:"amount"`
		Payer       struct {
			AuthCode string `json:"auth_code"`
		} `json:"payer"`
	}
	if !in.read(&r) || r.AppID != in.m.AppID || r.MchID != in.m.MchID || !r.Amount.Currency.Valid() || r.TradeType != "MICROPAY" || len(r.MCC) != 4 {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "appid, mchid, currency, trade_type or merchant_category_code"), delivered
	}
	if wallet := s.wallets[r.Payer.AuthCode]; wallet != "" && wallet != r.Amount.Currency && s.config.Rates[string(r.Amount.Currency)+"/"+string(wallet)] == 0 {
		return refusal(http.StatusBadRequest, "RULE_LIMIT", "no rate for that wallet"), delivered
	}
	return s.byCode(in, wish{kind: kindGlobal, outTradeNo: r.OutTradeNo, description: r.Description, attach: r.Attach,
		payer: r.Payer.AuthCode, notifyURL: r.NotifyURL, amount: r.Amount.Total, currency: r.Amount.Currency})
}

// ride is POST /v3/qrcode/transactions.
func (s *Server) ride(in asked) (any, fate) {
	var r struct {
		AppID       string       `json:"appid"`
		Description string       `json:"description"`
		Attach      string       `json:"attach"`
		OutTradeNo  string       `json:"out_trade_no"`
		TradeScene  string       `json:"trade_scene"`
		ContractID  string       `json:"contract_id"`
		NotifyURL   string       `json:"notify_url"`
		Amount      placedAmount `json:"amount"`
		Bus         *tripInfo    `json:"bus_info"`
		Metro       *tripInfo    `json:"metro_info"`
	}
	if !in.read(&r) || r.AppID != in.m.AppID || r.Amount.Currency != cny || r.NotifyURL == "" {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "appid, currency or notify_url"), delivered
	}
	trip := ifElse(r.TradeScene == "METRO", r.Metro, r.Bus)
	if (r.TradeScene != "METRO" && r.TradeScene != "BUS") || trip == nil {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "trade_scene and its info"), delivered
	}
	if _, err := time.Parse(time.RFC3339, trip.StartTime); err != nil {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "start_time"), delivered
	}
	arm := s.Disarm()
	o, refused := s.place(in.m, wish{kind: kindRide, outTradeNo: r.OutTradeNo, description: r.Description, attach: r.Attach, payer: r.ContractID,
		notifyURL: r.NotifyURL, amount: r.Amount.Total, currency: cny, content: []byte(trip.StartTime + trip.LineName)}, arm)
	if o == nil {
		return refused, delivered
	}
	return s.answerTo(in.m, o, arm)
}

type tripInfo struct {
	StartTime string `json:"start_time"`
	LineName  string `json:"line_name"`
}

func (s *Server) query(in asked, o *order, of ...string) (any, fate) {
	if o != nil {
		for _, kind := range of {
			if o.kind == kind {
				return o.show(in.m), delivered
			}
		}
	}
	return noSuchOrder, delivered
}

// queryOrder is GET /v3/pay/transactions/out-trade-no/{no}.
func (s *Server) queryOrder(in asked) (any, fate) {
	if in.query.Get("mchid") != in.m.MchID {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "mchid"), delivered
	}
	return s.query(in, s.find(in.m, in.path["no"]), kindCode)
}

// queryByID is GET /v3/pay/transactions/id/{id}.
func (s *Server) queryByID(in asked) (any, fate) {
	if in.query.Get("mchid") != in.m.MchID {
		return refusal(http.StatusBadRequest, "PARAM_ERROR", "mchid"), delivered
	}
	for no, o := range in.m.orders {
		if o.id == in.path["id"] {
			return s.query(in, s.find(in.m, no), kindCode)
		}
	}
	return noSuchOrder, delivered
}

// queryRide is GET /v3/qrcode/transactions/out-trade-no/{no}.
func (s *Server) queryRide(in asked) (any, fate) {
	return s.query(in, s.find(in.m, in.path["no"]), kindRide)
}

// queryGlobal is GET /v3/global/transactions/out-trade-no/{no}.
func (s *Server) queryGlobal(in asked) (any, fate) {
	return s.query(in, s.find(in.m, in.path["no"]), kindGlobal)
}

const (
	reverseAfter  = 15 * time.Second
	reverseWithin = 7 * 24 * time.Hour
)

// reverse is POST /v3/pay/transactions/out-trade-no/{no}/reverse.
func (s *Server) reverse(in asked) (any, fate) { return s.undo(in, kindCode, true) }

// reverseGlobal is the same for Global, whose answer has no content.
func (s *Server) reverseGlobal(in asked) (any, fate) { return s.undo(in, kindGlobal, false) }

// undo closes an unpaid order and gives a paid one back. An order that never
// existed is answered like one that was undone.
func (s *Server) undo(in asked, kind string, says bool) (any, fate) {
	arm := s.Disarm()
	o := s.find(in.m, in.path["no"])
	answer := any(nil)
	if says {
		answer = map[string]string{"appid": in.m.AppID, "mchid": in.m.MchID, "out_trade_no": in.path["no"]}
	}
	if o == nil || o.kind != kind || o.state == revoked {
		return answer, armFates[arm]
	}
	now := s.config.Clock()
	switch age := now.Sub(o.created); {
	case age < reverseAfter, len(o.refunds) > 0:
		return refusal(http.StatusBadRequest, "TRADE_STATE_ERROR", "not now"), armFates[arm]
	case age > reverseWithin:
		return refusal(http.StatusBadRequest, "REVERSE_EXPIRE", "seven days are over"), armFates[arm]
	}
	if o.moved() {
		s.acts++
		o.refunds = append(o.refunds, &refund{id: "50" + o.id[2:], amount: o.amount, created: now, at: now, reversal: true, seq: s.acts})
	}
	if !o.moved() {
		o.at = now
	}
	o.state = revoked
	return answer, armFates[arm]
}

// userService is GET /v3/qrcode/user-services/contract-id/{id}.
func (s *Server) userService(in asked) (any, fate) {
	c := s.contracts[in.path["id"]]
	if c == nil || in.query.Get("appid") != in.m.AppID {
		return refusal(http.StatusNotFound, "RESOURCE_NOT_EXISTS", "no such contract"), delivered
	}
	state, reason := "NORMAL", c.blocked
	switch {
	case c.ended:
		reason = "DELETED"
	case c.owes > 0:
		reason = "OVERDUE"
	}
	if reason != "" {
		state = "BLOCKED"
	}
	return map[string]string{"contract_id": c.id, "user_service_state": state, "block_reason": reason}, delivered
}
