package gateway

import (
	"fmt"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/ruleset"
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
		r.Refused[0].Taps != 1 || r.Refused[0].NoFare != 1 || len(r.Admits) != 0 {
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
