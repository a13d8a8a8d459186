package code

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
)

// Checks is the set of checks that held.
type Checks uint16

// The checks. DeviceSignature is also the user's signature of schemes that call
// it so: the key that issuer put into the credential has signed this display.
const (
	IssuerCert      Checks = 1 << iota // the issuer's certificate, under a root held here
	IssuerSignature                    // the issuer's signature over the credential
	DeviceSignature                    // the device's signature over this display
	SharedSecret                       // a value that only who knows the secret can make
	InWindow                           // the credential's life and the display's window
	WithinCap                          // the amount, against the highest fare stated
)

var checkNames = []string{"issuer_cert", "issuer_signature", "device_signature", "secret", "window", "amount"}

// Names gives the names of the checks in c, in the order they are declared.
func (c Checks) Names() []string {
	names := make([]string, 0, bits.OnesCount16(uint16(c)))
	for i, name := range checkNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// MarshalJSON gives the list of names, [] for none.
func (c Checks) MarshalJSON() ([]byte, error) { return json.Marshal(c.Names()) }

// UnmarshalJSON reads the list of names.
func (c *Checks) UnmarshalJSON(raw []byte) error {
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return err
	}
	*c = 0
	for _, name := range names {
		i := slices.Index(checkNames, name)
		if i < 0 {
			return fmt.Errorf("checks: %q is none of %q", name, checkNames)
		}
		*c |= 1 << i
	}
	return nil
}
