package city

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/manifest"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// Limits of a play of many tenants.
const (
	ManyMost       = 1000 // tenants
	ManyRidersMost = 200  // of each
)

// A ManyScore says what became of the day of many tenants.
type ManyScore struct {
	Tenants  int           `json:"tenants"`
	Riders   int           `json:"riders"` // of each
	Taps     int           `json:"taps"`   // let in offline
	Recorded int           `json:"recorded"`
	Foreign  int           `json:"foreign_refused"` // riders of another tenant whom a reader refused offline
	Books    ledger.Report `json:"books"`
	Paid     int           `json:"paid_tenants"` // whose fares, charges and payouts agree to the cent
	Broken   []string      `json:"broken"`
	DataDir  string        `json:"-"`
	Seconds  Seconds       `json:"-"`
}

// OK reports whether everything that must hold does.
func (s *ManyScore) OK() bool { return len(s.Broken) == 0 }

// Print writes the score for people.
func (s *ManyScore) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `tenants                     %d, each with keys, fares, a provider contract and %d riders of its own
taps let in offline         %d
recorded                    %d
other tenants' riders       %d, all refused offline
transfers                   %d, %d wrong
tenants paid to the cent    %d
`, s.Tenants, s.Riders, s.Taps, s.Recorded, s.Foreign, s.Books.Transfers, s.Books.Wrong, s.Paid)
	return err
}

// many is a play of many tenants: bus operators that issue codes themselves.
type many struct {
	Config
	trial
	clock   clock
	day     time.Time
	tenants int
	files   *os.Root
	score   ManyScore
	readers []*validator
	keys    []ed25519.PrivateKey
	phones  [][]*phone // by tenant
}

// rides is how often a rider rides on the day.
const rides = 2

func manyFare(i int) int64 { return 200 + 10*int64(i%37) }
func manyFee(i int) int64  { return 4000 + 100*int64(i%23) } // millionths
func manyID(i int) citygate.TenantID {
	return citygate.TenantID(1 + i)
}

// PlayMany plays a day of many tenants that have nothing to do with each other
// on one gateway. c.Riders are the riders of each.
func PlayMany(ctx context.Context, c Config, tenants int) (score *ManyScore, err error) {
	if tenants < 2 || tenants > ManyMost || c.Riders < 1 || c.Riders > ManyRidersMost {
		return nil, fmt.Errorf("want 2 to %d tenants with 1 to %d riders each", ManyMost, ManyRidersMost)
	}
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		return nil, err
	}
	m := &many{Config: c, tenants: tenants, day: time.Date(serviceDay.Year, serviceDay.Month, serviceDay.Day, 0, 0, 0, 0, shanghai)}
	m.score = ManyScore{Tenants: tenants, Riders: c.Riders, Broken: []string{}}
	m.clock.set(m.day.Add(5 * time.Hour))
	defer func() { err = errors.Join(err, m.close(ctx)) }()
	if err := m.build(ctx); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		says string
		do   func(context.Context) error
	}{
		{fmt.Sprintf("onboarding %d tenants by a file", tenants), m.onboard},
		{fmt.Sprintf("enrolling %d riders and a reader of each", c.Riders), m.enrol},
		{"playing the day", m.play},
		{"collecting, importing bills, settling, paying out", m.finish},
		{"checking the books of each", m.check},
	} {
		c.Progress(step.says)
		if err := step.do(ctx); err != nil {
			return nil, err
		}
	}
	return &m.score, nil
}

