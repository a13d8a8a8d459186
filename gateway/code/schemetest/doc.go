// Package schemetest is the conformance kit of gateway/code: what every code
// scheme must do with its own codes, with other schemes' codes and with a
// million codes that somebody tampered with.
//
// A scheme's test gives it the scheme, vectors, and for every accepted vector
// the parts that a signature or a secret covers:
//
//	func TestConformance(t *testing.T) {
//		schemetest.Run(t, schemetest.Suite{Scheme: motsm2.Scheme{}, Vectors: vectors(t)})
//	}
//
// A scheme also keeps a file testdata/codes.txt, one code a line in hexadecimal
// with a comment after '#': its own vectors must be in it, and every other
// scheme must answer No to each line. So a new scheme meets all the old ones,
// and they meet it, without another file being touched.
//
// What is checked, each by its own case:
//
//   - vectors: outcome, reason, strength and checks as expected, twice, and the
//     same with a credential cache, cold and warm;
//   - nobody: without keys nothing is accepted;
//   - others: No to the codes of all other schemes, and they do not parse;
//   - form: own codes are recognised and parse without allocating, an error
//     leaves nothing behind, a code is its own evidence;
//   - verdicts: only Accept has no reason, and every reason is of the closed set;
//   - regions: in every part that is covered, a change is refused, and for the
//     reason of the check that covers it; no byte of an accepted code is left
//     unaccounted for;
//   - mutations: none panics; none is accepted with another subject, limit, time
//     or replay key than a genuine code's; none of a deferred code is deferred
//     with the genuine replay key, unless only Loose bytes changed.
//
// Every case is known to catch something: the kit's own tests hold at least one
// broken scheme for each.
package schemetest
