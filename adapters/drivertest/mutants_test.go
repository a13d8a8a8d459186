package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// recorder runs a case without failing the test that runs it.
type recorder struct {
	ctx    context.Context
	mu     sync.Mutex
	failed []string
	logged []string
}

type stopped struct{}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Failed() bool { return r.failed != nil }

func (r *recorder) Logf(format string, args ...any) {
	r.logged = append(r.logged, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stopped{})
}

// try runs one case and says how it failed, if it did. One that fails has to print its
// rule.
func try(t *testing.T, c testCase, h Harness) (failed []string) {
	r := &recorder{ctx: t.Context()}
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(stopped); !ours {
				panic(p)
			}
		}
		if failed = r.failed; failed != nil && !slices.Equal(r.logged, []string{"the rule: " + c.rule}) {
			t.Errorf("case %s failed and printed %q", c.name, r.logged)
		}
	}()
	play(r, c, h)
	return nil // the deferred function gives the answer
}

// TestHonestAdapterPasses also makes sure that every case applies to the toy.
func TestHonestAdapterPasses(t *testing.T) {
	for _, c := range cases {
		h := newToyHarness(t, honest)
		if !c.can(h) {
			t.Errorf("case %s does not apply to the toy, so no mutant can show that it works", c.name)
			continue
		}
		if failed := try(t, c, h); failed != nil {
			t.Errorf("case %s fails an honest adapter: %q", c.name, failed)
		}
	}
}

// Every case is failed by its mutant: a case that catches nothing does not count
// as a rule. The first ones, which are the rules about money itself, are failed by
// no other mutant of theirs.
func TestEachMutantFailsItsCase(t *testing.T) {
	further := map[string]func(*toyDriver) driver.Provider{}
	for _, some := range []map[string]func(*toyDriver) driver.Provider{moreMutants, evidenceMutants, agreementMutants, cardMutants, deviceMutants, walletMutants} {
		maps.Copy(further, some)
	}
	if len(cases) < 60 || len(mutants)+len(further) != len(cases) {
		t.Errorf("%d mutants for %d cases", len(mutants)+len(further), len(cases))
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] || c.rule == "" {
			t.Errorf("case %s is there twice or has no rule", c.name)
		}
		names[c.name] = true
		broken, among := mutants[c.name], firstCases
		if broken == nil {
			broken, among = further[c.name], []testCase{c}
		}
		if broken == nil {
			t.Errorf("case %s has no mutant", c.name)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var failed []string
			for _, other := range among {
				if try(t, other, newToyHarness(t, broken)) != nil {
					failed = append(failed, other.name)
				}
			}
			if !slices.Equal(failed, []string{c.name}) {
				t.Errorf("fails %q; want %q alone", failed, c.name)
			}
		})
	}
}

// A mutant is the honest adapter with some methods replaced. The embedded
// pointer keeps the optional abilities.
type mutant struct {
	*toyDriver
	submit    func(context.Context, []driver.Debit) ([]driver.Result, error)
	query     func(context.Context, driver.Ref) (driver.Result, error)
	refund    func(context.Context, driver.Refund) (driver.Result, error)
	parseBill func(driver.Bill) ([]driver.BillLine, error)
	resolve   func(context.Context, driver.CodeQuestion) (driver.CodeAnswer, error)

	describe    func() driver.Description
	queryRefund func(context.Context, driver.Refund) (driver.Result, error)
	fetchBill   func(context.Context, citygate.Date) (driver.Bill, error)
	keys        func(context.Context) ([]driver.FeedKey, error)
	deny        func(context.Context) ([]string, error)
	pushDeny    func(context.Context, driver.DenyChange) error
	reverse     func(context.Context, driver.Ref) (driver.Reversal, string, error)
	notify      func(context.Context, driver.Notification) (driver.Notice, driver.Ack, error)
	quote       func(context.Context, citygate.Money) (driver.Quote, error)
	mark        func(time.Time) string
	evidence    func(context.Context, []byte) (driver.EvidenceVerdict, string, error)
	card        func(context.Context, driver.CardState) error
}

func (m *mutant) Mark(at time.Time) string {
	if m.mark == nil {
		return m.toyDriver.Mark(at)
	}
	return m.mark(at)
}

func (m *mutant) Quote(ctx context.Context, asked citygate.Money) (driver.Quote, error) {
	if m.quote == nil {
		return m.toyDriver.Quote(ctx, asked)
	}
	return m.quote(ctx, asked)
}

func (m *mutant) Describe() driver.Description {
	if m.describe == nil {
		return m.toyDriver.Describe()
	}
	return m.describe()
}

func (m *mutant) QueryRefund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	if m.queryRefund == nil {
		return m.toyDriver.QueryRefund(ctx, r)
	}
	return m.queryRefund(ctx, r)
}

func (m *mutant) FetchBill(ctx context.Context, day citygate.Date) (driver.Bill, error) {
	if m.fetchBill == nil {
		return m.toyDriver.FetchBill(ctx, day)
	}
	return m.fetchBill(ctx, day)
}

