package wechatpay

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	pathRide       = "/v3/qrcode/transactions"
	descriptionMax = 128
	subject        = "乘车" // of a debit that brings none
)

// ride collects on riders' contracts: APIv3 scan-and-ride. RiderRef is the
// contract_id.
type ride struct{ *client }

var (
	_ driver.Provider   = (*ride)(nil)
	_ driver.Refunder   = (*ride)(nil)
	_ driver.Biller     = (*ride)(nil)
	_ driver.BillReader = (*ride)(nil)

	_ driver.Notifier   = (*ride)(nil)
	_ driver.RiderCheck = (*ride)(nil)
	_ driver.DenyFeed   = (*ride)(nil)
	_ driver.CodeIssuer = (*ride)(nil)
	_ driver.Selective  = (*ride)(nil)
)

type rideRequest struct {
	AppID       string     `json:"appid"`
	SubMchID    string     `json:"sub_mchid,omitempty"`
	Description string     `json:"description"`
	OutTradeNo  string     `json:"out_trade_no"`
	TradeScene  string     `json:"trade_scene"`
	ContractID  string     `json:"contract_id"`
	NotifyURL   string     `json:"notify_url"`
	Amount      amount     `json:"amount"`
	Bus         *busInfo   `json:"bus_info,omitempty"`
	Metro       *metroInfo `json:"metro_info,omitempty"`
}

type busInfo struct {
	StartTime string `json:"start_time"`
	LineName  string `json:"line_name,omitempty"`
}

type metroInfo struct {
	StartTime string `json:"start_time"`
}

// Describe implements [driver.Provider].
func (p *ride) Describe() driver.Description { return p.describe("v3-scan-and-ride", true) }

// Submit implements [driver.Provider]. The request depends on the debit alone, so
// that a debit sent again is equal byte for byte.
func (p *ride) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
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
	request := rideRequest{
		AppID: p.config.AppID, SubMchID: p.config.SubMchID, Description: fitted(d.Subject, subject, descriptionMax),
		OutTradeNo: d.OurID, TradeScene: p.config.Scene, ContractID: d.RiderRef, NotifyURL: p.config.NotifyURL,
		Amount: amount{d.Amount.Minor, d.Amount.Currency},
	}
	if p.config.Scene == "METRO" {
		request.Metro = &metroInfo{instant(d.TripTime)}
	} else {
		request.Bus = &busInfo{instant(d.TripTime), p.config.Line}
	}
	var answer transaction
	r, err := p.call(ctx, http.MethodPost, pathRide, request, &answer)
	return one(p.paid(r, err, answer, "ride", d))
}

// paid reads the answer to a request to pay.
func (c *client) paid(r reply, err error, answer transaction, what string, d driver.Debit) (driver.Result, error) {
	switch {
	case err != nil:
		return driver.Result{}, err
	case r.status == http.StatusOK:
		return answer.settles(c, d.OurID, d.Amount)
	}
	return r.refused(what, d.OurID)
}

func one(r driver.Result, err error) ([]driver.Result, error) {
	if err != nil {
		return nil, err
	}
	return []driver.Result{r}, nil
}

// Query implements [driver.Provider].
func (p *ride) Query(ctx context.Context, ref driver.Ref) (driver.Result, error) {
	target := pathRide + "/out-trade-no/" + ref.OurID
	if p.config.SubMchID != "" {
		target += "?" + url.Values{"sub_mchid": {p.config.SubMchID}}.Encode()
	}
	return p.query(ctx, target, ref)
}

// query asks for a payment by our number.
func (c *client) query(ctx context.Context, target string, ref driver.Ref) (driver.Result, error) {
	if err := c.priced(ref.OurID, ref.Amount); err != nil {
		return driver.Result{}, err
	}
	var answer transaction
	r, err := c.call(ctx, http.MethodGet, target, nil, &answer)
	switch {
	case err != nil:
		return driver.Result{}, err
	case r.status == http.StatusOK:
		return answer.settles(c, ref.OurID, ref.Amount)
	case r.missing():
		return driver.Result{OurID: ref.OurID, Outcome: driver.Absent, ReasonCode: clip(r.Code)}, nil
	}
	return driver.Result{}, r.open("query")
}
