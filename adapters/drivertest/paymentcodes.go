package drivertest

import (
	"strings"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that collect on a code that the payer shows (Debit.AuthCode).
// Their harness's Debit brings one.

var paymentCodeCases = []testCase{
	{"payment_code_form", "the forms of a product's payment codes can be told, and the code that a payer shows has one of them", paymentCodes, paymentCodeForm},
	{"payment_code_secret", "no error, reason or reference holds a payment code: whoever has it can charge its owner", paymentCodes, paymentCodeSecret},
}

func paymentCodes(h Harness) bool { return len(h.Provider().Describe().PaymentCodes) > 0 }

func paymentCodeForm(t TB, h Harness) {
	about := h.Provider().Describe()
	for i, f := range about.PaymentCodes {
		if f.Min < 1 || f.Max < f.Min || len(f.From) != len(f.To) || len(f.From) > f.Min || f.From > f.To {
			t.Errorf("form %d is %+v: want min and max from 1, and from and to of one length, in order", i, f)
		}
	}
	d := debit(h, "shown", 470)
	if _, fits := about.CodeFit(d.AuthCode.Reveal()); !fits {
		t.Errorf("the harness's payment code has none of the forms %+v", about.PaymentCodes)
	}
	pay(t, h, d)
	moved(t, h, took(d))
}

func paymentCodeSecret(t TB, h Harness) {
	try := func(what string, d driver.Debit, arm func()) {
		code := string(d.AuthCode.Reveal())
		if code == "" {
			t.Fatalf("%s: the harness's debit has no payment code", what)
		}
		arm()
		r, err := submit(t.Context(), h, d)
		said := []string{r.ReasonCode, r.ProviderRef}
		if err != nil {
			said = append(said, err.Error())
		}
		r, err = h.Provider().Query(t.Context(), ref(d))
		said = append(said, r.ReasonCode, r.ProviderRef)
		if err != nil {
			said = append(said, err.Error())
		}
		if strings.Contains(strings.Join(said, "\n"), code) {
			t.Errorf("%s: what Submit or Query says holds the payment code", what)
		}
	}
	try("a payment", debit(h, "shown", 470), func() {})
	try("a decline", debit(h, "refused", 471), h.DeclineNext)
	try("an answer that makes no sense", debit(h, "garbled", 472), h.GarbleNext)
	try("a far side that dies", debit(h, "last", 473), h.DieNext)
}
