package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/danielgtaylor/huma/v2"
)

// Onboarding is what the edge calls to set a tenant up, step by step. Every step
// may be repeated; what a file manages is refused (409, with the file's name).
type Onboarding struct {
	SetState      func(ctx context.Context, actor string, tenant citygate.TenantID, state string) (TenantDocument, error)
	Serves        func(ctx context.Context, tenant citygate.TenantID) ([]int64, error)
	Serve         func(ctx context.Context, actor string, tenant citygate.TenantID, authorities []int64) error
	Keys          func(ctx context.Context, tenant citygate.TenantID) ([]TenantKey, error)
	EnsureKey     func(ctx context.Context, actor string, tenant citygate.TenantID, purpose, algorithm string) (TenantKey, error)
	RotateKey     func(ctx context.Context, actor string, tenant citygate.TenantID, purpose string) (TenantKey, error)
	ActivateKey   func(ctx context.Context, actor string, tenant citygate.TenantID, purpose string, kid uint8, anyway string) (TenantKey, error)
	RevokeKey     func(ctx context.Context, actor string, tenant citygate.TenantID, purpose string, kid uint8, r RevokeKey) (RevokedKey, error)
	Contracts     func(ctx context.Context, tenant citygate.TenantID) ([]Contract, error)
	Adapters      func() []Adapter
	PutContract   func(ctx context.Context, actor string, tenant citygate.TenantID, name string, c PutContract) (Contract, error)
	PutSecret     func(ctx context.Context, actor string, tenant citygate.TenantID, contract, name string, value citygate.Secret) (ContractSecret, error)
	Tariffs       func(ctx context.Context, tenant citygate.TenantID, after uint64, page pg.Span) ([]Tariff, error)
	Tariff        func(ctx context.Context, tenant citygate.TenantID, version uint64) (Tariff, error)
	RestoreTariff func(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, from time.Time, withdrawLater bool) (Tariff, error)
	PublishTariff func(ctx context.Context, actor string, tenant citygate.TenantID, version uint64, t Tariff) (Tariff, error)
	Acceptance    func(ctx context.Context, tenant citygate.TenantID) (Acceptance, error)
	PutAcceptance func(ctx context.Context, actor string, tenant citygate.TenantID, rules json.RawMessage) (Acceptance, error)
	Stops         func(ctx context.Context, tenant citygate.TenantID, after string, limit int) ([]Stop, error)
	PutStops      func(ctx context.Context, actor string, tenant citygate.TenantID, stops []Stop) error
	Checklist     func(ctx context.Context, tenant citygate.TenantID) (Checklist, error)
}

// A TenantKey is the public part of a key.
type TenantKey struct {
	Purpose   string    `json:"purpose"`
	KeyID     uint8     `json:"kid"`
	Algorithm string    `json:"algorithm"`
	Public    []byte    `json:"public_key" doc:"base64; Ed25519: 32 bytes, P-256: compressed point, RSA: PKIX"`
	State     string    `json:"state" enum:"published,active,retiring,revoked"`
	NotBefore time.Time `json:"not_before"`
	Expires   time.Time `json:"expires"`
}

// RevokeKey takes a stolen or lost key out of use.
type RevokeKey struct {
	Reason         string     `json:"reason" minLength:"1" maxLength:"500" doc:"for the audit log"`
	NotIssuedAfter *time.Time `json:"not_issued_after,omitempty" doc:"when it was stolen: what it signed before stays good; absent = everything it ever signed is worthless"`
}

// A RevokedKey is a key out of use, and the one that signs in its place.
type RevokedKey struct {
	Key  TenantKey  `json:"key"`
	Next *TenantKey `json:"next,omitempty" doc:"absent: the key did not sign, or another one signed already"`
}

// A Contract is an agreement with a payment provider. Of its secrets only their
// names are known here.
type Contract struct {
	Name    string           `json:"name"`
	Adapter string           `json:"adapter"`
	FeePPM  int64            `json:"fee_ppm"`
	Config  json.RawMessage  `json:"config"`
	State   string           `json:"state"`
	Secrets []ContractSecret `json:"secrets"`
	Notify  string           `json:"notify_url,omitempty" doc:"where the provider sends notifications, unless the configuration says otherwise; absent = the gateway has no public address"`
	Down    *ContractDown    `json:"down,omitempty" doc:"routing takes the provider to be down; absent = it does not"`
}

