package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/goccy/go-yaml"
)

// Form is the version of the file's form.
const Form = 1

// A City is a whole file.
type City struct {
	Citygate int      `json:"citygate"` // [Form]
	Tenants  []Tenant `json:"tenants"`  // an authority before the operators it owns

	lines lines
}

// A Tenant is one tenant with everything that onboarding sets.
type Tenant struct {
	ID       int64             `json:"id"`
	Slug     string            `json:"slug"`
	Name     string            `json:"name"`
	Kind     string            `json:"kind"`
	Parent   string            `json:"parent,omitempty"` // slug of the authority that owns it
	Serves   []string          `json:"serves,omitempty"` // slugs of other authorities it serves
	Mode     string            `json:"mode"`
	State    string            `json:"state,omitempty"` // absent = active
	Issuer   uint16            `json:"issuer,omitempty"`
	CapUnit  int64             `json:"cap_unit,omitempty"`
	Currency citygate.Currency `json:"currency"`
	TimeZone string            `json:"time_zone"`
	Cut      string            `json:"cut,omitempty"` // local time at which a business date begins; absent = 00:00

	Keys        []Key        `json:"keys,omitempty"`
	Contracts   []Contract   `json:"contracts,omitempty"`
	Payees      []Payee      `json:"payees,omitempty"`
	Stops       []Stop       `json:"stops,omitempty"`
	Vehicles    []Vehicle    `json:"vehicles,omitempty"`
	Assignments []Assignment `json:"assignments,omitempty"`
	Terminals   []Terminal   `json:"terminals,omitempty"`
	Settlement  []Terms      `json:"settlement,omitempty"`
	Tariffs     []Tariff     `json:"tariffs,omitempty"`
	Acceptance  Raw          `json:"acceptance,omitempty"` // policies/accept.Rules without version and tenant

	Calendars []Calendar `json:"calendars,omitempty"` // versions 2 and later of the settlement calendar
	Retention *Retention `json:"retention,omitempty"` // absent = as it is
	Quota     *Quota     `json:"quota,omitempty"`     // absent = as it is

	Products     []Version `json:"products,omitempty"`      // catalogues of what is sold and given
	JourneyRules []Version `json:"journey_rules,omitempty"` // how taps become journeys
	RiskTerms    []Version `json:"risk_terms,omitempty"`    // about money that does not come

	Roaming []Roaming `json:"roaming,omitempty"` // the tenant's word to terms with tenants of other trees

	CodeSchemes []CodeScheme `json:"code_schemes,omitempty"` // of others, that the tenant answers for
	Issuance    Raw          `json:"issuance,omitempty"`     // the issuance policy, without version

	SignIn    []SignIn   `json:"sign_in,omitempty"`   // where the tenant's people sign in
	Roles     []Role     `json:"roles,omitempty"`     // of its own making
	Members   []Member   `json:"members,omitempty"`   // its people
	Approvals *Approvals `json:"approvals,omitempty"` // absent = as it is
	RuleSet   *RuleSet   `json:"rule_set,omitempty"`  // the rules it publishes, in the place of acceptance
}

// A Key is a key the tenant must have, by purpose. It is made by the gateway;
// rotations are not the file's business.
type Key struct {
	Purpose   string `json:"purpose"`
	Algorithm string `json:"algorithm,omitempty"` // ed25519, ecdsa-p256, rsa-2048; absent = ed25519
}

// A Contract is an agreement with a payment provider.
type Contract struct {
	Name    string            `json:"name"`
	Adapter string            `json:"adapter"`
	FeePPM  int64             `json:"fee_ppm"`
	Config  Raw               `json:"config,omitempty"`
	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// A Secret says where a value comes from: exactly one of its fields is set.
type Secret struct {
	Env   string `json:"env,omitempty"`   // name of an environment variable
	File  string `json:"file,omitempty"`  // relative to the manifest
	Stdin bool   `json:"stdin,omitempty"` // the whole of standard input, without a final line break
	Kept  bool   `json:"kept,omitempty"`  // what the gateway has already

	// Digest stands for the value while two manifests are compared: whoever
	// resolves it fills it in. It is never written.
	Digest string `json:"-"`
}

// A Payee gets money.
type Payee struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Account string `json:"account,omitempty"`
	BankID  string `json:"bank_id,omitempty"`
	Default bool   `json:"default,omitempty"`
}

// A Stop is a stop or station.
type Stop struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Area string `json:"area,omitempty"`
}

// A Vehicle is a vehicle.
type Vehicle struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Plate string `json:"plate,omitempty"`
}

// An Assignment says who is paid for a vehicle or a driver from when on.
type Assignment struct {
	Vehicle string    `json:"vehicle,omitempty"`
	Driver  string    `json:"driver,omitempty"`
	Payee   string    `json:"payee,omitempty"` // absent = the default payee
	From    time.Time `json:"from"`
}

// A Terminal is a terminal's public key and where the device stands or rides.
type Terminal struct {
	ID        uint32   `json:"id"`
	Name      string   `json:"name"`
	PublicKey string   `json:"public_key"` // Ed25519, base64
	Kind      string   `json:"kind"`
	Stop      string   `json:"stop,omitempty"`
	Route     string   `json:"route,omitempty"`
	Vehicle   string   `json:"vehicle,omitempty"`
	State     string   `json:"state,omitempty"`   // active or suspended; absent = active
	Profile   *Profile `json:"profile,omitempty"` // absent = as it is
}

