package edge

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
)

// What an operation is part of. One of them must be allowed by the tenant's state.
var (
	configures = []tenants.Activity{tenants.Configuring}
	issues     = []tenants.Activity{tenants.Issuing}
	collects   = []tenants.Activity{tenants.Collecting}
	pays       = []tenants.Activity{tenants.PayingOut}
	prices     = []tenants.Activity{tenants.Pricing}

	// Without these a closing tenant could not finish: a provider's secret expires, a
	// payee's account is wrong.
	configuresCollecting = []tenants.Activity{tenants.Configuring, tenants.Collecting}
	configuresPayouts    = []tenants.Activity{tenants.Configuring, tenants.PayingOut}

	// ever marks what no state refuses: to take rights, credentials and keys back, to
	// look, to decide about what is there, and to move the tenant itself.
	ever []tenants.Activity
)

// activities says what each operation that changes something in a tenant is part
// of. One that is not here does not register.
var activities = map[string][]tenants.Activity{
	"add-calendar": configures, "add-settlement-terms": configures, "assign": configures, "create-pairing-code": configures, "enrol-terminal": configures,
	"ensure-key": configures, "rotate-key": configures, "activate-key": configures, "publish-catalogue": configures, "publish-journey-rules": configures,
	"publish-policy": configures, "restore-policy": configures, "publish-risk-terms": configures, "publish-tariff": configures, "restore-tariff": configures,
	"put-acceptance": configures, "put-code-scheme": configures, "put-contract": configures, "take-provider-keys": configures, "put-issuance-policy": configures, "put-quota": configures,
	"put-refund-rules": configures, "put-retention": configures, "put-served": configures, "put-stops": configures, "put-vehicles": configures,
	"set-terminal-profile": configures, "propose-roaming": configures, "agree-roaming": configures, "propose-fare-member": configures, "agree-fare-member": configures,

	"put-contract-secret": configuresCollecting, "put-payees": configuresPayouts, "put-payout-rules": configuresPayouts,

	"issue-credentials": issues, "register-device": issues, "renew-credential": issues, "code-batch": issues, "challenge-device": issues, "find-device": issues,
	"open-agreement": issues, "ask-agreement": ever, "ask-payer": ever, "end-agreement": ever,
	"add-wallet-card": issues, "lock-wallet-card": ever, "unlock-wallet-card": ever,
	"register-foreign-riders": issues, "put-concession": issues, "give-right": issues, "sell-product": issues, "rider-buy": issues,

	"put-payer": {tenants.Issuing, tenants.Collecting}, "retry-debts": collects, "collect-written-off": collects, "retry-refund": collects, "rider-pay": collects,
	"refund-journey": collects, "refund-sale": collects, "rider-refund": collects, "pay-at-till": issues, "cancel-till-payment": ever, "refund-till-payment": collects, "write-off-debt": prices, "rider-claim": prices, "record-journey-fact": prices,

	"release-payout": pays, "cancel-payout": pays, "redirect-payout": pays,

	"put-tenant": ever, "set-tenant-state": ever, "set-clock": ever, "advance-clock": ever,
	"add-member": ever, "put-member": ever, "remove-member": ever, "put-role": ever, "remove-role": ever, "put-issuer": ever, "remove-issuer": ever,
	"create-api-key": ever, "revoke-api-key": ever, "revoke-tokens": ever, "exchange-token": ever, "put-approval-settings": ever,
	"approve-proposal": ever, "refuse-proposal": ever, "withdraw-proposal": ever,
	"revoke-key": ever, "set-terminal-state": ever, "clear-terminal-flag": ever, "withdraw-pairing-code": ever, "end-roaming": ever, "end-fare-member": ever,
	"pair-terminal":   ever, // a device is told by the vertical, which hides why
	"deny-credential": ever, "lift-denial": ever, "report-loss": ever, "release-device": ever, "revoke-code-batch": ever, "close-account": ever, "end-right": ever,
	"acknowledge-risk-flag": ever, "close-risk-flag": ever, "resolve-notice": ever, "resolve-reconciliation": ever,
	"dispute-liability": ever, "decide-dispute": ever, "record-bearer-payment": ever, "record-reversal": ever, "conclude-reversal": ever, "publish-ridership-report": ever,
	"check-policy": ever, "replay-policy": ever, "simulate-tariff": ever, "inspect": ever,
	"rider-trips": ever, "rider-trip": ever, "rider-explanation": ever, "rider-debts": ever, "rider-challenge": ever, "rider-joined": ever,
	"rider-join": ever, "rider-leave": ever, "rider-products": ever, "rider-holdings": ever,
}

// needsActivity reports whether activities must name an operation. It panics for
// one that it does not: a change that no state refuses is decided, not forgotten.
func needsActivity(op huma.Operation) {
	if op.Method == http.MethodGet || !strings.Contains(op.Path, "{tenant}") {
		return
	}
	if _, listed := activities[op.OperationID]; !listed {
		panic("operation " + op.OperationID + " is in no tenant's life: say in gateway/edge/lifecycle.go which activity it is part of, or that no state refuses it")
	}
}

// lives is [tenants.ErrState] where the state of the request's tenant refuses the
// operation.
func (e *Edge) lives(ctx context.Context, op string, req any) error {
	of := activities[op]
	in, named := req.(interface{ id() citygate.TenantID })
	if len(of) == 0 || !named {
		return nil
	}
	t, err := e.Tenants.ByID(ctx, in.id())
	if err != nil {
		return err
	}
	for _, a := range of {
		if t.State.Allows(a) {
			return nil
		}
	}
	return t.May(of[0])
}
