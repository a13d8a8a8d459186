package edge

import (
	"context"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/danielgtaylor/huma/v2"
)

// Devices is what the edge calls for riders' phones and bands.
type Devices struct {
	Policy        func(ctx context.Context, tenant citygate.TenantID) (issuance.Policy, error)
	PublishPolicy func(ctx context.Context, actor string, tenant citygate.TenantID, p issuance.Policy) (issuance.Policy, error)
	// LargestLoss gives what a thief of a phone and its bands can cost under p.
	LargestLoss func(ctx context.Context, tenant citygate.TenantID, p *issuance.Policy, unreported time.Duration) (Losses, error)

	Challenge func(ctx context.Context, tenant citygate.TenantID) (challenge []byte, expires time.Time, err error)
	Register  func(ctx context.Context, actor string, tenant citygate.TenantID, r issuance.Registration) (issuance.Device, error)
	List      func(ctx context.Context, tenant citygate.TenantID, account citygate.UUID) ([]issuance.Device, error)
	// Renew takes the anchor of a band's next hash chain, or nil.
	Renew       func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID, anchor []byte) (RenewedCredential, error)
	Batch       func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) (CodeBatch, error)
	RevokeBatch func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) error

	Release    func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) error
	Found      func(ctx context.Context, actor string, tenant citygate.TenantID, device citygate.UUID) error
	ReportLoss func(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, what issuance.Loss) ([]issuance.Device, error)
	// ConcessionOf gives an account's category, and until when its proof holds.
	ConcessionOf func(ctx context.Context, tenant citygate.TenantID, account citygate.UUID) (category string, proof time.Time, err error)
	Concession   func(ctx context.Context, actor string, tenant citygate.TenantID, account citygate.UUID, category string, proof time.Time) error
}

// Losses are the most that thieves can ride for.
type Losses struct {
	Devices citygate.Money // a phone and all its bands
	Batch   citygate.Money // a copy of a wallet's codes
}

// A PolicyDocument is the issuance policy in force.
type PolicyDocument struct {
	issuance.Policy
	LargestLoss citygate.Money `json:"largest_loss" doc:"the most a thief of a phone and its bands can ride for, if the loss is reported at once"`
	PerHalfDay  citygate.Money `json:"largest_loss_12h" doc:"the same, if it is reported 12 hours later"`
	BatchLoss   citygate.Money `json:"largest_batch_loss" doc:"the most that whoever copied one wallet's codes can ride for, if that is reported at once; 0: no codes are made ahead"`
}

// RegisterDevice asks for a phone or a band to be bound.
type RegisterDevice struct {
	Kind        string   `json:"kind" enum:"phone,band,wallet"`
	Contract    string   `json:"contract,omitempty" maxLength:"80" doc:"of a phone or wallet: the provider contract its account is collected under"`
	RiderRef    string   `json:"rider_ref,omitempty" maxLength:"200" doc:"of a phone or wallet: the payment provider's name for the payer"`
	Phone       string   `json:"phone,omitempty" doc:"of a band: the phone it is bound to, dev_…"`
	Medium      string   `json:"medium,omitempty" maxLength:"200" doc:"of a wallet, or of a band that has no key: its name, such as the serial number of the pass; instead of key, challenge and signature"`
	Suite       uint8    `json:"suite,omitempty" doc:"CT1 suite of the device's key: 0 Ed25519, 3 P-256, 4 hash chain of a band"`
	PublicKey   []byte   `json:"public_key,omitempty" doc:"compressed P-256 point (33 bytes), Ed25519 key (32 bytes) or the anchor of a hash chain (16 bytes), base64"`
	Challenge   []byte   `json:"challenge,omitempty" doc:"from device-challenges, base64"`
	Signature   []byte   `json:"signature,omitempty" doc:"the device's, over \"CG-device\" 00, the tenant as 8 bytes, challenge, public_key; base64"`
	Attestation [][]byte `json:"attestation,omitempty" maxItems:"10" doc:"of a phone: Android key attestation over the same challenge, the device's certificate first, each DER in base64"`
	AppAttest   []byte   `json:"app_attestation,omitempty" maxLength:"21848" doc:"of a phone: attestation object of Apple's App Attest, base64; its clientDataHash is SHA-256 over \"CG-app-attest\" 00, the tenant as 8 bytes, challenge, public_key"`
	Vouched     bool     `json:"vouched,omitempty" doc:"of a phone: the caller checked other evidence that the key is in hardware"`
}