func (m *many) build(ctx context.Context) (err error) {
	for _, dir := range []string{FilesDir(m.Data), filepath.Join(m.Data, "validators")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // payout files are for people to read
			return err
		}
	}
	if m.files, err = os.OpenRoot(FilesDir(m.Data)); err != nil {
		return err
	}
	if err := local.CreateKeyFile(KeyFile(m.Data), rand.Reader); err != nil {
		return err
	}
	store, err := local.Open(local.Config{Dir: KeyDir(m.Data), KeyFile: KeyFile(m.Data), Random: rand.Reader, Clock: m.clock.now})
	if err != nil {
		return err
	}
	g, err := gateway.New(ctx, gateway.Config{
		AppURL: m.AppURL, JobsURL: m.JobsURL, Clock: m.clock.now, Random: rand.Reader, Signer: store, Secrets: store,
		Files: m.files, Products: gateway.Products(), HTTP: &http.Client{Timeout: 10 * time.Second}, Collect: collectRules,
		Workers: 4, Exclusive: true, Log: m.Log, Served: m.Served,
	})
	if err != nil {
		return err
	}
	m.trial = trial{Trial: Trial{Gateway: g, Actor: player}, now: m.clock.now, run: "many"}
	m.network = network{url: "http://gateway", client: &http.Client{Transport: handlerTransport{g.Handler()}}}
	there, err := g.Tenants.All(ctx)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("the database holds %d tenants already: many tenants are played on an empty one", len(there))
	}
	if err := g.Start(ctx); err != nil {
		return err
	}
	if _, err := g.EnsurePlatform(ctx, player); err != nil {
		return err
	}
	m.token, err = g.Tokens.Mint(ctx, edge.Caller{Subject: player, Scopes: []string{edge.ScopePlatform}}, 30*24*time.Hour)
	return err
}

func (m *many) close(ctx context.Context) (err error) {
	for _, v := range m.readers {
		if v.sdk != nil {
			err = errors.Join(err, v.close())
		}
	}
	if m.Gateway != nil {
		err = errors.Join(err, m.Gateway.Close(context.WithoutCancel(ctx)))
	}
	if m.files != nil {
		err = errors.Join(err, m.files.Close())
	}
	return err
}

// onboard describes every tenant in one manifest and applies it.
func (m *many) onboard(ctx context.Context) error {
	city := &manifest.City{Citygate: manifest.Form}
	for i := range m.tenants {
		key := validatorKey(m.Seed, i)
		m.keys = append(m.keys, key)
		public, ok := key.Public().(ed25519.PublicKey)
		if !ok {
			return fmt.Errorf("reader %d has no Ed25519 key", i)
		}
		slug, currency, zone := fmt.Sprintf("operator-%03d", i+1), citygate.Currency("CNY"), "Asia/Shanghai"
		if i%3 == 2 {
			currency, zone = "HKD", "Asia/Hong_Kong"
		}
		issuer := citygate.Issuer(1001 + i)
		rules := &accept.Rules{
			Version: 1, Tenant: manyID(i), Schemes: []code.SchemeID{"ct1"}, SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 24 * 14,
			StaleListSeconds: 72 * 3600, LateUploadDays: 7, ClockSuspectSeconds: 600,
			Issuers:    []accept.IssuerRule{{Issuer: issuer, Currency: currency, CapUnitMinor: capUnit}},
			Modes:      []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
			Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 300},
		}
		acceptance, err := manifest.AcceptanceOf(rules)
		if err != nil {
			return err
		}
		t := manifest.Tenant{
			ID: int64(manyID(i)), Slug: slug, Name: fmt.Sprintf("Operator %d", i+1), Kind: "bus", Mode: "sandbox", Issuer: uint16(issuer), CapUnit: capUnit,
			Currency: currency, TimeZone: zone, Cut: "04:00", Acceptance: acceptance,
			Contracts: []manifest.Contract{{Name: sandboxContract, Adapter: "sandbox", FeePPM: manyFee(i),
				Config: manifest.Raw(fmt.Sprintf(`{"fee_ppm":%d,"utc_offset_minutes":480,"bill_delay_minutes":540}`, manyFee(i)))}},
			Payees:    []manifest.Payee{{ID: slug, Kind: "operator", Name: slug, Account: "OPERATOR-" + slug, BankID: "HARBOUR-BANK", Default: true}},
			Vehicles:  []manifest.Vehicle{{ID: "bus-1", Kind: "bus"}},
			Terminals: []manifest.Terminal{{ID: 1, Name: "reader 1", PublicKey: base64.StdEncoding.EncodeToString(public), Kind: "validator", Vehicle: "bus-1"}},
			Tariffs: []manifest.Tariff{{From: m.day, Tariff: manifest.Raw(fmt.Sprintf(
				`{"name":"Flat","version":1,"currency":%q,"categories":{"default":"adult"},"rules":[{"id":"flat","flat":{"adult":%d}}]}`, currency, manyFare(i)))}},
		}
		for _, purpose := range []string{"audit", "policy", "credential", "denylist"} {
			t.Keys = append(t.Keys, manifest.Key{Purpose: purpose})
		}
		city.Tenants = append(city.Tenants, t)
	}
	raw, err := city.Write() // as an operator's file comes in
	if err != nil {
		return err
	}
	if city, err = manifest.Parse(raw, nil); err != nil {
		return err
	}
	_, err = m.Gateway.Apply(ctx, player, gateway.Manifest{Name: "many.yaml", City: city})
	return err
}

