package remote

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A large program has a bill of many rows, and counts who asks for it.
type large struct {
	driver.Provider // none
	rows, asked     int
	broken          int // from this answer on its rows are others'
}

func (*large) Describe() driver.Description {
	return driver.Description{Name: "large", Version: "1", BatchMax: 1, IDMax: 64, PollEvery: time.Second, Deadline: time.Second}
}
func (*large) BillDay(at time.Time) citygate.Date { return citygate.DateOf(at) }

func (l *large) FetchBill(_ context.Context, day citygate.Date) (driver.Bill, error) {
	l.asked++
	return driver.Bill{Day: day, Name: "large", Currency: "HKD"}, nil
}

func (l *large) ParseBill(driver.Bill) (lines []driver.BillLine, err error) {
	for i := range l.rows {
		line := driver.BillLine{Line: i + 1, OurID: fmt.Sprint("ride", i), Amount: citygate.Money{Minor: int64(i + 1), Currency: "HKD"}, Fee: 1, At: billDay.Time()}
		if l.broken > 0 && l.asked >= l.broken {
			line.Amount.Minor++
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// paged opens a gateway's side that asks for so many rows at once, over HTTP.
func paged(t *testing.T, l *large, page int) *Driver {
	t.Helper()
	key := func() ed25519.PrivateKey {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return private
	}
	gateway, program := key(), key()
	c := config(t)
	handler, err := NewHandler(Program{
		Open:     func(Terms) (driver.Provider, error) { return l, nil },
		Manifest: c.Manifest, Gateways: map[string]crypto.PublicKey{"g": gateway.Public()}, KeyID: "p", Signer: program, Clock: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	der, err := x509.MarshalPKIXPublicKey(program.Public())
	if err != nil {
		t.Fatal(err)
	}
	c.URL, c.KeyID, c.Signer, c.Keys, c.HTTP, c.Clock, c.Random = server.URL, "g", gateway, []ProgramKey{{ID: "p", Public: der}}, http.DefaultClient, time.Now, rand.Reader
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	d.page = page
	return d
}

// A bill of many rows comes in several answers, is kept compressed, and reads as if it
// had come in one.
func TestLargeBillComesInPages(t *testing.T) {
	for rows, answers := range map[int]int{0: 1, 39: 1, 40: 1, 41: 2, 80: 2, 401: 11} {
		l := &large{rows: rows}
		d := paged(t, l, 40)
		b, err := d.FetchBill(t.Context(), billDay)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := d.ParseBill(b)
		if err != nil || len(lines) != rows || l.asked != answers {
			t.Errorf("%d rows: %d were read in %d answers, %v; want %d answers", rows, len(lines), l.asked, err, answers)
		}
		if compressed := bytes.HasPrefix(b.Body, gzipMark); compressed != (answers > 1) {
			t.Errorf("%d rows: compressed is %t", rows, compressed)
		}
		for i, line := range lines {
			if line.OurID != fmt.Sprint("ride", i) || line.Amount.Minor != int64(i+1) {
				t.Fatalf("line %d is %+v", i, line)
			}
		}
		if rows > 40 {
			b.Body = b.Body[:len(b.Body)-9]
			if _, err := d.ParseBill(b); !errors.Is(err, ErrBill) {
				t.Errorf("a file that is cut: %v", err)
			}
		}
	}
}

// A bill that changes between two answers does not add up.
func TestBillThatChangesBetweenPagesIsRefused(t *testing.T) {
	l := &large{rows: 100, broken: 3}
	d := paged(t, l, 40)
	b, err := d.FetchBill(t.Context(), billDay)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ParseBill(b); !errors.Is(err, ErrBill) {
		t.Errorf("a bill of two halves: %v", err)
	}
}

// A program that goes on saying that there is more is not asked for ever.
func TestMoreThatBringsNothingIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"nothing said": head + `{"more":false,"rows":3}` + "\n", "no number": head + `{"more":true,"rows":0}` + "\n", "another field": head + `{"more":true,"rows":1,"x":1}` + "\n",
	} {
		if _, _, err := cutMore([]byte(body)); !errors.Is(err, ErrBill) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseBill(bill(head + row1 + row2 + `{"more":true,"rows":2}` + "\n")); !errors.Is(err, ErrBill) {
		t.Errorf("a page as a bill: %v", err)
	}
}
