package issuance

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/big"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// The refusals.
var (
	ErrPolicy    = &citygate.Code{Name: "issuance.policy", Kind: citygate.Invalid, Title: "The issuance policy cannot be used. Correct what is named."}
	ErrNoPolicy  = &citygate.Code{Name: "issuance.no_policy", Kind: citygate.Conflict, Title: "The tenant has no issuance policy. Publish one first."}
	ErrDevice    = &citygate.Code{Name: "device.invalid", Kind: citygate.Invalid, Title: "The device cannot be registered like this. Correct what is named."}
	ErrNoDevice  = &citygate.Code{Name: "device.not_found", Kind: citygate.NotFound, Title: "There is no such device. Register it first."}
	ErrHeld      = &citygate.Code{Name: "device.held", Kind: citygate.Conflict, Title: "The device is bound to somebody. Its owner must release it, or report it lost and let the waiting period pass."}
	ErrProof     = &citygate.Code{Name: "device.proof", Kind: citygate.Invalid, Title: "The device did not prove that it holds its key. Ask for a challenge and sign it."}
	ErrAttest    = &citygate.Code{Name: "device.attestation", Kind: citygate.Invalid, Title: "The attestation does not show that the key is in secure hardware. Register without it, or use another device."}
	ErrUnproven  = &citygate.Code{Name: "device.unproven", Kind: citygate.Forbidden, Title: "Credentials go only to keys in secure hardware. Register the device with its attestation."}
	ErrTooMany   = &citygate.Code{Name: "device.too_many_bands", Kind: citygate.Conflict, Title: "The phone has as many bands as it may have. Release one first."}
	ErrState     = &citygate.Code{Name: "device.state", Kind: citygate.Conflict, Title: "The device is not in a state for this. See the detail."}
	ErrCopied    = &citygate.Code{Name: "device.denied", Kind: citygate.Forbidden, Title: "A credential of the device is denied: its key may be known to others. Release it and register a new key."}
	ErrNotGiven  = &citygate.Code{Name: "device.not_given", Kind: citygate.Forbidden, Title: "The issuance policy gives nothing to such a device. Publish a policy that does."}
	ErrMedium    = &citygate.Code{Name: "device.medium", Kind: citygate.Conflict, Title: "A device with a key asks for its credential, one without for a batch of codes. Use the other call."}
	ErrAnchor    = &citygate.Code{Name: "device.anchor", Kind: citygate.Conflict, Title: "A hash chain is good for one credential. Write a new one to the band and send its anchor."}
	ErrInFlight  = &citygate.Code{Name: "device.renewing", Kind: citygate.Unavailable, Title: "The device's credential is being made. Ask again in a minute."}
	ErrNoConcess = &citygate.Code{Name: "account.category", Kind: citygate.Invalid, Title: "The policy knows no such concession. Correct the category, or publish a policy that has it."}
)

// A Kind is what a device is.
type Kind string

// The kinds of devices.
const (
	Phone  Kind = "phone"
	Band   Kind = "band"
	Wallet Kind = "wallet" // a pass in somebody else's app: it has no key
)

// mediumMax is the longest name of a medium.
const mediumMax = 200

// mediumKey stands for the name of a medium in the place of a key.
func mediumKey(name string) []byte {
	sum := sha256.Sum256(append([]byte("CG-medium\x00"), name...))
	return sum[:]
}

// An Assurance is what is known of where a device's key lies.
type Assurance string

// The assurances.
const (
	Hardware Assurance = "hardware" // an attestation we checked, also against a fresh revocation list
	Vouched  Assurance = "vouched"  // the issuer says it checked, its app does ([Apple]), or it takes an attestation that was held against no fresh list
	Unproven Assurance = "none"
)

// A State is a device's place in its life.
type State string

// The states of a device.
const (
	Bound    State = "bound"
	Lost     State = "lost"
	Released State = "released"
)

// A Device is a phone or a band of an account.
type Device struct {
	ID        citygate.UUID
	Account   citygate.UUID
	Kind      Kind
	Phone     citygate.UUID // that a band is bound to
	Suite     uint8
	PublicKey []byte
	Assurance Assurance
	Evidence  Evidence
	State     State
	Keyless   bool // its codes are made ahead; PublicKey is the digest of its name
	BoundAt   time.Time
	LostAt    time.Time // zero = never
}

