package driver

// A CodeForm is what the payment codes of a product look like. Wallets are told apart
// by the characters their codes begin with.
type CodeForm struct {
	From, To string // the first characters, both included and of one length; "" = any
	Min, Max int    // characters in all
	Letters  bool   // may have letters; otherwise digits alone
}

// Fits reports whether a code has the form, and how many of its first characters the
// form knows.
func (f CodeForm) Fits(code []byte) (known int, ok bool) {
	if len(code) < max(f.Min, len(f.From)) || len(code) > f.Max {
		return 0, false
	}
	for _, b := range code {
		letter := (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z')
		if (b < '0' || b > '9') && (!letter || !f.Letters) {
			return 0, false
		}
	}
	head := string(code[:len(f.From)])
	return len(f.From), head >= f.From && head <= f.To
}

// CodeFit reports whether a code may be of the product, and how many of its first
// characters the product knows at best: of two products the one that knows more has it.
func (d Description) CodeFit(code []byte) (known int, ok bool) {
	for _, f := range d.PaymentCodes {
		if n, fits := f.Fits(code); fits {
			known, ok = max(known, n), true
		}
	}
	return known, ok
}
