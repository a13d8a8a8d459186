package alipayplus_test

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// FuzzParseNotify holds that whatever is taken for a notice says what the platform
// signed, and nothing else.
func FuzzParseNotify(f *testing.F) {
	h := harness{newWorld(f, nil)}
	d := debit("a", 470)
	if _, err := h.provider.Submit(f.Context(), []driver.Debit{d}); err != nil {
		f.Fatal(err)
	}
	genuine := h.Notification(d)
	want, _, err := h.provider.ParseNotify(f.Context(), genuine)
	if err != nil || want.Kind != driver.NoticePayment {
		f.Fatalf("the platform's own: %+v, %v", want, err)
	}
	names := slices.Sorted(maps.Keys(genuine.Header))
	f.Add(genuine.Body, byte(0), "")
	f.Add([]byte("{}"), byte(1), "AAAA")
	for i := range names {
		f.Add(genuine.Body, byte(i), genuine.Header[names[i]][0]+" ")
	}
	f.Fuzz(func(t *testing.T, body []byte, which byte, value string) {
		n := genuine
		n.Body = body
		if value != "" {
			n.Header = http.Header(genuine.Header).Clone()
			n.Header[names[int(which)%len(names)]] = []string{value}
		}
		notice, ack, err := h.provider.ParseNotify(t.Context(), n)
		if err == nil && notice != want || err != nil && (ack.Status < 400 || notice != (driver.Notice{})) {
			t.Errorf("%q with %q = %q: %+v, %+v, %v", body, names[int(which)%len(names)], value, notice, ack, err)
		}
	})
}
