package sandbox

import (
	"context"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// A Code is one that the sandbox gave a rider, as a reader reads it.
type Code struct {
	Code  []byte `json:"code"` // base64
	Rider string `json:"rider"`
}

var _ driver.CodeResolver = (*Provider)(nil)

// ResolveCode implements [driver.CodeResolver]: a code of the script is its rider's,
// any other nobody's. For riders in Unsure the first answer to a question is that
// nobody can say; for those in LoseReply it is lost.
func (p *Provider) ResolveCode(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
	p.mu.Lock()
	a, how, err := p.resolve(ctx, q)
	p.mu.Unlock()
	if err != nil {
		return driver.CodeAnswer{}, err
	}
	return a, how.answer(ctx)
}

func (p *Provider) resolve(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, trick, error) {
	if err := p.reach(ctx); err != nil {
		return driver.CodeAnswer{}, none, err
	}
	how := p.take()
	a := driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeRefused, ReasonCode: "no_such_code"}
	if rider, ok := p.codes[string(q.Evidence)]; ok {
		a = driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeKnown, RiderRef: rider}
		first := !p.asked[q.OurID]
		p.asked[q.OurID] = true
		switch {
		case first && p.lose[rider]:
			how = loseReply
		case first && p.unsure[rider]:
			a = driver.CodeAnswer{OurID: q.OurID, ReasonCode: "unsure"}
		}
	}
	p.dead = p.dead || how == die
	return a, how, nil
}
