package alipayplus_test

import (
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/drivertest"
)

func FuzzParseNotify(f *testing.F) {
	h := harness{newWorld(f, nil)}
	d := debit("a", 470)
	if _, err := h.provider.Submit(f.Context(), []driver.Debit{d}); err != nil {
		f.Fatal(err)
	}
	drivertest.FuzzNotices(f, h.provider, h.Notification(d))
}
