package pg_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

// The vocabulary goes into statements and comes back unchanged, alone, in slices
// and as NULL.
func TestVocabularyRoundTrip(t *testing.T) {
	db := pgtest.New(t)
	id := citygate.UUID{1, 2, 3, 15: 16}
	day := citygate.Date{Year: 2024, Month: time.February, Day: 29}
	for sql, value := range map[string]any{
		`SELECT $1::uuid`:          id,
		`SELECT $1::uuid[]`:        []citygate.UUID{id, {}},
		`SELECT $1::uuid[], 1`:     []citygate.UUID{},
		`SELECT $1::date`:          day,
		`SELECT $1::date[]`:        []citygate.Date{day, {Year: 1999, Month: time.December, Day: 31}},
		`SELECT $1::bigint`:        citygate.TenantID(1 << 40),
		`SELECT $1::bigint[]`:      []citygate.TenantID{1, 2},
		`SELECT $1::int`:           citygate.Issuer(65535),
		`SELECT $1::int[]`:         []citygate.Issuer{1, 65535},
		`SELECT $1::text`:          citygate.Currency("CNY"),
		`SELECT $1::text[]`:        []citygate.Currency{"CNY", "HKD"},
		`SELECT $1::bytea[]`:       [][]byte{{1}, {}},
		`SELECT $1::timestamptz[]`: []time.Time{pgtest.Epoch},
		`SELECT $1::bigint, 'u32'`: uint32(1<<32 - 1),
		`SELECT $1::bigint[], 'u'`: []uint32{1<<32 - 1, 0},
		`SELECT $1::bigint, 'u64'`: uint64(1<<63 - 1),
	} {
		back := reflect.New(reflect.TypeOf(value))
		err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
			rows, err := tx.Query(t.Context(), sql, value)
			if err != nil {
				return err
			}
			defer rows.Close()
			targets := []any{back.Interface(), new(any)}
			for rows.Next() {
				if err := rows.Scan(targets[:len(rows.FieldDescriptions())]...); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		got := back.Elem().Interface()
		if times, ok := got.([]time.Time); ok {
			times[0] = times[0].UTC()
		}
		if err != nil || !reflect.DeepEqual(got, value) {
			t.Errorf("%s: sent %v, got %v, %v", sql, value, got, err)
		}
	}
}

func TestNullIsNotTheZeroValue(t *testing.T) {
	db := pgtest.New(t)
	err := db.InSystem(t.Context(), func(tx *pg.Tx) error {
		id, day := &citygate.UUID{1}, &citygate.Date{Year: 1}
		if err := tx.QueryRow(t.Context(), `SELECT NULL::uuid, NULL::date`).Scan(&id, &day); err != nil {
			return err
		}
		if id != nil || day != nil {
			t.Errorf("NULL came back as %v and %v", id, day)
		}
		var sent *citygate.UUID
		var isNull bool
		if err := tx.QueryRow(t.Context(), `SELECT $1::uuid IS NULL`, sent).Scan(&isNull); err != nil {
			return err
		}
		if !isNull {
			t.Error("a nil pointer was not sent as NULL")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.InSystem(t.Context(), func(tx *pg.Tx) error {
		var id citygate.UUID
		return tx.QueryRow(t.Context(), `SELECT NULL::uuid`).Scan(&id)
	})
	if err == nil {
		t.Error("NULL was read into a UUID without a word")
	}
}
