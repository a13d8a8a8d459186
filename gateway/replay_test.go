package gateway

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/policies/ruleset"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A day's taps under a draft: what would change is counted by rule, and nothing is
// changed by asking.
func TestReplayUnderADraft(t *testing.T) {
	o := open(t)
	o.onboard()
	credential := o.credential("phone")
	v := o.validator()
	if got := o.upload(o.board(v, credential, "phone")); len(got) != 1 || got[0] != "recorded" {
		t.Fatalf("the batch: %v", got)
	}
	o.settleDown()
	draft := func(rules string) *ruleset.Set {
		t.Helper()
		set, err := ruleset.Parse(fmt.Appendf(nil, `citygate: rules/1
time_zone: Asia/Shanghai
acceptance:
  schemes: [ct1]
  issuers: [{issuer: %d, currency: CNY, cap_unit_minor: 100}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 8784
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 60}
  rules: [%s]
`, issuer, rules))
		o.must(err)
		return set
	}
	day, err := citygate.ParseDate("2026-11-21")
	o.must(err)
	before := o.rows()
	r, err := o.ReplayRules(t.Context(), bus, draft("{id: no-bands, mediums: [band], then: refuse}"), day)
	o.must(err)
	if r.Taps != 1 || r.Same != 0 || r.Unread != 0 || len(r.Refused) != 1 || r.Refused[0].Reason != code.PolicyRefused || r.Refused[0].Rule != "no-bands" ||
		r.Refused[0].Taps != 1 || r.Refused[0].Decided != 0 || r.Refused[0].Fares["CNY"] != price || r.Refused[0].NoFare != 0 || len(r.Admits) != 0 {
		t.Errorf("a rule against it: %+v", r)
	}
	r, err = o.ReplayRules(t.Context(), bus, draft("{id: no-phones, mediums: [phone], then: refuse}"), day)
	o.must(err)
	if r.Taps != 1 || r.Same != 1 || len(r.Refused) != 0 {
		t.Errorf("a rule about others: %+v", r)
	}
	if other, err := o.ReplayRules(t.Context(), bus, draft(""), day.AddDays(1)); err != nil || other.Taps != 0 {
		t.Errorf("another day: %+v, %v", other, err)
	}
	unchanged(t, "a replay", before, o.rows())
}

