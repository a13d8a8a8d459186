package wechatpay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cashlesscity/citygate/adapters/driver"
)

const (
	pathUserService = "/v3/qrcode/user-services/contract-id/"

	arrearsPageSize = 10_000 // the platform's largest
	arrearsPagesMax = 1000   // ten million riders: beyond that the list is not a list
)

type userService struct {
	ContractID  string `json:"contract_id"`
	State       string `json:"user_service_state"`
	BlockReason string `json:"block_reason"`
}

var blockReasons = map[string]driver.RiderState{
	"DELETED": driver.RiderDeleted, "ACCOUNT_FROZEN": driver.RiderFrozen, "OVERDUE": driver.RiderOverdue,
}

// RiderState implements [driver.RiderCheck]: by the contract, which is what
// RiderRef names too.
func (p *ride) RiderState(ctx context.Context, q driver.RiderQuestion) (driver.RiderStatus, error) {
	contract := q.AgreementID
	if contract == "" {
		contract = q.RiderRef
	}
	if contract == "" {
		return driver.RiderStatus{}, fmt.Errorf("%w: wechatpay: nobody to ask about", driver.ErrNotPerformed)
	}
	var answer userService
	target := pathUserService + url.PathEscape(contract) + "?" + url.Values{"appid": {p.config.AppID}}.Encode()
	r, err := p.call(ctx, http.MethodGet, target, nil, &answer)
	if err != nil {
		return driver.RiderStatus{}, err
	}
	if r.status != http.StatusOK {
		return driver.RiderStatus{}, r.open("user service")
	}
	if answer.ContractID != contract {
		return driver.RiderStatus{}, errors.New("wechatpay: the answer is about another contract")
	}
	s := driver.RiderStatus{RiderRef: q.RiderRef, ReasonCode: clip(answer.State), At: p.config.Clock()}
	switch answer.State {
	case "NORMAL":
		s.State = driver.RiderNormal
	case "BLOCKED":
		s.State, s.ReasonCode = driver.RiderBlocked, clip(answer.BlockReason)
		if state, known := blockReasons[answer.BlockReason]; known {
			s.State = state
		}
	}
	return s, nil
}

// Able implements [driver.Selective]: the list of riders in arrears and the codes
// of the ministry are there if the contract says so.
func (p *ride) Able(c driver.Capability) bool {
	switch c {
	case driver.CapDenyFeed:
		return p.config.ArrearsPath != ""
	case driver.CapCodeIssue:
		return p.config.RideCode != nil
	default:
		return true
	}
}

type arrearsAnswer struct {
	ErrCode *int   `json:"errcode"`
	ErrMsg  string `json:"errmsg"`
	List    []struct {
		OpenID    string `json:"openid"`
		Fee       int64  `json:"fee"`
		OutUserID string `json:"out_user_id"`
	} `json:"list"`
}

// PullDeny implements [driver.DenyFeed]. The list is of one instant of the day
// (from 06:00 in Beijing) less those who have paid since; its cursor is the last
// open id seen. It is all pages or nothing: half a list would let riders through
// who owe. A rider is named as he is at registration (out_user_id), else by his
// open id.
func (p *ride) PullDeny(ctx context.Context) ([]string, error) {
	var riders []string
	seen := make(map[string]bool)
	from := ""
	for range arrearsPagesMax {
		query := url.Values{"limit": {strconv.Itoa(arrearsPageSize)}}
		if from != "" {
			query.Set("start_openid", from)
		}
		var answer arrearsAnswer
		r, err := p.call(ctx, http.MethodGet, p.config.ArrearsPath+"?"+query.Encode(), nil, &answer)
		if err != nil {
			return nil, err
		}
		if r.status != http.StatusOK || answer.ErrCode == nil || *answer.ErrCode != 0 {
			return nil, fmt.Errorf("wechatpay: arrears: %w", r.open("arrears"))
		}
		for _, rider := range answer.List {
			if rider.OpenID == "" || seen[rider.OpenID] {
				return nil, errors.New("wechatpay: the arrears list has somebody twice or nobody: it is not walked in one order")
			}
			seen[rider.OpenID] = true
			riders = append(riders, orText(rider.OutUserID, rider.OpenID))
			from = rider.OpenID
		}
		if len(answer.List) < arrearsPageSize {
			return riders, nil
		}
	}
	return nil, fmt.Errorf("wechatpay: the arrears list did not end after %d pages", arrearsPagesMax)
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
