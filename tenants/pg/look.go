package pg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// A Look asks whether work of one kind may be due in a tenant, without doing any
// of it. It may say yes where there turns out to be nothing to do; where it says
// no there must be nothing.
type Look struct {
	Kind string // such as "charge.send"
	// When is a condition of the tenant ($1), the time on its clock ($2), its
	// business date at that time ($3) and when all work was last asked for ($4). It
	// reads few rows in a tenant that is idle and in one with years of history.
	When string
	// Then, if set, decides where When holds.
	Then func(context.Context, *Tx) (bool, error)
}

// Looks are taken together, in one statement.
type Looks struct {
	list []Look
	sql  string
}

// NewLooks puts looks together. Their kinds are different.
func NewLooks(lists ...[]Look) *Looks {
	l := &Looks{}
	var parts []string
	for _, list := range lists {
		for _, look := range list {
			parts = append(parts, fmt.Sprintf("CASE WHEN %s THEN %d END", look.When, len(l.list)))
			l.list = append(l.list, look)
		}
	}
	l.sql = "SELECT array_remove(ARRAY[" + strings.Join(parts, ",\n\t\t") + "], NULL)\n\t" +
		"FROM (SELECT $1::bigint, $2::timestamptz, $3::date, $4::timestamptz) AS given" // which types them all
	return l
}

// Kinds gives the kinds there are.
func (l *Looks) Kinds() []string {
	kinds := make([]string, len(l.list))
	for i := range l.list {
		kinds[i] = l.list[i].Kind
	}
	return kinds
}

// Due gives the kinds of work that may be due in the transaction's tenant, where
// all of it was last asked for at since.
func (l *Looks) Due(ctx context.Context, tx *Tx, today citygate.Date, since time.Time) ([]string, error) {
	var found []int32
	if err := tx.QueryRow(ctx, l.sql, tx.Tenant, tx.Now, today, since).Scan(&found); err != nil {
		return nil, fmt.Errorf("looking at what is due: %w", err)
	}
	var kinds []string
	for _, i := range found {
		look := l.list[i]
		due := true
		if look.Then != nil {
			var err error
			if due, err = look.Then(ctx, tx); err != nil {
				return nil, fmt.Errorf("looking at what is due, %s: %w", look.Kind, err)
			}
		}
		if due {
			kinds = append(kinds, look.Kind)
		}
	}
	return kinds, nil
}

// Seconds writes a duration as SQL, to the microsecond.
func Seconds(d time.Duration) string {
	return fmt.Sprintf("interval '%d microseconds'", d.Microseconds())
}