// enrol gives every rider a band with a credential and every reader its bundle
// and lists.
func (m *many) enrol(ctx context.Context) error {
	for i := range m.tenants {
		var body struct {
			Requests []edge.IssueCredential `json:"requests"`
		}
		var list []*phone
		for n := range m.Riders {
			p, err := newPhone(m.Seed, fmt.Sprintf("rider of %d", i), n, true)
			if err != nil {
				return err
			}
			list = append(list, p)
			body.Requests = append(body.Requests, edge.IssueCredential{
				RiderRef: fmt.Sprintf("rider-%d-%d", i, n), Contract: sandboxContract, DeviceKey: p.public, Product: 1, Cap: tapCap / capUnit, Window: 60, TTLHours: 48,
			})
		}
		var answer struct{ Issued []edge.IssuedCredential }
		if err := m.api(ctx, http.MethodPost, fmt.Sprintf("/v1/tenants/%d/credentials", manyID(i)), body, &answer); err != nil {
			return err
		}
		for n, p := range list {
			p.credential, p.list, p.idx = answer.Issued[n].Credential, answer.Issued[n].List, answer.Issued[n].Index
		}
		m.phones = append(m.phones, list)
	}
	if err := m.settleDown(ctx); err != nil { // the first deny lists are published
		return err
	}
	roots, err := m.Gateway.Bundles.Roots(ctx)
	if err != nil {
		return err
	}
	for i := range m.tenants {
		if err := m.reader(ctx, i, roots); err != nil {
			return err
		}
	}
	return nil
}

func (m *many) reader(ctx context.Context, i int, roots bundle.RootSet) error {
	v := &validator{place: place{operator: manyID(i), name: fmt.Sprintf("reader-%d", i+1), kind: vehicleReader, route: "1", vehicle: "bus-1", bus: true}, keyID: 1, key: m.keys[i]}
	m.readers = append(m.readers, v)
	if err := v.start(filepath.Join(m.Data, "validators"), roots, m.clock.now()); err != nil {
		return err
	}
	return v.sync(ctx, &m.network, m.clock.now(), []citygate.Issuer{citygate.Issuer(1001 + i)})
}

