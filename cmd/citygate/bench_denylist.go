package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/denylist"
)

// denylistBench says what list is made.
type denylistBench struct {
	issued, revoked uint32
	seed            uint64
	out             string
}

func newBenchDenylistCommand(sys *system) *cobra.Command {
	b := denylistBench{}
	var asJSON bool
	c := &cobra.Command{
		Use:   "denylist",
		Short: "Make a large deny list, ask it about every index, and apply a delta to it",
		Long: `Draw --revoked of --issued indices at random, make the signed snapshot of them,
read it back, and ask it about every single index: false_answers counts those
that are wrong. bound_bytes is what counting allows (log2 of the number of such
sets). lookup_ns is the mean of 2,097,152 look-ups at random indices in CPU time,
so that what else the machine does counts little; delta_ms the time to verify and
apply a delta of 1,000 changes, the fastest of 31, and delta_cpu_ms the CPU time of
that in the mean.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if b.revoked < 1 || b.issued < 2000 || uint64(b.revoked)*2 > uint64(b.issued) {
				return &usageError{errors.New("bench denylist: want --issued of at least 2000 and --revoked of 1 to half of it")}
			}
			r, err := b.run(sys)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, r)
			}
			_, err = fmt.Fprintf(sys.Stdout, "%d of %d revoked: %d bytes, %.3f times the bound of %d\nlook-up        %8.0f ns\nfalse answers  %8d\nsnapshot read  %8.1f ms\ndelta applied  %8.1f ms, %.1f ms of CPU, %d bytes\n",
				r.Revoked, r.Issued, r.Bytes, float64(r.Bytes)/float64(r.Bound), r.Bound, r.LookupNS, r.FalseAnswers, r.OpenMS, r.DeltaMS, r.DeltaCPU, r.DeltaBytes)
			return err
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	f.StringVar(&b.out, "out", "", "write the signed snapshot to this file")
	f.Uint32Var(&b.issued, "issued", 100_000_000, "credentials issued in the list")
	f.Uint32Var(&b.revoked, "revoked", 1_000_000, "credentials on it")
	f.Uint64Var(&b.seed, "seed", 1, "what the indices are drawn from")
	return c
}

type denylistFigures struct {
	Issued       uint32  `json:"issued"`
	Revoked      int     `json:"revoked"`
	Bytes        int     `json:"bytes"`
	Bound        int     `json:"bound_bytes"`
	LookupNS     float64 `json:"lookup_ns"`
	FalseAnswers int64   `json:"false_answers"`
	OpenMS       float64 `json:"open_ms"`
	DeltaMS      float64 `json:"delta_ms"`
	DeltaCPU     float64 `json:"delta_cpu_ms"`
	DeltaBytes   int     `json:"delta_bytes"`
	PublicKey    string  `json:"public_key_hex"` // of the snapshot's signature, kid 1 of issuer 1
}

func (b denylistBench) run(sys *system) (*denylistFigures, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := sys.Random.Read(seed); err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := key[ed25519.SeedSize:]
	sign := func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
	keys := func(issuer citygate.Issuer, kid uint8) (ed25519.PublicKey, bool) {
		return ed25519.PublicKey(public), issuer == 1 && kid == 1
	}
	random := rand.New(rand.NewPCG(b.seed, 0))
	denied := newBitmap(b.issued)
	for n := uint32(0); n < b.revoked; {
		if denied.set(random.Uint32N(b.issued), true) {
			n++
		}
	}
	built := sys.Now().Unix()
	header := denylist.Header{Issuer: 1, List: 1, Seq: 1, BuiltAt: built, ValidUntil: built + 72*3600, Issued: b.issued}
	list, err := denylist.Build(header, denied.indices())
	if err != nil {
		return nil, err
	}
	if list, err = list.Sign(1, sign); err != nil {
		return nil, err
	}
	raw := list.Bytes()
	if b.out != "" {
		if err := os.WriteFile(b.out, raw, 0o644); err != nil { //nolint:gosec // a public object
			return nil, err
		}
	}
	f := &denylistFigures{Issued: b.issued, Revoked: list.Count(), Bytes: len(raw), Bound: boundBytes(b.issued, b.revoked), PublicKey: hex.EncodeToString(public)}
	start := sys.Now()
	opened, err := denylist.Open(bytes.Clone(raw), keys)
	if err != nil {
		return nil, err
	}
	f.OpenMS = millis(sys.Now().Sub(start))
	f.LookupNS = lookupNS(sys, opened, random)
	f.FalseAnswers = falseAnswers(opened, denied)
	return f, b.delta(sys, f, opened, denied, random, sign, keys)
}

// delta measures a delta of 1,000 changes, 50 of them removals. It changes denied.
func (b denylistBench) delta(sys *system, f *denylistFigures, held *denylist.List, denied bitmap, random *rand.Rand,
	sign func([]byte) ([]byte, error), keys denylist.Keys) error {
	const changes, removals, turns = 1000, 50, 31
	var changed []uint32
	old := denied.indices()
	for len(changed) < removals && len(changed) < len(old)/2 {
		if idx := old[random.IntN(len(old))]; denied.set(idx, false) {
			changed = append(changed, idx)
		}
	}
	for len(changed) < changes {
		if idx := random.Uint32N(b.issued); !held.Denied(idx) && denied.set(idx, true) {
			changed = append(changed, idx)
		}
	}
	slices.Sort(changed)
	header := held.Header
	header.Seq++
	next, err := denylist.Build(header, denied.indices())
	if err != nil {
		return err
	}
	d, err := next.To(held.Seq, changed)
	if err != nil {
		return err
	}
	if d, err = d.Sign(1, sign); err != nil {
		return err
	}
	f.DeltaBytes = len(d.Bytes())
	times := make([]time.Duration, turns)
	before, _ := selfCPU()
	for i := range times {
		start := sys.Now()
		opened, err := denylist.OpenDelta(d.Bytes(), keys)
		if err != nil {
			return err
		}
		applied, err := opened.Apply(held)
		if err != nil {
			return err
		}
		times[i] = sys.Now().Sub(start)
		if applied.Hash() != next.Hash() {
			return errors.New("bench denylist: the delta made another list than the snapshot")
		}
	}
	after, _ := selfCPU()
	f.DeltaMS, f.DeltaCPU = millis(slices.Min(times)), millis((after-before)/turns)
	return nil
}

// lookupNS gives the mean CPU time of a look-up at random indices.
func lookupNS(sys *system, l *denylist.List, random *rand.Rand) float64 {
	const lookups = 1 << 21
	asked := make([]uint32, lookups)
	for i := range asked {
		asked[i] = random.Uint32N(l.Issued)
	}
	runtime.GC() // so that none runs meanwhile
	hits := 0
	start := sys.Now()
	before, _ := selfCPU()
	for _, idx := range asked {
		if l.Denied(idx) {
			hits++
		}
	}
	after, _ := selfCPU()
	took := sys.Now().Sub(start)
	runtime.KeepAlive(hits)
	if cpu := after - before; cpu > 0 { // else this system does not tell
		took = cpu
	}
	return float64(took.Nanoseconds()) / lookups
}

// falseAnswers asks l about every index, on all cores.
func falseAnswers(l *denylist.List, denied bitmap) int64 {
	const share = 1 << 20
	var next atomic.Uint64
	var wrong atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for {
				from := next.Add(share) - share
				if from >= uint64(l.Issued) {
					return
				}
				for idx := from; idx < min(from+share, uint64(l.Issued)); idx++ {
					if l.Denied(uint32(idx)) != denied.has(uint32(idx)) {
						wrong.Add(1)
					}
				}
			}
		})
	}
	wait.Wait()
	return wrong.Load()
}

// boundBytes gives log2 of the number of sets of r among n, in bytes rounded up.
func boundBytes(n, r uint32) int {
	ln := func(x uint32) float64 {
		v, _ := math.Lgamma(float64(x) + 1)
		return v
	}
	return int(math.Ceil((ln(n) - ln(r) - ln(n-r)) / math.Ln2 / 8))
}

func millis(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/10) / 100 }

// A bitmap is a set of indices kept another way than a deny list keeps it.
type bitmap []uint64

func newBitmap(n uint32) bitmap { return make(bitmap, n/64+1) }

func (m bitmap) has(i uint32) bool { return m[i/64]>>(i%64)&1 == 1 }

// set reports whether it changed anything.
func (m bitmap) set(i uint32, member bool) bool {
	if m.has(i) == member {
		return false
	}
	m[i/64] ^= 1 << (i % 64)
	return true
}

func (m bitmap) indices() []uint32 {
	var all []uint32
	for i, word := range m {
		for bit := uint32(0); word != 0; bit, word = bit+1, word>>1 {
			if word&1 == 1 {
				all = append(all, uint32(i)*64+bit)
			}
		}
	}
	return all
}
