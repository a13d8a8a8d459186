// Package city plays a city: riders with phones and wristbands, validators,
// attackers and payment providers around a real gateway, for the demo, the
// benchmarks and the kill tests.
//
// Phones, validators, gateway and providers meet only in code bytes, journal
// files and HTTP; the sandbox provider is the one part called in process. There
// is one clock, and it moves only when uploads, messages, jobs and provider
// calls are drained. Everything is made from the seed and sent in its order, so
// the same seed gives the same counts and money every time.
//
// What is counted comes from two sides: what was done comes from the player,
// what was caught and collected is read back from the gateway's rows and from
// the simulators' own books.
//
// cmd and tests import this package, nothing else does.
package city
