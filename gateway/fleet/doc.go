// Package fleet knows an operator's terminals, vehicles and payees, and
// publishes the trust bundles that its terminals hold.
//
// A terminal is a key. Its number names that key for ever, so a device with a
// new key is a new terminal, and a number enrolled twice with two keys is
// refused. A [Flag] says what is wrong with a terminal (its clock, its batches)
// and never refuses taps.
//
// [UsedLists] says by which deny lists terminals decided, and how old those were:
// a list that nobody loads protects nobody.
//
// A device can enrol itself with a pairing code ([Fleet.Pair], [Fleet.Redeem]).
//
// A payee is who gets the money of a ride: the driver's payee if the driver is
// assigned one at that time, else the vehicle's, else the operator's default
// payee. An assignment holds from its date until the next one of the same
// vehicle or driver, so two can not overlap; rows are only added, and one added
// for the past changes what is resolved for the past from then on.
//
// The [Publisher] makes an operator's bundle of the issuers it accepts, the
// keys they announced and the operator's policy. Numbers only grow and each
// bundle names the one before. A threshold of the platform's roots signs it:
// where enough of them are in the gateway's own key store it is in force at
// once; where they are offline it is a draft, stored and handed out, until the
// signatures that people made elsewhere were imported. Meanwhile the one before
// stays in force, at the gateway also after it expired: terminals refuse codes
// then, and what they took in time is still verified.
//
// A terminal may have a profile of its own ([TerminalProfile]): mode, stop, route,
// kinds of taps, highest fare, schemes, features. Bundles carry those that are set;
// equal ones share an entry, and a bundle has room for 512 different ones and 4,096
// terminals. Profiles narrow what the policy allows, but for the mode, and lower no
// floor. A terminal goes on with the bundle it holds, so intake judges its taps under
// every mode it was ever given ([ModesOf]).
//
// Each terminal has a floor: the highest bundle that a tap of it named, so
// acknowledged. A terminal set back to an old copy of its memory cannot notice;
// here it is seen ([Reported]) and flagged. [Acknowledged] tells which terminals
// do not hold a bundle yet. Both know what taps say and nothing else: a terminal
// that nobody taps at acknowledges nothing.
//
// Functions that take a *pg.Tx join the caller's transaction and read the
// tenant from it. The package does not deliver bundles and does not know what
// a policy says.
package fleet
