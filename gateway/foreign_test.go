package gateway

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/motsm2"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/code/tokendefer"
	"github.com/cashlesscity/citygate/gateway/code/uicdosipas"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/foreign"
	"github.com/cashlesscity/citygate/gateway/interbook"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
)

const (
	rail       = citygate.TenantID(1002) // answers for rail tickets towards the bus
	railIssuer = citygate.Issuer(9)
	stranger   = citygate.TenantID(1003) // has nothing to do with either
)

// ministry is a city of the Ministry's layout, with one phone.
type ministry struct {
	scheme             *motsm2.Scheme
	root, issuer, user *sm2.PrivateKey
	index              byte // of the root
}

func newMinistry(o *office) *ministry {
	s, err := motsm2.New(motsm2.Defaults())
	o.must(err)
	m := &ministry{scheme: s, index: 1}
	for _, key := range []**sm2.PrivateKey{&m.root, &m.issuer, &m.user} {
		*key, err = sm2.GenerateKey(rand.Reader)
		o.must(err)
	}
	return m
}

// show gives a display of a card at an instant.
func (m *ministry) show(o *office, card byte, at time.Time) []byte {
	by := func(key *sm2.PrivateKey) motsm2.Sign {
		return func(uid, msg []byte) ([]byte, error) { return key.Sign(rand.Reader, uid, msg) }
	}
	cert, err := m.scheme.BuildCertificate(motsm2.Certificate{Version: 0x80, RootIndex: m.index, Month: 12, Year: 2099, Key: sm2.Compress(m.issuer.Public())}, by(m.root))
	o.must(err)
	authorised, err := m.scheme.BuildAuthorisation(motsm2.Authorisation{Version: 0x80, Certificate: cert, UserAccount: [10]byte{9: card}, CardIssuer: 1,
		Platform: 1, CapMinor: 500, UserKey: sm2.Compress(m.user.Public()), ExpiresAt: at.Add(24 * time.Hour).Unix(), Validity: 60}, by(m.issuer))
	o.must(err)
	raw, err := m.scheme.Display(authorised, at.Unix(), by(m.user))
	o.must(err)
	return raw
}

// railway signs tickets.
type railway struct{ issuer, device *ecdsa.PrivateKey }

func newRailway(o *office) *railway {
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	o.must(err)
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	o.must(err)
	return &railway{issuer, device}
}

func (r *railway) public(o *office) []byte {
	der, err := x509.MarshalPKIXPublicKey(r.issuer.Public())
	o.must(err)
	return der
}

func (r *railway) show(o *office, ticket byte, at time.Time) []byte {
	public, err := r.device.PublicKey.Bytes()
	o.must(err)
	d := &uicdosipas.Display{Level2Data: uicdosipas.NewDynamic(at), Ticket: uicdosipas.Ticket{
		Version: 2, ProviderNum: 1187, KeyID: 5, HasKeyID: true, Duration: 120,
		Contents:         []uicdosipas.Content{{Format: "_9999X", Data: []byte{ticket}}},
		Level1SigningAlg: uicdosipas.ECDSAWithSHA256, Level2SigningAlg: uicdosipas.ECDSAWithSHA256, Level2KeyAlg: uicdosipas.P256,
		Level2Key: append([]byte{2 + public[64]&1}, public[1:33]...),
	}}
	d.SetEnd(at.Add(24 * time.Hour))
	sign := func(message func() ([]byte, error), key *ecdsa.PrivateKey) []byte {
		msg, err := message()
		o.must(err)
		sum := sha256.Sum256(msg)
		sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		o.must(err)
		return sig
	}
	d.Level1Signature = sign(d.Level1, r.issuer)
	d.Level2Signature = sign(d.Level2, r.device)
	raw, err := d.Marshal()
	o.must(err)
	return raw
}

func token(o *office, last byte) []byte {
	raw, err := tokendefer.Build("palm", append(make([]byte, 19), last))
	o.must(err)
	return raw
}

// foreignRules are what the bus takes besides its own codes.
func foreignRules() *accept.Rules {
	r := rules(2)
	r.Schemes = []code.SchemeID{ct1.ID, motsm2.ID, uicdosipas.ID, tokendefer.ID}
	r.Issuers = append(r.Issuers, accept.IssuerRule{Issuer: railIssuer, Currency: "CNY", CapUnitMinor: 100})
	r.Deferred = []accept.DeferredRule{{Scheme: tokendefer.ID, LimitMinor: price, ResolveMinutes: 120}}
	table, err := accept.NewTable([]accept.Shift{{Offset: 8 * 3600}}, nil, []accept.Row{{ID: "anyone", Effect: accept.Admit, Any: [][]accept.Test{{}}}})
	if err != nil {
		panic(err)
	}
	r.Table = table
	return r
}

