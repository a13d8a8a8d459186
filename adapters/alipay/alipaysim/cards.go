package alipaysim

import (
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Card is an operator's card as the wallet shows it.
type Card struct {
	CardNo, CardType, CardData, UserID, Balance string
	Disabled                                    bool
	DisabledCode, DisabledTips                  string
	LastUpdate                                  time.Time
}

// Record makes an offline record of the platform's own codes, as a validator's
// library would give it. Its layout is the simulator's own: the platform's is
// not public.
func (s *Server) Record(rider string) string {
	return "AR1|" + rider + "|" + s.mac("record", rider)[:32]
}

// ownRecord reports whether text is a genuine record of this platform.
func (s *Server) ownRecord(text string) bool {
	parts := strings.Split(text, "|")
	return len(parts) == 3 && parts[0] == "AR1" && hmac.Equal([]byte(parts[2]), []byte(s.mac("record", parts[1])[:32]))
}

func (s *Server) recordVerify(_ *merchant, biz []byte) (any, fate) {
	var request struct {
		Record string `json:"record"`
	}
	if err := json.Unmarshal(biz, &request); err != nil || request.Record == "" {
		return illegal("isv.invalid-parameter", "record"), delivered
	}
	fate := s.lineFault()
	if s.ownRecord(request.Record) || (s.config.Keys != nil && s.genuine([]string{request.Record})) {
		return ok, fate
	}
	return refusal("RECORD_VERIFY_FAIL", "the record is not genuine"), fate
}

func (s *Server) cardSend(m *merchant, biz []byte) (any, fate) {
	var r struct {
		Action         string `json:"action"`
		CardNo         string `json:"card_no"`
		CardType       string `json:"card_type"`
		CardData       string `json:"card_data"`
		Balance        string `json:"balance"`
		Disabled       string `json:"disabled"`
		DisabledCode   string `json:"disabled_code"`
		DisabledTips   string `json:"disabled_tips"`
		LastUpdateTime string `json:"last_update_time"`
		UserID         string `json:"user_id"`
	}
	err := json.Unmarshal(biz, &r)
	at, timeErr := time.ParseInLocation(stamp, r.LastUpdateTime, beijing)
	if err != nil || timeErr != nil || r.Action == "" || r.CardNo == "" || r.CardType == "" || r.UserID == "" ||
		(r.Disabled == "true") != (r.DisabledCode != "") {
		return illegal("isv.invalid-parameter", "action, card_no, card_type, user_id, disabled or last_update_time"), delivered
	}
	if old, there := m.cards[r.CardNo]; !there || !at.Before(old.LastUpdate) { // an older state does not undo a newer one
		m.cards[r.CardNo] = Card{r.CardNo, r.CardType, r.CardData, r.UserID, r.Balance, r.Disabled == "true", r.DisabledCode, r.DisabledTips, at}
	}
	return struct {
		head
		CardNo   string `json:"card_no"`
		CardType string `json:"card_type"`
		UserID   string `json:"user_id"`
	}{ok, r.CardNo, r.CardType, r.UserID}, s.lineFault()
}

func (s *Server) cardQuery(m *merchant, biz []byte) (any, fate) {
	var r struct {
		CardNo string `json:"card_no"`
		UserID string `json:"user_id"`
	}
	if err := json.Unmarshal(biz, &r); err != nil {
		return illegal("isv.invalid-parameter", "biz_content"), delivered
	}
	type model struct {
		CardNo         string `json:"card_no"`
		CardType       string `json:"card_type"`
		CardData       string `json:"card_data,omitempty"`
		CardStatus     string `json:"card_status"`
		Balance        string `json:"balance,omitempty"`
		UserID         string `json:"user_id"`
		LastUpdateTime string `json:"last_update_time"`
	}
	answer := struct {
		head
		CardModels []model `json:"card_models"`
	}{head: ok}
	for _, no := range slices.Sorted(maps.Keys(m.cards)) {
		c := m.cards[no]
		if (r.CardNo == "" || r.CardNo == no) && (r.UserID == "" || r.UserID == c.UserID) {
			answer.CardModels = append(answer.CardModels, model{no, c.CardType, c.CardData, ifElse(c.Disabled, "DISABLED", "ENABLED"), c.Balance, c.UserID, text(c.LastUpdate)})
		}
	}
	return answer, delivered
}

// passQuery is qrpass.verify.query: a card's travel code holds for its user while the
// card is in the wallet and not disabled.
func (s *Server) passQuery(m *merchant, biz []byte) (any, fate) {
	var r struct {
		CardNo   string `json:"card_no"`
		CardType string `json:"card_type"`
		UserID   string `json:"user_id"`
	}
	if err := json.Unmarshal(biz, &r); err != nil || r.CardNo == "" || r.CardType == "" || r.UserID == "" {
		return illegal("isv.invalid-parameter", "card_no, card_type or user_id"), delivered
	}
	c, there := m.cards[r.CardNo]
	return struct {
		head
		Result bool `json:"result"`
	}{ok, there && c.CardType == r.CardType && c.UserID == r.UserID && !c.Disabled}, delivered
}

// Cards lists the cards of a merchant, by number.
func (s *Server) Cards(appID string) []Card {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Card
	if m := s.merchants[appID]; m != nil {
		for _, no := range slices.Sorted(maps.Keys(m.cards)) {
			list = append(list, m.cards[no])
		}
	}
	return list
}

// nameList is cityfacilitator.namelist.sync: the operator's own list.
func (s *Server) nameList(m *merchant, biz []byte) (any, fate) {
	var r struct {
		BizTID      string `json:"biz_tid"`
		UserBlockID string `json:"user_block_id"`
		Type        string `json:"type"`
	}
	if err := json.Unmarshal(biz, &r); err != nil || r.BizTID == "" || r.UserBlockID == "" || (r.Type != "black" && r.Type != "white") {
		return illegal("isv.invalid-parameter", "biz_tid, user_block_id or type"), delivered
	}
	if !m.listed[r.BizTID] {
		m.listed[r.BizTID] = true
		m.refused[r.UserBlockID] = r.Type == "black"
	}
	return ok, delivered
}

// Refused reports whether a merchant put a rider on its list.
func (s *Server) Refused(appID, rider string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[appID]
	return m != nil && m.refused[rider]
}

// A ticket of the city facilitator.
type ticket struct {
	no, tradeNo, from, to, price, amount, quantity, status string
}

type ticketRequest struct {
	CityCode     string   `json:"city_code"`
	TradeNo      string   `json:"trade_no"`
	TradeNos     []string `json:"trade_nos"`
	TicketNo     string   `json:"ticket_no"`
	TotalFee     string   `json:"total_fee"`
	SiteBegin    string   `json:"site_begin"`
	SiteEnd      string   `json:"site_end"`
	TicketNum    string   `json:"ticket_num"`
	TicketPrice  string   `json:"ticket_price"`
	TicketType   string   `json:"ticket_type"`
	BizRequestID string   `json:"biz_request_id"`
	OperateTime  string   `json:"operate_time"`
}

var cities = map[string]bool{"440100": true, "440300": true, "330100": true}

// facilitator is one method of the city facilitator's tickets.
func facilitator(do func(s *Server, m *merchant, r ticketRequest) any) act {
	return func(s *Server, m *merchant, biz []byte) (any, fate) {
		var r ticketRequest
		if err := json.Unmarshal(biz, &r); err != nil || !cities[r.CityCode] {
			return refusal("ILLEGAL_BIZ_PARAMS", "city_code"), delivered
		}
		return do(s, m, r), s.lineFault()
	}
}

func ticketMake(s *Server, m *merchant, r ticketRequest) any {
	price, err := fromYuan(scalar(r.TicketPrice))
	total, totalErr := fromYuan(scalar(r.TotalFee))
	var n int64
	if _, scanErr := fmt.Sscan(r.TicketNum, &n); err != nil || totalErr != nil || scanErr != nil || n < 1 || price*n != total || r.TradeNo == "" || r.TicketType != "oneway" {
		return refusal("ILLEGAL_BIZ_PARAMS", "total_fee, ticket_price or ticket_num")
	}
	t := m.tickets[r.TradeNo]
	if t == nil {
		t = &ticket{fmt.Sprintf("T%019d", rank(0, "ticket "+m.AppID, r.TradeNo)), r.TradeNo, r.SiteBegin, r.SiteEnd, r.TicketPrice, r.TotalFee, r.TicketNum, "INIT"}
		m.tickets[r.TradeNo] = t
	}
	return struct {
		head
		TicketNo    string `json:"ticket_no"`
		QRCodeNo    string `json:"qr_code_no"`
		ExpiredDate string `json:"expired_date"`
	}{ok, t.no, "QR" + t.no, text(s.config.Clock().Add(72 * time.Hour))}
}

// ticketTo moves a ticket to a state, from one of some.
func ticketTo(status string, from ...string) act {
	return facilitator(func(_ *Server, m *merchant, r ticketRequest) any {
		t := m.tickets[r.TradeNo]
		switch {
		case t == nil || (r.TicketNo != "" && r.TicketNo != t.no):
			return refusal("ILLEGAL_BIZ_PARAMS", "no such ticket")
		case t.status == status: // the same again
		case !slices.Contains(from, t.status):
			return refusal("ILLEGAL_BIZ_PARAMS", "the ticket is "+t.status)
		}
		t.status = status
		return ok
	})
}

func ticketQuery(_ *Server, m *merchant, r ticketRequest) any {
	type entry struct {
		Amount       string `json:"amount"`
		StartStation string `json:"start_station"`
		EndStation   string `json:"end_station"`
		Quantity     string `json:"quantity"`
		Status       string `json:"status"`
		TicketPrice  string `json:"ticket_price"`
		TicketType   string `json:"ticket_type"`
		TradeNo      string `json:"trade_no"`
	}
	answer := struct {
		head
		Tickets []entry `json:"tickets"`
	}{head: ok}
	if r.TradeNo != "" {
		r.TradeNos = append(r.TradeNos, r.TradeNo)
	}
	for _, no := range r.TradeNos {
		if t := m.tickets[no]; t != nil {
			answer.Tickets = append(answer.Tickets, entry{t.amount, t.from, t.to, t.quantity, t.status, t.price, "oneway", no})
		}
	}
	return answer
}

func stations(*Server, *merchant, ticketRequest) any {
	return struct {
		head
		SupportStarts []string `json:"support_starts"`
	}{ok, []string{"体育西路", "公园前"}}
}
