package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// calls gives what is served at each path.
func (h *handler) calls() map[string]serving {
	return map[string]serving{
		pathSubmit: typed(func(ctx context.Context, p driver.Provider, c submitCall) (any, error) {
			debits := make([]driver.Debit, len(c.Debits))
			for i, d := range c.Debits {
				var err error
				if debits[i], err = d.debit(p); err != nil {
					return nil, err
				}
			}
			if len(debits) == 0 || len(debits) > p.Describe().BatchMax {
				return nil, errBody
			}
			results, err := p.Submit(ctx, debits)
			if err != nil {
				return nil, err
			}
			answer := submitAnswer{Results: []result{}}
			for _, r := range results {
				answer.Results = append(answer.Results, resultOut(r))
			}
			return answer, nil
		}),
		pathQuery: typed(func(ctx context.Context, p driver.Provider, c refCall) (any, error) {
			r, err := c.Ref.ref(p)
			if err != nil {
				return nil, err
			}
			return oneResult(p.Query(ctx, r))
		}),
		pathReverse: ableAs(func(ctx context.Context, p driver.Provider, do driver.Reverser, c refCall) (any, error) {
			ref, err := c.Ref.ref(p)
			if err != nil {
				return nil, err
			}
			r, reason, err := do.Reverse(ctx, ref)
			return reverseAnswer{wordOf(r), reason}, err
		}),
		pathRefund:      ableAs(serveRefund(driver.Refunder.Refund)),
		pathQueryRefund: ableAs(serveRefund(driver.Refunder.QueryRefund)),
		pathBill:        able(serveBill),
		pathDeny: able(func(ctx context.Context, p driver.DenyFeed, _ plainCall) (any, error) {
			riders, err := p.PullDeny(ctx)
			if riders == nil {
				riders = []string{}
			}
			return denyAnswer{Riders: riders}, err
		}),
		pathDenyChange: able(func(ctx context.Context, p driver.DenyPush, c denyChangeCall) (any, error) {
			err := p.PushDeny(ctx, driver.DenyChange{OurID: c.ID, RiderRef: c.Rider, CardRef: c.Card, Denied: c.Denied, Reason: c.Reason, At: c.At})
			return denyChangeAnswer{c.ID}, err
		}),
		pathKeys: able(func(ctx context.Context, p driver.KeyFeed, _ plainCall) (any, error) {
			keys, err := p.PullKeys(ctx)
			answer := keysAnswer{Keys: []feedKey{}}
			for _, k := range keys {
				answer.Keys = append(answer.Keys, feedKey{k.ID, k.Material})
			}
			return answer, err
		}),
		pathNotify: able(serveNotify),
		pathQuote:  able(serveQuote),

		pathVerify:    ableAs(serveStep(driver.Authorizer.Verify)),
		pathAuthorize: ableAs(serveStep(driver.Authorizer.Authorize)),
		pathCapture:   ableAs(serveStep(driver.Authorizer.Capture)),
		pathVoid:      ableAs(serveStep(driver.Authorizer.Void)),
		pathDevice:    able(serveDevice),
		pathArrears:   ableAs(serveArrears),
		pathCode: able(func(ctx context.Context, p driver.CodeResolver, c codeCall) (any, error) {
			a, err := p.ResolveCode(ctx, driver.CodeQuestion{OurID: c.ID, Scheme: c.Scheme, Evidence: c.Code, At: c.At, Fare: c.Fare.money()})
			return codeAnswer{a.OurID, wordOf(a.Outcome), a.RiderRef, a.ReasonCode, instant(a.RetryAt)}, err
		}),
		pathRider: able(func(ctx context.Context, p driver.RiderCheck, c riderCall) (any, error) {
			s, err := p.RiderState(ctx, driver.RiderQuestion{RiderRef: c.Rider, AgreementID: c.Agreement})
			return riderOut(s), err
		}),
		pathEvidence: able(serveEvidence),

		pathCard: able(serveCard),

		pathOpenAgreement:  able(serveOpenAgreement),
		pathQueryAgreement: able(serveAgreement(driver.Contract.QueryAgreement)),
		pathCloseAgreement: able(serveAgreement(driver.Contract.CloseAgreement)),
	}
}

func oneResult(r driver.Result, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return resultOut(r), nil
}

