package gateway

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/gateway/ledger"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// busPath gives a path of the bus.
func busPath(rest string) string { return fmt.Sprintf("/v1/tenants/%d/%s", bus, rest) }

// credential enrols a rider's device, whose key is called device.
func (o *office) credential(device string) []byte {
	o.t.Helper()
	var answer struct {
		Issued []edge.IssuedCredential `json:"issued"`
	}
	o.send(http.MethodPost, busPath("credentials"), map[string]any{"requests": []edge.IssueCredential{{
		RiderRef: "rider-1", Contract: "sandbox", DeviceKey: key(device)[ed25519.SeedSize:], Product: 1, Cap: 50, Window: 30, TTLHours: 48,
	}}}, &answer)
	return answer.Issued[0].Credential
}

const validatorID = 1

// validator enrols a terminal and installs what the gateway publishes for it.
func (o *office) validator() *terminal.Verifier {
	o.t.Helper()
	return o.validatorIn(o.t.TempDir())
}

// validatorIn does it in a directory; the same one again is the same validator
// after a restart.
func (o *office) validatorIn(path string) *terminal.Verifier {
	o.t.Helper()
	o.enrol(validatorID, "validator")
	v := o.start(path, 1)
	o.sync(v)
	return v
}

// another enrols a second validator of the bus.
func (o *office) another() *terminal.Verifier {
	o.t.Helper()
	o.enrol(validatorID+1, "another")
	v := o.startAs(validatorID+1, "another", o.t.TempDir(), 1)
	o.sync(v)
	return v
}

func (o *office) enrol(id uint32, named string) {
	o.t.Helper()
	o.send(http.MethodPost, busPath("terminals"), edge.EnrolTerminal{
		ID: id, Name: "bus 12", PublicKey: key(named)[ed25519.SeedSize:], Kind: "validator", Route: "12", Vehicle: "V-12",
	}, nil)
	o.settleDown() // the first deny lists are published
}

// start opens the validator's directory, in its boot-th life.
func (o *office) start(path string, boot uint32) *terminal.Verifier {
	o.t.Helper()
	return o.startAs(validatorID, "validator", path, boot)
}

