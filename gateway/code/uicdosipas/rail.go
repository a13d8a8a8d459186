package uicdosipas

import "time"

// Rail is what this package keeps of a rail ticket (FCB1, FCB13, FCB2, FCB3): of
// its issuing details all that policy needs; of its first document, in FCB3 and
// for open tickets and passes, the reference and the dates. The rest of a ticket
// is the inspector's business.
type Rail struct {
	Present  bool
	Issued   int64 // unix seconds; to the day when the issuer gives no time
	Specimen bool  // a test ticket: nobody may travel on it
	Active   bool  // false: bought, but to be activated before travel
	Riders   int   // travellers named on it, 0 when none is

	HasDates            bool // the first document says when it is valid
	FromDay, UntilDay   int  // days since 1970-01-01, on the calendar of the place
	FromMin, UntilMin   int  // minutes of those days; UntilMin counts in full
	FromZone, UntilZone zone // where the ticket states an offset, which is rare

	pnr          ia5
	reference    ia5
	referenceNum octets
}

// A zone is a stated offset: UTC is the local time and 15 x quarters minutes.
type zone struct {
	stated   bool
	quarters int
}

const (
	maxTravelers = 100
	maxRegions   = 64
	maxVias      = 64
	maxViaDepth  = 4
	maxListed    = 128
)

// railFormats are the formats whose issuing details this package reads, with
// whether their time of day is optional.
var railFormats = [...]struct {
	name         string
	optionalTime bool
	dates        bool
}{
	{"FCB3", false, true}, {"FCB2", true, false}, {"FCB1", true, false}, {"FCB13", true, false},
}

// readRail reads UicRailTicketData as far as Rail needs. It reports whether the
// issuing details are well formed; a document that is not, or is of a minor
// version with other ranges, only leaves the dates out.
func readRail(r *reader, optionalTime, dates bool) (t Rail, ok bool) {
	top := r.sequence(true, 4)
	hasTravelers, hasDocuments := top.has(), top.has()
	t.Present = true
	t.readIssuing(r, optionalTime)
	if r.bad {
		return Rail{}, false
	}
	if !dates || !hasDocuments {
		return t, true
	}
	if hasTravelers {
		t.Riders = readTravelers(r)
	}
	read := t
	if n := r.length(); n >= 1 {
		read.readDocument(r)
	}
	if r.bad {
		return t, true
	}
	return read, true
}

func (t *Rail) readIssuing(r *reader, optionalTime bool) {
	n := 13
	if optionalTime {
		n = 14
	}
	o := r.sequence(true, n)
	if o.has() {
		r.within(15, 1, maxProvider-1)
	}
	if o.has() {
		r.ia5()
	}
	if o.has() {
		r.within(15, 1, maxProvider-1)
	}
	if o.has() {
		r.ia5()
	}
	year, day, minute := r.within(8, firstYear, lastYear-firstYear), r.within(9, 1, longestYear-1), uint32(0)
	if !optionalTime || o.has() {
		minute = r.within(11, 0, minutesOfDay)
	}
	if o.has() { // issuer's name
		r.octets()
	}
	t.Specimen = r.flag()
	r.flag() // on secure paper
	t.Active = r.flag()
	if o.has() { // currency
		r.take(3 * 7)
	}
	if o.has() { // its fraction
		r.within(2, 1, 2)
	}
	if o.has() {
		t.pnr = r.ia5()
	}
	if o.has() {
		readExtension(r)
	}
	r.skipIntegers(&o, 1)
	r.skipIA5(&o, 1)
	r.skipIntegers(&o, 1)
	if o.has() {
		readPlace(r)
	}
	o.end(r)
	at, ok := unixOf(int(year), int(day), int(minute)*60)
	if !ok {
		r.bad = true
	}
	t.Issued = at
}

func readTravelers(r *reader) (n int) {
	o := r.sequence(true, 3)
	if o.has() {
		n = r.count(maxTravelers)
		for range n {
			readTraveler(r)
		}
	}
	if o.has() { // language
		r.take(2 * 7)
	}
	if o.has() {
		r.octets()
	}
	o.end(r)
	return n
}

func readTraveler(r *reader) {
	o := r.sequence(true, 18)
	for range 3 { // names
		if o.has() {
			r.octets()
		}
	}
	r.skipIA5(&o, 2) // identity card, passport
	if o.has() {     // title, 1 to 3 characters
		r.take(7 * int(r.within(2, 1, 2)))
	}
	if o.has() {
		r.enumerated(2)
	}
	r.skipIA5(&o, 1)
	r.skipIntegers(&o, 1)
	if o.has() { // year of birth
		r.within(8, 1901, 254)
	}
	if o.has() {
		r.within(4, 1, 11)
	}
	if o.has() {
		r.within(5, 1, 30)
	}
	r.flag() // ticket holder
	if o.has() {
		r.enumerated(3)
	}
	if o.has() {
		r.flag()
	}
	for range 3 { // countries
		if o.has() {
			r.within(10, 1, 998)
		}
	}
	if o.has() {
		for range r.count(maxListed) {
			readStatus(r)
		}
	}
	o.end(r)
}

