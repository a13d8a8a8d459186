package citygate

import "fmt"

// A Kind groups error codes by what the caller can do. Each kind has one HTTP
// status, chosen once in gateway/edge.
type Kind int

// The kinds.
const (
	Internal        Kind = iota // our fault; the cause stays in the log
	Invalid                     // the request is wrong and will stay wrong
	Unauthenticated             // no valid credential was shown
	Forbidden                   // the credential does not allow it
	NotFound                    // no such thing for this caller
	Conflict                    // it contradicts what is stored
	TooLarge                    // over a stated limit
	TooMany                     // slow down; Retry-After says when
	Unavailable                 // a part we need is down; try again
)

// A Code is one reason a request can fail. Its name is part of the public API:
// clients switch on it, so a name is never renamed and never reused.
type Code struct {
	Name  string // "tap.conflict"
	Kind  Kind
	Title string // fixed English that says what to do next; safe to show to anyone
}

// Error gives the code's name and title.
func (c *Code) Error() string { return c.Name + ": " + c.Title }

// Because returns c with a detail for the log and the cause, if any. Neither
// leaves the process by the API: only the Code crosses the wire.
func (c *Code) Because(cause error, format string, args ...any) error {
	return &failure{c, fmt.Sprintf(format, args...), cause}
}

// Explain returns c with a detail that the caller may see: it names the field
// or the limit and must hold no secret and nothing of another tenant.
func (c *Code) Explain(format string, args ...any) error {
	return &Explained{c, fmt.Sprintf(format, args...)}
}

type failure struct {
	code   *Code
	detail string
	cause  error
}

func (f *failure) Error() string {
	s := f.code.Name
	if f.detail != "" {
		s += ": " + f.detail
	}
	if f.cause != nil {
		s += ": " + f.cause.Error()
	}
	return s
}

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.code}
	}
	return []error{f.code, f.cause}
}

// Explained is a [Code] with a detail that is safe to show.
type Explained struct {
	Code   *Code
	Detail string
}

// Error gives name and detail.
func (e *Explained) Error() string { return e.Code.Name + ": " + e.Detail }

// Unwrap gives the code.
func (e *Explained) Unwrap() error { return e.Code }
