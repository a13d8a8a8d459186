// Package bands reads distance tariffs as cities describe them, in kilometres
// with decimals, and prices a distance by them. It is pure and knows no float:
// kilometres are decimal text from the file to the band.
//
// The form is that of testdata/distance-tariffs.json: a base amount up to so
// many kilometres and then steps, each of which adds an amount for every
// started per_km up to its upto_km; the last step may have no end (null). Where
// a band ends belongs to that band.
//
// The distance is the length of the shortest path of the network between entry
// and exit, not of the path ridden: 17.15 km, not 21.73.
//
// [Tariff.Distance] gives the tariff as a rule of package fare, which wants
// whole metres; any distance is as dear as the next whole metre, because every
// limit and step is one.
package bands
