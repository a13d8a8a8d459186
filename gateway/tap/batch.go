package tap

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/cashlesscity/citygate"
)

// Limits of one batch, with its signature.
const (
	BatchTapsMax  = 5000
	BatchBytesMax = 2 << 20
)

// ErrBatchTooLarge says that a batch is over [BatchTapsMax] or [BatchBytesMax].
// Nothing of it is stored.
var ErrBatchTooLarge = &citygate.Code{Name: "tap.batch_too_large", Kind: citygate.TooLarge, Title: "The batch holds more than 5,000 taps or 2 MiB; send it in smaller batches."}

// ErrBatchSignature says that the terminal's signature does not hold.
var ErrBatchSignature = &citygate.Code{Name: "tap.batch_signature", Kind: citygate.Unauthenticated, Title: "The batch is not signed by the terminal it names; register the terminal's key or send it from that terminal."}

const (
	batchMagic    = "CTB1\x00"
	batchHead     = 61
	signatureSize = 64
)

// A Header is what a batch says before its records.
type Header struct {
	Tenant   citygate.TenantID
	Terminal uint32   // key id
	First    uint64   // sequence number of the first record
	Prev     [32]byte // hash of the batch before, zeros for the first
}

// A Batch is a parsed batch. Parsing checks no signature: see [Batch.Verify].
type Batch struct {
	Header
	Count int
	Hash  [32]byte // of the signed bytes: what the next batch names as Prev

	raw []byte
}

// A Sign signs a message with the terminal's key: Ed25519, or P-256 as raw
// r||s with low s.
type Sign func(message []byte) ([]byte, error)

// EncodeBatch makes and signs the batch of records, which are encoded records
// with numbers from h.First upwards.
func EncodeBatch(h Header, records [][]byte, sign Sign) ([]byte, error) {
	if len(records) == 0 {
		return nil, ErrMalformed.Explain("a batch holds at least one record")
	}
	size := batchHead + signatureSize
	for _, r := range records {
		size += 4 + len(r)
	}
	if len(records) > BatchTapsMax || size > BatchBytesMax {
		return nil, ErrBatchTooLarge.Explain("%d taps, %d bytes", len(records), size)
	}
	raw := make([]byte, 0, size)
	be := binary.BigEndian
	raw = append(raw, batchMagic...)
	raw = be.AppendUint64(raw, uint64(h.Tenant))
	raw = be.AppendUint32(raw, h.Terminal)
	raw = be.AppendUint64(raw, h.First)
	raw = be.AppendUint32(raw, uint32(len(records)))
	raw = append(raw, h.Prev[:]...)
	for _, r := range records {
		raw = be.AppendUint32(raw, uint32(len(r)))
		raw = append(raw, r...)
	}
	signature, err := sign(raw)
	if err != nil {
		return nil, fmt.Errorf("sign tap batch: %w", err)
	}
	if len(signature) != signatureSize {
		return nil, fmt.Errorf("sign tap batch: signature of %d bytes, want %d", len(signature), signatureSize)
	}
	return append(raw, signature...), nil
}

// BatchTenantEnd is how many bytes of a batch say whose it is, for [BatchTenant].
const BatchTenantEnd = 13

// BatchTenant gives the tenant that the first bytes of a batch name. Nothing of it
// is proved, nor that a batch follows.
func BatchTenant(head []byte) (tenant citygate.TenantID, named bool) {
	if len(head) < BatchTenantEnd || string(head[:len(batchMagic)]) != batchMagic {
		return 0, false
	}
	tenant = citygate.TenantID(binary.BigEndian.Uint64(head[len(batchMagic):]))
	return tenant, tenant > 0
}

