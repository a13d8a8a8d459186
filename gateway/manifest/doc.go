// Package manifest is the file that describes tenants: who they are, their keys,
// provider contracts, payees, stops, vehicles, terminals, settlement terms,
// fares and acceptance rules. `citygate apply` makes a gateway agree with it.
//
// The package is pure: it reads and writes the file, finds what is wrong with it
// by line, and says what differs between two of them. gateway puts the
// differences into effect.
//
// The form is YAML, read strictly: an unknown or repeated field, an anchor or an
// alias is refused by its line. Secrets are never in the file; it says where
// each comes from (an environment variable, a file, standard input). What a
// gateway already keeps is written "kept".
//
// A file adds and changes; it deletes nothing, as nothing of a tenant can be
// deleted. What it no longer names stays as it is and is no longer managed.
package manifest

import "github.com/cashlesscity/citygate"

// ErrManifest says that a file cannot be read or contradicts itself; the detail
// names the line.
var ErrManifest = &citygate.Code{Name: "manifest.invalid", Kind: citygate.Invalid, Title: "The file is not valid. Correct the named line; citygate schema manifest prints the form of a file."}