// play has every rider ride, and at noon one rider of the next tenant try.
func (m *many) play(ctx context.Context) error {
	for ride := range rides {
		for n := range m.Riders {
			m.clock.set(m.day.Add(time.Duration(8+9*ride)*time.Hour + time.Duration(n)*time.Minute))
			for i, v := range m.readers {
				d, err := m.show(v, m.phones[i][n])
				if err != nil {
					return err
				}
				if m.score.Taps++; !d.Open {
					m.score.Broken = append(m.score.Broken, fmt.Sprintf("operator %d refused its own rider: %s", i+1, d.Reason))
				}
			}
		}
		for i, v := range m.readers {
			d, err := m.show(v, m.phones[(i+1)%m.tenants][0])
			if err != nil {
				return err
			}
			if d.Open || d.Reason != code.UnknownIssuer {
				m.score.Broken = append(m.score.Broken, fmt.Sprintf("operator %d: a rider of another tenant: open %t, %s", i+1, d.Open, d.Reason))
				continue
			}
			m.score.Foreign++
		}
		for _, v := range m.readers {
			sent, err := v.upload(ctx, &m.network)
			if err != nil {
				return err
			}
			if want := m.Riders + 1; sent != want { // its riders, and the other tenant's who was refused
				m.score.Broken = append(m.score.Broken, fmt.Sprintf("%s uploaded %d records, want %d", v.name, sent, want))
			}
		}
		if err := m.settleDown(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *many) show(v *validator, p *phone) (terminal.Decision, error) {
	now := m.clock.now()
	raw, err := p.show(now)
	if err != nil {
		return terminal.Decision{}, err
	}
	return v.sdk.Tap(now.UnixMilli(), raw, terminal.Input{
		MonotonicMS: uint64(now.Sub(v.booted).Milliseconds()), Clock: tap.ClockGNSS, Kind: tap.Single, Route: v.route, Vehicle: v.vehicle, TariffVersion: 1,
	})
}

// finish goes on until no tenant has anything under way: charges close in the
// evening, bills come the next morning, windows are paid at noon of the day
// after.
func (m *many) finish(ctx context.Context) error {
	const most = 6 * 24 * time.Hour
	for at := 24 * time.Hour; at < most; at += 6 * time.Hour {
		m.clock.set(m.day.Add(at + time.Hour))
		if err := m.settleDown(ctx); err != nil {
			return err
		}
		open := ""
		for i := range m.tenants {
			var err error
			if open, err = m.Gateway.UnderWay(ctx, manyID(i)); err != nil {
				return err
			}
			if open != "" {
				break
			}
		}
		if open == "" {
			return nil
		}
	}
	for i := range m.tenants {
		open, err := m.Gateway.UnderWay(ctx, manyID(i))
		if err != nil {
			return err
		}
		if open != "" {
			m.score.Broken = append(m.score.Broken, fmt.Sprintf("operator %d still has %s", i+1, open))
		}
	}
	return nil
}

// check holds the books together, and each tenant's fares, charges and payouts
// against the plan.
func (m *many) check(ctx context.Context) (err error) {
	if m.score.Books, err = m.Gateway.CheckBooks(ctx); err != nil {
		return err
	}
	if !m.score.Books.OK() {
		m.score.Broken = append(m.score.Broken, fmt.Sprintf("the books do not hold: %d findings", m.score.Books.Wrong))
	}
	for i := range m.tenants {
		var taps int
		var fares, charged, fees, paid int64
		err := m.Gateway.DB.InTenant(ctx, manyID(i), func(tx *pg.Tx) error {
			return tx.QueryRow(ctx, `
				SELECT (SELECT count(*) FROM taps WHERE tenant_id = $1 AND accepted),
					(SELECT coalesce(sum(amount), 0)::bigint FROM journeys WHERE tenant_id = $1 AND state = 'priced'),
					(SELECT coalesce(sum(amount), 0)::bigint FROM charges WHERE tenant_id = $1 AND state = 'succeeded'),
					(SELECT coalesce(sum(fee), 0)::bigint FROM charges WHERE tenant_id = $1 AND state = 'succeeded'),
					(SELECT coalesce(sum(amount), 0)::bigint FROM payouts WHERE tenant_id = $1 AND state = 'sent')`, tx.Tenant).
				Scan(&taps, &fares, &charged, &fees, &paid)
		})
		if err != nil {
			return err
		}
		m.score.Recorded += taps
		want := manyFare(i) * int64(m.Riders) * rides
		if taps != m.Riders*rides || fares != want || charged != want || paid != want-fees || fees <= 0 {
			m.score.Broken = append(m.score.Broken, fmt.Sprintf("operator %d: %d taps, fares %d, charged %d, fees %d, paid out %d; want fares of %d", i+1, taps, fares, charged, fees, paid, want))
			continue
		}
		m.score.Paid++
	}
	return nil
}
