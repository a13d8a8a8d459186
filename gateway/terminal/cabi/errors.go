package main

import (
	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// The errors of the interface itself; those of the SDK keep their own codes.
var (
	errSetup    = &citygate.Code{Name: "abi.setup", Kind: citygate.Invalid, Title: "The set-up is not valid; correct the named field."}
	errHandle   = &citygate.Code{Name: "abi.handle", Kind: citygate.Invalid, Title: "No such decider or terminal is open; open one, and use the right kind."}
	errArgument = &citygate.Code{Name: "abi.argument", Kind: citygate.Invalid, Title: "An argument is not valid; see citygate_terminal.h."}
	errTooSmall = &citygate.Code{Name: "abi.too_small", Kind: citygate.Invalid, Title: "The buffer is too small; call again with a larger one."}
	errSign     = &citygate.Code{Name: "abi.sign", Kind: citygate.Unavailable, Title: "The terminal's key did not sign; try again."}
	errPanic    = &citygate.Code{Name: "abi.panic", Kind: citygate.Internal, Title: "The library failed; keep the gate shut and report this."}
)

// ctScheme reads the rider out of a journalled code.
var ctScheme ct1.Scheme
