package alipaysim

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/simserve"
)

const (
	billReady   = 9 * time.Hour    // after the end of the day
	addressLife = 30 * time.Second // of a download address
	accountMark = "0156"           // an account in a bill is the partner id and this
)

// A row is a line of a bill's detail file.
type row struct {
	refund              bool
	tradeNo, outTradeNo string
	requestNo           string
	subject, rider      string
	amount, fee         int64 // both as the file has them: refunds negative, fees negative
	at                  time.Time
}

// billQuery is bill.downloadurl.query. An address carries its own expiry and a
// MAC, so nothing needs to be kept.
func (s *Server) billQuery(m *merchant, biz []byte) (any, fate) {
	var request struct {
		BillType string `json:"bill_type"`
		BillDate string `json:"bill_date"`
	}
	if err := json.Unmarshal(biz, &request); err != nil || request.BillType != "trade" {
		return refusal("isp.INVAILID_ARGUMENTS", "bill_type"), delivered // the platform's spelling
	}
	day, err := citygate.ParseDate(request.BillDate)
	if err != nil {
		return refusal("isp.INVAILID_ARGUMENTS", "bill_date"), delivered
	}
	now := s.config.Clock()
	if now.Before(startOf(day.AddDays(1)).Add(billReady)) || now.Before(m.notBefore[day]) {
		return refusal("isp.BILL_NOT_EXIST", "not ready"), delivered
	}
	expires := strconv.FormatInt(now.Add(addressLife).UnixMilli(), 10)
	query := url.Values{"app": {m.AppID}, "day": {day.String()}, "expires": {expires}}
	query.Set("mac", s.mac(m.AppID, day.String(), expires))
	answer := struct {
		head
		BillDownloadURL string `json:"bill_download_url"`
		BillFileCode    string `json:"bill_file_code,omitempty"`
	}{head: ok, BillDownloadURL: s.Base() + billPath + "?" + query.Encode()}
	if len(m.rows(day)) == 0 {
		answer.BillFileCode = "EMPTY_DATA_WITH_BILL_FILE"
	}
	return answer, delivered
}

func (s *Server) mac(parts ...string) string {
	h := hmac.New(sha256.New, s.secret)
	h.Write([]byte(strings.Join(parts, "\x00"))) // a hash takes every write
	return hex.EncodeToString(h.Sum(nil))
}

// download serves a bill while its address lives.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	if s.out() {
		simserve.HangUp(w)
		return
	}
	q := r.URL.Query()
	app, date, expires := q.Get("app"), q.Get("day"), q.Get("expires")
	if !hmac.Equal([]byte(s.mac(app, date, expires)), []byte(q.Get("mac"))) {
		http.Error(w, "no such bill", http.StatusNotFound)
		return
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	day, dateErr := citygate.ParseDate(date)
	if err != nil || dateErr != nil || s.config.Clock().UnixMilli() >= until {
		http.Error(w, "the address is dead", http.StatusForbidden)
		return
	}
	file, err := s.bill(app, day)
	if err != nil {
		http.Error(w, "no bill", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	_, _ = w.Write(file) // a client that is gone asks again
}

// startOf is midnight of day in Beijing.
func startOf(day citygate.Date) time.Time {
	return time.Date(day.Year, day.Month, day.Day, 0, 0, 0, 0, beijing)
}

// rows are the payments and refunds of a day, with the faults of its bill.
func (m *merchant) rows(day citygate.Date) []row {
	from, to := startOf(day), startOf(day.AddDays(1))
	var list []row
	for _, t := range m.trades {
		base := row{tradeNo: t.no, outTradeNo: t.item.OutTradeNo, subject: t.item.Subject, rider: t.item.UserID}
		if t.paid && within(t.at, from, to) {
			payment := base
			payment.amount, payment.fee, payment.at = t.amount, -t.fee, t.at
			list = append(list, payment)
		}
		for _, r := range t.refunds {
			if within(r.at, from, to) {
				back := base
				back.refund, back.requestNo, back.amount, back.at = true, r.requestNo, -r.amount, r.at
				list = append(list, back)
			}
		}
	}
	for _, f := range m.faults[day] {
		list = f.apply(list)
	}
	slices.SortFunc(list, func(a, b row) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.outTradeNo, b.outTradeNo), cmp.Compare(a.requestNo, b.requestNo))
	})
	return list
}

func within(t, from, to time.Time) bool { return !t.Before(from) && t.Before(to) }

