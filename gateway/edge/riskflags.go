package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// A RiskFlag names taps of one credential that cannot be one person's.
type RiskFlag struct {
	ID        string     `json:"id" example:"flg_0195e2…"`
	Kind      string     `json:"kind" enum:"clone,impossible_travel,velocity" doc:"clone: two devices show one credential; impossible_travel: nobody is so fast; velocity: more taps in a short time than one person makes"`
	Taps      []string   `json:"taps" doc:"that it was found by"`
	At        time.Time  `json:"at" doc:"event time of the last of them"`
	FoundAt   time.Time  `json:"found_at"`
	State     string     `json:"state" enum:"open,acknowledged,closed"`
	Blocks    bool       `json:"blocks,omitempty" doc:"the credential is denied because of it, by the tenant's risk terms, until it is closed"`
	Reason    string     `json:"reason,omitempty" doc:"of the last change"`
	ChangedBy string     `json:"changed_by,omitempty"`
	ChangedAt *time.Time `json:"changed_at,omitempty"`
}

// A RiskFlagFilter selects flags; a zero field selects all.
type RiskFlagFilter struct {
	Kind, State string
	Tap         citygate.TapID
}

// A FlagChange says what somebody does about a flag, and why.
type FlagChange struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

func (e *Edge) riskFlagRoutes() {
	register(e, get("list-risk-flags", "/v1/tenants/{tenant}/risk-flags", "Taps that cannot be one person's: copied, relayed and passed-on codes", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Kind  string `query:"kind" enum:"clone,impossible_travel,velocity" doc:"absent: any"`
			State string `query:"state" enum:"open,acknowledged,closed" doc:"absent: any"`
			Tap   string `query:"tap" doc:"that the flag names" example:"tap_7_12"`
		}) (*body[list[RiskFlag]], error) {
			page, err := r.page("flg_")
			if err != nil {
				return nil, err
			}
			f := RiskFlagFilter{Kind: r.Kind, State: r.State}
			if r.Tap != "" {
				if f.Tap, err = citygate.ParseTapID(r.Tap); err != nil {
					return nil, errBody.Explain("tap: want the id of a tap, such as tap_7_12")
				}
			}
			return inPages(ctx, r.Paging, func(f RiskFlag) string { return f.ID })(e.Risk.Flags(ctx, r.id(), f, page))
		})
	for _, c := range []struct{ id, path, state, summary string }{
		{"acknowledge-risk-flag", "acknowledge", "acknowledged", "Say that somebody looks into a flag"},
		{"close-risk-flag", "close", "closed", "Close a flag, which lifts the denial that followed from it"},
	} {
		register(e, post(c.id, "/v1/tenants/{tenant}/risk-flags/{flag}/"+c.path, c.summary, "money"),
			func(ctx context.Context, who Caller, r *struct {
				InTenant
				Flag string `path:"flag" example:"flg_0195e2…"`
				Body FlagChange
			}) (*body[RiskFlag], error) {
				id, err := citygate.ParseUUID("flg_", r.Flag)
				if err != nil {
					return nil, errNotFound.Because(err, "flag")
				}
				return respond(e.Risk.ChangeFlag(ctx, who.Subject, r.id(), id, c.state, r.Body.Reason))
			})
	}
}