// A day with codes of other schemes, refusals and charges: the whole by command and
// its parts by the API say the same, a ride's fare is counted once, and routing says
// which charges another contract would have had.
func TestReplayOfADayInParts(t *testing.T) {
	o := open(t)
	o.onboard()
	city, railway := newMinistry(o), newRailway(o)
	o.answerFor(city, railway, `{"codes":[{"code":"`+base64.StdEncoding.EncodeToString(token(o, 1))+`","rider":"ann"}]}`)
	v := o.reader(1)
	for card := byte(1); card <= 2; card++ {
		if got := o.offer(v, city.show(o, card, o.now())); got != "" {
			t.Fatalf("card %d: %s", card, got)
		}
	}
	for _, raw := range [][]byte{railway.show(o, 1, o.now()), token(o, 1), token(o, 2)} { // nobody vouches for the second token
		if got := o.offer(v, raw); got != "" {
			t.Fatal(got)
		}
	}
	o.drain(v)
	for range 6 { // the provider is asked about tokens
		o.settleDown()
		o.move(time.Minute)
	}
	o.until("charged", func() bool { return len(o.charged(bus)) == 3 })
	day, err := citygate.ParseDate("2026-11-21")
	o.must(err)
	source := func(schemes, rest string) string {
		return fmt.Sprintf(`citygate: rules/1
time_zone: Asia/Shanghai
acceptance:
  schemes: [%s]
  issuers: [{issuer: %d, currency: CNY, cap_unit_minor: 100}, {issuer: %d, currency: CNY, cap_unit_minor: 100}]
  modes: [{mode: bus, kinds: [single]}]
  skew_seconds: 30
  max_window_seconds: 120
  max_ttl_hours: 8784
  late_upload_days: 7
  clock_suspect_seconds: 600
  incomplete: {charge: max, max_journey_minutes: 180, grace_minutes: 60}
%s`, schemes, issuer, railIssuer, rest)
	}
	whole := func(schemes, rest string) *Replay {
		t.Helper()
		set, err := ruleset.Parse([]byte(source(schemes, rest)))
		o.must(err)
		r, err := o.ReplayRules(t.Context(), bus, set, day)
		o.must(err)
		return r
	}
	r := whole("ct1, uic-dosipas", "") // the Ministry's codes and tokens no more
	if r.Taps != 5 || r.Unread != 0 || len(r.Refused) != 1 || r.Refused[0].Reason != code.Unsupported || r.Refused[0].Taps+r.Same != 5 || r.Refused[0].Fares["CNY"] != price*int64(r.Refused[0].Taps) {
		t.Errorf("two schemes less: %+v", r)
	}
	routing := `routing:
    - {id: dear, when: 'amount >= 451', use: [sandbox]}
    - {id: cards, contracts: [sandbox], use: [palms, sandbox]}
    - {id: tokens, contracts: [palms], use: [sandbox]}
`
	r = whole("ct1", routing)
	if r.Charges != 3 || r.Stay != 3 || len(r.Moved) != 0 { // nobody has agreed to the other contract
		t.Errorf("routing without payers: %+v", r)
	}
	accounts := o.audit.Rows(bus, `SELECT account_id::text FROM accounts WHERE tenant_id = $1 AND contract = 'sandbox' ORDER BY 1`, bus)
	o.in(bus, func(tx *pg.Tx) error {
		id, err := citygate.ParseUUID("", strings.ReplaceAll(accounts[0][0].(string), "-", ""))
		if err != nil {
			return err
		}
		return collect.AddPayer(t.Context(), tx, actor, collect.Payer{Account: id, Contract: "palms", RiderRef: "also here"})
	})
	before := o.rows()
	r = whole("ct1", routing)
	if r.Charges != 3 || r.Stay != 2 || len(r.Moved) != 1 || r.Moved[0].From != "sandbox" || r.Moved[0].To != "palms" || r.Moved[0].Rule != "cards" ||
		r.Moved[0].Charges != 1 || r.Moved[0].Amounts["CNY"] != price {
		t.Errorf("routing: %+v", r)
	}
	ask := func(next string, limit int) (part edge.PolicyReplay) {
		t.Helper()
		o.send(http.MethodPost, busPath("policy-replays"), edge.ReplayPolicy{Source: source("ct1", routing), Day: "2026-11-21", Next: next, Limit: limit}, &part)
		return part
	}
	var sum edge.PolicyReplay
	parts, next := 0, ""
	for more := true; more; more = next != "" {
		part := ask(next, 1)
		parts, next = parts+1, part.Next
		sum.Taps, sum.Same, sum.Charges, sum.Stay = sum.Taps+part.Taps, sum.Same+part.Same, sum.Charges+part.Charges, sum.Stay+part.Stay
		for _, l := range part.Refused {
			sum.Unread += l.Taps // as a sum
		}
		if part.Taps > 1 || part.Charges > 1 || len(part.Unknown) == 0 || parts > 20 {
			t.Fatalf("part %d: %+v", parts, part)
		}
	}
	if sum.Taps != r.Taps || sum.Same != r.Same || sum.Charges != r.Charges || sum.Stay != r.Stay || sum.Unread != r.Refused[0].Taps {
		t.Errorf("the parts sum up to %+v; the whole is %+v", sum, r)
	}
	if one := ask("", 0); one.Next != "charges:" || one.Taps != 5 {
		t.Errorf("all taps at once: %+v", one)
	}
	for _, bad := range []string{"taps:x", "charges:pay_1", "rows:1", "taps"} {
		if got := o.refused(http.MethodPost, busPath("policy-replays"), edge.ReplayPolicy{Source: source("ct1", ""), Day: "2026-11-21", Next: bad}); got != "policy.replay" {
			t.Errorf("next %q: %s", bad, got)
		}
	}
	if got := o.refused(http.MethodPost, busPath("policy-replays"), edge.ReplayPolicy{Source: "no rules", Day: "2026-11-21"}); got != "policy.rules" {
		t.Errorf("no rule set: %s", got)
	}
	unchanged(t, "a replay", before, o.rows("idempotency_keys"))
}
