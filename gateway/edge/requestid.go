package edge

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
)

// requestIDHeader names a request: the caller may choose the name, and the answer,
// its problem and our log have it. A replayed answer has the bytes of the first
// one, and so the first one's id in a problem.
const requestIDHeader = "X-Request-Id"

type requestIDKey struct{}

// identified gives r a name and says it in the answer. A name that could break a
// line of a log is replaced.
func identified(w http.ResponseWriter, r *http.Request) *http.Request {
	id := r.Header.Get(requestIDHeader)
	if !goodRequestID(id) {
		id = "req_" + strings.ToLower(rand.Text()) // names nothing that is kept: no injected randomness
	}
	w.Header().Set(requestIDHeader, id)
	return r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
}

func goodRequestID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.:", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// requestID gives the name of the request that ctx is of.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// A FieldError says what is wrong with one part of a request.
type FieldError struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" doc:"where it is, such as body.requests[0].cap or query.limit" example:"body.requests[0].cap"`
	Pointer  string `json:"pointer,omitempty" doc:"the same as a JSON Pointer (RFC 6901) into the body" example:"/requests/0/cap"`
}

// pointer turns a location in the body into a JSON Pointer, "" for other places.
func pointer(location string) string {
	rest, ok := strings.CutPrefix(location, "body")
	if !ok {
		return ""
	}
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
	}
	return b.String()
}
