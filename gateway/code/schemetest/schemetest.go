package schemetest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A Suite is a scheme and what the kit needs to try it.
type Suite struct {
	Scheme  code.Scheme
	Vectors []Vector
	Common  code.Common // skew and cap unit the vectors are judged with

	// Mutations is how many codes are tampered with; 0 means a million. All are
	// parsed. VerifyMax bounds the ones whose signatures are checked (the flag
	// -schemetest.verifyall lifts it), 0 means
	// 25,000: a signature costs a hundred times a refusal, and a scheme without
	// them can afford the lot.
	Mutations, VerifyMax int
}

// A Vector is one code and what must become of it.
type Vector struct {
	Name   string
	Raw    []byte         // as a reader gives it, in bytes
	Keys   code.KeySource // nil = nobody's
	At     int64          // unix seconds: the tap
	Amount int64          // minor units, 0 = not known

	// Outcome and Reason must be met. Strength and Checked are those of a code
	// that is not rejected.
	Outcome  code.Outcome
	Reason   code.Reason
	Strength code.Strength
	Checked  code.Checks

	// Proven are the parts that a check of the scheme covers, Loose the ones that
	// nothing does and that name nothing. Together they are the whole of an
	// accepted or deferred code.
	Proven, Loose []Region
}

// A Region is bytes From..To (exclusive) of a code.
type Region struct {
	Name     string
	From, To int
	Reason   code.Reason // of the check that covers it
}

// T is what a case needs of a test.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// verifyAll is for a night: go test ./gateway/code/motsm2 -schemetest.verifyall.
var verifyAll = flag.Bool("schemetest.verifyall", false, "check the signatures of every tampered code that parses, however long it takes")

// Run tries a scheme, each case as a subtest. It runs in the scheme's folder and
// reads the other schemes' codes from ../*/testdata/codes.txt.
func Run(t *testing.T, s Suite) {
	t.Helper()
	others, own, err := samples(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, newKit(s, own, others)) })
	}
}

// cases are the kit. Each has a broken scheme in the kit's own tests.
var cases = []testCase{
	{"vectors", (*kit).vectors},
	{"nobody", (*kit).nobody},
	{"others", (*kit).others},
	{"form", (*kit).form},
	{"verdicts", (*kit).verdicts},
	{"regions", (*kit).regions},
	{"mutations", (*kit).mutations},
}

type testCase struct {
	name string
	do   func(*kit, T)
}

func (c testCase) run(t T, k *kit) { c.do(k, t) }

// A kit is a suite at work.
type kit struct {
	Suite
	own     [][]byte // lines of the scheme's codes.txt
	foreign []sample
}

type sample struct {
	scheme string // folder
	raw    []byte
}

func newKit(s Suite, own [][]byte, foreign []sample) *kit {
	if s.Mutations == 0 {
		s.Mutations = 1_000_000
	}
	if s.VerifyMax == 0 {
		s.VerifyMax = 25_000
	}
	if *verifyAll {
		s.VerifyMax = s.Mutations
	}
	for i := range s.Vectors {
		if s.Vectors[i].Keys == nil {
			s.Vectors[i].Keys = new(code.Trust)
		}
	}
	return &kit{s, own, foreign}
}

// samples reads the codes of the scheme in folder and of the ones beside it.
func samples(folder string) (others []sample, own [][]byte, err error) {
	here, err := filepath.Abs(folder)
	if err != nil {
		return nil, nil, err
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(here), "*", "testdata", "codes.txt"))
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		codes, err := readCodes(file)
		if err != nil {
			return nil, nil, err
		}
		scheme := filepath.Dir(filepath.Dir(file))
		if scheme == here {
			own = codes
			continue
		}
		for _, raw := range codes {
			others = append(others, sample{filepath.Base(scheme), raw})
		}
	}
	if len(own) == 0 {
		return nil, nil, errors.New("testdata/codes.txt: every scheme lists its codes there, for the others to refuse")
	}
	return others, own, nil
}

func readCodes(file string) (codes [][]byte, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		raw, err := hex.DecodeString(text)
		if err != nil {
			return nil, errors.New(file + ": a line is not hexadecimal")
		}
		codes = append(codes, raw)
	}
	return codes, lines.Err()
}

// judge is the decision of a validator without lists.
func (k *kit) judge(v *Vector, raw []byte) code.Verdict {
	t := accept.Trial{Scheme: k.Scheme, Keys: v.Keys, Common: k.Common, At: v.At * 1000}
	if v.Amount != 0 {
		t.Amount = &v.Amount
	}
	return t.Judge(raw, new(code.Code))
}

