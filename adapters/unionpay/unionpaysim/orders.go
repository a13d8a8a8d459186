package unionpaysim

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/zlib"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/cashlesscity/citygate"
)

const (
	dayEnds   = 23 * time.Hour
	fileReady = 2 * time.Hour // after the end of the day
	stampForm = "20060102150405"
)

// An order is one pair of orderId and txnTime.
type order struct {
	merchant, id, txnTime, kind, queryID string
	trace                                string // of the transaction, six digits
	amount, fee                          int64
	code                                 string // what became of it
	origin                               *order
	dispute                              *Dispute // what it is one of; origin is the transaction before
	back                                 int64    // given back of it
	at                                   time.Time
	seq                                  int
}

// An Order is one as the platform's own book has it.
type Order struct {
	MerID, OrderID, TxnTime, Kind, QueryID string // a dispute's Kind is its code
	Amount                                 citygate.Money
	Made                                   bool
	Origin                                 string // orderId of the payment that a refund or reversal is of
	Trace                                  string // its trace number, by which files name it
	Seq                                    int
}

// Book lists every order, in the order in which they were made.
func (s *Server) Book() []Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	var book []Order
	for _, o := range s.orders {
		book = append(book, o.told())
	}
	return sorted(book)
}

// day is UnionPay's day of an instant.
func day(t time.Time) citygate.Date {
	return citygate.DateOf(t.In(beijing).Add(24*time.Hour - dayEnds))
}

// transact is backTransReq.do: payments, refunds, reversals.
func (s *Server) transact(m Merchant, in map[string]string) (map[string]string, Arm) {
	amount, err := strconv.ParseInt(in["txnAmt"], 10, 64)
	_, timeErr := time.Parse(stampForm, in["txnTime"])
	if id := in["orderId"]; err != nil || amount <= 0 || timeErr != nil || len(id) < 8 || len(id) > 32 || strings.ContainsAny(id, "-_") {
		return map[string]string{"respCode": "10", "respMsg": "报文格式错误"}, ""
	}
	arm := s.Disarm()
	key := m.MerID + in["orderId"] + in["txnTime"]
	if s.orders[key] != nil {
		return map[string]string{"respCode": "12", "respMsg": "重复交易"}, arm
	}
	now := s.config.Clock()
	o := &order{merchant: m.MerID, id: in["orderId"], txnTime: in["txnTime"], kind: in["txnType"], amount: amount, code: "00", at: now, trace: s.nextTrace()}
	o.queryID = now.In(beijing).Format(stampForm) + o.trace + "8"
	switch code := s.weigh(m, in, o, arm, now); {
	case code != "00" && o.kind != "01":
		return map[string]string{"respCode": code, "respMsg": "拒绝"}, arm
	case code != "00":
		o.code = code
	default:
		s.acts++
		o.seq = s.acts
		if o.origin != nil {
			o.origin.back += amount
		}
		if in["backUrl"] != "" {
			s.notices.Add(notice{in["backUrl"], s.shown(o)}, s.config.Clock())
		}
	}
	s.orders[key] = o
	out := map[string]string{"respCode": o.code, "respMsg": "成功[0000000]", "queryId": o.queryID}
	if arm == ArmUnsure {
		out["respCode"], out["queryId"] = "05", ""
	}
	return out, arm
}

// payer is who pays an order: a payment code or a token.
func payer(in map[string]string) string {
	if in["qrNo"] != "" {
		return in["qrNo"]
	}
	fields, err := url.ParseQuery(strings.Trim(in["tokenPayData"], "{}"))
	if err != nil || in["bizType"] != "000902" || in["txnSubType"] != "01" || fields.Get("trId") == "" {
		return ""
	}
	return fields.Get("token")
}

// weigh says whether an order is made.
func (s *Server) weigh(m Merchant, in map[string]string, o *order, arm Arm, now time.Time) string {
	if o.kind == "01" {
		switch {
		case payer(in) == "" || in["termId"] == "" || in["currencyCode"] != "156":
			return "13"
		case arm == ArmDecline || s.poor[payer(in)]:
			return "64"
		}
		o.fee = citygate.PartPerMillion(o.amount, m.FeePPM)
		return "00"
	}
	for _, other := range s.orders {
		if other.queryID == in["origQryId"] && other.merchant == m.MerID && other.kind == "01" && other.code == "00" {
			o.origin = other
		}
	}
	switch {
	case o.origin == nil:
		return "35"
	case o.kind == "31" && (o.amount != o.origin.amount || o.origin.back > 0 || day(now) != day(o.origin.at)):
		return "36"
	case o.kind == "04" && o.amount > o.origin.amount-o.origin.back, o.kind != "31" && o.kind != "04":
		return "36"
	}
	return "00"
}

func (s *Server) shown(o *order) map[string]string {
	return map[string]string{
		"merId": o.merchant, "orderId": o.id, "txnTime": o.txnTime, "txnType": o.kind, "txnAmt": strconv.FormatInt(o.amount, 10), "currencyCode": "156",
		"queryId": o.queryID, "settleDate": day(o.at).Time().Format("0102"), "respCode": o.code, "respMsg": "成功[0000000]",
	}
}

