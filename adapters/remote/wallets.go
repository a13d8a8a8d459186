package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The operator's cards in riders' wallets: capability card_issue.

const pathCard = "/v1/card"

type (
	cardCall struct {
		Contract contractPart `json:"contract"`

		Card     string    `json:"card"`
		Rider    string    `json:"rider"`
		Data     []byte    `json:"data,omitempty"`
		Balance  *money    `json:"balance,omitempty"`
		Disabled bool      `json:"disabled"`
		Overdue  bool      `json:"overdue"`
		Tip      string    `json:"tip,omitempty"`
		At       time.Time `json:"at"`
	}
	cardAnswer struct {
		Card string `json:"card"` // that was taken
	}
	testCard struct {
		Card     string `json:"card"`
		Rider    string `json:"rider"`
		Disabled bool   `json:"disabled"`
		Overdue  bool   `json:"overdue"`
	}
)

// PushCard is driver.CardIssuer's. An answer about another card is none.
func (d *Driver) PushCard(ctx context.Context, c driver.CardState) error {
	if c.CardRef == "" || c.RiderRef == "" || c.At.IsZero() {
		return fmt.Errorf("%w: a card has a number, a rider and an instant", driver.ErrNotPerformed)
	}
	var a cardAnswer
	call := cardCall{
		Contract: d.part, Card: c.CardRef, Rider: c.RiderRef, Data: c.Data, Balance: moneyOf(c.Balance), Disabled: c.Disabled, Overdue: c.Overdue, Tip: c.Tip, At: c.At.UTC(),
	}
	if err := d.call(ctx, pathCard, call, &a); err != nil {
		return err
	}
	if a.Card != c.CardRef {
		return errors.New("remote: the answer is about another card")
	}
	return nil
}

func serveCard(ctx context.Context, p driver.CardIssuer, c cardCall) (any, error) {
	if c.Card == "" || c.Rider == "" || c.At.IsZero() {
		return nil, errBody
	}
	err := p.PushCard(ctx, driver.CardState{
		CardRef: c.Card, RiderRef: c.Rider, Data: c.Data, Balance: c.Balance.money(), Disabled: c.Disabled, Overdue: c.Overdue, Tip: c.Tip, At: c.At,
	})
	return cardAnswer{c.Card}, err
}

// CardControls are TestControls of a product with wallets.
type CardControls interface {
	// Cards lists what the wallets show: number, rider, Disabled and Overdue.
	Cards() ([]driver.CardState, error)
}

const testCards = "cards" // what the wallets show

func (h *handler) testCards() (list []testCard, err error) {
	wallets, ok := h.Test.(CardControls)
	if !ok {
		return nil, errAbility
	}
	cards, err := wallets.Cards()
	for _, c := range cards {
		list = append(list, testCard{c.CardRef, c.RiderRef, c.Disabled, c.Overdue})
	}
	return list, err
}

// Cards lists what the wallets of the test system show.
func (t *TestClient) Cards(ctx context.Context) (list []driver.CardState, err error) {
	a, err := t.do(ctx, testCards)
	for _, c := range a.Cards {
		list = append(list, driver.CardState{CardRef: c.Card, RiderRef: c.Rider, Disabled: c.Disabled, Overdue: c.Overdue})
	}
	return list, err
}