// An Adapter is a payment product that contracts can be of.
type Adapter struct {
	Name    string          `json:"name"`
	Title   string          `json:"title"`
	Config  json.RawMessage `json:"config" doc:"JSON Schema (2020-12) of a contract's configuration"`
	Secrets []AdapterSecret `json:"secrets" doc:"that a contract can have; an adapter program names its own in its manifest"`
	Key     string          `json:"key,omitempty" doc:"the purpose of the tenant's key that signs its requests"`
}

// An AdapterSecret is a secret that a contract can have.
type AdapterSecret struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// A ContractDown says since when a contract's provider is taken to be down.
type ContractDown struct {
	Since    time.Time `json:"since"`
	Failures int       `json:"failures" doc:"calls in a row without an answer"`
	ProbeAt  time.Time `json:"probe_at" doc:"from then on one payment may try it"`
}

// PutContract adds a contract; its terms never change.
type PutContract struct {
	Adapter string          `json:"adapter" minLength:"1" doc:"a payment product of this build"`
	FeePPM  int64           `json:"fee_ppm" minimum:"0" maximum:"1000000" doc:"of each succeeded charge, in millionths"`
	Config  json.RawMessage `json:"config,omitempty" doc:"by the schema that list-adapters gives; no secrets"`
}

// A ContractSecret is the name of a secret that was given.
type ContractSecret struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	SetAt   time.Time `json:"set_at"`
}

// A Tariff is one version of a tenant's prices.
type Tariff struct {
	Version uint64          `json:"version,omitempty" readOnly:"true"`
	From    time.Time       `json:"from" doc:"rides whose first tap is from then on"`
	Tariff  json.RawMessage `json:"tariff,omitempty" doc:"the prices, in a body of at most 9 MiB; left out of lists"`
	// WithdrawLater and WithdrawnAt are about versions that have not begun.
	WithdrawLater bool       `json:"withdraw_later,omitempty" writeOnly:"true" doc:"withdraw the versions that have not begun and would begin then or later: they never hold. Not in the ten minutes before they begin"`
	WithdrawnAt   *time.Time `json:"withdrawn_at,omitempty" readOnly:"true" doc:"when it was withdrawn, before it began"`
}

// Acceptance is what an operator's terminals accept.
type Acceptance struct {
	Version uint64          `json:"version" readOnly:"true"`
	Rules   json.RawMessage `json:"rules" doc:"the rules, without version and tenant"`
	Bundle  uint64          `json:"bundle,omitempty" doc:"the trust bundle in force; 0 = none yet"`
	Waiting bool            `json:"waiting,omitempty" doc:"the bundle with these rules waits for offline roots to sign"`
}

// A Stop is a stop or station of an operator.
type Stop struct {
	ID   string `json:"id" minLength:"1" maxLength:"80" doc:"as taps and tariffs name it"`
	Name string `json:"name" minLength:"1" maxLength:"200"`
	Area string `json:"area,omitempty" maxLength:"80"`
}

// A Checklist says what a tenant still needs before it can go live.
type Checklist struct {
	Ready bool            `json:"ready"`
	Items []ChecklistItem `json:"items"`
}

// A ChecklistItem is one thing to have.
type ChecklistItem struct {
	Name     string `json:"name"`
	Done     bool   `json:"done"`
	Optional bool   `json:"optional,omitempty"`
	Detail   string `json:"detail,omitempty" doc:"what there is, or what is missing"`
	Do       string `json:"do,omitempty" doc:"what to do about it"`
}

func put(id, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPut, Path: path, Summary: summary, Tags: []string{tag}}
}

