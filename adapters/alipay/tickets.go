package alipay

import (
	"context"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// This file speaks the city facilitator's single tickets: a rider buys one in
// the wallet, the operator makes it and says when it is used. The money goes to
// an intermediary seller of the platform and not to the operator, so a ticket is
// never booked as a charge: it comes with the intermediary's settlement.

const (
	methodTicketMake    = "alipay.commerce.cityfacilitator.voucher.generate"
	methodTicketUse     = "alipay.commerce.cityfacilitator.voucher.confirm"
	methodTicketQuery   = "alipay.commerce.cityfacilitator.voucher.query"
	methodTicketsQuery  = "alipay.commerce.cityfacilitator.voucher.batchquery"
	methodTicketCancel  = "alipay.commerce.cityfacilitator.voucher.cancel"
	methodTicketUpload  = "alipay.commerce.cityfacilitator.voucher.upload"
	methodTicketRefund  = "alipay.commerce.cityfacilitator.voucher.refund"
	methodDepositCancel = "alipay.commerce.cityfacilitator.deposit.cancel"
	methodStations      = "alipay.commerce.cityfacilitator.station.query"

	ticketOneWay = "oneway"
	ticketsMax   = 100
)

// A Ticket is a single ticket of the city facilitator.
type Ticket struct {
	City     string // GB/T 2260, such as 440100
	TradeNo  string // the platform's, of the purchase
	TicketNo string
	From, To string // stations
	Quantity int
	Price    citygate.Money // of one
	Total    citygate.Money
	Code     string // what the gate's machine reads
	Status   string // the platform's word
	Expires  time.Time
}

type ticketMakeRequest struct {
	CityCode    string `json:"city_code"`
	TradeNo     string `json:"trade_no"`
	TotalFee    string `json:"total_fee"`
	SiteBegin   string `json:"site_begin"`
	SiteEnd     string `json:"site_end"`
	TicketNum   string `json:"ticket_num"`
	TicketType  string `json:"ticket_type"`
	TicketPrice string `json:"ticket_price"`
}

// MakeTicket asks for the ticket of a purchase. Two calls are one ticket.
func (p *Provider) MakeTicket(ctx context.Context, t Ticket) (Ticket, error) {
	if t.Price.Currency != cny || t.Quantity < 1 || t.Price.Minor <= 0 || t.TradeNo == "" {
		return t, fmt.Errorf("%w: a ticket needs a purchase, a number and a price in %s", driver.ErrNotPerformed, cny)
	}
	total := t.Price.Minor * int64(t.Quantity)
	var answer struct {
		TicketNo    string `json:"ticket_no"`
		QRCodeNo    string `json:"qr_code_no"`
		ExpiredDate string `json:"expired_date"`
	}
	r, err := p.call(ctx, methodTicketMake, ticketMakeRequest{
		CityCode: t.City, TradeNo: t.TradeNo, TotalFee: yuan(total), SiteBegin: t.From, SiteEnd: t.To,
		TicketNum: fmt.Sprint(t.Quantity), TicketType: ticketOneWay, TicketPrice: yuan(t.Price.Minor),
	}, &answer)
	if err == nil && r.Code != codeOK {
		err = r.open(methodTicketMake)
	}
	if err == nil && answer.TicketNo == "" {
		err = fmt.Errorf("alipay: %s: no ticket_no", methodTicketMake)
	}
	if err != nil {
		return t, err
	}
	t.TicketNo, t.Code, t.Expires = clip(answer.TicketNo), answer.QRCodeNo, instant(answer.ExpiredDate)
	t.Total = citygate.Money{Minor: total, Currency: cny}
	return t, nil
}

type ticketUseRequest struct {
	Amount       string `json:"amount"`
	BizRequestID string `json:"biz_request_id"`
	CityCode     string `json:"city_code"`
	StartStation string `json:"start_station"`
	EndStation   string `json:"end_station"`
	ExchangeIDs  string `json:"exchange_ids"`
	OperateTime  string `json:"operate_time"`
	Quantity     string `json:"quantity"`
	TicketNo     string `json:"ticket_no"`
	TicketPrice  string `json:"ticket_price"`
	TicketType   string `json:"ticket_type"`
	TradeNo      string `json:"trade_no"`
}

// UseTicket says that a ticket was exchanged or ridden on. ourID names the use
// for ever.
func (p *Provider) UseTicket(ctx context.Context, ourID string, t Ticket, at time.Time) error {
	if !plainID(ourID) || t.TicketNo == "" {
		return fmt.Errorf("%w: the use of a ticket needs an id and a ticket", driver.ErrNotPerformed)
	}
	return p.ok(ctx, methodTicketUse, ticketUseRequest{
		Amount: yuan(t.Price.Minor * int64(t.Quantity)), BizRequestID: ourID, CityCode: t.City, StartStation: t.From, EndStation: t.To,
		ExchangeIDs: ourID, OperateTime: at.In(beijing).Format(stamp), Quantity: fmt.Sprint(t.Quantity), TicketNo: t.TicketNo,
		TicketPrice: yuan(t.Price.Minor), TicketType: ticketOneWay, TradeNo: t.TradeNo,
	})
}

type ticketsRequest struct {
	CityCode string   `json:"city_code"`
	TradeNos []string `json:"trade_nos"`
}

// QueryTickets says how tickets stand, by the purchases' numbers.
func (p *Provider) QueryTickets(ctx context.Context, city string, tradeNos ...string) ([]Ticket, error) {
	if len(tradeNos) == 0 || len(tradeNos) > ticketsMax {
		return nil, fmt.Errorf("%w: %d purchases; want 1 to %d", driver.ErrNotPerformed, len(tradeNos), ticketsMax)
	}
	var answer struct {
		Tickets []struct {
			Amount       string `json:"amount"`
			StartStation string `json:"start_station"`
			EndStation   string `json:"end_station"`
			Quantity     string `json:"quantity"`
			Status       string `json:"status"`
			TicketPrice  string `json:"ticket_price"`
			TradeNo      string `json:"trade_no"`
		} `json:"tickets"`
	}
	r, err := p.call(ctx, methodTicketsQuery, ticketsRequest{city, tradeNos}, &answer)
	if err == nil && r.Code != codeOK {
		err = r.open(methodTicketsQuery)
	}
	if err != nil {
		return nil, err
	}
	tickets := make([]Ticket, len(answer.Tickets))
	for i, a := range answer.Tickets {
		price, err := fen(a.TicketPrice)
		if err != nil {
			return nil, err
		}
		total, err := fen(a.Amount)
		if err != nil {
			return nil, err
		}
		tickets[i] = Ticket{
			City: city, TradeNo: a.TradeNo, From: a.StartStation, To: a.EndStation, Status: clip(a.Status),
			Price: citygate.Money{Minor: price, Currency: cny}, Total: citygate.Money{Minor: total, Currency: cny},
		}
		if _, err := fmt.Sscan(a.Quantity, &tickets[i].Quantity); err != nil {
			return nil, fmt.Errorf("alipay: %s: a quantity that is no number", methodTicketsQuery)
		}
	}
	return tickets, nil
}

type ticketKey struct {
	CityCode    string `json:"city_code"`
	OperateTime string `json:"operate_time,omitempty"`
	TicketNo    string `json:"ticket_no,omitempty"`
	TradeNo     string `json:"trade_no"`
}

// CancelTicket gives a ticket up before it is used.
func (p *Provider) CancelTicket(ctx context.Context, t Ticket, at time.Time) error {
	return p.ok(ctx, methodTicketCancel, ticketKey{t.City, at.In(beijing).Format(stamp), t.TicketNo, t.TradeNo})
}

// RefundTicket gives the whole purchase back. Two calls are one refund.
func (p *Provider) RefundTicket(ctx context.Context, t Ticket) error {
	return p.ok(ctx, methodTicketRefund, ticketKey{CityCode: t.City, TradeNo: t.TradeNo})
}

// Stations lists the stations from which tickets of a city go.
func (p *Provider) Stations(ctx context.Context, city string) ([]string, error) {
	var answer struct {
		SupportStarts []string `json:"support_starts"`
	}
	r, err := p.call(ctx, methodStations, struct {
		CityCode string `json:"city_code"`
	}{city}, &answer)
	if err == nil && r.Code != codeOK {
		err = r.open(methodStations)
	}
	return answer.SupportStarts, err
}

// ok sends a request whose answer is yes or no.
func (p *Provider) ok(ctx context.Context, method string, biz any) error {
	r, err := p.call(ctx, method, biz, nil)
	if err == nil && r.Code != codeOK {
		err = r.open(method)
	}
	return err
}
