package alipaysim

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// Faults are the troubles an order can meet, each chosen by the order's number
// (or the refund's, for LoseReply). A nil function chooses none.
type Faults struct {
	LoseReply  func(id string) bool // acts, then closes the connection without a word
	Garble     func(id string) bool // acts, then answers half of a JSON text
	Unsigned   func(id string) bool // acts, then answers without a signature
	BadSign    func(id string) bool // acts, then answers with a signature over something else
	Omit       func(id string) bool // acts, and leaves the item out of the answer once
	Duplicate  func(id string) bool // acts, and answers the item twice
	Unknown    func(id string) bool // acts, and answers UNKNOWN until the next try time
	RetryLater func(id string) bool // does not act before the next try time: FAIL with need_retry
	UserPaying func(id string) bool // trade.pay waits for the payer, who confirms at the next try time

	// RetryAfter is how far away the next try time is, by default one minute.
	RetryAfter time.Duration
}

// Pick chooses perMille of a thousand ids by a hash of seed, salt and id, so
// that a choice depends on nothing that happens.
func Pick(seed uint64, salt string, perMille int) func(id string) bool {
	return func(id string) bool {
		return rank(seed, salt, id)%1000 < uint64(max(perMille, 0))
	}
}

var zero time.Time

// rank gives an id its place in a seeded order.
func rank(seed uint64, salt, id string) uint64 {
	text := binary.BigEndian.AppendUint64(nil, seed)
	text = append(append(append(text, salt...), 0), id...)
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

func chosen(by func(string) bool, id string) bool { return by != nil && by(id) }

func (s *Server) retryAfter() time.Duration {
	if s.config.Faults.RetryAfter > 0 {
		return s.config.Faults.RetryAfter
	}
	return time.Minute
}

// An Arm is something that happens to the next request that moves money. What happens
// to its answer alone may meet one about an agreement, a card or a record as well.
type Arm string

// What can be armed, for conformance tests.
const (
	ArmLose   Arm = "lose"   // acts, closes the connection
	ArmDie    Arm = "die"    // acts, closes the connection and the server
	ArmDelay  Arm = "delay"  // acts, and answers when the client has gone
	ArmGarble Arm = "garble" // acts, answers nonsense

	ArmUnsigned Arm = "unsigned" // acts, answers without a signature
	ArmBadSign  Arm = "bad_sign" // acts, answers with a signature over something else

	ArmOtherKey Arm = "other_key" // acts, and encrypts the answer to an encrypted request by another key

	ArmFail   Arm = "fail"   // acts, answers HTTP 500
	ArmWait   Arm = "wait"   // trade.pay waits for the payer
	ArmNotice Arm = "notice" // acts, and the notification overtakes the answer

	ArmDecline Arm = "decline" // declines every item of a settle, or a trade.pay
	ArmBusy    Arm = "busy"    // does not settle, and names an instant to try again
	ArmPartial Arm = "partial" // of each three items: acts on one, does not act and says UNKNOWN, declines
)

// cuts are the fates that leave nothing to answer.
var cuts = map[fate]string{lost: simserve.Lose, died: simserve.Die, delayed: simserve.Delay}

// SetOutage makes the platform close every connection without acting while its
// clock is in [from, to).
func (s *Server) SetOutage(from, to time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outages = append(s.outages, interval{from, to})
}

func (s *Server) out() bool {
	now := s.config.Clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outages {
		if !now.Before(o.from) && now.Before(o.to) {
			return true
		}
	}
	return false
}

// SetInsufficient empties a rider's balance until an instant; the zero time
// means until [Server.TopUp].
func (s *Server) SetInsufficient(rider string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.poor[rider] = until
}

// TopUp gives a rider money again.
func (s *Server) TopUp(rider string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.poor, rider)
	delete(s.owing, rider)
}

// SetBlacklisted puts a rider on the platform's black list or takes it off.
func (s *Server) SetBlacklisted(rider string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.banned[rider] = true
	} else {
		delete(s.banned, rider)
	}
}

// isPoor reports whether a rider cannot pay now. The caller holds the lock.
func (s *Server) isPoor(rider string) bool {
	until, ok := s.poor[rider]
	if ok && !until.IsZero() && !s.config.Clock().Before(until) {
		delete(s.poor, rider)
		delete(s.owing, rider)
		return false
	}
	return ok
}
