package ct1_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

// The pairs to compare: Verify with BareIssuerAndDevice, VerifyCached with
// BareDevice. "citygate bench verify" measures the ratios in one run.
func BenchmarkVerify(b *testing.B)       { benchmarkVerify(b, nil) }
func BenchmarkVerifyCached(b *testing.B) { benchmarkVerify(b, code.NewCredentials(64)) }

func benchmarkVerify(b *testing.B, cache code.CredentialCache) {
	c := newCity(b, ct1.SuiteP256, "bench")
	raw := c.code(b)
	b.ReportAllocs()
	for b.Loop() {
		var parsed code.Code
		if (ct1.Scheme{}).Parse(raw, &parsed) != nil || (ct1.Scheme{}).Verify(&parsed, c.keys, cache).Outcome != code.Accept {
			b.Fatal("refused")
		}
	}
}

func BenchmarkBareIssuerAndDevice(b *testing.B) { benchmarkBare(b, true) }
func BenchmarkBareDevice(b *testing.B)          { benchmarkBare(b, false) }

func benchmarkBare(b *testing.B, issuer bool) {
	c := newCity(b, ct1.SuiteP256, "bench")
	raw := c.code(b)
	cred := append([]byte("CT1-cred\x00"), raw[:56]...)
	digest := sha256.Sum256(append([]byte("CT1-dyn\x00"), raw[:128]...))
	device := point(c.device)
	r, s := new(big.Int).SetBytes(raw[128:160]), new(big.Int).SetBytes(raw[160:])
	public := c.keys.public.(ed25519.PublicKey)
	b.ReportAllocs()
	for b.Loop() {
		if issuer && !ed25519.Verify(public, cred, raw[56:120]) || !ecdsa.Verify(device, digest[:], r, s) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	raw := newCity(b, ct1.SuiteP256, "bench").code(b)
	b.ReportAllocs()
	var parsed code.Code
	for b.Loop() {
		if (ct1.Scheme{}).Parse(raw, &parsed) != nil {
			b.Fatal("refused")
		}
	}
}

// The last slot of the longest chain: the dearest check there is.
func BenchmarkVerifyChainLastSlot(b *testing.B) {
	c := newCity(b, ct1.SuiteChain, "bench")
	raw := chainAt(b, c, c.credential(b, c.fields()), issuedAt+(ct1.ChainMax-1)*60)
	b.ReportAllocs()
	for b.Loop() {
		var parsed code.Code
		if (ct1.Scheme{}).Parse(raw, &parsed) != nil || (ct1.Scheme{}).Verify(&parsed, c.keys, nil).Outcome != code.Accept {
			b.Fatal("refused")
		}
	}
}
