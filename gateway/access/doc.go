// Package access knows people and their keys: who belongs to a tenant or to the
// platform, with which roles; their API keys; and the OpenID Connect issuers where they sign in.
//
// A caller is one of three things. A token with the scope platform, admin or
// read carries a role of that strength and is made by a command. A token with
// the scope member speaks for a member, whose roles are looked up at every
// request. An API key speaks for its owner, and does what its scopes name of
// what the owner may do at that moment. Tokens of members are given for an ID
// token of one of the tenant's issuers ([Guard.Exchange]); ID tokens themselves
// are not taken at other routes, so that one place verifies what strangers
// signed, and a revocation never waits for somebody else's expiry.
//
// # Versions
//
// Everything about a tenant is read into one immutable snapshot with an
// enforcer of policies/authz. Each change counts up the tenant's version in its
// own transaction. An instance looks at the versions of the tenants it holds
// when a request finds the last look more than a second old, so a role, key or
// token that was revoked elsewhere is refused everywhere within two seconds of
// traffic, without NOTIFY, and an idle instance asks nothing. While the database
// does not answer, requests go on with what is known; after 30 s without a look
// that worked those that change anything are refused ([ErrStale]), and reads go
// on.
//
// # Two persons
//
// A tenant says which kinds of operations need a second person: all where it is
// live, none in a sandbox, until it says otherwise; to lower that needs one too,
// and the platform's people are no exception. Such a request becomes a proposal
// ([Guard.Propose]) of its operation, path and body, by hash. Somebody else
// approves it ([Guard.Approve]) within a day: not the proposer, by whatever token
// or API key, and no API key at all. Then the proposer sends the same request
// again and it runs ([Guard.Begin]); what is stored is never run, and a request
// that differs makes the approval void. Every change of a run is noted with the
// proposal in the change's own transaction, so a proposal has its effect once,
// whoever races and wherever a process dies. The audit log has both names.
//
// Wherever anything needs a second person, so do changes of members, roles and
// issuers ([AccessChange]): who could make a member alone could approve as that
// one. A tenant that has nobody else yet has its next people approved by those
// above it, or by command. People are told apart by names that say whose they are
// ([Caller.In]): those of an authority are other persons in what it owns, whatever
// they are called there.
//
// What is approved stays so when its approver loses the right to approve;
// anybody else who may approve can refuse it until it has run. Commands of
// whoever runs the installation ask nobody: they are the way out when there is
// no second person, and are in the audit log.
//
// # The platform
//
// People of the platform itself are members of tenant 0, in tables of the schema
// platform: they sign in at issuers of its own, have API keys, and are
// administrators or auditors. All of the above holds for them; the role auditor
// of tenants is another than theirs, which alone reads the platform's audit log.
// Their names begin with "platform:". Moving a tenant along its life, saying whom
// it serves, changing the platform's people and revoking their keys needs two of
// them while there are two administrators, unless they say otherwise. Tokens by
// command work besides, without a member.
//
// # Not done
//
// One human with accounts at two issuers, or in a tenant and at the platform,
// counts as two, and who may add members or issuers can add such a one: the audit
// log shows it.
package access
