package edge

import (
	"context"
	"time"

	"github.com/cashlesscity/citygate"
)

// A ReconItem is one exception of a reconciliation.
type ReconItem struct {
	ID         string            `json:"id" doc:"for the next page"`
	Item       string            `json:"item" doc:"its name in the contract, such as charge/… or row/…"`
	Kind       string            `json:"kind"`
	State      string            `json:"state"`
	Owner      string            `json:"owner,omitempty"`
	Contract   string            `json:"contract"`
	Day        string            `json:"day" format:"date"`
	OurID      string            `json:"our_id,omitempty"`
	Currency   citygate.Currency `json:"currency"`
	Expected   int64             `json:"expected"`
	Actual     int64             `json:"actual"`
	Diff       int64             `json:"diff"`
	OpenedAt   time.Time         `json:"opened_at"`
	AgeDays    int               `json:"age_days"`
	Resolution string            `json:"resolution,omitempty"`
	Reason     string            `json:"reason,omitempty" doc:"why it was resolved so"`
}

// ResolveRecon is a person's decision about an exception.
type ResolveRecon struct {
	Contract   string `json:"contract" minLength:"1"`
	Resolution string `json:"resolution" enum:"accept_provider,accept_ours,write_off" doc:"whose figure holds; write_off: neither is pursued"`
	Reason     string `json:"reason" minLength:"1" maxLength:"500"`
}

// A Bill is one issue of a provider's file about one of its days.
type Bill struct {
	ID         string     `json:"id" doc:"for the next page"`
	Contract   string     `json:"contract"`
	Day        string     `json:"day" format:"date" doc:"of the provider, which cuts days as it likes"`
	Issue      int        `json:"issue" minimum:"1" doc:"in the order in which they came: 1 is the first, each more corrects the one before"`
	File       string     `json:"file" doc:"the name under which it is kept as it came"`
	SHA256     string     `json:"sha256" doc:"of its bytes, in hexadecimal"`
	Rows       int        `json:"rows"`
	State      string     `json:"state" enum:"stored,processed" doc:"stored: not every row has its outcome yet"`
	Holds      bool       `json:"holds" doc:"it is the latest of its day"`
	Corrected  int        `json:"corrected" doc:"items that it ended, because it says something else than the bills before: list-reconciliation-history has them"`
	IssuedAt   *time.Time `json:"issued_at,omitempty" doc:"when the provider made it; absent: it does not say"`
	ImportedAt time.Time  `json:"imported_at"`
	CheckedAt  *time.Time `json:"checked_at,omitempty" doc:"when the provider was last asked whether there is another issue"`
}

// A ReconHistoryQuery says which history is wanted; zero fields mean any.
type ReconHistoryQuery struct {
	Contract string
	Day      citygate.Date // of the bill that had something else to say
	Issue    int           // of that bill
}

// A ReconPast is what an item was until a bill had something else to say, what that
// did to the books, and what stands in its place.
type ReconPast struct {
	ID          string            `json:"id" doc:"for the next page"`
	Item        string            `json:"item" doc:"its name in the contract, such as charge/… or row/…"`
	N           int               `json:"n" doc:"counts what the item was, from 1"`
	Kind        string            `json:"kind" doc:"matched, or what kind of exception it was"`
	State       string            `json:"state" enum:"open,matched,resolved"`
	Contract    string            `json:"contract"`
	Day         string            `json:"day" format:"date" doc:"of the bill that said so"`
	Issue       int               `json:"issue" doc:"of that bill"`
	Line        int               `json:"line,omitempty" doc:"the row in it; absent: it had none"`
	OurID       string            `json:"our_id,omitempty"`
	Currency    citygate.Currency `json:"currency"`
	Expected    int64             `json:"expected" doc:"minor units"`
	ExpectedFee int64             `json:"expected_fee"`
	Actual      int64             `json:"actual"`
	ActualFee   int64             `json:"actual_fee"`
	OpenedAt    time.Time         `json:"opened_at"`
	Resolution  string            `json:"resolution,omitempty"`
	Reason      string            `json:"reason,omitempty" doc:"why it was resolved so"`
	EndedAt     time.Time         `json:"ended_at"`
	EndedDay    string            `json:"ended_day" format:"date" doc:"of the bill that had something else to say"`
	EndedIssue  int               `json:"ended_issue" doc:"of that bill"`
	Corrections []ReconCorrection `json:"corrections" doc:"each transfer that it had made, with the one that took it back; none: it had moved nothing"`
	Now         *ReconNow         `json:"now,omitempty" doc:"what the item is by now; absent: it is no more"`
}

