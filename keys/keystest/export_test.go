package keystest

import (
	"crypto/elliptic"
	"math/big"
	"slices"
)

// HighS turns a raw low-S signature into its twin with s in the upper half.
func HighS(signature []byte) []byte {
	s := new(big.Int).SetBytes(signature[32:])
	out := slices.Clone(signature)
	s.Sub(elliptic.P256().Params().N, s).FillBytes(out[32:])
	return out
}
