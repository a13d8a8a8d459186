package openloopsim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

const fileReady = 2 * time.Hour // after the end of the day

type cash struct {
	Minor    int64             `json:"minor"`
	Currency citygate.Currency `json:"currency"`
}

// An account is a card with its devices.
type account struct {
	debt      int64
	declined  bool // since the last approval
	firstRide bool // used
}

// An entry is one transaction.
type entry struct {
	order, id, operation, kind string
	content                    [sha256.Size]byte
	token                      string
	amount                     int64
	status, code               string
	of                         *entry
	captured, back             int64
	voided                     bool
	firstRide                  bool // a decline that may be captured all the same
	paid                       bool // a decline whose debt was paid
	retries                    int  // what the merchant asked of a decline on his own
	liability                  string
	at                         time.Time
	seq                        int
}

// An Entry is one transaction as the processor's own book has it.
type Entry struct {
	Order, ID, Operation, Kind, Token, Status, Liability string
	Amount                                               citygate.Money
	Moved                                                bool // money of a card, or back to it
	Held                                                 bool // of a card, neither captured nor let go of
	Seq                                                  int
}

// Book lists every transaction.
func (s *Server) Book() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := []Entry{}
	for _, e := range s.entries {
		book = append(book, Entry{
			e.order, e.id, e.operation, e.kind, e.token, e.status, e.liability, citygate.Money{Minor: e.amount, Currency: s.config.Currency}, e.moved(),
			e.operation == "AUTHORIZE" && e.status == "APPROVED" && !e.voided && e.captured == 0, e.seq,
		})
	}
	slices.SortFunc(book, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Order+a.ID, b.Order+b.ID))
	})
	return book
}

func (e *entry) moved() bool {
	return e.status == "APPROVED" && !e.voided && (e.operation == "PAY" || e.operation == "CAPTURE" || e.operation == "REFUND")
}

func (e *entry) answer() map[string]any {
	return map[string]any{
		"order": e.order, "transaction": e.id, "operation": e.operation, "status": e.status, "response_code": e.code,
		"retrieval_reference": fmt.Sprintf("%012d", e.reference()), "amount": cash{e.amount, ""}, "voided": e.voided,
		"payment_liability": e.liability, "first_ride_eligible": e.firstRide,
	}
}

func (e *entry) reference() uint64 {
	sum := sha256.Sum256([]byte(e.order + "/" + e.id))
	n, _ := strconv.ParseUint(hex.EncodeToString(sum[:4]), 16, 64)
	return n
}

func (s *Server) shown(e *entry) map[string]any {
	out := e.answer()
	out["amount"] = cash{e.amount, s.config.Currency}
	return out
}

type putBody struct {
	Operation string `json:"operation"`
	Amount    cash   `json:"amount"`
	Source    *struct {
		Token   string `json:"token"`
		Account string `json:"account"`
		Chip    string `json:"emv"`
	} `json:"source"`
	Transit *struct {
		Kind   string `json:"type"`
		First  string `json:"aggregation_start"`
		Within int64  `json:"aggregation_seconds"`
	} `json:"transit"`
	Target      string `json:"target_transaction"`
	TargetOrder string `json:"target_order"`
	Notify      string `json:"notify_url"`
}

// put does one transaction.
func (s *Server) put(r *http.Request, body []byte) reply {
	var in putBody
	order, id := r.PathValue("order"), r.PathValue("id")
	if json.Unmarshal(body, &in) != nil || in.Amount.Currency != s.config.Currency || in.Amount.Minor < 0 || len(order) > 40 {
		return refuse(http.StatusBadRequest, "BAD_REQUEST")
	}
	var arm Arm
	if in.Operation != "VOID" {
		arm = s.Disarm()
	}
	if arm == ArmBusy {
		return refuse(http.StatusTooManyRequests, "TOO_MANY_REQUESTS")
	}
	key, content := order+"/"+id, sha256.Sum256(body)
	if e := s.entries[key]; e != nil {
		if e.content != content {
			out := refuse(http.StatusConflict, "CONTENT_DIFFERS")
			out.arm = arm
			return out
		}
		return reply{http.StatusOK, s.shown(e), arm}
	}
	e := &entry{order: order, id: id, operation: in.Operation, content: content, amount: in.Amount.Minor, at: s.config.Clock(), status: "APPROVED", code: "00"}
	if in.Transit != nil {
		e.kind = in.Transit.Kind
	}
	if in.Source != nil {
		e.token = in.Source.Token
	}
	if at := cmp.Or(in.TargetOrder, order) + "/" + cmp.Or(in.Target, "1"); in.Target != "" || in.TargetOrder != "" {
		if e.of = s.entries[at]; e.of == nil {
			return refuse(http.StatusNotFound, "NOT_FOUND")
		}
		e.token = cmp.Or(e.token, e.of.token)
	}
	if e.status, e.code = s.decide(e, in, arm); e.status == "" {
		return refuse(http.StatusBadRequest, "BAD_REQUEST")
	}
	s.acts++
	e.seq = s.acts
	s.entries[key] = e
	if in.Notify != "" {
		s.notices.Add(notice{in.Notify, s.shown(e)}, s.config.Clock())
	}
	out := s.shown(e)
	switch arm {
	case ArmUnsure:
		out["status"], out["response_code"] = "UNAVAILABLE", "91"
	case ArmStrange:
		out["status"] = "SOMETHING_NEW"
	default:
	}
	return reply{http.StatusOK, out, arm}
}

