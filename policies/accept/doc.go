// Package accept is the part of a tenant's policy that decides at the reader:
// which issuers, schemes, products and modes of transport the tenant takes,
// how far clocks may differ, how old a deny list may be.
//
// The same code runs in the terminal, offline, and in intake, after upload, so
// that both give one answer to one tap. A [Rules] value is one immutable
// version: whoever wants to change a rule makes the next version, and each
// decision carries the version it was made by.
//
// Beside its fixed fields a version may carry a decision table ([Table]): rules
// and limits made by policies/ruleset, in a form that is small, bounded in steps
// and the same in every language. It is asked last before the deny lists
// ([Rules.Judge]) and names the rule that decided. testdata/tables.json is the
// corpus that readers in Go, C and TypeScript are held to. A version that is
// published for later is carried with the one before it ([Rules.InForce]).
//
// The package is pure: the caller passes the time. It does not check
// signatures and it knows no deny list; [Rules.BeforeSignatures] covers what is
// cheap and comes first, [Rules.Freshness] says whether what is known of a rider is
// fresh enough. Neither allocates.
//
// An unsure clock (Facts.ClockOK false) is taken as a lower bound of the true
// time: codes that are too old by it are refused, codes that seem to come from
// the future are not, and a lower cap applies instead.
package accept