func readStatus(r *reader) {
	o := r.sequence(false, 4)
	if o.has() {
		r.within(15, 1, maxProvider-1)
	}
	r.skipIA5(&o, 1)
	r.skipIntegers(&o, 1)
	r.skipIA5(&o, 1)
}

// The documents that have dates here, by their place in the CHOICE.
const (
	openTicket = 2
	pass       = 3
)

func (t *Rail) readDocument(r *reader) {
	o := r.sequence(true, 1)
	if o.has() {
		readToken(r)
	}
	if r.flag() {
		r.bad = true // a kind of document of a later version
		return
	}
	switch r.number(4) {
	case openTicket:
		t.readOpenTicket(r)
	case pass:
		t.readPass(r)
	default:
		r.bad = true
	}
}

func readToken(r *reader) {
	o := r.sequence(false, 3)
	r.skipIntegers(&o, 1)
	r.skipIA5(&o, 2)
	r.octets()
}

// readProduct reads what open tickets and passes begin with.
func (t *Rail) readProduct(r *reader, o *optionals) {
	if o.has() {
		at := r.pos
		r.integer()
		t.referenceNum = octets{at, (r.pos - at) / 8}
	}
	if o.has() {
		t.reference = r.ia5()
	}
	if o.has() {
		r.within(15, 1, maxProvider-1)
	}
	r.skipIA5(o, 1)
	if o.has() {
		r.number(16)
	}
	r.skipIA5(o, 1)
}

func (t *Rail) readOpenTicket(r *reader) {
	o := r.sequence(true, 40)
	t.readProduct(r, &o)
	r.skipIntegers(&o, 2)
	r.flag() // return included
	readStations(r, &o)
	if o.has() { // description of the region
		r.octets()
	}
	if o.has() {
		readRegions(r)
	}
	if o.has() {
		readReturn(r)
	}
	t.readDates(r, &o)
}

func (t *Rail) readPass(r *reader) {
	o := r.sequence(true, 34)
	t.readProduct(r, &o)
	if o.has() {
		r.within(8, 1, 249)
	}
	if o.has() {
		r.octets()
	}
	if o.has() { // class
		r.enumerated(4)
	}
	t.readDates(r, &o)
}

// readDates reads the six fields of validity that end what this package reads
// of a document.
func (t *Rail) readDates(r *reader, o *optionals) {
	from, until := 0, 0
	t.FromMin, t.UntilMin = 0, minutesOfDay-1
	if o.has() {
		from = int(r.within(11, 0, 1067)) - 367
	}
	t.FromMin = r.minute(o, 0)
	t.FromZone = r.zone(o)
	if o.has() {
		until = int(r.within(9, 0, 501)) - 1
	}
	t.UntilMin = r.minute(o, minutesOfDay-1)
	t.UntilZone = r.zone(o)
	if !t.UntilZone.stated {
		t.UntilZone = t.FromZone // "should be omitted in case it is the same"
	}
	t.FromDay = int(t.Issued/secondsOfDay) + from
	t.UntilDay = t.FromDay + until
	t.HasDates = !r.bad
}

func (r *reader) minute(o *optionals, otherwise int) int {
	if !o.has() {
		return otherwise
	}
	return int(r.within(11, 0, minutesOfDay-1))
}

func (r *reader) zone(o *optionals) zone {
	if !o.has() {
		return zone{}
	}
	return zone{true, int(r.within(7, 0, 120)) - 60}
}

// readStations reads a code table, two stations by number or text, two names.
func readStations(r *reader, o *optionals) {
	if o.has() {
		r.within(3, 0, 4)
	}
	readEnds(r, o)
}

// readEnds reads two stations by number or text, and their names.
func readEnds(r *reader, o *optionals) {
	for range 2 {
		r.skipStation(o)
		r.skipIA5(o, 1)
	}
	for range 2 {
		if o.has() {
			r.octets()
		}
	}
}

func (r *reader) skipStation(o *optionals) {
	if o.has() {
		r.within(24, 1, 9999998)
	}
}

func readReturn(r *reader) {
	o := r.sequence(true, 8)
	readEnds(r, &o)
	if o.has() {
		r.octets()
	}
	if o.has() {
		readRegions(r)
	}
	o.end(r)
}

func readRegions(r *reader) {
	for range r.count(maxRegions) {
		if r.flag() {
			r.bad = true // a kind of region of a later version
			return
		}
		switch r.number(3) {
		case 0:
			readTrainLink(r)
		case 1:
			readVia(r, 0)
		case 2:
			readZone(r)
		case 3:
			readLine(r)
		case 4:
			readPlace(r)
			for range r.count(maxListed) {
				r.integer()
				r.integer()
			}
		default:
			r.bad = true
			return
		}
	}
}

