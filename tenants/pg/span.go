package pg

import (
	"time"

	"github.com/cashlesscity/citygate"
)

// A Span is a page of versions that begin to hold in a time. The zero value is all
// of them.
type Span struct {
	After time.Time // begins behind this one: the last of the page before
	From  time.Time // begins then or later
	Until time.Time // begins before
	Limit int       // rows of the page
}

// InSpan ends a statement about a table whose versions hold from their valid_from,
// whose arguments are those of [Of].
const InSpan = ` AND ($2::timestamptz IS NULL OR valid_from > $2) AND ($3::timestamptz IS NULL OR valid_from >= $3)
	AND ($4::timestamptz IS NULL OR valid_from < $4) ORDER BY valid_from LIMIT $5::bigint`

// Of gives the arguments of a statement that ends in [InSpan], the tenant first. Of
// several spans the first counts; none is the zero value.
func Of(tenant citygate.TenantID, spans ...Span) []any {
	var s Span
	if len(spans) > 0 {
		s = spans[0]
	}
	args := []any{int64(tenant), unlessZero(s.After), unlessZero(s.From), unlessZero(s.Until), nil}
	if s.Limit > 0 {
		args[4] = int64(s.Limit)
	}
	return args
}

func unlessZero(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
