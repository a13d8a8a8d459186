// Package ruleset reads a tenant's rule set and makes of it what readers and the
// gateway run.
//
// A rule set is a YAML file, "citygate: rules/1":
//
//	acceptance   what readers take: schemes, issuers, modes, clocks, lists, and rules
//	limits       per tap, per day, offline and how often
//	routing      which provider contract collects, with those to fall back to
//	liability    who bears what riders do not pay
//
// A rule may say what it is about by lists (issuers, modes, hours, areas, ...),
// by a condition in CEL (when), or by both: then both must hold. Unknown fields,
// unknown variables and anything of the wrong type are refused with the line,
// the column, the rule and the variable ([Faults]). Anchors and aliases are not
// read.
//
// Readers are offline and have no CEL. Conditions of acceptance and limits are
// compiled into the decision table of policies/accept; what has no place in one
// (a fact compared with another fact, arithmetic on facts, a function) is refused
// when the set is read, not met by a surprise at the reader. What a condition of
// such a rule may be made of:
//
//	fact == 1   fact != 1   fact < 1   fact <= 1   fact > 1   fact >= 1
//	fact in [1, 2]   stop in areas.centre   route in areas["night"]
//	clock_ok   !(…)   … && …   … || …   … ? … : …   true   false
//
// and whole-number arithmetic on constants, such as minute >= 22 * 60. Routing and
// liability are the gateway's and take all of CEL, under a limit of cost: the
// estimate when the set is read, and the count when it runs. They are decided here
// ([Set.Route], [Set.Liable]) when gateway/collect asks. A condition of liability knows
// operator, amount, currency, contract, the date of the ride, its age_days when the
// debt began, and reversed: whether the bank took a payment back, which else was declined;
// what another bears of that stays with the operator at once, whatever pay_after_days says.
//
// Hours, days and dates are of the set's own time zone. A table carries the shifts
// of that zone from a year before the set's effect to ten years after it; whoever
// still runs a set after that goes by the last one.
//
// [Set.Canonical] is what a set says without comments, order of lists and ways of
// writing it, and [Set.Hash] its SHA-256: two files with one hash decide alike.
package ruleset
