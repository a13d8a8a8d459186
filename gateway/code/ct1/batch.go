package ct1

import (
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/gateway/code"
)

// BatchHoursMax is the longest life of a credential that a batch is made for:
// whoever copies the codes can ride with them until it ends.
const BatchHoursMax = 24

// A BatchPlan says which codes a server makes ahead for a medium that has no key.
type BatchPlan struct {
	From    int64 // unix seconds: the first code's window begins
	Count   int   // codes, one a window, without a gap
	Counter uint16
	Context uint16
	Party   uint8
}

// Batch makes the codes of consecutive windows for a wallet or band that has no
// key: the server that holds the device key signs them ahead. Code i is for
// [From + i x window, From + (i+1) x window) and has the counter Counter + i;
// the device shows the one of the hour and the others stay unused.
//
// The promise is weaker than a device's own: a copy of the batch, taken from the
// wallet, from its backup or on its way there, rides as well as the original,
// and the first to show a window's code has it. Every code says so (medium
// server batch), the verdict is [code.StaticSigned], and the credential may not
// live longer than [BatchHoursMax]. The same code at two validators within its
// window is found at upload, as with every suite.
//
// sign is as for [Display]. A credential of [SuiteChain] needs no batch.
func Batch(credential []byte, b BatchPlan, sign func(msg []byte) ([]byte, error)) ([][]byte, error) {
	var c code.Code
	if err := ParseCredential(credential, &c); err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	last := int64(b.Counter) + int64(b.Count) - 1
	switch {
	case c.Suite == SuiteChain:
		return nil, errors.New("batch: a band with a hash chain makes its own codes")
	case c.ExpiresAt-c.IssuedAt > BatchHoursMax*hour:
		return nil, fmt.Errorf("batch: the credential lives %d hours, at most %d for codes made ahead", (c.ExpiresAt-c.IssuedAt)/hour, BatchHoursMax)
	case c.Window == 0:
		return nil, errors.New("batch: a display window of 0 seconds")
	case b.Count < 1 || last > 1<<16-1:
		return nil, fmt.Errorf("batch: %d codes from counter %d, want 1 or more up to counter 65535", b.Count, b.Counter)
	case c.Taps != 0 && last > int64(c.Taps):
		return nil, fmt.Errorf("batch: %d codes from counter %d, but the credential's budget ends at %d", b.Count, b.Counter, c.Taps)
	case b.From < c.IssuedAt || b.From+int64(b.Count-1)*c.Window >= c.ExpiresAt:
		return nil, fmt.Errorf("batch: %d windows of %d seconds from %d are not inside the credential's life", b.Count, c.Window, b.From)
	}
	out := make([][]byte, b.Count)
	for i := range out {
		raw, err := Display(credential, Dynamic{
			GeneratedAt: b.From + int64(i)*c.Window, Counter: b.Counter + uint16(i), Context: b.Context,
			Party: b.Party, ClockQuality: code.ClockNetwork, Medium: code.MediumServerBatch,
		}, sign)
		if err != nil {
			return nil, fmt.Errorf("batch: code %d: %w", i, err)
		}
		out[i] = raw
	}
	return out, nil
}
