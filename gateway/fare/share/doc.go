// Package share divides what riders paid under an integrated tariff among the
// operators that carried them. It is pure and exact: the same rides give the same
// shares, whatever the order in which they became known.
//
// # Weights
//
// A ride's weight is its nominal fare: what it costs before transfers and caps.
// Where several operators carried one ride, the paths between its two stops say
// who did how much of it ([Terms.Paths]): the probability of each path times the
// share of its kilometres, added up (the "double proportion" of metro clearing).
// Without a path the operators of its taps have equal parts.
//
// # Pools
//
// Money is divided after transfers and caps: what was really paid for the rides of
// a pool, by the nominal fares of those rides. So nobody gets less because a cap
// or a transfer happened to fall on his ride. A pool is one ride, the rides of one
// chain of transfers, or the rides of one business date ([Terms.Pool]).
//
// # Rounding
//
// Shares are whole minor units that add up to the amount: each operator gets the
// whole part of its exact share, and the units left go to the largest remainders
// ([Apportion]). Of equal remainders the operator that received less of this payer
// in this period comes first, and then a turn that follows from the pool's first tap. The sums
// that decide are those of one payer's earlier rides: sums over all riders would
// make the shares depend on which upload came first. The turn is drawn for each
// pool because most riders have few: by operator number, the smallest number would
// gain on every rider.
package share
