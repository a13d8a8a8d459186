package wechatpaysim

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// Faults are the troubles an order can meet, each chosen by the order's number
// (or the refund's). A nil function chooses none. Those of an answer happen the
// first time the order is acted on.
type Faults struct {
	LoseReply func(id string) bool // acts, then closes the connection without a word
	Garble    func(id string) bool // acts, then answers half of a JSON text
	Unsigned  func(id string) bool // acts, then answers without a signature
	BadSign   func(id string) bool // acts, then answers with a signature over something else
	Strange   func(id string) bool // acts, then answers under a serial nobody has heard of
	Stale     func(id string) bool // acts, then answers with a signature of six minutes ago
	Probe     func(id string) bool // acts, then answers with a signature that is meant to fail
	Unsure    func(id string) bool // acts, then answers SYSTEM_ERROR
	Password  func(id string) bool // of a payment code: the rider has to type a password
	Abnormal  func(id string) bool // of a refund: the rider's bank sends it back
	Silent    func(id string) bool // no notification is sent
}

// Pick chooses perMille of a thousand ids by a hash of seed, salt and id, so that
// a choice depends on nothing that happens.
func Pick(seed uint64, salt string, perMille int) func(id string) bool {
	return func(id string) bool {
		return rank(seed, salt, id)%1000 < uint64(max(perMille, 0))
	}
}

// rank gives an id its place in a seeded order.
func rank(seed uint64, salt, id string) uint64 {
	text := binary.BigEndian.AppendUint64(nil, seed)
	text = append(append(append(text, salt...), 0), id...)
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

func chosen(by func(string) bool, id string) bool { return by != nil && by(id) }

// replyFault is the fate of the answer to an id that was acted on just now.
func (s *Server) replyFault(m *merchant, id string) fate {
	key := m.MchID + "/" + id
	if s.hasActed[key] {
		return delivered
	}
	s.hasActed[key] = true
	f := s.config.Faults
	for _, c := range []struct {
		by   func(string) bool
		fate fate
	}{{f.LoseReply, lost}, {f.Garble, garbled}, {f.Unsigned, unsigned}, {f.BadSign, badSigned}, {f.Strange, strange}, {f.Stale, stale}, {f.Probe, probe}} {
		if chosen(c.by, id) {
			return c.fate
		}
	}
	return delivered
}

// An Arm is something that happens to the next request that moves money.
type Arm string

// What can be armed, for conformance tests.
const (
	ArmLose     Arm = "lose"     // acts, closes the connection
	ArmDie      Arm = "die"      // acts, closes the connection and the server
	ArmDelay    Arm = "delay"    // acts, and answers when the client has gone
	ArmGarble   Arm = "garble"   // acts, answers nonsense
	ArmUnsigned Arm = "unsigned" // acts, answers without a signature
	ArmBadSign  Arm = "bad_sign" // acts, answers with a signature over something else
	ArmStrange  Arm = "strange"  // acts, answers under a serial nobody has heard of
	ArmStale    Arm = "stale"    // acts, answers with a signature of six minutes ago
	ArmProbe    Arm = "probe"    // acts, answers with a signature that is meant to fail
	ArmDecline  Arm = "decline"  // does not act and says no
	ArmBusy     Arm = "busy"     // does not act: 429 FREQUENCY_LIMITED, or those words in APIv2
)

var armed = []Arm{ArmLose, ArmDie, ArmDelay, ArmGarble, ArmDecline, ArmUnsigned, ArmBadSign, ArmStrange, ArmStale, ArmProbe, ArmBusy}

// cuts are the fates that leave nothing to answer.
var cuts = map[fate]string{lost: simserve.Lose, died: simserve.Die, delayed: simserve.Delay}

var armFates = map[Arm]fate{
	ArmLose: lost, ArmDie: died, ArmDelay: delayed, ArmGarble: garbled, ArmUnsigned: unsigned, ArmBadSign: badSigned,
	ArmStrange: strange, ArmStale: stale, ArmProbe: probe,
}

// SetInsufficient empties the balance behind a contract or a payment code.
func (s *Server) SetInsufficient(payer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poor[payer] = true
}

// TopUp gives a payer money again and settles what he owes: one repayment may be
// for many rides.
func (s *Server) TopUp(payer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.poor, payer)
	if c := s.contracts[payer]; c != nil {
		c.owes = 0
	}
	for _, m := range s.merchants {
		for _, o := range m.orders {
			if o.payer == payer && o.repay == "NOT_REPAY" {
				o.repay, o.repaidAt = "REPAID", s.config.Clock()
			}
		}
	}
}
