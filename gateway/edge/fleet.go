package edge

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cashlesscity/citygate/gateway/fleet"
)

// EnrolTerminal asks for a terminal key to be known.
type EnrolTerminal struct {
	ID        uint32 `json:"id" minimum:"1" doc:"terminal key id, unique inside the tenant"`
	Name      string `json:"name" minLength:"1" maxLength:"80"`
	PublicKey []byte `json:"public_key" doc:"Ed25519, 32 bytes, base64"`
	Kind      string `json:"kind" enum:"gate,validator,taximeter"`
	Stop      string `json:"stop,omitempty" maxLength:"80"`
	Route     string `json:"route,omitempty" maxLength:"80"`
	Vehicle   string `json:"vehicle,omitempty" maxLength:"80"`
}

// A Terminal is an enrolled terminal.
type Terminal struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Stop    string `json:"stop,omitempty"`
	Route   string `json:"route,omitempty"`
	Vehicle string `json:"vehicle,omitempty"`
	State   string `json:"state"`

	Profile *fleet.TerminalProfile `json:"profile,omitempty" doc:"what it does otherwise than the operator's policy says"`

	Flags []string `json:"flags,omitempty" doc:"what is wrong with it, such as clock_suspect"`

	ListAge *int64     `json:"list_age_s,omitempty" doc:"how old the oldest of its deny lists was when its taps of the last seven days used it; absent = no such tap came in"`
	Lists   []UsedList `json:"lists,omitempty" doc:"the deny lists those taps were decided by"`
}

// A UsedList is a deny list a terminal decided by.
type UsedList struct {
	Issuer   uint16    `json:"issuer"`
	List     uint16    `json:"list"`
	Seq      uint32    `json:"seq"`
	ProvenAt time.Time `json:"proven_at" doc:"when the list was last known to be the newest"`
	UsedAt   time.Time `json:"used_at" doc:"time of the last tap with it"`
	Age      int64     `json:"age_s" doc:"how old it was then"`
}

// A TerminalState says whether a terminal's batches are taken.
type TerminalState struct {
	State string `json:"state" enum:"active,suspended"`
}

// A Vehicle is a vehicle of an operator.
type Vehicle struct {
	ID    string `json:"id" minLength:"1" maxLength:"80" doc:"the operator's own number"`
	Kind  string `json:"kind" enum:"train,bus,minibus,taxi,ferry"`
	Plate string `json:"plate,omitempty" maxLength:"40"`
}

// A Payee is who is paid for rides. Of its bank account only the end is shown.
type Payee struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Account string `json:"account,omitempty" example:"…6789" doc:"the last four characters"`
	BankID  string `json:"bank_id,omitempty"`
	Default bool   `json:"default,omitempty" doc:"gets what no assignment gives to another"`
}

// PutPayee adds a payee, or gives it another name or account.
type PutPayee struct {
	ID      string `json:"id" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9_-]*$"`
	Kind    string `json:"kind" enum:"operator,owner,driver" doc:"never changes"`
	Name    string `json:"name" minLength:"1" maxLength:"140"`
	Account string `json:"account,omitempty" maxLength:"64"`
	BankID  string `json:"bank_id,omitempty" maxLength:"64"`
	Default bool   `json:"default,omitempty" doc:"one of a tenant; never changes"`
}

// An Assignment says who is paid for a vehicle or a driver from an instant on.
type Assignment struct {
	Kind    string    `json:"kind" enum:"vehicle,driver"`
	Subject string    `json:"subject" minLength:"1" maxLength:"80" doc:"number of the vehicle or driver"`
	Payee   string    `json:"payee,omitempty" maxLength:"63" doc:"absent = the default payee"`
	From    time.Time `json:"from"`
}

// A RideQuery names a ride whose payee is asked for.
type RideQuery struct {
	Vehicle string    `query:"vehicle"`
	Driver  string    `query:"driver"`
	At      time.Time `query:"at" required:"true" doc:"when it was, RFC 3339"`
}

// Named is a list in a tenant whose rows have names, page by page.
type Named = Paged

// done is the answer of a change that has nothing to tell.
type done = body[struct{}]

// PayeeOfRide is who is paid for a ride.
type PayeeOfRide struct {
	Payee string `json:"payee"`
}

