// Package code is what every ride code has in common, whatever its scheme: the
// parsed [Code], the [Scheme] that reads one family of codes, the [Verdict] of
// checking it and the closed set of [Reason] words for a refusal.
//
// A [Dispatcher] finds the scheme of scanned bytes. It imports no scheme:
// wiring hands it the ones a tenant allows, in the tenant's order.
//
//	d := code.NewDispatcher(ct1.Scheme{})
//	raw, err := d.Binary(buf[:0], scanned) // a QR may carry the text form
//	err = d.Parse(raw, &c)                 // structure only, no allocation
//	...                                    // windows, caps, deny list, replay
//	verdict := d.Verify(&c, bundle, cache) // signatures
//
// The order matters: everything a validator can refuse for without a signature
// check it refuses first, and that path allocates nothing, so that garbage
// shown to a reader costs it next to nothing.
//
// The package promises that no answer depends on a clock, on I/O or on what was
// scanned before, with one exception that cannot change an answer: [Credentials]
// remembers issuer signatures that held. It knows no policy: a verdict of
// accept says that the signatures hold, not that the ride is allowed.
package code
