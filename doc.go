// Package citygate is the vocabulary of the gateway a city plugs its transport
// operators and payment providers into: money, identifiers and error codes.
//
// It imports the standard library only and does no I/O. Everything else is
// found by guessing the folder:
//
//	tenants/   who takes part, and the only door to the database
//	keys/      signing keys and secrets per tenant; the trust bundle
//	policies/  the rules a tenant accepts taps by
//	adapters/  payment providers
//	gateway/   codes, taps, journeys, fares, books, settlement; the HTTP edge
//	cmd/       the one program, citygate
//
// Imports point one way: root <- tenants, keys, adapters, policies <- gateway/*
// <- gateway <- cmd. ARCHITECTURE.md draws it and TestImports holds it.
package citygate
