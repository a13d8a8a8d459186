package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/gin-gonic/gin"
)

var (
	errCondition   = &citygate.Code{Name: "request.precondition", Kind: citygate.Conflict, Title: "The document is not the one that the condition names. Read it again, and decide again."}
	errNoCondition = &citygate.Code{Name: "request.no_precondition", Kind: citygate.Invalid, Title: "This request takes no condition on a document. Send it without If-Match and If-None-Match."}
)

// privately is what caches may do with what one caller reads: keep it for him, and
// ask every time whether it still holds.
const privately = "private, no-cache"

// matches reports whether a list of entity tags (RFC 9110, 13.1.2) names etag, by
// the weak comparison.
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// A heldWriter holds an answer back until it is whole.
type heldWriter struct {
	gin.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *heldWriter) WriteHeader(status int)               { w.status = status }
func (w *heldWriter) WriteHeaderNow()                      {}
func (w *heldWriter) Status() int                          { return w.status }
func (w *heldWriter) Size() int                            { return w.body.Len() }
func (w *heldWriter) Written() bool                        { return w.body.Len() > 0 }
func (w *heldWriter) Flush()                               {}
func (w *heldWriter) Write(b []byte) (int, error)          { return w.body.Write(b) }
func (w *heldWriter) WriteString(text string) (int, error) { return w.body.WriteString(text) }

// conditionally runs a route that reads: its answer gets an entity tag, and is
// nothing but 304 if the client holds it already.
func (e *Edge) conditionally(c *gin.Context) {
	direct := c.Writer
	held := &heldWriter{ResponseWriter: direct, status: http.StatusOK}
	c.Writer = held
	func() {
		defer func() { c.Writer = direct }() // also for a panic, whose answer is another
		c.Next()
	}()
	if held.status == http.StatusOK {
		if e.current(c, entityTag(held.body.Bytes()), privately) {
			direct.Header().Del("Content-Type")
			direct.WriteHeaderNow()
			return
		}
	}
	direct.WriteHeader(held.status)
	_, _ = direct.Write(held.body.Bytes()) // who does not read it any more needs no answer
}

// insideKey marks a request that the edge makes to itself, for one that it let in.
type insideKey struct{}

// condition holds the conditions of an unsafe request against the document that it
// replaces, as the caller would read it now. What it gives ends the request's hold
// on the document: requests with conditions on one document run one by one. A
// change by another way, between the look and the change, is not noticed.
func (e *Edge) condition(c *gin.Context, a *attempt) (done func(), err error) {
	match, noneMatch := c.GetHeader("If-Match"), c.GetHeader("If-None-Match")
	if match == "" && noneMatch == "" {
		return func() {}, nil
	}
	if read := e.operations["GET "+c.FullPath()]; c.Request.Method != http.MethodPut || read.class != token {
		return nil, errNoCondition
	}
	ctx := c.Request.Context()
	hold := &attempt{tenant: a.tenant, route: "If-Match " + a.path, key: "document", hash: sha256.Sum256([]byte(a.path))}
	if _, err := e.begin(ctx, hold); err != nil {
		return nil, err
	}
	done = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
		defer cancel()
		if err := e.finish(ctx, hold, answer{status: http.StatusInternalServerError}); err != nil { // gives it back
			e.log.ErrorContext(ctx, "a document stays held until its lease ends", "err", err)
		}
	}
	now := httptest.NewRecorder()
	look := c.Request.Clone(context.WithValue(ctx, insideKey{}, true))
	look.Method, look.Body, look.ContentLength = http.MethodGet, http.NoBody, 0
	for _, name := range []string{"If-Match", "If-None-Match", "Idempotency-Key", approvalHeader, "Content-Type"} {
		look.Header.Del(name)
	}
	e.router.ServeHTTP(now, look)
	there := now.Code == http.StatusOK
	if !there && now.Code != http.StatusNotFound {
		done()
		return nil, errCondition.Because(nil, "reading the document gave %d", now.Code)
	}
	etag := now.Header().Get("ETag")
	if match != "" && (!there || !matches(match, etag)) || noneMatch != "" && there && matches(noneMatch, etag) {
		done()
		return nil, errCondition
	}
	return done, nil
}
