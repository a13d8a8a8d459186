package uicdosipas

import (
	"testing"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
)

func TestSmoke(t *testing.T) {
	i := newIssuer(t)
	raw := must(t, i.show(i.ticket(day()), shown).Marshal)
	if v := judge(t, scheme(t, ""), i.trust, raw, shown.Add(10*time.Second)); v.Outcome != code.Accept {
		t.Fatalf("%+v", v)
	}
	var c code.Code
	s := scheme(t, "")
	t.Log(testing.AllocsPerRun(10, func() { s.Parse(raw, &c) }))
	for _, sm := range samples(t) {
		t.Logf("%+v", judge(t, s, new(code.Trust), unhex(t, sm.Hex), shown))
	}
}

func BenchmarkParse(b *testing.B) {
	i := newIssuer(b)
	raw := must(b, i.show(i.ticket(day()), shown).Marshal)
	var c code.Code
	b.ReportAllocs()
	for b.Loop() {
		if (Scheme{}).Parse(raw, &c) != nil {
			b.Fatal("refused")
		}
	}
}
