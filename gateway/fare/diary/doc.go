// Package diary prices what one rider tapped over days by itself, without a gateway:
// the taps become journeys (package journey), the journeys are priced in the order of
// their first taps (package fare), with transfers, caps, cumulative discounts, n-th
// rides and products, and what was paid is divided among the operators that carried
// them (package fare/share). It is the code that a gateway prices with; nothing of it
// is written again here. Everything comes from the file, the order of its taps does not
// matter, and a diary priced twice gives the same bytes.
//
// A gateway knows more than a file of taps: claims of riders, readers under suspicion,
// gates that were opened, fares that were given back, other devices of the rider. None
// of that is in a diary. Operators have no numbers in it: of equal remainders of a
// share a gateway draws by number, so that a minor unit that is left over can go to
// another operator there.
package diary
