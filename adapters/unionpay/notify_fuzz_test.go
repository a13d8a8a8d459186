package unionpay_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
	"github.com/cashlesscity/citygate/adapters/unionpay"
	"github.com/cashlesscity/citygate/adapters/unionpay/unionpaysim"
)

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
	f.Add(bytes.Replace(genuine, []byte("470"), []byte("471"), 1), byte(0), "")
	f.Add(append(bytes.Clone(genuine), "&txnAmt=1"...), byte(0), "")
	drivertest.FuzzNotices(f, w.provider, driver.Notification{Body: genuine})
}
