package alipay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// A Standing is how an answer leaves what was asked for.
type Standing string

// The standings. The zero value is Open, so that what nobody thought of is
// never taken for an answer.
const (
	Open    Standing = ""        // it may have happened or happen yet: ask again
	Done    Standing = "done"    // the answer is final and says yes
	Refused Standing = "refused" // the answer is final and says no
)

// An Answer is what the platform said to one method. It was proven.
type Answer struct {
	Method   string
	Node     json.RawMessage // the answer's object, byte for byte as received
	Standing Standing
	Why      string // why it is open or refused, in the platform's codes
}

// Exec sends one method with biz as its biz_content, byte for byte (nil sends
// none), and reads how the answer leaves the matter. It is for tools: the
// gateway uses the methods of driver's interfaces, which read the same tables.
//
// An error that is [driver.ErrNotPerformed] means that nothing was sent; after
// any other nobody can say.
func (p *Provider) Exec(ctx context.Context, method string, biz json.RawMessage) (Answer, error) {
	answer := Answer{Method: method}
	var content any
	if biz != nil {
		if !json.Valid(biz) {
			return answer, fmt.Errorf("%w: alipay: biz_content is not JSON", driver.ErrNotPerformed)
		}
		content = biz
	}
	var (
		r   reply
		raw []byte
		err error
	)
	if name, rest := strings.CutPrefix(method, restPrefix); rest {
		method = strings.ReplaceAll(name, "/", ".")
		r, raw, err = p.exchangeREST(ctx, method, biz)
	} else {
		r, raw, err = p.exchange(ctx, method, content)
	}
	if err != nil {
		return answer, err
	}
	answer.Node = raw
	answer.Standing, answer.Why = standing(method, r, raw)
	return answer, nil
}

// families are the prefixes that methods are known by without.
var families = []string{
	"alipay.commerce.transport.offlinepay.", "alipay.commerce.cityfacilitator.", "alipay.data.dataservice.",
	"alipay.commerce.transport.", "alipay.user.", "alipay.open.app.", "alipay.",
}