// Evidence is what a device's assurance rests on.
type Evidence struct {
	Android   *Attestation    `json:"android,omitempty"`
	Apple     *AppAttestation `json:"apple,omitempty"`
	VouchedBy string          `json:"vouched_by,omitempty"`
	Medium    string          `json:"medium,omitempty"` // the name of a device without a key
}

// A Registration asks for a device to be bound.
type Registration struct {
	// Contract and RiderRef name the account that a phone rides on; it is opened if
	// it is not there. A band has Phone instead.
	Contract, RiderRef string
	Phone              citygate.UUID

	Kind      Kind
	Suite     uint8
	PublicKey []byte

	// Challenge is one of ours and Signature the device's over [Proof].
	Challenge, Signature []byte
	// Attestation is an Android key attestation over the same challenge, the
	// device's certificate first, each DER. AppAttestation is an attestation object of
	// Apple's App Attest for [AppClientData]. Vouched says that the caller checked
	// other evidence of the kind. A phone has one of the three, or none.
	Attestation    [][]byte
	AppAttestation []byte
	Vouched        bool

	// Medium names a wallet or band that has no key, such as its serial number: it
	// comes instead of all that a key would prove, and its codes are made ahead
	// ([Office.Batch]). Whoever may register devices says what is whose.
	Medium string
}

// ChallengeTime is how long a challenge may be answered.
const ChallengeTime = 10 * time.Minute

// Proof gives the bytes a device signs to register: Ed25519 as they are, P-256
// over their SHA-256 as r and s of 32 bytes each.
func Proof(tenant citygate.TenantID, challenge, publicKey []byte) []byte {
	out := append([]byte(nil), "CG-device\x00"...)
	out = binary.BigEndian.AppendUint64(out, uint64(tenant))
	out = append(out, challenge...)
	return append(out, publicKey...)
}

// holdsKey verifies the signature of a registration. A hash chain signs nothing.
func (r *Registration) holdsKey(tenant citygate.TenantID) bool {
	message := Proof(tenant, r.Challenge, r.PublicKey)
	switch len(r.PublicKey) {
	case ed25519.PublicKeySize:
		return ed25519.Verify(r.PublicKey, message, r.Signature)
	case chainAnchor:
		return len(r.Signature) == 0
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), r.PublicKey)
	if x == nil || len(r.Signature) != 64 {
		return false
	}
	point := make([]byte, 65)
	point[0] = 4
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(message)
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(r.Signature[:32]), new(big.Int).SetBytes(r.Signature[32:]))
}

// chainAnchor is the size of a hash chain's anchor, suite 4 of package ct1.
const chainAnchor = 16

// evidences counts the kinds of evidence that a registration has.
func (r *Registration) evidences() (n int) {
	for _, there := range []bool{len(r.Attestation) > 0, len(r.AppAttestation) > 0, r.Vouched} {
		if there {
			n++
		}
	}
	return n
}

// check refuses what no policy could allow.
func (r *Registration) check() error {
	keyed := len(r.PublicKey)+len(r.Challenge)+len(r.Signature)+r.evidences() > 0
	switch {
	case r.Kind != Phone && r.Kind != Band && r.Kind != Wallet:
		return ErrDevice.Explain("kind %q, want phone, band or wallet", r.Kind)
	case r.Kind == Wallet && (!r.Phone.IsZero() || r.Contract == "" || r.RiderRef == ""):
		return ErrDevice.Explain("a wallet names the contract and the rider it rides for")
	case r.Medium != "" && (r.Kind == Phone || keyed || r.Suite != 0):
		return ErrDevice.Explain("a medium that is named has no key, suite or proof, and is no phone")
	case r.Kind == Wallet && r.Medium == "":
		return ErrDevice.Explain("a wallet has no key: it is named by its medium, such as the serial number of the pass")
	case len(r.Medium) > mediumMax:
		return ErrDevice.Explain("a medium's name of %d bytes, at most %d", len(r.Medium), mediumMax)
	case r.Kind == Band && (r.Phone.IsZero() || r.Contract != "" || r.RiderRef != ""):
		return ErrDevice.Explain("a band names its phone and rides on the phone's account")
	case r.Kind == Phone && (!r.Phone.IsZero() || r.Contract == "" || r.RiderRef == ""):
		return ErrDevice.Explain("a phone names the contract and the rider it rides for")
	case r.Kind == Phone && len(r.PublicKey) == chainAnchor:
		return ErrDevice.Explain("a phone needs a key: hash chains are for bands")
	case r.evidences() > 1:
		return ErrDevice.Explain("an Android attestation, an App Attest attestation and a caller that vouches: want one of them")
	case r.Kind == Band && r.evidences() > 0:
		return ErrDevice.Explain("a band has no attestation: its limits are low instead")
	}
	if r.Medium != "" {
		return nil
	}
	if err := ct1.CheckDeviceKey(r.Suite, r.PublicKey); err != nil {
		return ErrDevice.Because(err, "suite %d: %v", r.Suite, err)
	}
	return nil
}

