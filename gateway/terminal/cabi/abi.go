//go:build cgo

package main

// #define CITYGATE_BUILDING_LIBRARY
// #include <string.h>
// #include "citygate_terminal.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// handles are what is open. A number is never given twice, so that a handle used
// after its end is an error and not somebody else's terminal.
var handles = struct {
	sync.RWMutex
	last C.citygate_handle
	open map[C.citygate_handle]any
}{open: map[C.citygate_handle]any{}}

func keep(v any) C.citygate_handle {
	handles.Lock()
	defer handles.Unlock()
	handles.last++
	handles.open[handles.last] = v
	return handles.last
}

func held[T any](h C.citygate_handle) (T, error) {
	handles.RLock()
	defer handles.RUnlock()
	v, ok := handles.open[h].(T)
	if !ok {
		return v, errHandle
	}
	return v, nil
}

// call runs f and says in C what became of it. A panic must not unwind into the
// host: the Go runtime would end its process.
func call(into *C.citygate_error, f func() error) (status C.int32_t) {
	defer func() {
		if p := recover(); p != nil {
			status = report(into, errPanic.Because(nil, "%v", p))
		}
	}()
	return report(into, f())
}

func report(into *C.citygate_error, err error) C.int32_t {
	if into != nil {
		*into = C.citygate_error{}
	}
	if err == nil {
		return C.CITYGATE_OK
	}
	if into != nil {
		name := "abi.failed"
		var named *citygate.Code
		if errors.As(err, &named) {
			name = named.Name
		}
		put(into.code[:], name)
		put(into.message[:], err.Error())
	}
	if errors.Is(err, errTooSmall) {
		return C.CITYGATE_TOO_SMALL
	}
	return C.CITYGATE_FAILED
}

// put copies s into a C string, cut to what fits.
func put(into []C.char, s string) {
	clear(into)
	for i := range min(len(s), len(into)-1) {
		into[i] = C.char(s[i])
	}
}

// text gives a C string; NULL is "".
func text(s *C.char) string {
	if s == nil {
		return ""
	}
	return C.GoString(s)
}

// view gives the caller's memory for the time of the call.
func view(at *C.uint8_t, length C.size_t) ([]byte, error) {
	switch {
	case length == 0:
		return nil, nil
	case at == nil:
		return nil, errArgument.Explain("NULL with a length of %d", uint64(length))
	case length > 1<<30:
		return nil, errArgument.Explain("a length of %d", uint64(length))
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(at)), int(length)), nil
}

//export citygate_abi
func citygate_abi() C.int32_t { return C.CITYGATE_ABI }

//export citygate_decider_open
func citygate_decider_open(setup *C.char, into *C.citygate_handle, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		if into == nil {
			return errArgument.Explain("decider is NULL")
		}
		*into = 0
		d, err := newDecider(text(setup))
		if err == nil {
			*into = keep(d)
		}
		return err
	})
}

//export citygate_decide
func citygate_decide(h C.citygate_handle, in *C.citygate_tap, into *C.citygate_verdict, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		scanned, err := begin(in, into)
		if err != nil {
			return err
		}
		shared, err := held[*decider](h)
		if err != nil {
			return err
		}
		facts := accept.Facts{
			At: int64(in.at_ms), ClockOK: in.clock != C.CITYGATE_CLOCK_UNKNOWN, Mode: shared.mode, Kind: tap.Kind(in.kind),
			Fare: fare(in), Context: uint16(in.context), TrustExpired: in.trust_expired != 0,
			Stop: text(in.stop), Route: text(in.route),
		}
		d := shared.Decider
		d.Denied = func(c *code.Code) code.Reason { return shared.standing(c, facts) }
		var c code.Code
		raw, err := d.Schemes.Binary(nil, scanned)
		verdict := code.Refuse(code.ReasonOf(err))
		if err == nil {
			verdict = d.Decide(&c, raw, facts)
		}
		rider(into, &c)
		put(into.strength[:], string(verdict.Strength))
		put(into.rule[:], verdict.Rule)
		return finish(into, verdict.Reason)
	})
}

// begin clears the answer and gives what was scanned.
func begin(in *C.citygate_tap, into *C.citygate_verdict) ([]byte, error) {
	if into == nil {
		return nil, errArgument.Explain("verdict is NULL")
	}
	*into = C.citygate_verdict{}
	put(into.outcome[:], string(code.Reject))
	put(into.reason[:], string(code.InternalError))
	if in == nil {
		return nil, errArgument.Explain("tap is NULL")
	}
	return view(in.scanned, in.scanned_length)
}

// finish is the one place that opens a gate.
func finish(into *C.citygate_verdict, reason code.Reason) error {
	put(into.reason[:], string(reason))
	if reason == "" {
		put(into.outcome[:], string(code.Accept))
		into.open = 1
	}
	return nil
}

func rider(into *C.citygate_verdict, c *code.Code) {
	into.issuer, into.list, into.index = C.uint16_t(c.Rider.Issuer), C.uint16_t(c.Rider.List), C.uint32_t(c.Rider.Index)
	into.counter, into.party = C.uint16_t(c.Counter), C.uint8_t(c.Party)
}

func fare(in *C.citygate_tap) citygate.Money {
	return citygate.Money{Minor: int64(in.fare_minor), Currency: citygate.Currency(text(in.fare_currency))}
}

