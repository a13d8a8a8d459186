package city

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/alipay/alipayproduct"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// call sends a JSON request with the administrator's token.
func (w *world) call(ctx context.Context, method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, w.network.url+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+w.token)
	w.calls++
	req.Header.Set("Idempotency-Key", fmt.Sprintf("player-%d", w.calls))
	resp, err := w.network.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, got)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}

// onboard makes the tenants: keys, contracts, payees, fares, policies.
func (w *world) onboard(ctx context.Context) error {
	for _, t := range cityTenants() {
		doc := edge.TenantDocument{
			Slug: t.Slug, Name: t.Name, Kind: string(t.Kind), Parent: int64(t.Parent), Mode: string(t.Mode), Issuer: uint16(t.Issuer),
			Currency: t.Currency, TimeZone: t.TimeZone, CutMinutes: t.CutMinutes, CapUnit: t.CapUnit,
		}
		if err := w.call(ctx, http.MethodPut, fmt.Sprintf("/v1/tenants/%d", t.ID), doc, nil); err != nil {
			return err
		}
		if err := w.keysOf(ctx, t); err != nil {
			return fmt.Errorf("keys of %s: %w", t.Slug, err)
		}
		if err := w.contractOf(ctx, t); err != nil {
			return fmt.Errorf("contract of %s: %w", t.Slug, err)
		}
	}
	for _, t := range cityTenants() {
		if err := w.operations(ctx, t); err != nil {
			return fmt.Errorf("operations of %s: %w", t.Slug, err)
		}
	}
	// The simulator learns the issuers' keys as a terminal does: by the signed bundle.
	raw, err := w.network.get(ctx, fmt.Sprintf("/v1/tenants/%d/bundle", harbourMetro), map[string]string{})
	if err != nil {
		return err
	}
	roots, err := w.gateway.Bundles.Roots(ctx)
	if err != nil {
		return err
	}
	if w.simKeys.KeySource, err = bundle.Open(raw, roots.Roots, int(roots.Threshold), w.clock.now().Unix(), 0); err != nil {
		return err
	}
	w.empties()
	return nil
}

func (w *world) keysOf(ctx context.Context, t tenants.Tenant) error {
	purposes := []keys.Purpose{keys.Policy, keys.Audit}
	if t.Issuer != 0 {
		purposes = append(purposes, keys.Credential, keys.DenyList)
	}
	for _, p := range purposes {
		if _, err := w.gateway.Ring.Ensure(ctx, player, t.ID, p, keys.Ed25519); err != nil {
			return err
		}
	}
	return nil
}

// contractOf signs a contract with the tenant's provider: Alipay's simulator in
// Harbour City, the sandbox in Hillside.
func (w *world) contractOf(ctx context.Context, t tenants.Tenant) error {
	contract := collect.Contract{Name: alipayContract, Adapter: "alipay", FeePPM: feePPM}
	var config any
	if t.ID >= hillside {
		contract.Name, contract.Adapter, contract.FeePPM = sandboxContract, "sandbox", sandboxFeePPM
		config = sandbox.Config{FeePPM: sandboxFeePPM, UTCOffsetMinutes: 480, BillDelayMinutes: 540}
	} else {
		key, err := w.gateway.Ring.Ensure(ctx, player, t.ID, keys.ProviderPurpose("alipay"), keys.RSA2048)
		if err != nil {
			return err
		}
		public, err := keys.ParsePublic(key.Algorithm, key.Public)
		if err != nil {
			return err
		}
		merchant, ok := public.(*rsa.PublicKey)
		if !ok {
			return fmt.Errorf("the provider key is a %T", public)
		}
		if err := w.sim.AddMerchant(alipaysim.Merchant{AppID: appID(t.ID), Account: account(t.ID), Key: merchant, FeePPM: feePPM}); err != nil {
			return err
		}
		platform, err := x509.MarshalPKIXPublicKey(w.sim.Public())
		if err != nil {
			return err
		}
		config = alipayproduct.Contract{Gateway: w.sim.URL(), AppID: appID(t.ID), Account: account(t.ID), PlatformKeys: [][]byte{platform}}
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	contract.Config = raw
	return w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error { return collect.AddContract(ctx, tx, player, contract) })
}

