package bundle

import "github.com/cashlesscity/citygate"

// The refusals of [Open] and [Bundle.Follow], of root sets and of drafts.
// [Refusals] lists them: a terminal that refuses a bundle says one of these.
var (
	ErrMalformed      = &citygate.Code{Name: "bundle.malformed", Kind: citygate.Invalid, Title: "This is not a trust bundle in its one canonical form. Fetch it again."}
	ErrTampered       = &citygate.Code{Name: "bundle.tampered", Kind: citygate.Forbidden, Title: "A root signature does not fit the content: it was changed after it was signed. Fetch it again from its publisher."}
	ErrSignedTwice    = &citygate.Code{Name: "bundle.signed_twice", Kind: citygate.Forbidden, Title: "One root signed twice. Have as many different roots sign as the threshold asks for."}
	ErrUnderThreshold = &citygate.Code{Name: "bundle.under_threshold", Kind: citygate.Forbidden, Title: "Fewer roots signed than the threshold asks for. Have another root sign."}
	ErrNotTrusted     = &citygate.Code{Name: "bundle.not_trusted", Kind: citygate.Forbidden, Title: "The roots that signed are not those trusted here, and no rotation leads from one to the other. Check the root keys installed."}
	ErrExpired        = &citygate.Code{Name: "bundle.expired", Kind: citygate.Forbidden, Title: "The trust bundle has expired. Fetch the latest one."}
	ErrOlder          = &citygate.Code{Name: "bundle.older", Kind: citygate.Conflict, Title: "The trust bundle is older than one already seen. Fetch the latest one."}
	ErrForked         = &citygate.Code{Name: "bundle.forked", Kind: citygate.Conflict, Title: "The bundle does not follow the one held. Two publishers are at work: stop one."}
	ErrWrongTenant    = &citygate.Code{Name: "bundle.wrong_tenant", Kind: citygate.Forbidden, Title: "The bundle was made for another operator's terminals. Fetch that of the own operator."}
	ErrWrongUsage     = &citygate.Code{Name: "bundle.wrong_usage", Kind: citygate.Invalid, Title: "A key in the bundle mixes usages that must be kept apart. Publish the bundle again with one key per usage."}
	ErrEmpty          = &citygate.Code{Name: "bundle.empty", Kind: citygate.Invalid, Title: "The bundle trusts no issuer. Publish an issuer's credential key first."}
	ErrDropsKeys      = &citygate.Code{Name: "bundle.drops_keys", Kind: citygate.Conflict, Title: "The bundle drops most of the keys held. Revoke keys one by one, or enrol the terminal again."}
)

// Refusals gives every reason for which a bundle is refused, in the order in
// which they are looked for. The set is closed.
func Refusals() []*citygate.Code {
	return []*citygate.Code{
		ErrMalformed, ErrSignedTwice, ErrTampered, ErrUnderThreshold, ErrNotTrusted, ErrWrongUsage, ErrEmpty,
		ErrOlder, ErrExpired, ErrForked, ErrDropsKeys, ErrWrongTenant,
	}
}
