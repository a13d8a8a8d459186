package keys

import (
	"time"

	"github.com/cashlesscity/citygate"
)

// A Reason says why a key store cannot be used now. It is safe to show to
// anyone.
type Reason string

// The reasons.
const (
	Sealed    Reason = "the key store is sealed; an operator has to unseal it"
	Down      Reason = "the key store does not answer"
	Slow      Reason = "the key store did not answer in time"
	Throttled Reason = "the key store asks for fewer requests"
	Busy      Reason = "too many requests of this tenant wait for the key store"
	Denied    Reason = "the key store does not accept the gateway's login"
	Garbled   Reason = "the key store gave an answer that makes no sense"
)

// An Unavailable is an [ErrUnavailable] that knows why and when to try again.
// What was asked for did not happen, unless it was a [Signer.Rotate] or
// [Secrets.Put] whose error says that its outcome is unknown.
type Unavailable struct {
	Reason Reason
	After  time.Duration // how long to wait before the next try, above 0
	Cause  error         // for the log; may be nil
}

// Error gives the reason and the cause.
func (u *Unavailable) Error() string {
	s := ErrUnavailable.Name + ": " + string(u.Reason)
	if u.Cause != nil {
		s += ": " + u.Cause.Error()
	}
	return s
}

// Unwrap gives [ErrUnavailable], with the reason as what the caller may see,
// and the cause.
func (u *Unavailable) Unwrap() []error {
	shown := ErrUnavailable.Explain("%s", string(u.Reason))
	if u.Cause == nil {
		return []error{shown}
	}
	return []error{shown, u.Cause}
}

// RetryAfter says how long to wait; the API answers with it.
func (u *Unavailable) RetryAfter() time.Duration { return u.After }

var _ interface{ RetryAfter() time.Duration } = (*Unavailable)(nil)

// ErrForbidden says that this process may not do what was asked, whoever asks.
var ErrForbidden = &citygate.Code{Name: "keys.forbidden", Kind: citygate.Forbidden, Title: "This gateway's identity at the key store may not do that. Do it where the administering identity is, or mend its policy."}

// ErrUnsafe says that a key exists in a form that nothing may be signed with.
var ErrUnsafe = &citygate.Code{Name: "keys.unsafe", Kind: citygate.Conflict, Title: "The key could leave its store or is not for signing, so nothing is signed with it. Rotate to a new key made by the gateway."}