func (e *Edge) onboardingRoutes() {
	register(e, put("set-tenant-state", "/v1/tenants/{tenant}/state", "Move a tenant along its life; one that is closed with work under way is closing until that is done", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				State string `json:"state" enum:"active,suspended,closed"`
			}
		}) (*body[TenantDocument], error) {
			return respond(e.Onboarding.SetState(ctx, who.Subject, r.id(), r.Body.State))
		})
	type served struct {
		Authorities []int64 `json:"authorities" maxItems:"100" doc:"tenant numbers"`
	}
	register(e, get("list-served", "/v1/tenants/{tenant}/serves", "The authorities an operator serves besides its own: they ride as one tree, and get no rights in the operator's tenant", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[served], error) {
			list, err := e.Onboarding.Serves(ctx, r.id())
			return respond(served{append([]int64{}, list...)}, err)
		})
	register(e, put("put-served", "/v1/tenants/{tenant}/serves", "Say which authorities an operator serves besides its own", "tenants"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body served
		}) (*done, error) {
			return respond(struct{}{}, e.Onboarding.Serve(ctx, who.Subject, r.id(), r.Body.Authorities))
		})
	register(e, get("get-checklist", "/v1/tenants/{tenant}/checklist", "What is missing before the tenant can go live, and what to do", "tenants"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[Checklist], error) {
			return respond(e.Onboarding.Checklist(ctx, r.id()))
		})
	e.keyRoutes()
	e.keyLifeRoutes()
	e.contractRoutes()
	e.tariffRoutes()
	register(e, get("list-stops", "/v1/tenants/{tenant}/stops", "Stops by their ids", "fleet"),
		func(ctx context.Context, _ Caller, r *Named) (*body[list[Stop]], error) {
			return inPages(ctx, r.Paging, func(s Stop) string { return s.ID })(e.Onboarding.Stops(ctx, r.id(), r.After, r.more()))
		})
	register(e, post("put-stops", "/v1/tenants/{tenant}/stops", "Add stops, or give them another name and area", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Stops []Stop `json:"stops" minItems:"1" maxItems:"2000"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.Onboarding.PutStops(ctx, who.Subject, r.id(), r.Body.Stops))
		})
}

func (e *Edge) keyRoutes() {
	register(e, get("list-keys", "/v1/tenants/{tenant}/keys", "Public keys by purpose", "keys"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Purpose string `query:"purpose" maxLength:"40" example:"credential"`
			State   string `query:"state" enum:"published,active,retiring,revoked"`
		}) (*body[list[TenantKey]], error) {
			keep := func(k TenantKey) bool { return wanted(r.Purpose, k.Purpose) && wanted(r.State, k.State) }
			return cutPages(ctx, r.Paging, func(k TenantKey) string { return fmt.Sprintf("%s/%03d", k.Purpose, k.KeyID) }, keep)(e.Onboarding.Keys(ctx, r.id()))
		})
	register(e, put("ensure-key", "/v1/tenants/{tenant}/keys/{purpose}", "Have a key of a purpose: made in the key store unless it is there", "keys"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Purpose string `path:"purpose" maxLength:"40" example:"credential"`
			Body    struct {
				Algorithm string `json:"algorithm,omitempty" enum:"ed25519,ecdsa-p256,rsa-2048" default:"ed25519"`
			}
		}) (*body[TenantKey], error) {
			return respond(e.Onboarding.EnsureKey(ctx, who.Subject, r.id(), r.Purpose, r.Body.Algorithm))
		})
}

// InPurpose is what a tenant's key signs, in a path. Exported, or huma does not
// see its fields.
type InPurpose struct {
	InTenant
	Purpose string `path:"purpose" maxLength:"40" example:"credential"`
}

func (e *Edge) keyLifeRoutes() {
	register(e, post("rotate-key", "/v1/tenants/{tenant}/keys/{purpose}/rotate", "Announce the next key of a purpose to everybody who verifies; it does not sign yet", "keys"),
		func(ctx context.Context, who Caller, r *InPurpose) (*body[TenantKey], error) {
			return respond(e.Onboarding.RotateKey(ctx, who.Subject, r.id(), r.Purpose))
		})
	register(e, post("activate-key", "/v1/tenants/{tenant}/keys/{purpose}/{kid}/activate", "Have an announced key sign from now on; the one that signed retires", "keys"),
		func(ctx context.Context, who Caller, r *struct {
			InPurpose
			KeyID uint8 `path:"kid" minimum:"1"`
			Body  struct {
				Anyway string `json:"anyway,omitempty" maxLength:"500" doc:"do not wait for terminals that lack the key, for this reason"`
			}
		}) (*body[TenantKey], error) {
			return respond(e.Onboarding.ActivateKey(ctx, who.Subject, r.id(), r.Purpose, r.KeyID, r.Body.Anyway))
		})
	register(e, post("revoke-key", "/v1/tenants/{tenant}/keys/{purpose}/{kid}/revoke", "Take a stolen or lost key out of use at once; the next one signs in its place", "keys"),
		func(ctx context.Context, who Caller, r *struct {
			InPurpose
			KeyID uint8 `path:"kid" minimum:"1"`
			Body  RevokeKey
		}) (*body[RevokedKey], error) {
			return respond(e.Onboarding.RevokeKey(ctx, who.Subject, r.id(), r.Purpose, r.KeyID, r.Body))
		})
}

func (e *Edge) contractRoutes() {
	register(e, get("list-contracts", "/v1/tenants/{tenant}/contracts", "Contracts with payment providers", "providers"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Adapter string `query:"adapter" maxLength:"40"`
			State   string `query:"state" maxLength:"20"`
		}) (*body[list[Contract]], error) {
			keep := func(c Contract) bool { return wanted(r.Adapter, c.Adapter) && wanted(r.State, c.State) }
			return cutPages(ctx, r.Paging, func(c Contract) string { return c.Name }, keep)(e.Onboarding.Contracts(ctx, r.id()))
		})
	register(e, get("list-adapters", "/v1/tenants/{tenant}/adapters", "Payment products that a contract can be of, with the schemas of their configurations", "providers"),
		func(ctx context.Context, _ Caller, r *struct{ Paged }) (*body[list[Adapter]], error) {
			return cutPages(ctx, r.Paging, func(a Adapter) string { return a.Name }, nil)(e.Onboarding.Adapters(), nil)
		})
	register(e, put("put-contract", "/v1/tenants/{tenant}/contracts/{contract}", "Add a contract with a payment provider", "providers"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Contract string `path:"contract" minLength:"1" maxLength:"40"`
			Body     PutContract
		}) (*body[Contract], error) {
			return respond(e.Onboarding.PutContract(ctx, who.Subject, r.id(), r.Contract, r.Body))
		})
	register(e, put("put-contract-secret", "/v1/tenants/{tenant}/contracts/{contract}/secrets/{secret}", "Give a contract's secret; nothing gives it back", "providers"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Contract string `path:"contract" minLength:"1" maxLength:"40"`
			Secret   string `path:"secret" minLength:"1" maxLength:"40" doc:"name, as the adapter documents it"`
			Body     struct {
				Value []byte `json:"value" writeOnly:"true" doc:"base64; at most 16384 bytes"`
			}
		}) (*body[ContractSecret], error) {
			return respond(e.Onboarding.PutSecret(ctx, who.Subject, r.id(), r.Contract, r.Secret, citygate.NewSecret(r.Body.Value)))
		})
}

func (e *Edge) tariffRoutes() {
	register(e, get("list-tariffs", "/v1/tenants/{tenant}/tariffs", "Versions of the tenant's prices", "fares"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Between
		}) (*body[list[Tariff]], error) {
			after, err := r.number()
			if err != nil {
				return nil, err
			}
			page := pg.Span{From: r.From, Until: r.Until, Limit: r.more()}
			return inPages(ctx, r.Paging, func(t Tariff) string { return ordered(t.Version) })(e.Onboarding.Tariffs(ctx, r.id(), after, page))
		})
	register(e, get("get-tariff", "/v1/tenants/{tenant}/tariffs/{version}", "One version of the tenant's prices", "fares"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			Version uint64 `path:"version" minimum:"1"`
		}) (*body[Tariff], error) {
			return respond(e.Onboarding.Tariff(ctx, r.id(), r.Version))
		})
	register(e, put("publish-tariff", "/v1/tenants/{tenant}/tariffs/{version}", "Publish the next version of the tenant's prices", "fares"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Version uint64 `path:"version" minimum:"1"`
			Body    Tariff
		}) (*body[Tariff], error) {
			return respond(e.Onboarding.PublishTariff(ctx, who.Subject, r.id(), r.Version, r.Body))
		})
	register(e, post("restore-tariff", "/v1/tenants/{tenant}/tariffs/{version}/restore", "Publish what an earlier version said as the next one", "fares"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Version uint64 `path:"version" minimum:"1"`
			Body    struct {
				From          time.Time `json:"from" doc:"instant from which the prices hold: in the future, and after every version that is not withdrawn"`
				WithdrawLater bool      `json:"withdraw_later,omitempty" doc:"withdraw the versions that have not begun and would begin then or later: they never hold. Not in the ten minutes before they begin"`
			}
		}) (*body[Tariff], error) {
			return respond(e.Onboarding.RestoreTariff(ctx, who.Subject, r.id(), r.Version, r.Body.From, r.Body.WithdrawLater))
		})
	register(e, get("get-acceptance", "/v1/tenants/{tenant}/acceptance", "What the tenant's terminals accept", "policies"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[Acceptance], error) {
			return respond(e.Onboarding.Acceptance(ctx, r.id()))
		})
	register(e, put("put-acceptance", "/v1/tenants/{tenant}/acceptance", "Publish the next version of what terminals accept, unless it says the same", "policies"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Rules json.RawMessage `json:"rules"`
			}
		}) (*body[Acceptance], error) {
			return respond(e.Onboarding.PutAcceptance(ctx, who.Subject, r.id(), r.Body.Rules))
		})
}
