package alipay

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const methodSettle = "alipay.commerce.transport.offlinepay.trade.settle"

// A settleRequest is biz_content of trade.settle.
type settleRequest struct {
	TradeList []offlineTrade `json:"trade_list"`
}

// An offlineTrade is one item. It depends on the debit alone, so that a debit
// sent again is equal byte for byte whatever else is in the batch.
type offlineTrade struct {
	OutTradeNo      string   `json:"out_trade_no"`
	Amount          string   `json:"amount"`
	ActualOrderTime string   `json:"actual_order_time"`
	Subject         string   `json:"subject,omitempty"`
	UserID          string   `json:"user_id"`
	Records         []string `json:"records,omitempty"`
}

type settleAnswer struct {
	ResultList []itemResult `json:"result_list"`
}

type itemResult struct {
	OutTradeNo  string `json:"out_trade_no"`
	TradeNo     string `json:"trade_no"`
	Result      string `json:"result"`
	NeedRetry   *bool  `json:"need_retry"`
	NextTryTime string `json:"next_try_time"`
	ErrorCode   string `json:"error_code"`
}

// Submit implements [driver.Provider].
func (p *Provider) Submit(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
	if len(debits) == 0 {
		return nil, nil
	}
	if p.config.Collect != Offline {
		if len(debits) > 1 {
			return nil, fmt.Errorf("%w: %d debits; trade.pay takes one", driver.ErrNotPerformed, len(debits))
		}
		result, err := p.pay(ctx, debits[0])
		if err != nil {
			return nil, err
		}
		return []driver.Result{result}, nil
	}
	request, err := p.settle(debits)
	if err != nil {
		return nil, err
	}
	var answer settleAnswer
	r, err := p.call(ctx, methodSettle, request, &answer)
	if err != nil {
		return nil, err
	}
	switch r.Code {
	case codeOK:
		return outcomes(debits, answer.ResultList), nil
	case codeWaiting:
		results := make([]driver.Result, len(debits))
		for i, d := range debits {
			results[i] = driver.Result{OurID: d.OurID, Outcome: driver.Accepted, ReasonCode: clip(r.SubCode)}
		}
		return results, nil
	}
	return nil, r.open(methodSettle)
}

// settle turns debits into the request, or refuses them all before anything is
// sent. One bad debit refuses the batch: it is a fault of the caller.
func (p *Provider) settle(debits []driver.Debit) (settleRequest, error) {
	if len(debits) > p.config.BatchMax {
		return settleRequest{}, fmt.Errorf("%w: %d debits in a batch, at most %d", driver.ErrNotPerformed, len(debits), p.config.BatchMax)
	}
	request := settleRequest{make([]offlineTrade, len(debits))}
	seen := make(map[string]bool, len(debits))
	for i, d := range debits {
		if err := priced(d.OurID, d.Amount); err != nil {
			return settleRequest{}, err
		}
		if seen[d.OurID] {
			return settleRequest{}, fmt.Errorf("%w: debit %s is in the batch twice", driver.ErrNotPerformed, d.OurID)
		}
		if d.RiderRef == "" || d.TripTime.IsZero() {
			return settleRequest{}, fmt.Errorf("%w: debit %s has no rider or no trip time", driver.ErrNotPerformed, d.OurID)
		}
		seen[d.OurID] = true
		request.TradeList[i] = offlineTrade{
			OutTradeNo:      d.OurID,
			Amount:          yuan(d.Amount.Minor),
			ActualOrderTime: d.TripTime.In(beijing).Format(stamp),
			Subject:         d.Subject,
			UserID:          d.RiderRef,
			Records:         records(d.Evidence),
		}
	}
	return request, nil
}

// priced refuses what the platform would not take: a wrong currency, amount or
// number.
func priced(ourID string, amount citygate.Money) error {
	switch {
	case amount.Currency != cny:
		return fmt.Errorf("%w: alipay settles %s, not %s", driver.ErrCurrencyUnsupported, cny, amount.Currency)
	case amount.Minor <= 0 || amount.Minor > amountMax:
		return fmt.Errorf("%w: %s has an amount outside 0.01 to %s yuan", driver.ErrNotPerformed, clip(ourID), yuan(amountMax))
	case !plainID(ourID):
		return fmt.Errorf("%w: id %q: want 1 to %d of A-Z a-z 0-9 _", driver.ErrNotPerformed, clip(ourID), idMax)
	}
	return nil
}

func plainID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= idMax
}

// records writes evidence as text: printable ASCII as it is, because a record
// of the platform's own SDK is such a string, and other bytes as base64.
func records(evidence [][]byte) []string {
	texts := make([]string, len(evidence))
	for i, e := range evidence {
		texts[i] = record(e)
	}
	return texts
}

func record(evidence []byte) string {
	for _, c := range evidence {
		if c < ' ' || c > '~' {
			return base64.StdEncoding.EncodeToString(evidence)
		}
	}
	return string(evidence)
}

// outcomes puts the items' results in the order of the debits. An item without
// a result, or with two that differ, is Unknown; results nobody asked for are
// ignored.
func outcomes(debits []driver.Debit, items []itemResult) []driver.Result {
	byID := make(map[string]driver.Result, len(items))
	for _, item := range items {
		result := item.outcome()
		if earlier, ok := byID[item.OutTradeNo]; ok && earlier != result {
			result = driver.Result{OurID: item.OutTradeNo, ReasonCode: "CONTRADICTING_RESULTS"}
		}
		byID[item.OutTradeNo] = result
	}
	results := make([]driver.Result, len(debits))
	for i, d := range debits {
		result, ok := byID[d.OurID]
		if !ok {
			result = driver.Result{OurID: d.OurID, ReasonCode: "NO_RESULT"}
		}
		results[i] = result
	}
	return results
}

// outcome reads one item. FAIL is final only when the platform says in so many
// words that there will be no further try, and gives no code under which the
// order may exist.
func (item itemResult) outcome() driver.Result {
	result := driver.Result{OurID: item.OutTradeNo, ProviderRef: clip(item.TradeNo), ReasonCode: clip(item.ErrorCode)}
	switch {
	case item.Result == "SUCCESS":
		result.Outcome = driver.Succeeded
	case item.Result == "FAIL" && item.NeedRetry != nil && !*item.NeedRetry && !contradicting[item.ErrorCode]:
		result.Outcome = driver.Declined
	default:
		result.RetryAt = instant(item.NextTryTime)
	}
	return result
}

// instant reads a time of the platform; an unreadable one is no time.
func instant(text string) time.Time {
	t, err := time.ParseInLocation(stamp, text, beijing)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
