package tap

import (
	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
)

// A Kind is what the rider did at the reader, as the terminal declares it.
type Kind uint8

// The kinds.
const (
	On     Kind = 1 // start of a journey
	Off    Kind = 2 // end of a journey
	Single Kind = 3 // a whole journey: bus, minibus, taxi
)

// A ClockSource says where the terminal's time came from.
type ClockSource uint8

// The clock sources.
const (
	ClockUnknown ClockSource = 0
	ClockGNSS    ClockSource = 1
	ClockNetwork ClockSource = 2
	ClockRTC     ClockSource = 3 // its own battery clock
)

// A Record is one presentation of a code at a terminal, accepted or refused.
// (Terminal, Seq) identifies it for ever; the same identity with other content
// is a conflict.
type Record struct {
	Terminal uint32 // key id of the terminal, unique inside its tenant
	Seq      uint64 // strictly increasing per terminal key, from 1

	Kind     Kind
	Accepted bool
	Reason   code.Reason // why refused; "" when accepted
	Deferred bool        // accepted on the word of the code's issuer, who is to be asked: nothing here proved it
	Rule     string      // of the operator's policy version: what decided beyond its fixed checks; "" = none

	EventTime   int64 // unix milliseconds by the terminal's clock
	BootID      uint32
	MonotonicMS uint64 // since boot
	Clock       ClockSource

	Stop    string
	Route   string
	Trip    string
	Vehicle string
	Driver  string
	Shift   string

	// Party is how many ride: what the code says, or more where the operator entered
	// so, at most PartyMax then.
	Party   uint8
	Entered citygate.Money // amount entered by the driver or known fare; zero currency = none

	BundleVersion   uint64
	ListVersion     uint64 // sequence number of the deny list asked; 0 = none was there
	ListAt          int64  // unix seconds: when that list was last known to be the newest
	PolicyVersion   uint64
	TariffVersion   uint64
	SoftwareVersion string

	Evidence []byte // raw code bytes as read, verbatim
	Extra    []TLV  // unknown non-critical fields, kept and re-encoded as they came
}

// A TLV is a field this version does not know. Types with the critical bit
// (0x80) are refused instead.
type TLV struct {
	Type  uint8
	Value []byte
}
