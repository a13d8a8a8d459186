package remote

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/httpsig"
)

// A Program is the other side: a driver served over the protocol.
type Program struct {
	// Open gives the driver for a tenant's contract. It is called for each request,
	// so it should remember what is costly.
	Open func(Terms) (driver.Provider, error)

	// Manifest is what GET /v1/manifest says; the limits of a driver that a
	// program has one of come from [ManifestOf].
	Manifest Manifest

	Gateways map[string]crypto.PublicKey // the keys that may call, by key id
	KeyID    string                      // of Signer, as the gateway's contract names it
	Signer   crypto.Signer               // Ed25519 or P-256
	Clock    citygate.Clock

	// Test plays the test system for the conformance kit; nil in production.
	Test TestControls

	// Authority is the host that gateways call, where a proxy in front changes
	// the Host field; "" = as requests say.
	Authority string
}

// A Move is money that the test system moved: from a rider, or back if Refund.
type Move struct {
	ID     string
	Refund bool
	Amount citygate.Money
}

// TestControls are what the conformance kit asks of a test system.
type TestControls interface {
	Reset() error
	Moves() ([]Move, error)
	EndDay() (citygate.Date, error)
	// DeclineNext has the next debit get a final no, PartialNext the next three
	// a yes, no answer that says anything, and a final no.
	DeclineNext() error
	PartialNext() error
}

// HoldControls are TestControls of a test system with the capability authorize.
type HoldControls interface {
	TestControls
	// Holds lists what is held of cards now, neither captured nor let go of, by the ids
	// of the authorisations.
	Holds() ([]Move, error)
}

// ManifestOf states the limits and abilities of p, of which only those that the
// protocol carries.
func ManifestOf(p driver.Provider) Manifest { return manifestOf(p) }

const (
	requestLimit = 8 << 20
	noncesMost   = 100_000
)

// Terms are what each call says of the tenant's contract.
type Terms struct {
	Config    json.RawMessage
	Secrets   map[string]citygate.Secret
	NotifyURL string // where the provider is to send notifications; "" = nowhere
}

// NewHandler serves the program.
func NewHandler(p Program) (http.Handler, error) {
	if p.Open == nil || p.Clock == nil || len(p.Gateways) == 0 || p.KeyID == "" || p.Signer == nil || httpsig.AlgorithmOf(p.Signer.Public()) == "" {
		return nil, ErrConfig.Explain("a program needs a driver, a clock, the gateways' keys, and an Ed25519 or P-256 key with an id")
	}
	if err := p.Manifest.Check(); err != nil {
		return nil, err
	}
	h := &handler{Program: p, seen: map[string]time.Time{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathManifest, func(w http.ResponseWriter, _ *http.Request) { plain(w, p.Manifest) })
	mux.HandleFunc("GET "+pathHealth, func(w http.ResponseWriter, _ *http.Request) { plain(w, map[string]string{"status": "ok"}) })
	if (p.Test == nil) != (p.Manifest.Test == nil) {
		return nil, ErrConfig.Explain("manifest.test: wanted exactly beside a test system")
	}
	if p.Test != nil {
		mux.HandleFunc("POST "+pathTest, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, typed(h.test)) })
	}
	for path, serve := range h.calls() {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, serve) })
	}
	return mux, nil
}

func plain(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone: nothing to do
}

type handler struct {
	Program
	mu   sync.Mutex
	seen map[string]time.Time // nonces, by when they may be forgotten
}

// test serves the conformance kit.
func (h *handler) test(_ context.Context, _ driver.Provider, c testCall) (answer any, err error) {
	var a testAnswer
	switch c.Do {
	case testReset:
		err = h.Test.Reset()
	case testDecline:
		err = h.Test.DeclineNext()
	case testPartial:
		err = h.Test.PartialNext()
	case testAgree:
		err = h.testAgree(c.ID)
	case testCards:
		a.Cards, err = h.testCards()
	case testEndDay:
		var day citygate.Date
		if day, err = h.Test.EndDay(); err == nil {
			a.Day = day.String()
		}
	case testMoves:
		var moves []Move
		moves, err = h.Test.Moves()
		for _, m := range moves {
			a.Moves = append(a.Moves, testMove{m.ID, m.Refund, moneyOf(m.Amount)})
		}
		if cards, ok := h.Test.(HoldControls); ok && err == nil {
			var holds []Move
			holds, err = cards.Holds()
			for _, m := range holds {
				a.Holds = append(a.Holds, testMove{m.ID, false, moneyOf(m.Amount)})
			}
		}
	default:
		return nil, errBody
	}
	return a, err
}