// query is queryTrans.do: its own result, and that of the order.
func (s *Server) query(m Merchant, in map[string]string) (map[string]string, Arm) {
	o := s.orders[m.MerID+in["orderId"]+in["txnTime"]]
	if o == nil {
		return map[string]string{"respCode": "34", "respMsg": "查无此交易"}, ""
	}
	out := s.shown(o)
	out["origRespCode"], out["respCode"] = o.code, "00"
	return out, ""
}

// A notice is a notification of an order that was made.
type notice struct {
	url    string
	fields map[string]string
}

// pauses are between the sends of one notification: five sends in twelve minutes.
var pauses = []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute}

// Deliver sends every notification that is due once and gives how many were taken:
// answered 200 or 302. The others are sent again after the platform's pauses.
func (s *Server) Deliver(ctx context.Context, doer interface {
	Do(*http.Request) (*http.Response, error)
}, arm Arm) (taken int) {
	return s.notices.Deliver(s.config.Clock(), func(n notice) bool {
		fields := maps.Clone(n.fields) // signed anew each time
		if s.seal(fields, arm) != nil {
			return false
		}
		form := url.Values{}
		for name, value := range fields {
			form.Set(name, value)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, strings.NewReader(form.Encode()))
		if err != nil {
			return false
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := doer.Do(req)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, bodyMax))
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusFound
	})
}

// nextTrace gives the next transaction's trace number.
func (s *Server) nextTrace() string {
	s.traces++
	return fmt.Sprintf("%06d", s.traces%1_000_000)
}

// widths are the bytes of the columns of the settlement file.
var widths = []int{
	3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15, 1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 32, 98,
}

// file is the settlement file of a day.
func (s *Server) file(m Merchant, in map[string]string) (map[string]string, Arm) {
	now := s.config.Clock()
	var of citygate.Date
	for back := range 60 {
		if d := day(now).AddDays(-back); d.Time().Format("0102") == in["settleDate"] {
			of = d
		}
	}
	ready := time.Date(of.Year, of.Month, of.Day, 0, 0, 0, 0, beijing).Add(dayEnds + fileReady)
	if in["txnType"] != "76" || of == (citygate.Date{}) || now.Before(ready) {
		return map[string]string{"respCode": "98", "respMsg": "文件不存在"}, ""
	}
	var list []*order
	for _, o := range s.orders {
		if o.merchant == m.MerID && o.code == "00" && day(o.at) == of {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *order) int { return cmp.Compare(a.seq, b.seq) })
	var trades, disputes bytes.Buffer
	for _, o := range list {
		if o.dispute == nil {
			trades.Write(row(o))
		} else {
			disputes.Write(o.dispute.row(o))
		}
	}
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	name := "INN" + of.Time().Format("060102") + "88ZM"
	for _, f := range []struct {
		name string
		text []byte
	}{{name + "_" + m.MerID, trades.Bytes()}, {name + "E_" + m.MerID, disputes.Bytes()}} {
		if w, err := z.Create(f.name); err == nil {
			_, _ = w.Write(f.text) // into memory
		}
	}
	_ = z.Close()
	var deflated bytes.Buffer
	d := zlib.NewWriter(&deflated)
	_, _ = d.Write(packed.Bytes()) // into memory
	_ = d.Close()
	return map[string]string{
		"respCode": "00", "respMsg": "成功[0000000]", "settleDate": in["settleDate"], "fileType": "00",
		"fileName": m.MerID + "_" + of.Time().Format("20060102") + ".zip", "fileContent": base64.StdEncoding.EncodeToString(deflated.Bytes()),
	}, ""
}

// row writes one order, names in GBK.
func row(o *order) []byte {
	sign, code := "C", "S22"
	net := o.amount - o.fee
	origin, originQuery := "", ""
	if o.origin != nil {
		sign, code, origin, originQuery = "D", "S30", o.origin.id, o.origin.queryID
	}
	name := gbk("山谷巴士")
	fields := map[int]string{
		0: code, 1: "00010000", 2: "00010000", 3: o.trace, 4: o.at.In(beijing).Format("0102150405"), 6: fmt.Sprintf("%012d", o.amount), 7: "4131", 8: "08",
		9: o.queryID, 11: o.id, 15: amount("D", o.fee), 16: amount(sign, net), 19: o.kind, 20: "06", 21: "000000", 26: originQuery, 27: o.merchant,
		30: name, 31: amount(sign, net), 32: amount(sign, net), 35: amount("C", 0), 36: amount("C", 0), 40: origin,
	}
	if o.origin != nil {
		fields[15], fields[16] = amount("D", 0), amount("D", o.amount)
		fields[31], fields[32] = fields[16], fields[16]
	}
	return fixed(widths, fields)
}

// amount writes X+n12.
func amount(sign string, n int64) string { return fmt.Sprintf("%s%012d", sign, n) }

func gbk(text string) string {
	text, err := simplifiedchinese.GBK.NewEncoder().String(text)
	if err != nil {
		return ""
	}
	return text
}

// fixed writes a row of columns of fixed width, one space between two.
func fixed(widths []int, fields map[int]string) []byte {
	var b bytes.Buffer
	for i, w := range widths {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(fields[i] + strings.Repeat(" ", w-len(fields[i])))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