func (o *office) startAs(id uint32, named, path string, boot uint32) *terminal.Verifier {
	o.t.Helper()
	roots, err := o.Bundles.Roots(o.t.Context())
	o.must(err)
	dir, err := os.OpenRoot(path)
	o.must(err)
	v, err := terminal.Open(terminal.Config{
		Files: terminal.Dir(dir), Tenant: bus, KeyID: id, Mode: cmp.Or(o.mode, accept.Bus), Software: "test/1",
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(key(named), m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(16), Roots: roots.Roots, Threshold: int(roots.Threshold), BootID: boot,
	})
	o.must(err)
	o.t.Cleanup(func() {
		_ = v.Close()
		_ = dir.Close()
	})
	return v
}

// sync has a validator install what the gateway publishes.
func (o *office) sync(v *terminal.Verifier) {
	o.t.Helper()
	clock := o.now().UnixMilli()
	o.must(v.InstallBundle(clock, o.call(http.MethodGet, busPath("bundle"), "", nil)))
	var heads struct {
		Lists []edge.ListHead `json:"lists"`
	}
	o.send(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists", issuer), nil, &heads)
	for _, l := range heads.Lists {
		o.must(v.InstallList(clock, o.call(http.MethodGet, fmt.Sprintf("/v1/issuers/%d/lists/%d", issuer, l.List), "", nil)))
	}
}

// board shows a phone's code at a validator, both offline, and gives the batch
// that the validator would upload.
func (o *office) board(v *terminal.Verifier, credential []byte, device string) []byte {
	o.t.Helper()
	raw, err := ct1.Display(credential, ct1.Dynamic{GeneratedAt: o.now().Unix(), Counter: 1, Party: 1, Medium: code.MediumBand},
		func(m []byte) ([]byte, error) { return ed25519.Sign(key(device), m), nil })
	o.must(err)
	d, err := v.Tap(o.now().UnixMilli(), raw, terminal.Input{
		MonotonicMS: 60_000, Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "Central", Route: "12", Vehicle: "V-12", TariffVersion: 1,
	})
	o.must(err)
	if !d.Open {
		o.t.Fatalf("the rider was refused: %s", d.Reason)
	}
	batch, err := v.NextBatch(0)
	o.must(err)
	return batch
}

// upload sends a batch and gives "outcome reason" of each record.
func (o *office) upload(batch []byte) (list []string) {
	o.t.Helper()
	var answer struct {
		Results []edge.TapReceipt `json:"results"`
	}
	o.must(json.Unmarshal(o.call(http.MethodPost, "/v1/tap-batches", "application/octet-stream", batch), &answer))
	for _, r := range answer.Results {
		list = append(list, strings.TrimSpace(r.Outcome+" "+string(r.Reason)))
	}
	return list
}

// list gives a list of the bus, as the API shows it.
func list[T any](o *office, name string) []T {
	o.t.Helper()
	items, _ := page[T](o, name)
	return items
}

// page gives a page of a list and the cursor of the next.
func page[T any](o *office, name string) (items []T, next string) {
	o.t.Helper()
	var answer struct {
		Items []T    `json:"items"`
		Next  string `json:"next"`
	}
	o.send(http.MethodGet, busPath(name), nil, &answer)
	return answer.Items, answer.Next
}

// rows gives every row of every table, but for tables that count what was asked
// of the gateway.
func (o *office) rows(but ...string) map[string]string {
	o.t.Helper()
	all := map[string]string{}
	but = append(but, "idempotency_keys")
	for _, table := range o.audit.Rows(0, `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1`) {
		name := table[0].(string)
		if slices.Contains(but, name) {
			continue
		}
		for _, row := range o.audit.Rows(0, fmt.Sprintf(`SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM %s AS t`, name)) {
			all[name] = row[0].(string)
		}
	}
	return all
}

// unchanged fails for every table of is that is not as it was.
func unchanged(t *testing.T, what string, was, is map[string]string) {
	t.Helper()
	if len(is) < 20 {
		t.Fatalf("only %d tables were compared", len(is))
	}
	for name := range is {
		if was[name] != is[name] {
			t.Errorf("%s changed %s:\n%s\nto\n%s", what, name, was[name], is[name])
		}
	}
}

func (o *office) booksHold() {
	o.t.Helper()
	report, err := o.CheckBooks(o.t.Context())
	o.must(err)
	if !report.OK() {
		o.t.Fatalf("the books do not hold: %+v", report.Findings)
	}
}

// balances gives the net of each account that is not zero.
func (o *office) balances() map[string]int64 {
	o.t.Helper()
	all := map[string]int64{}
	for _, b := range list[edge.Balance](o, "balances") {
		if b.Debit != b.Credit {
			all[b.Account] = b.Debit - b.Credit
		}
	}
	return all
}

// One rider of an operator that issues its own codes boards one bus. The fare
// goes all the way to a bank transfer, and nothing that is repeated on the way
// moves anything a second time.
func TestOneTapIsPaidOutOnce(t *testing.T) {
	o := open(t)
	o.onboard()
	device := "phone"
	credential := o.credential(device)
	v := o.validator()
	batch := o.board(v, credential, device)

	if got := o.upload(batch); !slices.Equal(got, []string{"recorded"}) {
		t.Fatalf("the batch: %v", got)
	}
	o.settleDown()
	journeys := list[edge.Journey](o, "journeys")
	if len(journeys) != 1 || journeys[0].Fare == nil || journeys[0].Fare.Minor != price {
		t.Fatalf("journeys: %+v", journeys)
	}
	var one edge.Journey
	o.send(http.MethodGet, busPath("journeys/"+journeys[0].ID), nil, &one)
	if one.Decision != 1 || one.BusinessDate != "2026-11-21" || len(one.Explanation) == 0 {
		t.Errorf("the journey: %+v", one)
	}
	want := map[string]int64{"payable:valley-bus": -price}
	got := o.balances()
	for account := range got {
		if strings.HasPrefix(account, ledger.PrefixRiderReceivable) {
			want[account] = price
		}
	}
	if len(want) != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after pricing: %v", got)
	}
	o.booksHold()
	o.repeated("an open journey", batch)

	o.until("collected", func() bool { return len(list[edge.Charge](o, "charges")) == 1 })
	charge := list[edge.Charge](o, "charges")[0]
	const fee = 3 // price * feePPM, half up
	if charge.State != "succeeded" || charge.Amount.Minor != price || charge.Fee != fee {
		t.Errorf("the charge: %+v", charge)
	}
	if len(list[edge.Payout](o, "payouts")) != 0 {
		t.Error("paid out before the bill came")
	}
	o.booksHold()
	o.repeated("a collected fare", batch)

	o.until("paid out", func() bool { return len(list[edge.Payout](o, "payouts")) == 1 })
	payout := list[edge.Payout](o, "payouts")[0]
	if payout.Payee != "valley-bus" || payout.Amount.Minor != price-fee || len(payout.Files) != 2 {
		t.Errorf("the payout: %+v", payout)
	}
	for _, name := range payout.Files {
		body := string(o.call(http.MethodGet, busPath("payout-files/"+name), "", nil))
		if !strings.Contains(body, payout.EndToEndID) || !strings.Contains(body, "4.47") {
			t.Errorf("%s does not name the transfer: %s", name, body)
		}
	}
	if open := list[edge.ReconItem](o, "reconciliation"); len(open) != 0 {
		t.Errorf("open reconciliation items: %+v", open)
	}
	if got := o.balances(); len(got) != 0 {
		t.Errorf("in the end there is left: %v", got)
	}
	o.booksHold()
	o.repeated("a paid fare", batch)
	o.booksHold()
	o.noSecretIsOut()
}

// until wakes the gateway every three hours until done.
func (o *office) until(what string, done func() bool) {
	o.t.Helper()
	for range 24 {
		o.move(3 * time.Hour)
		o.settleDown()
		if done() {
			return
		}
	}
	o.t.Fatalf("it was not %s within three days", what)
}

// repeated looks at what is due again, and has the validator, whose answer was
// lost, send its batch again.
func (o *office) repeated(what string, batch []byte) {
	o.t.Helper()
	was := o.rows()
	for range 2 {
		o.settleDown()
	}
	unchanged(o.t, "looking at what is due again, with "+what+",", was, o.rows())
	if got := o.upload(batch); !slices.Equal(got, []string{"duplicate"}) {
		o.t.Errorf("the batch again, with %s: %v", what, got)
	}
	o.settleDown()
	unchanged(o.t, "the batch again, with "+what+",", was, o.rows("tap_batches", "tap_terminals"))
}

// With nothing in the database but tenants there is nothing to do, and asking
// for it often does not add up to anything.
func TestTickWithNothingDue(t *testing.T) {
	o := open(t)
	o.must(o.Tick(t.Context())) // no tenant at all
	o.must(o.Drain(t.Context()))
	o.onboard()
	o.settleDown()
	was := o.rows()
	for range 3 {
		o.must(o.Tick(t.Context()))
	}
	o.must(o.Drain(t.Context()))
	o.must(o.Drain(t.Context()))
	unchanged(t, "a tick", was, o.rows())
	o.booksHold()
}
