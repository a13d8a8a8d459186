package settle

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// A child is an element inside another one: how often it may come, and of what
// type it is.
type child struct {
	name     string
	min, max int // max 0 = any number
	of       string
}

func one(name, of string) child      { return child{name, 1, 1, of} }
func optional(name, of string) child { return child{name, 0, 1, of} }

// sequences are types of pain.001.001.09 by their names in the message definition
// report of ISO 20022, with all of their children in order. The type "" is one
// that a payout has no use for: it may not come at all.
var sequences = map[string][]child{
	"Document":                            {one("CstmrCdtTrfInitn", "CustomerCreditTransferInitiationV09")},
	"CustomerCreditTransferInitiationV09": {one("GrpHdr", "GroupHeader85"), {"PmtInf", 1, 0, "PaymentInstruction30"}, {"SplmtryData", 0, 0, ""}},
	"GroupHeader85": {
		one("MsgId", "Max35Text"), one("CreDtTm", "ISODateTime"), {"Authstn", 0, 2, ""}, one("NbOfTxs", "Max15NumericText"), optional("CtrlSum", "DecimalNumber"),
		one("InitgPty", "PartyIdentification135"), optional("FwdgAgt", ""),
	},
	"PaymentInstruction30": {
		one("PmtInfId", "Max35Text"), one("PmtMtd", "PaymentMethod3Code"), optional("BtchBookg", ""), optional("NbOfTxs", "Max15NumericText"),
		optional("CtrlSum", "DecimalNumber"), optional("PmtTpInf", ""), one("ReqdExctnDt", "DateAndDateTime2Choice"), optional("PoolgAdjstmntDt", ""),
		one("Dbtr", "PartyIdentification135"), one("DbtrAcct", "CashAccount38"), one("DbtrAgt", "BranchAndFinancialInstitutionIdentification6"),
		optional("DbtrAgtAcct", ""), optional("InstrForDbtrAgt", ""), optional("UltmtDbtr", ""), optional("ChrgBr", ""), optional("ChrgsAcct", ""),
		optional("ChrgsAcctAgt", ""), {"CdtTrfTxInf", 1, 0, "CreditTransferTransaction34"},
	},
	"CreditTransferTransaction34": {
		one("PmtId", "PaymentIdentification6"), optional("PmtTpInf", ""), one("Amt", "AmountType4Choice"), optional("XchgRateInf", ""), optional("ChrgBr", ""),
		optional("ChqInstr", ""), optional("UltmtDbtr", ""), optional("IntrmyAgt1", ""), optional("IntrmyAgt1Acct", ""), optional("IntrmyAgt2", ""),
		optional("IntrmyAgt2Acct", ""), optional("IntrmyAgt3", ""), optional("IntrmyAgt3Acct", ""), optional("CdtrAgt", ""), optional("CdtrAgtAcct", ""),
		optional("Cdtr", "PartyIdentification135"), optional("CdtrAcct", "CashAccount38"), optional("UltmtCdtr", ""), {"InstrForCdtrAgt", 0, 0, ""},
		optional("InstrForDbtrAgt", ""), optional("Purp", ""), {"RgltryRptg", 0, 10, ""}, optional("Tax", ""), {"RltdRmtInf", 0, 10, ""},
		optional("RmtInf", "RemittanceInformation16"), {"SplmtryData", 0, 0, ""},
	},
	"PaymentIdentification6": {optional("InstrId", ""), one("EndToEndId", "Max35Text"), optional("UETR", "")},
	"PartyIdentification135": {optional("Nm", "Max140Text"), optional("PstlAdr", ""), optional("Id", ""), optional("CtryOfRes", ""), optional("CtctDtls", "")},
	"CashAccount38": {
		one("Id", "AccountIdentification4Choice"), optional("Tp", ""), optional("Ccy", "ActiveOrHistoricCurrencyCode"), optional("Nm", ""), optional("Prxy", ""),
	},
	"GenericAccountIdentification1":                {one("Id", "Max34Text"), optional("SchmeNm", ""), optional("Issr", "")},
	"BranchAndFinancialInstitutionIdentification6": {one("FinInstnId", "FinancialInstitutionIdentification18"), optional("BrnchId", "")},
	"FinancialInstitutionIdentification18": {
		optional("BICFI", ""), optional("ClrSysMmbId", ""), optional("LEI", ""), optional("Nm", ""), optional("PstlAdr", ""),
		optional("Othr", "GenericFinancialIdentification1"),
	},
	"GenericFinancialIdentification1": {one("Id", "Max35Text"), optional("SchmeNm", ""), optional("Issr", "")},
	"RemittanceInformation16":         {{"Ustrd", 0, 0, "Max140Text"}, {"Strd", 0, 0, ""}},
}

