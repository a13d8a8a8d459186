package wechatpay

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// Columns of the bill of an account's movements.
const (
	colBooked    = "记账时间"
	colBusiness  = "微信支付业务单号"
	colFlow      = "资金流水单号"
	colName      = "业务名称"
	colDirection = "收支类型"
	colMoved     = "收支金额"
	colBalance   = "账户结余"
	colVoucher   = "业务凭证号"

	sumFlows    = "资金流水总笔数"
	sumInCount  = "收入笔数"
	sumIn       = "收入金额"
	sumOutCount = "支出笔数"
	sumOut      = "支出金额"

	directionIn  = "收入"
	directionOut = "支出"
)

// A FundFlow is one movement of a merchant's account.
type FundFlow struct {
	Line        int
	At          time.Time
	ProviderRef string // the platform's number of the business behind it
	FlowRef     string // the platform's number of the movement
	Name        string // what it was, in the platform's words
	Voucher     string // our number of the business behind it, where it has one
	Amount      citygate.Money
	Balance     citygate.Money // of the account afterwards
}

// ParseFundFlow reads a bill of an account's movements. It is pure. Movements
// must add up to the summary, and each balance must be the one before it and the
// movement, so a row that is missing in the middle is noticed too.
func ParseFundFlow(bill driver.Bill) ([]FundFlow, error) {
	var flows []FundFlow
	var sums flowSums
	summary, err := readTable(bill.Body, []string{colBooked, colFlow, colDirection, colMoved, colBalance}, []string{sumFlows, sumInCount, sumIn, sumOutCount, sumOut}, func(r tableRow) error {
		flow, err := flowOf(r, bill.Currency)
		if err != nil {
			return fmt.Errorf("wechatpay: the bill's line %d: %w", r.line, err)
		}
		if len(flows) > 0 {
			before, err := add(flows[len(flows)-1].Balance.Minor, flow.Amount.Minor)
			if err != nil || before != flow.Balance.Minor {
				return fmt.Errorf("wechatpay: the bill's line %d: the balance does not follow from the one before", r.line)
			}
		}
		flows = append(flows, flow)
		return sums.count(flow.Amount.Minor)
	})
	if err == nil {
		err = sums.agree(summary)
	}
	if err != nil {
		return nil, err
	}
	return flows, nil
}

func flowOf(r tableRow, currency citygate.Currency) (FundFlow, error) {
	at, err := time.ParseInLocation(time.DateTime, r.cell(colBooked), beijing)
	if err != nil {
		return FundFlow{}, errors.New("without a time")
	}
	moved, err := minor(r.cell(colMoved))
	if err != nil {
		return FundFlow{}, err
	}
	balance, err := minor(r.cell(colBalance))
	if err != nil {
		return FundFlow{}, err
	}
	switch direction := r.cell(colDirection); {
	case moved < 0:
		return FundFlow{}, errors.New("a movement of less than nothing")
	case direction == directionOut:
		moved = -moved
	case direction != directionIn:
		return FundFlow{}, fmt.Errorf("a movement that is %.20q", direction)
	}
	return FundFlow{
		Line: r.line, At: at.UTC(), ProviderRef: r.cell(colBusiness), FlowRef: r.cell(colFlow), Name: r.cell(colName), Voucher: r.cell(colVoucher),
		Amount: citygate.Money{Minor: moved, Currency: currency}, Balance: citygate.Money{Minor: balance, Currency: currency},
	}, nil
}

// flowSums are what the movements of a bill add up to.
type flowSums struct{ ins, outs, in, out int64 }

func (s *flowSums) count(moved int64) (err error) {
	if moved < 0 {
		s.outs++
		s.out, err = add(s.out, -moved)
		return err
	}
	s.ins++
	s.in, err = add(s.in, moved)
	return err
}

func (s *flowSums) agree(summary tableRow) error {
	for name, want := range map[string]int64{sumFlows: s.ins + s.outs, sumInCount: s.ins, sumOutCount: s.outs} {
		if got := summary.cell(name); got != strconv.FormatInt(want, 10) {
			return fmt.Errorf("wechatpay: the bill's %s: it says %.20q, the rows %d", name, got, want)
		}
	}
	for name, want := range map[string]int64{sumIn: s.in, sumOut: s.out} {
		got, err := minor(summary.cell(name))
		if err != nil || got != want {
			return fmt.Errorf("wechatpay: the bill's %s is not what its rows add up to", name)
		}
	}
	return nil
}
