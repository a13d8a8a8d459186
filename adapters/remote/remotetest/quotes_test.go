package remotetest

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A quote, the payment at it, what goes back of that and the bill's row of it come out of
// the protocol as they went in.
func TestQuotesTravel(t *testing.T) {
	p := newProduct()
	raw := open(t, serve(t, p, nil), http.DefaultClient)
	d := adapters.New(raw, time.Now)
	ctx := t.Context()
	quoter, ok := d.Quoter()
	if !ok {
		t.Fatal("no Quoter")
	}
	fare := citygate.Money{Minor: 470, Currency: "HKD"}
	offer, err := quoter.Quote(ctx, fare)
	want, _ := p.Quote(ctx, fare)
	if err != nil || offer != want {
		t.Fatalf("Quote = %+v, %v; want %+v", offer, err, want)
	}
	paid := debit
	paid.Quote, paid.AuthCode = offer, citygate.NewSecret([]byte("7712345678"))
	results, err := d.Submit(ctx, []driver.Debit{paid})
	if err != nil || results[0].Outcome != driver.Succeeded || results[0].Exchange != exchanged(offer) {
		t.Errorf("Submit = %+v, %v", results, err)
	}
	if p.shown != "7712345678" {
		t.Errorf("the program was given the payment code %q", p.shown)
	}
	ref := driver.Ref{OurID: paid.OurID, Amount: fare, Quote: offer}
	if r, err := d.Query(ctx, ref); err != nil || r.Outcome != driver.Succeeded {
		t.Errorf("Query = %+v, %v", r, err)
	}
	refunder, _ := d.Refunder()
	back := driver.Refund{OurID: "back1", Charge: ref, Amount: citygate.Money{Minor: 100, Currency: "HKD"}, Pays: citygate.Money{Minor: 103, Currency: "MOP"}}
	if r, err := refunder.Refund(ctx, back); err != nil || r.Outcome != driver.Succeeded || p.pays != back.Pays {
		t.Errorf("Refund = %+v, %v; the program was told %s", r, err, p.pays)
	}
	bill, err := raw.FetchBill(ctx, citygate.DateOf(p.now))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := raw.ParseBill(bill)
	if err != nil || len(lines) != 2 || lines[0].Exchange != (driver.Exchange{Paid: offer.Pays}) || lines[1].Exchange != (driver.Exchange{}) {
		t.Errorf("the bill's rows are %+v, %v", lines, err)
	}
	if got := raw.Describe(); !reflect.DeepEqual(got.PaymentCodes, p.Describe().PaymentCodes) {
		t.Errorf("the forms of payment codes are %+v", got.PaymentCodes)
	}
}
