package fleet

import (
	"crypto"
	"fmt"
	"regexp"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/bundle"
)

// The refusals of this package.
var (
	ErrNotFound = &citygate.Code{Name: "fleet.not_found", Kind: citygate.NotFound, Title: "There is no such terminal, vehicle or payee. Check the name or number."}
	ErrConflict = &citygate.Code{Name: "fleet.conflict", Kind: citygate.Conflict, Title: "It exists with other content. A new terminal key needs a new terminal number."}
	ErrInvalid  = &citygate.Code{Name: "fleet.invalid", Kind: citygate.Invalid, Title: "The description is not valid. Correct the named field."}
	ErrNoPayee  = &citygate.Code{Name: "fleet.no_payee", Kind: citygate.Conflict, Title: "The operator has no default payee. Add one before fares are priced."}
	ErrNoBundle = &citygate.Code{Name: "fleet.no_bundle", Kind: citygate.NotFound, Title: "No trust bundle was published for this operator yet. Publish one."}
)

// A Kind is what a terminal is.
type Kind string

// The kinds.
const (
	Gate      Kind = "gate"
	Validator Kind = "validator"
	Taximeter Kind = "taximeter"
)

// A Mode is how riders use a terminal.
type Mode string

// The modes.
const (
	OnOff  Mode = "on_off" // tap on, later tap off
	Single Mode = "single" // one tap is a whole journey
)

// A State says whether a terminal's batches are taken.
type State string

// The states.
const (
	Active    State = "active"
	Suspended State = "suspended"
)

// A Terminal is one terminal key and where the device stands or rides.
type Terminal struct {
	ID          uint32 // terminal key id, unique in the tenant; 0 on enrolment = the next free one
	Name        string
	Algorithm   bundle.Algorithm
	Public      []byte // form of [bundle.EncodePublic]
	Kind        Kind
	Mode        Mode
	Stop        string // of a gate
	Route       string // of a validator on a vehicle
	Vehicle     string
	State       State
	BundleFloor uint64    // highest bundle that a tap of it named: it has acknowledged that one
	SeenAt      time.Time // last upload, to within ten minutes; zero = never
	Software    string
	ClockOffset *time.Duration // its clock minus ours; nil = not measured
	EnrolledAt  time.Time
}

// Key gives the terminal's public key.
func (t Terminal) Key() (crypto.PublicKey, error) { return bundle.ParsePublic(t.Algorithm, t.Public) }

func (t Terminal) check() error {
	switch {
	case t.Name == "" || len(t.Name) > 200:
		return ErrInvalid.Explain("name: want 1 to 200 bytes")
	case t.Kind != Gate && t.Kind != Validator && t.Kind != Taximeter:
		return ErrInvalid.Explain("kind %q: want gate, validator or taximeter", t.Kind)
	case t.Mode != OnOff && t.Mode != Single:
		return ErrInvalid.Explain("mode %q: want on_off or single", t.Mode)
	}
	return nil
}

// A Flag is something wrong with a terminal, for people to look at.
type Flag string

// The flags.
const (
	SequenceConflict Flag = "sequence_conflict" // one number, two contents
	BatchGap         Flag = "batch_gap"         // a batch of its chain never came
	BatchFork        Flag = "batch_fork"        // two batches name one predecessor
	ClockWrong       Flag = "clock_wrong"
	BundleRollback   Flag = "bundle_rollback" // it went back to a bundle below one it had acknowledged
	BundleUnknown    Flag = "bundle_unknown"  // it names a bundle that was never published
)

// A Raised flag is a flag with its story.
type Raised struct {
	Terminal uint32
	Flag     Flag
	Since    time.Time
	LastSeen time.Time
	Times    int64
	Detail   string // the first case
	Cleared  time.Time
}

// A Vehicle of an operator.
type Vehicle struct {
	ID    string
	Kind  VehicleKind
	Plate string
}

// A VehicleKind is what a vehicle is.
type VehicleKind string

// The kinds of vehicles.
const (
	Train   VehicleKind = "train"
	Bus     VehicleKind = "bus"
	Minibus VehicleKind = "minibus"
	Taxi    VehicleKind = "taxi"
	Ferry   VehicleKind = "ferry"
)

// A PayeeKind is what a payee is to the operator.
type PayeeKind string

// The kinds of payees.
const (
	Operator PayeeKind = "operator"
	Owner    PayeeKind = "owner"
	Driver   PayeeKind = "driver"
)

// A Payee gets money.
type Payee struct {
	ID      string // in account names: lower-case letters, digits, - and _
	Kind    PayeeKind
	Name    string
	Account string // bank account as the payout file wants it
	BankID  string
	Default bool // gets what no assignment gives to another; one per tenant
}

var payeeForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func (p Payee) check() error {
	switch {
	case !payeeForm.MatchString(p.ID):
		return ErrInvalid.Explain("payee %q: want lower-case letters, digits, hyphens and underscores", p.ID)
	case p.Name == "":
		return ErrInvalid.Explain("payee %s has no name", p.ID)
	case p.Kind != Operator && p.Kind != Owner && p.Kind != Driver:
		return ErrInvalid.Explain("payee %s: kind %q: want operator, owner or driver", p.ID, p.Kind)
	}
	return nil
}

// A Subject is a vehicle or driver that payees are assigned to.
type Subject struct {
	Kind SubjectKind
	ID   string
}

// A SubjectKind tells vehicles from drivers.
type SubjectKind string

// The kinds of subjects.
const (
	OfVehicle SubjectKind = "vehicle"
	OfDriver  SubjectKind = "driver"
)

// An Assignment gives a subject's fares to a payee from an instant on, until
// the next assignment of that subject. No payee ends the one before: the
// default payee follows.
type Assignment struct {
	Subject Subject
	Payee   string
	From    time.Time
}

func (a Assignment) check() error {
	if a.Subject.Kind != OfVehicle && a.Subject.Kind != OfDriver || a.Subject.ID == "" || a.From.IsZero() {
		return ErrInvalid.Explain("an assignment names a vehicle or driver and its start")
	}
	return nil
}

// A Ride is what decides who is paid for it. Empty fields are not known.
type Ride struct {
	Vehicle string
	Driver  string
	At      time.Time
}

func terminalName(id uint32) string { return fmt.Sprintf("terminal:%d", id) }
