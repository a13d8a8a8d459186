package pg

import (
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/jackc/pgx/v5/pgtype"
)

// registerTypes teaches a connection the vocabulary of package citygate, alone
// and in slices: UUID is a uuid, Date is a date. Named integers and strings
// (TenantID, Issuer, Currency) need no help.
func registerTypes(m *pgtype.Map) {
	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{wrapEncode}, m.TryWrapEncodePlanFuncs...)
	m.TryWrapScanPlanFuncs = append([]pgtype.TryWrapScanPlanFunc{wrapScan}, m.TryWrapScanPlanFuncs...)
	m.RegisterDefaultPgType(citygate.UUID{}, "uuid")
	m.RegisterDefaultPgType(citygate.Date{}, "date")
	registerArrays(m)
}

// uuidValue is a citygate.UUID as pgx wants to see it.
type uuidValue citygate.UUID

func (u uuidValue) UUIDValue() (pgtype.UUID, error) { return pgtype.UUID{Bytes: u, Valid: true}, nil }

func (u *uuidValue) ScanUUID(v pgtype.UUID) error {
	if !v.Valid {
		return fmt.Errorf("cannot scan NULL into a citygate.UUID; scan into a pointer to one")
	}
	*u = v.Bytes
	return nil
}

// dateValue is a citygate.Date as pgx wants to see it.
type dateValue citygate.Date

func (d dateValue) DateValue() (pgtype.Date, error) {
	return pgtype.Date{Time: citygate.Date(d).Time(), Valid: true}, nil
}

func (d *dateValue) ScanDate(v pgtype.Date) error {
	if !v.Valid || v.InfinityModifier != pgtype.Finite {
		return fmt.Errorf("cannot scan NULL or infinity into a citygate.Date")
	}
	*d = dateValue(citygate.DateOf(v.Time.In(time.UTC)))
	return nil
}

func wrapEncode(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
	switch v := value.(type) {
	case citygate.UUID:
		return &encodeAs[citygate.UUID]{as: func(v citygate.UUID) any { return uuidValue(v) }}, uuidValue(v), true
	case citygate.Date:
		return &encodeAs[citygate.Date]{as: func(v citygate.Date) any { return dateValue(v) }}, dateValue(v), true
	}
	return nil, nil, false
}

func wrapScan(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
	switch v := target.(type) {
	case *citygate.UUID:
		return &scanAs[citygate.UUID]{as: func(v *citygate.UUID) any { return (*uuidValue)(v) }}, (*uuidValue)(v), true
	case *citygate.Date:
		return &scanAs[citygate.Date]{as: func(v *citygate.Date) any { return (*dateValue)(v) }}, (*dateValue)(v), true
	}
	return nil, nil, false
}

type encodeAs[T any] struct {
	next pgtype.EncodePlan
	as   func(T) any
}

func (p *encodeAs[T]) SetNext(next pgtype.EncodePlan) { p.next = next }

func (p *encodeAs[T]) Encode(value any, buf []byte) ([]byte, error) {
	return p.next.Encode(p.as(value.(T)), buf) //nolint:errcheck // the plan was made for this type
}

type scanAs[T any] struct {
	next pgtype.ScanPlan
	as   func(*T) any
}

func (p *scanAs[T]) SetNext(next pgtype.ScanPlan) { p.next = next }

func (p *scanAs[T]) Scan(src []byte, target any) error {
	return p.next.Scan(src, p.as(target.(*T))) //nolint:errcheck // the plan was made for this type
}