// A serving answers one call: a value to write as JSON, or bytes.
type serving func(ctx context.Context, p driver.Provider, body []byte) (any, error)

// refusal is a problem with its status.
type refusal struct {
	status int
	problem
}

func (r refusal) Error() string { return r.Code }

var (
	errUnauthorized = refusal{http.StatusUnauthorized, problem{"unauthorized", "the request has no signature of a known gateway that holds"}}
	errBody         = refusal{http.StatusBadRequest, problem{codeNotPerformed, "the body is not what the protocol says"}}
	errAbility      = refusal{http.StatusNotFound, problem{codeNotPerformed, "this program has no such ability"}}
)

func (h *handler) serve(w http.ResponseWriter, r *http.Request, do serving) {
	message := httpsig.Request(r, "", h.Authority)
	answer, err := h.answer(r, message, do)
	status := http.StatusOK
	if err != nil {
		status, answer = statusOf(err)
	}
	body, ok := answer.([]byte)
	if !ok {
		if body, err = json.Marshal(answer); err != nil {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Digest", httpsig.Digest(body))
	if r.Header.Get("Signature") != "" {
		err := httpsig.Sign(httpsig.Response(status, header, message), httpsig.Params{
			Components: answerCovers, Created: h.Clock(), KeyID: h.KeyID, Tag: tag,
		}, h.Signer)
		if err != nil {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON, under a content type that says so; if the caller is gone it will ask again
}

func (h *handler) answer(r *http.Request, m httpsig.Message, do serving) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, requestLimit+1))
	if err != nil || len(body) > requestLimit {
		return nil, errBody
	}
	if err := h.authentic(m, r.Header, body); err != nil {
		return nil, err
	}
	if v := r.Header.Get(protocolHeader); v != Protocol {
		return nil, refusal{http.StatusBadRequest, problem{codeProtocol, "this program speaks " + Protocol}}
	}
	var call plainCall
	if err := json.Unmarshal(body, &call); err != nil {
		return nil, errBody
	}
	secrets := map[string]citygate.Secret{}
	for name, value := range call.Contract.Secrets {
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, errBody
		}
		secrets[name] = citygate.NewSecret(raw)
	}
	p, err := h.Open(Terms{call.Contract.Config, secrets, call.Contract.NotifyURL})
	if err != nil {
		return nil, refusal{http.StatusBadRequest, problem{codeNotPerformed, "the contract's configuration is not taken"}}
	}
	return do(r.Context(), p, body)
}

// authentic checks signature, digest and nonce.
func (h *handler) authentic(m httpsig.Message, header http.Header, body []byte) error {
	now := h.Clock()
	params, err := httpsig.Verify(m, httpsig.Policy{
		Tag: tag, Required: requestCovers, Now: now, MaxAge: clockDifference, Nonce: true,
		Keys: func(id string) (crypto.PublicKey, bool) { k, ok := h.Gateways[id]; return k, ok },
	})
	if err != nil || httpsig.CheckDigest(header, body) != nil {
		return errUnauthorized
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.seen) >= noncesMost {
		for n, until := range h.seen {
			if now.After(until) {
				delete(h.seen, n)
			}
		}
	}
	nonce := params.KeyID + " " + params.Nonce
	if until, again := h.seen[nonce]; (again && !now.After(until)) || len(h.seen) >= noncesMost {
		return errUnauthorized // a replay, or too many to tell
	}
	h.seen[nonce] = params.Created.Add(clockDifference)
	return nil
}

func statusOf(err error) (int, any) {
	var r refusal
	switch {
	case errors.As(err, &r):
		return r.status, r.problem
	case errors.Is(err, driver.ErrNotPerformed):
		return http.StatusServiceUnavailable, problem{Code: codeNotPerformed}
	case errors.Is(err, driver.ErrCurrencyUnsupported):
		return http.StatusUnprocessableEntity, problem{Code: codeCurrencyUnsupported}
	case errors.Is(err, driver.ErrBillNotReady):
		return http.StatusNotFound, problem{Code: codeBillNotReady}
	}
	return http.StatusBadGateway, problem{Code: "outcome_open"}
}
