package settle

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
)

var (
	hongKong = mustZone("Asia/Hong_Kong")
	calendar = citygate.Calendar{Version: 3, Location: hongKong, Cut: 4 * time.Hour}
	day      = citygate.Date{Year: 2026, Month: 11, Day: 21}
	paidAt   = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	minibus  = tenants.Tenant{
		ID: 12, Slug: "green-minibus", Name: "Grüne Minibüsse & Söhne", Kind: tenants.Minibus, Mode: tenants.Sandbox,
		Currency: "CNY", TimeZone: "Asia/Hong_Kong", CutMinutes: 240, CalendarVersion: 3, State: tenants.Active,
	}
)

func mustZone(name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return l
}

func payout(payee string, amount int64, c citygate.Currency) Payout {
	var id citygate.UUID
	copy(id[:], string(c)+payee)
	return Payout{
		ID: id, WindowDate: day, Payee: payee, Currency: c, Amount: amount, Receipts: 3,
		EndToEndID: endToEnd(id), State: "created", CreatedAt: paidAt,
	}
}

func samplePayouts() []Payout {
	return []Payout{
		payout("owner:1", 123456, "CNY"), payout("owner:2 é", 5, "CNY"), payout("小巴", 700, "CNY"), payout("owner:1", 900, "JPY"),
	}
}

// golden compares got with a file that was checked by eye against the schema of
// pain.001.001.09.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v; rendered:\n%s", path, err, got)
	}
}

func TestPaymentFileIsTheGoldenOne(t *testing.T) {
	body, err := renderXML(minibus, calendar, order{Window: day}, samplePayouts())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "payout.xml", body)
	again, err := renderXML(minibus, calendar, order{Window: day}, samplePayouts())
	if err != nil || !bytes.Equal(body, again) {
		t.Errorf("the same payouts rendered twice differ, %v", err)
	}
	golden(t, "payout.csv", renderCSV(minibus, samplePayouts()))
}

func TestPaymentFileIsWellFormed(t *testing.T) {
	body, err := renderXML(minibus, calendar, order{Window: day}, samplePayouts())
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && (e.Name.Space != painSpace || strings.Contains(e.Name.Local, ":")) {
			t.Errorf("element %s is in namespace %q", e.Name.Local, e.Name.Space)
		}
	}
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		return // a second opinion, where there is one
	}
	args := []string{"--noout", "-"}
	// The schema is ISO 20022's and not ours to pass on: whoever has it puts it there.
	if xsd := filepath.Join("testdata", "pain.001.001.09.xsd"); fileExists(xsd) {
		args = append([]string{"--schema", xsd}, args...)
	}
	cmd := exec.CommandContext(t.Context(), lint, args...)
	cmd.Stdin = bytes.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s", err, out)
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A file that does not order exactly the payouts never leaves.
func TestPaymentFileThatDoesNotAddUpIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*painDocument){
		"count of the file":     func(d *painDocument) { d.Header.Count++ },
		"sum of the file":       func(d *painDocument) { d.Header.Sum = "1.00" },
		"count of a batch":      func(d *painDocument) { d.Batches[0].Count-- },
		"sum of a batch":        func(d *painDocument) { d.Batches[1].Sum = "901" },
		"an amount":             func(d *painDocument) { d.Batches[0].Payments[0].Amount.Value = "1234.57" },
		"a currency":            func(d *painDocument) { d.Batches[0].Payments[0].Amount.Currency = "HKD" },
		"a payment twice":       func(d *painDocument) { d.Batches[0].Payments[1] = d.Batches[0].Payments[0] },
		"a payment left out":    func(d *painDocument) { d.Batches = d.Batches[:1]; d.Header.Count = 3; d.Header.Sum = d.Batches[0].Sum },
		"an end-to-end id":      func(d *painDocument) { d.Batches[0].Payments[0].EndToEndID += strings.Repeat("X", 10) },
		"a character":           func(d *painDocument) { d.Batches[0].Payments[0].Creditor.Name = "Müller" },
		"a slash at the end":    func(d *painDocument) { d.Batches[0].Payments[0].Account.ID = "x/" },
		"a message id too long": func(d *painDocument) { d.Header.MessageID = strings.Repeat("X", 36) },
		"no name":               func(d *painDocument) { d.Header.Initiator.Name = "" },
	} {
		doc, err := newPain(minibus, calendar, order{Window: day}, samplePayouts())
		if err != nil {
			t.Fatal(err)
		}
		if err := doc.check(samplePayouts()); err != nil {
			t.Fatalf("before it was spoilt: %v", err)
		}
		spoil(&doc)
		if err := doc.check(samplePayouts()); !errors.Is(err, ErrPayFile) {
			t.Errorf("%s: err = %v; want ErrPayFile", name, err)
		}
	}
	if _, err := renderXML(minibus, calendar, order{Window: day}, nil); !errors.Is(err, ErrPayFile) {
		t.Errorf("no payouts: %v; want ErrPayFile", err)
	}
	if _, err := renderXML(minibus, calendar, order{Window: day}, []Payout{payout("a", 100, "XQX")}); !errors.Is(err, ErrPayFile) {
		t.Errorf("a currency without exponent: %v; want ErrPayFile", err)
	}
}

func TestDecimalKnowsTheExponent(t *testing.T) {
	for _, c := range []struct {
		minor    int64
		currency citygate.Currency
		want     string
	}{{1, "CNY", "0.01"}, {10, "HKD", "0.10"}, {123456, "CNY", "1234.56"}, {900, "JPY", "900"}, {7, "KWD", "0.007"}, {9223372036854775807, "CNY", "92233720368547758.07"}} {
		if got, err := decimal(c.minor, c.currency); err != nil || got != c.want {
			t.Errorf("decimal(%d, %s) = %q, %v; want %q", c.minor, c.currency, got, err, c.want)
		}
	}
}

func TestNamesAreReducedToWhatBanksTake(t *testing.T) {
	for _, c := range []struct {
		in, want string
		ok       bool
	}{
		{"owner:12", "owner:12", true},
		{"Grüne Straße & Søn", "Grune Strasse + Son", true},
		{"a//b///c/", "a/b/c", true},
		{"小巴 7", ".. 7", true},
		{"小巴", "..", false},
		{"", "", false},
		{"---", "---", false},
		{"<script>", ".script.", true},
		{strings.Repeat("é", 100), strings.Repeat("e", 70), true},
	} {
		if got, ok := latin(c.in, 70); got != c.want || ok != c.ok {
			t.Errorf("latin(%q) = %q, %v; want %q, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func FuzzLatin(f *testing.F) {
	f.Add("Grüne Straße // <b>", 34)
	f.Add("\xff/", 1)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 1 + (limit&0xff)%70
		text, ok := latin(s, limit)
		if len(text) > limit {
			t.Errorf("latin(%q, %d) = %q, which is longer", s, limit, text)
		}
		if ok {
			if err := plain(text); err != nil {
				t.Errorf("latin(%q, %d) = %q: %v", s, limit, text, err)
			}
		}
	})
}
