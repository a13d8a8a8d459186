// Package httpsig signs and verifies HTTP messages by RFC 9421, with the
// Content-Digest of RFC 9530 for their bodies. It is the subset that the HTTP
// provider protocol of adapters/remote needs, and no more:
//
//   - algorithms ed25519 and ecdsa-p256-sha256;
//   - the derived components @method, @target-uri, @authority, @scheme,
//     @request-target, @path, @query and, on a response, @status;
//   - fields as they are, without the parameters sf, key, bs and tr; a response
//     may cover components of its request by the parameter req;
//   - one signature per message is made; of several found, the one with the
//     wanted tag is verified, and two with that tag are refused.
//
// What is refused, beside a signature that does not hold: a covered component
// that is missing, unknown or listed twice; a signature that does not cover all
// that [Policy.Required] names; one without created, keyid or (on a request)
// nonce; one from the future or older than [Policy.MaxAge], or past its expires;
// an alg parameter that is not the key's; a digest that is not the body's. The
// key says the algorithm, never the message (RFC 9421, section 3.2).
//
// Whether a nonce was seen before is the caller's business: [Verify] gives it.
// The package holds no clock, key store or network. It is tested with the
// vectors of RFC 9421, appendix B, that use these algorithms.
package httpsig
