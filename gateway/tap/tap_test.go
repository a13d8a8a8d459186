package tap_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"math/big"
	"reflect"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
)

func full() tap.Record {
	return tap.Record{Terminal: 7, Seq: 41, Kind: tap.Off, Reason: code.Replayed, EventTime: 1_790_000_000_123, BootID: 9, MonotonicMS: 77,
		Clock: tap.ClockGNSS, Stop: "Central", Route: "M1", Trip: "t-9", Vehicle: "v1", Driver: "d1", Shift: "s1", Party: 2,
		Entered: citygate.Money{Minor: -5, Currency: "CNY"}, BundleVersion: 1, ListVersion: 2, ListAt: 1_789_999_000, PolicyVersion: 3, TariffVersion: 4,
		SoftwareVersion: "1.2", Rule: "night", Evidence: bytes.Repeat([]byte{0x7d}, 192), Extra: []tap.TLV{{Type: 14, Value: []byte("new")}, {Type: 0x7f, Value: []byte{1}}}}
}

func single(seq uint64) tap.Record {
	return tap.Record{Terminal: 7, Seq: seq, Kind: tap.Single, Accepted: true, EventTime: 5, Evidence: []byte("code")}
}

func encode(t testing.TB, r tap.Record) []byte {
	t.Helper()
	raw, err := r.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRecordComesBackAsItWas(t *testing.T) {
	for _, want := range []tap.Record{full(), single(1)} {
		got, err := tap.ParseRecord(encode(t, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
		}
	}
}

func TestRecordRefusals(t *testing.T) {
	for name, change := range map[string]func(*tap.Record){
		"kind":                   func(r *tap.Record) { r.Kind = 4 },
		"no number":              func(r *tap.Record) { r.Seq = 0 },
		"accepted with a reason": func(r *tap.Record) { r.Accepted = true },
		"refused without":        func(r *tap.Record) { r.Reason = "" },
		"shouted reason":         func(r *tap.Record) { r.Reason = "NO" },
		"long text":              func(r *tap.Record) { r.Stop = string(bytes.Repeat([]byte("x"), 65)) },
		"not UTF-8":              func(r *tap.Record) { r.Stop = "\xff" },
		"currency":               func(r *tap.Record) { r.Entered.Currency = "cny" },
		"amount without":         func(r *tap.Record) { r.Entered.Currency = "" },
		"time of no list":        func(r *tap.Record) { r.ListVersion = 0 },
		"time before 1970":       func(r *tap.Record) { r.ListAt = -1 },
		"evidence":               func(r *tap.Record) { r.Evidence = make([]byte, tap.EvidenceMax+1) },
		"known extra":            func(r *tap.Record) { r.Extra[0].Type = 10 },
		"extra out of order":     func(r *tap.Record) { r.Extra[0].Type = 0x7f },
		"too large":              func(r *tap.Record) { r.Extra[0].Value = make([]byte, tap.RecordMax) },
	} {
		r := full()
		change(&r)
		if raw, err := r.AppendTo(nil); err == nil || raw != nil {
			t.Errorf("%s: encoded as %x", name, raw)
		}
	}
}

func TestCriticalFieldIsRefusedAndUnknownKept(t *testing.T) {
	raw := encode(t, single(1))
	if _, err := tap.ParseRecord(append(bytes.Clone(raw), 0x80, 0, 1, 5)); !errors.Is(err, tap.ErrCritical) {
		t.Errorf("critical: %v", err)
	}
	for name, field := range map[string][]byte{"short": {11, 0, 1, 5}, "zeros": {11, 0, 4, 0, 0, 0, 0}, "of no list": {11, 0, 4, 0, 0, 0, 5}} {
		if _, err := tap.ParseRecord(append(bytes.Clone(raw), field...)); !errors.Is(err, tap.ErrMalformed) {
			t.Errorf("time of the list, %s: %v", name, err)
		}
	}
	newer := append(bytes.Clone(raw), 0x40, 0, 1, 5)
	r, err := tap.ParseRecord(newer)
	if err != nil || !bytes.Equal(encode(t, r), newer) {
		t.Errorf("unknown: %v, %x", err, newer)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(encode(f, full()))
	f.Add(encode(f, single(3)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := tap.ParseRecord(raw)
		if err != nil {
			if !reflect.DeepEqual(r, tap.Record{}) {
				t.Fatal("a failed parse gave something")
			}
			return
		}
		if again, err := r.AppendTo(nil); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("two encodings of one record: %v\n%x\n%x", err, raw, again)
		}
	})
}

func batch(t testing.TB, sign tap.Sign, count int) []byte {
	t.Helper()
	var records [][]byte
	for i := range count {
		records = append(records, encode(t, single(uint64(10+i))))
	}
	raw, err := tap.EncodeBatch(tap.Header{Tenant: 1001, Terminal: 7, First: 10, Prev: [32]byte{1}}, records, sign)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func edSign(t testing.TB) (ed25519.PublicKey, tap.Sign) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pub, func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
}

func TestBatchIsSignedOverEverything(t *testing.T) {
	pub, sign := edSign(t)
	raw := batch(t, sign, 3)
	b, err := tap.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(pub); err != nil {
		t.Fatal(err)
	}
	records, err := b.Records()
	if err != nil || len(records) != 3 || records[2].Seq != 12 {
		t.Fatalf("%v %v", records, err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if b, err := tap.ParseBatch(bad); err == nil && b.Verify(pub) == nil {
			t.Fatalf("byte %d may be changed", i)
		}
	}
	other, _ := edSign(t)
	if err := b.Verify(other); !errors.Is(err, tap.ErrBatchSignature) {
		t.Errorf("another terminal's key: %v", err)
	}
	if err := b.Verify(nil); !errors.Is(err, tap.ErrBatchSignature) {
		t.Errorf("no key: %v", err)
	}
}

func TestBatchP256TakesLowSOnly(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw := batch(t, tap.SignP256(func(d []byte) (*big.Int, *big.Int, error) { return ecdsa.Sign(rand.Reader, key, d) }), 2)
	b, err := tap.ParseBatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(&key.PublicKey); err != nil {
		t.Fatal(err)
	}
	high := bytes.Clone(raw)
	s := high[len(high)-32:]
	new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(s)).FillBytes(s)
	if b, err = tap.ParseBatch(high); err != nil || b.Verify(&key.PublicKey) == nil {
		t.Errorf("high s accepted (%v)", err)
	}
}

func TestBatchLimits(t *testing.T) {
	_, sign := edSign(t)
	if _, err := tap.ParseBatch(batch(t, sign, tap.BatchTapsMax)); err != nil {
		t.Error(err)
	}
	records := make([][]byte, tap.BatchTapsMax+1)
	if _, err := tap.EncodeBatch(tap.Header{Tenant: 1, First: 1}, records, sign); !errors.Is(err, tap.ErrBatchTooLarge) {
		t.Errorf("one tap over: %v", err)
	}
	big := make([][]byte, 300)
	for i := range big {
		big[i] = make([]byte, 8000)
	}
	if _, err := tap.EncodeBatch(tap.Header{Tenant: 1, First: 1}, big, sign); !errors.Is(err, tap.ErrBatchTooLarge) {
		t.Errorf("2.4 MB: %v", err)
	}
	if _, err := tap.ParseBatch(make([]byte, tap.BatchBytesMax+1)); !errors.Is(err, tap.ErrBatchTooLarge) {
		t.Errorf("parse: %v", err)
	}
}

func TestBatchHoldsRecordsToItsHeader(t *testing.T) {
	_, sign := edSign(t)
	for name, second := range map[string]tap.Record{"gap": single(12), "same": single(10)} {
		raw, err := tap.EncodeBatch(tap.Header{Tenant: 1, Terminal: 7, First: 10}, [][]byte{encode(t, single(10)), encode(t, second)}, sign)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tap.ParseBatch(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Records(); !errors.Is(err, tap.ErrMalformed) && err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzBatch(f *testing.F) {
	_, sign := edSign(f)
	f.Add(batch(f, sign, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := tap.ParseBatch(raw)
		if (b == nil) != (err != nil) {
			t.Fatalf("ParseBatch = %v, %v; want exactly one of them", b, err)
		}
		if err != nil {
			return
		}
		again, err := tap.EncodeBatch(b.Header, b.Encoded(), func([]byte) ([]byte, error) { return raw[len(raw)-64:], nil })
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("two encodings of one batch: %v\n%x\n%x", err, raw, again)
		}
	})
}
