// Package edge is the HTTP door of the gateway: routing, authentication,
// decoding, problem documents, limits. An endpoint here is what is special
// about it; what it does lives in the vertical it calls.
//
// Every route is exactly one of:
//
//   - token: a bearer token (short-lived EdDSA JWT, or an API key) that names
//     its tenant or the platform; unsafe methods carry an Idempotency-Key;
//   - terminal: the body is signed by a terminal's key; its natural keys make
//     a repeat harmless, so it takes neither token nor Idempotency-Key;
//   - proof: the body proves who asks, such as an ID token;
//   - public: a signed or public document that anyone may cache.
//
// Requests over the quota of their tenant, or of their client address, are refused
// before their body is read: see [Limits]. The client address is that of the
// connection. Behind a proxy all clients share one; then it is the proxy that must
// limit who asks for public documents, and [Limits] has to be raised.
//
// A route without a class does not answer, and a test walks the router to find
// one. Every operation has a line in the permission table (permissions.go): one
// without cannot be registered. A refusal names the permission that was missing.
// Operations in guards (approvals.go) may need a second person: they answer 202
// with a proposal, and run when they are sent again after its approval.
// Errors are RFC 9457 problem documents with a stable code, whose page is at
// /problems/{code} and in docs/errors.md; the cause stays in the log. OpenAPI 3.1 is emitted from the Go types and served at
// /openapi.yaml; the binary tap upload is added to it by hand, and a test
// compares router and document both ways.
package edge
