package gateway

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// capAt publishes the tariff with a cap of the day, in force from now on.
func (o *office) capAt(most int64) {
	o.t.Helper()
	tariff := &fare.Tariff{
		Name: "Capped", Version: 2, Currency: "CNY", Categories: fare.Categories{Default: "adult"},
		Rules: []fare.Rule{{ID: "flat", Flat: fare.Amounts{"adult": price}}},
		Caps:  []fare.Cap{{ID: "day", Period: fare.Period{Kind: "day"}, Amounts: fare.Amounts{"adult": most}}},
	}
	o.must(tariff.Compile())
	o.in(bus, func(tx *pg.Tx) error {
		return pricing.Publish(o.t.Context(), tx, actor, tariff, o.now().Add(time.Second))
	})
	o.move(time.Minute)
}

// ofPayer enrols a device whose rides somebody of his own pays.
func (o *office) ofPayer(device string) []byte {
	o.t.Helper()
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "payer of " + device, Contract: "sandbox", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0].Credential
}

var listed = regexp.MustCompile(`(?m)^  (/v1/tenants/\{tenant\}[^:{]*):\n    get:`)

// everything is what an operator can read of the bus with no more than its number,
// and each journey.
func (o *office) everything() map[string][]byte {
	o.t.Helper()
	out := map[string][]byte{}
	document := o.ask(http.MethodGet, "/openapi.yaml", "", nil).Body.String()
	for _, m := range listed.FindAllStringSubmatch(document, -1) {
		path := busPath(strings.TrimPrefix(m[1], "/v1/tenants/{tenant}/"))
		if m[1] == "/v1/tenants/{tenant}" {
			path = strings.TrimSuffix(busPath(""), "/")
		}
		if answer := o.ask(http.MethodGet, path, "", nil); answer.Code == http.StatusOK { // a refusal has a number of its own
			out[path] = answer.Body.Bytes()
		}
	}
	for _, j := range list[edge.Journey](o, "journeys") {
		path := busPath("journeys/" + j.ID)
		out[path] = o.ask(http.MethodGet, path, "", nil).Body.Bytes()
	}
	return out
}