func (e *Edge) fleetRoutes() {
	e.terminalRoutes()
	e.pairingRoutes()
	register(e, get("list-vehicles", "/v1/tenants/{tenant}/vehicles", "Vehicles by their numbers", "fleet"),
		func(ctx context.Context, _ Caller, r *Named) (*body[list[Vehicle]], error) {
			return inPages(ctx, r.Paging, func(v Vehicle) string { return v.ID })(e.Vehicles(ctx, r.id(), r.After, r.more()))
		})
	register(e, post("put-vehicles", "/v1/tenants/{tenant}/vehicles", "Add vehicles, or give them another kind and plate", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Vehicles []Vehicle `json:"vehicles" minItems:"1" maxItems:"2000"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.PutVehicles(ctx, who.Subject, r.id(), r.Body.Vehicles))
		})
	register(e, get("list-payees", "/v1/tenants/{tenant}/payees", "Who is paid for rides", "fleet"),
		func(ctx context.Context, _ Caller, r *Named) (*body[list[Payee]], error) {
			return inPages(ctx, r.Paging, func(p Payee) string { return p.ID })(e.Payees(ctx, r.id(), r.After, r.more()))
		})
	register(e, post("put-payees", "/v1/tenants/{tenant}/payees", "Add payees, or give them another name and account", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Payees []PutPayee `json:"payees" minItems:"1" maxItems:"500"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.PutPayees(ctx, who.Subject, r.id(), r.Body.Payees))
		})
	register(e, post("assign", "/v1/tenants/{tenant}/assignments", "Say who is paid for vehicles and drivers from when on", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body struct {
				Assignments []Assignment `json:"assignments" minItems:"1" maxItems:"2000"`
			}
		}) (*done, error) {
			return respond(struct{}{}, e.Assign(ctx, who.Subject, r.id(), r.Body.Assignments))
		})
	register(e, get("get-payee-of-ride", "/v1/tenants/{tenant}/payee-of-ride", "Who is paid for a ride", "fleet"),
		func(ctx context.Context, _ Caller, r *struct {
			InTenant
			RideQuery
		}) (*body[PayeeOfRide], error) {
			payee, err := e.PayeeOf(ctx, r.id(), r.RideQuery)
			return respond(PayeeOfRide{payee}, err)
		})
}

func (e *Edge) terminalRoutes() {
	register(e, get("list-terminals", "/v1/tenants/{tenant}/terminals", "Terminals and what is wrong with them", "fleet"),
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[Terminal]], error) {
			after, err := r.number()
			if err != nil || after > math.MaxUint32 {
				return nil, errCursor
			}
			return inPages(ctx, r.Paging, func(t Terminal) string { return strconv.FormatUint(uint64(t.ID), 10) })(e.Terminals(ctx, r.id(), uint32(after), r.more()))
		})
	register(e, post("enrol-terminal", "/v1/tenants/{tenant}/terminals", "Enrol a terminal's key", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Body EnrolTerminal
		}) (*body[Terminal], error) {
			return respond(e.Enrol(ctx, who.Subject, r.id(), r.Body))
		})
	put := huma.Operation{
		OperationID: "set-terminal-state", Method: "PUT", Path: "/v1/tenants/{tenant}/terminals/{terminal}/state",
		Summary: "Suspend a terminal, or take it back: batches of a suspended one are refused", Tags: []string{"fleet"},
	}
	register(e, put, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Terminal uint32 `path:"terminal"`
		Body     TerminalState
	}) (*done, error) {
		return respond(struct{}{}, e.SetTerminal(ctx, who.Subject, r.id(), r.Terminal, r.Body.State))
	})
	profile := huma.Operation{
		OperationID: "set-terminal-profile", Method: "PUT", Path: "/v1/tenants/{tenant}/terminals/{terminal}/profile",
		Summary: "Have one terminal do otherwise than the operator's policy says, from its next bundle on; an empty profile takes it back", Tags: []string{"fleet"},
	}
	register(e, profile, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Terminal uint32 `path:"terminal"`
		Body     fleet.TerminalProfile
	}) (*done, error) {
		return respond(struct{}{}, e.SetProfile(ctx, who.Subject, r.id(), r.Terminal, r.Body))
	})
	register(e, post("clear-terminal-flag", "/v1/tenants/{tenant}/terminals/{terminal}/flags/{flag}/clear", "Say that somebody looked at a flag and it is settled", "fleet"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Terminal uint32 `path:"terminal"`
			Flag     string `path:"flag" enum:"sequence_conflict,batch_gap,batch_fork,clock_wrong"`
		}) (*done, error) {
			return respond(struct{}{}, e.ClearFlag(ctx, who.Subject, r.id(), r.Terminal, r.Flag))
		})
}
