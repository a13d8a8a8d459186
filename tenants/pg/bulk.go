package pg

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5/pgtype"
)

// A bulk insert takes an array for each column, and the server pays for every
// column of every row that unnest gives. In most batches most columns have one
// value for all rows: the currency, the operator, the date. Such a column is sent
// once, as itself: INSERT ... FROM unnest($2::uuid[], $3::text[]) AS u (id, cur)
// becomes INSERT ... FROM (SELECT b.id, $3::text AS cur FROM unnest($2::uuid[])
// AS b (id)) AS u. What is inserted is the same.

// bulkRows is the number of rows from which that is worth a statement of its own.
const bulkRows = 32

// bulkColumns bounds the columns of a bulk insert: one bit each.
const bulkColumns = 64

var (
	insertsRows = regexp.MustCompile(`(?i)^\s*insert\s+into\b`)
	unnestRows  = regexp.MustCompile(`(?i)\bunnest\(((?:\s*\$\d+::[a-z0-9]+\[\]\s*,?)+)\)\s+AS\s+([a-z_]+)\s*\(([a-z0-9_,\s]+)\)`)
	oneArray    = regexp.MustCompile(`\$(\d+)::([a-z0-9]+)\[\]`)
	parameter   = regexp.MustCompile(`\$(\d+)`)
)

// A bulk is a bulk insert taken apart. Its columns are in their order.
type bulk struct {
	before, after string // the text around unnest(...) AS u (...)
	alias         string
	columns       []bulkColumn
	forms         sync.Map // the statement by the set of columns sent once
}

type bulkColumn struct {
	name, typ string
	arg       int // index of its argument
}

// bulks are the statements seen, by their text; nil for one that is no bulk
// insert or has a form of its own.
var bulks sync.Map

func bulkOf(sql string) *bulk {
	if found, ok := bulks.Load(sql); ok {
		return found.(*bulk) //nolint:errcheck // nothing else is put in
	}
	if !strings.Contains(sql, "unnest(") || !insertsRows.MatchString(sql) {
		return nil
	}
	b := parseBulk(sql)
	bulks.Store(sql, b)
	return b
}

func parseBulk(sql string) *bulk {
	at := unnestRows.FindStringSubmatchIndex(sql)
	if at == nil {
		return nil
	}
	b := &bulk{before: sql[:at[0]], after: sql[at[1]:], alias: sql[at[4]:at[5]]}
	names := strings.Split(sql[at[6]:at[7]], ",")
	arrays := oneArray.FindAllStringSubmatch(sql[at[2]:at[3]], -1)
	if len(names) != len(arrays) || len(names) < 2 || len(names) > bulkColumns {
		return nil
	}
	uses := map[string]int{}
	for _, m := range parameter.FindAllStringSubmatch(sql, -1) {
		uses[m[1]]++
	}
	for i, m := range arrays {
		n, err := strconv.Atoi(m[1])
		if err != nil || n == 0 || uses[m[1]] != 1 {
			return nil // used elsewhere too, where it must stay an array
		}
		b.columns = append(b.columns, bulkColumn{name: strings.TrimSpace(names[i]), typ: m[2], arg: n - 1})
	}
	return b
}

// form gives the statement that takes the columns of set as single values.
func (b *bulk) form(set uint64) string {
	if sql, ok := b.forms.Load(set); ok {
		return sql.(string) //nolint:errcheck // nothing else is put in
	}
	var row, arrays, names []string
	for i, c := range b.columns {
		if set&(1<<i) != 0 {
			row = append(row, fmt.Sprintf("$%d::%s AS %s", c.arg+1, c.typ, c.name))
			continue
		}
		row = append(row, "b."+c.name)
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", c.arg+1, c.typ))
		names = append(names, c.name)
	}
	sql := fmt.Sprintf("%s(SELECT %s FROM unnest(%s) AS b (%s)) AS %s%s", b.before,
		strings.Join(row, ", "), strings.Join(arrays, ", "), strings.Join(names, ", "), b.alias, b.after)
	b.forms.Store(set, sql)
	return sql
}

// compact gives a statement that does what sql does and sends less, if sql is a
// bulk insert with columns that are the same in all rows.
func compact(sql string, args []any) (string, []any) {
	b := bulkOf(sql)
	if b == nil {
		return sql, args
	}
	rows := -1
	var set uint64
	values := make([]any, len(b.columns))
	for i, c := range b.columns {
		if c.arg >= len(args) {
			return sql, args
		}
		n, value, same := sameValue(args[c.arg])
		if n < bulkRows || rows >= 0 && n != rows {
			return sql, args
		}
		rows = n
		if same {
			set |= 1 << i
			values[i] = value
		}
	}
	if set == 1<<len(b.columns)-1 {
		set &^= 1 // the rows have to come from somewhere
	}
	if set == 0 {
		return sql, args
	}
	fewer := append([]any(nil), args...)
	for i, c := range b.columns {
		if set&(1<<i) != 0 {
			fewer[c.arg] = values[i]
		}
	}
	return b.form(set), fewer
}

// sameValue gives the number of elements of a slice and, if all are the same,
// the one they are. Of a slice it does not know it gives the number alone.
func sameValue(slice any) (n int, value any, same bool) {
	switch s := slice.(type) {
	case []bool:
		return allEqual(s)
	case []int16:
		return allEqual(s)
	case []int32:
		return allEqual(s)
	case []int64:
		return allEqual(s)
	case []string:
		return allEqual(s)
	case []citygate.UUID:
		return allEqual(s)
	case []citygate.Date:
		return allEqual(s)
	case []pgtype.UUID:
		return allEqual(s)
	case []*int32:
		return allEqualOrNil(s)
	case []*int64:
		return allEqualOrNil(s)
	case []*string:
		return allEqualOrNil(s)
	case []*citygate.UUID:
		return allEqualOrNil(s)
	case []time.Time:
		return allSame(s, func(a, b time.Time) bool { return a.Equal(b) && a.Location() == b.Location() })
	case []*time.Time:
		return allSame(s, func(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) })
	case [][]byte:
		return allSame(s, func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) })
	}
	if v := reflect.ValueOf(slice); v.IsValid() && v.Kind() == reflect.Slice {
		return v.Len(), nil, false
	}
	return 0, nil, false
}

func allEqual[T comparable](s []T) (int, any, bool) {
	return allSame(s, func(a, b T) bool { return a == b })
}

func allEqualOrNil[T comparable](s []*T) (int, any, bool) {
	return allSame(s, func(a, b *T) bool { return a == b || a != nil && b != nil && *a == *b })
}

func allSame[T any](s []T, equal func(a, b T) bool) (int, any, bool) {
	for i := 1; i < len(s); i++ {
		if !equal(s[0], s[i]) {
			return len(s), nil, false
		}
	}
	if len(s) == 0 {
		return 0, nil, false
	}
	return len(s), s[0], true
}
