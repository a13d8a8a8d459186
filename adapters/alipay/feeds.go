package alipay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	methodKeys = "alipay.commerce.transport.offlinepay.key.query"
	methodDeny = "alipay.commerce.transport.offlinepay.userblacklist.query"

	denyPageSize = 1000 // the platform's largest
)

type keysAnswer struct {
	Keys []struct {
		KeyID     *uint32 `json:"key_id"`
		PublicKey string  `json:"public_key"`
	} `json:"keys"`
}

// PullKeys implements [driver.KeyFeed]: the whole list, because a code names
// any of its keys. A key's number means something inside this list only; other
// institutions use the same numbers for other keys.
func (p *Provider) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	var answer keysAnswer
	r, err := p.call(ctx, methodKeys, nil, &answer)
	if err != nil {
		return nil, err
	}
	if r.Code != codeOK {
		return nil, r.open(methodKeys)
	}
	keys := make([]driver.FeedKey, 0, len(answer.Keys))
	seen := make(map[uint32]bool)
	for _, k := range answer.Keys {
		material, err := hex.DecodeString(k.PublicKey)
		if err != nil || len(material) == 0 || k.KeyID == nil {
			return nil, errors.New("alipay: the key list has a key that cannot be read")
		}
		if seen[*k.KeyID] {
			return nil, fmt.Errorf("alipay: the key list has key %d twice", *k.KeyID)
		}
		seen[*k.KeyID] = true
		keys = append(keys, driver.FeedKey{ID: *k.KeyID, Material: material})
	}
	return keys, nil
}

type denyRequest struct {
	PageIndex int `json:"page_index"`
	PageSize  int `json:"page_size"`
}

type denyAnswer struct {
	BlackList []string `json:"black_list"`
}

// PullDeny implements [driver.DenyFeed]. The platform has no version and no
// cursor, so it is all pages or nothing: half a list would let refused riders
// through. Pages are not of one instant; a rider may be seen twice, and is
// listed once.
func (p *Provider) PullDeny(ctx context.Context) ([]string, error) {
	var riders []string
	seen := make(map[string]bool)
	for page := 1; page <= denyPagesMax; page++ {
		var answer denyAnswer
		r, err := p.call(ctx, methodDeny, denyRequest{page, denyPageSize}, &answer)
		if err != nil {
			return nil, err
		}
		if r.Code != codeOK {
			return nil, r.open(methodDeny)
		}
		for _, rider := range answer.BlackList {
			if rider != "" && !seen[rider] {
				seen[rider] = true
				riders = append(riders, rider)
			}
		}
		if len(answer.BlackList) < denyPageSize {
			return riders, nil
		}
	}
	return nil, fmt.Errorf("alipay: the deny list did not end after %d pages", denyPagesMax)
}
