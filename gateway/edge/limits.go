package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Rate is a token bucket: so much a second in the long run, and up to Burst at
// once after a rest. Zero values are the defaults of where the rate is used.
type Rate struct{ PerSecond, Burst int }

// A Quota is what one tenant may ask of one process.
type Quota struct {
	Taps   Rate // taps in uploads
	Reads  Rate // GET requests with a token of the tenant
	Writes Rate // the other requests with one
}

// Limits bound what one tenant, or one client address, takes of a process. They
// are held in its memory: n processes let n times as much through.
type Limits struct {
	// Quota gives a tenant's quota, asked for every few seconds while the tenant is heard of, without I/O; nil = [DefaultQuota].
	Quota func(citygate.TenantID) Quota
	// Public bounds the public documents one client address asks for, SignIns its sign-ins,
	// Unknown its requests with a token or key that is none; zero = defaults.
	Public, SignIns, Unknown Rate
	// Connections is the size of the database pool that requests share; 0 = 16.
	Connections int
	// Clock paces the buckets; nil = the gateway's.
	Clock citygate.Clock
	// Remembered bounds how many tenants, and how many addresses, have buckets of
	// their own at a time; 0 = 16384. One whose buckets are full is forgotten first, which changes nothing.
	Remembered int
}

// DefaultQuota is a tenant's quota where nobody says another: what the largest
// operators of one process need in their peak. The platform, 0, has ten times that.
func DefaultQuota(tenant citygate.TenantID) Quota {
	q := Quota{Taps: Rate{50_000, 250_000}, Reads: Rate{500, 2_000}, Writes: Rate{200, 1_000}}
	if tenant == 0 {
		q.Reads, q.Writes = Rate{5_000, 20_000}, Rate{2_000, 10_000}
	}
	return q
}

// A tenant's share of the database pool, and who may wait for it.
const (
	leastShare  = 2               // connections, however small the pool
	waitingMost = 32              // requests of a tenant that wait; the next one is refused
	waitAtMost  = 2 * time.Second // then it is refused
)

var (
	errRate = &citygate.Code{Name: "limit.rate", Kind: citygate.TooMany, Title: "The quota for such requests is used up. Wait as long as Retry-After says and repeat the request, and send at the rate that RateLimit-Policy allows."}
	errBusy = &citygate.Code{Name: "limit.concurrency", Kind: citygate.TooMany, Title: "Too many requests of the tenant run at once. Wait as long as Retry-After says, repeat the request, and send fewer at a time."}
)

// A shed is a refusal that says when to come back.
type shed struct {
	error
	after time.Duration
}

func (s *shed) Unwrap() error             { return s.error }
func (s *shed) RetryAfter() time.Duration { return s.after }

// A limiter holds the buckets and slots of a process.
type limiter struct {
	Limits
	mu        sync.Mutex
	tenants   members[citygate.TenantID]
	addresses members[netip.Prefix]
	public    *slots // of all who show no token
}

func newLimiter(l Limits, clock citygate.Clock) *limiter {
	if l.Quota == nil {
		l.Quota = DefaultQuota
	}
	if l.Connections <= 0 {
		l.Connections = 16
	}
	if l.Clock == nil {
		l.Clock = clock
	}
	if l.Remembered <= 0 {
		l.Remembered = 16_384
	}
	return &limiter{Limits: l, public: newSlots(l.Connections)}
}

// A bucket is a named rate of one tenant or address.
type bucket struct {
	policy string // RateLimit-Policy, ready to send
	name   string
	unit   Rate
	tokens *rate.Limiter
}

func newBucket(name, unit string, r, otherwise Rate) bucket {
	if r.PerSecond <= 0 {
		r.PerSecond = otherwise.PerSecond
	}
	if r.Burst <= 0 {
		r.Burst = max(r.PerSecond, otherwise.Burst*r.PerSecond/otherwise.PerSecond)
	}
	return bucket{
		name: name, unit: r, tokens: rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst),
		policy: fmt.Sprintf(`"%s";q=%d;w=%d%s`, name, r.Burst, (r.Burst+r.PerSecond-1)/r.PerSecond, unit),
	}
}

func (b *bucket) full(now time.Time) bool { return int(b.tokens.TokensAt(now)) >= b.unit.Burst }

// describe writes the fields of draft-ietf-httpapi-ratelimit-headers-10: a bucket
// of q that fills in w seconds, r of them left, all back in t seconds.
func (b *bucket) describe(c *gin.Context, now time.Time) {
	left := max(0, int(b.tokens.TokensAt(now)))
	c.Header("RateLimit-Policy", b.policy)
	c.Header("RateLimit", `"`+b.name+`";r=`+strconv.Itoa(left)+";t="+strconv.Itoa((b.unit.Burst-left+b.unit.PerSecond-1)/b.unit.PerSecond))
}

// refused is the refusal of a request that finds the bucket empty, nil if it is not.
func (b *bucket) refused(now time.Time) error {
	left := b.tokens.TokensAt(now)
	if left >= 1 {
		return nil
	}
	missing := int64((1 - left) * 1e6) // of a millionth of a token
	return &shed{errRate, max(time.Second, time.Duration(missing)*time.Microsecond/time.Duration(b.unit.PerSecond))}
}

