package remote

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/schema"
)

// The bounds on what a manifest may say.
const (
	batchMost    = 1000
	deadlineMost = 2 * time.Minute
	idMost       = 64

	codeFormsMost = 32
	codeMost      = 128 // characters of a payment code
)

// carried are the abilities that the protocol has calls for.
var carried = []driver.Capability{
	driver.CapRefund, driver.CapReverse, driver.CapNotify, driver.CapBill, driver.CapKeyFeed, driver.CapDenyFeed, driver.CapCodeResolve, driver.CapRider, driver.CapMark,
	driver.CapDenyPush, driver.CapEvidence,
	driver.CapQuote,
	driver.CapContract, driver.CapCardIssue,
	driver.CapAuthorize, driver.CapDeviceEnroll, driver.CapArrears,
}

// recoveries are the ways in which the recovery of a debt may be known.
var recoveries = []driver.Recovery{driver.RecoverByMerchant, driver.RecoverByRider, driver.RecoverByTap}

// Check reports the first thing in m that cannot be.
func (m *Manifest) Check() error {
	switch {
	case !slices.Contains(m.Protocol, Protocol):
		return ErrConfig.Explain("manifest.protocol: it speaks %q, and this gateway %s", m.Protocol, Protocol)
	case m.Name == "" || m.Version == "":
		return ErrConfig.Explain("manifest.name and manifest.version: want both")
	case m.BatchMax < 1 || m.BatchMax > batchMost:
		return ErrConfig.Explain("manifest.batch_max: want 1 to %d", batchMost)
	case m.IDMax < driver.IDMade || m.IDMax > idMost || m.IDMin < 0 || m.IDMin > driver.IDMade:
		return ErrConfig.Explain("manifest.id_max and id_min: the gateway's ids have %d characters; want id_max from there to %d, and id_min not above it", driver.IDMade, idMost)
	case m.IDCharset != "" && m.IDCharset != string(driver.Alnum):
		return ErrConfig.Explain("manifest.id_charset: want nothing or %q", driver.Alnum)
	case m.AmountMin < 0 || m.AmountMax < 0 || (m.AmountMax > 0 && m.AmountMin > m.AmountMax):
		return ErrConfig.Explain("manifest.amount_min and amount_max: want none negative, and the first not above the second")
	case !slices.Contains([]string{"", string(driver.SuccessOnly), string(driver.EveryFinalState)}, m.Notices):
		return ErrConfig.Explain("manifest.notices: want nothing, %q or %q", driver.SuccessOnly, driver.EveryFinalState)
	case m.RefundsMax < 0:
		return ErrConfig.Explain("manifest.refunds_max: want none negative")
	case m.RecoverTries < 0:
		return ErrConfig.Explain("manifest.recover_tries: want none negative")
	}
	if err := errors.Join(m.checkTimes(), m.checkCodes()); err != nil {
		return err
	}
	for _, c := range m.Currencies {
		if !citygate.Currency(c).Valid() {
			return ErrConfig.Explain("manifest.currencies: %.8q is not an ISO 4217 code", c)
		}
	}
	for _, way := range m.Recoveries {
		if !slices.Contains(recoveries, way) {
			return ErrConfig.Explain("manifest.recoveries: %.32q is not one of %v", string(way), recoveries)
		}
	}
	for _, c := range m.Capabilities {
		if !slices.Contains(carried, c) {
			return ErrConfig.Explain("manifest.capabilities: %.32q is not one of %v", string(c), carried)
		}
	}
	if m.ByAgreement && !slices.Contains(m.Capabilities, driver.CapContract) {
		return ErrConfig.Explain("manifest.by_agreement: wanted only with the capability %q: nobody could ask whether an agreement is in force", driver.CapContract)
	}
	return nil
}

// checkCodes holds the forms of payment codes, by which a till knows whose a code is.
func (m *Manifest) checkCodes() error {
	if len(m.PaymentCodes) > codeFormsMost {
		return ErrConfig.Explain("manifest.payment_codes: want at most %d forms", codeFormsMost)
	}
	for i, f := range m.PaymentCodes {
		if f.Min < 1 || f.Max < f.Min || f.Max > codeMost || len(f.From) != len(f.To) || len(f.From) > f.Min || f.From > f.To || !alnum(f.From+f.To, f.Letters) {
			return ErrConfig.Explain("manifest.payment_codes[%d]: want min and max from 1 to %d, and from and to of one length, no longer than min, of what codes have", i, codeMost)
		}
	}
	if t := m.Test; t != nil && len(m.PaymentCodes) > 0 {
		if _, fits := m.describe().CodeFit([]byte(t.PaymentCode)); !fits {
			return ErrConfig.Explain("manifest.test.payment_code: want one of the rider's that has one of the forms in payment_codes")
		}
	}
	return nil
}

// alnum reports whether a text has digits alone, or with letters.
func alnum(s string, letters bool) bool {
	return driver.Alnum.Holds(s) && (letters || strings.Trim(s, "0123456789") == "")
}