// Phone, band and card are one person under a cap by consent of each. Nothing an
// operator reads or exports says which three they are.
func TestOnePersonAcrossDevices(t *testing.T) {
	o := open(t)
	o.onboard()
	o.capAt(2*price + 50)
	devices := []string{"phone", "band", "card", "stranger"}
	credentials := map[string][]byte{}
	for _, d := range devices {
		credentials[d] = o.ofPayer(d)
	}
	counter := uint16(100)
	prove := func(device string) []byte {
		counter++
		return o.proof(credentials[device], device, counter)
	}
	join := func(codes ...[]byte) (j edge.Joined) {
		o.send(http.MethodPost, busPath("rider/join"), edge.ByCodes{Codes: codes}, &j)
		return j
	}
	ask := func(path, device string) (j edge.Joined) {
		o.send(http.MethodPost, busPath(path), edge.ByCode{Code: prove(device)}, &j)
		return j
	}

	before := o.everything()
	if len(before) < 25 {
		t.Fatalf("only %d routes are read", len(before))
	}
	if got := o.refused(http.MethodPost, busPath("rider/join"), edge.ByCodes{Codes: [][]byte{prove("phone"), prove("phone")}}); got != "person.too_few" {
		t.Errorf("a device with itself: %s", got)
	}
	forged := slices.Clone(prove("band"))
	forged[len(forged)-1] ^= 1
	phone := prove("phone")
	for _, codes := range [][][]byte{{prove("phone"), forged}, {phone, phone}, {phone, prove("band")}} { // a code is used with the request, whatever came of it
		if got := o.refused(http.MethodPost, busPath("rider/join"), edge.ByCodes{Codes: codes}); got != "rider.proof" {
			t.Errorf("a device that proves nothing: %s", got)
		}
	}
	if got := o.refused(http.MethodPost, busPath("rider/leave"), edge.ByCode{Code: prove("card")}); got != "person.alone" {
		t.Errorf("leaving nobody: %s", got)
	}
	if got := join(prove("phone"), prove("band")); got.Devices != 2 || got.From == nil || !got.From.After(o.now()) {
		t.Fatalf("joined %+v", got)
	}
	joined := join(prove("card"), prove("band"))
	if joined.Devices != 3 || ask("rider/joined", "stranger").Devices != 1 || ask("rider/joined", "phone").Devices != 3 {
		t.Fatalf("joined %+v", joined)
	}
	for path, was := range o.everything() {
		if !bytes.Equal(before[path], was) && !strings.Contains(path, "/audit") {
			t.Errorf("%s shows the join: %s", path, was)
		}
	}

	o.move(joined.From.Sub(o.now()) + time.Hour)
	reader := o.reader(validatorID + 1)
	for i, d := range []string{"phone", "band", "card", "stranger", "phone"} {
		o.move(time.Minute)
		if got := o.look(reader, o.fresh(credentials[d], d, uint16(i+1))); got != "" {
			t.Fatal(d, got)
		}
	}
	o.drain(reader)
	o.settleDown()
	trips := map[string][]int64{}
	for _, d := range devices {
		for _, trip := range o.trips(prove(d)) {
			trips[d] = append(trips[d], trip.Fare.Minor)
		}
	}
	paid := slices.Sorted(slices.Values(slices.Concat(trips["phone"], trips["band"], trips["card"])))
	if !slices.Equal(paid, []int64{0, 50, price, price}) || !slices.Equal(trips["stranger"], []int64{price}) {
		t.Errorf("trips cost %v", trips)
	}
	o.nobodyCanJoin(before)

	if got := ask("rider/leave", "card"); got.Devices != 1 || got.Until == nil {
		t.Errorf("left: %+v", got)
	}
	if got := ask("rider/joined", "phone"); got.Devices != 2 {
		t.Errorf("after one left: %+v", got)
	}
	if got := o.refused(http.MethodPost, busPath("rider/join"), edge.ByCodes{Codes: [][]byte{prove("card"), prove("stranger")}}); got != "person.others" {
		t.Errorf("on the day it leaves: %s", got)
	}
	ask("rider/leave", "band") // the last two are nobody's
	if got := o.refused(http.MethodPost, busPath("rider/leave"), edge.ByCode{Code: prove("phone")}); got != "person.alone" {
		t.Errorf("the last one leaves: %s", got)
	}
	o.booksHold()
	o.later(140 * 24 * time.Hour)
	o.settleDown()
	if _, err := o.EraseBefore(t.Context(), actor, bus, citygate.DateOf(o.now().AddDate(0, 0, -122)), false); err != nil {
		t.Error(err)
	}
	o.in(bus, func(tx *pg.Tx) error {
		var n int
		err := tx.QueryRow(t.Context(), `SELECT count(*) FROM person_devices WHERE tenant_id = $1`, tx.Tenant).Scan(&n)
		if n != 0 {
			t.Errorf("%d joins outlive what is kept", n)
		}
		return err
	})
}