// A ReconCorrection is a transfer and the one that took it back: debit and credit are
// of the first, and the other way round in the second.
type ReconCorrection struct {
	Transfer string         `json:"transfer" doc:"id in the books"`
	Reversal string         `json:"reversal" doc:"id in the books"`
	Code     string         `json:"code" doc:"of the first; the second has _reversed behind it"`
	Debit    string         `json:"debit"`
	Credit   string         `json:"credit"`
	Amount   citygate.Money `json:"amount"`
}

// ReconNow is what an item is by now.
type ReconNow struct {
	N         int    `json:"n"`
	Kind      string `json:"kind"`
	State     string `json:"state" enum:"open,matched,resolved"`
	Day       string `json:"day" format:"date"`
	Issue     int    `json:"issue"`
	Actual    int64  `json:"actual"`
	ActualFee int64  `json:"actual_fee"`
}

func (e *Edge) reconRoutes() {
	register(e, get("list-reconciliation", "/v1/tenants/{tenant}/reconciliation", "Reconciliation exceptions, each with an owner", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			State string `query:"state" enum:"open,resolved" default:"open"`
		}) (*body[list[ReconItem]], error) {
			return inPages(ctx, r.Paging, func(i ReconItem) string { return i.ID })(e.ReconItems(ctx, r.id(), r.State, r.After, r.more()))
		})
	register(e, post("resolve-reconciliation", "/v1/tenants/{tenant}/reconciliation/{item}/resolve", "End an exception by a decision: books it and lets the charge's money go on", "money"),
		func(ctx context.Context, who Caller, r *struct {
			InTenant
			Item string `path:"item" doc:"the item's name, percent-encoded: it has slashes"`
			Body ResolveRecon
		}) (*body[struct{}], error) {
			return respond(struct{}{}, e.ResolveRecon(ctx, who.Subject, r.id(), r.Item, r.Body))
		})
	register(e, get("list-bills", "/v1/tenants/{tenant}/bills", "Providers' bills that were imported, every issue of a day's", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" doc:"of one contract"`
		}) (*body[list[Bill]], error) {
			return inPages(ctx, r.Paging, func(b Bill) string { return b.ID })(e.Bills(ctx, r.id(), r.Contract, r.After, r.more()))
		})
	register(e, get("list-reconciliation-history", "/v1/tenants/{tenant}/reconciliation-history",
		"What items were before a bill had something else to say: one that was issued again, or a later day's", "money"),
		func(ctx context.Context, _ Caller, r *struct {
			Paged
			Contract string `query:"contract" doc:"of one contract"`
			Day      string `query:"day" format:"date" doc:"ended by a bill of that day"`
			Issue    int    `query:"issue" minimum:"1" doc:"ended by that issue of a bill"`
		}) (*body[list[ReconPast]], error) {
			q := ReconHistoryQuery{Contract: r.Contract, Issue: r.Issue}
			if r.Day != "" {
				var err error
				if q.Day, err = citygate.ParseDate(r.Day); err != nil {
					return nil, errBody.Explain("day: want a date, such as 2026-11-23")
				}
			}
			return inPages(ctx, r.Paging, func(p ReconPast) string { return p.ID })(e.ReconHistory(ctx, r.id(), q, r.After, r.more()))
		})
}
