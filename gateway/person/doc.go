// Package person joins a rider's devices, phone, band and card, so that caps,
// transfers and discounts count them as one, and keeps the join from everybody
// else.
//
// # Consent
//
// Each device proves itself by a code for a party of 0, used once, in one request ([Book.Join]).
// Nobody but who holds all of them can join them; an operator has no route for it.
// Whoever holds one of them may leave with it at any time ([Book.Leave]).
//
// # From when
//
// A join and a leave count from the beginning of the next business date of the
// tenant that prices, by the first tap of a ride: every business date of a device is
// wholly joint or wholly alone. The joint count begins at nothing; who leaves goes on
// where the device's own count was.
//
// # What is joint
//
// Rides of all joined devices, in the order of event time, are priced as those of
// one: caps, cumulative discounts, n-th rides and transfers. A ride begins and ends
// with one device. Passes, stored value and proofs of category stay with the device
// they were given to. A credential that replaces another on the same device of the
// tenant's own is joint like it; of other issuers' riders it is the credential alone
// that is joined.
//
// # What is kept, and who can read it
//
// A row holds a keyed hash of the device, a random name of the person, and the
// device sealed. The key is in the tenant's secret store and not in the database, so
// that who reads the tables, exports and audit rows cannot say which devices are one
// person's. What joint rides leave for the next one is sealed as well
// ([Book.Seal]), and their explanations give no totals, periods or state of caps: a
// ride says which cap took how much off, and that other rides were counted with it.
// Audit rows say that somebody joined or left, and nothing of whom. Rows are no part
// of an export, and are erased by retention once they ended before what it keeps.
//
// # Limits
//
// Amounts are visible: they are what riders pay, and books have to add up. Who sees
// all fares of a day may guess that two devices are joint where a discount cannot
// come from the device's own rides and few people are joined.
package person
