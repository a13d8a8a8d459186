package intake_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pgtest"
)

const (
	tenant = citygate.TenantID(1001)
	other  = citygate.TenantID(1002)
	issuer = citygate.Issuer(7)
)

var base = pgtest.Epoch.Unix() - 3600 // seconds: when the taps of these tests happen

// toy is a scheme whose signature is one byte: T, idx, counter, generated, good, filler.
type toy struct{ verified *sync.Map }

const toySize = 13

func toyCode(idx uint32, counter uint16, generated int64, good, filler byte) []byte {
	raw := binary.BigEndian.AppendUint32([]byte{'T'}, idx)
	raw = binary.BigEndian.AppendUint16(raw, counter)
	raw = binary.BigEndian.AppendUint32(raw, uint32(generated))
	return append(raw, good, filler)
}

func (toy) ID() code.SchemeID { return "toy" }

func (toy) Sniff(raw []byte) code.Match {
	if len(raw) > 0 && raw[0] == 'T' {
		return code.Sure
	}
	return code.No
}

func (toy) Parse(raw []byte, c *code.Code) error {
	if len(raw) != toySize {
		return code.ErrMalformed
	}
	*c = code.Code{Scheme: "toy", Raw: raw, Rider: citygate.Rider{Issuer: issuer, List: 1, Index: binary.BigEndian.Uint32(raw[1:])},
		Counter: binary.BigEndian.Uint16(raw[5:]), IssuedAt: base - 40*24*3600, ExpiresAt: base + 40*24*3600,
		GeneratedAt: int64(binary.BigEndian.Uint32(raw[7:])), Window: 30, Cap: 10, Party: 1, Product: 5}
	if raw[12] > 100 {
		c.Party = raw[12] - 100
	}
	return nil
}

func (s toy) Verify(c *code.Code, _ code.KeySource, _ code.CredentialCache) code.Verdict {
	s.verified.Store(string(c.Raw), true)
	if c.Raw[11] == 1 {
		return code.Verdict{Outcome: code.Accept, Strength: code.DeviceBound}
	}
	return code.Refuse(code.BadDeviceSignature)
}

func terminalKey(tenant citygate.TenantID, id uint32) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "terminal %d %d", tenant, id))
	return ed25519.NewKeyFromSeed(seed[:])
}

// A city is what intake asks for: its terminals, trust and calendar, and the job queue.
type city struct {
	mu   sync.Mutex
	jobs []string
	now  time.Time

	copies []intake.Copy
	blocks func(list uint16, now bool) denylist.Blocks
}

func (c *city) Blocks(_ context.Context, of citygate.Issuer, list uint16, now bool) (denylist.Blocks, error) {
	if c.blocks == nil || of != issuer {
		return nil, nil
	}
	return c.blocks(list, now), nil
}

func (c *city) Terminal(_ context.Context, tenant citygate.TenantID, id uint32) (intake.Terminal, error) {
	if id >= 100 {
		return intake.Terminal{}, intake.ErrUnknownTerminal
	}
	return intake.Terminal{Key: terminalKey(tenant, id).Public().(ed25519.PublicKey), Mode: accept.Bus}, nil
}

func (c *city) Keys(context.Context, citygate.TenantID) (code.KeySource, error) { return nil, nil }

func (c *city) Rules(_ context.Context, tenant citygate.TenantID, version uint64) (*accept.Rules, error) {
	return &accept.Rules{Version: max(version, 1), Tenant: tenant,
		Issuers: []accept.IssuerRule{{Issuer: issuer, Currency: "CNY", CapUnitMinor: 100}},
		Schemes: []code.SchemeID{"toy", "ct1"}, Modes: []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.On, tap.Off, tap.Single}}},
		SkewSeconds: 30, MaxWindowSeconds: 60, MaxTTLHours: 24 * 100, StaleListSeconds: 7200, LateUploadDays: 30, ClockSuspectSeconds: 120,
		Incomplete: accept.Incomplete{Charge: accept.ChargeNone, MaxJourneyMinutes: 240}}, nil
}

func (c *city) RulesAt(ctx context.Context, tenant citygate.TenantID, _ int64) (*accept.Rules, error) {
	return c.Rules(ctx, tenant, 1)
}

func (c *city) Calendar(context.Context, citygate.TenantID) (citygate.Calendar, error) {
	return citygate.Calendar{Version: 1, Location: time.UTC, Cut: 4 * time.Hour}, nil
}

// tell keeps the copies of transactions as they come; those of one that is run
// again would come twice.
func (c *city) tell(_ context.Context, _ *pg.Tx, copies []intake.Copy) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copies = append(c.copies, copies...)
	return nil
}

func rider(idx uint32) citygate.Rider { return citygate.Rider{Issuer: issuer, List: 1, Index: idx} }

