package adapters

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// contained calls a driver. A panic is an error like any other that a driver returns:
// what the far side did is open, and other tenants, providers and payments never
// notice.
func contained[T any](name string, call func() (T, error)) (out T, err error) {
	defer func() {
		if p := recover(); p != nil {
			var none T
			out, err = none, Panicked(name, p)
		}
	}()
	return call()
}

// Panicked makes an error of the panic p of what; the caller is the deferred function
// that recovered it. It says where that was, and of what was said only what the
// runtime says: everything else may hold a secret or a rider's data.
func Panicked(what string, p any) error {
	said := fmt.Sprintf("a %T", p)
	if fault, ok := p.(runtime.Error); ok {
		said = fault.Error()
	}
	return fmt.Errorf("%s panicked at %s: %s", what, place(), said)
}

// place gives the innermost line of the program in a panic that is being recovered.
func place() string {
	var frames [32]uintptr
	walk := runtime.CallersFrames(frames[:runtime.Callers(2, frames[:])])
	panicking := false
	for {
		f, more := walk.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if panicking && !inRuntime {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		panicking = panicking || f.Function == "runtime.gopanic"
		if !more {
			return "an unknown line"
		}
	}
}
