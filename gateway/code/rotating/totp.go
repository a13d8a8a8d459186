package rotating

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 and the wallets: HMAC-SHA-1 stands
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"github.com/cashlesscity/citygate"
)

// An Algorithm is the hash under a one-time value.
type Algorithm string

// The algorithms of RFC 6238. Wallets know SHA1 alone.
const (
	SHA1   Algorithm = "SHA1"
	SHA256 Algorithm = "SHA256"
	SHA512 Algorithm = "SHA512"
)

func (a Algorithm) hash() func() hash.Hash {
	switch a {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	case SHA512:
		return sha512.New
	}
	return nil
}

// Value writes the value of a counter or time step, in decimal with leading
// zeros, as many digits as into is long (RFC 4226 section 5.3).
func (a Algorithm) Value(into []byte, secret citygate.Secret, step uint64) {
	mac := hmac.New(a.hash(), secret.Reveal())
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], step)
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	n := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	for i := len(into) - 1; i >= 0; i-- {
		into[i] = '0' + byte(n%10)
		n /= 10
	}
}