// A DeviceView is a registered device.
type DeviceView struct {
	ID        string `json:"id" example:"dev_0195e2…"`
	Account   string `json:"account"`
	Kind      string `json:"kind" enum:"phone,band,wallet"`
	Phone     string `json:"phone,omitempty"`
	Suite     uint8  `json:"suite"`
	PublicKey []byte `json:"public_key,omitempty"`
	Keyless   bool   `json:"keyless,omitempty" doc:"it has no key: its codes are made ahead, see the batch"`
	Assurance string `json:"assurance" enum:"hardware,vouched,none" doc:"hardware: an attestation was checked, also against a fresh revocation list; vouched: the issuer or its app answers for it"`
	Evidence  string `json:"evidence,omitempty" enum:"android,apple,caller" doc:"what a phone's assurance rests on: a key attestation, an attested iOS app, or the word of who registered it"`
	// Revocation is of a device with an Android attestation.
	Revocation string     `json:"revocation,omitempty" enum:"fresh,stale,no_list" doc:"what the makers' certificates were held against when an attested phone was bound; stale, no_list: nobody knows whether they were revoked, so it is vouched for only"`
	State      string     `json:"state" enum:"bound,lost,released"`
	BoundAt    time.Time  `json:"bound_at"`
	LostAt     *time.Time `json:"lost_at,omitempty"`
}

// A RenewedCredential is part A of a device's codes.
type RenewedCredential struct {
	List       uint16 `json:"list"`
	Index      uint32 `json:"index"`
	Credential []byte `json:"credential" doc:"base64"`
	ExpiresAt  int64  `json:"expires_at" doc:"unix seconds"`
	ServerTime int64  `json:"server_time" doc:"unix seconds; a device sets its clock by it"`
}

// A CodeBatch is codes made ahead for a wallet or band without a key.
type CodeBatch struct {
	List          uint16         `json:"list"`
	Index         uint32         `json:"index"`
	From          int64          `json:"from" doc:"unix seconds: the first code's window begins"`
	WindowSeconds int64          `json:"window_seconds" doc:"code i is shown from from + i x window_seconds, for one window; it is good for one tap"`
	Until         int64          `json:"until" doc:"unix seconds: the last code's window is over"`
	RenewFrom     int64          `json:"renew_from" doc:"unix seconds: from then on the call gives a new batch"`
	Codes         [][]byte       `json:"codes" doc:"each in base64, the whole code"`
	ServerTime    int64          `json:"server_time" doc:"unix seconds"`
	Strength      string         `json:"strength" enum:"static_signed" doc:"who has a copy of a code rides as well as the owner: keep it as secret as money"`
	LargestLoss   citygate.Money `json:"largest_loss" doc:"the most that a copy of this batch is worth"`
}

func deviceView(d issuance.Device) DeviceView {
	v := DeviceView{ID: d.ID.Text(issuance.Prefix), Account: d.Account.Text("acc_"), Kind: string(d.Kind), Suite: d.Suite, PublicKey: d.PublicKey,
		Assurance: string(d.Assurance), State: string(d.State), Keyless: d.Keyless, BoundAt: d.BoundAt}
	if a := d.Evidence.Android; a != nil {
		v.Evidence, v.Revocation = "android", string(a.Revocation)
	} else if d.Evidence.Apple != nil {
		v.Evidence = "apple"
	} else if d.Assurance == issuance.Vouched {
		v.Evidence = "caller"
	}
	if d.Keyless {
		v.PublicKey = nil // the digest of its name is no key
	}
	if !d.Phone.IsZero() {
		v.Phone = d.Phone.Text(issuance.Prefix)
	}
	if !d.LostAt.IsZero() {
		v.LostAt = &d.LostAt
	}
	return v
}

func deviceViews(devices []issuance.Device, err error) ([]DeviceView, error) {
	views := make([]DeviceView, len(devices))
	for i, d := range devices {
		views[i] = deviceView(d)
	}
	return views, err
}

