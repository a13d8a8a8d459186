// Package remote connects a payment provider whose adapter is a program of its
// own, in any language, over HTTP: the provider protocol, version 1. What the
// methods mean is the contract of adapters/driver, word for word; this package
// says how they travel. The machine-readable form is openapi.yaml ([OpenAPI]).
//
// # The two sides
//
// [Open] gives the gateway's side, a driver.Provider that asks the program.
// [NewHandler] gives the other side for programs in Go: it serves any
// driver.Provider. A program in another language implements openapi.yaml;
// `citygate adapter new NAME --lang http` writes one to begin with, and
// `citygate adapter test --url URL` runs the conformance kit against it.
//
// # Calls
//
// Every call is a POST of JSON to one path below the contract's URL, signed by
// the gateway; the answer is JSON signed by the program. Two calls are GET and
// unsigned, and nothing of money is believed from them: /v1/manifest says what
// the program can do, and /v1/health that it lives. The manifest is part of the
// contract's configuration at the gateway, so what a program says it can do
// changes when the operator takes its new manifest over, and not under way. The
// configuration is checked against the manifest's config_schema.
//
// Each call carries the tenant's configuration for the program and its secrets,
// as the gateway's secret store has them at that moment: the program keeps
// neither, and a secret is rotated without touching it. So the URL is https,
// or http on a loopback address, and nothing else is taken.
//
// # Signatures
//
// Both are RFC 9421, with the tag "citygate-provider-1", by Ed25519 or P-256.
// A request covers @method, @authority, @path, content-digest and
// citygate-protocol, and has created, nonce and keyid. An answer covers @status,
// content-digest and the request's own signature ("signature";req), so the
// answer to another call is no answer to this one. Each side takes 5 minutes of
// clock difference. The program's keys are a set by key id, so that it can
// rotate them.
//
// An answer without a signature that holds, whatever its status and content, is
// no answer: the outcome is unknown. So an error page of a proxy never decides
// about money.
//
// # Problems
//
// Instead of a result a program may answer 4xx or 5xx with a signed
// {"code": ...}: "not_performed" says that it certainly did nothing,
// "currency_unsupported" and "bill_not_ready" what their names say,
// "protocol_version" that it does not speak this version, which is certain too.
// Any other code leaves the outcome unknown.
//
// # Bills
//
// A bill is JSON lines, written by the program from whatever the product gives:
// a head, one row for each payment or refund, and an end with their number and
// sums. A large one comes in several answers: one that ends in {"more":true,"rows":n}
// is followed by a call for what is behind n rows. See [Driver.ReadBill].
//
// # What does not travel
//
// driver.CodeIssuer does not. A provider's request for a ride code is answered with a
// signature by the tenant's credential key, the same that signs the codes of all its
// riders. In the gateway an adapter builds what is signed out of fields that it proved.
// If a program named the bytes, in however many steps, it could name those of any code,
// for any rider and for ever: the key would stay in its signer and be the program's all
// the same. The gateway could only prevent that by building or reading the code itself,
// for each layout, and then nothing of the product would be left to the program. So such
// a product is an adapter in the gateway, as wechatpay is.
package remote
