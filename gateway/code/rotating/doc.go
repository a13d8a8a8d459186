// Package rotating reads barcodes whose text changes with the time: a pass and a
// one-time value of RFC 6238 (TOTP), as wallets draw them from a pattern.
//
// The text is a tenant's pattern with these fields filled in:
//
//	{pass}                    letters, digits, '-' and '_', 1 to 64
//	{totp_value_0}            the value, as many digits as the parameters say
//	{totp_timestamp_seconds}  the time of the display, or {totp_timestamp_millis}
//
// The default is "{pass}.{totp_value_0}" with 8 digits of HMAC-SHA-1 every 30
// seconds. Every field but the time must be there, once; a variable field is
// followed by a character that it cannot hold, so that a text reads in one way.
//
// A value is looked for in the step of the tap, the one before and the one
// after, which is all the skew there is (skew_s is not used). A time on the
// barcode is a claim: it says which of the three steps to look in, and one
// further away is expired_code or not_yet_valid.
//
// What this package promises: a value opens once, since the replay key is
// (pass, step) however the text was written, and it is known after [Scheme.Verify]
// at the latest. What it does not: rotating is not bound. Whoever has the pass's
// secret draws the same barcode on any device, and a validator that can check
// holds that secret. The verdict says secret_bound. [Master] derives the secrets
// of all passes from one that lies in the tenant's secret store: the gateway reads
// the trust object of [Plugin] from the secret code-rotating of the contract that
// collects.
package rotating
