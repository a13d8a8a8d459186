package edge

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
)

// DenyLists is what the edge needs of the issuers' deny lists.
type DenyLists struct {
	// Lists names the deny lists of an issuer, List gives one.
	Lists func(ctx context.Context, issuer citygate.Issuer) ([]ListHead, error)
	List  func(ctx context.Context, issuer citygate.Issuer, list uint16) (body []byte, etag string, err error)
	// ListAt gives one version, Delta what leads from one to another.
	ListAt func(ctx context.Context, issuer citygate.Issuer, list uint16, seq uint32) (body []byte, etag string, err error)
	Delta  func(ctx context.Context, issuer citygate.Issuer, list uint16, from, to uint32) (body []byte, etag string, err error)
	// Heartbeat gives the newest one.
	Heartbeat func(ctx context.Context, issuer citygate.Issuer) (body []byte, etag string, err error)
	// Updates names what brings a holder up to date, and the lists that are no more.
	Updates func(ctx context.Context, issuer citygate.Issuer, have []HeldList) (objects []ListObject, ended []uint16, err error)
	// DenyLatency says how long denials take to be published.
	DenyLatency func(ctx context.Context, tenant citygate.TenantID) (DenyLatency, error)
}

// A ListHead names the newest version of a deny list.
type ListHead struct {
	List       uint16      `json:"list"`
	Seq        uint32      `json:"seq"`
	BuiltAt    time.Time   `json:"built_at"`
	ValidUntil time.Time   `json:"valid_until"`
	Issued     uint32      `json:"issued" doc:"n: where the last block ends; no index from there on was issued"`
	Denied     int         `json:"denied"`
	ETag       string      `json:"etag"`
	Blocks     []ListBlock `json:"blocks" doc:"an index is only ever issued on the day of its block"`
}

// A ListBlock is a range of indices that credentials of one day are issued from.
type ListBlock struct {
	Day   string `json:"day" format:"date" doc:"of issue, UTC"`
	First uint32 `json:"first"`
	Size  uint32 `json:"size"`
}

// A HeldList is a version of a list that a terminal holds.
type HeldList struct {
	List uint16
	Seq  uint32
}

// A ListObject names the one object that brings a terminal up to date on a list.
type ListObject struct {
	List  uint16 `json:"list"`
	Kind  string `json:"kind" enum:"snapshot,delta"`
	From  uint32 `json:"from,omitempty" doc:"of a delta: it fits every version from here on"`
	Seq   uint32 `json:"seq"`
	Bytes int    `json:"bytes"`
	Path  string `json:"path" doc:"under this server; the object behind it never changes"`
}

// DenyLatency is how old denials are before a published list has them.
type DenyLatency struct {
	Pending       int    `json:"pending" doc:"denials and liftings that no published list has yet"`
	OldestSeconds int64  `json:"oldest_s" doc:"age of the oldest of them"`
	Published     int    `json:"published_24h" doc:"denials published in the last 24 hours"`
	WorstSeconds  int64  `json:"worst_24h_s" doc:"the longest any of those took"`
	Standing      string `json:"standing" enum:"on_time,late,alarm,breach" doc:"by oldest_s: over target_s, alarm_s, breach_s"`
	TargetSeconds int64  `json:"target_s"`
	AlarmSeconds  int64  `json:"alarm_s"`
	BreachSeconds int64  `json:"breach_s"`
}

type listHeads struct {
	Lists []ListHead `json:"lists"`
}

type listUpdates struct {
	Objects   []ListObject `json:"objects" doc:"to fetch; a list that is up to date is not here"`
	Ended     []uint16     `json:"ended" doc:"lists asked about whose last credential has run out"`
	Heartbeat string       `json:"heartbeat" doc:"path of the newest heartbeat"`
}

