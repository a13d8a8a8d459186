package pg

import (
	"reflect"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
)

func many[T any](n int, of func(i int) T) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = of(i)
	}
	return s
}

// What is sent once, and what is left as it is.
func TestCompact(t *testing.T) {
	const sql = `INSERT INTO taps (tenant_id, n, at, cur) SELECT $1, u.n, u.at, u.cur FROM unnest($2::bigint[], $3::timestamptz[], $4::text[]) AS u (n, at, cur) ON CONFLICT DO NOTHING`
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	number := func(i int) int64 { return int64(i) }
	at := func(int) time.Time { return now }
	cur := func(int) string { return "CNY" }
	later := many(40, at)
	later[39] = now.Add(time.Microsecond)
	got, args := compact(sql, []any{int64(1), many(40, number), many(40, at), many(40, cur)})
	const want = `INSERT INTO taps (tenant_id, n, at, cur) SELECT $1, u.n, u.at, u.cur FROM (SELECT b.n, $3::timestamptz AS at, $4::text AS cur FROM unnest($2::bigint[]) AS b (n)) AS u ON CONFLICT DO NOTHING`
	if got != want || !reflect.DeepEqual(args, []any{int64(1), many(40, number), now, "CNY"}) {
		t.Errorf("%s\n%v", got, args)
	}
	if got, args = compact(sql, []any{int64(1), many(40, number), later, many(40, cur)}); got == sql || args[3] != "CNY" || !reflect.DeepEqual(args[2], later) {
		t.Errorf("one time differs: %s\n%v", got, args)
	}
	if got, args = compact(sql, []any{int64(1), many(40, func(int) int64 { return 5 }), many(40, at), many(40, cur)}); len(args[1].([]int64)) != 40 || args[3] != "CNY" {
		t.Errorf("all rows are one: %s\n%v", got, args)
	}
	for name, c := range map[string]struct {
		sql  string
		args []any
	}{
		"few rows":          {sql, []any{int64(1), many(31, number), many(31, at), many(31, cur)}},
		"no rows":           {sql, []any{int64(1), []int64{}, []time.Time{}, []string{}}},
		"different lengths": {sql, []any{int64(1), many(41, number), many(40, at), many(40, cur)}},
		"nothing the same":  {sql, []any{int64(1), many(40, number), later, many(40, func(i int) string { return string(rune('A' + i)) })}},
		"an argument less":  {sql, []any{int64(1), many(40, number), many(40, at)}},
		"a query":           {`SELECT n FROM unnest($1::bigint[], $2::text[]) AS u (n, cur)`, []any{many(40, number), many(40, cur)}},
		"an array used twice": {`INSERT INTO taps (tenant_id, n, cur) SELECT $1, n, cur FROM unnest($2::bigint[], $3::text[]) AS u (n, cur) WHERE cardinality($3) > 0 RETURNING n`,
			[]any{int64(1), many(40, number), many(40, cur)}},
	} {
		if got, args := compact(c.sql, c.args); got != c.sql || !reflect.DeepEqual(args, c.args) {
			t.Errorf("%s: %s\n%v", name, got, args)
		}
	}
	// A type the loops do not know is left as it is, beside those that they do.
	if _, args := compact(sql, []any{int64(1), many(40, func(int) citygate.TenantID { return 3 }), many(40, at), later}); len(args[1].([]citygate.TenantID)) != 40 || args[2] != now {
		t.Errorf("another type: %v", args)
	}
	for _, s := range []any{
		[]*int32{nil, new(int32)}, [][]byte{nil, {}}, [][]byte{{1}, {2}}, []*time.Time{nil, &now}, []time.Time{now, now.In(time.FixedZone("", 3600))}, []bool{true, false},
	} {
		if n, v, same := sameValue(s); same || n != 2 {
			t.Errorf("%T %v: all are %v", s, s, v)
		}
	}
}
