package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
)

// What is hashed and what is signed can never be taken for each other, nor for
// anything else that is.
const (
	rowDomain        = "citygate/audit/row/v1\x00"
	checkpointDomain = "citygate/audit/checkpoint/v1\x00"
)

// A Hash is SHA-256 over the canonical form of a row.
type Hash [sha256.Size]byte

// A Row is one entry of a log. Seq 0 says that it has no place in the chain yet.
type Row struct {
	Tenant        citygate.TenantID // 0 = the platform
	ID            citygate.UUID
	Actor         string
	Verb          string
	Object        string
	Before, After json.RawMessage // nil = NULL
	At            time.Time
	Seq           int64
	Prev, Hash    Hash
}

// Sum gives the hash of r at its Seq behind its Prev.
func (r *Row) Sum() (Hash, error) {
	b := make([]byte, 0, 512)
	b = append(b, rowDomain...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Tenant))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Seq))
	b = append(b, r.Prev[:]...)
	b = append(b, r.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.At.UnixMicro()))
	for _, text := range []string{r.Actor, r.Verb, r.Object} {
		b = appendSized(b, []byte(text))
	}
	for _, value := range []json.RawMessage{r.Before, r.After} {
		if value == nil {
			b = append(b, 0)
			continue
		}
		canonical, err := canonicalJSON(value)
		if err != nil {
			return Hash{}, fmt.Errorf("audit row %s: %w", r.ID, err)
		}
		b = appendSized(append(b, 1), canonical)
	}
	return sha256.Sum256(b), nil
}

func appendSized(b, content []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// message gives the bytes that a checkpoint signs.
func (c *Checkpoint) message() []byte {
	b := []byte(checkpointDomain)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Tenant))
	b = binary.BigEndian.AppendUint64(b, uint64(c.N))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Seq))
	b = append(b, c.Root[:]...)
	b = append(b, c.Prev[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.At.UnixMicro()))
	return append(b, c.KeyID)
}

// canonicalJSON gives the one form of a JSON value that the package doc lays down.
func canonicalJSON(raw []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return appendValue(make([]byte, 0, len(raw)), v), nil
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		if v {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	case json.Number:
		return append(b, v...)
	case string:
		return appendString(b, v)
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, item)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = appendValue(b, v[name])
		}
		return append(b, '}')
	}
	panic(fmt.Sprintf("a JSON value of type %T", v)) // the decoder gives no other
}

// shortEscapes are the control characters with an escape of two characters.
var shortEscapes = map[byte]byte{'\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r', '"': '"', '\\': '\\'}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range []byte(s) {
		if e, ok := shortEscapes[c]; ok {
			b = append(b, '\\', e)
		} else if c < 0x20 {
			b = fmt.Appendf(b, "\\u%04x", c)
		} else {
			b = append(b, c)
		}
	}
	return append(b, '"')
}
