package simserve_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate/adapters/simserve"
)

// A platform that dies while it answers is gone, comes back at its address with what it
// knew, and once it was closed stays away.
func TestDyingAndComingBack(t *testing.T) {
	acted := make(chan struct{}, 3)
	var s *simserve.Server
	arms := simserve.NewArms("die", "lose")
	s = simserve.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		acted <- struct{}{}
		if !s.Cut(w, r, arms.Disarm()) {
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	err := s.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	base := s.Base()
	get := func() error {
		resp, err := http.Get(base)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	arms.ArmNext("lose")
	arms.ArmNext("die")
	if get() == nil {
		t.Error("an answer that is lost came")
	}
	if get() == nil {
		t.Error("a platform that died answered")
	}
	for range 2_000 { // it goes while the client is told nothing
		if err = get(); err != nil && strings.Contains(err.Error(), "refused") {
			break
		}
		for len(acted) > 0 {
			<-acted
		}
		time.Sleep(time.Millisecond)
	}
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("a dial to a dead platform: %v", err)
	}
	for range 2 { // the second finds it alive
		if err := s.Revive(); err != nil {
			t.Fatal(err)
		}
	}
	if err := get(); err != nil || s.Base() != base {
		t.Errorf("after it came back: %v, at %s", err, s.Base())
	}
	s.Close()
	s.Close()
	if err := s.Revive(); err != nil || get() == nil {
		t.Errorf("a platform that was closed is there: %v", err)
	}
}

// What is armed is met once and in order, and only what there is can be asked for.
func TestArms(t *testing.T) {
	arms := simserve.NewArms("lose", "die", "other")
	for next, want := range map[string]int{"other": http.StatusNoContent, "nothing": http.StatusBadRequest, "": http.StatusBadRequest} {
		r := httptest.NewRecorder()
		arms.ServeArm(r, httptest.NewRequest(http.MethodPost, "/sim/arm?next="+next, nil))
		body, _ := io.ReadAll(r.Body)
		if r.Code != want || want == http.StatusBadRequest && string(body) != "next: want drop, shed, lose, die or other\n" {
			t.Errorf("%q: %d %s", next, r.Code, body)
		}
	}
	arms.ArmNext("")
	arms.ArmNext("die")
	if got := []string{arms.Disarm(), arms.Disarm(), arms.Disarm(), arms.Disarm()}; !slices.Equal(got, []string{"other", "", "die", ""}) {
		t.Errorf("met %q", got)
	}
	arms.ArmNext("other")
	arms.ArmNext("lose")
	if got := []string{arms.DisarmOf("lose"), arms.DisarmOf("lose", "other"), arms.DisarmOf("lose"), arms.DisarmOf("lose")}; !slices.Equal(got, []string{"", "other", "lose", ""}) {
		t.Errorf("met %q by requests that only some can happen to", got)
	}
}

// A notification that nobody takes is sent again after each pause and then given up; one
// that was taken is not.
func TestNoticesAreSentAgain(t *testing.T) {
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	notices := simserve.NewNotices[string](time.Minute, 5*time.Minute)
	notices.Add("lost", start)
	notices.Add("taken", start)
	notices.Add("later", start.Add(3*time.Minute))
	var sent []string
	for now := start; now.Before(start.Add(time.Hour)); now = now.Add(30 * time.Second) {
		notices.Deliver(now, func(n string) bool {
			sent = append(sent, now.Sub(start).String()+" "+n)
			return n != "lost"
		})
	}
	if want := []string{"0s lost", "0s taken", "1m0s lost", "3m0s later", "6m0s lost"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q; want %q", sent, want)
	}
	if left := notices.Waiting(); len(left) != 0 {
		t.Errorf("never given up: %q", left)
	}
}

// Nothing in a book is a list of nothing, for those who read lists.
func TestShowOfNothingIsAList(t *testing.T) {
	for want, value := range map[string]any{"[]\n": []string(nil), "[\"a\"]\n": []string{"a"}, "{\"a\":1}\n": map[string]int{"a": 1}} {
		w := httptest.NewRecorder()
		simserve.Show(w, value)
		if got := w.Body.String(); got != want {
			t.Errorf("%#v is shown as %q; want %q", value, got, want)
		}
	}
}

// A request that is shed never reaches the platform and is answered by nobody who signs:
// 503, and when to come back.
func TestAShedRequestIsTurnedAway(t *testing.T) {
	arms, arrived := simserve.NewArms("lose"), 0
	front := arms.Dropping(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived++ }))
	arms.ArmNext(simserve.Shed)
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		r := httptest.NewRecorder()
		front.ServeHTTP(r, httptest.NewRequest(http.MethodPost, "/pay", strings.NewReader("pay")))
		if r.Code != want || arrived != i || (r.Header().Get("Retry-After") == "90") != (i == 0) {
			t.Errorf("request %d: %d, Retry-After %q, %d arrived", i, r.Code, r.Header().Get("Retry-After"), arrived)
		}
	}
}

// A request that is dropped never reaches the platform, whatever it asks for; the next
// one does, and so does what is asked of the simulator itself.
func TestADroppedRequestNeverArrives(t *testing.T) {
	arms, arrived := simserve.NewArms("lose"), 0
	server := httptest.NewServer(arms.Dropping(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived++ })))
	defer server.Close()
	ask := func(path string) error {
		r, err := http.Post(server.URL+path, "text/plain", strings.NewReader("pay"))
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	arms.ArmNext("lose") // what is armed is met in order
	arms.ArmNext(simserve.Drop)
	for i, step := range []struct {
		path    string
		lost    bool
		arrived int
	}{{"/pay", false, 1}, {"/sim/book", false, 2}, {"/pay", true, 2}, {"/pay", false, 3}} {
		if i == 1 && arms.Disarm() != "lose" {
			t.Error("the first is gone")
		}
		if err := ask(step.path); (err != nil) != step.lost || arrived != step.arrived {
			t.Errorf("step %d: %v, %d arrived; want %d", i, err, arrived, step.arrived)
		}
	}
}