func (c *city) Enqueue(_ context.Context, _ pgx.Tx, jobs []pg.Job) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range jobs {
		raw, err := json.Marshal(j)
		if err != nil {
			return err
		}
		c.jobs = append(c.jobs, j.Kind()+" "+string(raw))
	}
	return nil
}

type gateway struct {
	*city
	db       *pg.DB
	recorder *intake.Recorder
	verified *sync.Map

	recordings atomic.Int64 // transactions that recorded a batch, those that were run again included
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	c := &city{now: pgtest.Epoch}
	g := &gateway{city: c, verified: &sync.Map{}}
	named := regexp.MustCompile(`tenant_id = \$1|\(tenant_id, `)
	g.db = pgtest.New(t, pgtest.WithStatements(func(sql string) {
		if strings.Contains(sql, "INSERT INTO tap_terminals") {
			g.recordings.Add(1)
		}
		if !named.MatchString(sql) {
			t.Errorf("a statement does not name the tenant: %s", sql)
		}
	}), pgtest.WithEnqueuer(c), pgtest.WithClock(func() time.Time { return c.now }))
	var err error
	g.recorder, err = intake.New(intake.Config{DB: g.db, Terminals: c, Trust: c, Calendars: c, Schemes: code.NewDispatcher(toy{g.verified}), Copies: g.tell, Blocks: c.Blocks})
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint32(3) {
		g.enrol(t, tenant, id+1)
	}
	g.enrol(t, other, 1)
	return g
}

func (g *gateway) enrol(t testing.TB, tenant citygate.TenantID, id uint32) {
	t.Helper()
	_, err := fleet.New(g.db).Enrol(context.Background(), "system:test", tenant,
		fleet.Terminal{ID: id, Name: "reader", Kind: fleet.Validator, Mode: fleet.Single}, terminalKey(tenant, id).Public())
	if err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) tx(t testing.TB, fn func(tx *pg.Tx) error) {
	t.Helper()
	if err := g.db.InTenant(context.Background(), tenant, fn); err != nil {
		t.Fatal(err)
	}
}

// A device makes the batches of one terminal.
type device struct {
	tenant citygate.TenantID
	id     uint32
	next   uint64
	prev   [32]byte
}

func newDevice(id uint32) *device { return &device{tenant: tenant, id: id, next: 1} }

// ok gives an accepted tap of a genuine code, made at the tap's time.
func ok(idx uint32, counter uint16) tap.Record {
	at := base + int64(counter)
	return tap.Record{Kind: tap.Single, Accepted: true, EventTime: at * 1000, Clock: tap.ClockGNSS, Party: 1, Stop: "S1", Vehicle: "V1",
		Trip: "T", PolicyVersion: 3, SoftwareVersion: "1", Evidence: toyCode(idx, counter, at, 1, 0)}
}

func (d *device) batch(t testing.TB, records ...tap.Record) []byte {
	t.Helper()
	var encoded [][]byte
	for i := range records {
		r := records[i]
		r.Terminal, r.Seq = d.id, d.next+uint64(i)
		raw, err := r.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, raw)
	}
	raw, err := tap.EncodeBatch(tap.Header{Tenant: d.tenant, Terminal: d.id, First: d.next, Prev: d.prev}, encoded,
		func(m []byte) ([]byte, error) { return ed25519.Sign(terminalKey(d.tenant, d.id), m), nil })
	if err != nil {
		t.Fatal(err)
	}
	b, err := tap.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	d.next, d.prev = d.next+uint64(len(records)), b.Hash
	return raw
}

func (g *gateway) record(t testing.TB, raw []byte) []intake.ItemResult {
	t.Helper()
	r, err := g.recorder.Record(context.Background(), tenant, raw)
	if err != nil {
		t.Fatalf("Record: %v", err)
	}
	return r.Results
}

func (g *gateway) want(t *testing.T, raw []byte, want ...string) {
	t.Helper()
	var got []string
	for _, r := range g.record(t, raw) {
		s := string(r.Outcome)
		if r.Reason != "" {
			s += " " + string(r.Reason)
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		t.Errorf("receipt %q, want %q", got, want)
	}
}

// balance holds the sum that the scorecard prints.
func (g *gateway) balance(t *testing.T) intake.Counts {
	t.Helper()
	var c intake.Counts
	g.tx(t, func(tx *pg.Tx) (err error) {
		c, err = intake.Count(context.Background(), tx)
		return err
	})
	sum := c.Recorded + c.Duplicate
	for _, n := range c.Refused {
		sum += n
	}
	if sum != c.Uploaded {
		t.Errorf("%+v: recorded, duplicate and refused add up to %d", c, sum)
	}
	return c
}

func (g *gateway) flags(t *testing.T) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	g.tx(t, func(tx *pg.Tx) error {
		flags, err := fleet.Flags(context.Background(), tx)
		for _, f := range flags {
			found[fmt.Sprintf("%d %s", f.Terminal, f.Flag)] = f.Times
		}
		return err
	})
	return found
}
