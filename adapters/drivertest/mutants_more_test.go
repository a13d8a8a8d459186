package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// The broken adapters of the later cases. Most change what is sent, or what is
// made of the answer, in one place.

type (
	breakage   = func(*toyDriver) driver.Provider
	submitFunc = func(context.Context, []driver.Debit) ([]driver.Result, error)
	refundFunc = func(context.Context, driver.Refund) (driver.Result, error)
)

// sends changes the debits that are sent; the results keep the ids asked for.
func sends(change func(*driver.Debit)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, submit: renamed(d.Submit, change)}
	}
}

func renamed(submit submitFunc, change func(*driver.Debit)) submitFunc {
	return func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
		sent := slices.Clone(debits)
		for i := range sent {
			change(&sent[i])
		}
		results, err := submit(ctx, sent)
		for i := range results {
			results[i].OurID = debits[i].OurID
		}
		return results, err
	}
}

// reads changes what is made of an answer to Submit.
func reads(change func(ctx context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			return change(ctx, debits, results, err)
		}}
	}
}

func saying(debits []driver.Debit, o driver.Outcome) []driver.Result {
	results := make([]driver.Result, len(debits))
	for i, d := range debits {
		results[i] = driver.Result{OurID: d.OurID, Outcome: o}
	}
	return results
}

// asks changes what is made of an answer to Query.
func asks(change func(ctx context.Context, ref driver.Ref, r driver.Result, err error) (driver.Result, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			r, err := d.Query(ctx, ref)
			return change(ctx, ref, r, err)
		}}
	}
}

// describes changes the description.
func describes(change func(*driver.Description)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, describe: func() driver.Description {
			about := d.Describe()
			change(&about)
			return about
		}}
	}
}

// gives changes the refunds that are asked for, refundReads what is made of the
// answers.
func gives(change func(*driver.Refund)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, refund: renamedRefund(d.Refund, change)}
	}
}

func renamedRefund(refund refundFunc, change func(*driver.Refund)) refundFunc {
	return func(ctx context.Context, r driver.Refund) (driver.Result, error) {
		sent := r
		change(&sent)
		result, err := refund(ctx, sent)
		result.OurID = r.OurID
		return result, err
	}
}

func refundReads(change func(ctx context.Context, r driver.Result, err error) (driver.Result, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, refund: func(ctx context.Context, refund driver.Refund) (driver.Result, error) {
			r, err := d.Refund(ctx, refund)
			return change(ctx, r, err)
		}}
	}
}

func refundAsks(change func(r driver.Result, err error) (driver.Result, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, queryRefund: func(ctx context.Context, refund driver.Refund) (driver.Result, error) {
			return change(d.QueryRefund(ctx, refund))
		}}
	}
}

// bills changes what is made of a bill.
func billReads(change func(lines []driver.BillLine, err error) ([]driver.BillLine, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, parseBill: func(b driver.Bill) ([]driver.BillLine, error) { return change(d.ParseBill(b)) }}
	}
}

func reversals(change func(r driver.Reversal, err error) (driver.Reversal, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, reverse: func(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
			r, why, err := d.Reverse(ctx, ref)
			r, err = change(r, err)
			return r, why, err
		}}
	}
}

func notices(change func(n driver.Notification, notice driver.Notice, err error) (driver.Notice, error)) breakage {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, notify: func(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
			notice, ack, err := d.ParseNotify(ctx, n)
			notice, err = change(n, notice, err)
			return notice, ack, err
		}}
	}
}

func refused(err error) bool { return err != nil && strings.Contains(err.Error(), "refused") }

var errBusy = errors.New("toy: busy")

