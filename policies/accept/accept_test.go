package accept_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

func rules() *accept.Rules {
	return &accept.Rules{
		Version: 3, Tenant: 1001,
		Issuers: []accept.IssuerRule{{Issuer: 7, Currency: "CNY", CapUnitMinor: 100, UnsureCapMinor: 200},
			{Issuer: 9, Currency: "HKD", CapUnitMinor: 10}},
		Schemes: []code.SchemeID{"ct1"},
		Modes: []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}},
			{Mode: accept.Metro, Kinds: accept.Kinds{tap.On, tap.Off}, Products: []uint16{1, 2}}},
		SkewSeconds: 30, MaxWindowSeconds: 120, MaxTTLHours: 200,
		StaleListSeconds: 3600, LateUploadDays: 30, ClockSuspectSeconds: 120,
		Incomplete: accept.Incomplete{Charge: accept.ChargeMax, MaxJourneyMinutes: 240, GraceMinutes: 60},
	}
}

const noon = 1_790_000_000 // unix seconds

func display() code.Code {
	return code.Code{Scheme: "ct1", Rider: citygate.Rider{Issuer: 7, List: 1, Index: 5}, IssuedAt: noon - 3600, ExpiresAt: noon + 3600,
		GeneratedAt: noon, Window: 30, Product: 1, Cap: 10, Taps: 100, Counter: 4, Party: 1}
}

func facts() accept.Facts {
	return accept.Facts{At: noon * 1000, ClockOK: true, Mode: accept.Metro, Kind: tap.On}
}