//export citygate_terminal_open
func citygate_terminal_open(directory, setup *C.char, sign C.citygate_sign, user unsafe.Pointer, into *C.citygate_handle, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		if into == nil || sign == nil {
			return errArgument.Explain("terminal or sign is NULL")
		}
		*into = 0
		s, err := newStation(text(directory), text(setup), signer(sign, user))
		if err == nil {
			*into = keep(s)
		}
		return err
	})
}

//export citygate_terminal_install_bundle
func citygate_terminal_install_bundle(h C.citygate_handle, now C.int64_t, at *C.uint8_t, length C.size_t, problem *C.citygate_error) C.int32_t {
	return install(h, now, at, length, problem, (*terminal.Verifier).InstallBundle)
}

//export citygate_terminal_install_list
func citygate_terminal_install_list(h C.citygate_handle, now C.int64_t, at *C.uint8_t, length C.size_t, problem *C.citygate_error) C.int32_t {
	return install(h, now, at, length, problem, (*terminal.Verifier).Install)
}

func install(h C.citygate_handle, now C.int64_t, at *C.uint8_t, length C.size_t, problem *C.citygate_error, into func(*terminal.Verifier, int64, []byte) error) C.int32_t {
	return call(problem, func() error {
		s, err := held[*station](h)
		if err != nil {
			return err
		}
		raw, err := view(at, length)
		if err != nil {
			return err
		}
		return into(s.verifier, int64(now), append([]byte(nil), raw...)) // it is kept, the caller's memory is not
	})
}

//export citygate_terminal_tap
func citygate_terminal_tap(h C.citygate_handle, in *C.citygate_tap, into *C.citygate_verdict, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		scanned, err := begin(in, into)
		if err != nil {
			return err
		}
		s, err := held[*station](h)
		if err != nil {
			return err
		}
		if in.clock < C.CITYGATE_CLOCK_UNKNOWN || in.clock > C.CITYGATE_CLOCK_RTC {
			return errArgument.Explain("clock %d is not defined", int(in.clock))
		}
		d, err := s.verifier.Tap(int64(in.at_ms), scanned, terminal.Input{
			MonotonicMS: uint64(in.monotonic_ms), Clock: tap.ClockSource(in.clock), Kind: tap.Kind(in.kind),
			Stop: text(in.stop), Route: text(in.route), Trip: text(in.trip), Vehicle: text(in.vehicle), Driver: text(in.driver), Shift: text(in.shift),
			Fare: fare(in), TariffVersion: uint64(in.tariff_version), Context: uint16(in.context), Riders: uint8(in.riders),
		})
		if err != nil {
			return err
		}
		var c code.Code
		if (ctScheme).Parse(d.Record.Evidence, &c) == nil {
			rider(into, &c)
		}
		into.sequence = C.uint64_t(d.Record.Seq)
		put(into.rule[:], d.Record.Rule)
		if !d.Open && d.Reason == "" {
			return errPanic.Because(nil, "refused without a reason")
		}
		return finish(into, d.Reason)
	})
}

//export citygate_terminal_next_batch
func citygate_terminal_next_batch(h C.citygate_handle, limit C.int32_t, buffer *C.uint8_t, capacity C.size_t, length *C.size_t, hash *C.uint8_t, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		if length == nil {
			return errArgument.Explain("length is NULL")
		}
		*length = 0
		s, err := held[*station](h)
		if err != nil {
			return err
		}
		raw, err := s.verifier.NextBatch(int(limit))
		if err != nil || raw == nil {
			return err
		}
		*length = C.size_t(len(raw))
		out, err := view(buffer, capacity)
		if err != nil {
			return err
		}
		if len(out) < len(raw) {
			return errTooSmall.Explain("%d bytes are needed", len(raw))
		}
		copy(out, raw)
		if hash != nil {
			b, err := tap.ParseBatch(raw)
			if err != nil {
				return fmt.Errorf("next batch: %w", err)
			}
			copy(unsafe.Slice((*byte)(unsafe.Pointer(hash)), len(b.Hash)), b.Hash[:])
		}
		return nil
	})
}

//export citygate_terminal_ack
func citygate_terminal_ack(h C.citygate_handle, hash *C.uint8_t, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		s, err := held[*station](h)
		if err != nil {
			return err
		}
		if hash == nil {
			return errArgument.Explain("hash is NULL")
		}
		return s.verifier.Ack([32]byte(unsafe.Slice((*byte)(unsafe.Pointer(hash)), 32)))
	})
}

//export citygate_terminal_pending
func citygate_terminal_pending(h C.citygate_handle, pending *C.int64_t, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		s, err := held[*station](h)
		if err != nil {
			return err
		}
		if pending == nil {
			return errArgument.Explain("pending is NULL")
		}
		*pending = C.int64_t(s.verifier.Pending())
		return nil
	})
}

//export citygate_close
func citygate_close(h C.citygate_handle, problem *C.citygate_error) C.int32_t {
	return call(problem, func() error {
		handles.Lock()
		v, ok := handles.open[h]
		delete(handles.open, h)
		handles.Unlock()
		if !ok {
			return errHandle
		}
		if s, ok := v.(*station); ok {
			return s.close()
		}
		return nil
	})
}
