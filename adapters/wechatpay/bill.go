package wechatpay

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1" //nolint:gosec // the platform's digest of a bill, not a signature of anybody
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

const (
	pathTradeBill    = "/v3/bill/tradebill"
	pathFundFlowBill = "/v3/bill/fundflowbill"
)

// An Account is whose movements a fund-flow bill lists.
type Account string

// The accounts of a merchant.
const (
	AccountBasic     Account = "BASIC"
	AccountOperation Account = "OPERATION"
	AccountFees      Account = "FEES"
)

type billAnswer struct {
	HashType    string `json:"hash_type"`
	HashValue   string `json:"hash_value"`
	DownloadURL string `json:"download_url"`
}

// BillDay implements [driver.Biller]: the Beijing day. A refund is in the bill of
// the day on which it was asked for.
func (c *client) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at.In(beijing)) }

// FetchBill implements [driver.Biller]: the bill of trades, all kinds of rows.
func (c *client) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	query := url.Values{"bill_date": {day.String()}, "bill_type": {"ALL"}, "tar_type": {"GZIP"}}
	return c.fetchBill(ctx, pathTradeBill, query, day, "trade")
}

// FetchFundFlow gives the bill of an account's movements, for [ParseFundFlow].
func (c *client) FetchFundFlow(ctx context.Context, day citygate.Date, account Account) (driver.Bill, error) {
	query := url.Values{"bill_date": {day.String()}, "account_type": {string(account)}, "tar_type": {"GZIP"}}
	return c.fetchBill(ctx, pathFundFlowBill, query, day, "fundflow_"+strings.ToLower(string(account)))
}

// A FundFlower hands out bills of an account's movements. The providers of Ride,
// RideV2 and CodePay are.
type FundFlower interface {
	FetchFundFlow(ctx context.Context, day citygate.Date, account Account) (driver.Bill, error)
}

// fetchBill asks for the address of a bill and downloads it. The address dies
// after minutes and opens the file to whoever knows it, so it is used at once,
// kept nowhere and named in no error. The file is not signed; its digest is, in
// the answer that named the address.
func (c *client) fetchBill(ctx context.Context, path string, query url.Values, day citygate.Date, kind string) (driver.Bill, error) {
	if err := c.over(day); err != nil {
		return driver.Bill{}, err
	}
	var answer billAnswer
	r, err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &answer)
	switch {
	case err != nil:
		return driver.Bill{}, err
	case r.status >= 400 && r.status < 500 && noBill[r.Code]:
		return driver.Bill{}, fmt.Errorf("%w: %s: %s", driver.ErrBillNotReady, day, r)
	case r.status != http.StatusOK:
		return driver.Bill{}, r.open(path)
	}
	body, err := c.download(ctx, answer)
	if err != nil {
		return driver.Bill{}, fmt.Errorf("wechatpay: bill of %s: %w", day, err)
	}
	name := c.config.MchID + "_" + kind + "_" + strings.ReplaceAll(day.String(), "-", "") + ".csv"
	return driver.Bill{Day: day, Name: name, Body: body, Currency: c.config.Currency}, nil
}

// over refuses a day that is not over, before the platform is asked.
func (c *client) over(day citygate.Date) error {
	if day.Compare(c.BillDay(c.config.Clock())) >= 0 {
		return fmt.Errorf("%w: %s is not over in Beijing", driver.ErrBillNotReady, day)
	}
	return nil
}

func (c *client) download(ctx context.Context, answer billAnswer) ([]byte, error) {
	u, err := url.Parse(answer.DownloadURL)
	if err != nil || u.Scheme+"://"+u.Host != c.base || u.Fragment != "" {
		return nil, errors.New("the download address is not at the platform") // the request to it is signed
	}
	got, err := c.send(ctx, http.MethodGet, u.RequestURI(), nil, wire.BillLimit)
	if err != nil {
		return nil, err
	}
	if got.Status != http.StatusOK {
		return nil, fmt.Errorf("the download answered HTTP status %d", got.Status)
	}
	body, err := unzipped(got.Body)
	if err != nil {
		return nil, err
	}
	return body, whole(body, answer.HashType, answer.HashValue)
}

// unzipped opens a file that is compressed and leaves another as it is.
func unzipped(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		return body, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the file is not gzip")
	}
	text, err := io.ReadAll(io.LimitReader(r, wire.BillLimit+1)) // a small file must not unfold into a large memory
	if err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	if int64(len(text)) > wire.BillLimit {
		return nil, wire.ErrTooLarge
	}
	return text, nil
}

// whole checks the digest of a file, which is of the text and not of its
// compressed form.
func whole(text []byte, kind, want string) error {
	if kind != "SHA1" {
		return fmt.Errorf("a digest of kind %.20q, want SHA1", kind)
	}
	sum := sha1.Sum(text) //nolint:gosec // see the import
	if !strings.EqualFold(hex.EncodeToString(sum[:]), want) {
		return errors.New("the file is not the one whose digest the platform signed")
	}
	return nil
}
