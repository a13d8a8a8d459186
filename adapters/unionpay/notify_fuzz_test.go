package unionpay_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
)

// FuzzParseNotify holds that whatever is taken for a notice says what the platform
// signed, and nothing else.
func FuzzParseNotify(f *testing.F) {
	var genuine []byte
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		genuine, _ = io.ReadAll(r.Body)
		rw.WriteHeader(http.StatusOK)
	}))
	f.Cleanup(server.Close)
	w := newWorld(f, func(_ *unionpaysim.Config, c *unionpay.Config) { c.BackURL = server.URL })
	if _, err := w.provider.Submit(f.Context(), []driver.Debit{debit("a0000001", 470)}); err != nil {
		f.Fatal(err)
	}
	w.sim.Deliver(f.Context(), http.DefaultClient, "")
	want, _, err := w.provider.ParseNotify(f.Context(), driver.Notification{Body: genuine})
	if err != nil || want.Kind != driver.NoticePayment {
		f.Fatalf("the platform's own %q: %+v, %v", genuine, want, err)
	}
	f.Add(genuine)
	f.Add(bytes.Replace(genuine, []byte("470"), []byte("471"), 1))
	f.Add(append(bytes.Clone(genuine), "&txnAmt=1"...))
	f.Add([]byte("txnAmt=470&signature=AAAA"))
	f.Fuzz(func(t *testing.T, body []byte) {
		notice, ack, err := w.provider.ParseNotify(t.Context(), driver.Notification{Body: body})
		if err == nil && notice != want || err != nil && (ack.Status < 400 || notice != (driver.Notice{})) {
			t.Errorf("%q: %+v, %+v, %v", body, notice, ack, err)
		}
	})
}
