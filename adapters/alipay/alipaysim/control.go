package alipaysim

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"net/http"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// The addresses under /sim/ are the simulator's own, for tests in any language:
// the platform has no such thing. They are open to whoever reaches the port.

// serveBook shows the book: GET /sim/book.
func (s *Server) serveBook(w http.ResponseWriter, _ *http.Request) { simserve.Show(w, s.Book()) }

var arms = []Arm{ArmLose, ArmDie, ArmDelay, ArmGarble, ArmDecline, ArmPartial, ArmUnsigned, ArmBadSign, ArmOtherKey, ArmFail, ArmWait, ArmNotice, ArmBusy}

// serveSign confirms an agreement as a rider does: POST
// /sim/sign?app_id=2021...&external_agreement_no=...&rider=2088...
func (s *Server) serveSign(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	no, err := s.Sign(q.Get("app_id"), q.Get("external_agreement_no"), q.Get("rider"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	simserve.Show(w, map[string]string{"agreement_no": no})
}

// serveRecord makes an offline record: GET /sim/record?rider=2088...
func (s *Server) serveRecord(w http.ResponseWriter, r *http.Request) {
	simserve.Show(w, map[string]string{"record": s.Record(r.URL.Query().Get("rider"))})
}

// serveRider changes a rider: POST /sim/rider?id=2088...&is=poor, rich, banned
// or free.
func (s *Server) serveRider(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	switch r.URL.Query().Get("is") {
	case "poor":
		s.SetInsufficient(id, zero)
	case "rich":
		s.TopUp(id)
	case "banned":
		s.SetBlacklisted(id, true)
	case "free":
		s.SetBlacklisted(id, false)
	default:
		http.Error(w, "is: want poor, rich, banned or free", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// SetKeyList changes what key.query answers from now on.
func (s *Server) SetKeyList(keys map[uint32][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.KeyList = maps.Clone(keys)
}

// SampleKeys gives n keys of the shape that key.query lists: points of
// secp256k1, compressed to 33 bytes, by ids from 0. Nobody has their private
// halves.
func SampleKeys(n int) map[uint32][]byte {
	p, _ := new(big.Int).SetString("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC2F", 16)
	keys := make(map[uint32][]byte, n)
	for id := uint32(0); len(keys) < n; id++ {
		seed := sha256.Sum256(fmt.Appendf(nil, "alipaysim key %d", id))
		x := new(big.Int).SetBytes(seed[:])
		for ; ; x.Add(x, big.NewInt(1)) { // half of all x have a point
			y2 := new(big.Int).Exp(x, big.NewInt(3), p)
			y2.Add(y2, big.NewInt(7)).Mod(y2, p)
			if y := new(big.Int).ModSqrt(y2, p); y != nil {
				keys[id] = append([]byte{2 + byte(y.Bit(0))}, x.FillBytes(make([]byte, 32))...)
				break
			}
		}
	}
	return keys
}
