//go:build cgo

package main

// #define CITYGATE_BUILDING_LIBRARY
// #include "citygate_terminal.h"
import "C"

import (
	"encoding/base64"

	"github.com/cashlesscity/citygate/policies/accept"
)

//export citygate_table_open
func citygate_table_open(encoded *C.char, into *C.citygate_handle, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		if into == nil {
			return errArgument.Explain("table is NULL")
		}
		*into = 0
		raw, err := base64.StdEncoding.Strict().DecodeString(text(encoded))
		if err != nil {
			return errArgument.Explain("the table is not base64")
		}
		t, err := accept.ParseTable(raw)
		if err == nil {
			*into = keep(t)
		}
		return err
	})
}

//export citygate_table_decide
func citygate_table_decide(h C.citygate_handle, in *C.citygate_facts, into *C.citygate_answer, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		if into == nil {
			return errArgument.Explain("answer is NULL")
		}
		*into = C.citygate_answer{effect: C.CITYGATE_TABLE_REFUSE}
		if in == nil {
			return errArgument.Explain("facts is NULL")
		}
		t, err := held[*accept.Table](h)
		if err != nil {
			return err
		}
		s := accept.Situation{
			At: int64(in.at_ms), ClockOK: in.clock_ok != 0, Scheme: text(in.scheme), Mode: text(in.mode), Kind: text(in.kind), Medium: text(in.medium),
			Currency: text(in.currency), Stop: text(in.stop), Route: text(in.route), Issuer: int64(in.issuer), Product: int64(in.product),
			Party: int64(in.party), Amount: int64(in.amount), Counter: int64(in.counter), CredentialAge: int64(in.credential_age),
			Memory: accept.Memory{Known: in.remembers != 0, DayTaps: int64(in.day_taps), DayMinor: int64(in.day_amount), HourTaps: int64(in.hour_taps),
				SinceLast: int64(in.since_last)},
		}
		rule, effect := t.Decide(&s)
		put(into.rule[:], rule)
		into.effect = C.int32_t(effect)
		return nil
	})
}
