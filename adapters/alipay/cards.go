package alipay

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	methodVerify    = "alipay.commerce.transport.offlinepay.record.verify"
	methodCard      = "alipay.commerce.transport.offlinepay.virtualcard.send"
	methodCards     = "alipay.commerce.transport.offlinepay.virtualcard.batchquery"
	methodPass      = "alipay.commerce.transport.qrpass.verify.query"
	methodNameList  = "alipay.commerce.cityfacilitator.namelist.sync"
	cardTipsMax     = 128
	cardActionSend  = "UPDATE"
	disabledOverdue = "CARD_OVERDUE"
	disabledLeaving = "CARD_REVOKING"
)

// recordRefused are sub codes that say for good that a record is not genuine.
// The platform documents none; these are an assumption, and any other leaves the
// record undecided.
var recordRefused = map[string]bool{
	"RECORD_INVALID": true, "RECORD_VERIFY_FAIL": true, "ILLEGAL_RECORD": true, "ACQ.OFFLINE_RECORD_INVALID": true,
}

type verifyRequest struct {
	Record string `json:"record"`
}

// CheckEvidence implements [driver.EvidenceCheck] by record.verify.
func (p *Provider) CheckEvidence(ctx context.Context, evidence []byte) (driver.EvidenceVerdict, string, error) {
	if len(evidence) == 0 || len(evidence) > driver.EvidenceMost {
		return driver.EvidenceUnknown, "", fmt.Errorf("%w: a record of %d bytes; want 1 to %d", driver.ErrNotPerformed, len(evidence), driver.EvidenceMost)
	}
	r, err := p.call(ctx, methodVerify, verifyRequest{record(evidence)}, nil)
	switch {
	case err != nil:
		return driver.EvidenceUnknown, "", err
	case r.Code == codeOK:
		return driver.EvidenceGenuine, "", nil
	case r.refusedBy(recordRefused):
		return driver.EvidenceRefused, clip(r.SubCode), nil
	}
	return driver.EvidenceUnknown, "", r.open(methodVerify)
}

type cardRequest struct {
	Action         string `json:"action"`
	CardNo         string `json:"card_no"`
	CardType       string `json:"card_type"`
	CardData       string `json:"card_data,omitempty"`
	Balance        string `json:"balance,omitempty"`
	Disabled       string `json:"disabled"`
	DisabledCode   string `json:"disabled_code,omitempty"`
	DisabledTips   string `json:"disabled_tips,omitempty"`
	LastUpdateTime string `json:"last_update_time"`
	UserID         string `json:"user_id"`
}

type cardAnswer struct {
	CardNo       string `json:"card_no"`
	SubErrorCode string `json:"sub_error_code"`
}

// PushCard implements [driver.CardIssuer] by virtualcard.send: the operator is
// the issuer of the card in the wallet, and a card whose rider owes shows no
// code until it is enabled again.
func (p *Provider) PushCard(ctx context.Context, card driver.CardState) error {
	if card.CardRef == "" || card.RiderRef == "" || card.At.IsZero() || p.config.CardType == "" {
		return fmt.Errorf("%w: a card needs a number, a rider, a time and the contract's card type", driver.ErrNotPerformed)
	}
	request := cardRequest{
		Action: p.config.CardAction, CardNo: card.CardRef, CardType: p.config.CardType, UserID: card.RiderRef,
		CardData: hex.EncodeToString(card.Data), Disabled: fmt.Sprint(card.Disabled), LastUpdateTime: card.At.In(beijing).Format(stamp),
	}
	if card.Disabled {
		request.DisabledCode, request.DisabledTips = disabledLeaving, cut(card.Tip, cardTipsMax)
		if card.Overdue {
			request.DisabledCode = disabledOverdue
		}
	}
	if card.Balance.Currency == cny {
		request.Balance = yuan(card.Balance.Minor)
	}
	var answer cardAnswer
	r, err := p.call(ctx, methodCard, request, &answer)
	switch {
	case err != nil:
		return err
	case r.Code != codeOK:
		return r.open(methodCard)
	case answer.SubErrorCode != "":
		return fmt.Errorf("alipay: card %s: %s", clip(card.CardRef), clip(answer.SubErrorCode))
	case answer.CardNo != card.CardRef:
		return fmt.Errorf("alipay: sent card %s, was told of %q", clip(card.CardRef), clip(answer.CardNo))
	}
	return nil
}

// readPass reads the answer of qrpass.verify.query, which tools ask: whether a wallet's
// travel code of a card (出行同行码) holds for its user. The gateway asks nobody that.
func readPass(raw []byte) (Standing, string) {
	var a struct {
		Result *bool `json:"result"`
	}
	switch err := json.Unmarshal(raw, &a); {
	case err != nil || a.Result == nil:
		return Open, "no result"
	case !*a.Result:
		return Refused, "result false"
	}
	return Done, ""
}

type nameListRequest struct {
	BizTID         string `json:"biz_tid"`
	PartnerBlockID string `json:"partner_block_id,omitempty"`
	UserBlockID    string `json:"user_block_id"`
	Type           string `json:"type"`
	Reason         string `json:"reason,omitempty"`
}

// PushDeny implements [driver.DenyPush] by cityfacilitator.namelist.sync.
func (p *Provider) PushDeny(ctx context.Context, change driver.DenyChange) error {
	if !plainID(change.OurID) || change.RiderRef == "" {
		return fmt.Errorf("%w: a change of the list needs an id and a rider", driver.ErrNotPerformed)
	}
	request := nameListRequest{BizTID: change.OurID, PartnerBlockID: change.CardRef, UserBlockID: change.RiderRef, Type: "white", Reason: change.Reason}
	if change.Denied {
		request.Type = "black"
	}
	r, err := p.call(ctx, methodNameList, request, nil)
	if err != nil {
		return err
	}
	if r.Code != codeOK {
		return r.open(methodNameList)
	}
	return nil
}

// cut shortens text to most runes.
func cut(text string, most int) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), most)])
}