// An Office registers devices and gives them credentials. Safe for concurrent use.
type Office struct {
	DB          *pg.DB
	Credentials *credential.Registry
	Random      io.Reader // of challenges
	Statuses    *Statuses // of attestation certificates; nil = no list
}

// Challenge gives 32 bytes for a device to sign, good for ten minutes.
func (o *Office) Challenge(ctx context.Context, tenant citygate.TenantID) (challenge []byte, expires time.Time, err error) {
	challenge = make([]byte, 32)
	if _, err := io.ReadFull(o.Random, challenge); err != nil {
		return nil, time.Time{}, err
	}
	err = o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) error {
		expires = tx.Now.Add(ChallengeTime)
		return putChallenge(ctx, tx, challenge, expires)
	})
	return challenge, expires, err
}

// Register binds a device. Asking again for a device that is bound to the same
// account and phone gives it as it is.
func (o *Office) Register(ctx context.Context, actor string, tenant citygate.TenantID, r Registration) (Device, error) {
	if err := r.check(); err != nil {
		return Device{}, err
	}
	if r.Medium != "" {
		r.Suite, r.PublicKey = batchSuite, mediumKey(r.Medium)
	} else if !r.holdsKey(tenant) {
		return Device{}, ErrProof
	}
	var d Device
	err := o.DB.InTenant(ctx, tenant, func(tx *pg.Tx) (err error) {
		d, err = register(ctx, tx, actor, &r, o.Statuses)
		return err
	})
	return d, err
}

func register(ctx context.Context, tx *pg.Tx, actor string, r *Registration, statuses *Statuses) (Device, error) {
	policy, err := Latest(ctx, tx)
	if err != nil {
		return Device{}, err
	}
	d := Device{Kind: r.Kind, Phone: r.Phone, Suite: r.Suite, PublicKey: r.PublicKey, Assurance: Unproven, State: Bound, Keyless: r.Medium != "", BoundAt: tx.Now}
	switch {
	case d.Keyless && policy.Batch == nil:
		return Device{}, ErrNotGiven.Explain("it has no batch limits, for media without a key")
	case d.Suite == ct1.SuiteChain && policy.Chain == nil:
		return Device{}, ErrNotGiven.Explain("it has no chain limits, for bands with a hash chain")
	}
	if d.Account, err = accountFor(ctx, tx, actor, r); err != nil {
		return Device{}, err
	}
	// The key's row is locked before anything is decided about it.
	holder, held, err := holderOf(ctx, tx, r.PublicKey)
	if err != nil {
		return Device{}, err
	}
	if held {
		again, err := takeOver(ctx, tx, actor, &policy, &d, &holder)
		if err != nil || again {
			return holder, err
		}
	}
	if !d.Keyless {
		if err := useChallenge(ctx, tx, r.Challenge); err != nil {
			return Device{}, err
		}
	}
	if err := prove(&d, r, &policy, statuses, actor, tx); err != nil {
		return Device{}, err
	}
	if d.Kind == Band {
		if n, err := bandsOf(ctx, tx, d.Phone); err != nil {
			return Device{}, err
		} else if n >= policy.BandsPerPhone {
			return Device{}, ErrTooMany.Explain("%d of %d", n, policy.BandsPerPhone)
		}
	}
	d.ID = tx.NewID()
	if err := insertDevice(ctx, tx, &d); err != nil {
		return Device{}, err
	}
	return d, audit(ctx, tx, actor, "device.bind", &d)
}

