package wechatpaysim

import (
	"net/http"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// The addresses under /sim/ are the simulator's own, for tests in any language:
// the platform has no such thing. They are open to whoever reaches the port.

// serveBook shows the book: GET /sim/book.
func (s *Server) serveBook(w http.ResponseWriter, _ *http.Request) { simserve.Show(w, s.Book()) }

// serveRider changes a payer: POST /sim/rider?id=...&is=poor, rich, frozen or
// free. The id is a contract's or a payment code.
func (s *Server) serveRider(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	switch r.URL.Query().Get("is") {
	case "poor":
		s.SetInsufficient(id)
	case "rich":
		s.TopUp(id)
	case "frozen":
		s.Block(id, "ACCOUNT_FROZEN")
	case "free":
		s.Block(id, "")
	default:
		http.Error(w, "is: want poor, rich, frozen or free", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