// OfDevice is a device in a path.
type OfDevice struct {
	InTenant
	Device string `path:"device" example:"dev_0195e2…"`
}

func (r *OfDevice) device() (citygate.UUID, error) { return pathID(issuance.Prefix, r.Device) }

// OfAccount is an account in a path.
type OfAccount struct {
	InTenant
	Account string `path:"account" example:"acc_0195e2…"`
}

func (r *OfAccount) account() (citygate.UUID, error) { return pathID("acc_", r.Account) }

func pathID(prefix, text string) (citygate.UUID, error) {
	id, err := citygate.ParseUUID(prefix, text)
	if err != nil {
		return id, errNotFound.Because(err, "want an id that begins with %s", prefix)
	}
	return id, nil
}

// A DeviceChallenge is what a device signs to show that it holds its key.
type DeviceChallenge struct {
	Challenge []byte    `json:"challenge"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (e *Edge) deviceRoutes() {
	e.policyRoutes()
	register(e, post("challenge-device", "/v1/tenants/{tenant}/device-challenges", "A challenge for a device to sign, good for ten minutes", "riders"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[DeviceChallenge], error) {
			challenge, expires, err := e.Devices.Challenge(ctx, r.id())
			return respond(DeviceChallenge{challenge, expires}, err)
		})
	register(e, post("register-device", "/v1/tenants/{tenant}/devices", "Bind a phone or wallet to an account or a band to a phone", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body RegisterDevice
		}) (*body[DeviceView], error) {
			q := issuance.Registration{Contract: r.Body.Contract, RiderRef: r.Body.RiderRef, Kind: issuance.Kind(r.Body.Kind), Suite: r.Body.Suite,
				PublicKey: r.Body.PublicKey, Challenge: r.Body.Challenge, Signature: r.Body.Signature, Attestation: r.Body.Attestation, AppAttestation: r.Body.AppAttest, Vouched: r.Body.Vouched,
				Medium: r.Body.Medium}
			if r.Body.Phone != "" {
				var err error
				if q.Phone, err = citygate.ParseUUID(issuance.Prefix, r.Body.Phone); err != nil {
					return nil, errBody.Explain("phone: want the id of a device, such as %s…", issuance.Prefix)
				}
			}
			d, err := e.Devices.Register(ctx, who.Subject, r.id(), q)
			return respond(deviceView(d), err)
		})
	register(e, post("renew-credential", "/v1/tenants/{tenant}/devices/{device}/credential", "The device's credential: the one it has, or a new one past half of its life", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			OfDevice
			Body *struct {
				Anchor []byte `json:"anchor,omitempty" doc:"of a band with a hash chain: the anchor of its next chain, base64. A chain is good for one credential; the one in the answer names the chain that counts"`
			}
		}) (*body[RenewedCredential], error) {
			id, err := r.device()
			if err != nil {
				return nil, err
			}
			var anchor []byte
			if r.Body != nil {
				anchor = r.Body.Anchor
			}
			return respond(e.Devices.Renew(ctx, who.Subject, r.id(), id, anchor))
		})
	e.batchRoutes()
	register(e, post("release-device", "/v1/tenants/{tenant}/devices/{device}/release", "Give a device up: its credentials are denied, and anybody may bind it", "riders"),
		func(ctx context.Context, who Caller, r *OfDevice) (*body[struct{}], error) {
			id, err := r.device()
			if err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Devices.Release(ctx, who.Subject, r.id(), id))
		})
	register(e, post("find-device", "/v1/tenants/{tenant}/devices/{device}/found", "Take a report of loss back", "riders"),
		func(ctx context.Context, who Caller, r *OfDevice) (*body[struct{}], error) {
			id, err := r.device()
			if err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Devices.Found(ctx, who.Subject, r.id(), id))
		})
	e.ownerRoutes()
}

func (e *Edge) batchRoutes() {
	register(e, post("code-batch", "/v1/tenants/{tenant}/devices/{device}/batch", "The codes of a wallet or band without a key: those it has, or new ones past half of their windows", "riders"),
		func(ctx context.Context, who Caller, r *OfDevice) (*body[CodeBatch], error) {
			id, err := r.device()
			if err != nil {
				return nil, err
			}
			return respond(e.Devices.Batch(ctx, who.Subject, r.id(), id))
		})
	register(e, post("revoke-code-batch", "/v1/tenants/{tenant}/devices/{device}/batch/revoke", "Deny the codes that a wallet or band without a key has: somebody may have copied them", "riders"),
		func(ctx context.Context, who Caller, r *OfDevice) (*body[struct{}], error) {
			id, err := r.device()
			if err != nil {
				return nil, err
			}
			return respond(struct{}{}, e.Devices.RevokeBatch(ctx, who.Subject, r.id(), id))
		})
}

func (e *Edge) ownerRoutes() {
	register(e, get("list-devices", "/v1/tenants/{tenant}/accounts/{account}/devices", "An account's devices", "riders"),
		func(ctx context.Context, _ Caller, r *struct {
			OfAccount
			Paging
			Kind  string `query:"kind" enum:"phone,band,wallet"`
			State string `query:"state" enum:"bound,lost,released"`
		}) (*body[list[DeviceView]], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			keep := func(d DeviceView) bool { return wanted(r.Kind, d.Kind) && wanted(r.State, d.State) }
			return cutPages(ctx, r.Paging, func(d DeviceView) string { return d.ID }, keep)(deviceViews(e.Devices.List(ctx, r.id(), id)))
		})
	register(e, post("report-loss", "/v1/tenants/{tenant}/accounts/{account}/losses", "Report a phone, bands, wallets or all as lost: the next deny lists carry them", "riders"),
		func(ctx context.Context, who Caller, r *struct {
			OfAccount
			Body struct {
				Lost string `json:"lost" enum:"phone,band,wallet,both" doc:"a phone is lost with the account's wallets; both: everything"`
			}
		}) (*body[list[DeviceView]], error) {
			id, err := r.account()
			if err != nil {
				return nil, err
			}
			return respondList(deviceViews(e.Devices.ReportLoss(ctx, who.Subject, r.id(), id, issuance.Loss(r.Body.Lost))))
		})
	put := huma.Operation{
		OperationID: "put-concession", Method: http.MethodPut, Path: "/v1/tenants/{tenant}/accounts/{account}/concession",
		Summary: "Put an account into a category of the issuance policy", Tags: []string{"riders"},
	}
	register(e, put, func(ctx context.Context, who Caller, r *struct {
		OfAccount
		Body struct {
			Category       string    `json:"category" maxLength:"40" doc:"empty: none"`
			ProofExpiresAt time.Time `json:"proof_expires_at,omitzero" doc:"until when the proof holds; credentials end with it"`
		}
	}) (*body[struct{}], error) {
		id, err := r.account()
		if err != nil {
			return nil, err
		}
		return respond(struct{}{}, e.Devices.Concession(ctx, who.Subject, r.id(), id, r.Body.Category, r.Body.ProofExpiresAt))
	})
}

func (e *Edge) policyRoutes() {
	document := func(ctx context.Context, tenant citygate.TenantID, p issuance.Policy, err error) (*body[PolicyDocument], error) {
		if err != nil {
			return nil, err
		}
		d := PolicyDocument{Policy: p}
		now, err := e.Devices.LargestLoss(ctx, tenant, &p, 0)
		if err != nil {
			return nil, err
		}
		later, err := e.Devices.LargestLoss(ctx, tenant, &p, 12*time.Hour)
		d.LargestLoss, d.PerHalfDay, d.BatchLoss = now.Devices, later.Devices, now.Batch
		return respond(d, err)
	}
	register(e, get("get-issuance-policy", "/v1/tenants/{tenant}/issuance-policy", "What the issuer gives to devices, and what a theft can cost", "riders"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[PolicyDocument], error) {
			p, err := e.Devices.Policy(ctx, r.id())
			return document(ctx, r.id(), p, err)
		})
	put := huma.Operation{
		OperationID: "put-issuance-policy", Method: http.MethodPut, Path: "/v1/tenants/{tenant}/issuance-policy",
		Summary: "Publish the next version of the issuance policy", Tags: []string{"riders"},
	}
	register(e, put, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Body issuance.Policy
	}) (*body[PolicyDocument], error) {
		p, err := e.Devices.PublishPolicy(ctx, who.Subject, r.id(), r.Body)
		return document(ctx, r.id(), p, err)
	})
}
