package alipayplus

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// ErrMethod says that a tool named a call that this package does not speak.
var ErrMethod = &citygate.Code{Name: "alipayplus.method", Kind: citygate.Invalid, Title: "There is no such call of the platform here; name one of the list."}

// A Standing is how an answer leaves what was asked for.
type Standing string

// The standings. The zero value is Open, so that what nobody thought of is never
// taken for an answer.
const (
	Open    Standing = ""        // it may have happened or happen yet: ask again
	Done    Standing = "done"    // the answer is final and says yes
	Refused Standing = "refused" // the answer is final and says no
)

// An Answer is what the platform said to one call. It was proven.
type Answer struct {
	Body     []byte // byte for byte as received
	Standing Standing
	Why      string // why it is open or refused, in the platform's codes
}

// Ops lists the names of the calls that this package speaks.
func Ops() []string {
	return []string{opPay, opInquiry, opCancel, opCancelAps, opRefund, opInquiryRefund, opQuote, opCertificate, opArrear}
}

// Exec sends one call with body as it is, or an empty object, and reads how the
// answer leaves the matter. It is for tools: the gateway uses the methods of
// driver's interfaces, which read the same tables.
//
// An error that is [driver.ErrNotPerformed] means that nothing was sent; after any
// other nobody can say.
func (p *Provider) Exec(ctx context.Context, op string, body json.RawMessage) (Answer, error) {
	op = op[strings.LastIndexByte(strings.ReplaceAll(op, ".", "/"), '/')+1:] // a whole path is taken as it is
	if !slices.Contains(Ops(), op) {
		return Answer{}, ErrMethod.Explain("%q; there are %s", op, strings.Join(Ops(), ", "))
	}
	if len(body) == 0 {
		body = json.RawMessage("{}")
	}
	if !json.Valid(body) {
		return Answer{}, fmt.Errorf("%w: alipayplus: want JSON", driver.ErrNotPerformed)
	}
	raw, err := p.call(ctx, op, body)
	if err != nil {
		return Answer{}, err
	}
	var a answer
	if err := read(raw, &a); err != nil {
		return Answer{}, err
	}
	out := Answer{Body: raw}
	out.Standing, out.Why = a.leaves(op)
	return out, nil
}

// refusals are the final words of each call that moves money.
var refusals = map[string]map[string]bool{opPay: declined, opCancel: cancelRefused, opCancelAps: cancelRefused, opRefund: refundRefused}

func (a *answer) leaves(op string) (Standing, string) {
	why := strings.TrimSpace(clip(a.Result.Status) + " " + a.Result.why())
	table, moves := refusals[op]
	switch {
	case a.Result.Status == statusNo && (notTaken[a.Result.Code] || table[a.Result.Code]):
		return Refused, why
	case a.Result.Status == statusNo && !moves && op != opInquiry && op != opInquiryRefund:
		return Refused, why
	case a.Result.Status != statusYes:
		return Open, why
	case op == opInquiryRefund && a.RefundStatus != "":
		switch a.RefundStatus {
		case "SUCCESS":
			return Done, ""
		case "FAIL":
			return Refused, "refundStatus FAIL"
		}
		return Open, "refundStatus " + clip(a.RefundStatus)
	case op != opInquiry:
		return Done, ""
	}
	said := "paymentStatus " + clip(a.PaymentStatus)
	if a.PaymentResult != nil {
		said = "paymentResult " + a.PaymentResult.why()
	}
	switch a.standing() {
	case driver.Succeeded:
		return Done, ""
	case driver.Declined:
		return Refused, said
	case driver.Unknown, driver.Accepted, driver.Absent:
	}
	return Open, said
}