// sandboxScript makes Hillside's provider as unreliable as the other one.
func (w *world) sandboxScript() sandbox.Script {
	var script sandbox.Script
	for _, t := range w.riders {
		switch {
		case t.tenant != hillside:
		case t.empty:
			until := w.day.Add(38 * time.Hour)
			if t.never {
				until = time.Time{}
			}
			script.Decline = append(script.Decline, sandbox.Refusal{Rider: riderRef(t), Span: sandbox.Span{Until: until}})
		case t.number%40 == 0:
			script.LoseReply = append(script.LoseReply, riderRef(t))
		case t.number%40 == 1:
			script.Unsure = append(script.Unsure, riderRef(t))
		}
	}
	return script
}

// operations gives a tenant its payees, fares and acceptance rules.
func (w *world) operations(ctx context.Context, t tenants.Tenant) error {
	if err := w.payees(ctx, t); err != nil {
		return err
	}
	if t.Kind != tenants.Authority {
		prices, err := tariffOf(t.ID)
		if err != nil {
			return err
		}
		err = w.gateway.DB.InTenant(ctx, t.ID, func(tx *pg.Tx) error {
			return pricing.Publish(ctx, tx, player, prices, w.day)
		})
		if err != nil {
			return err
		}
	}
	rules := &accept.Rules{
		Version: 1, Tenant: t.ID, Schemes: []code.SchemeID{"ct1"}, SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 24 * 14,
		StaleListSeconds: 72 * 3600, LateUploadDays: 7, ClockSuspectSeconds: 600,
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 180, GraceMinutes: 300},
	}
	mode := accept.ModeRule{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}
	switch t.Kind { //nolint:exhaustive // the city has no others
	case tenants.Metro:
		mode = accept.ModeRule{Mode: accept.Metro, Kinds: accept.Kinds{tap.On, tap.Off}}
	case tenants.Minibus:
		mode.Mode = accept.Minibus
	case tenants.Taxi:
		mode.Mode = accept.Taxi
	}
	rules.Modes = []accept.ModeRule{mode}
	issuers := w.issuersFor(t.ID)
	if t.ID == hillside {
		issuers = []citygate.Issuer{hillsideIssuer}
	}
	var accepts []citygate.TenantID
	for _, i := range issuers {
		rules.Issuers = append(rules.Issuers, accept.IssuerRule{Issuer: i, Currency: t.Currency, CapUnitMinor: capUnit})
		if id := issuerTenant[i]; id != t.ID {
			accepts = append(accepts, id)
		}
	}
	_, err := w.gateway.PublishPolicy(ctx, player, rules, accepts...)
	return err
}

var issuerTenant = map[citygate.Issuer]citygate.TenantID{harbourIssuer: harbourCity, metroIssuer: harbourMetro, hillsideIssuer: hillside}

// payees: the operator itself, the owners of its minibuses, the drivers of its
// taxis; two vehicles share an owner.
func (w *world) payees(ctx context.Context, t tenants.Tenant) error {
	list := []fleet.Payee{{ID: t.Slug, Kind: fleet.Operator, Name: t.Name, Account: "OPERATOR-" + t.Slug, BankID: "HARBOUR-BANK", Default: true}}
	var vehicles []fleet.Vehicle
	var assigned []fleet.Assignment
	kinds := map[tenants.Kind]fleet.VehicleKind{tenants.Minibus: fleet.Minibus, tenants.Taxi: fleet.Taxi, tenants.Bus: fleet.Bus}
	n := 0
	for _, p := range w.places {
		if p.operator != t.ID || p.vehicle == "" {
			continue
		}
		n++
		vehicles = append(vehicles, fleet.Vehicle{ID: p.vehicle, Kind: kinds[t.Kind], Plate: fmt.Sprintf("HC %d-%03d", t.ID, n)})
		switch t.Kind { //nolint:exhaustive // the others pay the operator
		case tenants.Minibus:
			owner := fmt.Sprintf("owner-%02d", (n+1)/2)
			if n%2 == 1 {
				list = append(list, fleet.Payee{ID: owner, Kind: fleet.Owner, Name: fmt.Sprintf("%s Owner %d", t.Name, (n+1)/2), Account: fmt.Sprintf("62220000%04d%04d", t.ID, n), BankID: "HARBOUR-BANK"})
			}
			assigned = append(assigned, fleet.Assignment{Subject: fleet.Subject{Kind: fleet.OfVehicle, ID: p.vehicle}, Payee: owner, From: w.day})
		case tenants.Taxi:
			list = append(list, fleet.Payee{ID: p.driver, Kind: fleet.Driver, Name: fmt.Sprintf("Driver %d", n), Account: fmt.Sprintf("62220000%04d%04d", t.ID, n), BankID: "HARBOUR-BANK"})
			assigned = append(assigned, fleet.Assignment{Subject: fleet.Subject{Kind: fleet.OfDriver, ID: p.driver}, Payee: p.driver, From: w.day})
		}
	}
	if err := w.gateway.Fleet.PutPayees(ctx, player, t.ID, list...); err != nil {
		return err
	}
	if len(vehicles) == 0 {
		return nil
	}
	if err := w.gateway.Fleet.PutVehicles(ctx, player, t.ID, vehicles...); err != nil {
		return err
	}
	return w.gateway.Fleet.Assign(ctx, player, t.ID, assigned...)
}

