package settle

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/xml"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bojanz/currency"
	"golang.org/x/text/unicode/norm"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants"
)

// painSpace is the XML namespace of the one message version written here.
const painSpace = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"

// The types below are the part of pain.001.001.09 that a payout needs, in the
// order of its schema.
type painDocument struct {
	XMLName xml.Name    `xml:"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09 Document"`
	Header  painGroup   `xml:"CstmrCdtTrfInitn>GrpHdr"`
	Batches []painBatch `xml:"CstmrCdtTrfInitn>PmtInf"`
}

type painGroup struct {
	MessageID string    `xml:"MsgId"`
	Created   string    `xml:"CreDtTm"`
	Count     int       `xml:"NbOfTxs"`
	Sum       string    `xml:"CtrlSum"`
	Initiator painParty `xml:"InitgPty"`
}

type painParty struct {
	Name string `xml:"Nm"`
}

type painAccount struct {
	ID       string `xml:"Id>Othr>Id"`
	Currency string `xml:"Ccy,omitempty"`
}

type painAgent struct {
	ID string `xml:"FinInstnId>Othr>Id"`
}

type painBatch struct {
	ID            string        `xml:"PmtInfId"`
	Method        string        `xml:"PmtMtd"`
	Count         int           `xml:"NbOfTxs"`
	Sum           string        `xml:"CtrlSum"`
	Execute       string        `xml:"ReqdExctnDt>Dt"`
	Debtor        painParty     `xml:"Dbtr"`
	DebtorAccount painAccount   `xml:"DbtrAcct"`
	DebtorAgent   painAgent     `xml:"DbtrAgt"`
	Payments      []painPayment `xml:"CdtTrfTxInf"`
}

type painPayment struct {
	EndToEndID string      `xml:"PmtId>EndToEndId"`
	Amount     painAmount  `xml:"Amt>InstdAmt"`
	Creditor   painParty   `xml:"Cdtr"`
	Account    painAccount `xml:"CdtrAcct"`
	Remittance string      `xml:"RmtInf>Ustrd"`
}

type painAmount struct {
	Currency string `xml:"Ccy,attr"`
	Value    string `xml:",chardata"`
}

// renderXML writes the payouts of an order as a payment order. Its bytes follow
// from the arguments alone.
func renderXML(t tenants.Tenant, cal citygate.Calendar, d order, payouts []Payout) ([]byte, error) {
	doc, err := newPain(t, cal, d, payouts)
	if err != nil {
		return nil, err
	}
	if err := doc.check(payouts); err != nil {
		return nil, err
	}
	body, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, ErrPayFile.Because(err, "%s of %s", d, t.Slug)
	}
	return slices.Concat([]byte(xml.Header), body, []byte("\n")), nil
}

func newPain(t tenants.Tenant, cal citygate.Calendar, d order, payouts []Payout) (painDocument, error) {
	if len(payouts) == 0 {
		return painDocument{}, ErrPayFile.Because(nil, "%s of %s has no payouts", d, t.Slug)
	}
	name, ok := latin(t.Name, 70)
	if !ok {
		name = t.Slug
	}
	created := payouts[0].booked()
	message := "CG-" + t.ID.String() + "-" + d.String()
	doc := painDocument{Header: painGroup{
		MessageID: message, Created: created.UTC().Format("2006-01-02T15:04:05Z"), Count: len(payouts), Initiator: painParty{name},
	}}
	sorted := slices.Clone(payouts)
	slices.SortStableFunc(sorted, func(a, b Payout) int {
		return cmp.Or(cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.Payee, b.Payee))
	})
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Currency == sorted[0].Currency {
			n++
		}
		ccy := sorted[0].Currency
		batch := painBatch{
			ID: message + "-" + string(ccy), Method: "TRF", Count: n,
			Execute: citygate.DateOf(created.In(cal.On(cal.BusinessDate(created)).Location)).String(), Debtor: painParty{name},
			DebtorAccount: painAccount{ID: "CITYGATE-" + t.ID.String(), Currency: string(ccy)}, DebtorAgent: painAgent{"NOTPROVIDED"},
		}
		for _, p := range sorted[:n] {
			payment, err := newPayment(t, p)
			if err != nil {
				return doc, err
			}
			batch.Payments = append(batch.Payments, payment)
		}
		batch.Sum = addUp(batch.Payments)
		doc.Batches = append(doc.Batches, batch)
		sorted = sorted[n:]
	}
	var all []painPayment
	for _, b := range doc.Batches {
		all = append(all, b.Payments...)
	}
	doc.Header.Sum = addUp(all)
	return doc, nil
}

func newPayment(t tenants.Tenant, p Payout) (painPayment, error) {
	amount, err := decimal(p.Amount, p.Currency)
	if err != nil {
		return painPayment{}, err
	}
	payee, ok := latin(p.Recipient(), 70)
	if !ok {
		payee = p.EndToEndID
	}
	account, ok := latin(p.Recipient(), 34)
	if !ok {
		account = p.EndToEndID
	}
	return painPayment{
		EndToEndID: p.EndToEndID, Amount: painAmount{string(p.Currency), amount}, Creditor: painParty{payee},
		Account: painAccount{ID: account}, Remittance: "Citygate " + t.Slug + " " + p.WindowDate.String(),
	}, nil
}

