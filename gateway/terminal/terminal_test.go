package terminal_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/denylist"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

const (
	start  = int64(1_790_000_000) // unix seconds
	tenant = citygate.TenantID(1001)
	issuer = citygate.Issuer(7)
	keyID  = uint32(31)
	skew   = int64(30)
	window = int64(30)
)

func privateKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(name string) ed25519.PublicKey {
	return privateKey(name).Public().(ed25519.PublicKey)
}

// toy is a scheme whose signature is one byte, so that thousands of runs cost
// nothing: T, idx, counter, generated, good.
type toy struct{}

const toySize = 12

func toyCode(idx uint32, counter uint16, generated int64, good bool) []byte {
	raw := binary.BigEndian.AppendUint32([]byte{'T'}, idx)
	raw = binary.BigEndian.AppendUint16(raw, counter)
	raw = binary.BigEndian.AppendUint32(raw, uint32(generated))
	if good {
		return append(raw, 1)
	}
	return append(raw, 0)
}

func (toy) ID() code.SchemeID { return "toy" }

func (toy) Sniff(raw []byte) code.Match {
	if len(raw) > 0 && raw[0] == 'T' {
		return code.Sure
	}
	return code.No
}

func (toy) Parse(raw []byte, c *code.Code) error {
	if len(raw) != toySize {
		return code.ErrMalformed
	}
	*c = code.Code{Scheme: "toy", Raw: raw, Rider: citygate.Rider{Issuer: issuer, List: 1, Index: binary.BigEndian.Uint32(raw[1:])},
		Counter: binary.BigEndian.Uint16(raw[5:]), IssuedAt: start - 1000, ExpiresAt: start + 100_000,
		GeneratedAt: int64(binary.BigEndian.Uint32(raw[7:])), Window: window, Cap: 10, Party: 1}
	return nil
}

func (toy) Verify(c *code.Code, _ code.KeySource, _ code.CredentialCache) code.Verdict {
	if c.Raw[toySize-1] == 1 {
		return code.Verdict{Outcome: code.Accept, Strength: code.DeviceBound}
	}
	return code.Refuse(code.BadDeviceSignature)
}

func rules(version uint64) *accept.Rules {
	return &accept.Rules{Version: version, Tenant: tenant,
		Issuers: []accept.IssuerRule{{Issuer: issuer, Currency: "CNY", CapUnitMinor: 100, UnsureCapMinor: 200}},
		Schemes: []code.SchemeID{"toy", "ct1"}, Modes: []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},
		SkewSeconds: skew, MaxWindowSeconds: 60, MaxTTLHours: 200, StaleListSeconds: 7200, LateUploadDays: 30, ClockSuspectSeconds: 120,
		Incomplete: accept.Incomplete{Charge: accept.ChargeNone, MaxJourneyMinutes: 240}}
}

func signedBundle(t testing.TB, number uint64, prev [32]byte, policy *accept.Rules) []byte {
	t.Helper()
	return makeBundle(t, policy, func(b *bundle.Bundle) { b.Number, b.Prev = number, prev })
}

// bundleWith gives a bundle of the first policy, changed.
func bundleWith(t testing.TB, number uint64, change func(b *bundle.Bundle)) []byte {
	t.Helper()
	return makeBundle(t, rules(1), func(b *bundle.Bundle) {
		b.Number = number
		change(b)
	})
}

func makeBundle(t testing.TB, policy *accept.Rules, change func(b *bundle.Bundle)) []byte {
	t.Helper()
	encoded, err := policy.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key := func(usage bundle.Usage, name string) bundle.Key {
		return bundle.Key{Tenant: 20, Issuer: issuer, KeyID: 1, Algorithm: bundle.Ed25519, Public: public(name), Usage: usage,
			NotBefore: start - 5000, Expires: start + 1_000_000, State: bundle.Active}
	}
	b := &bundle.Bundle{
		Issued: start - 600, Expires: start + 1_000_000, RootSets: [][]byte{rootSet(t)},
		Tenants: []bundle.Tenant{
			{ID: 20, Issuer: issuer, Name: "Issuer", Currency: "CNY", CapUnit: 100},
			{ID: tenant, Name: "Bus", Currency: "CNY", Policy: encoded, PolicyVersion: policy.Version, Home: true}},
		Keys: []bundle.Key{key(bundle.ForCredential, "credential"), key(bundle.ForDenyList, "denylist")},
	}
	change(b)
	raw, err := bundle.Sign(b, rootSigner("root"), rootSigner("root two"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// roots are the root keys that the terminals of the tests are enrolled with; two
// of them sign.
func roots() []bundle.RootKey {
	return []bundle.RootKey{{Public: public("root")}, {Public: public("root two")}, {Public: public("root three")}}
}

func rootSigner(name string) bundle.RootSigner {
	return bundle.RootSigner{Root: bundle.RootKey{Public: public(name)}, Sign: func(m []byte) ([]byte, error) { return ed25519.Sign(privateKey(name), m), nil }}
}

func rootSet(t testing.TB) []byte {
	t.Helper()
	set, err := bundle.NextRoots(nil, start-6000, 2, roots()...)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := set.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := bundle.Cosign(draft, rootSigner("root"), rootSigner("root two"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func signedList(t testing.TB, seq uint32, builtAt int64, denied ...uint32) []byte {
	t.Helper()
	l, err := denylist.Build(denylist.Header{Issuer: issuer, List: 1, Seq: seq, BuiltAt: builtAt, ValidUntil: builtAt + 86_400, Issued: 100_000}, denied)
	if err != nil {
		t.Fatal(err)
	}
	l, err = l.Sign(1, func(m []byte) ([]byte, error) { return ed25519.Sign(privateKey("denylist"), m), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l.Bytes()
}

func config(files terminal.Files) terminal.Config {
	return terminal.Config{Files: files, Tenant: tenant, KeyID: keyID, Mode: accept.Bus, Software: "test", BootID: 1,
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(privateKey("terminal"), m), nil },
		Schemes: code.NewDispatcher(toy{}), Roots: roots(), Threshold: 2}
}

func mustOpen(t testing.TB, files terminal.Files) *terminal.Verifier {
	t.Helper()
	v, err := terminal.Open(config(files))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return v
}

// ready gives a terminal with a bundle and a deny list that names rider 13.
func ready(t testing.TB, files terminal.Files) *terminal.Verifier {
	t.Helper()
	v := mustOpen(t, files)
	if err := v.InstallBundle(start*1000, signedBundle(t, 1, [32]byte{}, rules(1))); err != nil {
		t.Fatal(err)
	}
	if err := v.InstallList(start*1000, signedList(t, 1, start-60, 13)); err != nil {
		t.Fatal(err)
	}
	return v
}

// at is what the caller passes seconds after start, in the first boot.
func at(seconds int64) (now int64, in terminal.Input) {
	return (start + seconds) * 1000, terminal.Input{MonotonicMS: uint64(seconds+10_000) * 1000, Clock: tap.ClockGNSS, Kind: tap.Single, Stop: "S"}
}

func mustTap(t testing.TB, v *terminal.Verifier, seconds int64, raw []byte) terminal.Decision {
	t.Helper()
	now, in := at(seconds)
	d, err := v.Tap(now, raw, in)
	if err != nil {
		t.Fatalf("Tap: %v", err)
	}
	if d.Open != (d.Reason == "") || d.Open != d.Record.Accepted {
		t.Fatalf("a decision at odds with itself: %+v", d)
	}
	return d
}