func (m *mutant) PullKeys(ctx context.Context) ([]driver.FeedKey, error) {
	if m.keys == nil {
		return m.toyDriver.PullKeys(ctx)
	}
	return m.keys(ctx)
}

func (m *mutant) PushDeny(ctx context.Context, c driver.DenyChange) error {
	if m.pushDeny == nil {
		return m.toyDriver.PushDeny(ctx, c)
	}
	return m.pushDeny(ctx, c)
}

func (m *mutant) PullDeny(ctx context.Context) ([]string, error) {
	if m.deny == nil {
		return m.toyDriver.PullDeny(ctx)
	}
	return m.deny(ctx)
}

func (m *mutant) Reverse(ctx context.Context, r driver.Ref) (driver.Reversal, string, error) {
	if m.reverse == nil {
		return m.toyDriver.Reverse(ctx, r)
	}
	return m.reverse(ctx, r)
}

func (m *mutant) ParseNotify(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
	if m.notify == nil {
		return m.toyDriver.ParseNotify(ctx, n)
	}
	return m.notify(ctx, n)
}

func (m *mutant) ResolveCode(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
	if m.resolve == nil {
		return m.toyDriver.ResolveCode(ctx, q)
	}
	return m.resolve(ctx, q)
}

func (m *mutant) Submit(ctx context.Context, d []driver.Debit) ([]driver.Result, error) {
	if m.submit == nil {
		return m.toyDriver.Submit(ctx, d)
	}
	return m.submit(ctx, d)
}

func (m *mutant) Query(ctx context.Context, r driver.Ref) (driver.Result, error) {
	if m.query == nil {
		return m.toyDriver.Query(ctx, r)
	}
	return m.query(ctx, r)
}

func (m *mutant) Refund(ctx context.Context, r driver.Refund) (driver.Result, error) {
	if m.refund == nil {
		return m.toyDriver.Refund(ctx, r)
	}
	return m.refund(ctx, r)
}

func (m *mutant) ParseBill(b driver.Bill) ([]driver.BillLine, error) {
	if m.parseBill == nil {
		return m.toyDriver.ParseBill(b)
	}
	return m.parseBill(b)
}

