package wechatpay

import (
	"fmt"
	"net/http"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The codes of refusals. A refusal that is in no table says nothing about money:
// SYSTEM_ERROR, BANK_ERROR, FREQUENCY_LIMITED, INVALID_REQUEST (which also
// answers a number that is in use), OUT_TRADE_NO_USED and ORDERPAID.

// notTaken are codes with which the platform turns a request away before the
// business behind it sees it: nothing happened.
var notTaken = map[string]bool{
	"SIGN_ERROR":            true,
	"PARAM_ERROR":           true,
	"APPID_MCHID_NOT_MATCH": true,
	"MCH_NOT_EXISTS":        true,
	"NO_AUTH":               true,
	"NO_STATEMENT_EXIST":    true,
	"STATEMENT_CREATING":    true,
}

// declined are codes that say for good that a payment under this number was not
// made and will not be.
var declined = map[string]bool{
	"NOT_ENOUGH":            true,
	"NOTENOUGH":             true, // APIv2
	"AUTH_CODE_EXPIRED":     true,
	"AUTHCODEEXPIRE":        true,
	"AUTH_CODE_INVALID":     true,
	"AUTH_CODE_ERROR":       true,
	"ACCOUNT_ERROR":         true,
	"USER_ACCOUNT_ABNORMAL": true,
	"RULE_LIMIT":            true,
	"RULELIMIT":             true,
	"CONTRACT_NOT_EXIST":    true,
	"CONTRACT_TERMINATED":   true,
	"USER_NOT_EXIST":        true,
}

// waiting are codes that say that the payer has to do something first.
var waiting = map[string]bool{"USERPAYING": true, "USER_PAYING": true}

// noOrder are codes that say that the platform does not know the number (yet).
var noOrder = map[string]bool{
	"ORDER_NOT_EXIST": true, "ORDERNOTEXIST": true, "RESOURCE_NOT_EXISTS": true, "REFUNDNOTEXIST": true, "NOT_FOUND": true,
}

// noBill are codes that say that a day's bill is not there (yet).
var noBill = map[string]bool{"NO_STATEMENT_EXIST": true, "STATEMENT_CREATING": true}

// refused gives the result of a refused payment, or an error if the refusal
// settles nothing.
func (r reply) refused(what, ourID string) (driver.Result, error) {
	result := driver.Result{OurID: ourID, ReasonCode: clip(r.Code)}
	switch {
	case waiting[r.Code]:
		result.Outcome = driver.Accepted
		return result, nil
	case r.status >= 400 && r.status < 500 && declined[r.Code]:
		result.Outcome = driver.Declined
		return result, nil
	}
	return driver.Result{}, r.open(what)
}

// missing reports whether the answer says that there is no such number.
func (r reply) missing() bool { return r.status == http.StatusNotFound && noOrder[r.Code] }

// open is the error for an answer that settles nothing: [driver.ErrNotPerformed]
// when the refusal is certain, else one that leaves the outcome Unknown.
func (r reply) open(what string) error {
	if r.status >= 400 && r.status < 500 && notTaken[r.Code] {
		return fmt.Errorf("%w: wechatpay: %s refused: %s", driver.ErrNotPerformed, what, r)
	}
	return fmt.Errorf("wechatpay: %s: %s", what, r)
}
