// Package policytest runs decision tables: text files that say what a rule set
// should decide. They are for operators, beside their rule sets, as much as for us.
//
//	rules: night.yaml
//	defaults: mode=bus kind=single issuer=101 currency=CNY amount=200
//
//	taps:  at                 medium  stop | outcome  rule
//	       2026-11-22T22:59   band    S1   | accept
//	       2026-11-22T23:00   band    S1   | refuse   no-bands-at-night
//
//	routes:     amount  wallet  up              | contract     rule
//	            50000   alipay  alipay-backup   | alipay-backup large
//
//	liability:  operator  amount | issuer_bears  rule
//	            1003      800    | 500           partners
//
// A line that begins with taps:, routes: or liability: names the columns of the
// lines under it; what is right of the bar is what must come out. - and a column
// that is missing stand for the default, and without one for what is not known (0
// or nothing). A rule that is left out is not compared; "none" wants that no rule
// decided. Columns are separated by blanks, # begins a comment.
//
// Times are local to the rule set (2026-11-22T23:00, seconds if wanted), or have
// an offset (2026-11-22T23:00:00+08:00), which a time that comes twice needs.
// Columns of taps are the facts of policies/accept; naming day_taps, day_amount,
// hour_taps or since_last makes the reader remember the rider. up and may hold
// names of provider contracts with commas between; may is what can charge the
// payer, everything if it is left out.
//
// Taps are decided by the table that readers carry, and held against the
// conditions themselves: a difference fails too. Of liability provider_bears and
// platform_bears can be asked for as well.
package policytest
