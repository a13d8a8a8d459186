package tenants

import "time"

// How long taps and what joins them to a rider are kept, and what may still come
// in of them. A tap or claim that is older than the receiver remembers could be
// charged twice, so the bounds leave days between them: a code is shown, by clocks
// that may be a day off each, within three days of the first time it was used.
const (
	// KeepMin is the least that taps and rider detail are kept: card schemes want
	// riders to see their rides for 120 days (fares-and-money.md 8.1).
	KeepMin = 120 * 24 * time.Hour
	// ClaimsWithin is how long after a tap an issuer takes a claim that rests on it.
	ClaimsWithin = 110 * 24 * time.Hour
	// TapsWithin is how long after the event an operator takes a tap as money,
	// whatever its rules say.
	TapsWithin = 90 * 24 * time.Hour
)
