package alipayplus

import (
	"context"
	"fmt"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// refundRefused are codes that say for good that a refund was not made.
var refundRefused = map[string]bool{
	"REFUND_AMOUNT_EXCEED": true, "REFUND_WINDOW_EXCEED": true, "ORDER_NOT_EXIST": true, "ORDER_STATUS_INVALID": true, "ORDER_IS_CANCELED": true,
	"MULTIPLE_REFUNDS_NOT_SUPPORTED": true, "PARTIAL_REFUND_NOT_SUPPORTED": true, "CURRENCY_NOT_SUPPORT": true, "PROCESS_FAIL": true,
}

type refundRequest struct {
	RequestID string  `json:"refundRequestId"`
	PaymentID string  `json:"paymentId,omitempty"`
	PaymentRq string  `json:"paymentRequestId,omitempty"`
	Amount    *amount `json:"refundAmount"`
	Reason    string  `json:"refundReason,omitempty"`
	NotifyURL string  `json:"refundNotifyUrl,omitempty"`
}

// returned is what the payer gets back: at the rate of his payment.
func (p *Provider) returned(refund driver.Refund) (citygate.Money, error) {
	if err := p.priced(refund.Charge); err != nil {
		return citygate.Money{}, err
	}
	if err := p.priced(driver.Ref{OurID: refund.OurID, Amount: refund.Amount}); err != nil {
		return citygate.Money{}, err
	}
	if refund.Charge.Quote == (driver.Quote{}) {
		return refund.Amount, nil
	}
	if paid := refund.Charge.Quote.Pays; refund.Pays.Currency != paid.Currency || refund.Pays.Minor <= 0 || refund.Pays.Minor > paid.Minor {
		return citygate.Money{}, fmt.Errorf("%w: refund %s: its part of what the payer paid is missing", driver.ErrNotPerformed, clip(refund.OurID))
	}
	return refund.Pays, nil
}

// Refund implements [driver.Refunder]. The payment is named by our number: the
// platform's own would win over it if both were given.
func (p *Provider) Refund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	back, err := p.returned(refund)
	if err != nil {
		return driver.Result{}, err
	}
	request := refundRequest{RequestID: refund.OurID, PaymentRq: refund.Charge.OurID, Amount: wireAmount(back), Reason: fitted(refund.Reason)}
	if p.config.Family == Antom {
		request.NotifyURL = p.config.NotifyURL
	}
	var a answer
	if err := p.ask(ctx, opRefund, request, &a); err != nil {
		return driver.Result{}, err
	}
	r := driver.Result{OurID: refund.OurID, ProviderRef: clip(a.RefundID), ReasonCode: a.Result.why()}
	switch {
	case a.Result.Status == statusYes:
		return given(&a, r, refund, back)
	case a.Result.Status == statusNo && notTaken[a.Result.Code]:
		return driver.Result{}, fmt.Errorf("%w: alipayplus: refused: %s", driver.ErrNotPerformed, a.Result.why())
	case a.Result.Status == statusNo && refundRefused[a.Result.Code]:
		r.Outcome = driver.Declined
	case a.Result.Status == statusOpen && a.Result.Code == "REFUND_IN_PROCESS":
		r.Outcome = driver.Accepted
	}
	return r, nil
}

// given reads an answer that says that a refund was made.
func given(a *answer, r driver.Result, refund driver.Refund, back citygate.Money) (driver.Result, error) {
	said, err := a.RefundAmount.money()
	if err != nil {
		return driver.Result{}, err
	}
	if (a.RefundRequestID != "" && a.RefundRequestID != refund.OurID) || said != back {
		return driver.Result{}, fmt.Errorf("alipayplus: refund %s is of another number or amount there", clip(refund.OurID))
	}
	e, err := a.exchange(a.RefundAmount, a.GrossRefundSettlement, a.Settlement)
	if err != nil {
		return driver.Result{}, err
	}
	r.Outcome, r.Amount, r.Exchange = driver.Succeeded, refund.Amount, domestic(e, refund.Amount)
	return r, nil
}

// QueryRefund implements [driver.Refunder]. A refund that the platform does not
// know may not have arrived yet.
func (p *Provider) QueryRefund(ctx context.Context, refund driver.Refund) (driver.Result, error) {
	back, err := p.returned(refund)
	if err != nil {
		return driver.Result{}, err
	}
	var a answer
	if err := p.ask(ctx, opInquiryRefund, map[string]string{"refundRequestId": refund.OurID}, &a); err != nil {
		return driver.Result{}, err
	}
	r := driver.Result{OurID: refund.OurID, ProviderRef: clip(a.RefundID), ReasonCode: a.Result.why()}
	switch {
	case a.Result.Status == statusNo && (a.Result.Code == "REFUND_NOT_EXIST" || a.Result.Code == codeAbsent):
		r.Outcome = driver.Absent
	case a.Result.Status != statusYes:
		return driver.Result{}, fmt.Errorf("alipayplus: inquiry of a refund: %s", a.Result.why())
	case a.RefundRequestID != refund.OurID:
		return driver.Result{}, fmt.Errorf("alipayplus: the answer is about another refund than %s", refund.OurID)
	case a.RefundStatus == "SUCCESS":
		return given(&a, r, refund, back)
	case a.RefundStatus == "FAIL":
		r.Outcome = driver.Declined
	case a.RefundStatus == "PROCESSING":
		r.Outcome = driver.Accepted
	}
	return r, nil
}
