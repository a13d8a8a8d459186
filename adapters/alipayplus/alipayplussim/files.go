package alipayplussim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
)

const fileReady = 6 * time.Hour // after the end of the day

// A notice is a notification that is to be sent.
type notice struct {
	client, address string
	fields          fields
}

// A Sent is a notification as it goes out.
type Sent struct {
	Address string
	Header  http.Header
	Body    []byte
}

// Notification gives what is sent about a payment, signed for address's path.
func (s *Server) Notification(client, request, address string) (Sent, error) {
	s.mu.Lock()
	p := s.payments[client+"/"+request]
	s.mu.Unlock()
	if p == nil {
		return Sent{}, fmt.Errorf("alipayplussim: no payment %s", request)
	}
	return s.seal(notice{client: client, address: address, fields: p.told(false)}, "")
}

// Dispute has the platform notify of a dispute about a payment, as Antom does: kind is such
// as DISPUTE_CREATED, and result what was judged, if it was.
func (s *Server) Dispute(client, request, dispute, kind, result string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.payments[client+"/"+request]
	if p == nil || p.notify == "" {
		return fmt.Errorf("alipayplussim: no payment %s with an address", request)
	}
	told := fields{"paymentRequestId": p.request, "paymentId": p.id, "disputeId": dispute, "disputeNotificationType": kind, "disputeTime": stamp(s.config.Clock())}
	told["disputeAmount"] = wire(p.paid)
	if result != "" {
		told["disputeJudgedResult"], told["disputeJudgedAmount"], told["disputeJudgedTime"] = result, wire(p.paid), told["disputeTime"]
	}
	s.notices.Add(notice{client: client, address: p.notify, fields: told}, s.config.Clock())
	return nil
}

func (s *Server) seal(n notice, arm Arm) (Sent, error) {
	body, err := json.Marshal(n.fields)
	if err != nil {
		return Sent{}, err
	}
	u, err := url.Parse(n.address)
	if err != nil {
		return Sent{}, err
	}
	at := stamp(s.config.Clock())
	signature, err := s.sign(arm, signedText(http.MethodPost, u.RequestURI(), n.client, at, body))
	if err != nil {
		return Sent{}, err
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Set("Client-Id", n.client)
	h.Set("Request-Time", at)
	if arm != ArmUnsigned {
		h.Set("Signature", signature)
	}
	if arm == ArmBadSign {
		body = append(body, ' ')
	}
	return Sent{n.address, h, body}, nil
}

// pauses are between the sends of one notification: those published of the older
// gateway of the same company; of Alipay+ itself none are.
var pauses = []time.Duration{2 * time.Minute, 10 * time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 15 * time.Hour}

// Deliver sends every notification that is due once and gives how many were
// acknowledged: with status 200 and a result of S. The others are sent again after the
// platform's pauses.
func (s *Server) Deliver(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}, arm Arm) (taken int) {
	return s.notices.Deliver(s.config.Clock(), func(n notice) bool { return s.deliver(ctx, doer, n, arm) })
}

func (s *Server) deliver(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}, n notice, arm Arm) bool {
	sent, err := s.seal(n, arm)
	if err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sent.Address, bytes.NewReader(sent.Body))
	if err != nil {
		return false
	}
	req.Header = sent.Header
	resp, err := doer.Do(req)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyMax))
	_ = resp.Body.Close()
	var ack struct {
		Result struct {
			Status string `json:"resultStatus"`
		} `json:"result"`
	}
	return err == nil && resp.StatusCode == http.StatusOK && json.Unmarshal(body, &ack) == nil && ack.Result.Status == "S"
}

// certificate certifies a device's key, in a form of our own: the platform's is not
// public.
func certificate(body []byte) fields {
	var in struct {
		ID  string `json:"deviceRequestId"`
		Key string `json:"devicePublicKey"`
	}
	key, err := []byte(nil), json.Unmarshal(body, &in)
	if err == nil {
		key, err = base64.StdEncoding.DecodeString(in.Key)
	}
	if err != nil || in.ID == "" || len(key) == 0 {
		return said("F", "PARAM_ILLEGAL")
	}
	sum := sha256.Sum256(append([]byte(in.ID), key...))
	out := said("S", "SUCCESS")
	out["deviceCertificate"] = base64.StdEncoding.EncodeToString(sum[:])
	return out
}

// An item is a row of a file.
type item struct {
	seq                              int
	kind, id, request, of, ofRequest string
	amount, settled                  citygate.Money
	reference                        string
	at                               time.Time
}

func (i item) cells(client, batch string) []string {
	pair, rate := "", ""
	if i.amount.Currency != i.settled.Currency && i.amount.Minor != 0 {
		pair, rate = string(i.amount.Currency+"/"+i.settled.Currency), price(i.amount, i.settled)
	}
	return []string{
		batch, client, i.id, i.request, i.of, i.ofRequest, i.reference, i.kind,
		strconv.FormatInt(i.amount.Minor, 10), string(i.amount.Currency), strconv.FormatInt(i.settled.Minor, 10), string(i.settled.Currency),
		pair, rate, stamp(i.at), stamp(i.at),
	}
}