var moreMutants = map[string]breakage{
	"shed_request": reads(func(_ context.Context, _ []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if err != nil { // takes whatever is no answer for nothing done
			err = errors.Join(driver.ErrNotPerformed, err)
		}
		return results, err
	}),
	"shed_until": func(d *toyDriver) driver.Provider { // sends past adapters/wire
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			return d.Submit(context.WithoutCancel(context.Background()), debits)
		}}
	},
	"payment_code_form": describes(func(about *driver.Description) { // names the codes of another wallet
		about.PaymentCodes = []driver.CodeForm{{From: "13", To: "13", Min: 18, Max: 18}}
	}),
	"payment_code_secret": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		for i := range results { // says which code was refused
			if results[i].Outcome == driver.Declined {
				results[i].ReasonCode += " " + string(debits[i].AuthCode.Reveal())
			}
		}
		return results, err
	}),
	"quote_whole": func(d *toyDriver) driver.Provider { // quotes a round amount for whatever it is asked
		return &mutant{toyDriver: d, quote: func(context.Context, citygate.Money) (driver.Quote, error) {
			return toyQuote(citygate.Money{Minor: 100, Currency: "HKD"}), nil
		}}
	},
	"quote_moves_nothing": func(d *toyDriver) driver.Provider { // takes the money with the question
		return &mutant{toyDriver: d, quote: func(ctx context.Context, m citygate.Money) (driver.Quote, error) {
			_, err := d.Submit(ctx, []driver.Debit{{OurID: "early", Amount: m}})
			return toyQuote(m), err
		}}
	},
	"quote_paid": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		for i := range results { // says the payer's amount for the fare's
			results[i].Amount = debits[i].Quote.Pays
		}
		return results, err
	}),
	"quote_other": func(d *toyDriver) driver.Provider { // looks at the fare alone
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			ref.Quote = driver.Quote{}
			return d.Query(ctx, ref)
		}}
	},
	"lost_request": reads(func(_ context.Context, _ []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if err != nil { // takes a connection that was closed for a request that was never sent
			err = driver.ErrNotPerformed
		}
		return results, err
	}),
	"describe_named":   describes(func(d *driver.Description) { d.IDMax = driver.IDMade - 1 }),
	"describe_limits":  describes(func(d *driver.Description) { d.Limits.AmountMin = d.Limits.AmountMax + 1 }),
	"describe_notices": describes(func(d *driver.Description) { d.Limits.Notices = "always" }),
	"secrets_described": describes(func(d *driver.Description) {
		d.Version = "with " + toySecret
	}),
	"describe_static": func(d *toyDriver) driver.Provider { // learns as it goes
		calls := 0
		return &mutant{toyDriver: d, describe: func() driver.Description {
			calls++
			about := d.Describe()
			about.BatchMax += calls
			return about
		}}
	},
	"no_debits": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if len(debits) == 0 {
			return nil, errBusy
		}
		return results, err
	}),
	"full_batch": reads(func(_ context.Context, _ []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		slices.Reverse(results)
		return results, err
	}),
	"longest_id":  sends(func(d *driver.Debit) { d.OurID = d.OurID[:min(len(d.OurID), 32)] }),
	"id_too_long": sends(func(d *driver.Debit) { d.OurID = d.OurID[:min(len(d.OurID), 64)] }),
	"id_case":     sends(func(d *driver.Debit) { d.OurID = strings.ToLower(d.OurID) }),
	"id_digits":   sends(func(d *driver.Debit) { d.OurID = strings.TrimLeft(d.OurID, "0") }),
	"nothing_to_pay": sends(func(d *driver.Debit) {
		if d.Amount.Minor == 0 {
			d.Amount.Minor = 1
		}
	}),
	"negative_amount": sends(func(d *driver.Debit) { d.Amount.Minor = max(d.Amount.Minor, -d.Amount.Minor) }),
	"large_amount":    sends(func(d *driver.Debit) { d.Amount.Minor %= 10_000_000 }),
	"over_limit":      sends(func(d *driver.Debit) { d.Amount.Minor = min(d.Amount.Minor, toyMost) }),
	"no_currency": sends(func(d *driver.Debit) {
		if d.Amount.Currency == "" {
			d.Amount.Currency = "HKD"
		}
	}),
	"lost_twice": func(d *toyDriver) driver.Provider { // a second attempt is another payment
		tries := 0
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			tries++
			return renamed(d.Submit, func(d *driver.Debit) { d.OurID += fmt.Sprint(tries) })(ctx, debits)
		}}
	},
	"garbled_twice": func(d *toyDriver) driver.Provider { // twice nonsense is a no
		tries := 0
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := d.Submit(ctx, debits)
			if err != nil {
				if tries++; tries == 2 {
					return saying(debits, driver.Declined), nil
				}
			}
			return results, err
		}}
	},
	"ended_context": reads(func(ctx context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if ctx.Err() != nil {
			return saying(debits, driver.Declined), nil
		}
		return results, err
	}),
	"deadline": reads(func(ctx context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return saying(debits, driver.Declined), nil
		}
		return results, err
	}),
	"gone": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if refused(err) {
			return saying(debits, driver.Declined), nil
		}
		return results, err
	}),
	"decline_reason": reads(func(_ context.Context, _ []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		for i := range results {
			results[i].ReasonCode = ""
		}
		return results, err
	}),
	"declined_again": func(d *toyDriver) driver.Provider { // tries its luck under another id
		declined := map[string]bool{}
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			results, err := renamed(d.Submit, func(d *driver.Debit) {
				if declined[d.OurID] {
					d.OurID += "again"
				}
			})(ctx, debits)
			for _, r := range results {
				declined[r.OurID] = r.Outcome == driver.Declined
			}
			return results, err
		}}
	},
	"decline_one": func(d *toyDriver) driver.Provider { // once poor, always poor
		poor := false
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			if poor {
				return saying(debits, driver.Declined), nil
			}
			results, err := d.Submit(ctx, debits)
			poor = len(results) > 0 && results[0].Outcome == driver.Declined
			return results, err
		}}
	},
	"provider_ref": reads(func(_ context.Context, _ []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		for i := range results {
			results[i].ProviderRef = "toy"
		}
		return results, err
	}),
	"subject_hostile": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if len(debits) > 0 && strings.Contains(debits[0].Subject, "&") {
			return nil, errBusy
		}
		return results, err
	}),
	"subject_long": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if len(debits) > 0 && len(debits[0].Subject) > 500 {
			return nil, errBusy
		}
		return results, err
	}),
	"attempted": sends(func(d *driver.Debit) { d.OurID += fmt.Sprint(d.Attempted.Unix() & 0xffff) }),
	"zone":      sends(func(d *driver.Debit) { d.OurID += d.TripTime.Format("1504") }),
	"parallel_same": func(d *toyDriver) driver.Provider { // who comes second is another payment
		var calls atomic.Int32
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			n := calls.Add(1)
			return renamed(d.Submit, func(d *driver.Debit) { d.OurID += strings.Repeat("x", int(n)-1) })(ctx, debits)
		}}
	},
	"parallel_many": func(d *toyDriver) driver.Provider { // has room for ten
		var calls atomic.Int32
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			if calls.Add(1) > 10 {
				return nil, errBusy
			}
			return d.Submit(ctx, debits)
		}}
	},

	"query_ended_context": asks(func(ctx context.Context, ref driver.Ref, r driver.Result, err error) (driver.Result, error) {
		if ctx.Err() != nil {
			return driver.Result{OurID: ref.OurID, Outcome: driver.Declined}, nil
		}
		return r, err
	}),
	"query_gone": func(d *toyDriver) driver.Provider { // no answer, no payment
		failed := 0
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			r, err := d.Query(ctx, ref)
			if err != nil {
				if failed++; failed > 1 {
					return driver.Result{OurID: ref.OurID, Outcome: driver.Absent}, nil
				}
			}
			return r, err
		}}
	},
	"query_found": asks(func(_ context.Context, _ driver.Ref, r driver.Result, err error) (driver.Result, error) {
		r.Outcome = driver.Declined
		return r, err
	}),
	"query_moves_nothing": func(d *toyDriver) driver.Provider { // pays once more to see whether it works
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			_, _ = d.Submit(ctx, []driver.Debit{{OurID: ref.OurID + "q", Amount: ref.Amount}})
			return d.Query(ctx, ref)
		}}
	},
	"query_other_amount": func(d *toyDriver) driver.Provider { // looks at the id alone
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			ref.Amount = citygate.Money{}
			return d.Query(ctx, ref)
		}}
	},
	"query_other_ref": func(d *toyDriver) driver.Provider { // prefers the provider's reference
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			id := ref.OurID
			if theirs, ok := strings.CutPrefix(ref.ProviderRef, "T"); ok {
				ref.OurID = theirs
			}
			r, err := d.Query(ctx, ref)
			r.OurID = id
			return r, err
		}}
	},
	"prompt_query": func(d *toyDriver) driver.Provider { // waits for an answer whatever the caller wants
		return &mutant{toyDriver: d, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			<-time.After(1100 * time.Millisecond)
			return d.Query(ctx, ref)
		}}
	},

	"refund_full":  gives(func(r *driver.Refund) { r.Amount.Minor = min(r.Amount.Minor, 499) }),
	"refund_parts": gives(func(r *driver.Refund) { r.Amount.Minor = max(r.Amount.Minor, 100) }),
	"refund_found": refundAsks(func(r driver.Result, err error) (driver.Result, error) {
		r.Outcome = driver.Declined
		return r, err
	}),
	"refund_unknown": refundAsks(func(r driver.Result, err error) (driver.Result, error) {
		if r.Outcome == driver.Absent {
			r.Outcome = driver.Declined
		}
		return r, err
	}),
	"refund_of_one": refundAsks(func(r driver.Result, err error) (driver.Result, error) {
		r.Outcome = driver.Succeeded
		return r, err
	}),
	"refund_other_amount": refundReads(func(_ context.Context, r driver.Result, err error) (driver.Result, error) {
		if r.ReasonCode == "conflict" {
			r.Outcome = driver.Succeeded
		}
		return r, err
	}),
	"refund_of_nothing": refundReads(func(_ context.Context, r driver.Result, err error) (driver.Result, error) {
		r.Outcome = driver.Succeeded
		return r, err
	}),
	"refund_of_declined": refundReads(func(_ context.Context, r driver.Result, err error) (driver.Result, error) {
		r.Outcome = driver.Succeeded
		return r, err
	}),
	"refund_gone": refundReads(func(_ context.Context, r driver.Result, err error) (driver.Result, error) {
		if err != nil {
			r.Outcome = driver.Declined
		}
		return r, nil
	}),
	"refund_ended_context": refundReads(func(ctx context.Context, r driver.Result, err error) (driver.Result, error) {
		if ctx.Err() != nil {
			r.Outcome = driver.Declined
			return r, nil
		}
		return r, err
	}),
	"refund_currency": gives(func(r *driver.Refund) { r.Amount.Currency = "HKD" }),
	"refund_zero":     gives(func(r *driver.Refund) { r.Amount.Minor = max(r.Amount.Minor, 1) }),
	"refund_parallel": func(d *toyDriver) driver.Provider { // who comes second is another refund
		var calls atomic.Int32
		return &mutant{toyDriver: d, refund: func(ctx context.Context, r driver.Refund) (driver.Result, error) {
			n := calls.Add(1)
			return renamedRefund(d.Refund, func(r *driver.Refund) { r.OurID += fmt.Sprint(n) })(ctx, r)
		}}
	},
	"refund_reason": func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, refund: func(ctx context.Context, r driver.Refund) (driver.Result, error) {
			if strings.Contains(r.Reason, "&") {
				return driver.Result{OurID: r.OurID}, errBusy
			}
			return d.Refund(ctx, r)
		}}
	},
	"refunded_query": func(d *toyDriver) driver.Provider { // closed is closed
		given := false
		return &mutant{toyDriver: d, refund: func(ctx context.Context, r driver.Refund) (driver.Result, error) {
			given = true
			return d.Refund(ctx, r)
		}, query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
			r, err := d.Query(ctx, ref)
			if given {
				r.Outcome = driver.Declined
			}
			return r, err
		}}
	},
	"refund_secrets": refundReads(func(_ context.Context, r driver.Result, err error) (driver.Result, error) {
		if err != nil {
			err = fmt.Errorf("%w, signed with %s", err, toySecret)
		}
		return r, err
	}),

	"bill_of_tomorrow": func(d *toyDriver) driver.Provider { // any day's bill is today's
		return &mutant{toyDriver: d, fetchBill: func(ctx context.Context, day citygate.Date) (driver.Bill, error) {
			b, err := d.FetchBill(ctx, citygate.DateOf(toyNoon))
			b.Day = day
			return b, err
		}}
	},
	"bill_says_its_day": func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, fetchBill: func(ctx context.Context, day citygate.Date) (driver.Bill, error) {
			b, err := d.FetchBill(ctx, day)
			b.Day = day.AddDays(-1)
			return b, err
		}}
	},
	"bill_again": func(d *toyDriver) driver.Provider { // a bill is used up
		used := false
		return &mutant{toyDriver: d, parseBill: func(b driver.Bill) ([]driver.BillLine, error) {
			if used {
				return nil, nil
			}
			used = true
			return d.ParseBill(b)
		}}
	},
	"bill_garbage": billReads(func(lines []driver.BillLine, _ error) ([]driver.BillLine, error) { return lines, nil }),
	"bill_cut": func(d *toyDriver) driver.Provider { // reads what it can
		return &mutant{toyDriver: d, parseBill: func(b driver.Bill) ([]driver.BillLine, error) {
			_, rows, _ := bytes.Cut(b.Body, []byte("\n"))
			var lines []driver.BillLine
			for row := range bytes.Lines(rows) {
				var it item
				if json.Unmarshal(row, &it) == nil {
					lines = append(lines, driver.BillLine{Line: len(lines) + 2, OurID: it.ID, Amount: citygate.Money{Minor: it.Minor, Currency: "HKD"}})
				}
			}
			return lines, nil
		}}
	},
	"bill_declined": billReads(func(lines []driver.BillLine, err error) ([]driver.BillLine, error) {
		return append(lines, driver.BillLine{Line: 99, OurID: "declined"}), err
	}),
	"bill_lost_reply": billReads(func(lines []driver.BillLine, err error) ([]driver.BillLine, error) {
		return slices.DeleteFunc(lines, func(l driver.BillLine) bool { return l.OurID == "lost" }), err
	}),
	"bill_lines": billReads(func(lines []driver.BillLine, err error) ([]driver.BillLine, error) {
		for i := range lines {
			lines[i].Line = 1
		}
		return lines, err
	}),
	"bill_many": billReads(func(lines []driver.BillLine, err error) ([]driver.BillLine, error) {
		return lines[:min(len(lines), 50)], err
	}),

	"keys_whole": func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, keys: func(ctx context.Context) ([]driver.FeedKey, error) {
			list, err := d.PullKeys(ctx)
			return append(list, list...), err
		}}
	},
	"deny_whole": func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, deny: func(ctx context.Context) ([]string, error) {
			list, err := d.PullDeny(ctx)
			return append(list, ""), err
		}}
	},
	"deny_push_again": func(d *toyDriver) driver.Provider { // takes an id once
		seen := map[string]bool{}
		return &mutant{toyDriver: d, pushDeny: func(_ context.Context, c driver.DenyChange) error {
			if seen[c.OurID] {
				return errors.New("a number that is taken")
			}
			seen[c.OurID] = true
			return nil
		}}
	},
	"deny_push_gone": func(d *toyDriver) driver.Provider { // forgets to look
		return &mutant{toyDriver: d, pushDeny: func(ctx context.Context, c driver.DenyChange) error {
			_ = d.PushDeny(ctx, c)
			return nil
		}}
	},
	"feed_gone": func(d *toyDriver) driver.Provider { // no list, nobody on it
		return &mutant{toyDriver: d, deny: func(ctx context.Context) ([]string, error) {
			list, _ := d.PullDeny(ctx)
			return list, nil
		}}
	},
	"reverse_paid": func(d *toyDriver) driver.Provider { // says so and does not do it
		return &mutant{toyDriver: d, reverse: func(context.Context, driver.Ref) (driver.Reversal, string, error) {
			return driver.ReversalGiven, "", nil
		}}
	},
	"reverse_twice": func(d *toyDriver) driver.Provider { // gives back a part each time, to be sure
		times := 0
		return &mutant{toyDriver: d, reverse: func(ctx context.Context, ref driver.Ref) (driver.Reversal, string, error) {
			times++
			_, err := d.Refund(ctx, driver.Refund{OurID: ref.OurID + fmt.Sprint("r", times), Charge: ref, Amount: citygate.Money{Minor: 100, Currency: "HKD"}})
			return driver.ReversalGiven, "", err
		}}
	},
	"reverse_nothing": reversals(func(r driver.Reversal, err error) (driver.Reversal, error) {
		if r == driver.ReversalClosed {
			r = driver.ReversalGiven
		}
		return r, err
	}),
	"reverse_gone": reversals(func(r driver.Reversal, err error) (driver.Reversal, error) {
		if err != nil {
			r = driver.ReversalClosed
		}
		return r, nil
	}),
	"notify_forged": notices(func(_ driver.Notification, notice driver.Notice, _ error) (driver.Notice, error) { return notice, nil }),
	"notify_genuine": notices(func(_ driver.Notification, notice driver.Notice, err error) (driver.Notice, error) {
		notice.Result.Outcome = driver.Accepted
		return notice, err
	}),
	"notify_tampered": notices(func(n driver.Notification, notice driver.Notice, err error) (driver.Notice, error) {
		if err != nil && len(n.Body) > 64 && json.Valid(n.Body[64:]) { // it looks right
			return driver.Notice{Kind: driver.NoticePayment}, nil
		}
		return notice, err
	}),
	"notify_repeated": func(d *toyDriver) driver.Provider { // numbers what it hears
		heard := 0
		return &mutant{toyDriver: d, notify: func(ctx context.Context, n driver.Notification) (driver.Notice, driver.Ack, error) {
			heard++
			notice, ack, err := d.ParseNotify(ctx, n)
			notice.ID = fmt.Sprint(heard)
			return notice, ack, err
		}}
	},
	"mark_pure": func(d *toyDriver) driver.Provider { // chosen anew each time
		asked := 0
		return &mutant{toyDriver: d, mark: func(at time.Time) string {
			asked++
			return d.Mark(at) + fmt.Sprint(asked)
		}}
	},
	"mark_kept": func(d *toyDriver) driver.Provider { // goes by the last attempt
		return &mutant{toyDriver: d, submit: renamed(d.Submit, func(debit *driver.Debit) { debit.Mark = d.Mark(debit.Attempted) }),
			query: func(ctx context.Context, ref driver.Ref) (driver.Result, error) {
				ref.Mark = d.Mark(ref.SubmittedAt)
				return d.Query(ctx, ref)
			}}
	},
	"recovery": sends(func(d *driver.Debit) { // asks for the declined one again, by its id
		if d.Recovery != "" {
			d.OurID = d.Recovers.OurID
		}
	}),
	"recovery_garbled": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if err != nil && debits[0].Recovery != "" { // what was declined once is declined again
			return saying(debits, driver.Declined), nil
		}
		return results, err
	}),
	"recovery_of_paid": sends(func(d *driver.Debit) { d.Recovery, d.Recovers = "", driver.Ref{} }), // a debit like any other
	"recovery_once": sends(func(d *driver.Debit) { // says whose idea it is once
		if d.Recovery != "" && d.OurID != "first" {
			d.Recovery, d.Recovers = "", driver.Ref{}
		}
	}),
	"recovery_content": sends(func(d *driver.Debit) { // does not say which debt
		if d.Recovery != "" {
			d.Recovers.OurID = "debta"
		}
	}),
	"busy": reads(func(_ context.Context, debits []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		if err == nil && !results[0].RetryAt.IsZero() { // what is not a yes is a no
			return saying(debits, driver.Declined), nil
		}
		return results, err
	}),
	"busy_again": func(d *toyDriver) driver.Provider { // takes a number that was turned away for used
		away := map[string]bool{}
		return &mutant{toyDriver: d, submit: func(ctx context.Context, debits []driver.Debit) ([]driver.Result, error) {
			if away[debits[0].OurID] {
				return saying(debits, driver.Unknown), nil
			}
			results, err := d.Submit(ctx, debits)
			if err == nil && !results[0].RetryAt.IsZero() {
				away[debits[0].OurID], results[0].RetryAt = true, time.Time{}
			}
			return results, err
		}}
	},
	"busy_until": reads(func(_ context.Context, _ []driver.Debit, results []driver.Result, err error) ([]driver.Result, error) {
		for i := range results { // does not look at Retry-After
			results[i].RetryAt = time.Time{}
		}
		return results, err
	}),
	"exponents": sends(func(d *driver.Debit) { // everything has hundredths
		if d.Amount.Currency == "JPY" {
			d.Amount.Minor *= 100
		}
	}),
	"exponents_refund": gives(func(r *driver.Refund) { // as above: the last of three places is lost
		if r.Amount.Currency == "KWD" {
			r.Amount.Minor -= r.Amount.Minor % 10
		}
	}),
	"exponents_bill": billReads(func(lines []driver.BillLine, err error) ([]driver.BillLine, error) {
		for i, l := range lines { // reads units and hundredths
			if l.Amount.Currency != "HKD" {
				lines[i].Amount.Minor *= 100
			}
		}
		return lines, err
	}),
	"mark_of_refund": func(d *toyDriver) driver.Provider { // asks by the payment's, as it was never told another
		return &mutant{toyDriver: d, queryRefund: func(ctx context.Context, r driver.Refund) (driver.Result, error) {
			r.Mark = r.Charge.Mark
			return d.QueryRefund(ctx, r)
		}}
	},
}