// decide says how a transaction ends and does it.
func (s *Server) decide(e *entry, in putBody, arm Arm) (status, code string) {
	switch e.operation {
	case "VERIFY", "AUTHORIZE", "PAY":
		if in.Source == nil || (e.operation == "VERIFY") != (e.amount == 0) {
			return "", ""
		}
		return s.charge(e, in, arm)
	case "CAPTURE":
		if e.kind == "FIRST_RIDE_RISK" {
			return s.firstRide(e)
		}
		switch {
		case e.of == nil || e.of.operation != "AUTHORIZE" || e.of.status != "APPROVED" || e.of.voided || e.of.captured > 0:
			return "INVALID", "12"
		case arm == ArmDecline:
			return "DECLINED", "05"
		}
		e.of.captured = e.amount
		return "APPROVED", "00"
	case "VOID":
		if e.of == nil || e.of.status != "APPROVED" || e.of.captured > 0 || e.of.back > 0 || !s.today(e.of.at) {
			return "INVALID", "21"
		}
		e.of.voided = true
		return "APPROVED", "00"
	case "REFUND":
		if e.of == nil || !e.of.moved() || e.of.operation == "REFUND" || e.of.back+e.amount > e.of.amount || arm == ArmDecline {
			return "DECLINED", "61"
		}
		e.of.back += e.amount
		return "APPROVED", "00"
	}
	return "", ""
}

func (s *Server) today(t time.Time) bool {
	return s.config.Clock().UTC().Format("20060102") == t.UTC().Format("20060102")
}

func (s *Server) card(token string) (*Card, *account) {
	c := s.cards[token]
	if c == nil {
		c = &Card{Token: token, State: "NORMAL"}
	}
	name := cmp.Or(c.Account, token)
	if s.accounts[name] == nil {
		s.accounts[name] = &account{}
	}
	return c, s.accounts[name]
}

// charge asks a card.
func (s *Server) charge(e *entry, in putBody, arm Arm) (status, code string) {
	c, a := s.card(e.token)
	recovery := strings.HasPrefix(e.kind, "DEBT_RECOVERY_")
	if first, err := time.Parse(time.RFC3339, in.first()); err == nil && in.Transit.Within > 0 && s.config.Clock().Sub(first) > time.Duration(in.Transit.Within)*time.Second {
		return "INVALID", "AGGREGATION_TOO_OLD"
	}
	switch {
	case c.State != "NORMAL" && c.State != "":
		if c.State == "EXPIRED" {
			return "INVALID", "54"
		}
		s.version++
		return c.State, "41"
	case e.kind == "DEBT_RECOVERY_MERCHANT_INITIATED" && c.Device && in.Source.Account != "FUNDING":
		return "DECLINED", "57"
	case e.kind == "DEBT_RECOVERY_TAP_INITIATED" && in.Source.Chip == "":
		return "INVALID", "12"
	case recovery && (e.of == nil || e.of.status != "DECLINED" || e.of.kind != "" && strings.HasPrefix(e.of.kind, "DEBT_RECOVERY_")):
		return "INVALID", "12"
	case recovery && (e.of.paid || e.amount > e.of.amount): // the debt is paid already, or was never so much
		return "INVALID", "13"
	case e.kind == "DEBT_RECOVERY_MERCHANT_INITIATED" && !s.mayRetry(e):
		return "DECLINED", "RECOVERY_EXHAUSTED"
	case c.Empty || arm == ArmDecline:
		if !recovery && e.operation != "VERIFY" {
			e.firstRide = !a.declined && !a.firstRide && e.amount <= s.config.FirstRideMax
			a.declined, e.liability = true, "OPERATOR"
			a.debt += e.amount
			s.version++
		}
		return "DECLINED", "51"
	}
	a.declined = false
	if recovery {
		e.of.paid = true
		a.debt = max(0, a.debt-e.of.amount)
		s.version++
	}
	e.liability = "ISSUER"
	if e.operation == "VERIFY" {
		return "VERIFIED", "85"
	}
	return "APPROVED", "00"
}

// mayRetry counts what the merchant asked of one decline on his own.
func (s *Server) mayRetry(e *entry) bool {
	e.of.retries++
	return (s.config.RecoverTries == 0 || e.of.retries <= s.config.RecoverTries) &&
		(s.config.RecoverWithin == 0 || !s.config.Clock().After(e.of.at.Add(s.config.RecoverWithin)))
}

