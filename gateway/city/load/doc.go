// Package load puts one busy bus operator under load: for the benchmarks of
// "citygate bench" and for the tests that kill the gateway and its database.
//
// An [Operator] is a whole gateway over a database and a directory, with one
// tenant that issues the codes its own buses read, at a flat fare, and collects
// through adapters/sandbox. A [Crowd] is its riders' phones; a [Line] makes the
// signed batches of its terminals. Everything is signed before a clock starts: a
// benchmark that signs while it measures measures signing.
//
// The taps are honest and new: real CT1 codes of P-256 devices, each display
// shown once, counters rising, batches chained. Riders come in an order of their
// own in every round, so that neither an index nor a cache is flattered by
// neighbours.
//
// Limits: one tenant, single taps, one credential for each rider, and a generator
// that shares the machine with what it measures.
package load
