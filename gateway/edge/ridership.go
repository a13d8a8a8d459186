package edge

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/danielgtaylor/huma/v2"
)

// Ridership is what the edge calls for how many people ride.
type Ridership struct {
	List    func(ctx context.Context, tenant citygate.TenantID, page Page) ([]RidershipReport, error)
	Get     func(ctx context.Context, tenant citygate.TenantID, report citygate.UUID) (RidershipReport, error)
	Publish func(ctx context.Context, actor string, tenant citygate.TenantID, first, last citygate.Date) (RidershipReport, error)
	Table   func(ctx context.Context, tenant citygate.TenantID, report citygate.UUID, name string) ([]byte, error)
	// Transactions gives what writes one row per tap.
	Transactions func(ctx context.Context, actor string, tenant citygate.TenantID, first, last citygate.Date) (write func(context.Context, io.Writer) error, err error)
}

// A RidershipReport is how many people rode in a period, as it was published.
type RidershipReport struct {
	ID     string           `json:"id" example:"rid_0195e2…"`
	From   string           `json:"from" format:"date"`
	To     string           `json:"to" format:"date"`
	MadeAt time.Time        `json:"made_at"`
	MadeBy string           `json:"made_by"`
	Tables []RidershipTable `json:"tables"`
}

// A RidershipTable is a table of a report.
type RidershipTable struct {
	Name       string `json:"name" enum:"station_activities,boardings,od,transfers"`
	Rows       int    `json:"rows"`
	Suppressed int    `json:"suppressed" doc:"rows with a count that is withheld: fewer than 10 riders are behind it, or such a count would follow from it"`
	SHA256     string `json:"sha256" doc:"of the table's CSV, hexadecimal"`
}

// RidershipPeriod says of which business dates.
type RidershipPeriod struct {
	From string `json:"from" format:"date" doc:"first business date"`
	To   string `json:"to,omitempty" format:"date" doc:"last business date, over; absent: the first. At most 31 days"`
}

func (p RidershipPeriod) dates() (first, last citygate.Date, err error) {
	if first, err = citygate.ParseDate(p.From); err != nil {
		return first, last, errBody.Explain("from: want YYYY-MM-DD")
	}
	if last = first; p.To != "" {
		if last, err = citygate.ParseDate(p.To); err != nil {
			return first, last, errBody.Explain("to: want YYYY-MM-DD")
		}
	}
	return first, last, nil
}

// InReport is a report in a path.
type InReport struct {
	InTenant
	Report string `path:"report" example:"rid_0195e2…"`
}

func (r InReport) report() (citygate.UUID, error) {
	id, err := citygate.ParseUUID("rid_", r.Report)
	if err != nil {
		return id, errNotFound.Because(err, "report")
	}
	return id, nil
}

func csvFile() map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: "a header, and the rows", Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}}}
}

func (e *Edge) ridershipRoutes() {
	register(e, get("list-ridership-reports", "/v1/tenants/{tenant}/ridership-reports", "Published reports of how many people ride, the latest made first", "ridership"),
		func(ctx context.Context, _ Caller, r *Paged) (*body[list[RidershipReport]], error) {
			page, err := r.page("rid_")
			if err != nil {
				return nil, err
			}
			return inPages(ctx, r.Paging, func(r RidershipReport) string { return r.ID })(e.Ridership.List(ctx, r.id(), page))
		})
	publish := post("publish-ridership-report", "/v1/tenants/{tenant}/ridership-reports", "Publish how many people rode on dates that are over: once and for ever, for reports that overlap or change could be subtracted", "ridership")
	publish.Description = "Counts of fewer than 10 riders are withheld, and others from which they would follow. The same period again gives the same report; a period that overlaps a published one is refused. Wait until late uploads are in, and choose days, weeks or months by the traffic."
	register(e, publish, func(ctx context.Context, who Caller, r *struct {
		InTenant
		Body RidershipPeriod
	}) (*body[RidershipReport], error) {
		first, last, err := r.Body.dates()
		if err != nil {
			return nil, err
		}
		return respond(e.Ridership.Publish(ctx, who.Subject, r.id(), first, last))
	})
	register(e, get("get-ridership-report", "/v1/tenants/{tenant}/ridership-reports/{report}", "A report and its tables", "ridership"),
		func(ctx context.Context, _ Caller, r *InReport) (*body[RidershipReport], error) {
			id, err := r.report()
			if err != nil {
				return nil, err
			}
			return respond(e.Ridership.Get(ctx, r.id(), id))
		})
	table := get("get-ridership-table", "/v1/tenants/{tenant}/ridership-reports/{report}/tables/{table}", "A table of a report as CSV: an empty count is withheld, an empty name a total", "ridership")
	table.Responses = csvFile()
	register(e, table, func(ctx context.Context, _ Caller, r *struct {
		InReport
		Table string `path:"table" enum:"station_activities,boardings,od,transfers" doc:"station_activities is in the form of TIDES"`
	}) (*huma.StreamResponse, error) {
		id, err := r.report()
		if err != nil {
			return nil, err
		}
		raw, err := e.Ridership.Table(ctx, r.id(), id, r.Table)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("Content-Type", "text/csv")
			_, _ = c.BodyWriter().Write(raw)
		}}, nil
	})
	rows := get("export-fare-transactions", "/v1/tenants/{tenant}/fare-transactions", "The taps of dates that are over as TIDES fare_transactions, riders under pseudonyms of this export and the week: for the tenant's own analysts, not for publication", "ridership")
	rows.Description = "The rows are streamed: a connection that is cut before the end of the body gave no whole file. Every request draws its own pseudonyms."
	rows.Responses = csvFile()
	register(e, rows, func(ctx context.Context, who Caller, r *struct {
		InTenant
		From string `query:"from" required:"true" format:"date" doc:"first business date"`
		To   string `query:"to" format:"date" doc:"last business date, over; absent: the first. At most 31 days"`
	}) (*huma.StreamResponse, error) {
		first, last, err := RidershipPeriod{r.From, r.To}.dates()
		if err != nil {
			return nil, err
		}
		write, err := e.Ridership.Transactions(ctx, who.Subject, r.id(), first, last)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			c.SetHeader("Content-Type", "text/csv")
			c.SetHeader("Cache-Control", "no-store")
			stream(ctx, c.BodyWriter(), write)
		}}, nil
	})
}

// streamWithin is how long a streamed answer may take.
const streamWithin = 30 * time.Minute

// stream writes an answer that may take longer than others. One that cannot be
// finished is cut off, so that nobody takes it for whole.
func stream(ctx context.Context, to io.Writer, write func(context.Context, io.Writer) error) {
	ctx, cancel := context.WithTimeout(ctx, streamWithin)
	defer cancel()
	if w, ok := to.(http.ResponseWriter); ok {
		conn := http.NewResponseController(w)
		_ = conn.SetWriteDeadline(time.Time{}) // the server's is too soon; a recorder of tests has none
		defer context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })()
	}
	if err := write(ctx, to); err != nil {
		panic(http.ErrAbortHandler)
	}
}
