package drivertest

import (
	"errors"
	"slices"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases about bills beyond the first ones, and about feeds, reversals and
// notices.

var billCases = []testCase{
	{"bill_of_tomorrow", "the bill of a day that is not over does not exist yet", bills, billOfTomorrow},
	{"bill_says_its_day", "a bill says whose day and currency it is of", bills, billSaysItsDay},
	{"bill_again", "a bill reads the same however often it is read", bills, billAgain},
	{"bill_garbage", "what is no bill is an error and no empty bill", bills, billGarbage},
	{"bill_cut", "half a bill is an error and no shorter bill", bills, billCut},
	{"bill_declined", "a declined debit is in no bill", bills, billDeclined},
	{"bill_lost_reply", "a payment whose reply was lost is in the bill, once", bills, billLostReply},
	{"bill_lines", "every row says where in the file it is", bills, billLines},
	{"bill_many", "a bill of a hundred payments has a hundred rows", bills, billMany},
	{"keys_whole", "a key list names every key once, with something in it, and is the same when nothing changed", keyFeeds, keysWhole},
	{"deny_whole", "a deny list names every rider once, and is the same when nothing changed", denyFeeds, denyWhole},
	{"deny_push_again", "a change of whom the operator refuses that is sent again is taken again", denyPushes, denyPushAgain},
	{"deny_push_gone", "a change of whom the operator refuses that reaches nobody is an error", denyPushes, denyPushGone},
	{"feed_gone", "a feed that nobody serves is an error and no empty list", anyFeed, feedGone},
	{"reverse_paid", "a reversal gives back what was paid, or says that it did not", reverses, reversePaid},
	{"reverse_twice", "two reversals give back once", reverses, reverseTwice},
	{"reverse_nothing", "the reversal of what never was gives nothing back", reverses, reverseNothing},
	{"reverse_gone", "a reversal that reaches nobody says nothing", reverses, reverseGone},
	{"notify_forged", "a notification that is not the provider's is no notice and is not acknowledged", notifies, notifyForged},
	{"notify_genuine", "a notification of a payment names its id and amount and is acknowledged", tells, notifyGenuine},
	{"notify_tampered", "one changed byte makes a notification worth nothing", tells, notifyTampered},
	{"notify_repeated", "a notification that is repeated reads the same, with the same id", tells, notifyRepeated},
}

// A NoticeHarness is a Harness whose far side tells of payments. An adapter that
// is a driver.Notifier should have one.
type NoticeHarness interface {
	Harness
	// Notification gives what the far side sends about a debit that was paid,
	// as it would arrive.
	Notification(d driver.Debit) driver.Notification
}

func keyFeeds(h Harness) bool { _, ok := driver.As[driver.KeyFeed](h.Provider()); return ok }
func denyFeeds(h Harness) bool {
	_, ok := driver.As[driver.DenyFeed](h.Provider())
	return ok
}
func denyPushes(h Harness) bool {
	_, ok := driver.As[driver.DenyPush](h.Provider())
	return ok
}
func anyFeed(h Harness) bool  { return keyFeeds(h) || denyFeeds(h) }
func reverses(h Harness) bool { _, ok := driver.As[driver.Reverser](h.Provider()); return ok }
func notifies(h Harness) bool { _, ok := driver.As[driver.Notifier](h.Provider()); return ok }
func tells(h Harness) bool    { _, ok := h.(NoticeHarness); return ok && notifies(h) }

// theBill ends the day and gives its bill.
func theBill(t TB, h Harness) (driver.Biller, driver.Bill) {
	t.Helper()
	biller, _ := driver.As[driver.Biller](h.Provider())
	file, err := biller.FetchBill(t.Context(), h.EndDay())
	if err != nil {
		t.Fatalf("FetchBill: %v", err)
	}
	return biller, file
}

func readBill(t TB, h Harness) []driver.BillLine {
	t.Helper()
	biller, file := theBill(t, h)
	lines, err := biller.ParseBill(file)
	if err != nil {
		t.Fatalf("ParseBill: %v", err)
	}
	return lines
}

func billOfTomorrow(t TB, h Harness) {
	pay(t, h, debit(h, "row1", 500))
	biller, _ := driver.As[driver.Biller](h.Provider())
	if _, err := biller.FetchBill(t.Context(), h.EndDay().AddDays(400)); !errors.Is(err, driver.ErrBillNotReady) {
		t.Errorf("FetchBill of a day in a year = %v; want ErrBillNotReady", err)
	}
}

func billSaysItsDay(t TB, h Harness) {
	d := debit(h, "row1", 500)
	pay(t, h, d)
	biller, _ := driver.As[driver.Biller](h.Provider())
	day := h.EndDay()
	file, err := biller.FetchBill(t.Context(), day)
	if err != nil || file.Day != day || len(file.Body) == 0 {
		t.Errorf("FetchBill of %s = the bill of %s with %d bytes, %v", day, file.Day, len(file.Body), err)
	}
	if file.Currency != "" && file.Currency != d.Amount.Currency {
		t.Errorf("the bill is in %s", file.Currency)
	}
}

func billAgain(t TB, h Harness) {
	pay(t, h, debit(h, "row1", 500))
	pay(t, h, debit(h, "row2", 730))
	biller, file := theBill(t, h)
	first, err := biller.ParseBill(file)
	second, err2 := biller.ParseBill(file)
	if err != nil || err2 != nil || !slices.Equal(first, second) || len(first) != 2 {
		t.Errorf("%d rows, %v, then %d, %v", len(first), err, len(second), err2)
	}
}

func billGarbage(t TB, h Harness) {
	pay(t, h, debit(h, "row1", 500))
	biller, file := theBill(t, h)
	for _, body := range []string{"", "\x00", "<html>try again later</html>", "PK\x03\x04 not a zip"} {
		file.Body = []byte(body)
		if lines, err := biller.ParseBill(file); err == nil {
			t.Errorf("ParseBill(%q) = %d rows and no error", body, len(lines))
		}
	}
}

func billCut(t TB, h Harness) {
	pay(t, h, debit(h, "row1", 500))
	pay(t, h, debit(h, "row2", 730))
	biller, file := theBill(t, h)
	whole := file.Body
	for _, part := range []int{2, 3, 4} {
		file.Body = whole[:len(whole)*(part-1)/part]
		if lines, err := biller.ParseBill(file); err == nil {
			t.Errorf("ParseBill of %d bytes of %d = %d rows and no error", len(file.Body), len(whole), len(lines))
		}
	}
}

func billDeclined(t TB, h Harness) {
	h.DeclineNext()
	no := debit(h, "declined", 470)
	if r, err := submit(t.Context(), h, no); err != nil || r.Outcome != driver.Declined {
		t.Fatalf("Submit = %q, %v; want declined", r.Outcome, err)
	}
	pay(t, h, debit(h, "row1", 500))
	for _, l := range readBill(t, h) {
		if l.OurID == no.OurID {
			t.Errorf("row %d is of a declined debit", l.Line)
		}
	}
}

func billLostReply(t TB, h Harness) {
	d := debit(h, "lost", 470)
	h.LoseNextReply()
	_, _ = submit(t.Context(), h, d) // whatever it says: the bill is the last arbiter
	resolve(t, h, d)
	found := 0
	for _, l := range readBill(t, h) {
		if l.OurID == d.OurID && l.Amount == d.Amount && !l.Refund {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the bill has it %d times", found)
	}
}

func billLines(t TB, h Harness) {
	pay(t, h, debit(h, "row1", 500))
	pay(t, h, debit(h, "row2", 730))
	seen := map[int]bool{}
	for _, l := range readBill(t, h) {
		if l.Line < 1 || seen[l.Line] {
			t.Errorf("a row says that it is at line %d", l.Line)
		}
		seen[l.Line] = true
	}
}

func billMany(t TB, h Harness) {
	want := map[string]int64{}
	for i := range 100 {
		d := debit(h, "m"+string(rune('a'+i/26))+string(rune('a'+i%26)), int64(100+i))
		pay(t, h, d)
		want[d.OurID] = d.Amount.Minor
	}
	for _, l := range readBill(t, h) {
		if want[l.OurID] != l.Amount.Minor {
			t.Errorf("row %d is %s with %s", l.Line, l.OurID, l.Amount)
		}
		delete(want, l.OurID)
	}
	if len(want) > 0 {
		t.Errorf("the bill lacks %d payments", len(want))
	}
}

func keysWhole(t TB, h Harness) {
	feed, _ := driver.As[driver.KeyFeed](h.Provider())
	list, err := feed.PullKeys(t.Context())
	if err != nil {
		t.Fatalf("PullKeys: %v", err)
	}
	seen := map[uint32]bool{}
	for _, k := range list {
		if seen[k.ID] || len(k.Material) == 0 {
			t.Errorf("key %d is there twice or empty", k.ID)
		}
		seen[k.ID] = true
	}
	again, err := feed.PullKeys(t.Context())
	same := func(a, b driver.FeedKey) bool { return a.ID == b.ID && slices.Equal(a.Material, b.Material) }
	if err != nil || !slices.EqualFunc(list, again, same) {
		t.Errorf("the list was of %d keys and is of %d, %v", len(list), len(again), err)
	}
}

func denyWhole(t TB, h Harness) {
	feed, _ := driver.As[driver.DenyFeed](h.Provider())
	list, err := feed.PullDeny(t.Context())
	if err != nil {
		t.Fatalf("PullDeny: %v", err)
	}
	seen := map[string]bool{}
	for _, r := range list {
		if r == "" || seen[r] {
			t.Errorf("a rider is there twice or has no name")
		}
		seen[r] = true
	}
	again, err := feed.PullDeny(t.Context())
	if err != nil || len(again) != len(list) {
		t.Errorf("the list was of %d riders and is of %d, %v", len(list), len(again), err)
	}
}

// denyChanges are a denial and its end, of a rider who may be charged.
func denyChanges(h Harness) []driver.DenyChange {
	d := h.Debit("DENYCHANGE", 100)
	change := driver.DenyChange{OurID: "DENYCHANGE1", RiderRef: d.RiderRef, Denied: true, Reason: "debt", At: d.TripTime}
	release := change
	release.OurID, release.Denied, release.Reason = "DENYCHANGE2", false, ""
	return []driver.DenyChange{change, change, release, release}
}

func denyPushAgain(t TB, h Harness) {
	push, _ := driver.As[driver.DenyPush](h.Provider())
	for i, c := range denyChanges(h) {
		if err := push.PushDeny(t.Context(), c); err != nil {
			t.Errorf("%d: PushDeny of %s: %v", i, c.OurID, err)
		}
	}
}

func denyPushGone(t TB, h Harness) {
	push, _ := driver.As[driver.DenyPush](h.Provider())
	die(t, h)
	if err := push.PushDeny(t.Context(), denyChanges(h)[0]); err == nil {
		t.Errorf("PushDeny to nobody = no error")
	}
}

func feedGone(t TB, h Harness) {
	die(t, h)
	if feed, ok := driver.As[driver.KeyFeed](h.Provider()); ok {
		if list, err := feed.PullKeys(t.Context()); err == nil {
			t.Errorf("PullKeys of nobody = %d keys and no error", len(list))
		}
	}
	if feed, ok := driver.As[driver.DenyFeed](h.Provider()); ok {
		if list, err := feed.PullDeny(t.Context()); err == nil {
			t.Errorf("PullDeny of nobody = %d riders and no error", len(list))
		}
	}
}

func reverse(t TB, h Harness, d driver.Debit) (driver.Reversal, error) {
	r, _ := driver.As[driver.Reverser](h.Provider())
	said, _, err := r.Reverse(t.Context(), ref(d))
	return said, err
}

// net is what the far side kept of all it moved.
func net(h Harness) (sum int64) {
	for _, m := range h.Moved() {
		if m.Refund {
			sum -= m.Amount.Minor
		} else {
			sum += m.Amount.Minor
		}
	}
	return sum
}

func reversePaid(t TB, h Harness) {
	d := debit(h, "undone", 470)
	pay(t, h, d)
	said, err := reverse(t, h, d)
	switch kept := net(h); {
	case err == nil && (said == driver.ReversalGiven || said == driver.ReversalClosed) && kept != 0:
		t.Errorf("Reverse = %q and the far side keeps %d", said, kept)
	case err == nil && said == driver.ReversalRefused && kept != 470:
		t.Errorf("Reverse = refused and the far side keeps %d of 470", kept)
	}
	if r, err := h.Provider().Query(t.Context(), ref(d)); err == nil && r.Outcome == driver.Declined && net(h) != 0 {
		t.Errorf("Query denies a payment that stands")
	}
}

func reverseTwice(t TB, h Harness) {
	d, other := debit(h, "undone", 470), debit(h, "stands", 530)
	pay(t, h, d)
	pay(t, h, other)
	for range 2 {
		_, _ = reverse(t, h, d) // what was moved tells
	}
	if kept := net(h); kept != 530 && kept != 1000 {
		t.Errorf("the far side keeps %d of 470 and 530", kept)
	}
}

func reverseNothing(t TB, h Harness) {
	if said, err := reverse(t, h, debit(h, "neverwas", 470)); err == nil && said == driver.ReversalGiven {
		t.Errorf("Reverse of what never was = returned")
	}
	moved(t, h)
}

func reverseGone(t TB, h Harness) {
	last := die(t, h)
	if said, err := reverse(t, h, last); err == nil && said != driver.ReversalUnknown {
		t.Errorf("Reverse of nobody = %q", said)
	}
	moved(t, h, took(last))
}

func parse(t TB, h Harness, n driver.Notification) (driver.Notice, driver.Ack, error) {
	r, _ := driver.As[driver.Notifier](h.Provider())
	return r.ParseNotify(t.Context(), n)
}

func notifyForged(t TB, h Harness) {
	for _, body := range []string{"", "{}", "sign=QUJD&out_trade_no=a", `{"id":"1","event_type":"TRANSACTION.SUCCESS","resource":{}}`, "<xml></xml>", "\xff\xfe"} {
		n := driver.Notification{Method: "POST", Target: "/", Header: map[string][]string{}, Body: []byte(body), At: debit(h, "when", 1).Attempted}
		notice, _, err := parse(t, h, n)
		if err == nil || notice.Result.Outcome != driver.Unknown || notice.Result.OurID != "" {
			t.Errorf("ParseNotify(%q) = %+v, %v; want an error", body, notice, err)
		}
	}
}

// told pays a debit and gives the notification of it.
func told(t TB, h Harness) (driver.Debit, driver.Notification) {
	t.Helper()
	d := debit(h, "told", 470)
	pay(t, h, d)
	return d, h.(NoticeHarness).Notification(d)
}

func notifyGenuine(t TB, h Harness) {
	d, n := told(t, h)
	notice, ack, err := parse(t, h, n)
	if err != nil || notice.Kind != driver.NoticePayment || notice.Result.OurID != d.OurID || notice.Result.Outcome != driver.Succeeded {
		t.Errorf("ParseNotify = %+v, %v; want %s succeeded", notice, err, d.OurID)
	}
	if said := notice.Result.Amount; said.Currency != "" && said != d.Amount {
		t.Errorf("the notice is of %s; want %s", said, d.Amount)
	}
	if ack.Status < 200 || ack.Status > 302 {
		t.Errorf("the acknowledgement has status %d", ack.Status)
	}
}

func notifyTampered(t TB, h Harness) {
	_, n := told(t, h)
	for i := range 16 { // sixteen places over the whole body
		changed := n
		changed.Body = slices.Clone(n.Body)
		at := len(changed.Body) * (2*i + 1) / 32
		changed.Body[at] = other(changed.Body[at])
		if notice, _, err := parse(t, h, changed); err == nil {
			t.Errorf("byte %d was changed, and ParseNotify = %+v", at, notice)
		}
	}
}

// other is another printable byte.
func other(b byte) byte {
	if b == '7' {
		return '8'
	}
	return '7'
}

func notifyRepeated(t TB, h Harness) {
	_, n := told(t, h)
	first, _, err := parse(t, h, n)
	second, ack, err2 := parse(t, h, n)
	if err != nil || err2 != nil || first.ID != second.ID || first.Result != second.Result || ack.Status == 0 {
		t.Errorf("%+v, %v, then %+v, %v", first, err, second, err2)
	}
}
