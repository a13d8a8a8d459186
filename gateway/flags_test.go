package gateway

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/edge"
)

// What terminals upload is looked at for taps that cannot be one person's, in any
// order and as often as one likes: each flag is kept once, names its taps, blocks
// only by the tenant's terms, and is closed with a reason.
func TestFlagsAreKeptWithTheirTaps(t *testing.T) {
	o := open(t)
	o.onboard()
	mine, v := o.credential("phone"), o.validator()
	other := o.reader(validatorID + 1)
	o.board(v, mine, "phone") // counter 1
	copied := o.fresh(mine, "phone", 2)
	if got := o.look(v, copied); got != "" {
		t.Fatal(got)
	}
	o.move(40 * time.Second)
	if got := o.look(other, o.fresh(mine, "phone", 2)); got != "" { // another code of the same display
		t.Fatal(got)
	}
	o.drain(other)
	o.settleDown()
	if got := list[edge.RiskFlag](o, "risk-flags"); len(got) != 0 {
		t.Errorf("one tap of a rider: %+v", got)
	}
	o.drain(v)
	batch := o.pending(v)
	o.upload(batch)
	o.move(2 * time.Minute)
	o.settleDown()
	o.upload(batch)
	o.move(2 * time.Minute)
	o.settleDown()
	found := list[edge.RiskFlag](o, "risk-flags")
	if len(found) != 1 || found[0].Kind != "clone" || len(found[0].Taps) != 2 || found[0].Blocks || found[0].State != "open" {
		t.Fatalf("flags %+v", found)
	}
	for _, tap := range found[0].Taps {
		if got := list[edge.RiskFlag](o, "risk-flags?kind=clone&state=open&tap="+tap); len(got) != 1 {
			t.Errorf("of %s: %+v", tap, got)
		}
	}
	if got := list[edge.RiskFlag](o, "risk-flags?kind=velocity"); len(got) != 0 {
		t.Errorf("velocity: %+v", got)
	}

	// A queue rides on one phone, and the terms say that this blocks.
	terms := json.RawMessage(`{"version":1,"contracts":[],"flags":{"taps":4,"within_minutes":10,"block":["velocity"]}}`)
	o.send(http.MethodPost, busPath("risk-terms"), edge.RiskTerms{From: o.now().Add(time.Second), Terms: terms}, nil)
	o.move(time.Minute)
	queue := o.credential("queue")
	reader := o.reader(validatorID + 2)
	show := func(from, to uint16) {
		for n := from; n <= to; n++ {
			o.move(30 * time.Second)
			if got := o.look(reader, o.fresh(queue, "queue", n)); got != "" {
				t.Fatal(n, got)
			}
		}
		o.drain(reader)
		o.move(time.Minute)
		o.settleDown()
	}
	show(1, 4)
	if got := list[edge.RiskFlag](o, "risk-flags?kind=velocity"); len(got) != 0 {
		t.Errorf("four taps: %+v", got)
	}
	show(5, 7)
	rush := list[edge.RiskFlag](o, "risk-flags?kind=velocity")
	if len(rush) != 1 || len(rush[0].Taps) != 7 || !rush[0].Blocks {
		t.Fatalf("rush %+v", rush)
	}
	o.sync(reader)
	if got := o.look(reader, o.fresh(queue, "queue", 8)); got != code.Denied {
		t.Errorf("blocked by the terms: %q", got)
	}
	change := func(verb string, body any) string {
		return o.refused(http.MethodPost, busPath("risk-flags/"+rush[0].ID+"/"+verb), body)
	}
	var v1 edge.RiskFlag
	o.send(http.MethodPost, busPath("risk-flags/"+rush[0].ID+"/acknowledge"), edge.FlagChange{Reason: "asked the rider"}, &v1)
	if v1.State != "acknowledged" || !v1.Blocks || v1.Reason != "asked the rider" || v1.ChangedBy == "" {
		t.Errorf("%+v", v1)
	}
	o.send(http.MethodPost, busPath("risk-flags/"+rush[0].ID+"/close"), edge.FlagChange{Reason: "a school class"}, &v1)
	if got := change("acknowledge", edge.FlagChange{Reason: "again"}); got != "risk.flag_closed" {
		t.Error(got)
	}
	if got := change("close", edge.FlagChange{Reason: "  "}); got != "risk.flag_reason" {
		t.Error(got)
	}
	if got := o.refused(http.MethodPost, busPath("risk-flags/flg_01900000000070008000000000000000/close"), edge.FlagChange{Reason: "x"}); got != "risk.no_flag" {
		t.Error(got)
	}
	o.settleDown()
	o.sync(reader)
	if got := o.look(reader, o.fresh(queue, "queue", 9)); got != "" {
		t.Errorf("closed, and at the reader: %q", got)
	}
}