func TestEachRuleRefusesWithItsOwnReason(t *testing.T) {
	fare := func(minor int64, c citygate.Currency) citygate.Money {
		return citygate.Money{Minor: minor, Currency: c}
	}
	for _, tt := range []struct {
		name   string
		change func(*code.Code, *accept.Facts)
		want   code.Reason
	}{
		{"nothing wrong", func(*code.Code, *accept.Facts) {}, ""},
		{"scheme", func(c *code.Code, _ *accept.Facts) { c.Scheme = "other" }, code.Unsupported},
		{"issuer", func(c *code.Code, _ *accept.Facts) { c.Rider.Issuer = 8 }, code.UnknownIssuer},
		{"trust", func(_ *code.Code, f *accept.Facts) { f.TrustExpired = true }, code.IssuerCertExpired},
		{"ttl", func(c *code.Code, _ *accept.Facts) { c.ExpiresAt = c.IssuedAt + 201*3600 }, code.ExpiredCredential},
		{"credential over", func(c *code.Code, f *accept.Facts) { c.ExpiresAt = noon }, code.ExpiredCredential},
		{"before its credential", func(c *code.Code, _ *accept.Facts) { c.IssuedAt = noon + 1 }, code.NotYetValid},
		{"kind", func(_ *code.Code, f *accept.Facts) { f.Kind = tap.Single }, code.ProductNotValidHere},
		{"mode", func(_ *code.Code, f *accept.Facts) { f.Mode = accept.Taxi }, code.ProductNotValidHere},
		{"product", func(c *code.Code, _ *accept.Facts) { c.Product = 3 }, code.ProductNotValidHere},
		{"vehicle", func(c *code.Code, f *accept.Facts) { c.Context, f.Context = 1, 2 }, code.WrongVehicle},
		{"at the cap", func(_ *code.Code, f *accept.Facts) { f.Fare = fare(1000, "CNY") }, ""},
		{"over the cap", func(_ *code.Code, f *accept.Facts) { f.Fare = fare(1001, "CNY") }, code.AmountOverCap},
		{"negative fare", func(_ *code.Code, f *accept.Facts) { f.Fare = fare(-1, "CNY") }, code.AmountOverCap},
		{"currency", func(_ *code.Code, f *accept.Facts) { f.Fare = fare(1, "HKD") }, code.ProductNotValidHere},
		{"unsure clock lowers the cap", func(_ *code.Code, f *accept.Facts) { f.ClockOK = false; f.Fare = fare(201, "CNY") }, code.AmountOverCap},
		{"at the cap in minor units", func(c *code.Code, f *accept.Facts) { c.CapMinor = 70_000; f.Fare = fare(70_000, "CNY") }, ""},
		{"over the cap in minor units", func(c *code.Code, f *accept.Facts) { c.CapMinor = 999; f.Fare = fare(1000, "CNY") }, code.AmountOverCap},
		{"no cap", func(c *code.Code, f *accept.Facts) { c.CapMinor, c.Cap = code.CapNone, 0; f.Fare = fare(1<<40, "CNY") }, ""},
		{"no cap, unsure clock", func(c *code.Code, f *accept.Facts) {
			c.CapMinor, f.ClockOK = code.CapNone, false
			f.Fare = fare(201, "CNY")
		}, code.AmountOverCap},
		{"last second of the issuer's certificate", func(c *code.Code, _ *accept.Facts) { c.CertExpiresAt = noon + 1 }, ""},
		{"issuer's certificate over", func(c *code.Code, _ *accept.Facts) { c.CertExpiresAt = noon }, code.IssuerCertExpired},
		{"says no time", func(c *code.Code, _ *accept.Facts) {
			c.Timeless, c.IssuedAt, c.GeneratedAt, c.ExpiresAt = true, 0, 0, 0
		}, ""},
		{"last tap of the budget", func(c *code.Code, _ *accept.Facts) { c.Counter = 100 }, ""},
		{"budget spent", func(c *code.Code, _ *accept.Facts) { c.Counter = 101 }, code.TapsExhausted},
		{"no budget", func(c *code.Code, _ *accept.Facts) { c.Counter, c.Taps = 60000, 0 }, ""},
	} {
		c, f := display(), facts()
		tt.change(&c, &f)
		if got := rules().BeforeSignatures(&c, f); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestWindowIsTwoSided holds the window over now, generated and skew on both
// sides, against a model in seconds that is written the other way round.
func TestWindowIsTwoSided(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[code.Reason]int{}
	for range 200_000 {
		r := rules()
		r.SkewSeconds = random.Int64N(accept.SkewMax + 1)
		c, f := display(), facts()
		c.Window = random.Int64N(256)
		f.ClockOK = random.IntN(4) != 0
		offset := random.Int64N(1_500_000) - 750_000 // milliseconds by which the validator is ahead of the code
		if random.IntN(2) == 0 {                     // on an edge, give or take a millisecond
			edges := []int64{-r.SkewSeconds * 1000, (min(c.Window, r.MaxWindowSeconds) + r.SkewSeconds) * 1000}
			offset = edges[random.IntN(2)] + random.Int64N(3) - 1
		}
		f.At = c.GeneratedAt*1000 + offset
		want := code.Reason("")
		if offset > (min(c.Window, 120)+r.SkewSeconds)*1000 {
			want = code.ExpiredCode
		} else if -offset > r.SkewSeconds*1000 && f.ClockOK {
			want = code.NotYetValid
		}
		got := r.BeforeSignatures(&c, f)
		if got != want {
			t.Fatalf("offset %d ms, window %d, skew %d, clock ok %v: got %q, want %q", offset, c.Window, r.SkewSeconds, f.ClockOK, got, want)
		}
		seen[got]++
	}
	for _, r := range []code.Reason{"", code.ExpiredCode, code.NotYetValid} {
		if seen[r] < 1000 {
			t.Errorf("outcome %q was met %d times only", r, seen[r])
		}
	}
}

func TestUnsureClockIsALowerBound(t *testing.T) {
	c, f := display(), facts()
	f.ClockOK = false
	f.At -= 900_000 // the clock stood still for a quarter of an hour
	if got := rules().BeforeSignatures(&c, f); got != "" {
		t.Errorf("a code from after the floor: %q", got)
	}
	f.At += 2 * 900_000
	if got := rules().BeforeSignatures(&c, f); got != code.ExpiredCode {
		t.Errorf("a code from long before the floor: %q", got)
	}
}

// A rider is as good as the later of his credential and the list says; beyond the
// first limit the lower cap applies, beyond the second nothing does.
func TestFreshness(t *testing.T) {
	const hour = 3600
	now := int64(noon)
	held := func(age int64) accept.List { return accept.List{Held: true, At: now - age} }
	expired := accept.List{Held: true, Expired: true, At: now}
	limits := func(r *accept.Rules) { r.StaleLimitSeconds = 3 * hour; r.Issuers[0].StaleCapMinor = 200 }
	for _, test := range []struct {
		name   string
		rules  func(r *accept.Rules)
		issued int64 // seconds ago
		list   accept.List
		fare   int64 // 0 = not known
		want   code.Reason
	}{
		{"fresh list", nil, 9 * hour, held(0), 900, ""},
		{"list at the limit", nil, 9 * hour, held(hour), 900, ""},
		{"list over the limit", nil, 9 * hour, held(hour + 1), 1, code.StaleList},
		{"list over the limit, credential at it", nil, hour, held(9 * hour), 900, ""},
		{"list and credential over the limit", nil, hour + 1, held(9 * hour), 1, code.StaleList},
		{"no list, young credential", nil, hour, accept.List{}, 900, ""},
		{"no list, old credential", nil, hour + 1, accept.List{}, 1, code.StaleList},
		{"no list, allowed", func(r *accept.Rules) { r.MissingListOK = true }, 9 * hour, accept.List{}, 900, ""},
		{"expired list proves nothing", nil, 9 * hour, expired, 1, code.StaleList},
		{"expired list, young credential", nil, hour, expired, 900, ""},
		{"expired list is no missing one", func(r *accept.Rules) { r.MissingListOK = true }, 9 * hour, expired, 1, code.StaleList},
		{"any age, held", func(r *accept.Rules) { r.StaleListSeconds = 0 }, 900 * hour, held(900 * hour), 900, ""},
		{"any age, expired", func(r *accept.Rules) { r.StaleListSeconds = 0 }, 0, expired, 1, code.StaleList},
		{"any age, none", func(r *accept.Rules) { r.StaleListSeconds = 0 }, 0, accept.List{}, 1, code.StaleList},
		{"grey, at the lower cap", limits, 9 * hour, held(hour + 1), 200, ""},
		{"grey, over the lower cap", limits, 9 * hour, held(3 * hour), 201, code.AmountOverCap},
		{"grey, fare not known", limits, 9 * hour, held(3 * hour), 0, ""},
		{"grey by the credential alone", limits, 2 * hour, accept.List{}, 201, code.AmountOverCap},
		{"white again by a renewed credential", limits, hour, held(3 * hour), 900, ""},
		{"beyond grey", limits, 9 * hour, held(3*hour + 1), 1, code.StaleList},
		{"list from ahead of the clock", nil, 9 * hour, held(-hour), 900, ""},
	} {
		r := rules()
		if test.rules != nil {
			test.rules(r)
		}
		if err := r.Check(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		c, f := display(), facts()
		c.IssuedAt = now - test.issued
		if test.fare > 0 {
			f.Fare = citygate.Money{Minor: test.fare, Currency: "CNY"}
		}
		if got := r.Freshness(&c, f, test.list); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestRefusalAllocatesNothing(t *testing.T) {
	r, c, f := rules(), display(), facts()
	c.Counter = 101
	if n := testing.AllocsPerRun(100, func() {
		if r.BeforeSignatures(&c, f) != code.TapsExhausted || r.Freshness(&c, f, accept.List{Held: true, At: 1}) != "" {
			t.Error("not refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEncodingIsCanonical(t *testing.T) {
	raw, err := rules().Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := accept.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Encode()
	if err != nil || !bytes.Equal(raw, again) {
		t.Fatalf("%v\n%s\n%s", err, raw, again)
	}
	for name, bad := range map[string][]byte{
		"a space":        append([]byte(" "), raw...),
		"trailing":       append(bytes.Clone(raw), '{', '}'),
		"unknown field":  bytes.Replace(raw, []byte(`"tenant"`), []byte(`"x":1,"tenant"`), 1),
		"repeated field": bytes.Replace(raw, []byte(`"tenant"`), []byte(`"version":3,"tenant"`), 1),
		"other case":     bytes.Replace(raw, []byte(`"tenant"`), []byte(`"Tenant"`), 1),
		"null list":      bytes.Replace(raw, []byte(`"products":[]`), []byte(`"products":null`), 1),
		"skew":           bytes.Replace(raw, []byte(`"skew_seconds":30`), []byte(`"skew_seconds":301`), 1),
		"stale limit":    bytes.Replace(raw, []byte(`"missing_list_ok"`), []byte(`"stale_limit_seconds":3599,"missing_list_ok"`), 1),
		"stale cap":      bytes.Replace(raw, []byte(`"unsure_cap_minor":200`), []byte(`"unsure_cap_minor":200,"stale_cap_minor":-1`), 1),
		"zero said":      bytes.Replace(raw, []byte(`"missing_list_ok"`), []byte(`"stale_limit_seconds":0,"missing_list_ok"`), 1),
		"kind":           bytes.Replace(raw, []byte(`"single"`), []byte(`"fly"`), 1),
	} {
		if bytes.Equal(bad, raw) {
			t.Errorf("%s: the test changed nothing", name)
		}
		if _, err := accept.Parse(bad); !errors.Is(err, accept.ErrRules) && err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	raw, err := rules().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := accept.Parse(raw)
		if (r == nil) != (err != nil) {
			t.Fatalf("Parse = %v, %v; want exactly one of them", r, err)
		}
		if err != nil {
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("two encodings of one rule set:\n%s\n%s %v", raw, again, err)
		}
	})
}