// prove is what the scheme itself says: form and signatures, no window that
// could hide what a signature should have caught.
func (k *kit) prove(v *Vector, raw []byte, cache code.CredentialCache, c *code.Code) code.Verdict {
	if err := k.Scheme.Parse(raw, c); err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	c.Place(v.At)
	return k.Scheme.Verify(c, v.Keys, cache)
}

// An identity is all of a code that money depends on.
type identity struct {
	subject                code.Subject
	use                    code.Use
	issued, expires, made  int64
	window, cert, capMinor int64
	product, cap           uint16
	taps, party            uint8
	context                uint16
	clockQuality, medium   uint8
	scheme                 code.SchemeID
}

func identityOf(c *code.Code) identity {
	return identity{
		c.Subject(), c.Use(), c.IssuedAt, c.ExpiresAt, c.GeneratedAt, c.Window, c.CertExpiresAt, c.CapMinor,
		c.Product, c.Cap, c.Taps, c.Party, c.Context, c.ClockQuality, c.Medium, c.Scheme,
	}
}

func (k *kit) vectors(t T) {
	t.Helper()
	if len(k.Vectors) == 0 {
		t.Fatalf("no vectors")
	}
	cache := code.NewCredentials(4096)
	for i := range k.Vectors {
		v := &k.Vectors[i]
		for range 2 {
			k.expect(t, v, "", k.judge(v, v.Raw))
		}
		if v.Outcome == code.Reject {
			continue
		}
		for _, state := range []string{"cold", "warm", "warm"} {
			var c code.Code
			got := k.prove(v, bytes.Clone(v.Raw), cache, &c)
			if got.Outcome != v.Outcome || got.Strength != v.Strength {
				t.Errorf("%s, %s cache: %+v", v.Name, state, got)
			}
		}
	}
}

func (k *kit) expect(t T, v *Vector, how string, got code.Verdict) {
	t.Helper()
	if got.Outcome != v.Outcome || got.Reason != v.Reason {
		t.Errorf("%s%s: %s(%s), want %s(%s)", v.Name, how, got.Outcome, got.Reason, v.Outcome, v.Reason)
		return
	}
	if v.Outcome != code.Reject && (got.Strength != v.Strength || got.Checked != v.Checked) {
		t.Errorf("%s%s: %s, checked %q; want %s, %q", v.Name, how, got.Strength, got.Checked.Names(), v.Strength, v.Checked.Names())
	}
}

// bareKeys holds nothing and is no other kind of source either.
type bareKeys struct{ code.KeySource }

func (k *kit) nobody(t T) {
	t.Helper()
	for i := range k.Vectors {
		v := k.Vectors[i]
		for _, keys := range []code.KeySource{new(code.Trust), bareKeys{new(code.Trust)}} {
			v.Keys = keys
			if got := k.prove(&v, v.Raw, nil, new(code.Code)); got.Outcome == code.Accept {
				t.Errorf("%s: accepted with nobody's keys (%T)", v.Name, keys)
			}
		}
	}
}

func (k *kit) others(t T) {
	t.Helper()
	if len(k.foreign) == 0 {
		t.Fatalf("no other scheme's codes")
	}
	for _, s := range k.foreign {
		if m := k.Scheme.Sniff(s.raw); m != code.No {
			t.Errorf("a code of %s: Sniff = %d, want No: %x", s.scheme, m, s.raw)
		}
		if k.Scheme.Parse(s.raw, new(code.Code)) == nil {
			t.Errorf("a code of %s parses: %x", s.scheme, s.raw)
		}
	}
	listed := make(map[string]bool, len(k.own))
	for _, raw := range k.own {
		listed[string(raw)] = true
	}
	for _, v := range k.Vectors {
		if v.Outcome != code.Reject && !listed[string(v.Raw)] {
			t.Errorf("%s: not in testdata/codes.txt, so no other scheme is tried with it; add %x", v.Name, v.Raw)
		}
	}
}

func (k *kit) form(t T) {
	t.Helper()
	for _, raw := range [][]byte{nil, {}, {0}, {0xff}, bytes.Repeat([]byte{0xff}, 4096), make([]byte, 70_000)} {
		k.Scheme.Sniff(raw)
		if k.Scheme.Parse(raw, new(code.Code)) == nil {
			t.Errorf("%d bytes of nothing parse", len(raw))
		}
	}
	for i := range k.Vectors {
		v := &k.Vectors[i]
		c := code.Code{Scheme: "left over", Raw: []byte{1}, Account: [32]byte{1}}
		err := k.Scheme.Parse(v.Raw, &c)
		if err != nil {
			if !zero(&c) {
				t.Errorf("%s: %v, and %+v is left behind", v.Name, err, c)
			}
			if !errors.Is(err, code.ErrMalformed) && !errors.Is(err, code.ErrUnsupported) {
				t.Errorf("%s: error %v is neither malformed nor unsupported", v.Name, err)
			}
			continue
		}
		if c.Scheme != k.Scheme.ID() || !bytes.Equal(c.Raw, v.Raw) || c.Party == 0 {
			t.Errorf("%s: scheme %q, party %d, evidence %x", v.Name, c.Scheme, c.Party, c.Raw)
		}
		if k.Scheme.Sniff(v.Raw) == code.No {
			t.Errorf("%s parses, and Sniff says No", v.Name)
		}
		var into code.Code
		if n := testing.AllocsPerRun(20, func() {
			k.Scheme.Sniff(v.Raw)
			_ = k.Scheme.Parse(v.Raw, &into)
		}); n != 0 {
			t.Errorf("%s: Sniff and Parse allocate %v times", v.Name, n)
		}
	}
}

