package remote

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A described provider says of itself what it is given, and is asked nothing.
type described struct {
	driver.Provider
	about driver.Description
}

func (d described) Describe() driver.Description { return d.about }

// What an adapter says of its limits the gateway hears through the manifest, each of them.
func TestEveryLimitTravels(t *testing.T) {
	want := driver.Description{
		Name: "acme", Version: "1", Currencies: []citygate.Currency{"HKD"}, BatchMax: 7, IDMax: 40, ResubmitSafe: true,
		QuietTime: time.Minute, PollEvery: 2 * time.Second, Deadline: 3 * time.Second,
		PaymentCodes: []driver.CodeForm{{From: "28", To: "30", Min: 16, Max: 24}, {Min: 1, Max: 20, Letters: true}},
		Limits: driver.Limits{
			IDMin: 8, Charset: driver.Alnum, AmountMin: 2, AmountMax: 9, ReverseAfter: 4 * time.Second, ReverseWithin: 5 * time.Second,
			RefundWithin: 6 * time.Second, RefundsMax: 3, FullRefund: true, FirstRide: true, OverCapture: true, ByAgreement: true,
			Recoveries: driver.Recoveries{ByMerchant: true, ByRider: true, ByTap: true, Tries: 5, Within: 7 * time.Second},
			QueryDelay: 8 * time.Second, PayerEvery: 9 * time.Second, Notices: driver.SuccessOnly, NoticeWithin: 10 * time.Second,
		},
	}
	for _, v := range []reflect.Value{reflect.ValueOf(want), reflect.ValueOf(want.Limits), reflect.ValueOf(want.Limits.Recoveries)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is not set here, so that nobody sees it travel", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	m := ManifestOf(described{about: want})
	got := m.describe()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it is heard as %+v\nwant %+v", got, want)
	}
}

// Forms of payment codes are few, and none says more digits than its codes have.
func TestFormsOfPaymentCodesAreBounded(t *testing.T) {
	form := codeForm{From: "28", To: "30", Min: 16, Max: 24}
	for name, c := range map[string]struct {
		forms []codeForm
		ok    bool
	}{
		"as many as may be": {slices.Repeat([]codeForm{form}, codeFormsMost), true},
		"one more":          {slices.Repeat([]codeForm{form}, codeFormsMost+1), false},
		"a whole code":      {[]codeForm{{From: "28", To: "30", Min: 2, Max: 24}}, true},
		"more than that":    {[]codeForm{{From: "280", To: "300", Min: 2, Max: 24}}, false},
		"letters":           {[]codeForm{{From: "AB", To: "AC", Min: 2, Max: 24, Letters: true}}, true},
		"letters unsaid":    {[]codeForm{{From: "AB", To: "AC", Min: 2, Max: 24}}, false},
	} {
		m := manifest()
		m.PaymentCodes, m.Test = c.forms, nil
		if err := m.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A program is asked about no record that no validator gives, whoever calls it.
func TestAProgramLooksAtNoRecordOfAnotherSize(t *testing.T) {
	for _, size := range []int{0, driver.EvidenceMost + 1} {
		if a, err := serveEvidence(t.Context(), unasked{t}, evidenceCall{Record: make([]byte, size)}); !errors.Is(err, errBody) {
			t.Errorf("%d bytes: %+v, %v", size, a, err)
		}
	}
}

type unasked struct{ t *testing.T }

func (u unasked) CheckEvidence(context.Context, []byte) (driver.EvidenceVerdict, string, error) {
	u.t.Error("it was asked")
	return driver.EvidenceGenuine, "", nil
}
