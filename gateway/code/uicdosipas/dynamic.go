package uicdosipas

// Dynamic is what this package keeps of dynamic content, FDC1: the moment at
// which the device made the display. The rest is checked for its encoding.
type Dynamic struct {
	HasTime bool
	Day     uint16 // of the year, 1..366, UTC; the year itself is nowhere
	Second  uint32 // of the day, 0..86399, UTC
}

const (
	maxResponses = 8
	maxAdditions = 16 // extension additions, of versions to come
)

// read parses UicDynamicContentData, versions 1.0.x, and reports whether it is
// well formed to the last bit. Additions of later versions are passed over, as
// the extension marker asks.
func (d *Dynamic) read(r *reader) bool {
	extended := r.flag()
	hasAppID, hasTime, hasPlace, hasResponses, hasExtension := r.flag(), r.flag(), r.flag(), r.flag(), r.flag()
	if hasAppID {
		r.ia5()
	}
	if hasTime {
		d.HasTime = true
		d.Day = uint16(r.within(9, 1, longestYear-1))
		d.Second = r.within(17, 0, secondsOfDay-1)
	}
	if hasPlace {
		readPlace(r)
	}
	if hasResponses {
		for range r.count(maxResponses) {
			readExtension(r)
		}
	}
	if hasExtension {
		readExtension(r)
	}
	if extended {
		readAdditions(r)
	}
	return r.done()
}

// readPlace reads a GeoCoordinateType.
func readPlace(r *reader) {
	hasUnit, hasSystem, hasLongitudeHemisphere, hasLatitudeHemisphere, hasAccuracy := r.flag(), r.flag(), r.flag(), r.flag(), r.flag()
	if hasUnit {
		r.within(3, 0, 4)
	}
	for _, has := range [...]bool{hasSystem, hasLongitudeHemisphere, hasLatitudeHemisphere} {
		if has {
			r.flag()
		}
	}
	r.integer()
	r.integer()
	if hasAccuracy {
		r.within(3, 0, 4)
	}
}

// readExtension reads an ExtensionData.
func readExtension(r *reader) {
	r.ia5()
	r.octets()
}

// readAdditions passes over extension additions: a count less one as a normally
// small number, a bit for each, then those present as open types.
func readAdditions(r *reader) {
	if r.flag() { // more than 64
		r.bad = true
		return
	}
	n := int(r.number(6)) + 1
	if n > maxAdditions {
		r.bad = true
		return
	}
	present := r.number(n)
	if present == 0 {
		r.bad = true // then it is not extended
	}
	for ; present != 0; present &= present - 1 {
		r.octets()
	}
}