func readTrainLink(r *reader) {
	o := r.sequence(false, 9)
	r.skipIntegers(&o, 1)
	r.skipIA5(&o, 1)
	r.within(9, 0, 501)
	r.within(11, 0, minutesOfDay-1)
	if o.has() {
		r.within(7, 0, 120)
	}
	readEnds(r, &o)
}

func readVia(r *reader, depth int) {
	if depth > maxViaDepth {
		r.bad = true
		return
	}
	o := r.sequence(true, 11)
	if o.has() {
		r.within(3, 0, 4)
	}
	r.skipStation(&o)
	r.skipIA5(&o, 1)
	for range 2 { // alternatives, route
		if !o.has() {
			continue
		}
		for range r.count(maxVias) {
			readVia(r, depth+1)
			if r.bad {
				return
			}
		}
	}
	r.flag() // border
	if o.has() {
		r.skipListOfCompanies()
	}
	if o.has() {
		for range r.count(maxListed) {
			r.ia5()
		}
	}
	r.skipIntegers(&o, 2)
	for range 2 { // brands
		if o.has() {
			r.skipListOfCompanies()
		}
	}
	o.end(r)
}

func readCompany(r *reader) { r.within(15, 1, maxProvider-1) }

func readZone(r *reader) {
	o := r.sequence(true, 11)
	if o.has() {
		readCompany(r)
	}
	r.skipIA5(&o, 1)
	if o.has() {
		r.within(3, 0, 4)
	}
	for range 2 { // entry, exit
		r.skipStation(&o)
		r.skipIA5(&o, 1)
	}
	r.skipIntegers(&o, 1)
	if o.has() {
		r.skipListOfIntegers()
	}
	if o.has() {
		r.octets()
	}
	r.skipIA5(&o, 1)
	o.end(r)
}

func readLine(r *reader) {
	o := r.sequence(true, 9)
	if o.has() {
		readCompany(r)
	}
	r.skipIA5(&o, 1)
	if o.has() {
		r.skipListOfIntegers()
	}
	if o.has() {
		r.within(3, 0, 4)
	}
	for range 2 { // entry, exit
		r.skipStation(&o)
		r.skipIA5(&o, 1)
	}
	r.skipIntegers(&o, 1)
	o.end(r)
}

// optionals are the presence bits at the head of a sequence.
type optionals struct {
	bits     uint64
	left     int
	extended bool
}

// sequence reads the head of a SEQUENCE with n components that may be absent.
func (r *reader) sequence(extensible bool, n int) optionals {
	o := optionals{left: n}
	if extensible {
		o.extended = r.flag()
	}
	for at := n; at > 0; at -= min(at, 32) {
		k := min(at, 32)
		o.bits = o.bits<<k | uint64(r.number(k))
	}
	return o
}

// has reports whether the next of them is there.
func (o *optionals) has() bool {
	if o.left == 0 {
		return false
	}
	o.left--
	return o.bits>>o.left&1 == 1
}

// end passes over what later versions added behind the sequence.
func (o *optionals) end(r *reader) {
	if o.extended {
		readAdditions(r)
	}
}

// count reads how many items a SEQUENCE OF has. The loops over them are written
// out: a function value would move the reader to the heap.
func (r *reader) count(most int) int {
	n := r.length()
	if n > most {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return n
}

func (r *reader) skipListOfIntegers() {
	for range r.count(maxListed) {
		r.integer()
	}
}

func (r *reader) skipListOfCompanies() {
	for range r.count(maxListed) {
		readCompany(r)
	}
}

// enumerated reads an extensible ENUMERATED whose root takes n bits.
func (r *reader) enumerated(n int) {
	if r.flag() {
		n = 7 // a normally small number
	}
	r.number(n)
}

// skipIntegers passes over n numbers that may be absent.
func (r *reader) skipIntegers(o *optionals, n int) {
	for range n {
		if o.has() {
			r.integer()
		}
	}
}

func (r *reader) skipIA5(o *optionals, n int) {
	for range n {
		if o.has() {
			r.ia5()
		}
	}
}

// from and until give the ticket's validity in unix seconds, until exclusive.
// A ticket states local time; loc stands in where it states no offset.
func (t *Rail) from(loc *time.Location) int64 {
	return instant(t.FromDay, t.FromMin, t.FromZone, loc)
}

func (t *Rail) until(loc *time.Location) int64 {
	return instant(t.UntilDay, t.UntilMin+1, t.UntilZone, loc)
}

func instant(day, minute int, z zone, loc *time.Location) int64 {
	if z.stated {
		return int64(day)*secondsOfDay + int64(minute+15*z.quarters)*60
	}
	return time.Date(1970, 1, 1+day, 0, minute, 0, 0, loc).Unix()
}