// typed decodes a call. What does not decode was not performed.
func typed[C any](do func(context.Context, driver.Provider, C) (any, error)) serving {
	return func(ctx context.Context, p driver.Provider, body []byte) (any, error) {
		var call C
		if err := json.Unmarshal(body, &call); err != nil {
			return nil, errBody
		}
		return do(ctx, p, call)
	}
}

// able serves a call of an ability that the driver may not have.
func able[T, C any](do func(context.Context, T, C) (any, error)) serving {
	return ableAs(func(ctx context.Context, _ driver.Provider, t T, call C) (any, error) { return do(ctx, t, call) })
}

// ableAs is able for a call that needs more of the driver than the ability.
func ableAs[T, C any](do func(context.Context, driver.Provider, T, C) (any, error)) serving {
	return typed(func(ctx context.Context, p driver.Provider, call C) (any, error) {
		t, ok := driver.As[T](p)
		if !ok {
			return nil, errAbility
		}
		return do(ctx, p, t, call)
	})
}

// serveRefund serves one of the two calls about refunds.
func serveRefund(do func(driver.Refunder, context.Context, driver.Refund) (driver.Result, error)) func(context.Context, driver.Provider, driver.Refunder, refundCall) (any, error) {
	return func(ctx context.Context, p driver.Provider, by driver.Refunder, c refundCall) (any, error) {
		r, err := c.Refund.refund(p)
		if err != nil {
			return nil, err
		}
		return oneResult(do(by, ctx, r))
	}
}

func serveBill(ctx context.Context, p driver.Biller, c billCall) (any, error) {
	day, err := citygate.ParseDate(c.Day)
	if err != nil {
		return nil, errBody
	}
	bill, err := p.FetchBill(ctx, day)
	if err != nil {
		return nil, err
	}
	after, err := strconv.Atoi(cmp.Or(c.After, "0"))
	if err != nil || after < 0 || c.Limit < 0 {
		return nil, errBody
	}
	return writeBill(bill, after, c.Limit, func(visit func(driver.BillLine) error) error { return readWhole(p, bill, visit) })
}

// readWhole visits the lines of a bill, as a stream where the driver can.
func readWhole(p driver.Biller, bill driver.Bill, visit func(driver.BillLine) error) error {
	if r, ok := p.(driver.BillReader); ok {
		return r.ReadBill(bill, visit)
	}
	lines, err := p.ParseBill(bill)
	if err != nil {
		return err
	}
	return visitAll(lines, visit)
}

func visitAll(lines []driver.BillLine, visit func(driver.BillLine) error) error {
	for _, l := range lines {
		if err := visit(l); err != nil {
			return err
		}
	}
	return nil
}

func serveNotify(ctx context.Context, p driver.Notifier, c notifyCall) (any, error) {
	n := c.Notification
	said, say, err := p.ParseNotify(ctx, driver.Notification{Method: n.Method, Target: n.Target, Header: n.Header, Body: n.Body, At: n.At})
	answer := notifyAnswer{Proven: err == nil, Ack: ack{say.Status, say.ContentType, say.Body}}
	if err == nil {
		answer.Notice = noticeOut(said)
	}
	return answer, nil
}

func noticeOut(n driver.Notice) *notice {
	out := &notice{ID: n.ID, Kind: string(n.Kind), ChargeID: n.ChargeID}
	switch n.Kind {
	case driver.NoticePayment, driver.NoticeRefund:
		r := resultOut(n.Result)
		out.Result = &r
	case driver.NoticeAgreement:
		out.Agreement = agreementOut(n.Agreement)
	case driver.NoticeRider:
		r := riderOut(n.Rider)
		out.Rider = &r
	case driver.NoticeReversal:
		t := n.Taken
		fee := &t.Fee
		if t.FeeUnsaid {
			fee = nil
		}
		out.Taken = &taken{t.Reference, t.Of, wordOf(t.State), moneyOf(t.Amount), fee, t.ReasonCode, instant(t.At)}
	case driver.NoticeOther:
	}
	return out
}

func riderOut(s driver.RiderStatus) riderAnswer {
	return riderAnswer{s.RiderRef, wordOf(s.State), moneyOf(s.Owes), s.ReasonCode, instant(s.At)}
}
