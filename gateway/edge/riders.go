package edge

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/cashlesscity/citygate"
)

// IssueCredential asks for one CT1 credential.
type IssueCredential struct {
	RiderRef  string `json:"rider_ref" minLength:"1" maxLength:"64" doc:"the payment provider's name for the payer"`
	Contract  string `json:"contract" minLength:"1" maxLength:"80" doc:"provider contract the account is collected under"`
	DeviceKey []byte `json:"device_key" doc:"compressed P-256 point (33 bytes) or Ed25519 key (32 bytes), base64"`
	Product   uint16 `json:"product" doc:"concession class: 1 adult, 2 student, 3 elderly"`
	Cap       uint16 `json:"cap" doc:"highest fare for one tap, in the tenant's cap units"`
	Taps      uint8  `json:"taps,omitempty" doc:"taps until renewal, 0 = no limit"`
	Window    uint8  `json:"window" minimum:"1" doc:"seconds one display lives"`
	TTLHours  uint16 `json:"ttl_hours" minimum:"1"`
}

// An IssuedCredential is part A of the rider's codes.
type IssuedCredential struct {
	Account    string `json:"account"`
	List       uint16 `json:"list"`
	Index      uint32 `json:"index"`
	Credential []byte `json:"credential" doc:"base64"`
}

// A Credential is what is on record about an issued credential.
type Credential struct {
	Account    string `json:"account"`
	List       uint16 `json:"list"`
	Index      uint32 `json:"index"`
	Credential []byte `json:"credential" doc:"base64, as the device holds it"`
	Genuine    *bool  `json:"genuine,omitempty" doc:"whether the code that was asked about shows this very credential"`
}

// An Account is who pays for rides.
type Account struct {
	ID       string `json:"id"`
	Contract string `json:"contract"`
	RiderRef string `json:"rider_ref" doc:"the payment provider's name for the payer"`
	Category string `json:"category,omitempty"`
	State    string `json:"state" enum:"active,closed"`

	Payers []AccountPayer `json:"payers,omitempty" doc:"further contracts that the payer has agreed to, by name: routing may choose them"`
}

// An AccountPayer is a contract that an account's payer has agreed to.
type AccountPayer struct {
	Contract string `json:"contract"`
	RiderRef string `json:"rider_ref" doc:"the payer's name at that provider"`
}

// A PayerState is how a payer stands at a provider, as it was asked just now.
type PayerState struct {
	Contract string          `json:"contract"`
	RiderRef string          `json:"rider_ref"`
	State    string          `json:"state" enum:"normal,blocked,overdue,frozen,deleted,unknown" doc:"unknown: nobody can say, and nothing changes; normal: the contract's accounts of this payer are let go; any other: they are denied"`
	Owes     *citygate.Money `json:"owes,omitempty" doc:"what he owes there, if the provider says"`
	Reason   string          `json:"reason,omitempty" doc:"the provider's own code, or why nobody can say"`
}

// A Denial is an entry of the deny list, open or lifted.
type Denial struct {
	ID           string     `json:"id"`
	WholeAccount bool       `json:"whole_account" doc:"every credential of the account; else the one named"`
	List         uint16     `json:"list,omitempty"`
	Index        uint32     `json:"index,omitempty"`
	Reason       string     `json:"reason"`
	Actor        string     `json:"actor"`
	Since        time.Time  `json:"since"`
	LiftedAt     *time.Time `json:"lifted_at,omitempty"`
}

// InAccount is an account in a path.
type InAccount struct {
	InTenant
	Account string `path:"account" example:"acc_0195e2…"`
}

func (r InAccount) account() (citygate.UUID, error) {
	id, err := citygate.ParseUUID("acc_", r.Account)
	if err != nil {
		return id, errNotFound.Because(err, "account")
	}
	return id, nil
}

// IssuedCredentials answers a request for credentials, in its order.
type IssuedCredentials struct {
	ServerTime int64              `json:"server_time" doc:"unix seconds; a device sets its clock by it"`
	Issued     []IssuedCredential `json:"issued"`
}

// TriedDebts tells of open debts that are collected now.
type TriedDebts struct {
	Debts int `json:"debts" doc:"how many are tried"`
}

