package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cashlesscity/citygate"
)

// The rules of Idempotency-Key:
//
//  1. a key counts within its tenant and its route;
//  2. the same key with the same request repeats the first answer, its status and
//     its bytes, marked Idempotency-Replayed: true;
//  3. the same key with another request is 422; JSON that means the same is the
//     same request;
//  4. while the first request runs, a repeat is 409 with Retry-After;
//  5. a request that is refused for what it says has done nothing, and is not
//     kept: the corrected one may have the same key;
//  6. a failure of ours (5xx) and a 429 are not kept: what the request did is not
//     known, or it did nothing. The repeat runs again, and finds by natural keys
//     what the first one left. The same holds where a process died between the
//     effect and the answer, once its lease is over.

// An attempt is one run of an unsafe route under a key.
type attempt struct {
	tenant  citygate.TenantID
	route   string
	key     string
	hash    [sha256.Size]byte // of the canonical request, and of the proposal it names
	content [sha256.Size]byte // of the operation and the canonical request
	body    []byte            // as it came
	path    string

	proposal string // that the request names, "" = none
	holder   citygate.UUID
	ran      bool // the request was valid, and its operation began
	invalid  bool // the operation refused what the request says
}

type attemptKey struct{}

// an answer is what is kept of a response.
type answer struct {
	status      int
	contentType string
	body        []byte
}

// keep reports whether an answer is to be repeated.
func (a *attempt) keep(status int) bool {
	if status < http.StatusBadRequest {
		return true
	}
	return a.ran && !a.invalid && status < http.StatusInternalServerError && status != http.StatusTooManyRequests
}

// began notes that an operation runs.
func began(ctx context.Context) {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		a.ran = true
	}
}

// refusedBy notes why an operation did not do what was asked.
func refusedBy(ctx context.Context, err error) {
	var code *citygate.Code
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok && errors.As(err, &code) {
		a.invalid = code.Kind == citygate.Invalid || code.Kind == citygate.TooLarge
	}
}

// once runs an unsafe route at most once per tenant, route and key, and repeats
// the stored answer after that.
func (e *Edge) once(c *gin.Context, tenant citygate.TenantID, op operation) {
	key := c.GetHeader("Idempotency-Key")
	if key == "" || len(key) > 255 {
		e.write(c, errKeyMissing)
		return
	}
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		e.write(c, errTooLarge.Because(err, "body"))
		return
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	ctx := c.Request.Context()
	a := &attempt{
		tenant: tenant, route: c.Request.Method + " " + c.FullPath(), key: key, hash: requestHash(c.Request, body, fleeting[op.id]), body: body,
		path: c.Request.URL.EscapedPath(), proposal: c.GetHeader(approvalHeader),
	}
	a.content = sha256.Sum256(append([]byte(op.id+"\n"), a.hash[:]...))
	if a.proposal != "" {
		a.hash = sha256.Sum256(append([]byte(a.proposal+"\n"), a.hash[:]...))
	}
	stored, err := e.begin(ctx, a)
	if err != nil {
		e.write(c, err)
		return
	}
	if stored != nil {
		c.Header("Idempotency-Replayed", "true")
		c.Abort()
		c.Data(stored.status, stored.contentType, stored.body)
		return
	}
	released, err := e.condition(c, a)
	if err != nil {
		e.write(c, err)
		if err := e.finish(ctx, a, answer{status: http.StatusPreconditionFailed}); err != nil {
			e.log.ErrorContext(ctx, "idempotency key not given back", "err", err)
		}
		return
	}
	defer released()
	c.Request = c.Request.WithContext(context.WithValue(ctx, attemptKey{}, a))
	copied := &copyWriter{ResponseWriter: c.Writer}
	c.Writer = copied
	whole := false
	defer func() { // also when the connection is to be cut
		got := answer{copied.Status(), copied.Header().Get("Content-Type"), copied.body.Bytes()}
		if !whole {
			got.status = http.StatusInternalServerError
		}
		if secretAnswers[op.id] && got.status < http.StatusBadRequest { // secrets are kept nowhere
			p := problem(ctx, slog.New(slog.DiscardHandler), op.id, errShownOnce)
			raw, _ := json.Marshal(p)
			got = answer{p.Status, p.ContentType(""), raw}
		}
		// The answer is on its way; a client that went away must not lose it for its repeat.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
		defer cancel()
		if err := e.finish(ctx, a, got); err != nil {
			e.log.ErrorContext(ctx, "idempotency answer not stored", "err", err)
		}
	}()
	whole = e.survive(c, func(c *gin.Context) { c.Next() })
}

// finishWithin bounds how long an answer's storing may keep its request open.
const finishWithin = 5 * time.Second

// fleeting is the member of an operation's body that is no part of what is asked for: a
// payment code is good for a minute, and not even its hash is kept.
var fleeting = map[string]string{"pay-at-till": "payment_code"}

// requestHash tells requests apart: by method, path, query and what the body means,
// but for its member without, if that is not "".
func requestHash(r *http.Request, body []byte, without string) [sha256.Size]byte {
	head := r.Method + " " + r.URL.EscapedPath() + "?" + r.URL.RawQuery + "\n"
	return sha256.Sum256(append([]byte(head), canonicalBody(body, without)...))
}

// canonicalBody gives one form for all ways to write a JSON value: members in
// order, no white space, numbers as they stand. What is no JSON stays as it is.
func canonicalBody(body []byte, without string) []byte {
	asItIs := body
	if without != "" {
		asItIs = nil // it is refused, and may hold what is not to be kept
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return asItIs
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return asItIs
	}
	if object, ok := v.(map[string]any); ok && without != "" {
		delete(object, without)
	}
	canonical, err := json.Marshal(v)
	if err != nil {
		return asItIs
	}
	return canonical
}

// A copyWriter keeps a copy of what it writes.
type copyWriter struct {
	gin.ResponseWriter
	body bytes.Buffer
}

func (w *copyWriter) Write(b []byte) (int, error) {
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

func (w *copyWriter) WriteString(s string) (int, error) {
	w.body.WriteString(s)
	return w.ResponseWriter.WriteString(s)
}
