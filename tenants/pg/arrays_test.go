package pg

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5/pgtype"
)

// Every loop gives the bytes that pgx gives for the same slice.
func TestArraysAreEncodedAsPgxDoes(t *testing.T) {
	ours, plain := pgtype.NewMap(), pgtype.NewMap()
	registerTypes(ours)
	registerTypes(plain)
	for _, oid := range []uint32{1000, 1005, 1007, 1016, 1009, 1001, 2951, 1185, 1182} {
		typ, _ := ours.TypeForOID(oid)
		codec, ok := typ.Codec.(arrayCodec)
		if !ok {
			t.Fatalf("type %d is left to pgx", oid)
		}
		plain.RegisterType(&pgtype.Type{Name: typ.Name, OID: oid, Codec: codec.Codec})
	}
	far := time.FixedZone("", 8*3600)
	at := time.Date(2026, 11, 22, 23, 59, 59, 999_999_999, far)
	old := time.Date(1969, 7, 20, 20, 17, 40, 123_456_789, time.UTC)
	id := citygate.UUID{1, 2, 3, 15: 9}
	small, large, text := int32(-5), int64(math.MinInt64), "ü"
	for _, c := range []struct {
		oid   uint32
		value any
	}{
		{pgtype.BoolArrayOID, []bool{true, false}},
		{pgtype.Int2ArrayOID, []int16{0, 1, -1, math.MinInt16, math.MaxInt16}},
		{pgtype.Int4ArrayOID, []int32{0, 1, -1, math.MinInt32, math.MaxInt32}},
		{pgtype.Int4ArrayOID, []*int32{nil, &small}},
		{pgtype.Int8ArrayOID, []int64{0, 1, -1, math.MinInt64, math.MaxInt64}},
		{pgtype.Int8ArrayOID, []*int64{&large, nil}},
		{pgtype.TextArrayOID, []string{"", "a", "Straße 地铁"}},
		{pgtype.TextArrayOID, []*string{&text, nil}},
		{pgtype.ByteaArrayOID, [][]byte{{}, nil, {0, 255}}},
		{pgtype.UUIDArrayOID, []citygate.UUID{{}, id}},
		{pgtype.UUIDArrayOID, []*citygate.UUID{nil, &id}},
		{pgtype.UUIDArrayOID, []pgtype.UUID{{}, {Bytes: id, Valid: true}}},
		{pgtype.TimestamptzArrayOID, []time.Time{at, old, time.Unix(0, 0)}},
		{pgtype.TimestamptzArrayOID, []*time.Time{&at, nil}},
		{pgtype.DateArrayOID, []citygate.Date{{Year: 2026, Month: 11, Day: 22}, {Year: 1970, Month: 1, Day: 1}, {Year: 1899, Month: 2, Day: 28}}},
		{pgtype.DateArrayOID, []time.Time{at, old}},
		{pgtype.Int8ArrayOID, []int64{}},
		{pgtype.Int8ArrayOID, []int64(nil)},
		{pgtype.TextArrayOID, []string{}},
	} {
		if arrayPlan(c.oid, c.value) == nil {
			t.Errorf("%T as type %d is left to pgx", c.value, c.oid)
		}
		prefix := []byte("what is before it")
		want, err := plain.Encode(c.oid, pgtype.BinaryFormatCode, c.value, bytes.Clone(prefix))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Encode(c.oid, pgtype.BinaryFormatCode, c.value, bytes.Clone(prefix))
		if err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%T %v as type %d:\n%x, want\n%x (%v)", c.value, c.value, c.oid, got, want, err)
		}
	}
	// What there is no loop for is still encoded.
	type tenants []citygate.TenantID
	if raw, err := ours.Encode(pgtype.Int8ArrayOID, pgtype.BinaryFormatCode, tenants{1, 2}, nil); err != nil || len(raw) != 44 {
		t.Errorf("named types: %x, %v", raw, err)
	}
}