// denyListRoutes are the public, signed objects of issuers, and the figure of how
// old they are.
func (e *Edge) denyListRoutes() {
	register(e, get("deny-latency", "/v1/tenants/{tenant}/denials/latency", "How long denials take to reach a published list", "riders"),
		func(ctx context.Context, _ Caller, r *InTenant) (*body[DenyLatency], error) {
			return respond(e.DenyLatency(ctx, r.id()))
		})
	schemas := e.api.OpenAPI().Components.Schemas
	e.plain(public, http.MethodGet, "/v1/issuers/:issuer/lists", e.listHeads, &huma.Operation{
		OperationID: "list-deny-lists", Summary: "The deny lists of an issuer", Tags: []string{"terminals"},
		Responses: map[string]*huma.Response{"200": {Description: "the newest version of each list", Content: map[string]*huma.MediaType{
			"application/json": {Schema: schemas.Schema(reflectType[listHeads](), true, "DenyLists")},
		}}, "304": {Description: "what If-None-Match names is current"}},
	})
	e.plain(public, http.MethodGet, "/v1/issuers/:issuer/updates", e.listUpdates, &huma.Operation{
		OperationID: "list-updates", Summary: "What brings a terminal up to date on an issuer's deny lists", Tags: []string{"terminals"},
		Description: "The answer names one object a list: the smallest delta that fits, or the snapshot. Nothing is kept about who asks.",
		Parameters: []*huma.Param{{
			Name: "have", In: "query", Description: "the versions held, as list.seq with commas between; empty for a new terminal",
			Schema: &huma.Schema{Type: huma.TypeString}, Example: "2955.12,2956.3",
		}},
		Responses: map[string]*huma.Response{"200": {Description: "objects to fetch", Content: map[string]*huma.MediaType{
			"application/json": {Schema: schemas.Schema(reflectType[listUpdates](), true, "DenyListUpdates")},
		}}},
	})
	e.plain(public, http.MethodGet, "/v1/issuers/:issuer/lists/:list", func(c *gin.Context) {
		n, ok := numbers(c, 16, "issuer", "list")
		if !ok {
			e.write(c, errNotFound)
			return
		}
		raw, etag, err := e.List(c.Request.Context(), citygate.Issuer(n[0]), uint16(n[1]))
		e.object(c, raw, etag, cacheSoon, err)
	}, signedObject("get-deny-list", "The newest deny list snapshot (DL1S)"))
	e.plain(public, http.MethodGet, "/v1/issuers/:issuer/lists/:list/:seq", func(c *gin.Context) {
		n, ok := numbers(c, 32, "issuer", "list", "seq")
		if !ok {
			e.write(c, errNotFound)
			return
		}
		raw, etag, err := e.ListAt(c.Request.Context(), citygate.Issuer(n[0]), uint16(n[1]), uint32(n[2]))
		e.object(c, raw, etag, cacheForever, err)
	}, signedObject("get-deny-list-version", "One version of a deny list (DL1S); it never changes"))
	e.plain(public, http.MethodGet, "/v1/issuers/:issuer/lists/:list/:seq/from/:from", func(c *gin.Context) {
		n, ok := numbers(c, 32, "issuer", "list", "seq", "from")
		if !ok {
			e.write(c, errNotFound)
			return
		}
		raw, etag, err := e.Delta(c.Request.Context(), citygate.Issuer(n[0]), uint16(n[1]), uint32(n[3]), uint32(n[2]))
		e.object(c, raw, etag, cacheForever, err)
	}, signedObject("get-deny-list-delta", "What leads from one version of a deny list to another (DL1D); it never changes"))
	e.plain(public, http.MethodGet, "/v1/issuers/:issuer/heartbeat", func(c *gin.Context) {
		n, ok := numbers(c, 16, "issuer")
		if !ok {
			e.write(c, errNotFound)
			return
		}
		raw, etag, err := e.Heartbeat(c.Request.Context(), citygate.Issuer(n[0]))
		e.object(c, raw, etag, cacheSoon, err)
	}, signedObject("get-heartbeat", "The newest heartbeat of an issuer (DL2H): its lists and their blocks of indices, and that there is nothing newer"))
}

// numbers reads path parameters: issuer and list have 16 bits, others as said.
func numbers(c *gin.Context, bits int, names ...string) ([]uint64, bool) {
	list := make([]uint64, len(names))
	for i, name := range names {
		size := bits
		if name == "issuer" || name == "list" {
			size = 16
		}
		n, err := strconv.ParseUint(c.Param(name), 10, size)
		if err != nil {
			return nil, false
		}
		list[i] = n
	}
	return list, true
}

func (e *Edge) listHeads(c *gin.Context) {
	n, ok := numbers(c, 16, "issuer")
	if !ok {
		e.write(c, errNotFound)
		return
	}
	heads, err := e.Lists(c.Request.Context(), citygate.Issuer(n[0]))
	if err != nil {
		e.write(c, err)
		return
	}
	etag := `"`
	for _, h := range heads {
		etag += strconv.FormatUint(uint64(h.List), 10) + "." + strconv.FormatUint(uint64(h.Seq), 10) + " "
	}
	etag += `"`
	if e.current(c, etag, cacheSoon) {
		return
	}
	if heads == nil {
		heads = []ListHead{}
	}
	c.JSON(http.StatusOK, listHeads{heads})
}

// heldMax bounds what a terminal says it holds; it has one list a week and issuer.
const heldMax = 512

func (e *Edge) listUpdates(c *gin.Context) {
	n, ok := numbers(c, 16, "issuer")
	if !ok {
		e.write(c, errNotFound)
		return
	}
	have, ok := heldLists(c.Query("have"))
	if !ok {
		e.write(c, errBody.Explain("have: want at most %d of list.seq, with commas between", heldMax))
		return
	}
	objects, ended, err := e.Updates(c.Request.Context(), citygate.Issuer(n[0]), have)
	if err != nil {
		e.write(c, err)
		return
	}
	base := "/v1/issuers/" + strconv.FormatUint(n[0], 10)
	answer := listUpdates{Objects: objects, Ended: ended, Heartbeat: base + "/heartbeat"}
	if objects == nil {
		answer.Objects = []ListObject{}
	}
	if ended == nil {
		answer.Ended = []uint16{}
	}
	for i := range objects {
		o := &objects[i]
		o.Kind, o.Path = "snapshot", base+"/lists/"+strconv.Itoa(int(o.List))+"/"+strconv.FormatUint(uint64(o.Seq), 10)
		if o.From > 0 {
			o.Kind, o.Path = "delta", o.Path+"/from/"+strconv.FormatUint(uint64(o.From), 10)
		}
	}
	c.Header("Cache-Control", cacheSoon)
	c.JSON(http.StatusOK, answer)
}

func heldLists(text string) ([]HeldList, bool) {
	if text == "" {
		return nil, true
	}
	var have []HeldList
	for one := range strings.SplitSeq(text, ",") {
		list, seq, ok := strings.Cut(one, ".")
		l, err1 := strconv.ParseUint(list, 10, 16)
		s, err2 := strconv.ParseUint(seq, 10, 32)
		if !ok || err1 != nil || err2 != nil || len(have) == heldMax {
			return nil, false
		}
		have = append(have, HeldList{uint16(l), uint32(s)})
	}
	return have, true
}

// BlocksView turns blocks into what the API shows.
func BlocksView(blocks denylist.Blocks) []ListBlock {
	list := make([]ListBlock, len(blocks))
	for i, b := range blocks {
		list[i] = ListBlock{time.Unix(b.Day*24*3600, 0).UTC().Format(time.DateOnly), b.First, b.Size}
	}
	return list
}
