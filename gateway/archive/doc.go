// Package archive takes a tenant out of a gateway whole, and puts it into an
// empty one.
//
// An export is a directory: manifest.json names every file with its SHA-256 and
// rows; directory.json is the tenants; keys.json is every public key that
// terminals of these tenants trusted, schemes.json how they read codes of other
// schemes and by what public keys; tenants/<number>/<table>.jsonl is every
// row that the tenant owns, one JSON object a line, in the order of its key,
// with bytes as \x hexadecimal: taps with their evidence, journeys, fare
// decisions, transfers, charges, payouts, tariffs, policies, terminals, audit
// log; also the later versions of its calendar, the authorities it serves, its terms
// with other tenants and its part in integrated tariffs, of which what it has in common
// with a tenant of the same export is imported; and settings.jsonl, its quota and how far
// a sandbox's clock is ahead. Names of tables and columns are explained in
// migrations/schema.sql.
// Payout files lie beside them. Private keys and secrets are not in it, nor is
// what lives for a day (answers of the API, challenges of devices).
//
// [Check] holds the files against the manifest, and every tap against its
// terminal's record, its evidence and the public keys, of whatever scheme its code
// is, without a gateway. Codes that only a provider or a shared secret proves are
// counted apart, with the reason. The
// sums find a file that was changed; whoever changes manifest.json too is found
// by its own SHA-256, which the export prints and somebody keeps.
//
// [Import] wants the schema that the export was made with and numbers that
// nobody has. It checks the whole export before it begins; each tenant is then one
// transaction, so what stops it half-way leaves the tenants before.
package archive

import "github.com/cashlesscity/citygate"

// The refusals of this package.
var (
	ErrTampered = &citygate.Code{Name: "archive.tampered", Kind: citygate.Invalid, Title: "The export is not as it was made. Get it again from where it was made."}
	ErrSchema   = &citygate.Code{Name: "archive.schema", Kind: citygate.Conflict, Title: "The export was made with another schema. Import it with the release that made it, then upgrade."}
	ErrTaken    = &citygate.Code{Name: "archive.taken", Kind: citygate.Conflict, Title: "The gateway has a tenant of this number, name or issuer number. Import into an empty gateway."}
)
