// Package opaque takes codes whose layout belongs to their provider: ride and
// payment codes of Alipay, Tencent and others that are not public. A tenant's
// parameters say what such a code looks like; what is in it only the provider
// knows.
//
// The answer to a code that looks right is always Defer. The whole code is the
// evidence, verbatim: it goes to the provider, who decides. The replay key is
// provider, list, kind and code, so a code that was shown once opens nothing
// while it is remembered.
//
// Where a provider gives terminals a closed library that checks codes offline,
// the library needs the provider's public keys. Those are lists: a provider has
// several (one an institution, one for ride codes), each with kinds and numbered
// keys, and they reach a terminal as foreign keys under [Key]. This package names
// them and reads them from a file; it looks into none, and a code does not
// become more than deferred because its provider's keys are held.
//
// Codes of the Ministry's layout that these wallets also show are not opaque: the
// scheme mot-sm2 verifies them.
package opaque