// take takes one token, or refuses.
func (b *bucket) take(now time.Time) error {
	if b.tokens.AllowN(now, 1) {
		return nil
	}
	return b.refused(now)
}

// quotaHolds is how long a tenant's quota is not asked for again.
const quotaHolds = 5 * time.Second

// A member is one tenant or address with its buckets.
type member struct {
	buckets [3]bucket
	slots   *slots // nil for an address
	quota   Quota  // that the buckets were made for
	asked   time.Time
}

// The buckets of a tenant, and those of an address.
const (
	taps, reads, writes = 0, 1, 2
	documents, signIns  = 0, 1
	unknowns            = 2
)

func (m *member) idle(now time.Time) bool {
	for i := range m.buckets {
		if b := &m.buckets[i]; b.tokens != nil && !b.full(now) {
			return false
		}
	}
	return m.slots == nil || m.slots.idle()
}

// members are those heard of, in bounded memory.
type members[K comparable] struct {
	of    map[K]*member
	swept time.Time
	rest  *member // of all for whom there was no room
}

// find gives a member, made by fresh if it is new. When there is no room, members
// with full buckets make some: a new one would be the same. Is there still none,
// the newcomers share one.
func (m *members[K]) find(key K, now time.Time, most int, fresh func() *member) *member {
	if found := m.of[key]; found != nil {
		return found
	}
	if m.of == nil {
		m.of = map[K]*member{}
	}
	if len(m.of) >= most && now.Sub(m.swept).Abs() >= time.Second { // a sweep looks at all of them
		m.swept = now
		for k, old := range m.of {
			if old.idle(now) {
				delete(m.of, k)
			}
		}
	}
	if len(m.of) >= most {
		if m.rest == nil {
			m.rest = fresh()
		}
		return m.rest
	}
	made := fresh()
	m.of[key] = made
	return made
}

func (l *limiter) tenant(id citygate.TenantID) *member {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Clock()
	var held *slots
	if m := l.tenants.of[id]; m != nil && now.Sub(m.asked).Abs() >= quotaHolds {
		if m.asked = now; l.Quota(id) != m.quota { // a tenant with another quota begins with full buckets
			held = m.slots
			delete(l.tenants.of, id)
		}
	}
	return l.tenants.find(id, now, l.Remembered, func() *member {
		q, usual := l.Quota(id), DefaultQuota(id)
		if held == nil {
			held = newSlots(l.Connections)
		}
		return &member{slots: held, quota: q, asked: now, buckets: [3]bucket{
			taps: newBucket("taps", `;qu="taps"`, q.Taps, usual.Taps), reads: newBucket("reads", "", q.Reads, usual.Reads), writes: newBucket("writes", "", q.Writes, usual.Writes),
		}}
	})
}

// known gives a tenant that has buckets, nil if it has none: its bucket would be
// full. A name that nobody has proved makes no bucket.
func (l *limiter) known(id citygate.TenantID) *member {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tenants.of[id]
}

// address gives the buckets of a client: an IPv6 client has a /64 of addresses.
func (l *limiter) address(remote string) *member {
	ip, _ := netip.ParseAddr(remote) // the zero address for a client without one
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	client, _ := ip.Prefix(bits) // fails for the zero address alone, whose prefix is zero
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addresses.find(client, l.Clock(), l.Remembered, func() *member {
		return &member{buckets: [3]bucket{
			documents: newBucket("public", "", l.Public, Rate{1_000, 10_000}), signIns: newBucket("sign-in", "", l.SignIns, Rate{50, 500}),
			unknowns: newBucket("unknown", "", l.Unknown, Rate{10, 100}),
		}}
	})
}

// slots are how many database connections the requests of one tenant may hold at
// a time: a quarter of the pool. One of them is never taken by requests with a
// token, so that slow reports do not hold up taps.
type slots struct {
	all, requests, waiting chan struct{}
}

func newSlots(connections int) *slots {
	share := max(leastShare, connections/4)
	return &slots{make(chan struct{}, share), make(chan struct{}, share-1), make(chan struct{}, waitingMost)}
}

func (s *slots) idle() bool { return len(s.all)+len(s.waiting) == 0 }

// enter takes a slot and gives what frees it. It waits its turn for a while.
func (s *slots) enter(ctx context.Context, request bool) (leave func(), err error) {
	gates := []chan struct{}{s.all}
	if request {
		gates = []chan struct{}{s.requests, s.all}
	}
	held := 0
	leave = func() {
		for _, g := range gates[:held] {
			<-g
		}
	}
	for _, g := range gates {
		select {
		case g <- struct{}{}:
			held++
			continue
		default:
		}
		if err := s.wait(ctx, g); err != nil {
			leave()
			return nil, err
		}
		held++
	}
	return leave, nil
}

func (s *slots) wait(ctx context.Context, gate chan<- struct{}) error {
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return &shed{errBusy, time.Second}
	}
	patience := time.NewTimer(waitAtMost)
	defer patience.Stop()
	select {
	case gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		return &shed{errBusy, time.Second}
	}
}

