// Package interop is a module of tests alone: it is never linked into Citygate.
// It meets the payment adapters and their simulators, by the commands citygate
// adapter sim and citygate adapter call, with libraries from the public
// registries that Citygate did not write:
//
//   - their client against our simulator;
//   - the bytes that our adapter sends against their verifiers;
//   - one flipped byte in body, path, header or key id, which both must refuse.
//
// Where no such library exists, a second verifier written from the protocol's
// description alone takes its place; README.md says where that is.
package interop
