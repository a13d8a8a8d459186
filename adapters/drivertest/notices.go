package drivertest

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// FuzzNotices holds that whatever an adapter takes for a notice says what the platform
// signed, and nothing else. genuine is a notice of a payment as the platform sent it;
// its body and one header at a time are changed.
func FuzzNotices(f *testing.F, adapter driver.Notifier, genuine driver.Notification) {
	f.Helper()
	FuzzFiles(f)
	want, _, err := adapter.ParseNotify(f.Context(), genuine)
	if err != nil || want.Kind != driver.NoticePayment {
		f.Fatalf("the platform's own %q: %+v, %v", genuine.Body, want, err)
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
		if value != "" && len(names) > 0 {
			n.Header = http.Header(genuine.Header).Clone()
			n.Header[names[int(which)%len(names)]] = []string{value}
		}
		notice, ack, err := adapter.ParseNotify(t.Context(), n)
		if err == nil && notice != want || err != nil && (ack.Status < 400 || notice != (driver.Notice{})) {
			t.Errorf("%q, header %d %q: %+v, %+v, %v", body, which, value, notice, ack, err)
		}
	})
}
