package terminal

import (
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A Decider answers one presentation from what it is given, in the order of the
// package doc up to the signatures, and keeps nothing. A [Verifier] has one
// inside. It serves on its own where the journal and the lists live elsewhere:
// behind a C interface, in an inspector's handheld.
//
// It is safe for concurrent use when its functions are.
type Decider struct {
	Schemes *code.Dispatcher
	Rules   *accept.Rules  // nil = no trust yet: nobody is known
	Keys    code.KeySource // as Rules
	// Credentials remembers riders whose issuer signature held; nil works.
	Credentials code.CredentialCache
	// Denied says why a rider may not ride by the deny lists held, "" if he may;
	// nil asks no list.
	Denied func(c *code.Code) code.Reason
	// Seen reports whether a display was accepted here before; nil = none was.
	// What an accepted code used is the caller's to remember.
	Seen func(use code.Use) bool
	// Memory gives what is known of a rider's earlier taps, for limits that ask
	// about them; nil = nobody remembers, and such limits are passed over.
	Memory func(c *code.Code, facts accept.Facts) accept.Memory
}

// Decide parses raw into c and checks it. raw is the code's bytes: text forms
// are for [code.Dispatcher.Binary] to decode before.
func (d *Decider) Decide(c *code.Code, raw []byte, facts accept.Facts) code.Verdict {
	if err := d.Schemes.Parse(raw, c); err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	if d.Rules == nil || d.Keys == nil {
		return code.Refuse(code.UnknownIssuer)
	}
	if d.Memory != nil {
		facts.Memory = d.Memory(c, facts)
	}
	reason, rule := d.Rules.Judge(c, facts)
	if reason != "" {
		refused := code.Refuse(reason)
		refused.Rule = rule
		return refused
	}
	if d.Denied != nil {
		if reason := d.Denied(c); reason != "" {
			return code.Refuse(reason)
		}
	}
	use := c.Use()
	if d.seen(use) {
		return code.Refuse(code.Replayed)
	}
	verdict := d.Schemes.Verify(c, d.Keys, d.Credentials)
	if verdict.Reason == "" && c.Use() != use && d.seen(c.Use()) { // only the check showed which display it was
		return code.Refuse(code.Replayed)
	}
	if verdict.Outcome != code.Reject {
		verdict.Rule = rule
	}
	return verdict
}

func (d *Decider) seen(use code.Use) bool { return d.Seen != nil && d.Seen(use) }
