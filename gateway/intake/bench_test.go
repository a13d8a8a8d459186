package intake_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/intake"
	"github.com/cashlesscity/citygate/gateway/tap"
)

type oneKey struct{ key ed25519.PublicKey }

func (k oneKey) IssuerKey(citygate.Issuer, uint8, int64) (crypto.PublicKey, code.Reason) {
	return k.key, ""
}
func (oneKey) Version() uint64 { return 1 }

// signed makes batches of 500 real CT1 taps: each credential is shown four times.
func signed(b *testing.B, batches int) (raw [][]byte, keys code.KeySource) {
	b.Helper()
	pub, issuerKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	suite, key, err := ct1.DeviceKey(&device.PublicKey)
	if err != nil {
		b.Fatal(err)
	}
	sign, err := ct1.Signer(device)
	if err != nil {
		b.Fatal(err)
	}
	credentials := make([][]byte, batches*500/4)
	for i := range credentials {
		m, err := ct1.BuildCredential(ct1.Credential{Suite: suite, Rider: citygate.Rider{Issuer: issuer, List: 1, Index: uint32(i)}, KeyID: 1,
			IssuedAt: base - 100, TTLHours: 24, Cap: 10, Window: 30, DeviceKey: key})
		if err != nil {
			b.Fatal(err)
		}
		if credentials[i], err = ct1.Assemble(m, ed25519.Sign(issuerKey, m)); err != nil {
			b.Fatal(err)
		}
	}
	for n := range batches {
		d := newDevice(uint32(n%90) + 1)
		d.next = uint64(n)*500 + 1 // chains do not matter here
		records := make([]tap.Record, 500)
		for i := range records {
			tapNumber := n*500 + i
			counter := uint16(tapNumber/len(credentials) + 1)
			records[i] = ok(0, counter)
			records[i].Evidence, err = ct1.Display(credentials[tapNumber%len(credentials)], ct1.Dynamic{GeneratedAt: base + int64(counter), Counter: counter, Party: 1}, sign)
			if err != nil {
				b.Fatal(err)
			}
		}
		raw = append(raw, d.batch(b, records...))
	}
	return raw, oneKey{pub}
}

type keyed struct {
	*city
	keys code.KeySource
}

func (k keyed) Keys(context.Context, citygate.TenantID) (code.KeySource, error) { return k.keys, nil }

// BenchmarkRecord puts signed batches of 500 through Record into PostgreSQL and
// compares with verifying the same codes on all cores and nothing else.
func BenchmarkRecord(b *testing.B) {
	const batches = 60
	raw, keys := signed(b, batches)
	schemes := code.NewDispatcher(ct1.Scheme{})
	var limit time.Duration
	{
		cache := code.NewCredentials(1 << 17)
		start := time.Now()
		each(len(raw), runtime.GOMAXPROCS(0), func(i int) {
			batch, err := tap.ParseBatch(raw[i])
			if err != nil {
				b.Error(err)
				return
			}
			records, err := batch.Records()
			if err != nil {
				b.Error(err)
			}
			for _, r := range records {
				var c code.Code
				if schemes.Parse(r.Evidence, &c) != nil || schemes.Verify(&c, keys, cache).Outcome != code.Accept {
					b.Error("not accepted")
				}
			}
		})
		limit = time.Since(start)
	}
	var took time.Duration
	taps := 0
	for b.Loop() {
		b.StopTimer()
		g := newGateway(b)
		for id := uint32(4); id <= 90; id++ {
			g.enrol(b, tenant, id)
		}
		recorder, err := intake.New(intake.Config{DB: g.db, Terminals: g, Trust: keyed{g.city, keys}, Calendars: g, Schemes: schemes, Credentials: code.NewCredentials(1 << 17)})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		start := time.Now()
		each(len(raw), 4, func(i int) {
			r, err := recorder.Record(context.Background(), tenant, raw[i])
			if err != nil {
				b.Error(err)
				return
			}
			for _, x := range r.Results {
				if x.Outcome != intake.Recorded {
					b.Errorf("%+v", x)
				}
			}
		})
		took += time.Since(start)
		taps += batches * 500
	}
	rate := float64(taps) / took.Seconds()
	verify := float64(batches*500) / limit.Seconds()
	b.ReportMetric(rate, "taps/s")
	b.ReportMetric(verify, "verify_limit/s")
	b.ReportMetric(rate/verify, "ratio")
}

// each calls f for 0 to n-1 from several goroutines.
func each(n, workers int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}
