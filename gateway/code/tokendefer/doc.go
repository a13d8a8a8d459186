// Package tokendefer reads opaque tokens of a biometric or card reader: a palm or
// face terminal, or a closed card reader, has recognised somebody by its own
// means and hands over a token that its provider will know.
//
// A code is text: "TKN1:" provider ":" token. The provider is 1 to 32 of a-z, 0-9
// and '-'; the token is 16 to 64 bytes in base64url without padding, in the one
// form that decodes.
//
// Nothing here can prove a token, so the answer to a well-formed one is always
// Defer: the operator rides on its provider's word, up to the parameters' cap.
// The replay key is provider and token. A provider must give a fresh token for
// each recognition; one that gives the same token each time is refused as a
// replay until the window is over.
//
// No image and no template of a body is accepted, stored or uploaded: a token is
// at most 64 bytes, which holds no template in use, and one that begins like an
// image or a standard template is malformed.
package tokendefer