// Terms are one version of when settlement windows close and are paid, in
// minutes after the end of their business date. The first of the list is
// version 1.
type Terms struct {
	From              string `json:"from"` // business date
	CloseAfterMinutes int    `json:"close_after_minutes"`
	PayAfterMinutes   int    `json:"pay_after_minutes"`
}

// A Calendar is a later version of the tenant's settlement calendar. The first of
// the list is version 2: version 1 is the tenant's time_zone and cut.
type Calendar struct {
	From     string   `json:"from"` // business date
	TimeZone string   `json:"time_zone"`
	Cut      string   `json:"cut,omitempty"`       // absent = 00:00
	RestDays []string `json:"rest_days,omitempty"` // sunday to saturday: nothing is paid out, and to tariffs it is weekend
	Holidays []string `json:"holidays,omitempty"`  // dates on which nothing is paid out, and which are holidays to tariffs
	Workdays []string `json:"workdays,omitempty"`  // dates that are worked although their weekday rests
}

// Retention is how long taps and rider detail are kept.
type Retention struct {
	KeepDays  int  `json:"keep_days"`
	Automatic bool `json:"automatic,omitempty"` // erased by a running gateway, else by command only
}

// A Quota is what the tenant may ask of one process.
type Quota struct {
	Taps   *Rate `json:"taps,omitempty"`
	Reads  *Rate `json:"reads,omitempty"`
	Writes *Rate `json:"writes,omitempty"`
}

// A Rate is so much a second, and up to burst at once after a rest.
type Rate struct {
	PerSecond int `json:"per_second,omitempty"`
	Burst     int `json:"burst,omitempty"`
}

// A Tariff is one version of the tenant's prices and from when on they hold.
// Tariff is its JSON form, or File names a file that holds it; with Feed, the folder or
// zip file of the feed that it is made of.
type Tariff struct {
	From   time.Time `json:"from"`
	File   string    `json:"file,omitempty"` // relative to the manifest
	Tariff Raw       `json:"tariff,omitempty"`
	Feed   *Feed     `json:"feed,omitempty"`
	// WithdrawLater withdraws the versions that have not begun and would begin then or
	// later. Take them out of the file.
	WithdrawLater bool `json:"withdraw_later,omitempty"`
}

// Raw is a part whose form another package knows, as JSON.
type Raw json.RawMessage

// MarshalJSON gives the JSON itself.
func (r Raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps the JSON.
func (r *Raw) UnmarshalJSON(raw []byte) error {
	*r = append(Raw(nil), raw...)
	return nil
}

// UnmarshalYAML reads any YAML as JSON.
func (r *Raw) UnmarshalYAML(raw []byte) error {
	var v any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return err
	}
	j, err := json.Marshal(v)
	*r = j
	return err
}

// MarshalYAML writes JSON on one line: it is YAML too.
func (r Raw) MarshalYAML() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// compact gives raw without spaces and with its object keys in order.
func compact(raw []byte) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// Record gives the tenant as the directory keeps it, but for its parent.
func (t Tenant) Record() (tenants.Tenant, error) {
	r := tenants.Tenant{
		ID: citygate.TenantID(t.ID), Slug: t.Slug, Name: t.Name, Kind: tenants.Kind(t.Kind), Mode: tenants.Mode(t.Mode),
		Issuer: citygate.Issuer(t.Issuer), Currency: t.Currency, TimeZone: t.TimeZone, CalendarVersion: 1, CapUnit: t.CapUnit, State: tenants.State(t.State),
	}
	if t.State == "" {
		r.State = tenants.Active
	}
	if t.Cut != "" {
		cut, err := time.Parse("15:04", t.Cut)
		if err != nil {
			return r, tenants.ErrInvalid.Explain("cut %q: want a time of day such as 04:00", t.Cut)
		}
		r.CutMinutes = cut.Hour()*60 + cut.Minute()
	}
	return r, r.Check()
}

// Rules gives the acceptance rules as a version of the tenant's, or nil where
// the file says none.
func (t Tenant) Rules(version uint64) (*accept.Rules, error) {
	if len(t.Acceptance) == 0 {
		return nil, nil
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(t.Acceptance, &body); err != nil {
		return nil, accept.ErrRules.Explain("want fields and their values")
	}
	for _, field := range []string{"version", "tenant"} {
		if _, said := body[field]; said {
			return nil, accept.ErrRules.Explain("%s: the gateway counts versions by itself and knows the tenant", field)
		}
	}
	r := &accept.Rules{}
	d := json.NewDecoder(bytes.NewReader(t.Acceptance))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, accept.ErrRules.Explain("%v", err)
	}
	r.Version, r.Tenant = version, citygate.TenantID(t.ID)
	return r, r.Check()
}

// AcceptanceOf gives rules as the file says them.
func AcceptanceOf(rules *accept.Rules) (Raw, error) {
	raw, err := rules.Encode()
	if err != nil {
		return nil, err
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, err
	}
	delete(body, "version")
	delete(body, "tenant")
	return json.Marshal(body)
}

// Compiled gives the prices of a version, ready for use.
func (t Tariff) Compiled() (*fare.Tariff, error) {
	if len(t.Tariff) == 0 {
		return nil, fare.ErrTariff.Explain("there are no prices: give tariff or file")
	}
	return fare.ParseTariff(t.Tariff)
}

// CutText writes minutes after midnight as the file does.
func CutText(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }
