package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fleet"
)

// Pairings is what the edge calls for terminals that enrol themselves.
type Pairings struct {
	Create   func(ctx context.Context, actor string, tenant citygate.TenantID, want PairTerminal) (NewPairingCode, error)
	List     func(ctx context.Context, tenant citygate.TenantID) ([]PairingCode, error)
	Withdraw func(ctx context.Context, actor string, tenant citygate.TenantID, pairing citygate.UUID) error
	Redeem   func(ctx context.Context, tenant citygate.TenantID, r RedeemPairing) (PairedTerminal, error)
}

// PairTerminal says what the device is to be that gets a pairing code.
type PairTerminal struct {
	ID      uint32 `json:"id,omitempty" doc:"its number; absent = the next free one"`
	Name    string `json:"name" minLength:"1" maxLength:"80"`
	Kind    string `json:"kind" enum:"gate,validator,taximeter"`
	Stop    string `json:"stop,omitempty" maxLength:"80"`
	Route   string `json:"route,omitempty" maxLength:"80"`
	Vehicle string `json:"vehicle,omitempty" maxLength:"80"`
}

// A PairingCode is a code that waits for a device, without its letters.
type PairingCode struct {
	Pairing   string       `json:"pairing" example:"pcd_0195e2…"`
	Terminal  PairTerminal `json:"terminal" doc:"what the device is to be"`
	CreatedBy string       `json:"created_by"`
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt time.Time    `json:"expires_at"`
}

// A NewPairingCode is a code that was just made.
type NewPairingCode struct {
	PairingCode
	Code string `json:"code" example:"7K2M-Q9XT-4BHC" doc:"for one device, within ten minutes; shown this once"`
}

// RedeemPairing is what a device sends to be enrolled.
type RedeemPairing struct {
	Code      string `json:"code" maxLength:"40" example:"7K2M-Q9XT-4BHC" doc:"hyphens, spaces and small letters make no difference"`
	PublicKey []byte `json:"public_key" doc:"Ed25519, 32 bytes, base64"`
	Signature []byte `json:"signature" doc:"by the private key, 64 bytes, base64: of \"citygate/pair-terminal/1\" and a zero byte, the tenant number (8 bytes, big-endian), the SHA-256 of the code's 12 capital letters and digits, and the public key"`
}

// A PairedTerminal tells a device who it is from now on.
type PairedTerminal struct {
	Tenant int64 `json:"tenant"`
	Terminal
}

// InPairing is a pairing code in a path.
type InPairing struct {
	InTenant
	Pairing string `path:"pairing" example:"pcd_0195e2…"`
}

func (e *Edge) pairingRoutes() {
	register(e, post("create-pairing-code", "/v1/tenants/{tenant}/pairing-codes", "Make a code by which one device enrols itself as a terminal, within ten minutes", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body PairTerminal
		}) (*body[NewPairingCode], error) {
			return respond(e.Pairings.Create(ctx, who.Subject, r.id(), r.Body))
		})
	register(e, get("list-pairing-codes", "/v1/tenants/{tenant}/pairing-codes", "Pairing codes that wait for a device", "fleet"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			CreatedBy string `query:"created_by" maxLength:"200" example:"user:ada"`
		}) (*body[list[PairingCode]], error) {
			keep := func(p PairingCode) bool { return wanted(r.CreatedBy, p.CreatedBy) }
			return cutPages(ctx, r.Paging, func(p PairingCode) string { return p.Pairing }, keep)(e.Pairings.List(ctx, r.id()))
		})
	register(e, remove("withdraw-pairing-code", "/v1/tenants/{tenant}/pairing-codes/{pairing}", "Take back a pairing code that waits for a device", "fleet"),
		func(ctx context.Context, who Caller, r *InPairing) (*done, error) {
			id, err := citygate.ParseUUID(fleet.PairingPrefix, r.Pairing)
			if err != nil {
				return nil, fleet.ErrNoPairing.Because(err, "path")
			}
			return respond(struct{}{}, e.Pairings.Withdraw(ctx, who.Subject, r.id(), id))
		})
	prove(e, post("pair-terminal", "/v1/tenants/{tenant}/paired-terminals", "Enrol oneself as a terminal: a device with a pairing code and a key of its own", "terminals"),
		func(ctx context.Context, r *struct {
			InTenant
			Body RedeemPairing
		}) (*body[PairedTerminal], error) {
			return respond(e.Pairings.Redeem(ctx, r.id(), r.Body))
		})
}
