package edge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// A Problem is an RFC 9457 problem document. Clients switch on Code, which is
// never renamed; Title says what to do next.
type Problem struct {
	Type   string `json:"type" format:"uri-reference" example:"/problems/tenant.not_found" doc:"the page of the code, at this gateway"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code" example:"tenant.not_found"`
	Detail string `json:"detail,omitempty"`
	Retry  bool   `json:"retryable"`
	// Request is the id of the request: in the answer's X-Request-Id and in our log too.
	Request string        `json:"request_id,omitempty" example:"req_4xkd…" doc:"tell support this"`
	Errors  []*FieldError `json:"errors,omitempty"`

	after time.Duration // when to try again; 0 = not said
}

// retryAfter is when to try again if nobody knows better.
const retryAfter = 2 * time.Second

// GetHeaders implements [huma.HeadersError]: an answer of 503, of 429 or of a
// request that is still running says when to try again, in whole seconds.
func (p *Problem) GetHeaders() http.Header {
	if p.after <= 0 {
		return nil
	}
	seconds := (p.after + time.Second - 1) / time.Second
	return http.Header{"Retry-After": {strconv.Itoa(int(seconds))}}
}

// Error gives code and title.
func (p *Problem) Error() string { return p.Code + ": " + p.Title }

// GetStatus implements [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements [huma.ContentTypeFilter].
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// statuses is the one place where a kind of error becomes an HTTP status.
var statuses = map[citygate.Kind]int{
	citygate.Internal:        http.StatusInternalServerError,
	citygate.Invalid:         http.StatusUnprocessableEntity,
	citygate.Unauthenticated: http.StatusUnauthorized,
	citygate.Forbidden:       http.StatusForbidden,
	citygate.NotFound:        http.StatusNotFound,
	citygate.Conflict:        http.StatusConflict,
	citygate.TooLarge:        http.StatusRequestEntityTooLarge,
	citygate.TooMany:         http.StatusTooManyRequests,
	citygate.Unavailable:     http.StatusServiceUnavailable,
}

func statusOf(code *citygate.Code) int {
	switch code.Name { // what HTTP has a status of its own for
	case errCondition.Name:
		return http.StatusPreconditionFailed
	case errMethod.Name:
		return http.StatusMethodNotAllowed
	}
	return statuses[code.Kind]
}

// The refusals of the edge itself.
var (
	errToken       = access.ErrToken
	errForbidden   = access.ErrForbidden
	errNotFound    = access.ErrHidden
	errBody        = &citygate.Code{Name: "request.invalid", Kind: citygate.Invalid, Title: "The request is not valid. Correct the named fields."}
	errMethod      = &citygate.Code{Name: "request.method", Kind: citygate.Invalid, Title: "This path does not take that method. Use one that the header Allow names."}
	errTooLarge    = &citygate.Code{Name: "request.too_large", Kind: citygate.TooLarge, Title: "The body is over the limit. Send less at once."}
	errKeyMissing  = &citygate.Code{Name: "idempotency.key_missing", Kind: citygate.Invalid, Title: "This request changes something: send an Idempotency-Key header of 1 to 255 characters."}
	errKeyMismatch = &citygate.Code{Name: "idempotency.key_reused", Kind: citygate.Invalid, Title: "This Idempotency-Key was used for another request. Use a new key."}
	errKeyRunning  = &citygate.Code{Name: "idempotency.in_progress", Kind: citygate.Conflict, Title: "The first request with this key is still running. Wait and repeat it."}
	errShownOnce   = &citygate.Code{Name: "idempotency.shown_once", Kind: citygate.Conflict, Title: "This was done, and its answer held a secret that is shown once. If you did not get it, revoke what was made and ask again with a new key."}
	errInternal    = &citygate.Code{Name: "internal", Kind: citygate.Internal, Title: "Something failed on our side. Repeat the request; if it stays, tell support the time."}
)

// problem translates err; an error without a Code becomes "internal", and its
// text stays in the log.
func problem(ctx context.Context, log *slog.Logger, op string, err error) *Problem {
	var ready *Problem
	if errors.As(err, &ready) {
		return ready
	}
	var code *citygate.Code
	if !errors.As(err, &code) {
		code = errInternal
	}
	p := &Problem{Type: problemBase + code.Name, Title: code.Title, Status: statusOf(code), Code: code.Name, Request: requestID(ctx)}
	var explained *citygate.Explained
	if errors.As(err, &explained) {
		p.Detail = explained.Detail
	}
	p.Retry = retryable(code)
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || p.Code == errKeyRunning.Name {
		p.after = retryAfter
		var said interface{ RetryAfter() time.Duration }
		if errors.As(err, &said) {
			p.after = said.RetryAfter()
		}
	}
	level := slog.LevelInfo
	if p.Status == http.StatusTooManyRequests {
		level = slog.LevelDebug // a flood must not become one of log lines
	}
	if p.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	log.Log(ctx, level, "request failed", "op", op, "request", p.Request, "code", code.Name, "err", err)
	return p
}

// write sends a problem from a plain gin handler or a middleware.
func (e *Edge) write(c *gin.Context, err error) {
	p := problem(c.Request.Context(), e.log, c.Request.Method+" "+c.FullPath(), err)
	for name, values := range p.GetHeaders() {
		c.Header(name, values[0])
	}
	body, marshalErr := json.Marshal(p)
	if marshalErr != nil {
		body = []byte(`{"type":"/problems/internal","title":"internal","status":500,"code":"internal","retryable":true}`)
	}
	c.Abort()
	c.Data(p.Status, "application/problem+json", body)
}

// newError makes huma's own refusals (validation, unknown fields) problems of
// the same shape.
func newErrorIn(c huma.Context, status int, message string, errs ...error) huma.StatusError {
	err := newError(status, message, errs...)
	if p, ok := err.(*Problem); ok && c != nil {
		p.Request = requestID(c.Context())
	}
	return err
}

func newError(status int, message string, errs ...error) huma.StatusError {
	code := errBody
	switch status {
	case http.StatusRequestEntityTooLarge:
		code = errTooLarge
	case http.StatusNotFound:
		code = errNotFound
	case http.StatusInternalServerError:
		code = errInternal
	}
	p := &Problem{Type: problemBase + code.Name, Title: code.Title, Status: status, Code: code.Name, Retry: retryable(code)}
	if status < http.StatusInternalServerError {
		p.Detail = message
		for _, err := range errs {
			var detail huma.ErrorDetailer
			if errors.As(err, &detail) {
				d := detail.ErrorDetail() // but for its value: what was sent may be a secret, and the answer may be kept
				p.Errors = append(p.Errors, &FieldError{d.Message, d.Location, pointer(d.Location)})
			} else if err != nil {
				p.Errors = append(p.Errors, &FieldError{Message: err.Error()})
			}
		}
	}
	return p
}