func schemePath(tenant citygate.TenantID, id code.SchemeID) string {
	return fmt.Sprintf("/v1/tenants/%d/code-schemes/%s", tenant, id)
}

// answerFor has the bus answer for the Ministry's codes and for tokens, and the
// railway for its tickets towards the bus.
func (o *office) answerFor(m *ministry, r *railway, script string) {
	o.t.Helper()
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", rail), edge.TenantDocument{
		Slug: "valley-rail", Name: "Valley Rail", Kind: "authority", Mode: "sandbox", Issuer: uint16(railIssuer), Currency: "CNY", TimeZone: "Asia/Shanghai",
		CutMinutes: 240, CapUnit: 100,
	}, nil)
	o.send(http.MethodPut, fmt.Sprintf("/v1/tenants/%d", stranger), edge.TenantDocument{
		Slug: "stranger", Name: "Stranger", Kind: "merchant", Mode: "sandbox", Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: 240,
	}, nil)
	o.send(http.MethodPut, busPath("serves"), map[string]any{"authorities": []int64{int64(rail)}}, nil) // one tree
	for tenant, name := range map[citygate.TenantID]string{bus: "palms", rail: "sandbox"} {
		o.in(tenant, func(tx *pg.Tx) error {
			return collect.AddContract(o.t.Context(), tx, actor, collect.Contract{Name: name, Adapter: "sandbox", FeePPM: feePPM,
				Config: json.RawMessage(fmt.Sprintf(`{"fee_ppm":%d,"utc_offset_minutes":480,"bill_delay_minutes":540,"script":%s}`, feePPM, script))})
		})
	}
	o.send(http.MethodPut, schemePath(bus, motsm2.ID), edge.CodeScheme{
		Params: json.RawMessage(`{"issuer":7}`), Contract: "sandbox", Opens: true,
		Keys: []edge.ForeignKey{{Kind: motsm2.RootKey(1).Kind, ID: 1, Key: sm2.Compress(m.root.Public())}},
	}, nil)
	o.send(http.MethodPut, schemePath(bus, tokendefer.ID), edge.CodeScheme{Params: json.RawMessage(`{"issuer":7,"providers":["palm"]}`), Contract: "palms", Asks: true}, nil)
	name := uicdosipas.KeyName("1187", 5)
	o.send(http.MethodPut, schemePath(rail, uicdosipas.ID), edge.CodeScheme{
		Params: json.RawMessage(`{"issuer":9}`), Contract: "sandbox", Opens: true, Operators: []int64{int64(bus)},
		Keys: []edge.ForeignKey{{Owner: name.Owner, Kind: name.Kind, ID: name.ID, Key: r.public(o)}},
	}, nil)
	_, err := o.PublishPolicy(o.t.Context(), actor, foreignRules(), rail)
	o.must(err)
}

// reader enrols a validator that knows every scheme.
func (o *office) reader(id uint32) *terminal.Verifier {
	o.t.Helper()
	return o.secureReader(id, nil)
}

