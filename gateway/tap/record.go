package tap

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// Limits of one record.
const (
	EvidenceMax = 4096 // bytes of raw code; a QR code holds at most 2,953
	RecordMax   = 8192 // bytes of an encoded record
	PartyMax    = 15   // riders that an operator can enter for one code, as many as a CT1 code can state
	textMax     = 64
)

// ErrMalformed says that bytes are not the one encoding of a record or batch.
var ErrMalformed = &citygate.Code{Name: "tap.malformed", Kind: citygate.Invalid, Title: "The tap record or batch is not in canonical form; encode it with the published layout."}

// ErrCritical says that a record has a field this version must understand and
// does not.
var ErrCritical = &citygate.Code{Name: "tap.critical_field", Kind: citygate.Invalid, Title: "The tap record has a critical field unknown here; upload it to a newer gateway."}

const recordVersion = 1

// Field types.
const (
	fieldReason   = 1
	fieldStop     = 2
	fieldRoute    = 3
	fieldTrip     = 4
	fieldVehicle  = 5
	fieldDriver   = 6
	fieldShift    = 7
	fieldEntered  = 8
	fieldSoftware = 9
	fieldEvidence = 10
	fieldListAt   = 11
	fieldDeferred = 12
	fieldRule     = 13
	fieldLast     = fieldRule // the highest type known here
	critical      = 0x80
)

const fixedSize = 69

// ID gives the record's identity inside its tenant.
func (r *Record) ID() citygate.TapID { return citygate.TapID{Terminal: r.Terminal, Seq: r.Seq} }

// Digest identifies the content of an encoded record.
func Digest(encoded []byte) [32]byte { return sha256.Sum256(encoded) }

// EvidenceDigest identifies raw code bytes.
func EvidenceDigest(evidence []byte) [32]byte { return sha256.Sum256(evidence) }

// AppendTo appends the encoding of r to dst, or gives an error that names the
// first field that has none.
func (r *Record) AppendTo(dst []byte) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	start := len(dst)
	accepted := byte(0)
	if r.Accepted {
		accepted = 1
	}
	dst = append(dst, recordVersion, byte(r.Kind), accepted, byte(r.Clock), r.Party)
	be := binary.BigEndian
	dst = be.AppendUint32(dst, r.Terminal)
	dst = be.AppendUint64(dst, r.Seq)
	dst = be.AppendUint64(dst, uint64(r.EventTime))
	dst = be.AppendUint32(dst, r.BootID)
	dst = be.AppendUint64(dst, r.MonotonicMS)
	dst = be.AppendUint64(dst, r.BundleVersion)
	dst = be.AppendUint64(dst, r.ListVersion)
	dst = be.AppendUint64(dst, r.PolicyVersion)
	dst = be.AppendUint64(dst, r.TariffVersion)
	dst = appendText(dst, fieldReason, string(r.Reason))
	dst = appendText(dst, fieldStop, r.Stop)
	dst = appendText(dst, fieldRoute, r.Route)
	dst = appendText(dst, fieldTrip, r.Trip)
	dst = appendText(dst, fieldVehicle, r.Vehicle)
	dst = appendText(dst, fieldDriver, r.Driver)
	dst = appendText(dst, fieldShift, r.Shift)
	if r.Entered.Currency != "" {
		dst = append(dst, fieldEntered, 0, 11)
		dst = be.AppendUint64(dst, uint64(r.Entered.Minor))
		dst = append(dst, r.Entered.Currency...)
	}
	dst = appendText(dst, fieldSoftware, r.SoftwareVersion)
	if len(r.Evidence) > 0 {
		dst = appendField(dst, fieldEvidence, r.Evidence)
	}
	if r.ListAt != 0 {
		dst = append(dst, fieldListAt, 0, 4)
		dst = be.AppendUint32(dst, uint32(r.ListAt))
	}
	if r.Deferred {
		dst = append(dst, fieldDeferred, 0, 1, 1)
	}
	dst = appendText(dst, fieldRule, r.Rule)
	for _, x := range r.Extra {
		dst = appendField(dst, x.Type, x.Value)
	}
	if len(dst)-start > RecordMax {
		return nil, ErrMalformed.Explain("a record is larger than %d bytes", RecordMax)
	}
	return dst, nil
}

func appendText(dst []byte, field byte, s string) []byte {
	if s == "" {
		return dst
	}
	dst = append(dst, field, byte(len(s)>>8), byte(len(s)))
	return append(dst, s...)
}

func appendField(dst []byte, field byte, value []byte) []byte {
	dst = append(dst, field, byte(len(value)>>8), byte(len(value)))
	return append(dst, value...)
}

