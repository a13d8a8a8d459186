// Package emvcpm is the code scheme "emv-cpm": the payment code that a wallet
// shows to a till, EMV QR Code Specification, Consumer-Presented Mode 1.1. In
// the symbol it is base64 text; inside are BER-TLV templates:
//
//	85 "CPV01" | 61 application .. | 62 common data
//	61: 4F application id, 50 label, 57 track 2, 63 {..}
//	62: 5A account number or token, 5F20 name, 5F2D language, 64 {9F26 cryptogram, 9F36 counter, ..}
//
// At a reader that is offline such a code is a promise and no proof: the
// cryptogram is symmetric and only the issuer can check it. So the verdict is
// always Defer, never Accept, and what is promised is at the operator's risk up
// to the tenant's cap_minor.
//
// What this package promises:
//
//   - one payload has one byte form: base64 without line breaks, stray bits or
//     other alphabets, lengths in the fewest bytes, no padding, no element twice
//     in a template, none empty;
//   - every application names an account (5A or 57, which agree), a counter and a
//     cryptogram, or the code is unsupported;
//   - who rides is the account number; which display it is, everything that the
//     issuer or the network acts on. What only people read (the words of label,
//     name, language and link) is left out, so that the same promise in other
//     words is the same display;
//   - parsing allocates nothing.
//
// A code begins the same for every payer and holds a card number: whoever stores
// the evidence stores that.
//
// A merchant's code ("000201..", a sticker at a till) is the other side of the
// same specification. It is recognised, so that a reader can say what was shown
// to it ([ErrMerchantCode], reason unsupported; malformed when its checksum is
// wrong), and it is never taken: it names who is paid and not who pays, and has
// no signature against a sticker on the sticker.
package emvcpm
