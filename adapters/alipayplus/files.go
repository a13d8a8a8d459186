package alipayplus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const partsMax = 1000 // the sequence of a file has three digits

var errNoFile = errors.New("alipayplus: there is no such file")

// BillDay implements [driver.Biller].
func (p *Provider) BillDay(at time.Time) citygate.Date {
	return citygate.DateOf(at.In(p.config.Zone))
}

// FetchBill implements [driver.Biller]: the transaction file of a day, all its
// parts. The last part is the one behind which there is none.
func (p *Provider) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	name := "transaction_" + p.config.ClientID + "_" + compact(day)
	bill := driver.Bill{Day: day, Name: name + ".csv", Currency: p.config.Currency}
	for part := range partsMax {
		path := "/v1/transactions/transaction/" + p.config.ClientID + "/" + compact(day) + "/" + fmt.Sprintf("%s_%03d.csv", name, part)
		text, issued, err := p.file(ctx, path, wire.BillLimit-int64(len(bill.Body)))
		if errors.Is(err, errNoFile) {
			break
		}
		if err != nil {
			return driver.Bill{}, err
		}
		if !ended(text) {
			return driver.Bill{}, fmt.Errorf("%w: part %d of %s is still being written", driver.ErrBillNotReady, part, day)
		}
		bill.Body = append(bill.Body, text...)
		if issued.After(bill.Issued) {
			bill.Issued = issued
		}
	}
	if len(bill.Body) == 0 {
		return driver.Bill{}, fmt.Errorf("%w: %s", driver.ErrBillNotReady, day)
	}
	return bill, nil
}

// A SettlementName says which settlement file is meant. Day is the one on which it
// was made, not that of its transactions.
type SettlementName struct {
	Day       citygate.Date
	Batch     string
	Agreement string
}

// FetchSettlement gets a settlement file whole: one currency, one agreement.
func (p *Provider) FetchSettlement(ctx context.Context, name SettlementName) (Settlement, error) {
	if !wordForm.MatchString(name.Batch) || !wordForm.MatchString(name.Agreement) {
		return Settlement{}, fmt.Errorf("%w: settlement: want a batch and an agreement", driver.ErrNotPerformed)
	}
	var body []byte
	for part := range partsMax {
		path := "/v1/settlements/settlement/" + p.config.ClientID + "/" + compact(name.Day) + "/" +
			fmt.Sprintf("settlement_%s_%s_%s_%s_%03d.csv", p.config.ClientID, p.config.SettlementCurrency, name.Batch, name.Agreement, part)
		text, _, err := p.file(ctx, path, wire.BillLimit-int64(len(body)))
		if errors.Is(err, errNoFile) && part > 0 {
			break
		}
		if err != nil {
			return Settlement{}, err
		}
		body = append(body, text...)
	}
	return ParseSettlement(body)
}

// file gets one file. It carries no signature; what shows that it is whole is in
// it.
func (p *Provider) file(ctx context.Context, path string, limit int64) ([]byte, time.Time, error) {
	address, err := url.JoinPath(p.config.Files, path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: alipayplus: the file's address cannot be built", driver.ErrNotPerformed)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: alipayplus: the request cannot be built", driver.ErrNotPerformed)
	}
	got, err := wire.Do(p.config.HTTP, req, limit)
	switch {
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("alipayplus: file: %w", err)
	case got.Status == http.StatusNotFound:
		return nil, time.Time{}, errNoFile
	case got.Status != http.StatusOK:
		return nil, time.Time{}, fmt.Errorf("alipayplus: file: HTTP status %d", got.Status)
	}
	issued, err := http.ParseTime(got.Header.Get("Last-Modified"))
	if err != nil {
		issued = time.Time{} // it does not say
	}
	return got.Body, issued.UTC(), nil
}

func compact(day citygate.Date) string { return day.Time().Format("20060102") }
