package ct1

import (
	"errors"

	"github.com/cashlesscity/citygate/gateway/code"
)

// DisplayProof makes a code that proves its rider to the gateway and rides nowhere: a
// display for a party of nobody, which every reader takes for malformed. d states a
// party of 0; the rest is as for [Display], and the counter is the same one. What a
// device shows at a reader is seen by others and proves nobody; this is sent, and never
// shown. A hash chain can state nothing and makes none.
func DisplayProof(credential []byte, d Dynamic, sign func(msg []byte) ([]byte, error)) ([]byte, error) {
	if d.Party != 0 {
		return nil, errors.New("proof: a party of 0 tells it from a ride")
	}
	return display(credential, d, sign)
}

// ParseProof reads what [DisplayProof] made, and nothing that rides. c's slices alias
// raw; [Scheme.Verify] checks its signatures. On error c is zero.
func ParseProof(raw []byte, c *code.Code) error {
	*c = code.Code{}
	credential, err := parseCredential(raw, c)
	if err == nil {
		err = parseDynamic(raw[credential:], c)
	}
	if err == nil && c.Party != 0 {
		err = code.ErrMalformed
	}
	if err != nil {
		*c = code.Code{}
		return err
	}
	c.Raw = raw
	return nil
}

// ProvesByDisplay reports whether all that a code's device can prove its rider by is what
// it shows at readers: it has no key of its own to make a proof with. Whoever sees such a
// code can do with it what its rider can.
func ProvesByDisplay(c *code.Code) bool {
	return c.Suite == SuiteChain || c.Medium == code.MediumServerBatch
}