// ParseBatch reads the frame of a batch: its limits, header and the place of
// each record. The batch aliases raw.
func ParseBatch(raw []byte) (*Batch, error) {
	if len(raw) > BatchBytesMax {
		return nil, ErrBatchTooLarge.Explain("%d bytes", len(raw))
	}
	if len(raw) < batchHead+signatureSize || string(raw[:len(batchMagic)]) != batchMagic {
		return nil, ErrMalformed.Explain("a batch of %d bytes has no head", len(raw))
	}
	be := binary.BigEndian
	b := &Batch{raw: raw, Header: Header{Tenant: citygate.TenantID(be.Uint64(raw[5:])), Terminal: be.Uint32(raw[13:]), First: be.Uint64(raw[17:])}}
	copy(b.Prev[:], raw[29:])
	count := be.Uint32(raw[25:])
	if count > BatchTapsMax {
		return nil, ErrBatchTooLarge.Explain("%d taps", count)
	}
	if count == 0 || b.Tenant <= 0 || b.First == 0 || b.First+uint64(count) < b.First {
		return nil, ErrMalformed.Explain("a batch names a tenant, a first number and at least one tap")
	}
	b.Count = int(count)
	rest := b.body()
	for range b.Count {
		if len(rest) < 4 || uint64(be.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, ErrMalformed.Explain("a batch is cut short")
		}
		rest = rest[4+be.Uint32(rest):]
	}
	if len(rest) != 0 {
		return nil, ErrMalformed.Explain("%d bytes after the last record", len(rest))
	}
	b.Hash = sha256.Sum256(b.signed())
	return b, nil
}

func (b *Batch) body() []byte   { return b.raw[batchHead : len(b.raw)-signatureSize] }
func (b *Batch) signed() []byte { return b.raw[:len(b.raw)-signatureSize] }

// Raw gives the bytes the batch was read from.
func (b *Batch) Raw() []byte { return b.raw }

// Encoded gives the encoded records in order; they alias the batch.
func (b *Batch) Encoded() [][]byte {
	all := make([][]byte, 0, b.Count)
	for rest := b.body(); len(rest) > 0; {
		size := 4 + int(binary.BigEndian.Uint32(rest))
		all = append(all, rest[4:size:size])
		rest = rest[size:]
	}
	return all
}

// Records parses every record and holds it to the header: the terminal is the
// batch's and numbers have no gap.
func (b *Batch) Records() ([]Record, error) {
	records := make([]Record, 0, b.Count)
	for i, raw := range b.Encoded() {
		r, err := ParseRecord(raw)
		if err != nil {
			return nil, err
		}
		if r.Terminal != b.Terminal || r.Seq != b.First+uint64(i) {
			return nil, ErrMalformed.Explain("record %d is not number %d of the batch's terminal", i, b.First+uint64(i))
		}
		records = append(records, r)
	}
	return records, nil
}

// Verify checks the terminal's signature with its registered key, an
// ed25519.PublicKey or a P-256 *ecdsa.PublicKey.
func (b *Batch) Verify(key crypto.PublicKey) error {
	signature := b.raw[len(b.raw)-signatureSize:]
	switch key := key.(type) {
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, b.signed(), signature) {
			return nil
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() && verifyP256(key, b.Hash, signature) {
			return nil
		}
	}
	return ErrBatchSignature
}

var p256Half = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// verifyP256 takes low s only: a batch has one signature form on the wire.
func verifyP256(key *ecdsa.PublicKey, digest [32]byte, signature []byte) bool {
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return s.Cmp(p256Half) <= 0 && ecdsa.Verify(key, digest[:], r, s)
}

// SignP256 gives a signer for a terminal whose key is in P-256 hardware; sign
// gives r and s for a SHA-256 digest.
func SignP256(sign func(digest []byte) (r, s *big.Int, err error)) Sign {
	return func(message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		r, s, err := sign(digest[:])
		if err != nil {
			return nil, err
		}
		if s.Cmp(p256Half) > 0 {
			s = new(big.Int).Sub(elliptic.P256().Params().N, s)
		}
		out := make([]byte, signatureSize)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	}
}
