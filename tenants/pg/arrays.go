package pg

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5/pgtype"
)

// Bulk statements take their rows as arrays, one for each column. pgx encodes any
// slice by asking every element what it is; the slices that bulk statements are
// made of are encoded here by a loop each, to the same bytes.

// registerArrays has a connection use the loops. Whatever they do not know goes
// to pgx.
func registerArrays(m *pgtype.Map) {
	for _, oid := range []uint32{
		pgtype.BoolArrayOID, pgtype.Int2ArrayOID, pgtype.Int4ArrayOID, pgtype.Int8ArrayOID, pgtype.TextArrayOID, pgtype.ByteaArrayOID,
		pgtype.UUIDArrayOID, pgtype.TimestamptzArrayOID, pgtype.DateArrayOID,
	} {
		if t, ok := m.TypeForOID(oid); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: arrayCodec{t.Codec}})
		}
	}
}

type arrayCodec struct{ pgtype.Codec }

// PlanEncode implements [pgtype.Codec].
func (c arrayCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if format == pgtype.BinaryFormatCode {
		if plan := arrayPlan(oid, value); plan != nil {
			return plan
		}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

func arrayPlan(oid uint32, value any) pgtype.EncodePlan {
	switch oid {
	case pgtype.BoolArrayOID:
		if _, ok := value.([]bool); ok {
			return arrayOf[bool]{pgtype.BoolOID, appendBool}
		}
	case pgtype.Int2ArrayOID:
		if _, ok := value.([]int16); ok {
			return arrayOf[int16]{pgtype.Int2OID, appendInt2}
		}
	case pgtype.Int4ArrayOID:
		switch value.(type) {
		case []int32:
			return arrayOf[int32]{pgtype.Int4OID, appendInt4}
		case []*int32:
			return arrayOf[*int32]{pgtype.Int4OID, optional(appendInt4)}
		}
	case pgtype.Int8ArrayOID:
		switch value.(type) {
		case []int64:
			return arrayOf[int64]{pgtype.Int8OID, appendInt8}
		case []*int64:
			return arrayOf[*int64]{pgtype.Int8OID, optional(appendInt8)}
		}
	case pgtype.TextArrayOID:
		switch value.(type) {
		case []string:
			return arrayOf[string]{pgtype.TextOID, appendText}
		case []*string:
			return arrayOf[*string]{pgtype.TextOID, optional(appendText)}
		}
	case pgtype.ByteaArrayOID:
		if _, ok := value.([][]byte); ok {
			return arrayOf[[]byte]{pgtype.ByteaOID, appendBytes}
		}
	case pgtype.UUIDArrayOID:
		switch value.(type) {
		case []citygate.UUID:
			return arrayOf[citygate.UUID]{pgtype.UUIDOID, appendUUID}
		case []*citygate.UUID:
			return arrayOf[*citygate.UUID]{pgtype.UUIDOID, optional(appendUUID)}
		case []pgtype.UUID:
			return arrayOf[pgtype.UUID]{pgtype.UUIDOID, appendNullUUID}
		}
	case pgtype.TimestamptzArrayOID:
		switch value.(type) {
		case []time.Time:
			return arrayOf[time.Time]{pgtype.TimestamptzOID, appendTime}
		case []*time.Time:
			return arrayOf[*time.Time]{pgtype.TimestamptzOID, optional(appendTime)}
		}
	case pgtype.DateArrayOID:
		switch value.(type) {
		case []citygate.Date:
			return arrayOf[citygate.Date]{pgtype.DateOID, appendDate}
		case []time.Time:
			return arrayOf[time.Time]{pgtype.DateOID, appendDateOf}
		}
	}
	return nil
}

// arrayOf encodes a []T. appendTo appends one element behind its length, or null.
type arrayOf[T any] struct {
	element  uint32
	appendTo func(buf []byte, v T) []byte
}

// null is the length of an element that is none.
const null = math.MaxUint32

// Encode implements [pgtype.EncodePlan]. A nil slice is NULL.
func (a arrayOf[T]) Encode(value any, buf []byte) ([]byte, error) {
	list := value.([]T) //nolint:errcheck // the plan was made for this type
	if list == nil {
		return nil, nil
	}
	buf = binary.BigEndian.AppendUint32(buf, 1) // dimensions
	nulls := len(buf)
	buf = binary.BigEndian.AppendUint32(buf, 0) // whether there are nulls
	buf = binary.BigEndian.AppendUint32(buf, a.element)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(list)))
	buf = binary.BigEndian.AppendUint32(buf, 1) // the first index
	for i := range list {
		at := len(buf)
		buf = a.appendTo(buf, list[i])
		if binary.BigEndian.Uint32(buf[at:]) == null {
			buf[nulls+3] = 1
		}
	}
	return buf, nil
}

func optional[T any](appendTo func([]byte, T) []byte) func([]byte, *T) []byte {
	return func(buf []byte, v *T) []byte {
		if v == nil {
			return binary.BigEndian.AppendUint32(buf, null)
		}
		return appendTo(buf, *v)
	}
}

func appendBool(buf []byte, v bool) []byte {
	if v {
		return append(buf, 0, 0, 0, 1, 1)
	}
	return append(buf, 0, 0, 0, 1, 0)
}

func appendInt2(buf []byte, v int16) []byte {
	return append(buf, 0, 0, 0, 2, byte(v>>8), byte(v))
}

func appendInt4(buf []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(append(buf, 0, 0, 0, 4), uint32(v))
}

func appendInt8(buf []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(buf, 0, 0, 0, 8), uint64(v))
}

func appendText(buf []byte, v string) []byte {
	return append(binary.BigEndian.AppendUint32(buf, uint32(len(v))), v...)
}

func appendBytes(buf, v []byte) []byte {
	if v == nil {
		return binary.BigEndian.AppendUint32(buf, null)
	}
	return append(binary.BigEndian.AppendUint32(buf, uint32(len(v))), v...)
}

func appendUUID(buf []byte, v citygate.UUID) []byte {
	return append(append(buf, 0, 0, 0, 16), v[:]...)
}

func appendNullUUID(buf []byte, v pgtype.UUID) []byte {
	if !v.Valid {
		return binary.BigEndian.AppendUint32(buf, null)
	}
	return appendUUID(buf, v.Bytes)
}

// PostgreSQL counts from the year 2000.
const (
	epochSeconds = 946_684_800
	epochDays    = epochSeconds / 86_400
)

func appendTime(buf []byte, v time.Time) []byte {
	return appendInt8(buf, (v.Unix()-epochSeconds)*1_000_000+int64(v.Nanosecond())/1000)
}

func appendDate(buf []byte, v citygate.Date) []byte { return appendDateOf(buf, v.Time()) }

// appendDateOf appends the date a time shows where it is.
func appendDateOf(buf []byte, v time.Time) []byte {
	year, month, day := v.Date()
	days := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86_400
	return appendInt4(buf, int32(days-epochDays))
}
