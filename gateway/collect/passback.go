package collect

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	passBatch    = 500   // charges or debts in one transaction
	messageItems = 1_000 // items in one message
)

// A share is one journey's part of a charge.
type share struct {
	charge   citygate.UUID
	operator citygate.TenantID
	journey  citygate.UUID
	amount   int64
	fee      int64
	borne    int64 // what of it the issuer had paid the operator before
	at       time.Time
}

// key orders journeys by nature: a cent that does not divide goes by it.
func (s *share) key() string {
	return fmt.Sprintf("%020d/%020d/%s", s.at.UnixMicro(), s.operator, s.journey)
}

// splitFee divides a charge's fee by fare.
func splitFee(fee int64, shares []share) error {
	weights, keys := make([]int64, len(shares)), make([]string, len(shares))
	for i := range shares {
		weights[i], keys[i] = shares[i].amount, shares[i].key()
	}
	parts, err := citygate.Split(fee, weights, keys)
	if err != nil {
		return err
	}
	for i := range shares {
		shares[i].fee = parts[i]
	}
	return nil
}

// own takes out of a share's fee what falls on what the issuer keeps of it, and gives
// that.
func (s *share) own() (int64, error) {
	kept := min(max(s.borne, 0), s.amount)
	parts, err := citygate.Split(s.fee, []int64{s.amount - kept, kept}, []string{"operator", "issuer"})
	if err != nil {
		return 0, err
	}
	s.fee = parts[0]
	return parts[1], nil
}

// PassBack tells operators their shares of the fees of succeeded charges, what
// riders owe of their fares, and what of that has been paid or corrected since:
// everything that was not told before.
func (c *Collector) PassBack(ctx context.Context, tenant citygate.TenantID) error {
	if err := c.inBatches(ctx, tenant, passFees); err != nil {
		return fmt.Errorf("passing fees back: %w", err)
	}
	if err := c.inBatches(ctx, tenant, c.passDebts); err != nil {
		return fmt.Errorf("passing debts back: %w", err)
	}
	return nil
}

// Release tells operators what is cleared of charges that reconciliation has
// matched, with all their refunds, and that no open exception holds: the
// collected amount less fee and refunds. A charge may be released again when a
// later refund of it is matched; the difference is told.
func (c *Collector) Release(ctx context.Context, tenant citygate.TenantID, charges []citygate.UUID) error {
	if err := c.PassBack(ctx, tenant); err != nil { // the shares of the fee come first
		return err
	}
	charges = sortedUnique(slices.Clone(charges))
	for chunk := range slices.Chunk(charges, passBatch) {
		if err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error { return c.clearTills(ctx, tx, chunk) }); err != nil {
			return fmt.Errorf("clearing payments at tills: %w", err)
		}
		err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			advices, err := clearedNow(ctx, tx, chunk)
			if err != nil {
				return err
			}
			return c.tell(ctx, tx, advices)
		})
		if err != nil {
			return fmt.Errorf("releasing: %w", err)
		}
	}
	return nil
}

// inBatches repeats step until it finds less than a batch.
func (c *Collector) inBatches(ctx context.Context, tenant citygate.TenantID, step func(context.Context, *pg.Tx) ([]advice, int, error)) error {
	for {
		n := 0
		err := c.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
			advices, found, err := step(ctx, tx)
			n = found
			if err != nil {
				return err
			}
			return c.tell(ctx, tx, advices)
		})
		if err != nil || n < passBatch {
			return err
		}
	}
}

// passFees splits the fees of charges that succeeded.
func passFees(ctx context.Context, tx *pg.Tx) ([]advice, int, error) {
	charges, err := unpassedCharges(ctx, tx)
	if err != nil || len(charges) == 0 {
		return nil, 0, err
	}
	shares, err := sharesOf(ctx, tx, chargeIDs(charges))
	if err != nil {
		return nil, 0, err
	}
	var advices []advice
	for i := range charges {
		ch := &charges[i]
		own := shares[ch.ID]
		if len(own) == 0 && ch.Fee != 0 { // of no fare: of what a rider used of a product
			advices = append(advices, advice{Operator: tx.Tenant, Journey: ch.Aggregation, Kind: interbook.AdviceOwnFee, Ref: ch.ID, Amount: ch.Fee,
				Contract: ch.Contract, Currency: ch.Currency, BusinessDate: ch.BusinessDate, At: tx.Now})
			continue
		}
		if err := splitFee(ch.Fee, own); err != nil {
			return nil, 0, fmt.Errorf("charge %s: %w", ch.OurID, err)
		}
		for k := range own {
			s := &own[k]
			kept, err := s.own()
			if err != nil {
				return nil, 0, fmt.Errorf("charge %s: %w", ch.OurID, err)
			}
			a := advice{Operator: s.operator, Journey: s.journey, Ref: ch.ID, Contract: ch.Contract, Currency: ch.Currency, BusinessDate: ch.BusinessDate, At: tx.Now}
			if a.Kind, a.Amount = interbook.AdviceFee, s.fee; a.Amount != 0 {
				advices = append(advices, a)
			}
			if a.Kind, a.Amount = interbook.AdviceOwnFee, kept; a.Amount != 0 {
				advices = append(advices, a)
			}
		}
	}
	return advices, len(charges), storeFees(ctx, tx, charges, shares)
}

// tell stores advices, posts this book's half and sends them.
func (c *Collector) tell(ctx context.Context, tx *pg.Tx, advices []advice) error {
	if len(advices) == 0 {
		return nil
	}
	slices.SortFunc(advices, func(a, b advice) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), bytes.Compare(a.Ref[:], b.Ref[:]), bytes.Compare(a.Journey[:], b.Journey[:]), cmp.Compare(a.Kind, b.Kind))
	})
	if err := storeAdvices(ctx, tx, advices); err != nil {
		return err
	}
	var transfers []ledger.Transfer
	for i := range advices {
		transfers = append(transfers, advices[i].transfers(tx.Tenant)...)
	}
	var own []interbook.AdviceItem
	for len(advices) > 0 {
		operator, n := advices[0].Operator, 0
		var items []interbook.AdviceItem
		for n < len(advices) && n < messageItems && advices[n].Operator == operator {
			if !advices[n].private() {
				items = append(items, advices[n].item(tx.Tenant))
			}
			n++
		}
		advices = advices[n:]
		if len(items) == 0 {
			continue
		}
		if operator == tx.Tenant {
			own = append(own, items...)
		} else if err := interbook.Put(ctx, tx, operator, interbook.KindAdvice, interbook.Advice{Items: items}); err != nil {
			return err
		}
	}
	if err := ledger.Post(ctx, tx, transfers); err != nil || len(own) == 0 {
		return err
	}
	return c.Receipts.TakeAdvice(ctx, tx, tx.Tenant, own)
}
