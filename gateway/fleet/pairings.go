package fleet

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

// A pairing code lets a device enrol itself: somebody who may enrol terminals
// says what the device is to be and gets a code, and the device sends the code
// with its public key and a signature ([PairingProof]). The private key never
// leaves the device, and who installs it needs no account.
//
// A code is 12 letters and digits, 60 random bits, and good for one device
// within [PairingLife]. Only its hash is kept. A device whose answer was lost
// asks again with the same key and gets the same answer, for a day; whatever
// else is wrong (no such code, used by another key, over, withdrawn, another
// tenant's, signature) is one refusal, [ErrPairing].

// The times and limits of pairing codes.
const (
	PairingLife  = 10 * time.Minute
	pairingAgain = 24 * time.Hour // behind the end, for a device that lost its answer
	pairingsMost = 1000           // codes of a tenant that wait for a device
)

// PairingPrefix begins the ids of pairing codes at the API.
const PairingPrefix = "pcd_"

// The refusals of pairing.
var (
	ErrPairing   = &citygate.Code{Name: "pairing.refused", Kind: citygate.Unauthenticated, Title: "The pairing code is not good for this device: unknown, over, or used by another key. Ask for a new code."}
	ErrNoPairing = &citygate.Code{Name: "pairing.not_found", Kind: citygate.NotFound, Title: "No such pairing code waits for a device. List those that do."}
	ErrPairings  = &citygate.Code{Name: "pairing.too_many", Kind: citygate.TooMany, Title: "Too many pairing codes wait for devices. Use or withdraw some."}
)

// A Pairing is a code that waits for a device, or had one; without the code.
type Pairing struct {
	ID        citygate.UUID
	Terminal  Terminal // what the device is to be; ID 0 = the next free number
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    *time.Time
	Enrolled  uint32 // the terminal it became
}

// pairingAlphabet is Crockford's base 32: no letter looks like a digit.
const pairingAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// pairingLength is how many letters a code has, of 5 bits each.
const pairingLength = 12

// newPairingCode gives a code as people type it, such as 7K2M-Q9XT-4BHC.
func newPairingCode(random io.Reader) (citygate.Secret, error) {
	raw := make([]byte, pairingLength)
	if _, err := io.ReadFull(random, raw); err != nil {
		return citygate.Secret{}, err
	}
	text := make([]byte, 0, pairingLength+2)
	for i, b := range raw {
		if i > 0 && i%4 == 0 {
			text = append(text, '-')
		}
		text = append(text, pairingAlphabet[b%32])
	}
	return citygate.NewSecret(text), nil
}

// pairingHash is what is kept of a code. Hyphens, spaces and small letters make
// no difference, nor do O for 0 and I or L for 1.
func pairingHash(code string) (hash [sha256.Size]byte, ok bool) {
	letters := make([]byte, 0, pairingLength)
	for _, r := range strings.ToUpper(code) {
		switch r {
		case '-', ' ':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if !strings.ContainsRune(pairingAlphabet, r) || len(letters) == pairingLength {
			return hash, false
		}
		letters = append(letters, byte(r))
	}
	return sha256.Sum256(letters), len(letters) == pairingLength
}

// pairingContext begins what a device signs: nothing else it signs begins so.
const pairingContext = "citygate/pair-terminal/1\x00"

// PairingProof gives the bytes that a device signs with its private key to show
// that it has it: the context, the tenant (8 bytes, big-endian), the SHA-256 of
// the code's letters without hyphens, and the public key (32 bytes). It is false
// for what is no code.
func PairingProof(tenant citygate.TenantID, code string, public ed25519.PublicKey) ([]byte, bool) {
	hash, ok := pairingHash(code)
	message := binary.BigEndian.AppendUint64([]byte(pairingContext), uint64(tenant))
	return append(append(message, hash[:]...), public...), ok
}
