package alipay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	methodSign           = "alipay.user.agreement.page.sign"
	methodAgreement      = "alipay.user.agreement.query"
	methodUnsign         = "alipay.user.agreement.unsign"
	personalProductCode  = "GENERAL_WITHHOLDING_P"
	agreementNotThere    = "USER_AGREEMENT_NOT_EXIST"
	agreementEnded       = "AGREEMENT_HAS_UNSIGNED"
	agreementEndsLater   = "ASYNC_UNSIGN_CAN_NOT_REJECT"
	agreementOurIDMax    = 32
	agreementChannelHere = "ALIPAYAPP"
)

type signRequest struct {
	PersonalProductCode string       `json:"personal_product_code"`
	SignScene           string       `json:"sign_scene"`
	ProductCode         string       `json:"product_code"`
	ExternalAgreementNo string       `json:"external_agreement_no"`
	AccessParams        accessParams `json:"access_params"`
}

type accessParams struct {
	Channel string `json:"channel"`
}

// An agreementKey names an agreement: by the platform's number, or by ours.
type agreementKey struct {
	PersonalProductCode string `json:"personal_product_code,omitempty"`
	SignScene           string `json:"sign_scene,omitempty"`
	ExternalAgreementNo string `json:"external_agreement_no,omitempty"`
	AgreementNo         string `json:"agreement_no,omitempty"`
}

type agreementAnswer struct {
	AgreementNo         string `json:"agreement_no"`
	ExternalAgreementNo string `json:"external_agreement_no"`
	AlipayUserID        string `json:"principal_id"`
	Status              string `json:"status"`
	ValidTime           string `json:"valid_time"`
	InvalidTime         string `json:"invalid_time"`
	SingleQuota         string `json:"single_quota"`
}

// OpenAgreement implements [driver.Contract]. The invitation is a signed page of
// the platform; nothing is sent from here, and the rider may take his time.
func (p *Provider) OpenAgreement(_ context.Context, r driver.AgreementRequest) (driver.Invitation, error) {
	if !plainID(r.OurID) || len(r.OurID) > agreementOurIDMax {
		return driver.Invitation{}, fmt.Errorf("%w: agreement id %q: want 1 to %d of A-Z a-z 0-9 _", driver.ErrNotPerformed, clip(r.OurID), agreementOurIDMax)
	}
	text, err := json.Marshal(signRequest{
		PersonalProductCode: personalProductCode, SignScene: p.config.SignScene, ProductCode: "GENERAL_WITHHOLDING",
		ExternalAgreementNo: r.OurID, AccessParams: accessParams{agreementChannelHere},
	})
	if err != nil {
		return driver.Invitation{}, err
	}
	params := p.common(methodSign)
	params["biz_content"] = string(text)
	if r.NotifyURL != "" {
		params["notify_url"] = r.NotifyURL
	}
	if r.ReturnURL != "" {
		params["return_url"] = r.ReturnURL
	}
	if params["sign"], err = sign(p.config.Signer, params); err != nil {
		return driver.Invitation{}, err
	}
	query := url.Values{}
	for k, v := range params {
		query.Set(k, v)
	}
	to := *p.gateway
	to.RawQuery = query.Encode()
	return driver.Invitation{OurID: r.OurID, URL: to.String()}, nil
}

// QueryAgreement implements [driver.Contract].
func (p *Provider) QueryAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	key, err := p.agreementKey(a)
	if err != nil {
		return driver.Agreement{}, err
	}
	var answer agreementAnswer
	r, err := p.call(ctx, methodAgreement, key, &answer)
	if err != nil {
		return driver.Agreement{}, err
	}
	found := driver.Agreement{OurID: a.OurID, ID: a.ID, ReasonCode: clip(r.SubCode)}
	switch {
	case refusing[r.Code] && r.withoutModule() == agreementNotThere:
		return found, nil // not confirmed yet, or never asked for
	case refusing[r.Code] && r.withoutModule() == agreementEnded:
		found.State = driver.AgreementEnded
		return found, nil
	case r.Code != codeOK:
		return driver.Agreement{}, r.open(methodAgreement)
	case a.ID != "" && answer.AgreementNo != a.ID, a.OurID != "" && answer.ExternalAgreementNo != "" && answer.ExternalAgreementNo != a.OurID:
		return driver.Agreement{}, fmt.Errorf("alipay: asked for agreement %s, was told of %q", clip(a.OurID), clip(answer.ExternalAgreementNo))
	}
	found.OurID, found.ID, found.RiderRef = cmpOr(a.OurID, clip(answer.ExternalAgreementNo)), clip(answer.AgreementNo), clip(answer.AlipayUserID)
	found.State, found.ReasonCode = agreementState(answer.Status), clip(answer.Status)
	found.ValidFrom, found.ValidTo = instant(answer.ValidTime), ends(instant(answer.InvalidTime))
	if most, err := fen(answer.SingleQuota); err == nil && most > 0 {
		found.SingleMax = citygate.Money{Minor: most, Currency: cny}
	}
	return found, nil
}

// CloseAgreement implements [driver.Contract]. Some agreements end later, by a
// notification, and until then stay active.
func (p *Provider) CloseAgreement(ctx context.Context, a driver.Agreement) (driver.Agreement, error) {
	key, err := p.agreementKey(a)
	if err != nil {
		return driver.Agreement{}, err
	}
	r, err := p.call(ctx, methodUnsign, key, nil)
	if err != nil {
		return driver.Agreement{}, err
	}
	a.ReasonCode = clip(r.SubCode)
	switch {
	case r.Code == codeOK, refusing[r.Code] && (r.withoutModule() == agreementEnded || r.withoutModule() == agreementNotThere):
		a.State = driver.AgreementEnded
		return a, nil
	case refusing[r.Code] && r.withoutModule() == agreementEndsLater:
		a.State = driver.AgreementActive
		return a, nil
	}
	return driver.Agreement{}, r.open(methodUnsign)
}

func (p *Provider) agreementKey(a driver.Agreement) (agreementKey, error) {
	switch {
	case a.ID != "":
		return agreementKey{AgreementNo: a.ID}, nil
	case a.OurID != "":
		return agreementKey{PersonalProductCode: personalProductCode, SignScene: p.config.SignScene, ExternalAgreementNo: a.OurID}, nil
	}
	return agreementKey{}, fmt.Errorf("%w: an agreement without a number", driver.ErrNotPerformed)
}

func agreementState(status string) driver.AgreementState {
	switch status {
	case "NORMAL":
		return driver.AgreementActive
	case "TEMP", "STOP": // not in force yet, and suspended
		return driver.AgreementPending
	case "UNSIGN":
		return driver.AgreementEnded
	}
	return driver.AgreementUnknown
}