// nobodyCanJoin looks for what names a person in everything that can be read and in
// the export, and at what joint rides show of each other.
func (o *office) nobodyCanJoin(routes map[string][]byte) {
	o.t.Helper()
	var names []string
	o.in(bus, func(tx *pg.Tx) error {
		rows, err := tx.Query(o.t.Context(), `SELECT unnest(ARRAY[device, subject, sealed]) FROM person_devices WHERE tenant_id = $1`, tx.Tenant)
		if err != nil {
			return err
		}
		values, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		for _, v := range values {
			names = append(names, hex.EncodeToString(v), base64.StdEncoding.EncodeToString(v), base64.RawURLEncoding.EncodeToString(v), string(v))
		}
		return err
	})
	if len(names) != 3*3*4 {
		o.t.Fatalf("%d names of three devices", len(names))
	}
	look := func(where string, text []byte) {
		for _, n := range names {
			if bytes.Contains(text, []byte(n)) {
				o.t.Errorf("%s names a person: %.80s", where, n)
			}
		}
	}
	joint := 0
	now := o.everything()
	if len(now) < len(routes) {
		o.t.Errorf("%d routes, %d before", len(now), len(routes))
	}
	for path, text := range now {
		look(path, text)
		if bytes.Contains(text, []byte(`"joint":true`)) {
			joint++
			for _, shows := range []string{`"caps"`, `"before":`, `"after":`, `"spent"`} {
				if bytes.Contains(text, []byte(shows)) {
					o.t.Errorf("%s shows what other devices paid: %s", path, text)
				}
			}
		}
		if strings.Contains(path, "/audit") {
			var answer struct{ Items []map[string]any }
			_ = json.Unmarshal(text, &answer)
			for _, row := range answer.Items {
				if verb, _ := row["verb"].(string); strings.HasPrefix(verb, "person.") && (row["object"] != "person" || row["before"] != nil || row["after"] != nil) {
					o.t.Errorf("the audit log says who joined: %v", row)
				}
			}
		}
	}
	if joint < 4 {
		o.t.Errorf("%d joint rides are shown", joint)
	}
	dir := o.export()
	sealed := 0
	o.must(fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.Contains(path, "person") {
			o.t.Errorf("the export has %s", path)
		}
		text, err := fs.ReadFile(os.DirFS(dir), path)
		look(path, text)
		sealed += bytes.Count(text, []byte("sealed"))
		return err
	}))
	if sealed < 4 {
		o.t.Errorf("%d sealed states are in the export", sealed)
	}
}

// A join is of devices: a credential that replaces another on its device is joint
// like it. By the answer to a challenge a device joins without showing a code.
func TestAJoinOutlivesARenewal(t *testing.T) {
	o := open(t)
	o.onboard()
	o.capAt(price + 50)
	o.send(http.MethodPut, busPath("issuance-policy"), issuance.Policy{
		Phone: issuance.Limits{Cap: 5, Taps: 40, TTLHours: 48, WindowSeconds: 30}, Band: issuance.Limits{Cap: 5, Taps: 40, TTLHours: 48, WindowSeconds: 30},
		Product: 1, Concessions: []issuance.Concession{}, BandsPerPhone: 1, WaitAfterLossHours: 72,
	}, nil)
	phone, mobile := o.bind("phone", edge.RegisterDevice{Kind: "phone", Contract: "sandbox", RiderRef: "rider-1", Vouched: true})
	other, second := o.bind("tablet", edge.RegisterDevice{Kind: "phone", Contract: "sandbox", RiderRef: "rider-2", Vouched: true})
	var challenge edge.DeviceChallenge
	o.send(http.MethodPost, busPath("rider/challenge"), nil, &challenge)
	answer := slices.Concat([]byte(answerMagic), second.Credential, challenge.Challenge,
		ed25519.Sign(key("tablet"), ct1.ChallengeMessage(challengeText(bus, challenge.Challenge))))
	var joined edge.Joined
	o.send(http.MethodPost, busPath("rider/join"), edge.ByCodes{Codes: [][]byte{o.proof(mobile.Credential, "phone", 9), answer}}, &joined)
	o.move(joined.From.Sub(o.now()) + time.Hour)
	reader := o.reader(validatorID + 1)
	ride := func(device string, c edge.RenewedCredential, counter uint16) {
		o.move(time.Minute)
		o.settleDown()
		o.sync(reader)
		if got := o.show(reader, device, c, counter); got != "" {
			t.Fatal(device, got)
		}
		o.drain(reader)
		o.settleDown()
	}
	ride("phone", mobile, 1)
	was := mobile
	for range 3 {
		o.move(26 * time.Hour)
		mobile, second = o.renew(phone), o.renew(other)
	}
	if mobile.Index == was.Index && mobile.List == was.List {
		t.Fatal("nothing was renewed")
	}
	ride("phone", mobile, 1)
	ride("tablet", second, 1)
	ride("phone", mobile, 2)
	var fares []int64
	for _, j := range list[edge.Journey](o, "journeys") {
		fares = append(fares, j.Fare.Minor)
	}
	slices.Sort(fares)
	if !slices.Equal(fares, []int64{0, 50, price, price}) {
		t.Errorf("after renewals rides cost %v, want one day's under one cap", fares)
	}
	o.booksHold()
}