// secureReader enrols one with a secure module.
func (o *office) secureReader(id uint32, module terminal.Secrets) *terminal.Verifier {
	o.t.Helper()
	name := fmt.Sprint("reader ", id)
	o.send(http.MethodPost, busPath("terminals"), edge.EnrolTerminal{
		ID: id, Name: name, PublicKey: key(name)[ed25519.SeedSize:], Kind: "validator", Route: "12", Vehicle: "V-12",
	}, nil)
	roots, err := o.Bundles.Roots(o.t.Context())
	o.must(err)
	dir, err := os.OpenRoot(o.t.TempDir())
	o.must(err)
	v, err := terminal.Open(terminal.Config{
		Files: terminal.Dir(dir), Tenant: bus, KeyID: id, Mode: accept.Bus, Software: "test/1", BootID: 1,
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(key(name), m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Plugins: schemes.All(), Credentials: code.NewCredentials(16),
		Roots: roots.Roots, Threshold: int(roots.Threshold), Secrets: module,
	})
	o.must(err)
	o.t.Cleanup(func() {
		_ = v.Close()
		_ = dir.Close()
	})
	o.must(v.InstallBundle(o.now().UnixMilli(), o.call(http.MethodGet, busPath("bundle"), "", nil)))
	return v
}

// offer shows a code for the flat fare, and gives why the gate stayed shut.
func (o *office) offer(v *terminal.Verifier, raw []byte) code.Reason {
	o.t.Helper()
	d, err := v.Tap(o.now().UnixMilli(), raw, terminal.Input{MonotonicMS: uint64(o.now().UnixMilli()), Clock: tap.ClockGNSS, Kind: tap.Single,
		Stop: "Central", Route: "12", Vehicle: "V-12", TariffVersion: 1, Fare: citygate.Money{Minor: price, Currency: "CNY"}})
	o.must(err)
	return d.Reason
}

func (o *office) drain(v *terminal.Verifier) []string {
	o.t.Helper()
	batch, err := v.NextBatch(0)
	o.must(err)
	answers := o.upload(batch)
	parsed, err := tap.ParseBatch(batch)
	o.must(err)
	o.must(v.Ack(parsed.Hash))
	return answers
}

// charged gives what each payer of a tenant has paid.
func (o *office) charged(tenant citygate.TenantID) map[string]int64 {
	o.t.Helper()
	out := map[string]int64{}
	for _, row := range o.audit.Rows(tenant, `SELECT a.rider_ref, sum(c.amount)::bigint FROM charges c JOIN accounts a ON a.tenant_id = c.tenant_id AND a.account_id = c.account_id
		WHERE c.state = 'succeeded' AND c.tenant_id = `+tenant.String()+` GROUP BY 1`) {
		out[row[0].(string)] = row[1].(int64)
	}
	return out
}

// finals gives the final reason of each of the bus's taps, "" = accepted, by
// terminal and number.
func (o *office) finals() map[string]string {
	o.t.Helper()
	out := map[string]string{}
	for _, row := range o.audit.Rows(bus, `SELECT t.terminal || '/' || t.seq, coalesce(v.reason, t.reason) FROM taps t
		LEFT JOIN tap_verdicts v ON v.tenant_id = t.tenant_id AND v.terminal = t.terminal AND v.seq = t.seq WHERE t.tenant_id = `+bus.String()) {
		out[row[0].(string)] = row[1].(string)
	}
	return out
}

// A bus takes the Ministry's codes, rail tickets and palm tokens, all offline. What
// was proven or vouched for is priced, collected and paid out in books that
// balance; the rest is refused, with the evidence.
func TestForeignCodesArePaidOrRefused(t *testing.T) {
	o := open(t)
	o.onboard()
	city, railway := newMinistry(o), newRailway(o)
	// The provider knows tokens 1 and 2; about the second it is unsure at first, and
	// of the third it loses the first answer.
	script, err := json.Marshal(map[string]any{
		"codes":  []map[string]any{{"code": token(o, 1), "rider": "ann"}, {"code": token(o, 2), "rider": "bea"}, {"code": token(o, 3), "rider": "cid"}},
		"unsure": []string{"bea"}, "lose_reply": []string{"cid"},
	})
	o.must(err)
	o.answerFor(city, railway, string(script))
	o.send(http.MethodPost, busPath("foreign-riders"), map[string]any{"requests": []edge.RegisterForeign{
		{Scheme: string(tokendefer.ID), Code: token(o, 4), Contract: "palms", RiderRef: "dan"},
	}}, nil)

	first, second := o.reader(1), o.reader(2)
	ministry := city.show(o, 1, o.now())
	ticket := railway.show(o, 1, o.now())
	shown := []struct {
		v    *terminal.Verifier
		raw  []byte
		want code.Reason // at the gate
	}{
		{first, ministry, ""}, {first, ministry, code.Replayed}, {first, city.show(o, 2, o.now()), ""}, {first, newMinistry(o).show(o, 3, o.now()), code.BadIssuerCert},
		{first, ticket, ""}, {first, token(o, 1), ""}, {first, token(o, 2), ""}, {first, token(o, 3), ""}, {first, token(o, 4), ""}, {first, token(o, 5), ""},
		{second, ministry, ""}, {second, ticket, ""}, {second, token(o, 1), ""}, // forwarded to another bus
	}
	for i, s := range shown {
		if got := o.offer(s.v, s.raw); got != s.want {
			t.Errorf("%d: at the gate %q, want %q", i, got, s.want)
		}
	}
	// The prefix bytes of the Ministry's signatures are nobody's: the same display in
	// other bytes.
	other := slices.Clone(ministry)
	other[len(other)-65] ^= 1
	third := o.reader(3)
	if got := o.offer(third, other); got != "" {
		t.Errorf("encoded again, at the gate: %q", got)
	}

	if got := o.drain(first); !slices.Equal(got, []string{"recorded", "refused replayed", "recorded", "refused bad_issuer_cert",
		"recorded", "recorded", "recorded", "recorded", "recorded", "recorded"}) {
		t.Errorf("the first bus: %v", got)
	}
	o.settleDown() // the railway names its ticket by message, the provider its tokens
	second2 := o.drain(second)
	o.drain(third)
	o.settleDown()
	if want := []string{"refused double_use", "recorded", "refused double_use"}; !slices.Equal(second2, want) {
		t.Errorf("the second bus: %v, want %v", second2, want) // of a ticket only the railway knows
	}
	for range 6 { // questions are asked again
		o.move(time.Minute)
		o.settleDown()
	}
	want := map[string]string{"1/1": "", "1/2": "replayed", "1/3": "", "1/4": "bad_issuer_cert", "1/5": "", "1/6": "", "1/7": "", "1/8": "", "1/9": "",
		"1/10": "not_issued", "2/1": "double_use", "2/2": "double_use", "2/3": "double_use", "3/1": "double_use"}
	if got := o.finals(); !maps.Equal(got, want) {
		t.Errorf("in the end\n%v, want\n%v", got, want)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM taps WHERE accepted AND rule <> 'anyone'`); n != 0 {
		t.Errorf("%d taps do not say which rule admitted them", n)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM deny_entries`); n != 0 {
		t.Errorf("%d riders are denied for codes that anybody can encode again", n)
	}
	evidence := list[edge.ForeignCode](o, "foreign-codes?state=refused")
	if len(evidence) != 1 || string(evidence[0].Evidence) != string(token(o, 5)) || evidence[0].Reason != "not_issued" {
		t.Errorf("evidence of what was refused: %+v", evidence)
	}
	o.booksHold()

	o.until("collected", func() bool { return len(o.charged(bus)) == 6 && len(o.charged(rail)) == 1 })
	for payer, minor := range o.charged(bus) {
		if minor != price {
			t.Errorf("%s paid %d", payer, minor)
		}
	}
	o.booksHold()
	o.until("paid out", func() bool { return len(o.balances()) == 0 })
	o.booksHold()
	if got := o.drainAgain(first); len(got) != 0 {
		t.Errorf("still to upload: %v", got)
	}
}

func (o *office) drainAgain(v *terminal.Verifier) []byte {
	batch, err := v.NextBatch(0)
	o.must(err)
	return batch
}

// A token that nobody vouches for in time is refused as unresolved; one that is
// registered in time is not. Both are repeated without effect.
func TestUnresolvedTokenIsRefusedInTime(t *testing.T) {
	o := open(t)
	o.onboard()
	o.answerFor(newMinistry(o), newRailway(o), `{"outages":[{}]}`) // the provider is away for good
	v := o.reader(1)
	for _, last := range []byte{1, 2} {
		if got := o.offer(v, token(o, last)); got != "" {
			t.Fatalf("at the gate: %q", got)
		}
	}
	if got := o.drain(v); !slices.Equal(got, []string{"recorded", "recorded"}) {
		t.Fatalf("the batch: %v", got)
	}
	o.move(time.Hour)
	o.settleDown()
	if got := o.finals(); len(got) != 0 {
		t.Errorf("decided before their time: %v", got)
	}
	registration := map[string]any{"requests": []edge.RegisterForeign{{Scheme: string(tokendefer.ID), Code: token(o, 2), Contract: "palms", RiderRef: "eve"}}}
	o.send(http.MethodPost, busPath("foreign-riders"), registration, nil)
	o.send(http.MethodPost, busPath("foreign-riders"), registration, nil) // twice is once
	if got := o.refused(http.MethodPost, busPath("foreign-riders"), map[string]any{"requests": []edge.RegisterForeign{
		{Scheme: string(tokendefer.ID), Code: token(o, 2), Contract: "palms", RiderRef: "fay"}}}); got != "foreign.taken" {
		t.Errorf("the same token to another payer: %q", got)
	}
	o.settleDown()
	if got := o.finals(); !maps.Equal(got, map[string]string{"1/2": ""}) {
		t.Errorf("after the registration: %v", got)
	}
	o.move(61 * time.Minute)
	o.settleDown()
	want := map[string]string{"1/1": "unresolved", "1/2": ""}
	if got := o.finals(); !maps.Equal(got, want) {
		t.Errorf("after two hours: %v", got)
	}
	was := o.rows()
	o.settleDown()
	unchanged(t, "looking at what is due again", was, o.rows())
	o.booksHold()
}

// Nobody but the operators an issuer names uses what it knows of codes, and no
// claim takes a display that was named for another.
func TestNoOtherTenantUsesTheMapping(t *testing.T) {
	o := open(t)
	o.onboard()
	city, railway := newMinistry(o), newRailway(o)
	o.answerFor(city, railway, `{}`)
	v := o.reader(1)
	ticket := railway.show(o, 1, o.now())
	if got := o.offer(v, ticket); got != "" {
		t.Fatalf("at the gate: %q", got)
	}
	o.drain(v)
	o.settleDown()
	if got := o.finals(); !maps.Equal(got, map[string]string{"1/1": ""}) {
		t.Fatalf("the ticket: %v", got)
	}
	var rider citygate.Rider
	for _, row := range o.audit.Rows(rail, `SELECT list, idx FROM foreign_riders WHERE tenant_id = `+rail.String()) {
		rider = citygate.Rider{Issuer: railIssuer, List: uint16(row[0].(int32)), Index: uint32(row[1].(int64))}
	}
	ask := func(operator citygate.TenantID, raw []byte, seq uint64) (names []interbook.Name) {
		o.in(rail, func(tx *pg.Tx) (err error) {
			names, err = o.Foreign.Take(t.Context(), tx, operator, []interbook.Code{{Terminal: 1, Seq: seq, Scheme: uicdosipas.ID, Evidence: raw,
				EventTime: o.now(), GiveUpAt: o.now().Add(time.Hour), Proven: true, Account: [32]byte{1}, Once: [32]byte{2}}})
			return err
		})
		return names
	}
	for name, c := range map[string]struct {
		operator citygate.TenantID
		raw      []byte
		want     code.Reason
	}{
		"a tenant that is not admitted":       {stranger, railway.show(o, 2, o.now()), code.UnknownIssuer},
		"a ticket that has a tap":             {bus, ticket, code.Replayed},
		"a forgery that is said to be proven": {bus, newRailway(o).show(o, 3, o.now()), code.BadIssuerSignature},
		"yesterday's display":                 {bus, railway.show(o, 4, o.now().Add(-25*time.Hour)), code.ExpiredCredential},
	} {
		if got := ask(c.operator, c.raw, 99); len(got) != 1 || got[0].Reason != c.want {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
	if got := ask(bus, ticket, 1); len(got) != 1 || got[0].Reason != "" || got[0].Rider != rider || got[0].Counter != 1 {
		t.Errorf("the same question again: %+v", got)
	}
	claim := func(operator citygate.TenantID, seq uint64, evidence []byte) (answers []collect.Answer) {
		o.in(rail, func(tx *pg.Tx) (err error) {
			answers, _, err = o.Collector.Accept(t.Context(), tx, operator, "CNY", []interbook.Claim{{Journey: tx.NewID(), N: 1, Rider: rider, Amount: price,
				BusinessDate: citygate.DateOf(o.now()), At: o.now(),
				Taps: []interbook.ClaimTap{{Terminal: 1, Seq: seq, Counter: 1, Evidence: evidence, EventTime: o.now()}}}})
			return err
		})
		return answers
	}
	for name, c := range map[string]struct {
		operator citygate.TenantID
		seq      uint64
		evidence []byte
		want     code.Reason
	}{
		"a stranger's claim":        {stranger, 1, ticket, code.NotIssued},
		"another tap of the bus":    {bus, 2, ticket, code.NotIssued},
		"another code for the same": {bus, 1, []byte("other"), code.Malformed},
	} {
		got := claim(c.operator, c.seq, c.evidence)
		if len(got) != 1 || len(got[0].Refused) != 1 || got[0].Refused[0].Reason != c.want {
			t.Errorf("%s: %+v, want %q", name, got, c.want)
		}
	}
	// The railway's answer cannot name riders of the bus, nor taps that wait for others.
	o.in(bus, func(tx *pg.Tx) error {
		return o.handleNames(t.Context(), tx, stranger, []byte(`{"items":[{"terminal":1,"seq":1,"rider":{"Issuer":9,"List":32768,"Index":7},"counter":9}]}`))
	})
	if got := o.finals(); !maps.Equal(got, map[string]string{"1/1": ""}) {
		t.Errorf("after a stranger's answer: %v", got)
	}
	// Entries that name another issuer, or nothing that reads, are refused.
	for params, want := range map[string]string{`{"issuer":9}`: "foreign.scheme", `{"issuer":7,"epoch":"x"}`: "foreign.scheme"} {
		if got := o.refused(http.MethodPut, schemePath(bus, motsm2.ID), edge.CodeScheme{Params: json.RawMessage(params)}); got != want {
			t.Errorf("%s: %q", params, got)
		}
	}
	var entries []foreign.Entry
	o.in(bus, func(tx *pg.Tx) (err error) {
		entries, err = foreign.Entries(t.Context(), tx)
		return err
	})
	if len(entries) != 2 {
		t.Errorf("the bus sees %d entries, want its own two", len(entries))
	}
}
