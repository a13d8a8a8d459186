package alipay

import (
	"fmt"
	"strings"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The envelope's codes. 20000 and every code not named here say nothing about
// money. The 4000x codes refuse, but only together with a sub code of a table
// below is the refusal certain.
const (
	codeOK      = "10000"
	codeWaiting = "10003" // the order exists and waits for the payer
)

// refusing holds the codes under which a sub code is looked up.
var refusing = map[string]bool{"40001": true, "40002": true, "40003": true, "40004": true, "40006": true}

// notTaken are sub codes with which the gateway turns a whole request away
// before the business behind it sees it, or the business does so before it
// acts: nothing happened, and the same request may be sent again.
var notTaken = map[string]bool{
	"isv.missing-method":               true,
	"isv.invalid-method":               true,
	"isv.missing-app-id":               true,
	"isv.invalid-app-id":               true,
	"isv.missing-signature":            true,
	"isv.invalid-signature":            true,
	"isv.missing-signature-type":       true,
	"isv.invalid-signature-type":       true,
	"isv.missing-signature-key":        true,
	"isv.missing-timestamp":            true,
	"isv.invalid-timestamp":            true,
	"isv.missing-version":              true,
	"isv.invalid-format":               true,
	"isv.invalid-charset":              true,
	"isv.invalid-encrypt":              true,
	"isv.missing-encrypt-type":         true,
	"isv.missing-parameter":            true,
	"isv.invalid-parameter":            true,
	"isv.insufficient-isv-permissions": true,
	"isv.app-unbind-partner":           true,
	"aop.invalid-auth-token":           true,
	"aop.invalid-app-auth-token":       true,
	"aop.auth-token-time-out":          true,
	"aop.app-auth-token-time-out":      true,
	"ACQ.INVALID_PARAMETER":            true,
	"ACQ.ACCESS_FORBIDDEN":             true,
	"ACQ.SELLER_BALANCE_NOT_ENOUGH":    true, // a refund the merchant can send again once it has funds
}

// refundRefused are sub codes that say for good that a refund will not be made.
var refundRefused = map[string]bool{
	"ACQ.REASON_TRADE_REFUND_FEE_ERR": true, // more than is left of the trade
	"ACQ.REFUND_AMT_NOT_EQUAL_TOTAL":  true,
	"ACQ.TRADE_NOT_ALLOW_REFUND":      true,
	"ACQ.NOT_ALLOW_PARTIAL_REFUND":    true,
	"ACQ.TRADE_HAS_FINISHED":          true,
}

// payRefused are sub codes of trade.pay that say for good that this order will
// not be paid by this request: the payer, the agreement or the code cannot pay.
var payRefused = map[string]bool{
	"ACQ.BUYER_BALANCE_NOT_ENOUGH":               true,
	"ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH":      true,
	"ACQ.ERROR_BALANCE_PAYMENT_DISABLE":          true,
	"ACQ.NO_PAYMENT_INSTRUMENTS_AVAILABLE":       true,
	"ACQ.BUYER_ENABLE_STATUS_FORBID":             true,
	"ACQ.BUYER_SELLER_EQUAL":                     true,
	"ACQ.TRADE_BUYER_NOT_MATCH":                  true,
	"ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR":   true,
	"ACQ.BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR": true,
	"ACQ.BEYOND_PAY_RESTRICTION":                 true,
	"ACQ.BEYOND_PER_RECEIPT_RESTRICTION":         true,
	"ACQ.ERROR_BUYER_CERTIFY_LEVEL_LIMIT":        true,
	"ACQ.PAYMENT_REQUEST_HAS_RISK":               true,
	"ACQ.PAYMENT_AUTH_CODE_INVALID":              true,
	"ACQ.MOBILE_PAYMENT_SWITCH_OFF":              true,
	"ACQ.USER_FACE_PAYMENT_SWITCH_OFF":           true,
	"ACQ.TOTAL_FEE_EXCEED":                       true,
	"ACQ.SELLER_BEEN_BLOCKED":                    true,
	"ACQ.AGREEMENT_NOT_EXIST":                    true,
	"ACQ.AGREEMENT_INVALID":                      true,
	"ACQ.AGREEMENT_STATUS_NOT_NORMAL":            true,
	"ACQ.MERCHANT_AGREEMENT_NOT_EXIST":           true,
	"ACQ.MERCHANT_AGREEMENT_INVALID":             true,
	"ACQ.MERCHANT_STATUS_NOT_NORMAL":             true,
}

// cancelRefused are sub codes that say that an order stays as it was.
var cancelRefused = map[string]bool{
	"ACQ.TRADE_HAS_FINISHED":          true,
	"ACQ.TRADE_CANCEL_TIME_OUT":       true,
	"ACQ.CANCEL_NOT_ALLOWED":          true,
	"ACQ.REASON_TRADE_BEEN_FREEZEN":   true,
	"ACQ.REASON_TRADE_REFUND_FEE_ERR": true,
	"ACQ.SELLER_BALANCE_NOT_ENOUGH":   true,
}

// contradicting are error codes of a failed item that nevertheless may mean
// that the order exists and was paid: the number was used before, perhaps by a
// call whose answer was lost. Such an item is open whatever need_retry says.
var contradicting = map[string]bool{
	"ACQ.TRADE_HAS_SUCCESS":    true,
	"ACQ.TRADE_HAS_CLOSE":      true,
	"ACQ.CONTEXT_INCONSISTENT": true,
	"ACQ.SYSTEM_ERROR":         true,
	"AQC.SYSTEM_ERROR":         true, // the platform's own spelling on some methods
	"SYSTEM_ERROR":             true,
}

// paidBefore says that the order was paid, by this request or by another.
const paidBefore = "ACQ.TRADE_HAS_SUCCESS"

// noTrade says that the platform does not know the order (yet).
const noTrade = "ACQ.TRADE_NOT_EXIST"

// noBill are sub codes that say that a day's bill is not there (yet).
var noBill = map[string]bool{"BILL_NOT_EXIST": true, "NO_BILL_DATA": true}

// refusedBy reports whether r refuses with a sub code of table. The bill
// methods put a module in front of theirs, so that is ignored for them.
func (r reply) refusedBy(table map[string]bool) bool { return refusing[r.Code] && table[r.SubCode] }

// withoutModule gives the sub code without a leading "isp." or "isv.".
func (r reply) withoutModule() string {
	return strings.ToUpper(strings.TrimPrefix(strings.TrimPrefix(r.SubCode, "isp."), "isv."))
}

// open is the error for an answer that settles nothing: [driver.ErrNotPerformed]
// when the refusal is certain, else one that leaves the outcome Unknown.
func (r reply) open(method string) error {
	if r.refusedBy(notTaken) {
		return fmt.Errorf("%w: alipay: %s refused: %s", driver.ErrNotPerformed, method, r)
	}
	return fmt.Errorf("alipay: %s: %s", method, r)
}