// check compares a finished document with what it orders, by its own text, so
// that a file that does not add up never leaves.
func (doc *painDocument) check(payouts []Payout) error {
	want := make(map[string]Payout, len(payouts))
	for _, p := range payouts {
		want[p.EndToEndID] = p
	}
	count := 0
	var all []painPayment
	for _, b := range doc.Batches {
		if b.Count != len(b.Payments) || b.Sum != addUp(b.Payments) || len(b.ID) > 35 {
			return ErrPayFile.Because(nil, "%s: %d payments of %s, said to be %d of %s", b.ID, len(b.Payments), addUp(b.Payments), b.Count, b.Sum)
		}
		count += b.Count
		all = append(all, b.Payments...)
		if err := plain(b.ID, b.Debtor.Name, b.DebtorAccount.ID); err != nil {
			return err
		}
	}
	for _, p := range all {
		w, ok := want[p.EndToEndID]
		delete(want, p.EndToEndID) // a second payment of one id is not wanted
		amount, err := decimal(w.Amount, w.Currency)
		if !ok || err != nil || p.Amount.Value != amount || p.Amount.Currency != string(w.Currency) || len(p.EndToEndID) > 35 {
			return ErrPayFile.Because(err, "payment %s of %s %s is not a payout", p.EndToEndID, p.Amount.Value, p.Amount.Currency)
		}
		if err := plain(p.EndToEndID, p.Creditor.Name, p.Account.ID, p.Remittance); err != nil {
			return err
		}
	}
	if h := doc.Header; count != len(payouts) || len(want) != 0 || h.Count != count || h.Sum != addUp(all) || len(h.MessageID) > 35 {
		return ErrPayFile.Because(nil, "%s: %d payments of %s for %d payouts, said to be %d of %s", h.MessageID, count, addUp(all), len(payouts), h.Count, h.Sum)
	}
	return plain(doc.Header.MessageID, doc.Header.Initiator.Name)
}

// addUp gives the control sum: the amounts added up whatever their currencies,
// as ISO 20022 wants it.
func addUp(payments []painPayment) string {
	sum, digits := new(big.Rat), 0
	for _, p := range payments {
		if v, ok := new(big.Rat).SetString(p.Amount.Value); ok {
			sum.Add(sum, v)
		}
		if _, fraction, ok := strings.Cut(p.Amount.Value, "."); ok {
			digits = max(digits, len(fraction))
		}
	}
	return sum.FloatString(digits) // exact: no summand has more digits
}

// decimal writes minor units as text: 1250 CNY is "12.50".
func decimal(minor int64, c citygate.Currency) (string, error) {
	digits, ok := currency.GetDigits(string(c))
	if !ok || minor <= 0 {
		return "", ErrPayFile.Because(nil, "an amount of %d %s", minor, c)
	}
	s := strconv.FormatInt(minor, 10)
	if digits == 0 {
		return s, nil
	}
	if pad := int(digits) + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	point := len(s) - int(digits)
	return s[:point] + "." + s[point:], nil
}

// sepa is the character set that every SEPA bank takes.
func sepa(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/-?:().,'+ ", r)
}

// plain refuses text with other characters, and the slashes that the rules for
// references forbid.
func plain(texts ...string) error {
	for _, s := range texts {
		bad := strings.IndexFunc(s, func(r rune) bool { return !sepa(r) })
		if s == "" || bad >= 0 || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.Contains(s, "//") {
			return ErrPayFile.Because(nil, "the text %q has characters that a payment file may not hold", s)
		}
	}
	return nil
}

// spelled is how letters are written that do not come apart into a letter and an
// accent.
var spelled = strings.NewReplacer("ß", "ss", "Æ", "AE", "æ", "ae", "Œ", "OE", "œ", "oe", "Ø", "O", "ø", "o",
	"Đ", "D", "đ", "d", "Ł", "L", "ł", "l", "Þ", "TH", "þ", "th", "ı", "i", "&", "+", "_", "-")

// latin reduces s to the SEPA characters and to limit of them. It reports false
// if no letter or digit is left to tell by.
func latin(s string, limit int) (string, bool) {
	var out strings.Builder
	telling := false
	for _, r := range norm.NFKD.String(spelled.Replace(s)) {
		switch {
		case unicode.Is(unicode.Mn, r): // an accent that came apart from its letter
			continue
		case !sepa(r):
			r = '.'
		case r != ' ' && (r >= '0' && r <= '9' || r >= 'A'):
			telling = true
		}
		out.WriteRune(r)
	}
	text := out.String()
	for strings.Contains(text, "//") {
		text = strings.ReplaceAll(text, "//", "/")
	}
	text = strings.Trim(text[:min(limit, len(text))], "/ ")
	return text, telling && text != ""
}

// renderCSV writes the payouts of a window for people.
func renderCSV(t tenants.Tenant, payouts []Payout) []byte {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	put := func(fields ...string) { _ = w.Write(fields) } // a bytes.Buffer does not fail
	put("tenant", "window", "payee", "currency", "amount", "amount_minor", "receipts", "end_to_end_id", "payout_id", "created_at")
	for _, p := range payouts {
		amount, err := decimal(p.Amount, p.Currency)
		if err != nil {
			amount = "" // a currency without a known exponent; the minor amount stands
		}
		put(t.Slug, p.WindowDate.String(), p.Recipient(), string(p.Currency), amount, strconv.FormatInt(p.Amount, 10),
			strconv.FormatInt(p.Receipts, 10), p.EndToEndID, p.ID.Text("pay_"), p.CreatedAt.UTC().Format(time.RFC3339))
	}
	w.Flush()
	return out.Bytes()
}
