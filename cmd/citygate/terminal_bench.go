package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/sm2"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// What a terminal may spend on one presentation.
const (
	budgetMicros = 1000 // an offline decision on one core, 99 of 100
	budgetBytes  = 2048 // of heap
)

func newTerminalBenchCommand(sys *system) *cobra.Command {
	var asJSON bool
	var seconds int
	var data string
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a terminal spends on one presentation, on this machine",
		Long: `Measures the SDK's offline decision (form, windows, amount, signatures) of codes of every CT1 suite, for
riders not seen before and for riders it remembers, one at a time on one core; and what it takes to put one
record into the journal and on the disk of --data. For the hash chain, not seen before means the last slot of
the longest chain, the dearest check there is.

The budgets are 1,000 us for 99 of 100 decisions and 2 KB of heap for each.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if seconds < 1 || seconds > 600 {
				return &usageError{errors.New("terminal bench: --seconds: want 1 to 600")}
			}
			f, err := terminalBench(sys, time.Duration(seconds)*time.Second, data)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, f)
			}
			return f.print(sys.Stdout)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.Flags().IntVar(&seconds, "seconds", 5, "how long to measure")
	c.Flags().StringVar(&data, "data", "", "directory on the disk to measure (default: the one for temporary files)")
	return c
}

type terminalFigures struct {
	Decisions []decisionFigure `json:"decisions"`
	Journal   struct {
		P50Micros   float64 `json:"p50_us"`
		P99Micros   float64 `json:"p99_us"`
		BytesPerTap int64   `json:"bytes_per_tap"`
		Taps        int     `json:"taps"`
	} `json:"journal"`
	BudgetMicros int    `json:"budget_us"`
	BudgetBytes  int    `json:"budget_bytes"`
	Go           string `json:"go"`
}

type decisionFigure struct {
	Suite      int     `json:"suite"`
	Remembered bool    `json:"remembered"`
	P50Micros  float64 `json:"p50_us"`
	P99Micros  float64 `json:"p99_us"`
	Bytes      uint64  `json:"heap_bytes"`
	Allocs     uint64  `json:"allocs"`
	Taps       int     `json:"taps"`
}

func (f *terminalFigures) print(w io.Writer) error {
	if _, err := fmt.Fprintln(w, "suite  rider        p50 us    p99 us  heap bytes  allocations"); err != nil {
		return err
	}
	for _, d := range f.Decisions {
		rider := "new"
		if d.Remembered {
			rider = "remembered"
		}
		over := ""
		if d.P99Micros > budgetMicros || d.Bytes > budgetBytes {
			over = "  over the budget"
		}
		if _, err := fmt.Fprintf(w, "%5d  %-10s %8.1f  %8.1f  %10d  %11d%s\n", d.Suite, rider, d.P50Micros, d.P99Micros, d.Bytes, d.Allocs, over); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "journal, on disk: p50 %.0f us, p99 %.0f us, %d bytes a tap\n", f.Journal.P50Micros, f.Journal.P99Micros, f.Journal.BytesPerTap)
	return err
}

func terminalBench(sys *system, limit time.Duration, data string) (*terminalFigures, error) {
	const parts = 11 // five suites twice, and the journal
	f := &terminalFigures{BudgetMicros: budgetMicros, BudgetBytes: budgetBytes, Go: runtime.Version()}
	for suite := range uint8(5) {
		b, err := newTerminalCodes(sys, suite)
		if err != nil {
			return nil, err
		}
		for _, remembered := range []bool{false, true} {
			d, err := b.measure(sys, remembered, limit/parts)
			if err != nil {
				return nil, err
			}
			f.Decisions = append(f.Decisions, d)
		}
	}
	return f, f.journal(sys, limit/parts, data)
}

// terminalCodes are genuine codes of riders of one suite and who decides on them.
type terminalCodes struct {
	suite   uint8
	decider terminal.Decider
	raw     [][]byte
	facts   accept.Facts
}

const benchIssued = 1_800_000_000 // unix seconds

func newTerminalCodes(sys *system, suite uint8) (*terminalCodes, error) {
	const riders, fare, unit = 32, 200, 100
	trust := &code.Trust{Number: 1}
	public, issue, err := benchSigner(sys.Random, map[uint8]uint8{ct1.SuiteAllP256: ct1.SuiteP256, ct1.SuiteSM2: ct1.SuiteSM2}[suite])
	if err != nil {
		return nil, err
	}
	trust.AddIssuer(1, 1, public)
	b := &terminalCodes{suite: suite, decider: terminal.Decider{
		Schemes: code.NewDispatcher(ct1.Scheme{}), Keys: trust,
		Rules: &accept.Rules{
			Schemes: []code.SchemeID{ct1.ID}, Issuers: []accept.IssuerRule{{Issuer: 1, Currency: "CNY", CapUnitMinor: unit}},
			Modes:       []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
			SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 168,
		},
	}}
	shown := int64(benchIssued)
	if suite == ct1.SuiteChain {
		shown += (ct1.ChainMax - 1) * 60
	}
	b.facts = accept.Facts{At: shown * 1000, ClockOK: true, Mode: accept.Bus, Kind: tap.Single, Fare: citygate.Money{Minor: fare, Currency: "CNY"}}
	for i := range riders {
		raw, err := benchDisplay(sys.Random, suite, uint32(i), shown, issue)
		if err != nil {
			return nil, err
		}
		b.raw = append(b.raw, raw)
	}
	return b, nil
}

// benchDisplay issues a credential and shows it.
func benchDisplay(random io.Reader, suite uint8, index uint32, shown int64, issue func([]byte) ([]byte, error)) ([]byte, error) {
	d := ct1.Dynamic{GeneratedAt: shown, Counter: 1, Party: 1}
	c := ct1.Credential{Suite: suite, Rider: citygate.Rider{Issuer: 1, List: 1, Index: index}, KeyID: 1, IssuedAt: benchIssued, TTLHours: 96, Cap: 10, Window: 60}
	var sign func([]byte) ([]byte, error)
	var err error
	if suite == ct1.SuiteChain {
		d.Counter, d.ClockQuality, d.Medium = 0, code.ClockUnknown, code.MediumBand
		seed := make([]byte, 16)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, err
		}
		if c.DeviceKey, err = ct1.ChainAnchor(seed); err != nil {
			return nil, err
		}
		sign, err = ct1.ChainSigner(seed)
	} else {
		var public any
		if public, sign, err = benchSigner(random, suite); err != nil {
			return nil, err
		}
		_, c.DeviceKey, err = ct1.DeviceKey(public)
	}
	if err != nil {
		return nil, err
	}
	toSign, err := ct1.BuildCredential(c)
	if err != nil {
		return nil, err
	}
	signature, err := issue(toSign)
	if err != nil {
		return nil, err
	}
	credential, err := ct1.Assemble(toSign, signature)
	if err != nil {
		return nil, err
	}
	return ct1.Display(credential, d, sign)
}

// benchSigner makes a key pair as devices of a suite have it.
func benchSigner(random io.Reader, suite uint8) (public any, sign func([]byte) ([]byte, error), err error) {
	switch suite {
	case ct1.SuiteEd25519:
		key, private, err := ed25519.GenerateKey(random)
		return key, func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }, err
	case ct1.SuiteSM2:
		key, err := sm2.GenerateKey(random)
		if err != nil {
			return nil, nil, err
		}
		return key.Public(), ct1.SM2Signer(key, random), nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, nil, err
	}
	sign, err = ct1.Signer(key)
	return &key.PublicKey, sign, err
}

func (b *terminalCodes) measure(sys *system, remembered bool, limit time.Duration) (decisionFigure, error) {
	figure := decisionFigure{Suite: int(b.suite), Remembered: remembered}
	b.decider.Credentials = nil
	if remembered {
		b.decider.Credentials = code.NewCredentials(64 * len(b.raw))
	}
	decide := func(i int) error {
		var c code.Code
		if v := b.decider.Decide(&c, b.raw[i%len(b.raw)], b.facts); v.Outcome != code.Accept {
			return fmt.Errorf("terminal bench: a genuine code of suite %d was refused: %s", b.suite, v.Reason)
		}
		return nil
	}
	for i := range b.raw { // fills the cache, warms the rest
		if err := decide(i); err != nil {
			return figure, err
		}
	}
	times := make([]time.Duration, 0, 1<<16)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := sys.Now()
	for now := began; len(times) < cap(times) && (len(times) < 100 || now.Sub(began) < limit); {
		if err := decide(len(times)); err != nil {
			return figure, err
		}
		end := sys.Now()
		times = append(times, end.Sub(now))
		now = end
	}
	runtime.ReadMemStats(&after)
	n := uint64(len(times))
	figure.Bytes, figure.Allocs, figure.Taps = (after.TotalAlloc-before.TotalAlloc)/n, (after.Mallocs-before.Mallocs)/n, len(times)
	figure.P50Micros, figure.P99Micros = percentiles(times)
	return figure, nil
}

func percentiles(times []time.Duration) (p50, p99 float64) {
	slices.Sort(times)
	at := func(percent int) float64 { return float64(times[(len(times)-1)*percent/100].Nanoseconds()) / 1000 }
	return at(50), at(99)
}

// journal measures a presentation of a terminal without trust: all it does is
// read the form and put the refusal on disk, as every tap is.
func (f *terminalFigures) journal(sys *system, limit time.Duration, data string) (err error) {
	dir, err := os.MkdirTemp(data, "citygate-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	v, err := terminal.Open(terminal.Config{Files: terminal.Dir(root), Tenant: 1, KeyID: 1, Mode: accept.Bus, Software: "bench/1", BootID: 1,
		Schemes: code.NewDispatcher(ct1.Scheme{})})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	b, err := newTerminalCodes(sys, ct1.SuiteP256)
	if err != nil {
		return err
	}
	times := make([]time.Duration, 0, 1<<14)
	began := sys.Now()
	for now := began; len(times) < cap(times) && (len(times) < 20 || now.Sub(began) < limit); {
		in := terminal.Input{MonotonicMS: uint64(len(times)), Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "stop-1", Vehicle: "bus-1"}
		if _, err := v.Tap(b.facts.At, b.raw[len(times)%len(b.raw)], in); err != nil {
			return err
		}
		end := sys.Now()
		times = append(times, end.Sub(now))
		now = end
	}
	files, err := filepath.Glob(filepath.Join(dir, "journal-*"))
	if err != nil {
		return err
	}
	var size int64
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		size += info.Size()
	}
	f.Journal.Taps, f.Journal.BytesPerTap = len(times), size/int64(len(times))
	f.Journal.P50Micros, f.Journal.P99Micros = percentiles(times)
	return nil
}