// zero reports whether nothing of a code is left in c.
func zero(c *code.Code) bool {
	return c.Raw == nil && c.Credential == nil && c.DeviceKey == nil && identityOf(c) == identity{} &&
		c.KeyID == 0 && c.Suite == 0 && c.Counter == 0 && !c.Timeless
}

func (k *kit) verdicts(t T) {
	t.Helper()
	for i := range k.Vectors {
		v := &k.Vectors[i]
		k.sound(t, v.Name, k.judge(v, v.Raw))
		for at := range v.Raw {
			bad := bytes.Clone(v.Raw)
			bad[at] ^= 0x10
			if at%7 == 0 { // some signatures, and every shape of refusal
				k.sound(t, v.Name, k.prove(v, bad, nil, new(code.Code)))
			}
		}
	}
}

func (k *kit) sound(t T, name string, v code.Verdict) {
	t.Helper()
	switch {
	case v.Outcome == code.Accept && (v.Reason != "" || v.Strength == code.Unverified || v.Strength == "" || v.Checked == 0):
		t.Errorf("%s: accepted, and %+v", name, v)
	case v.Outcome == code.Defer && (!v.Reason.Known() || v.Strength != code.Unverified):
		t.Errorf("%s: deferred, and %+v: a caller who looks at the reason alone lets it pass", name, v)
	case v.Outcome == code.Reject && (!v.Reason.Known() || v.Strength != code.Unverified):
		t.Errorf("%s: rejected, and %+v", name, v)
	case v.Outcome != code.Accept && v.Outcome != code.Defer && v.Outcome != code.Reject:
		t.Errorf("%s: outcome %q", name, v.Outcome)
	}
}

func (k *kit) regions(t T) {
	t.Helper()
	for i := range k.Vectors {
		v := &k.Vectors[i]
		if v.Outcome == code.Reject {
			continue
		}
		covered := make([]bool, len(v.Raw))
		for _, r := range v.Loose {
			mark(covered, r)
		}
		for _, r := range v.Proven {
			mark(covered, r)
			k.region(t, v, r)
		}
		for at, ok := range covered {
			if !ok {
				t.Errorf("%s: byte %d of %d is in no region: say which check covers it, or that it is loose", v.Name, at, len(v.Raw))
				break
			}
		}
	}
}

func mark(covered []bool, r Region) {
	for at := max(0, r.From); at < min(r.To, len(covered)); at++ {
		covered[at] = true
	}
}

// region changes bytes of one region. At least one change must get past the
// form and be refused by the region's own check; none may be accepted, and none
// may keep a deferred code's replay key.
func (k *kit) region(t T, v *Vector, r Region) {
	t.Helper()
	if r.From < 0 || r.From >= r.To || r.To > len(v.Raw) {
		t.Errorf("%s: region %s is bytes %d to %d of %d", v.Name, r.Name, r.From, r.To, len(v.Raw))
		return
	}
	var genuine code.Code
	k.prove(v, v.Raw, nil, &genuine)
	own := 0
	for at := r.From; at < r.To; at += max(1, (r.To-r.From)/48) {
		bad := bytes.Clone(v.Raw)
		bad[at] ^= 1 << (at % 8)
		var c code.Code
		got := k.prove(v, bad, nil, &c)
		switch {
		case got.Outcome == code.Accept:
			t.Errorf("%s: %s, byte %d changed, is accepted", v.Name, r.Name, at)
		case got.Outcome == code.Defer && c.Use() == genuine.Use():
			t.Errorf("%s: %s, byte %d changed, is deferred with the genuine replay key", v.Name, r.Name, at)
		case got.Outcome == code.Defer || got.Reason == r.Reason:
			own++
		}
	}
	if own == 0 {
		t.Errorf("%s: no change of %s was refused as %s: its own check never ran", v.Name, r.Name, r.Reason)
	}
}