// choices are types of which exactly one child comes.
var choices = map[string][]child{
	"DateAndDateTime2Choice":       {one("Dt", "ISODate"), one("DtTm", "ISODateTime")},
	"AccountIdentification4Choice": {one("IBAN", ""), one("Othr", "GenericAccountIdentification1")},
	"AmountType4Choice":            {one("InstdAmt", "ActiveOrHistoricCurrencyAndAmount"), one("EqvtAmt", "")},
}

// simples are types without children.
var simples = map[string]*regexp.Regexp{
	"Max34Text":                         regexp.MustCompile(`^.{1,34}$`),
	"Max35Text":                         regexp.MustCompile(`^.{1,35}$`),
	"Max140Text":                        regexp.MustCompile(`^.{1,140}$`),
	"Max15NumericText":                  regexp.MustCompile(`^[0-9]{1,15}$`),
	"DecimalNumber":                     regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,17})?$`),
	"ISODate":                           regexp.MustCompile(`^\d{4}-\d\d-\d\d$`),
	"ISODateTime":                       regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$`),
	"PaymentMethod3Code":                regexp.MustCompile(`^(CHK|TRF|TRA)$`),
	"ActiveOrHistoricCurrencyCode":      regexp.MustCompile(`^[A-Z]{3}$`),
	"ActiveOrHistoricCurrencyAndAmount": regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,5})?$`),
}

// A node is an element with its children.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []node     `xml:",any"`
}

// against lists what breaks the type of, at path and below.
func (n *node) against(of, path string) (bad []string) {
	if n.XMLName.Space != painSpace {
		bad = append(bad, path+" is in namespace "+n.XMLName.Space)
	}
	for _, a := range n.Attrs {
		money := of == "ActiveOrHistoricCurrencyAndAmount" && a.Name.Local == "Ccy" && simples["ActiveOrHistoricCurrencyCode"].MatchString(a.Value)
		if !money && a.Name.Local != "xmlns" {
			bad = append(bad, fmt.Sprintf("%s has %s=%q", path, a.Name.Local, a.Value))
		}
	}
	if of == "ActiveOrHistoricCurrencyAndAmount" && len(n.Attrs) != 1 {
		bad = append(bad, path+" has no currency")
	}
	if form, ok := simples[of]; ok {
		if len(n.Children) > 0 || !form.MatchString(n.Text) {
			bad = append(bad, fmt.Sprintf("%s: %q is no %s", path, n.Text, of))
		}
		return bad
	}
	if strings.TrimSpace(n.Text) != "" {
		bad = append(bad, fmt.Sprintf("%s holds the text %q", path, n.Text))
	}
	if among, ok := choices[of]; ok {
		if len(n.Children) != 1 {
			return append(bad, fmt.Sprintf("%s has %d children, a choice has one", path, len(n.Children)))
		}
		return append(bad, n.inOrder(without(among, n.Children[0].XMLName.Local), path)...)
	}
	sequence, ok := sequences[of]
	if !ok {
		return append(bad, fmt.Sprintf("%s is not for a payout", path))
	}
	return append(bad, n.inOrder(sequence, path)...)
}

// without gives the one child of a choice that is named, or its first one.
func without(among []child, name string) []child {
	for _, c := range among {
		if c.name == name {
			return []child{c}
		}
	}
	return among[:1]
}

// inOrder holds the children of n to a sequence.
func (n *node) inOrder(sequence []child, path string) (bad []string) {
	rest := n.Children
	for _, c := range sequence {
		count := 0
		for len(rest) > 0 && rest[0].XMLName.Local == c.name {
			bad = append(bad, rest[0].against(c.of, path+"/"+c.name)...)
			rest = rest[1:]
			count++
		}
		if count < c.min || c.max > 0 && count > c.max {
			bad = append(bad, fmt.Sprintf("%s has %d of %s", path, count, c.name))
		}
	}
	if len(rest) > 0 {
		bad = append(bad, fmt.Sprintf("%s: %s does not belong there", path, rest[0].XMLName.Local))
	}
	return bad
}

// schemaErrors lists what a payment file has that pain.001.001.09 does not allow.
func schemaErrors(body []byte) []string {
	d := xml.NewDecoder(bytes.NewReader(body))
	var root node
	if err := d.Decode(&root); err != nil {
		return []string{err.Error()}
	}
	if rest := body[d.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		return []string{"something follows the document"}
	}
	if root.XMLName.Local != "Document" {
		return []string{"the document is a " + root.XMLName.Local}
	}
	return root.against("Document", "Document")
}

// Every element is where the standard has it, as often as it may be, and of the
// form of its type.
func TestPaymentFileFollowsTheSchema(t *testing.T) {
	body, err := renderXML(minibus, calendar, order{Window: day}, samplePayouts())
	if err != nil {
		t.Fatal(err)
	}
	if bad := schemaErrors(body); len(bad) > 0 {
		t.Errorf("the payment file: %s", strings.Join(bad, "; "))
	}
	long := samplePayouts()
	long[0].Payee, long[1].Payee = strings.Repeat("owner", 60), "//小//"
	long[2].Amount = 1<<63 - 1
	if body, err = renderXML(minibus, calendar, order{Window: day}, long); err != nil {
		t.Fatal(err)
	}
	if bad := schemaErrors(body); len(bad) > 0 {
		t.Errorf("with names and amounts at their limits: %s", strings.Join(bad, "; "))
	}
}

// The check can fail: each of these breaks one rule of the standard.
func TestSchemaCheckFindsWhatBreaksIt(t *testing.T) {
	body, err := renderXML(minibus, calendar, order{Window: day}, samplePayouts())
	if err != nil {
		t.Fatal(err)
	}
	id := "<MsgId>CG-12-2026-11-21</MsgId>"
	name := "<Nm>Grune Minibusse + Sohne</Nm>"
	for what, c := range map[string]struct{ old, new string }{
		"two elements swapped":      {"<NbOfTxs>3</NbOfTxs>\n      <CtrlSum>1241.61</CtrlSum>", "<CtrlSum>1241.61</CtrlSum><NbOfTxs>3</NbOfTxs>"},
		"a required one missing":    {id, ""},
		"one twice":                 {id, id + id},
		"a text too long":           {id, "<MsgId>" + strings.Repeat("x", 36) + "</MsgId>"},
		"an empty text":             {id, "<MsgId></MsgId>"},
		"a name of another version": {"<ReqdExctnDt>\n        <Dt>2026-11-23</Dt>\n      </ReqdExctnDt>", "<ReqdExctnDt>2026-11-23</ReqdExctnDt>"},
		"both of a choice":          {"<Dt>2026-11-23</Dt>", "<Dt>2026-11-23</Dt><DtTm>2026-11-23T00:00:00Z</DtTm>"},
		"a date that is none":       {"<Dt>2026-11-23</Dt>", "<Dt>23.11.2026</Dt>"},
		"an amount in words":        {">1234.56<", ">1,234.56<"},
		"an amount without":         {` Ccy="CNY">1234.56<`, `>1234.56<`},
		"a currency in lower case":  {` Ccy="CNY">1234.56<`, ` Ccy="cny">1234.56<`},
		"a method that is none":     {">TRF<", ">SEPA<"},
		"an element nobody knows":   {name, name + "<Age>7</Age>"},
		"another namespace":         {"pain.001.001.09", "pain.001.001.03"},
		"an account number":         {"<Id>CITYGATE-12</Id>", "<Id>" + strings.Repeat("7", 35) + "</Id>"},
		"text between elements":     {"<GrpHdr>", "<GrpHdr>hello"},
		"a second document":         {"</Document>", "</Document><Document/>"},
	} {
		spoilt := strings.Replace(string(body), c.old, c.new, 1)
		if spoilt == string(body) {
			t.Errorf("%s: nothing to spoil", what)
		} else if bad := schemaErrors([]byte(spoilt)); len(bad) == 0 {
			t.Errorf("%s is not found", what)
		}
	}
}
