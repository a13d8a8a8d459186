package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

func newBenchVerifyCommand(sys *system) *cobra.Command {
	var asJSON bool
	var seconds int
	c := &cobra.Command{
		Use:   "verify",
		Short: "Compare the full check of a code with its bare signatures, on one core",
		Long: `Compare the full CT1 check (parse, issuer signature, device key, device
signature) with bare ed25519.Verify + ecdsa.Verify, and the check with a cached
credential with the device's ecdsa.Verify alone. The four take turns in the same
run; a ratio is the median over the turns, so that a busy machine slows both
sides of it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if seconds < 1 || seconds > 600 {
				return &usageError{errors.New("bench verify: --seconds: want 1 to 600")}
			}
			r, err := benchVerify(sys, time.Duration(seconds)*time.Second)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(sys, r)
			}
			_, err = fmt.Fprintf(sys.Stdout, "full check         %8.1f us\nbare signatures    %8.1f us\nratio              %8.3f\ncached credential  %8.1f us\ndevice signature   %8.1f us\nratio              %8.3f\n",
				r.FullMicros, r.BareMicros, r.Ratio, r.CachedMicros, r.DeviceMicros, r.CachedRatio)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.Flags().IntVar(&seconds, "seconds", 5, "how long to measure")
	return c
}

type verifyFigures struct {
	FullMicros   float64 `json:"full_us"`
	BareMicros   float64 `json:"bare_us"`
	Ratio        float64 `json:"ratio"`
	CachedMicros float64 `json:"cached_us"`
	DeviceMicros float64 `json:"device_us"`
	CachedRatio  float64 `json:"cached_ratio"`
	Turns        int     `json:"turns"`
	Codes        int     `json:"codes"`
	Go           string  `json:"go"`
}

// A benchCode is a code with what a bare verification needs laid out ready.
type benchCode struct {
	raw           []byte
	issuerMessage []byte
	issuerSig     []byte
	digest        []byte
	device        *ecdsa.PublicKey
	r, s          *big.Int
}

func benchVerify(sys *system, limit time.Duration) (*verifyFigures, error) {
	const codes = 32
	samples, keys, err := benchCodes(sys.Random, codes)
	if err != nil {
		return nil, err
	}
	scheme, cache := ct1.Scheme{}, code.NewCredentials(64*codes)
	issuer := ed25519.PublicKey(keys.Issuer.Public)
	check := func(s *benchCode, cache code.CredentialCache) bool {
		var c code.Code
		return scheme.Parse(s.raw, &c) == nil && scheme.Verify(&c, keys, cache).Outcome == code.Accept
	}
	sides := []func(*benchCode) bool{
		func(s *benchCode) bool { return check(s, nil) },
		func(s *benchCode) bool {
			return ed25519.Verify(issuer, s.issuerMessage, s.issuerSig) && ecdsa.Verify(s.device, s.digest, s.r, s.s)
		},
		func(s *benchCode) bool { return check(s, cache) },
		func(s *benchCode) bool { return ecdsa.Verify(s.device, s.digest, s.r, s.s) },
	}
	turn := func(side func(*benchCode) bool) (time.Duration, error) {
		start := sys.Now()
		for _, s := range samples {
			if !side(s) {
				return 0, errors.New("bench verify: a genuine code was refused")
			}
		}
		return sys.Now().Sub(start) / codes, nil
	}
	times := make([][]time.Duration, len(sides))
	for began := sys.Now(); len(times[0]) < 10 || sys.Now().Sub(began) < limit; {
		for i, side := range sides {
			took, err := turn(side)
			if err != nil {
				return nil, err
			}
			times[i] = append(times[i], took)
		}
	}
	for i := range times {
		times[i] = times[i][1:] // the first turn fills the cache
	}
	return &verifyFigures{
		FullMicros: medianMicros(times[0]), BareMicros: medianMicros(times[1]), Ratio: medianRatio(times[0], times[1]),
		CachedMicros: medianMicros(times[2]), DeviceMicros: medianMicros(times[3]), CachedRatio: medianRatio(times[2], times[3]),
		Turns: len(times[0]), Codes: codes, Go: runtime.Version(),
	}, nil
}

// benchCodes makes codes of different riders of one issuer.
func benchCodes(random io.Reader, n int) ([]*benchCode, fileKeys, error) {
	const at = 1_800_000_000
	var issuer codeFile
	if err := issuer.newKeys(random, ct1.SuiteP256); err != nil {
		return nil, fileKeys{}, err
	}
	private := ed25519.NewKeyFromSeed(issuer.Issuer.Private)
	issuer.Issuer.Number = 1
	out := make([]*benchCode, n)
	for i := range out {
		var rider codeFile
		if err := rider.newKeys(random, ct1.SuiteP256); err != nil {
			return nil, fileKeys{}, err
		}
		device, err := rider.device()
		if err != nil {
			return nil, fileKeys{}, err
		}
		public, _ := device.Public().(*ecdsa.PublicKey)
		sign, err := ct1.Signer(device)
		if err != nil {
			return nil, fileKeys{}, err
		}
		toSign, err := ct1.BuildCredential(ct1.Credential{
			Suite: ct1.SuiteP256, Rider: citygate.Rider{Issuer: 1, List: 1, Index: uint32(i)}, IssuedAt: at, TTLHours: 168, Window: 30,
			DeviceKey: rider.Device.Public,
		})
		if err != nil {
			return nil, fileKeys{}, err
		}
		s := &benchCode{issuerMessage: toSign, issuerSig: ed25519.Sign(private, toSign), device: public}
		credential, err := ct1.Assemble(toSign, s.issuerSig)
		if err != nil {
			return nil, fileKeys{}, err
		}
		s.raw, err = ct1.Display(credential, ct1.Dynamic{GeneratedAt: at, Counter: 1, Party: 1}, func(msg []byte) ([]byte, error) {
			digest := sha256.Sum256(msg)
			s.digest = digest[:]
			return sign(msg)
		})
		if err != nil {
			return nil, fileKeys{}, err
		}
		sig := s.raw[len(s.raw)-64:]
		s.r, s.s = new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		out[i] = s
	}
	return out, fileKeys{&issuer}, nil
}

func medianMicros(times []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(times))
	return float64(sorted[len(sorted)/2].Nanoseconds()) / 1000
}

// medianRatio compares neighbours in time: a[i] and b[i] were taken one after
// the other.
func medianRatio(a, b []time.Duration) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(b[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}
