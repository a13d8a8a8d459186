package unionpay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/wire"
)

// ErrMethod says that a tool named a call that this package does not speak.
var ErrMethod = &citygate.Code{Name: "unionpay.method", Kind: citygate.Invalid, Title: "There is no such call of the platform here; name one of the list."}

// A Standing is how an answer leaves what was asked for.
type Standing string

// The standings. The zero value is Open, so that what nobody thought of is never
// taken for an answer.
const (
	Open    Standing = ""        // it may have happened or happen yet: ask again
	Done    Standing = "done"    // the answer is final and says yes
	Refused Standing = "refused" // the answer is final and says no
)

// An Answer is what the platform said to one call. It was proven.
type Answer struct {
	Fields   map[string]string
	Lines    []driver.BillLine // of a settlement file, as the gateway reads it
	Standing Standing
	Why      string // why it is open or refused, in the platform's codes
}

// calls are the calls by name: their txnType, txnSubType and address.
var calls = map[string]struct{ kind, sub, path string }{
	"consume": {typeConsume, "06", callBack}, "consumeUndo": {typeRevoke, "00", callBack}, "refund": {typeRefund, "00", callBack}, "query": {typeQuery, "00", callQuery},
	opFile: {typeFile, subFile, ""},
}

// opFile asks for a settlement file: settleDate is MMDD, default the last clearing day.
// It is as UnionPay has it, so a dispute of another day's payment has no number of ours.
const opFile = "fileTransfer"

// Ops lists the names of the calls that this package speaks.
func Ops() []string { return []string{"consume", "consumeUndo", opFile, "query", "refund"} }

// Exec sends one call with the fields of biz beside the common ones and reads how
// the answer leaves the matter. It is for tools: the gateway uses the methods of
// driver's interfaces, which read the same tables.
//
// An error that is [driver.ErrNotPerformed] means that nothing was sent; after any
// other nobody can say.
func (p *Provider) Exec(ctx context.Context, op string, biz json.RawMessage) (Answer, error) {
	call, ok := calls[op]
	if !ok {
		return Answer{}, ErrMethod.Explain("%q; there are %s", op, strings.Join(Ops(), ", "))
	}
	m := p.common(call.kind, call.sub)
	now := p.config.Clock()
	m["txnTime"] = stamp(now)
	address, limit := p.config.Gateway+call.path, wire.CallLimit
	if op == opFile {
		last := p.BillDay(now).AddDays(-1).Time()
		address, limit = p.config.Files, wire.BillLimit
		m["orderId"], m["settleDate"], m["fileType"] = fileID(last), last.Format("0102"), "00"
	}
	if call.path == callBack {
		m["backUrl"] = p.config.BackURL
	}
	if call.kind == typeConsume {
		m["currencyCode"], m["termId"] = "156", p.config.TermID
	}
	if len(biz) > 0 {
		var fields map[string]string
		if err := json.Unmarshal(biz, &fields); err != nil {
			return Answer{}, fmt.Errorf("%w: unionpay: want a JSON object of texts", driver.ErrNotPerformed)
		}
		for name, value := range fields {
			m[name] = value
		}
	}
	out, err := p.call(ctx, address, m, limit)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Fields: out}
	if op == opFile {
		a.Lines, a.Standing, a.Why = p.fileIn(out, clearing(m["settleDate"], p.BillDay(now)))
		return a, nil
	}
	a.Standing, a.Why = standing(op, out)
	return a, nil
}

// fileIn reads the settlement file in an answer.
func (p *Provider) fileIn(out message, day citygate.Date) ([]driver.BillLine, Standing, string) {
	code := out["respCode"]
	switch {
	case notTaken[code]:
		return nil, Refused, "respCode " + clip(code)
	case code == codeNoFile:
		return nil, Open, "respCode " + code + ": there is no such file, or not yet"
	case code != codeOK:
		return nil, Open, "respCode " + clip(code)
	}
	body, err := inflate(out["fileContent"])
	if err != nil {
		return nil, Open, "the file cannot be read: " + err.Error()
	}
	lines, err := p.ParseBill(driver.Bill{Day: day, Body: body, Currency: cny})
	if err != nil {
		return nil, Open, "the file cannot be read: " + err.Error()
	}
	return lines, Done, ""
}

func standing(op string, out message) (Standing, string) {
	code := out["respCode"]
	why := "respCode " + clip(code)
	switch {
	case notTaken[code], op != "query" && op != "consume" && backRefused[code], op == "consume" && declined[code]:
		return Refused, why
	case op == "query" && code == codeAbsent:
		return Open, why + ": the platform does not know it, or not yet"
	case code != codeOK && code != codePartial:
		return Open, why
	case op != "query":
		return Open, why + ": it was taken; query says what became of it"
	}
	made := clip(out["origRespCode"])
	switch {
	case slices.Contains([]string{codeOK, codePartial}, made):
		return Done, ""
	case declined[made]:
		return Refused, "origRespCode " + made
	}
	return Open, "origRespCode " + made
}
