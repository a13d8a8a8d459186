package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const minibusTariff = `{"name":"minibus","version":4,"currency":"CNY","categories":{"products":{"2":"student"},"default":"adult"},
	"rules":[{"id":"61S","routes":["61S"],"sections":{"stops":{"market":"upper"},"amounts":{"upper":{"adult":550}}}},
	         {"id":"taxi","routes":["T"],"entered":{"min":100,"max":50000}},
	         {"id":"flat","flat":{"adult":480,"student":240}}],
	"incomplete":{},"same_stop":{},"rounding":{}}`

func TestFarePrice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "minibus.json")
	if err := os.WriteFile(file, []byte(minibusTariff), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args string
		exit int
		want string // in standard output when it exits 0, else in standard error
	}{
		{"a pair of stations by name", "--tariff mtr --from Admiralty --to 76 --category student", 0, `{"total_minor":4600,"currency":"HKD","explanation":{`},
		{"another currency", "--tariff mtr --currency CNY --from 2 --to 76", 0, `{"total_minor":5220,"currency":"CNY"`},
		{"no off", "--tariff mtr --kind on --from 2 --at 2026-11-21T08:30:00+08:00", 0, `"op":"incomplete"`},
		{"flat", "--tariff FILE", 0, `{"total_minor":480,"currency":"CNY"`},
		{"flat by product", "--tariff FILE --product 2", 0, `{"total_minor":240,`},
		{"section and party", "--tariff FILE --route 61S --from market --party 2", 0, `{"total_minor":1100,`},
		{"taxi", "--tariff FILE --route T --amount 6580", 0, `{"total_minor":6580,`},
		{"taxi without an amount", "--tariff FILE --route T", 1, "amount_missing"},
		{"unknown station", "--tariff mtr --from 2 --to Atlantis", 1, "stop_unknown"},
		{"category without a price", "--tariff FILE --category elderly", 1, "no_amount"},
		{"no such file", "--tariff nowhere.json", 1, "nowhere.json"},
		{"no tariff", "--from 2", 2, "tariff"},
		{"ride without an end", "--tariff mtr --kind ride --from 2", 2, "--to"},
		{"two ways to say the category", "--tariff FILE --category adult --product 2", 2, "not both"},
		{"a party of nobody", "--tariff FILE --party 0", 2, "1 to 16"},
		{"a kind that is none", "--tariff FILE --kind jump", 2, "jump"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			sys := &system{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
				Now: func() time.Time { return time.Unix(1_790_000_000, 0) }, served: checked(t), Env: func(string) string { return "" }}
			args := append([]string{"fare", "price"}, strings.Fields(strings.ReplaceAll(c.args, "FILE", file))...)
			if exit := run(t.Context(), sys, args); exit != c.exit {
				t.Fatalf("exit %d, want %d\n%s%s", exit, c.exit, &out, &errs)
			}
			text := errs.String()
			if c.exit == 0 {
				text = out.String()
				if strings.Count(text, "\n") != 1 {
					t.Errorf("standard output is not one line: %q", text)
				}
			} else if out.Len() > 0 {
				t.Errorf("standard output %q although it failed", &out)
			}
			if !strings.Contains(text, c.want) {
				t.Errorf("got %s, want %s in it", text, c.want)
			}
		})
	}
}