func (r *Record) check() error {
	switch {
	case r.Kind < On || r.Kind > Single:
		return ErrMalformed.Explain("kind %d is not known", r.Kind)
	case r.Clock > ClockRTC:
		return ErrMalformed.Explain("clock source %d is not known", r.Clock)
	case r.Seq == 0:
		return ErrMalformed.Explain("sequence numbers start at 1")
	case r.Accepted != (r.Reason == ""):
		return ErrMalformed.Explain("a reason belongs to refused records, and only to those")
	case r.Deferred && !r.Accepted:
		return ErrMalformed.Explain("deferred: belongs to accepted records")
	case r.Reason != "" && !reasonForm(string(r.Reason)):
		return ErrMalformed.Explain("reason: want 1 to 32 of a-z and _")
	case len(r.Evidence) > EvidenceMax:
		return ErrMalformed.Explain("evidence is longer than %d bytes", EvidenceMax)
	case r.ListAt < 0 || r.ListAt > math.MaxUint32 || r.ListAt != 0 && r.ListVersion == 0:
		return ErrMalformed.Explain("time of the deny list: want unix seconds, and the version of that list")
	case r.Entered.Currency != "" && !r.Entered.Currency.Valid(), r.Entered.Currency == "" && r.Entered.Minor != 0:
		return ErrMalformed.Explain("entered amount: want a currency of three capital letters")
	}
	for _, s := range []string{r.Stop, r.Route, r.Trip, r.Vehicle, r.Driver, r.Shift, r.SoftwareVersion, r.Rule} {
		if len(s) > textMax || !utf8.ValidString(s) {
			return ErrMalformed.Explain("a text is longer than %d bytes or not UTF-8", textMax)
		}
	}
	last := byte(fieldLast)
	for _, x := range r.Extra {
		if x.Type >= critical {
			return ErrCritical.Explain("field %d", x.Type)
		}
		if x.Type <= last || len(x.Value) == 0 || len(x.Value) > 0xffff {
			return ErrMalformed.Explain("field %d: known, empty, too long or out of order", x.Type)
		}
		last = x.Type
	}
	return nil
}

// reasonForm holds the shape of a reason and not the closed set, so that a
// newer terminal's reason is stored and not lost.
func reasonForm(s string) bool {
	if len(s) == 0 || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if s[i] != '_' && (s[i] < 'a' || s[i] > 'z') {
			return false
		}
	}
	return true
}

// ParseRecord reads one record. Its evidence and extra fields alias raw.
func ParseRecord(raw []byte) (Record, error) {
	if len(raw) < fixedSize || len(raw) > RecordMax || raw[0] != recordVersion || raw[2] > 1 {
		return Record{}, ErrMalformed.Explain("a record of %d bytes has no head of version %d", len(raw), recordVersion)
	}
	be := binary.BigEndian
	r := Record{
		Kind: Kind(raw[1]), Accepted: raw[2] == 1, Clock: ClockSource(raw[3]), Party: raw[4],
		Terminal: be.Uint32(raw[5:]), Seq: be.Uint64(raw[9:]), EventTime: int64(be.Uint64(raw[17:])),
		BootID: be.Uint32(raw[25:]), MonotonicMS: be.Uint64(raw[29:]),
		BundleVersion: be.Uint64(raw[37:]), ListVersion: be.Uint64(raw[45:]),
		PolicyVersion: be.Uint64(raw[53:]), TariffVersion: be.Uint64(raw[61:]),
	}
	last := -1
	for rest := raw[fixedSize:]; len(rest) > 0; {
		if len(rest) < 4 {
			return Record{}, ErrMalformed.Explain("a field is cut short")
		}
		field, size := rest[0], int(be.Uint16(rest[1:]))
		if size == 0 || size > len(rest)-3 || int(field) <= last {
			return Record{}, ErrMalformed.Explain("field %d is empty, cut short or out of order", field)
		}
		last = int(field)
		if err := r.set(field, rest[3:3+size:3+size]); err != nil {
			return Record{}, err
		}
		rest = rest[3+size:]
	}
	if err := r.check(); err != nil {
		return Record{}, err
	}
	return r, nil
}

func (r *Record) set(field byte, value []byte) error {
	switch field {
	case fieldReason:
		r.Reason = code.Reason(value)
	case fieldStop:
		r.Stop = string(value)
	case fieldRoute:
		r.Route = string(value)
	case fieldTrip:
		r.Trip = string(value)
	case fieldVehicle:
		r.Vehicle = string(value)
	case fieldDriver:
		r.Driver = string(value)
	case fieldShift:
		r.Shift = string(value)
	case fieldEntered:
		if len(value) != 11 {
			return ErrMalformed.Explain("entered amount: want 11 bytes")
		}
		r.Entered = citygate.Money{Minor: int64(binary.BigEndian.Uint64(value)), Currency: citygate.Currency(value[8:])}
	case fieldSoftware:
		r.SoftwareVersion = string(value)
	case fieldEvidence:
		r.Evidence = value
	case fieldListAt:
		if len(value) != 4 || binary.BigEndian.Uint32(value) == 0 {
			return ErrMalformed.Explain("time of the deny list: want 4 bytes, and not zeros")
		}
		r.ListAt = int64(binary.BigEndian.Uint32(value))
	case fieldDeferred:
		if len(value) != 1 || value[0] != 1 {
			return ErrMalformed.Explain("deferred: want one byte, 1")
		}
		r.Deferred = true
	case fieldRule:
		r.Rule = string(value)
	case 0:
		return ErrMalformed.Explain("field 0 does not exist")
	default:
		if field >= critical {
			return ErrCritical.Explain("field %d", field)
		}
		r.Extra = append(r.Extra, TLV{field, value})
	}
	return nil
}
