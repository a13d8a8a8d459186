package adapters

import (
	"context"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// riderRefMax is the longest name for a payer, in bytes: what an account holds.
const riderRefMax = 200

// NoAnswer is the reason of a question that nobody answered.
const NoAnswer = "no_answer"

// A CodeResolver is the ability of a [Provider] to say whose its codes are.
type CodeResolver struct {
	p *Provider
	d driver.CodeResolver
}

// CodeResolver finds out whether the product says whose its codes are.
func (p *Provider) CodeResolver() (*CodeResolver, bool) {
	d, ok := driver.As[driver.CodeResolver](p.driver)
	if !ok {
		return nil, false
	}
	return &CodeResolver{p, d}, true
}

// ResolveCode asks about one code. Whatever goes wrong leaves it unknown, and so
// does an answer that contradicts itself or is about something else: nobody is
// charged for a ride on the strength of that, and nobody's ride is refused.
func (r *CodeResolver) ResolveCode(ctx context.Context, q driver.CodeQuestion) driver.CodeAnswer {
	open := driver.CodeAnswer{OurID: q.OurID}
	if err := r.p.checkID(q.OurID); err != nil {
		open.ReasonCode = "bad_id"
		return open
	}
	ctx, done := r.p.deadline(ctx)
	defer done()
	a, err := contained(r.p.about.Name, func() (driver.CodeAnswer, error) { return r.d.ResolveCode(ctx, q) })
	if err != nil {
		open.ReasonCode = NoAnswer
		return open
	}
	named := a.RiderRef != "" && len(a.RiderRef) <= riderRefMax
	switch {
	case a.OurID != q.OurID:
		return open
	case a.Outcome == driver.CodeKnown && named, a.Outcome == driver.CodeRefused && a.RiderRef == "":
		return a
	}
	open.ReasonCode, open.RetryAt = a.ReasonCode, r.p.soon(a.RetryAt)
	return open
}
