package wire_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/wire"
)

func TestRetryAfterIsHeard(t *testing.T) {
	now := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		status int
		text   string
		want   time.Duration // 0 = none
	}{
		{429, "30", 30 * time.Second}, {503, "90", 90 * time.Second}, {503, in(5 * time.Minute), 5 * time.Minute},
		{503, "86400", time.Hour}, {503, "99999999999999999999", 0}, {503, "9223372036854775807", time.Hour}, {429, in(48 * time.Hour), time.Hour},
		{503, in(-time.Minute), 0}, {503, "0", 0}, {503, "-5", 0}, {503, "soon", 0}, {503, "", 0},
		{200, "30", 0}, {500, "30", 0}, {502, "30", 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.text)
			w.WriteHeader(c.status)
		}))
		ctx, later := wire.Heed(t.Context(), func() time.Time { return now })
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := wire.Do(server.Client(), req, wire.CallLimit); err != nil || r.Status != c.status {
			t.Errorf("%d %q: %+v, %v; want the reply as it is", c.status, c.text, r, err)
		}
		want := now.Add(c.want)
		if c.want == 0 {
			want = time.Time{}
		}
		if got := later.At(); !got.Equal(want) {
			t.Errorf("%d %q: asked again at %s; want %s", c.status, c.text, got, want)
		}
		server.Close()
	}
}

// The last answer of a call counts: what was in the way before it is not any more.
func TestTheLastAnswerSaysWhen(t *testing.T) {
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(status)
	}))
	defer server.Close()
	ctx, later := wire.Heed(t.Context(), time.Now)
	for _, status = range []int{http.StatusServiceUnavailable, http.StatusOK} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Do(server.Client(), req, wire.CallLimit); err != nil {
			t.Fatal(err)
		}
		if waits := !later.At().IsZero(); waits != (status == http.StatusServiceUnavailable) {
			t.Errorf("after status %d: %s", status, later.At())
		}
	}
}
