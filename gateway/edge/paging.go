package edge

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/gin-gonic/gin"
)

var errCursor = &citygate.Code{Name: "request.cursor", Kind: citygate.Invalid, Title: "This cursor is not of this list. Send the next of its page before, with the same filters; or none, to begin again."}

// Paging is the part of a list that a request asks for. Exported, or huma does not
// see its fields.
//
// A cursor names the last row of a page by its key, so that rows which come or go
// meanwhile move no other: nothing is shown twice, and nothing that was there all
// the time is left out. It is bound to whose token it was given to, the path and the
// filters: with others it is refused, because what it would skip is anybody's guess.
// It is no secret and no right: whoever makes one up reads what he may read anyway.
type Paging struct {
	// After is the key of the last row of the page before, "" before the first. On
	// the wire it is a cursor: follow puts the key in its place.
	After string `query:"cursor" maxLength:"800" doc:"next of the page before, asked with the same filters; left out = the first page"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"most rows of a page"`
}

// more is how many rows to ask for: one over the page tells that there is a next.
func (p Paging) more() int { return p.Limit + 1 }

// page is what to ask for of rows with ids of their own.
func (p Paging) page(prefix string) (Page, error) {
	page := Page{Limit: p.more()}
	if p.After == "" {
		return page, nil
	}
	id, err := citygate.ParseUUID(prefix, p.After)
	if err != nil {
		return Page{}, errCursor
	}
	page.After = id
	return page, nil
}

// number is the key of rows that have numbers; 0 comes before all.
func (p Paging) number() (uint64, error) {
	if p.After == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.After, 10, 64)
	if err != nil {
		return 0, errCursor
	}
	return n, nil
}

// ordered writes a number so that texts sort as numbers do.
func ordered(n uint64) string { return fmt.Sprintf("%020d", n) }

// instant writes a time so that texts sort as times do.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// versions is a page of rows that have versions, of which the first may be 0.
func (p Paging) versions() (v VersionsPage, err error) {
	v.Limit = p.more()
	if p.After == "" {
		return v, nil
	}
	n, err := strconv.ParseInt(p.After, 10, 64)
	if err != nil {
		return v, errCursor
	}
	v.Behind = &n
	return v, nil
}

// A VersionsPage is a page of a list in the order of its versions.
type VersionsPage struct {
	Behind *int64 // the last version seen; nil: from the first one on
	Until  string // a business date: those that hold from before it, "" for any
	Limit  int
}

// cursorSum is how much of a hash binds a cursor to its list.
const cursorSum = 12

// boundKey is where the context of a request has what binds its cursors.
type boundKey struct{}

// follow reads the cursor of a request for a list, and binds those of its answer.
func follow(c *gin.Context, caller citygate.TenantID) error {
	bound := bind(c.Request.Method, c.Request.URL, caller)
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), boundKey{}, bound))
	query := c.Request.URL.Query()
	given := query["cursor"]
	if len(given) == 0 {
		return nil
	}
	key, ok := openCursor(bound, given[0])
	if !ok || len(given) > 1 {
		return errCursor
	}
	query.Set("cursor", key)
	address := *c.Request.URL
	address.RawQuery = query.Encode()
	c.Request.URL = &address
	return nil
}

// bind gives what the cursors of a list are bound to. The size of pages may change
// on the way.
func bind(method string, address *url.URL, caller citygate.TenantID) []byte {
	filters := address.Query()
	filters.Del("cursor")
	filters.Del("limit")
	h := sha256.New()
	for _, part := range []string{method, address.EscapedPath(), filters.Encode(), caller.String()} {
		_, _ = h.Write([]byte(part + "\x00")) // it never fails
	}
	return h.Sum(nil)
}

func cursorOf(bound []byte, key string) string {
	return base64.RawURLEncoding.EncodeToString(append(cursorHash(bound, key), key...))
}

func cursorHash(bound []byte, key string) []byte {
	sum := sha256.Sum256(append(slices.Clip(bytes.Clone(bound)), key...))
	return sum[:cursorSum]
}

func openCursor(bound []byte, cursor string) (key string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) <= cursorSum {
		return "", false
	}
	key = string(raw[cursorSum:])
	return key, bytes.Equal(raw[:cursorSum], cursorHash(bound, key))
}

// list is the shape of every list: an object, so that fields can be added.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"cursor of the next page; left out: there is none"`
}

// inPages answers with the rows of one page, of up to p.more rows in the list's order.
func inPages[T any](ctx context.Context, p Paging, key func(T) string) func([]T, error) (*body[list[T]], error) {
	return func(rows []T, err error) (*body[list[T]], error) {
		page := list[T]{Items: append([]T{}, rows...)}
		if bound, ok := ctx.Value(boundKey{}).([]byte); ok && len(rows) > p.Limit {
			page.Items = page.Items[:p.Limit]
			page.Next = cursorOf(bound, key(page.Items[p.Limit-1]))
		}
		return respond(page, err)
	}
}

// cutPages answers with the rows of one page of a list that is read as a whole,
// because nobody has many such rows: those that keep wants, by key, which no two
// rows share.
func cutPages[T any](ctx context.Context, p Paging, key func(T) string, keep func(T) bool) func([]T, error) (*body[list[T]], error) {
	return func(rows []T, err error) (*body[list[T]], error) {
		rows = slices.DeleteFunc(slices.Clone(rows), func(row T) bool { return key(row) <= p.After || keep != nil && !keep(row) })
		slices.SortStableFunc(rows, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
		return inPages(ctx, p, key)(rows[:min(len(rows), p.more())], err)
	}
}

// Between asks for the versions that begin to hold in a time. Exported, or huma does
// not see its fields.
type Between struct {
	From  time.Time `query:"from" doc:"those that hold from then on, or from later"`
	Until time.Time `query:"until" doc:"those that hold from before"`
}

// span is what to ask for of versions that hold from their begin on.
func (b Between) span(p Paging) (s pg.Span, err error) {
	s = pg.Span{From: b.From, Until: b.Until, Limit: p.more()}
	if p.After != "" {
		if s.After, err = time.Parse(time.RFC3339Nano, p.After); err != nil {
			return s, errCursor
		}
	}
	return s, nil
}

// wanted reports whether a value passes a filter; "" is no filter.
func wanted[T ~string](filter string, value T) bool { return filter == "" || filter == string(value) }