const header = "settlementBatchId,customerId,transactionId,transactionRequestId,originalTransactionId,originalTransactionRequestId,referenceTransactionId,transactionType," +
	"transactionAmountValue,transactionCurrency,settlementAmountValue,settlementCurrency,quoteCurrencyPair,quotePrice,transactionCreationTime,transactionCompletionTime"

// items gives the rows of a client's day.
func (s *Server) items(client, day string) []item {
	var list []item
	on := func(t time.Time) bool { return !t.IsZero() && t.In(zone).Format("20060102") == day }
	back := func(m citygate.Money) citygate.Money { return m.Neg() }
	add := func(i item, fee, paidFee int64) {
		list = append(list, i)
		if fee == 0 {
			return
		}
		f := i
		f.kind, f.id, f.request, f.reference = "SETTLEMENT_FEE", i.id+"F", "", i.id
		f.amount.Minor, f.settled.Minor = -paidFee, -fee
		list = append(list, f)
	}
	for _, p := range s.payments {
		if p.client != client || p.seq == 0 {
			continue
		}
		if on(p.at) {
			add(item{seq: p.seq, kind: "PAYMENT", id: p.id, request: p.request, amount: p.paid, settled: p.settled, at: p.at}, p.fee, p.paidFee)
		}
		if on(p.cancelled) {
			add(item{
				seq: p.cancelSeq, kind: "CANCEL", id: p.id + "C", request: p.request + "C", of: p.id, ofRequest: p.request,
				amount: back(p.paid), settled: back(p.settled), at: p.cancelled,
			}, -p.fee, -p.paidFee)
		}
	}
	for _, r := range s.refunds {
		if r.client == client && on(r.at) {
			add(item{
				seq: r.seq, kind: "REFUND", id: r.id, request: r.request, of: r.of.id, ofRequest: r.of.request, amount: back(r.amount), settled: back(r.settled), at: r.at,
			}, -r.fee, -r.paidFee)
		}
	}
	slices.SortFunc(list, func(a, b item) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.reference, b.reference)) })
	return list
}

// day says whether the files of a day are ready.
func (s *Server) ready(day string) bool {
	from, err := time.ParseInLocation("20060102", day, zone)
	return err == nil && !s.config.Clock().Before(from.AddDate(0, 0, 1).Add(fileReady))
}

// serveTransactions gives the transaction file of a day; there is one when nothing
// happened, too.
func (s *Server) serveTransactions(w http.ResponseWriter, r *http.Request) {
	client, day := r.PathValue("client"), r.PathValue("day")
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.merchants[client]; !known || !s.ready(day) || r.PathValue("file") != "transaction_"+client+"_"+day+"_000.csv" {
		http.NotFound(w, r)
		return
	}
	rows := []string{header}
	for _, i := range s.items(client, day) {
		rows = append(rows, strings.Join(i.cells(client, ""), ","))
	}
	s.file(w, rows)
}

// serveSettlement gives what is paid out for a day, made the next day: the batch is
// named by the day of its transactions.
func (s *Server) serveSettlement(w http.ResponseWriter, r *http.Request) {
	client, day := r.PathValue("client"), r.PathValue("day")
	made, err := time.ParseInLocation("20060102", day, zone)
	parts := strings.Split(strings.TrimSuffix(r.PathValue("file"), "_000.csv"), "_")
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.merchants[client]; !known || err != nil || len(parts) < 4 {
		http.NotFound(w, r)
		return
	}
	currency, batch := citygate.Currency(parts[len(parts)-3]), parts[len(parts)-2]
	if batch != made.AddDate(0, 0, -1).Format("20060102") || !s.ready(batch) || !strings.HasSuffix(r.PathValue("file"), "_000.csv") {
		http.NotFound(w, r)
		return
	}
	var gross, fees, count int64
	var rows []string
	for _, i := range s.items(client, batch) {
		if i.settled.Currency != currency {
			continue
		}
		count++
		if i.reference != "" {
			fees -= i.settled.Minor
		} else {
			gross += i.settled.Minor
		}
		rows = append(rows, strings.Join(i.cells(client, batch), ","))
	}
	top := []string{
		"settlementBatchId,participantId,valueDate,settlementCurrency,transactionCount,grossSettlementAmountValue,feeAmountValue,netSettlementAmountValue",
		fmt.Sprintf("%s,%s,%s,%s,%d,%d,%d,%d", batch, client, day, currency, count, gross, fees, gross-fees), "", header,
	}
	s.file(w, append(top, rows...))
}

func (s *Server) file(w http.ResponseWriter, rows []string) {
	w.Header().Set("Content-Type", "text/csv; charset=UTF-8")
	_, _ = io.WriteString(w, strings.Join(append(rows, "<END>"), "\r\n")+"\r\n") //nolint:gosec // a file of numbers that its own client asks for; one that is gone asks again
}