var mutants = map[string]func(*toyDriver) driver.Provider{
	"amounts": func(d *toyDriver) driver.Provider { // sends tenths
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			debits = slices.Clone(debits)
			for i, m := range debits {
				debits[i].Amount.Minor = max(10, m.Amount.Minor/10*10)
			}
			return d.Submit(ctx, debits)
		}}
	},
	"duplicate": func(d *toyDriver) driver.Provider { // makes a new payment of one it made before
		done := map[string]int64{}
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			sent := slices.Clone(debits)
			for i, m := range debits {
				if done[m.OurID] == m.Amount.Minor {
					sent[i].OurID += "x"
				}
			}
			results, err := d.Submit(ctx, sent)
			for i, r := range results {
				results[i].OurID = debits[i].OurID
				if r.Outcome == driver.Succeeded {
					done[debits[i].OurID] = debits[i].Amount.Minor
				}
			}
			return results, err
		}}
	},
	"lost_reply": func(d *toyDriver) driver.Provider { // tries again under a new id when the connection breaks
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if err == nil || ctx.Err() != nil || errors.Is(err, driver.ErrNotPerformed) || strings.Contains(err.Error(), "no sense") ||
				errors.Is(err, driver.ErrCurrencyUnsupported) {
				return results, err
			}
			again := slices.Clone(debits)
			for i := range again {
				again[i].OurID += "x"
			}
			if _, second := d.Submit(ctx, again); second != nil {
				return nil, err
			}
			return nil, errors.New("toy: made it at the second attempt")
		}}
	},
	"death": func(d *toyDriver) driver.Provider { // believes the last error
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if err != nil && strings.Contains(err.Error(), "refused") {
				return nil, driver.ErrNotPerformed
			}
			return results, err
		}}
	},
	"slow": func(d *toyDriver) driver.Provider { // waits for the answer whatever the caller wants
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			return d.Submit(context.WithoutCancel(ctx), debits)
		}}
	},
	"garbled": func(d *toyDriver) driver.Provider { // what it cannot read is a no
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if err != nil && strings.Contains(err.Error(), "no sense") {
				return []driver.Result{{OurID: debits[0].OurID, Outcome: driver.Declined}}, nil
			}
			return results, err
		}}
	},
	"decline": func(d *toyDriver) driver.Provider { // takes no for perhaps when asked alone
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if len(results) == 1 && results[0].Outcome == driver.Declined {
				results[0].Outcome = driver.Unknown
			}
			return results, err
		}}
	},
	"partial": func(d *toyDriver) driver.Provider { // gives results in the far side's order
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			slices.Reverse(results)
			return results, err
		}}
	},
	"unknown_id": func(d *toyDriver) driver.Provider { // not known, so not paid
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			r, err := d.Query(ctx, ref)
			if r.Outcome == driver.Absent {
				r.Outcome = driver.Declined
			}
			return r, err
		}}
	},
	"other_content": func(d *toyDriver) driver.Provider { // takes the refusal of the content for a refusal of the payment
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			for i, r := range results {
				if r.ReasonCode == "conflict" {
					results[i].Outcome = driver.Declined
				}
			}
			return results, err
		}}
	},
	"currency": func(d *toyDriver) driver.Provider { // sends the number and forgets the currency
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			debits = slices.Clone(debits)
			for i := range debits {
				debits[i].Amount.Currency = "HKD"
			}
			return d.Submit(ctx, debits)
		}}
	},
	"refund_once": func(d *toyDriver) driver.Provider { // every answered refund is a new one
		n := 0
		return &mutant{toyDriver: d, refund: func(ctx context.Context, refund driver.Refund) (driver.Result, error) {
			id := refund.OurID
			if n > 0 && id == "back" {
				refund.OurID = fmt.Sprint(id, n)
			}
			r, err := d.Refund(ctx, refund)
			if err == nil {
				n++
			}
			r.OurID = id
			return r, err
		}}
	},
	"refund_lost_reply": func(d *toyDriver) driver.Provider { // nothing was heard, so nothing was done
		return &mutant{toyDriver: d, refund: func(ctx context.Context, refund driver.Refund) (driver.Result, error) {
			r, err := d.Refund(ctx, refund)
			if err != nil {
				return r, driver.ErrNotPerformed
			}
			return r, nil
		}}
	},
	"over_refund": func(d *toyDriver) driver.Provider { // a refused refund is a refund
		return &mutant{toyDriver: d, refund: func(ctx context.Context, refund driver.Refund) (driver.Result, error) {
			r, err := d.Refund(ctx, refund)
			if r.Outcome == driver.Declined {
				r.Outcome = driver.Succeeded
			}
			return r, err
		}}
	},
	"secrets": func(d *toyDriver) driver.Provider { // dumps the request it could not read the answer to
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if err != nil && strings.Contains(err.Error(), "no sense") {
				err = fmt.Errorf("%w: %v", err, http.Header{"Authorization": {toySecret}})
			}
			return results, err
		}}
	},
	"bill": func(d *toyDriver) driver.Provider { // reads refunds as money that came in
		return &mutant{toyDriver: d, parseBill: func(b driver.Bill) ([]driver.BillLine, error) {
			lines, err := d.ParseBill(b)
			for i, l := range lines {
				lines[i].Amount.Minor = max(l.Amount.Minor, -l.Amount.Minor)
			}
			return lines, err
		}}
	},
	"code_known": func(d *toyDriver) driver.Provider { // takes the second question about a code for a replay
		seen := map[string]string{}
		return &mutant{toyDriver: d, resolve: func(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
			a, err := d.ResolveCode(ctx, q)
			if first, ok := seen[string(q.Evidence)]; ok && first != q.OurID {
				return driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeRefused}, err
			}
			seen[string(q.Evidence)] = q.OurID
			return a, err
		}}
	},
	"code_stranger": func(d *toyDriver) driver.Provider { // a no is not final to it
		return &mutant{toyDriver: d, resolve: func(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
			a, err := d.ResolveCode(ctx, q)
			if a.Outcome == driver.CodeRefused {
				a.Outcome = driver.CodeUnknown
			}
			return a, err
		}}
	},
	"code_lost_reply": func(d *toyDriver) driver.Provider { // takes a broken connection for a no
		return &mutant{toyDriver: d, resolve: func(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
			a, err := d.ResolveCode(ctx, q)
			if err != nil && !strings.Contains(err.Error(), "no sense") {
				return driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeRefused}, nil
			}
			return a, err
		}}
	},
	"code_garbled": func(d *toyDriver) driver.Provider { // takes what it cannot read for a no
		return &mutant{toyDriver: d, resolve: func(ctx context.Context, q driver.CodeQuestion) (driver.CodeAnswer, error) {
			a, err := d.ResolveCode(ctx, q)
			if err != nil && strings.Contains(err.Error(), "no sense") {
				return driver.CodeAnswer{OurID: q.OurID, Outcome: driver.CodeRefused}, nil
			}
			return a, err
		}}
	},
	"bill_torn": func(d *toyDriver) driver.Provider { // does not add up
		return &mutant{toyDriver: d, parseBill: func(b driver.Bill) ([]driver.BillLine, error) {
			_, rows, _ := strings.Cut(string(b.Body), "\n")
			var sum int64
			for row := range strings.Lines(rows) {
				var it item
				if err := json.Unmarshal([]byte(row), &it); err != nil {
					return nil, err
				}
				sum += it.Minor
			}
			b.Body = fmt.Appendf(nil, "%d\n%s", sum, rows)
			return d.ParseBill(b)
		}}
	},
}