// enrol makes the validators and the riders' devices known.
func (w *world) enrol(ctx context.Context) error {
	kinds := map[placeKind]fleet.Kind{gate: fleet.Gate, vehicleReader: fleet.Validator, taximeter: fleet.Taximeter}
	numbers := map[citygate.TenantID]uint32{}
	for i, p := range w.places {
		numbers[p.operator]++
		v := &validator{place: p, index: i, keyID: numbers[p.operator], key: validatorKey(w.Seed, i)}
		if i == w.wrongClock {
			v.skew = time.Hour
		}
		public, ok := v.key.Public().(ed25519.PublicKey)
		if !ok {
			return fmt.Errorf("validator %s has no Ed25519 key", v.name)
		}
		err := w.call(ctx, http.MethodPost, fmt.Sprintf("/v1/tenants/%d/terminals", p.operator), edge.EnrolTerminal{
			ID: v.keyID, Name: v.name, PublicKey: public, Kind: string(kinds[p.kind]), Stop: p.stop, Route: p.route, Vehicle: p.vehicle,
		}, nil)
		if err != nil {
			return err
		}
		w.validators = append(w.validators, v)
	}
	if err := w.credentials(ctx); err != nil {
		return err
	}
	if err := w.settleDown(ctx); err != nil { // the first deny lists are published
		return err
	}
	roots, err := w.gateway.Bundles.Roots(ctx)
	if err != nil {
		return err
	}
	for _, v := range w.validators {
		if err := v.start(filepath.Join(w.Data, "validators"), roots, w.clock.now()); err != nil {
			return err
		}
		if err := v.sync(ctx, &w.network, w.clock.now(), w.issuersFor(v.operator)); err != nil {
			return err
		}
	}
	return nil
}

// credentials asks for a credential for every rider's device, in batches.
func (w *world) credentials(ctx context.Context) error {
	byTenant := map[citygate.TenantID][]int{}
	for _, t := range w.riders {
		p, err := newPhone(w.Seed, "rider", t.number, t.band)
		if err != nil {
			return err
		}
		w.phones = append(w.phones, p)
		byTenant[t.tenant] = append(byTenant[t.tenant], t.number)
	}
	for _, tenant := range []citygate.TenantID{harbourCity, harbourMetro, hillside} {
		for batch := range slices.Chunk(byTenant[tenant], 500) {
			var body struct {
				Requests []edge.IssueCredential `json:"requests"`
			}
			for _, n := range batch {
				body.Requests = append(body.Requests, w.wants(w.riders[n]))
			}
			var answer struct {
				Issued []edge.IssuedCredential `json:"issued"`
			}
			if err := w.call(ctx, http.MethodPost, fmt.Sprintf("/v1/tenants/%d/credentials", tenant), body, &answer); err != nil {
				return err
			}
			for i, n := range batch {
				w.phones[n].credential = answer.Issued[i].Credential
				w.phones[n].list, w.phones[n].idx = answer.Issued[i].List, answer.Issued[i].Index
			}
		}
	}
	return nil
}

// wants is the credential a rider's device asks for.
func (w *world) wants(t traveller) edge.IssueCredential {
	r := edge.IssueCredential{
		RiderRef: riderRef(t), Contract: alipayContract, DeviceKey: w.phones[t.number].public,
		Product: t.product, Cap: tapCap / capUnit, Window: 30, TTLHours: 48,
	}
	if t.band {
		r.Window = 60
	}
	if t.tenant == hillside {
		r.Contract = sandboxContract
	}
	if t.attack == expired && t.number%2 == 0 {
		r.TTLHours = 1 // issued at three in the morning, shown at nine
	}
	return r
}

// reportLost puts a rider's credential on the deny list, as its owner asks.
func (w *world) reportLost(ctx context.Context, t traveller) error {
	p := w.phones[t.number]
	return w.call(ctx, http.MethodPost, fmt.Sprintf("/v1/tenants/%d/denials", t.tenant),
		map[string]any{"list": p.list, "index": p.idx, "reason": "lost"}, nil)
}