func (m *Manifest) checkTimes() error {
	for name, s := range map[string]int64{
		"quiet_seconds": m.QuietSeconds, "poll_seconds": m.PollSeconds, "query_delay_seconds": m.QueryDelaySeconds,
		"reverse_after_seconds": m.ReverseAfterSeconds, "reverse_within_seconds": m.ReverseWithinSeconds,
		"refund_within_seconds": m.RefundWithinSeconds, "notice_within_seconds": m.NoticeWithinSeconds,
		"payer_poll_seconds": m.PayerPollSeconds, "recover_within_seconds": m.RecoverWithinSeconds, "deadline_seconds": m.DeadlineSeconds,
	} {
		if s < 0 || s > 10*365*24*3600 {
			return ErrConfig.Explain("manifest.%s: want 0 or more seconds, and at most ten years", name)
		}
	}
	if d := seconds(m.DeadlineSeconds); d < time.Second || d > deadlineMost {
		return ErrConfig.Explain("manifest.deadline_seconds: want 1 to %d", deadlineMost/time.Second)
	}
	if m.PollSeconds == 0 {
		return ErrConfig.Explain("manifest.poll_seconds: want at least 1: the gateway asks that often about what is open")
	}
	if !slices.Contains(m.Capabilities, driver.CapBill) {
		return nil
	}
	if _, err := time.LoadLocation(m.BillZone); err != nil || m.BillZone == "" || m.BillZone == "Local" {
		return ErrConfig.Explain("manifest.bill_zone: want a time zone such as Asia/Shanghai")
	}
	if s := m.BillStartSeconds; s <= -86400 || s >= 86400 {
		return ErrConfig.Explain("manifest.bill_start_seconds: want less than a day")
	}
	return nil
}

// Accepts checks a contract's configuration against the manifest's schema.
func (m *Manifest) Accepts(config json.RawMessage) error {
	if len(m.ConfigSchema) == 0 {
		return nil
	}
	form, err := schema.Compile(m.ConfigSchema)
	if err != nil {
		return ErrConfig.Explain("manifest.config_schema: %s", err)
	}
	if err := form.Check(config, "/config"); err != nil {
		return ErrConfig.Explain("%s", err)
	}
	return nil
}

// describe gives the limits as the driver states them.
func (m *Manifest) describe() driver.Description {
	d := driver.Description{
		Name: m.Name, Version: m.Version, BatchMax: m.BatchMax, IDMax: m.IDMax, ResubmitSafe: m.ResubmitSafe,
		QuietTime: seconds(m.QuietSeconds), PollEvery: seconds(m.PollSeconds), Deadline: seconds(m.DeadlineSeconds),
		Limits: driver.Limits{
			IDMin: m.IDMin, Charset: driver.Charset(m.IDCharset), AmountMin: m.AmountMin, AmountMax: m.AmountMax,
			ReverseAfter: seconds(m.ReverseAfterSeconds), ReverseWithin: seconds(m.ReverseWithinSeconds),
			RefundWithin: seconds(m.RefundWithinSeconds), RefundsMax: m.RefundsMax, FullRefund: m.FullRefund, FirstRide: m.FirstRide, ByAgreement: m.ByAgreement,
			OverCapture: m.OverCapture,
			QueryDelay:  seconds(m.QueryDelaySeconds), PayerEvery: seconds(m.PayerPollSeconds), Notices: driver.NoticePromise(m.Notices), NoticeWithin: seconds(m.NoticeWithinSeconds),
			Recoveries: driver.Recoveries{
				ByMerchant: slices.Contains(m.Recoveries, driver.RecoverByMerchant), ByRider: slices.Contains(m.Recoveries, driver.RecoverByRider),
				ByTap: slices.Contains(m.Recoveries, driver.RecoverByTap), Tries: m.RecoverTries, Within: seconds(m.RecoverWithinSeconds),
			},
		},
	}
	for _, c := range m.Currencies {
		d.Currencies = append(d.Currencies, citygate.Currency(c))
	}
	for _, f := range m.PaymentCodes {
		d.PaymentCodes = append(d.PaymentCodes, driver.CodeForm(f))
	}
	return d
}

// manifestOf states a driver's limits as a manifest.
func manifestOf(p driver.Provider) Manifest {
	d := p.Describe()
	m := Manifest{
		Protocol: []string{Protocol}, Name: d.Name, Version: d.Version, BatchMax: d.BatchMax, IDMax: d.IDMax, ResubmitSafe: d.ResubmitSafe,
		Currencies: []string{}, Capabilities: []driver.Capability{},
		QuietSeconds: whole(d.QuietTime), PollSeconds: max(whole(d.PollEvery), 1), DeadlineSeconds: whole(d.Deadline),
		IDMin: d.Limits.IDMin, IDCharset: string(d.Limits.Charset), AmountMin: d.Limits.AmountMin, AmountMax: d.Limits.AmountMax,
		ReverseAfterSeconds: whole(d.Limits.ReverseAfter), ReverseWithinSeconds: whole(d.Limits.ReverseWithin),
		RefundWithinSeconds: whole(d.Limits.RefundWithin), RefundsMax: d.Limits.RefundsMax, FullRefund: d.Limits.FullRefund, FirstRide: d.Limits.FirstRide, ByAgreement: d.Limits.ByAgreement,
		OverCapture:       d.Limits.OverCapture,
		QueryDelaySeconds: whole(d.Limits.QueryDelay), PayerPollSeconds: whole(d.Limits.PayerEvery), Notices: string(d.Limits.Notices), NoticeWithinSeconds: whole(d.Limits.NoticeWithin),
		RecoverTries: d.Limits.Recoveries.Tries, RecoverWithinSeconds: whole(d.Limits.Recoveries.Within),
	}
	for _, way := range recoveries {
		if d.Limits.Recoveries.Has(way) {
			m.Recoveries = append(m.Recoveries, way)
		}
	}
	if d.Deadline == 0 {
		m.DeadlineSeconds = 30
	}
	for _, c := range d.Currencies {
		m.Currencies = append(m.Currencies, string(c))
	}
	for _, f := range d.PaymentCodes {
		m.PaymentCodes = append(m.PaymentCodes, codeForm(f))
	}
	for _, c := range driver.Capabilities(p) {
		if slices.Contains(carried, c) {
			m.Capabilities = append(m.Capabilities, c)
		}
	}
	return m
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// whole rounds up: a limit in seconds is never shorter than the one meant.
func whole(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
