package code

import (
	"errors"
	"slices"
)

// reasons is the closed set, in the order the constants are declared.
var reasons = []Reason{
	Malformed, Unsupported, UnknownIssuer, UnknownKey, KeyRevoked, IssuerCertExpired, BadIssuerCert,
	BadIssuerSignature, BadDeviceSignature, BadSecret, ExpiredCredential, ExpiredCode, NotYetValid,
	AmountOverCap, TapsExhausted, ProductNotValidHere, Denied, StaleList, Replayed, Passback,
	WrongVehicle, InternalError, PolicyRefused, OverLimit,
	SequenceConflict, DoubleUse, Clone, NotIssued, TooLate, ClockSuspect, Unresolved,
}

// Reasons gives every reason there is. The caller owns the slice.
func Reasons() []Reason { return slices.Clone(reasons) }

// Known reports whether r is one of the closed set. "" (no refusal) is not.
func (r Reason) Known() bool { return slices.Contains(reasons, r) }

// ReasonOf gives the reason that stands for an error of Parse, "" for nil.
func ReasonOf(err error) Reason {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrUnsupported):
		return Unsupported
	}
	return Malformed
}
