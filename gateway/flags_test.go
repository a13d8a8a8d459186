package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
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
	queued := list[edge.RiskFlag](o, "risk-flags?kind=velocity")
	if len(queued) != 1 || len(queued[0].Taps) != 7 || !queued[0].Blocks {
		t.Fatalf("rush %+v", queued)
	}
	o.sync(reader)
	if got := o.look(reader, o.fresh(queue, "queue", 8)); got != code.Denied {
		t.Errorf("blocked by the terms: %q", got)
	}
	change := func(verb string, body any) string {
		return o.refused(http.MethodPost, busPath("risk-flags/"+queued[0].ID+"/"+verb), body)
	}
	var v1 edge.RiskFlag
	o.send(http.MethodPost, busPath("risk-flags/"+queued[0].ID+"/acknowledge"), edge.FlagChange{Reason: "asked the rider"}, &v1)
	if v1.State != "acknowledged" || !v1.Blocks || v1.Reason != "asked the rider" || v1.ChangedBy == "" {
		t.Errorf("%+v", v1)
	}
	o.send(http.MethodPost, busPath("risk-flags/"+queued[0].ID+"/close"), edge.FlagChange{Reason: "a school class"}, &v1)
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

	// Nobody is too fast where nobody knows how far it is: the list says so, until the
	// journey rules say it.
	travel := func() (item edge.ChecklistItem) {
		var all edge.Checklist
		o.send(http.MethodGet, busPath("checklist"), nil, &all)
		for _, i := range all.Items {
			if i.Name == "travel times" {
				item = i
			}
		}
		return item
	}
	var counter uint16 = 100
	rush := func(device string) int {
		fast := o.credential(device)
		for _, stop := range []string{"Central", "Far"} {
			counter++
			if got := o.lookAt(reader, o.fresh(fast, device, counter), stop); got != "" {
				t.Fatal(stop, got)
			}
			o.move(3 * time.Minute)
		}
		o.drain(reader)
		o.move(2 * time.Minute)
		o.settleDown()
		return len(list[edge.RiskFlag](o, "risk-flags?kind=impossible_travel"))
	}
	if item := travel(); item.Done || !item.Optional || !strings.Contains(item.Detail, "no taps are flagged as impossible_travel") || item.Do == "" {
		t.Errorf("without places: %+v", item)
	}
	if n := rush("before"); n != 0 {
		t.Errorf("%d flags without places", n)
	}
	o.move(10 * time.Minute) // a scan looks again at what came in the minutes before the last tap
	if got := o.look(reader, o.fresh(o.credential("between"), "between", 1)); got != "" {
		t.Fatal(got)
	}
	o.drain(reader)
	o.move(2 * time.Minute)
	o.settleDown()
	rules := func(version int, stops string) {
		o.send(http.MethodPost, busPath("journey-rules"), edge.JourneyRules{From: o.now().Add(time.Second), Rules: json.RawMessage(fmt.Sprintf(
			`{"version":%d,"max_journey_minutes":180,"upload_grace_minutes":300,"stops":[{"id":"Central"},{"id":"Far"}%s],"travel":[{"from":"Central","to":"Far","min_seconds":1800}]}`, version, stops))}, nil)
		o.move(time.Minute)
	}
	rules(1, `,{"id":"Nowhere"}`)
	if item := travel(); item.Done || !strings.Contains(item.Detail, "Nowhere") {
		t.Errorf("a stop without times: %+v", item)
	}
	rules(2, "")
	if item := travel(); !item.Done {
		t.Errorf("with places: %+v", item)
	}
	if n := rush("after"); n != 1 {
		t.Errorf("%d flags with places", n)
	} else if f := list[edge.RiskFlag](o, "risk-flags?kind=impossible_travel")[0]; len(f.Taps) != 2 {
		t.Errorf("it names %v", f.Taps)
	}
}