// bill writes the zip of a day.
func (s *Server) bill(app string, day citygate.Date) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.merchants[app]
	if m == nil {
		return nil, fmt.Errorf("alipaysim: no merchant %s", app)
	}
	rows := m.rows(day)
	exported := startOf(day.AddDays(1)).Add(billReady + time.Duration(m.issues[day])*time.Hour)
	prefix := m.Account + accountMark + "_" + strings.ReplaceAll(day.String(), "-", "")
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range []struct{ name, text string }{
		{prefix + "_业务明细.csv", detail(m.Account, day, rows, exported)},
		{prefix + "_业务明细(汇总).csv", summary(m.Account, day, rows, exported)},
	} {
		if err := addGBK(z, f.name, f.text, exported); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// addGBK adds a file whose name and content are GBK, without the flag that
// would say that the name is UTF-8.
func addGBK(z *zip.Writer, name, text string, at time.Time) error {
	gbk := encoding.ReplaceUnsupported(simplifiedchinese.GBK.NewEncoder())
	rawName, err := gbk.String(name)
	if err != nil {
		return err
	}
	w, err := z.CreateHeader(&zip.FileHeader{Name: rawName, NonUTF8: true, Method: zip.Deflate, Modified: at})
	if err != nil {
		return err
	}
	raw, err := gbk.String(text)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(raw))
	return err
}

const detailHeader = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户," +
	"订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称," +
	"商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"

const summaryHeader = "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）," +
	"卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）"

func preamble(title, list, account string, day citygate.Date) []string {
	const zh = "2006年01月02日 15:04:05"
	return []string{
		title,
		"#账号：[" + account + accountMark + "]",
		"#起始日期：[" + startOf(day).Format(zh) + "]   终止日期：[" + startOf(day.AddDays(1)).Format(zh) + "]",
		"#-----------------------------------------" + list + "----------------------------------------",
	}
}

func detail(account string, day citygate.Date, rows []row, exported time.Time) string {
	lines := append(preamble("#支付宝业务明细查询", "业务明细列表", account, day), detailHeader)
	for _, r := range rows {
		kind := ifElse(r.refund, "退款", "交易")
		lines = append(lines, strings.Join([]string{
			r.tradeNo + "\t", r.outTradeNo + "\t", kind + "\t", plain(r.subject), text(r.at), text(r.at),
			"\t", "\t", "\t", "\t", "*" + plain(masked(r.rider)) + "\t",
			toYuan(r.amount), toYuan(r.amount), "0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00\t", "0.00",
			r.requestNo + "\t", toYuan(r.fee), "0.00", "",
		}, ","))
	}
	sum := total(rows)
	lines = append(lines,
		"#-----------------------------------------业务明细列表结束------------------------------------",
		fmt.Sprintf("#交易合计：%d笔，商家实收共%s元，商家优惠共0.00元", sum.payments, toYuan(sum.paid)),
		fmt.Sprintf("#退款合计：%d笔，商家实收退款共%s元，商家优惠退款共0.00元", sum.refunds, toYuan(sum.refunded)),
		exportLine(exported))
	return strings.Join(lines, "\r\n") + "\r\n"
}

func summary(account string, day citygate.Date, rows []row, exported time.Time) string {
	sum := total(rows)
	received := sum.paid + sum.refunded
	lines := append(preamble("#支付宝业务汇总查询", "业务汇总列表", account, day), summaryHeader,
		strings.Join([]string{
			"合计\t", "\t", strconv.Itoa(sum.payments), strconv.Itoa(sum.refunds), toYuan(received), toYuan(received),
			"0.00", "0.00", "0.00", toYuan(sum.fees), "0.00", toYuan(received + sum.fees),
		}, ","),
		"#----------------------------------------业务汇总列表结束-------------------------------------",
		exportLine(exported))
	return strings.Join(lines, "\r\n") + "\r\n"
}

func exportLine(at time.Time) string {
	return "#导出时间：[" + at.In(beijing).Format("2006年01月02日 15:04:05") + "]"
}

type sums struct {
	payments, refunds    int
	paid, refunded, fees int64
}

func total(rows []row) (sum sums) {
	for _, r := range rows {
		sum.fees += r.fee
		if r.refund {
			sum.refunds++
			sum.refunded += r.amount
		} else {
			sum.payments++
			sum.paid += r.amount
		}
	}
	return sum
}

// plain keeps text inside its cell: the platform does not quote.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ',' || r == '"' || r < ' ' {
			return ' '
		}
		return r
	}, s)
}

// masked shows no more of an account than the platform does.
func masked(rider string) string {
	if len(rider) <= 4 {
		return "(****)"
	}
	return "(" + rider[:2] + "****" + rider[len(rider)-2:] + ")"
}