// prove fills in what is known of where the key of d lies.
func prove(d *Device, r *Registration, policy *Policy, statuses *Statuses, actor string, tx *pg.Tx) error {
	now := tx.Now
	switch {
	case d.Keyless:
		d.Evidence.Medium = r.Medium
	case len(r.Attestation) > 0:
		roots, err := ParseRoots(policy.AttestationRoots)
		if err != nil {
			return err
		}
		found, err := roots.Check(r.Attestation, r.Challenge, r.PublicKey, now)
		if err != nil {
			return err
		}
		if err := statuses.Check(found.Serials); err != nil {
			return err
		}
		// Without a fresh list nobody knows whether the maker's key was stolen: it is
		// for the issuer to take that risk or not.
		found.Revocation = statuses.State(now)
		switch {
		case found.Revocation == Fresh:
			d.Assurance = Hardware
		case policy.FreshStatus:
			return ErrStatus.Explain("the list is: %s", found.Revocation)
		default:
			d.Assurance = Vouched
		}
		d.Evidence.Android = &found
	case len(r.AppAttestation) > 0:
		if policy.Apple == nil {
			return ErrAttest.Explain("the issuance policy names no iOS apps")
		}
		found, err := policy.Apple.Attested(r.AppAttestation, AppClientData(tx.Tenant, r.Challenge, r.PublicKey), now)
		if err != nil {
			return err
		}
		d.Assurance, d.Evidence.Apple = Vouched, &found // it is the app that says where the key lies
	case r.Vouched:
		d.Assurance, d.Evidence.VouchedBy = Vouched, actor
	}
	return nil
}

// accountFor gives the account a device rides on, opened if need be. A band's
// phone is locked, so that it is not reported lost meanwhile.
func accountFor(ctx context.Context, tx *pg.Tx, actor string, r *Registration) (citygate.UUID, error) {
	if r.Kind == Band {
		phone, err := lockDevice(ctx, tx, r.Phone)
		if err != nil {
			return citygate.UUID{}, err
		}
		if phone.Kind != Phone || phone.State != Bound {
			return citygate.UUID{}, ErrState.Explain("%s is a %s and %s: a band is bound to a phone in use", r.Phone.Text(Prefix), phone.Kind, phone.State)
		}
		return phone.Account, nil
	}
	opened, err := credential.OpenAccounts(ctx, tx, actor, []credential.Account{{Contract: r.Contract, RiderRef: r.RiderRef}})
	if err != nil {
		return citygate.UUID{}, err
	}
	return opened[0].ID, nil
}

// takeOver decides about a key that a device holds: the same binding is given
// again, the owner may take a lost device back to another phone, and a stranger
// waits until the period after the loss is over.
func takeOver(ctx context.Context, tx *pg.Tx, actor string, policy *Policy, d, holder *Device) (again bool, err error) {
	same := holder.Account == d.Account && holder.Kind == d.Kind && holder.Suite == d.Suite && holder.Keyless == d.Keyless
	switch {
	case same && holder.State == Bound && holder.Phone == d.Phone:
		return true, nil
	case holder.State == Lost && !tx.Now.Before(holder.LostAt.Add(policy.wait())):
	case same && holder.State == Lost:
	case same && d.Kind == Band:
		// Another phone of the owner: only if the one before is not in use any more.
		before, err := lockDevice(ctx, tx, holder.Phone)
		if err != nil {
			return false, err
		}
		if before.State == Bound {
			return false, ErrHeld.Explain("it is bound to %s", holder.Phone.Text(Prefix))
		}
	case holder.State == Lost:
		return false, ErrHeld.Explain("it was reported lost and may be bound from %s", holder.LostAt.Add(policy.wait()).UTC().Format(time.RFC3339))
	default:
		return false, ErrHeld
	}
	return false, release(ctx, tx, actor, holder, "rebound")
}

func audit(ctx context.Context, tx *pg.Tx, actor, verb string, d *Device) error {
	after := map[string]any{"account": d.Account.Text("acc_"), "kind": d.Kind, "state": d.State, "assurance": d.Assurance}
	if d.Kind == Band {
		after["phone"] = d.Phone.Text(Prefix)
	}
	if a := d.Evidence.Android; a != nil {
		after["revocation"] = a.Revocation
	}
	return tx.Audit(ctx, pg.AuditEntry{Actor: actor, Verb: verb, Object: "device:" + d.ID.Text(Prefix), After: after})
}
