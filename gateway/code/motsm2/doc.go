// Package motsm2 reads ride codes laid out like the code of China's Ministry of
// Transport (JT/T 1179): an issuer signs an account, limits and the phone's
// public key; the phone signs that and the time. Three SM2 signatures in all,
// the first by a root CA over the issuer's certificate.
//
//	 1 version 1 (80..FF)     | 2 length of all that follows 2
//	 3 certificate 117        | 4 payment account 16  | 5 user account 10
//	 6 card issuer 4          | 7 code platform 4     | 8 account type 1
//	 9 highest fare 3, fen    | 10 user public key 33 | 11 authorisation ends 4
//	12 code validity 2, s     | 13 length of 14, 1    | 14 custom 0..32
//	15 issuer signature 1+64  | 16 made at 4          | 17 user signature 1+64
//
// 332 to 364 bytes with the certificate, 215 to 247 without. The certificate:
//
//	24 | service id 01010000 | root CA index 1 | format 12 | issuer id 4 | ends MMYY 2 |
//	serial 3 | 04 SM2 | 04 | 00 | 33 | issuer public key 33 | signature 64
//
// of which the root signs the 47 bytes from the format to the key. The issuer
// signs fields 3 to 14, the user fields 1 to 16. The byte before a signature is
// not established publicly; its value is ignored.
//
// Everything here is from public descriptions and implementations, not from the
// bought standard, and no official vectors are public. Cities vary, so a tenant
// sets [Params]. With the default, version 80 signs under the default SM2 user id
// three times and version 81 under service id and CA index, issuer and platform,
// and user account; another version is unsupported until the tenant says which.
//
// What this package promises:
//   - the certificate is checked under a root held here, never under itself, and
//     every signature is checked: a code of anybody's own key pairs is refused;
//   - the replay key is the card, the user's key and the time, not the bytes: the
//     prefix bytes can be changed by anyone;
//   - the highest fare is in minor units ([code.Code.CapMinor]); a fare above is
//     refused before any signature is looked at.
//
// What it does not: an authorisation carries no time of issue, so IssuedAt is
// when the code was made. There is no counter, so a copied phone key shows only
// as two codes at a time. Nothing binds a code to a vehicle: shown on, it works
// elsewhere inside its validity.
package motsm2