// MethodOf gives the method of which op is the end, with dots or slashes, as trade.query
// is of alipay.trade.query and key.query of the offlinepay family's. A whole method is
// its own.
func MethodOf(op string) (string, error) {
	if path := "/" + strings.TrimPrefix(op, "/"); strings.HasPrefix(path, restPrefix) {
		if restVerbs[strings.ReplaceAll(strings.TrimPrefix(path, restPrefix), "/", ".")] == "" {
			return "", ErrMethod.Explain("%q is not one of the REST paths here", op)
		}
		return path, nil
	}
	name := strings.ReplaceAll(strings.Trim(op, "/"), "/", ".")
	if strings.HasPrefix(name, "alipay.") {
		return name, nil
	}
	for _, family := range families {
		if slices.Contains(methods, family+name) {
			return family + name, nil
		}
	}
	var found []string
	for _, m := range methods {
		if strings.HasSuffix(m, "."+name) {
			found = append(found, m)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return "", ErrMethod.Explain("%q; there are %s", op, strings.Join(Ops(), ", "))
}

// Ops lists the ends of the methods that this package speaks.
func Ops() []string {
	ops := make([]string, len(methods))
	for i, m := range methods {
		for _, family := range families {
			if end, ok := strings.CutPrefix(m, family); ok {
				ops[i] = end
				break
			}
		}
	}
	return ops
}

// methods lists what this package speaks.
var methods = []string{
	methodKeys, methodVerify, methodSettle, methodDeny, methodCard, methodCards, methodPass,
	methodPay, methodQuery, methodCancel, methodRefund, methodRefundQuery, methodBill,
	methodAgreement, methodUnsign, methodNameList, methodCertDownload,
	methodTicketMake, methodTicketUse, methodTicketQuery, methodTicketsQuery, methodTicketCancel, methodTicketUpload, methodTicketRefund,
	methodDepositCancel, methodStations,
}

// standing reads an answer to any method. Only a code of a table refuses for
// good; whether yes is all there is to say, the method's own reader knows.
func standing(method string, r reply, raw []byte) (Standing, string) {
	switch {
	case r.Code == codeOK:
		if read := readers[method]; read != nil {
			return read(raw)
		}
		return Done, ""
	case r.Code == codeWaiting:
		return Open, r.String() + ": it waits for the payer"
	case refusing[r.Code] && r.SubCode == noTrade && asking[method]:
		return Open, r.String() + ": the platform does not know it, or not yet"
	case r.refusedBy(notTaken), r.refusedBy(finals[method]), refusing[r.Code] && !moving[method] && !contradicting[r.SubCode]:
		return Refused, r.String()
	}
	return Open, r.String()
}

// asking are the methods that ask what became of something.
var asking = map[string]bool{methodQuery: true, methodRefundQuery: true}

// moving are the methods that may move money: a refusal of theirs is final only
// in words of a table.
var moving = map[string]bool{methodSettle: true, methodRefund: true, methodPay: true, methodCancel: true, methodTicketRefund: true, methodDepositCancel: true}

// finals are the sub codes with which a method refuses for good.
var finals = map[string]map[string]bool{methodRefund: refundRefused, methodPay: payRefused, methodCancel: cancelRefused}

// readers say whether a yes is all there is to say.
var readers = map[string]func(raw []byte) (Standing, string){
	methodSettle: func(raw []byte) (Standing, string) {
		var a settleAnswer
		if err := json.Unmarshal(raw, &a); err != nil || len(a.ResultList) == 0 {
			return Open, "no result_list"
		}
		all := Done
		for _, item := range a.ResultList {
			switch r := item.outcome(); r.Outcome {
			case driver.Succeeded:
			case driver.Declined:
				all = Refused
			case driver.Unknown, driver.Accepted, driver.Absent:
				return Open, fmt.Sprintf("%s is %s %s", clip(item.OutTradeNo), clip(item.Result), r.ReasonCode)
			}
		}
		if all == Refused {
			return Refused, "a trade of the list failed for good"
		}
		return all, ""
	},
	methodPass: readPass,
	methodQuery: func(raw []byte) (Standing, string) {
		var a queryAnswer
		if err := json.Unmarshal(raw, &a); err != nil {
			return Open, "unreadable"
		}
		switch outcome, err := a.outcome(); {
		case err != nil || outcome == driver.Accepted:
			return Open, "trade_status " + clip(a.TradeStatus)
		case outcome == driver.Declined:
			return Refused, "trade_status " + clip(a.TradeStatus)
		}
		return Done, ""
	},
	methodPay: func(raw []byte) (Standing, string) {
		var a payAnswer
		if err := json.Unmarshal(raw, &a); err != nil || (a.AsyncPaymentMode != "" && a.AsyncPaymentMode != "SYNC_DIRECT_PAYMENT") {
			return Open, "async_payment_mode " + clip(a.AsyncPaymentMode)
		}
		return Done, ""
	},
	methodCancel: func(raw []byte) (Standing, string) {
		var a cancelAnswer
		if err := json.Unmarshal(raw, &a); err != nil || a.reversal() == driver.ReversalUnknown {
			return Open, "action " + clip(a.Action) + ": ask trade.query"
		}
		return Done, ""
	},
	methodRefund: func(raw []byte) (Standing, string) {
		var a refundAnswer
		if err := json.Unmarshal(raw, &a); err != nil || a.FundChange != "Y" {
			return Open, "fund_change " + clip(a.FundChange) + ": ask fastpay.refund.query"
		}
		return Done, ""
	},
	methodRefundQuery: func(raw []byte) (Standing, string) {
		var a refundQueryAnswer
		if err := json.Unmarshal(raw, &a); err != nil || a.RefundStatus != "REFUND_SUCCESS" {
			return Open, "refund_status " + clip(a.RefundStatus) + ": not received, not made, or asked too soon"
		}
		return Done, ""
	},
}
