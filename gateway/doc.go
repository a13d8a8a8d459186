// Package gateway puts the verticals together: the whole program without a
// process around it.
//
// New takes everything a process has (database URLs, clock, randomness, key
// store, files, payment products) and gives a Gateway: its HTTP handler, its
// job workers, and Tick, which wakes whatever became due. Nothing here reads
// the environment or asks for the time.
package gateway
