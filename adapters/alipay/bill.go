package alipay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const methodBill = "alipay.data.dataservice.bill.downloadurl.query"

type billRequest struct {
	BillType string `json:"bill_type"`
	BillDate string `json:"bill_date"`
}

type billAnswer struct {
	BillDownloadURL string `json:"bill_download_url"`
}

// BillDay implements [driver.Biller]: the Beijing day.
func (p *Provider) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.In(beijing)) }

// FetchBill implements [driver.Biller]. The download address dies 30 seconds
// after it was issued and opens the file to whoever knows it, so it is used at
// once, kept nowhere and named in no error.
func (p *Provider) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	if day.Compare(p.BillDay(p.config.Clock())) >= 0 {
		return driver.Bill{}, fmt.Errorf("%w: %s is not over in Beijing", driver.ErrBillNotReady, day)
	}
	var answer billAnswer
	r, err := p.call(ctx, methodBill, billRequest{"trade", day.String()}, &answer)
	switch {
	case err != nil:
		return driver.Bill{}, err
	case refusing[r.Code] && noBill[r.withoutModule()]:
		return driver.Bill{}, fmt.Errorf("%w: %s: %s", driver.ErrBillNotReady, day, r)
	case r.Code != codeOK:
		return driver.Bill{}, r.open(methodBill)
	}
	body, err := p.download(ctx, answer.BillDownloadURL)
	if err != nil {
		return driver.Bill{}, fmt.Errorf("alipay: bill of %s: %w", day, err)
	}
	name := p.account() + "_" + strings.ReplaceAll(day.String(), "-", "") + ".zip"
	return driver.Bill{Day: day, Issued: issued(body), Name: name, Body: body, Currency: cny}, nil
}

// account is the merchant's account as bills write it.
func (p *Provider) account() string { return p.config.Account + accountSuffix }

func (p *Provider) download(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("the download address is not a web address")
	}
	if p.gateway.Scheme == "https" && u.Scheme != "https" {
		return nil, errors.New("the download address is not encrypted")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("the download address cannot be asked")
	}
	got, err := wire.Do(p.config.HTTP, req, wire.BillLimit)
	if err != nil {
		return nil, err
	}
	if got.Status != http.StatusOK {
		return nil, fmt.Errorf("the download answered HTTP status %d", got.Status)
	}
	return got.Body, nil
}