func (e *Edge) riderRoutes() {
	register(e, post("issue-credentials", "/v1/tenants/{tenant}/credentials", "Issue CT1 credentials for device keys", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Requests []IssueCredential `json:"requests" minItems:"1" maxItems:"500"`
			}
		}) (*body[IssuedCredentials], error) {
			issued, err := e.Issue(ctx, who.Subject, r.id(), r.Body.Requests)
			now := e.DB.ClockOf(r.id())()
			return respond(IssuedCredentials{now.Unix(), issued}, err)
		})
	register(e, post("deny-credential", "/v1/tenants/{tenant}/denials", "Put a credential on the deny list", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				List   uint16 `json:"list"`
				Index  uint32 `json:"index"`
				Reason string `json:"reason" enum:"lost,stolen,fraud,closed"`
			}
		}) (*body[struct{}], error) {
			return respond(struct{}{}, e.Deny(ctx, who.Subject, r.id(), r.Body.List, r.Body.Index, r.Body.Reason))
		})
	register(e, post("lift-denial", "/v1/tenants/{tenant}/denials/lift", "Take a credential off the deny list", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				List   uint16 `json:"list"`
				Index  uint32 `json:"index"`
				Reason string `json:"reason" enum:"lost,stolen,fraud,clone,closed" doc:"the reason it was put there for; others go on denying it"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.Lift(ctx, who.Subject, r.id(), r.Body.List, r.Body.Index, r.Body.Reason))
		})
	register(e, get("get-credential", "/v1/tenants/{tenant}/credentials/{list}/{index}", "Who pays for a credential, and whether a code shows it", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			List  uint16 `path:"list"`
			Index uint32 `path:"index"`
			Code  string `query:"code" doc:"a code that was shown, base64url without padding: is it of the credential on record?"`
		}) (*body[Credential], error) {
			code, err := base64.RawURLEncoding.DecodeString(r.Code)
			if err != nil {
				return nil, errBody.Explain("code: want base64url without padding")
			}
			return respond(e.Credential(ctx, r.id(), r.List, r.Index, code))
		})
	e.accountRoutes()
	e.foreignRoutes()
}

func (e *Edge) accountRoutes() {
	register(e, get("get-account", "/v1/tenants/{tenant}/accounts/{account}", "One account", "riders"),
		func(ctx context.Context, _ Caller, r *InAccount) (*body[Account], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			return respond(e.Account(ctx, r.id(), id))
		})
	register(e, post("close-account", "/v1/tenants/{tenant}/accounts/{account}/close", "Close an account for good and deny its credentials; what it owes stays owed", "riders"),
		func(ctx context.Context, who Caller, r *InAccount) (*done, error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.CloseAccount(ctx, who.Subject, r.id(), id))
		})
	register(e, put("put-payer", "/v1/tenants/{tenant}/accounts/{account}/payers/{contract}", "Note a further provider contract that an account may be collected under, for routing rules to choose", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InAccount
			Contract string `path:"contract" maxLength:"80"`
			Body     struct {
				RiderRef string `json:"rider_ref" minLength:"1" maxLength:"200" doc:"the payment provider's name for the payer under that contract; it does not change"`
			}
		}) (*done, error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.PutPayer(ctx, who.Subject, r.id(), id, r.Contract, r.Body.RiderRef))
		})
	register(e, post("ask-payer", "/v1/tenants/{tenant}/accounts/{account}/payers/{contract}/ask", "Ask a contract's provider how the payer of an account stands; who cannot pay there is denied, who can is let go", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InAccount
			Contract string `path:"contract" maxLength:"80"`
		}) (*body[PayerState], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			return respond(e.AskPayer(ctx, who.Subject, r.id(), id, r.Contract))
		})
	register(e, get("list-denials", "/v1/tenants/{tenant}/accounts/{account}/denials", "Why an account or its credentials are denied, or were", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			InAccount
			Paging
		}) (*body[list[Denial]], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			page, err := r.page("dny_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(d Denial) string { return d.ID })(e.Denials(ctx, r.id(), id, page))
		})
	register(e, post("retry-debts", "/v1/tenants/{tenant}/accounts/{account}/retry-debts", "Try to collect an account's open debts now", "riders"),
		func(ctx context.Context, who Caller, r *InAccount) (*body[TriedDebts], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			n, err := e.RetryDebts(ctx, who.Subject, r.id(), id)
			return respond(TriedDebts{n}, err)
		})
}
