package accept

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
)

// The encoding AT1, every number a varint (unsigned as in encoding/binary; signed
// ones zigzag first):
//
//	"AT1"
//	number of shifts, then each: At less the At before, Offset (both signed)
//	number of texts, then each: length, bytes
//	number of rows, then each: length of the name, name, effect,
//	    number of alternatives, then each:
//	        number of tests, then each: fact,
//	            number of spans, then each: Lo (signed), Hi less Lo (unsigned)
//
// A table has one encoding: what is out of order, touches or has a number in a
// longer form is refused.
const tableMagic = "AT1"

func (t *Table) appendTo(b []byte) []byte {
	b = append(b, tableMagic...)
	b = binary.AppendUvarint(b, uint64(len(t.zone)))
	last := int64(0)
	for _, s := range t.zone {
		b = binary.AppendVarint(b, s.At-last)
		b = binary.AppendVarint(b, s.Offset)
		last = s.At
	}
	b = binary.AppendUvarint(b, uint64(len(t.texts)))
	for _, text := range t.texts {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	b = binary.AppendUvarint(b, uint64(len(t.rows)))
	for _, r := range t.rows {
		b = append(binary.AppendUvarint(b, uint64(len(r.ID))), r.ID...)
		b = append(b, byte(r.Effect))
		b = binary.AppendUvarint(b, uint64(len(r.Any)))
		for _, all := range r.Any {
			b = binary.AppendUvarint(b, uint64(len(all)))
			for _, test := range all {
				b = append(b, byte(test.Fact))
				b = binary.AppendUvarint(b, uint64(len(test.In)))
				for _, s := range test.In {
					b = binary.AppendVarint(b, s.Lo)
					b = binary.AppendUvarint(b, uint64(s.Hi)-uint64(s.Lo))
				}
			}
		}
	}
	return b
}

// Encode gives the table's one encoding. The caller must not change it.
func (t *Table) Encode() []byte { return t.raw }

// ParseTable reads the encoding and nothing else. It keeps nothing of raw.
func ParseTable(raw []byte) (*Table, error) {
	if len(raw) > TableMax || !bytes.HasPrefix(raw, []byte(tableMagic)) {
		return nil, ErrTable.Explain("want %s and at most %d bytes", tableMagic, TableMax)
	}
	r := tableReader{rest: raw[len(tableMagic):]}
	zone := make([]Shift, r.count(tableShiftMax))
	last := int64(0)
	for i := range zone {
		zone[i] = Shift{At: last + r.signed(), Offset: r.signed()}
		last = zone[i].At
	}
	texts := make([]string, r.count(tableTextsMax))
	for i := range texts {
		texts[i] = r.text()
	}
	rows := make([]Row, r.count(TableRowsMax))
	for i := range rows {
		rows[i] = Row{ID: r.text(), Effect: Effect(r.byte()), Any: make([][]Test, r.count(TableAnyMax))}
		for j := range rows[i].Any {
			rows[i].Any[j] = r.tests()
		}
	}
	if r.bad || len(r.rest) > 0 {
		return nil, ErrTable.Explain("cut short, too long or a count beyond its bound")
	}
	t, err := NewTable(zone, texts, rows)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(t.raw, raw) {
		return nil, ErrTable.Explain("not in canonical form")
	}
	return t, nil
}

// A tableReader reads numbers until there is something wrong, and zeros then.
type tableReader struct {
	rest []byte
	bad  bool
}

func (r *tableReader) tests() []Test {
	tests := make([]Test, r.count(int(factCount)))
	for i := range tests {
		tests[i] = Test{Fact: Fact(r.byte()), In: make([]Span, r.count(TableSpansMax))}
		for j := range tests[i].In {
			lo := r.signed()
			tests[i].In[j] = Span{lo, int64(uint64(lo) + r.unsigned())}
		}
	}
	return tests
}

func (r *tableReader) unsigned() uint64 {
	x, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, n, x = true, len(r.rest), 0
	}
	r.rest = r.rest[n:]
	return x
}

func (r *tableReader) signed() int64 {
	x := r.unsigned()
	return int64(x>>1) ^ -int64(x&1)
}

// count reads how many follow. What follows has at least a byte each, so that a
// count never makes more memory than there is input.
func (r *tableReader) count(most int) int {
	n := r.unsigned()
	if n > uint64(most) || n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return int(n)
}

func (r *tableReader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *tableReader) text() string {
	n := r.count(tableTextMax)
	if r.bad {
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

// MarshalJSON gives the encoding in base64: numbers of 64 bits do not survive
// every reader of JSON.
func (t *Table) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.StdEncoding.EncodeToString(t.raw))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Table) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return ErrTable.Because(err, "want base64")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return ErrTable.Because(err, "want base64")
	}
	parsed, err := ParseTable(raw)
	if err != nil {
		return err
	}
	*t = *parsed
	return nil
}
