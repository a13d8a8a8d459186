package alipay_test

import (
	"archive/zip"
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
)

// texts are the two files of a bill, decoded.
func texts(t testing.TB, body []byte) (list []string) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := simplifiedchinese.GBK.NewDecoder().Bytes(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

func pack(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, text := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "x", NonUTF8: true})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := simplifiedchinese.GBK.NewEncoder().String(text)
		if err != nil {
			raw = text
		}
		if _, err := io.WriteString(w, raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var declaredPaid = regexp.MustCompile(`(?m)^#交易合计：(\d+)笔，商家实收共(-?\d+)\.(\d\d)元`)

// FuzzParseBill checks that rows which are read add up to what the file itself
// declares, or that nothing is read: a row lost on the way must not go unseen.
func FuzzParseBill(f *testing.F) {
	drivertest.FuzzFiles(f)
	w := newWorldForFuzz(f)
	bill, err := w.provider.FetchBill(f.Context(), monday)
	if err != nil {
		f.Fatal(err)
	}
	files := texts(f, bill.Body)
	f.Add(files[0], files[1])
	f.Add(strings.Replace(files[0], "fare_01", "fare_02", 1), files[1])
	f.Add(strings.Replace(files[0], ",1.01,1.01,", ",1.01,9.01,", 1), files[1])
	f.Add(strings.Replace(files[0], "交易\t", "退款\t", 1), files[1])
	f.Fuzz(func(t *testing.T, detail, summary string) {
		changed := bill
		changed.Body = pack(t, detail, summary)
		lines, err := w.provider.ParseBill(changed)
		if err != nil {
			if lines != nil {
				t.Errorf("an error and %d rows", len(lines))
			}
			return
		}
		var payments, paid int64
		for _, l := range lines {
			if !l.Refund {
				payments++
				paid += l.Amount.Minor
			}
			if l.Refund == (l.RefundID == "") || l.OurID == "" || (l.Refund && l.Amount.Minor > 0) {
				t.Errorf("a row that says nothing: %+v", l)
			}
		}
		for _, m := range declaredPaid.FindAllStringSubmatch(texts(t, changed.Body)[0], -1) {
			want, err := strconv.ParseInt(m[2]+m[3], 10, 64)
			if err != nil || strings.TrimLeft(m[1], "0") != strings.TrimLeft(strconv.FormatInt(payments, 10), "0") || want != paid {
				t.Errorf("the file declares %s rows of %d, %v; read %d of %d", m[1], want, err, payments, paid)
			}
		}
	})
}

func newWorldForFuzz(f *testing.F) *world {
	f.Helper()
	w := newWorld(f, nil)
	batch := []driver.Debit{w.debit(f, "fare_00", 100), w.debit(f, "fare_01", 101)}
	if _, err := w.provider.Submit(f.Context(), batch); err != nil {
		f.Fatal(err)
	}
	w.clock.set(start.Add(24 * time.Hour))
	return w
}