func (in putBody) first() string {
	if in.Transit == nil {
		return ""
	}
	return in.Transit.First
}

// firstRide captures what was declined: the one it names, or else a decline of the
// card.
func (s *Server) firstRide(e *entry) (status, code string) {
	_, a := s.card(e.token)
	var declined *entry
	for _, other := range s.entries {
		if other.token == e.token && other.status == "DECLINED" && other.firstRide && other.amount == e.amount && (e.of == nil || e.of == other) {
			declined = other
		}
	}
	if declined == nil || declined.paid || a.firstRide || e.amount > s.config.FirstRideMax {
		return "DECLINED", "57"
	}
	a.firstRide, declined.paid, e.liability = true, true, "ISSUER"
	a.debt = max(0, a.debt-e.amount)
	s.version++
	return "APPROVED", "00"
}

func (s *Server) get(r *http.Request, _ []byte) reply {
	e := s.entries[r.PathValue("order")+"/"+r.PathValue("id")]
	if e == nil {
		return refuse(http.StatusNotFound, "NOT_FOUND")
	}
	return reply{status: http.StatusOK, body: s.shown(e)}
}

// tokens of the deny list: cards that owe, or are lost or stolen.
func (s *Server) blocked() []string {
	var list []string
	seen := map[string]bool{}
	add := func(token string) {
		c, a := s.card(token)
		if !seen[token] && (a.debt > 0 || c.State == "LOST" || c.State == "STOLEN") {
			list = append(list, token)
		}
		seen[token] = true
	}
	for token := range s.cards {
		add(token)
	}
	for _, e := range s.entries {
		if e.token != "" {
			add(e.token)
		}
	}
	slices.Sort(list)
	return list
}

func (s *Server) denied(r *http.Request, _ []byte) reply {
	list := s.blocked()
	from, _ := slices.BinarySearch(list, r.URL.Query().Get("after")+"\x00")
	page := list[from:min(len(list), from+s.config.DenyPage)]
	next := ""
	if from+len(page) < len(list) {
		next = page[len(page)-1]
	}
	return reply{status: http.StatusOK, body: map[string]any{"version": strconv.Itoa(s.version), "tokens": page, "next": next}}
}

func (s *Server) token(r *http.Request, _ []byte) reply {
	c, a := s.card(r.PathValue("token"))
	out := map[string]any{"state": cmp.Or(c.State, "NORMAL"), "device": c.Device, "payment_account_reference": c.Account}
	if a.debt > 0 && out["state"] == "NORMAL" {
		out["state"], out["owes"] = "DEBT", cash{a.debt, s.config.Currency}
	}
	return reply{status: http.StatusOK, body: out}
}

// file is the settlement file of a day. What was captured stands in it twice, first
// as pending: files are updates.
func (s *Server) file(r *http.Request, _ []byte) reply {
	name := r.PathValue("file")
	day, err := time.Parse("settlements_20060102.psv", name)
	if err != nil || s.config.Clock().Before(day.AddDate(0, 0, 1).Add(fileReady)) {
		return refuse(http.StatusNotFound, "NOT_FOUND")
	}
	var list []*entry
	for _, e := range s.entries {
		if e.moved() && e.at.UTC().Format("20060102") == day.Format("20060102") {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	rows := []string{"settlement_id|order_id|transaction_id|refund_id|amount|fee|currency_code|settlement_type|settlement_status|retrieval_reference_number|request_created_timestamp_utc|record_updated_timestamp_utc"}
	var debits, credits, fees int64
	for _, status := range []string{"PENDING", "SETTLED"} {
		for _, e := range list {
			kind, refund, fee := "DEBIT", "", citygate.PartPerMillion(e.amount, s.config.FeePPM)
			if e.operation == "REFUND" {
				kind, refund, fee = "CREDIT", strings.TrimPrefix(e.id, "r_"), 0
			}
			updated := e.at
			if status == "SETTLED" {
				updated = day.AddDate(0, 0, 1)
				fees += fee
				if kind == "DEBIT" {
					debits += e.amount
				} else {
					credits += e.amount
				}
			}
			rows = append(rows, strings.Join([]string{
				fmt.Sprintf("s%012d", e.reference()), e.order, e.id, refund, strconv.FormatInt(e.amount, 10), strconv.FormatInt(fee, 10), s.config.Numeric, kind, status,
				fmt.Sprintf("%012d", e.reference()), e.at.UTC().Format(time.RFC3339), updated.UTC().Format(time.RFC3339),
			}, "|"))
		}
	}
	rows = append(rows, fmt.Sprintf("TRAILER|%d|%d|%d|%d", len(list), debits, credits, fees))
	return reply{status: http.StatusOK, body: []byte(strings.Join(rows, "\n") + "\n")}
}