// spent refuses a request of a tenant whose bucket is empty, and takes nothing: it
// is asked before the database is, so that what a loud tenant is refused costs the
// others no connection.
func (e *Edge) spent(c *gin.Context, tenant citygate.TenantID, op operation) error {
	m := e.limits.known(tenant)
	if m == nil || c.Request.Context().Value(insideKey{}) != nil {
		return nil
	}
	b, now := m.bucketOf(op), e.limits.Clock()
	err := b.refused(now)
	if err != nil {
		b.describe(c, now)
	}
	return err
}

// bucketOf is what a request with a token takes of.
func (m *member) bucketOf(op operation) *bucket {
	if op.writes {
		return &m.buckets[writes]
	}
	return &m.buckets[reads]
}

// admitCaller lets a request with a token in, within its tenant's quota, or
// answers it; leave frees its slot. The body has not been read.
func (e *Edge) admitCaller(c *gin.Context, caller Caller, op operation) (leave func(), ok bool) {
	if c.Request.Context().Value(insideKey{}) != nil {
		return func() {}, true
	}
	m := e.limits.tenant(caller.Tenant)
	b, now := m.bucketOf(op), e.limits.Clock()
	err := b.take(now)
	b.describe(c, now)
	if err == nil {
		leave, err = m.slots.enter(c.Request.Context(), true)
	}
	if err != nil {
		e.write(c, err)
		return nil, false
	}
	return leave, true
}

// unknown answers a request whose token or key is none. Each takes of the quota of
// its client's address, and over that quota the answer does not even say so: it
// costs a guess. Who shows a good token is not held up by others at his address.
func (e *Edge) unknown(c *gin.Context, err error) {
	var code *citygate.Code
	if !errors.As(err, &code) || code.Kind != citygate.Unauthenticated { // what failed is ours
		e.write(c, err)
		return
	}
	b, now := &e.limits.address(c.RemoteIP()).buckets[unknowns], e.limits.Clock()
	over := b.take(now)
	b.describe(c, now)
	if over != nil {
		e.write(c, over)
		return
	}
	c.Header("WWW-Authenticate", "Bearer")
	e.write(c, err)
}

// admitOpen runs a route without a token, within a quota. An upload is refused
// for what the head of its body says. Whether the process answers is never refused.
func (e *Edge) admitOpen(c *gin.Context, op operation) {
	switch {
	case op.id == "health":
		c.Next()
	case op.class == terminal:
		e.admitUpload(c)
	default:
		m := e.limits.address(c.RemoteIP())
		b := &m.buckets[documents]
		if op.class == proof && op.id != "notify" && op.id != "request-code" { // providers send for a whole city from few addresses
			b = &m.buckets[signIns]
		}
		now := e.limits.Clock()
		err := b.take(now)
		b.describe(c, now)
		var leave func()
		if err == nil {
			leave, err = e.limits.public.enter(c.Request.Context(), true)
		}
		if err != nil {
			e.write(c, err)
			return
		}
		defer leave()
		if op.class == proof {
			if err := follow(c, 0); err != nil {
				e.write(c, err)
				return
			}
		}
		c.Next()
	}
}

// admitUpload looks at the tenant in the head of a batch and refuses the batch if
// that tenant's bucket is empty. It takes nothing: the name is not proved yet, and
// who sends batches in another's name must not use up its quota. [Edge.recordWithin] does.
func (e *Edge) admitUpload(c *gin.Context) {
	body := bufio.NewReaderSize(c.Request.Body, tap.BatchTenantEnd)
	head, _ := body.Peek(tap.BatchTenantEnd) // an error comes again when the body is read
	c.Request.Body = readCloser{body, c.Request.Body}
	if tenant, named := tap.BatchTenant(head); named {
		if m := e.limits.known(tenant); m != nil {
			now := e.limits.Clock()
			if err := m.buckets[taps].refused(now); err != nil {
				m.buckets[taps].describe(c, now)
				e.write(c, err)
				return
			}
		}
	}
	c.Next()
}

type readCloser struct {
	io.Reader
	io.Closer
}

// recordWithin records an upload in a slot of its tenant's, and takes its taps off
// the tenant's quota once they have proved to be the tenant's.
func (e *Edge) recordWithin(c *gin.Context, raw []byte) ([]TapReceipt, error) {
	tenant, named := tap.BatchTenant(raw)
	if !named {
		return e.RecordTaps(c.Request.Context(), raw)
	}
	m := e.limits.tenant(tenant)
	leave, err := m.slots.enter(c.Request.Context(), false)
	if err != nil {
		return nil, err
	}
	defer leave()
	results, err := e.RecordTaps(c.Request.Context(), raw)
	if err != nil {
		return nil, err
	}
	b, now := &m.buckets[taps], e.limits.Clock()
	for left := len(results); left > 0; left -= b.unit.Burst {
		b.tokens.ReserveN(now, min(left, b.unit.Burst)) // into debt, if need be: the taps are recorded
	}
	b.describe(c, now)
	return results, nil
}
