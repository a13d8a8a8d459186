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
	name := nameOf(c.config.MchID+"_"+kind+"_"+strings.ReplaceAll(day.String(), "-", ""), body)
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
	return got.Body, whole(got.Body, answer.HashType, answer.HashValue)
}

// gzipMark begins a file that is compressed.
var gzipMark = []byte{0x1f, 0x8b}

// nameOf names a file by what it is.
func nameOf(stem string, body []byte) string {
	if bytes.HasPrefix(body, gzipMark) {
		return stem + ".csv.gz"
	}
	return stem + ".csv"
}

// unfold gives the text of a file, compressed or not, as a stream of at most so many
// bytes: a small file must not unfold into endless work.
func unfold(body []byte) (io.Reader, error) {
	if !bytes.HasPrefix(body, gzipMark) {
		return bytes.NewReader(body), nil
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("wechatpay: the file is not gzip")
	}
	return &bounded{r, wire.UnfoldLimit}, nil
}

// A bounded reader fails behind left bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, wire.ErrTooLarge
	}
	return n, err
}

// whole checks the digest of a file, which is of the text and not of its
// compressed form.
func whole(body []byte, kind, want string) error {
	if kind != "SHA1" {
		return fmt.Errorf("a digest of kind %.20q, want SHA1", kind)
	}
	text, err := unfold(body)
	if err != nil {
		return err
	}
	sum := sha1.New() //nolint:gosec // see the import
	if _, err := io.Copy(sum, text); err != nil {
		return fmt.Errorf("the file is damaged: %w", err)
	}
	if !strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), want) {
		return errors.New("the file is not the one whose digest the platform signed")
	}
	return nil
}
