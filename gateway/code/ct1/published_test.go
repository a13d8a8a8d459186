package ct1_test

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rsc.io/qr"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// The published vector set: what every verifier of CT1 must answer, whatever
// language it is written in. testdata/VECTORS.md describes the fields.
type (
	vectorFile struct {
		Format  string                   `json:"format"`
		NotHere map[code.Reason]string   `json:"reasons_not_here"`
		Rules   map[string]*accept.Rules `json:"rules"`
		Cases   []*vector                `json:"cases"`
	}
	vector struct {
		ID           string       `json:"id"`
		Comment      string       `json:"comment"`
		Suite        int          `json:"suite"` // -1: none can be told
		Scanned      string       `json:"scanned_hex"`
		QR           string       `json:"qr,omitempty"`
		Keys         []vectorKey  `json:"keys"`
		Rules        string       `json:"rules"`
		At           int64        `json:"at_ms"`
		ClockOK      bool         `json:"clock_ok"`
		Mode         accept.Mode  `json:"mode"`
		Kind         string       `json:"kind"`
		Fare         *vectorFare  `json:"fare"`
		Context      uint16       `json:"context"`
		TrustExpired bool         `json:"trust_expired"`
		Lists        []vectorList `json:"lists"`
		Seen         []vectorUse  `json:"seen"`
		Want         vectorWant   `json:"want"`
	}
	vectorKey struct {
		Issuer    citygate.Issuer `json:"issuer"`
		KeyID     uint8           `json:"kid"`
		Alg       string          `json:"alg"`
		Public    string          `json:"public_hex"`
		NotBefore int64           `json:"not_before"` // unix seconds
		Expires   int64           `json:"expires"`    // unix seconds, exclusive
		Revoked   bool            `json:"revoked"`
	}
	vectorFare struct {
		Minor    int64             `json:"minor"`
		Currency citygate.Currency `json:"currency"`
	}
	vectorList struct {
		Issuer     citygate.Issuer `json:"issuer"`
		List       uint16          `json:"list"`
		BuiltAt    int64           `json:"built_at"`    // unix seconds
		KnownAt    int64           `json:"known_at"`    // unix seconds: last known to be the newest
		ValidUntil int64           `json:"valid_until"` // unix seconds, exclusive
		Issued     uint32          `json:"issued"`      // indices from here up were not issued when it was built
		Denied     []uint32        `json:"denied"`
	}
	vectorUse struct {
		Issuer  citygate.Issuer `json:"issuer"`
		List    uint16          `json:"list"`
		Index   uint32          `json:"index"`
		Counter uint16          `json:"counter"`
	}
	vectorWant struct {
		Outcome  code.Outcome  `json:"outcome"`
		Reason   code.Reason   `json:"reason"`
		Strength code.Strength `json:"strength"`
	}
)

// notHere says why a reason of validators is in no vector.
var notHere = map[code.Reason]string{
	code.BadIssuerCert: "a CT1 code carries no certificate",
	code.Passback:      "a rule of journeys, which one presentation does not show",
	code.InternalError: "a fault of the validator itself, such as a full disk",
	code.PolicyRefused: "a rule of the operator's table, which policies/accept/testdata/tables.json holds",
	code.OverLimit:     "a limit of the operator's table, which policies/accept/testdata/tables.json holds",
}

// validatorReasons are the reasons a validator gives; the rest is the gateway's
// alone.
func validatorReasons() []code.Reason {
	all := code.Reasons()
	return append(all[:slices.Index(all, code.SequenceConflict):slices.Index(all, code.SequenceConflict)], code.NotIssued)
}

const (
	vectorsFile = "testdata/vectors.json"
	qrFolder    = "testdata/qr"
	qrCases     = 50
)

func (f *vectorFile) encode(t *testing.T) []byte {
	t.Helper()
	line := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\"format\":%s,\n\"reasons_not_here\":%s,\n\"rules\":{\n", line(f.Format), line(f.NotHere))
	names := make([]string, 0, len(f.Rules))
	for name := range f.Rules {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		fmt.Fprintf(&b, "%s:%s%s\n", line(name), line(f.Rules[name]), comma(i, len(names)))
	}
	b.WriteString("},\n\"cases\":[\n")
	for i, c := range f.Cases {
		fmt.Fprintf(&b, "%s%s\n", line(c), comma(i, len(f.Cases)))
	}
	b.WriteString("]}\n")
	return []byte(b.String())
}

func comma(i, n int) string {
	if i < n-1 {
		return ","
	}
	return ""
}

func readVectors(t testing.TB) *vectorFile {
	t.Helper()
	raw, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	f := new(vectorFile)
	if err := json.Unmarshal(raw, f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestVectorsAreUpToDate makes the set anew, byte for byte what is published.
func TestVectorsAreUpToDate(t *testing.T) {
	f := &vectorFile{Format: "citygate-ct1-vectors-1", NotHere: notHere, Rules: vectorRules(), Cases: vectorCases(t)}
	pictures := chooseQR(f.Cases)
	files := map[string][]byte{vectorsFile: f.encode(t)}
	for _, c := range pictures {
		files[filepath.Join("testdata", c.QR)] = picture(t, c)
	}
	if *update {
		if err := os.RemoveAll(qrFolder); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(qrFolder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range files {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what this test makes (%v); run: go test ./gateway/code/ct1 -run Vectors -update", name, err)
		}
	}
	held, err := os.ReadDir(qrFolder)
	if err != nil || len(held) != qrCases {
		t.Errorf("%d pictures, %v; want %d", len(held), err, qrCases)
	}
}

// chooseQR names the cases that are also pictures: of every suite, accepted and
// refused, most as text and some as bytes.
func chooseQR(cases []*vector) []*vector {
	perSuite, chosen := map[int]int{}, []*vector(nil)
	for _, c := range cases {
		if len(c.Scanned) < 200 || perSuite[c.Suite] >= qrCases/5 || c.Suite < 0 {
			continue
		}
		isText := strings.HasPrefix(c.Scanned, hex.EncodeToString([]byte(ct1.TextPrefix)))
		if !isText && perSuite[c.Suite]%5 != 0 {
			continue
		}
		perSuite[c.Suite]++
		c.QR = "qr/" + c.ID + ".png"
		chosen = append(chosen, c)
	}
	return chosen
}

func picture(t *testing.T, c *vector) []byte {
	t.Helper()
	scanned, err := hex.DecodeString(c.Scanned)
	if err != nil {
		t.Fatal(err)
	}
	level := qr.M
	if !bytes.HasPrefix(scanned, []byte(ct1.TextPrefix)) {
		level = qr.L
	}
	symbol, err := qr.Encode(string(scanned), level)
	if err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	symbol.Scale = 4
	return symbol.PNG()
}

// elsewhere are the reasons that only signed displays have, or only chains.
var elsewhere = map[bool][]code.Reason{true: {code.BadDeviceSignature, code.WrongVehicle}, false: {code.BadSecret}}

// A set that does not show something cannot hold anyone to it.
func TestVectorsCoverEveryReasonAndSuite(t *testing.T) {
	f := readVectors(t)
	if len(f.Cases) < 300 {
		t.Errorf("%d cases, want 300 at least", len(f.Cases))
	}
	ids, seen := map[string]bool{}, map[code.Reason]map[int]int{}
	for _, c := range f.Cases {
		if ids[c.ID] {
			t.Errorf("two cases %s", c.ID)
		}
		ids[c.ID] = true
		if seen[c.Want.Reason] == nil {
			seen[c.Want.Reason] = map[int]int{}
		}
		seen[c.Want.Reason][c.Suite]++
	}
	for _, r := range append(validatorReasons(), "") {
		_, excused := f.NotHere[r]
		if excused == (len(seen[r]) > 0) {
			t.Errorf("reason %q: %d cases, excused %v", r, len(seen[r]), excused)
		}
		for suite := range 5 {
			if !excused && seen[r][suite] == 0 && !slices.Contains(elsewhere[suite == 4], r) {
				t.Errorf("reason %q: no case of suite %d", r, suite)
			}
		}
	}
}

// A vector's keys and lists in the terms of the SDK.
type vectorTrust struct {
	keys map[[2]int]vectorKey
	t    testing.TB
}

func (v *vectorTrust) Version() uint64 { return 1 }

func (v *vectorTrust) IssuerKey(issuer citygate.Issuer, kid uint8, issuedAt int64) (crypto.PublicKey, code.Reason) {
	k, ok := v.keys[[2]int{int(issuer), int(kid)}]
	switch {
	case !ok:
		for at := range v.keys {
			if at[0] == int(issuer) {
				return nil, code.UnknownKey
			}
		}
		return nil, code.UnknownIssuer
	case k.Revoked || issuedAt >= k.Expires:
		return nil, code.KeyRevoked
	case issuedAt < k.NotBefore:
		return nil, code.UnknownKey
	}
	trust, err := ct1.Plugin.Trust(fmt.Appendf(nil, `{"keys":[{"tenant":%d,"kid":%d,"alg":%q,"public_hex":%q}]}`, issuer, kid, k.Alg, k.Public))
	if err != nil {
		v.t.Fatal(err)
	}
	return trust.IssuerKey(issuer, kid, issuedAt)
}

// decideVector answers a case with the SDK's own order of checks.
func decideVector(t testing.TB, f *vectorFile, v *vector, cache code.CredentialCache) code.Verdict {
	t.Helper()
	scanned, err := hex.DecodeString(v.Scanned)
	if err != nil {
		t.Fatal(err)
	}
	trust := &vectorTrust{map[[2]int]vectorKey{}, t}
	for _, k := range v.Keys {
		trust.keys[[2]int{int(k.Issuer), int(k.KeyID)}] = k
	}
	rules := f.Rules[v.Rules]
	d := terminal.Decider{
		Schemes: code.NewDispatcher(ct1.Scheme{}), Rules: rules, Keys: trust, Credentials: cache,
		Seen: func(u code.Use) bool {
			return slices.Contains(v.Seen, vectorUse{u.Rider.Issuer, u.Rider.List, u.Rider.Index, u.Counter})
		},
	}
	raw, err := d.Schemes.Binary(nil, scanned)
	if err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	facts := accept.Facts{At: v.At, ClockOK: v.ClockOK, Mode: v.Mode, Context: v.Context, TrustExpired: v.TrustExpired,
		Kind: map[string]tap.Kind{"on": tap.On, "off": tap.Off, "single": tap.Single}[v.Kind]}
	if v.Fare != nil {
		facts.Fare = citygate.Money{Minor: v.Fare.Minor, Currency: v.Fare.Currency}
	}
	d.Denied = func(c *code.Code) code.Reason { return standing(v, rules, c, facts) }
	var c code.Code
	return d.Decide(&c, raw, facts)
}

// standing is what a terminal says of a rider by its lists.
func standing(v *vector, rules *accept.Rules, c *code.Code, facts accept.Facts) code.Reason {
	const settles = 15 * 60 // seconds from an issue until a list must show its index
	for _, l := range v.Lists {
		switch {
		case l.Issuer != c.Rider.Issuer || l.List != c.Rider.List:
		case slices.Contains(l.Denied, c.Rider.Index):
			return code.Denied
		case c.Rider.Index >= l.Issued && c.IssuedAt+settles < l.BuiltAt:
			return code.NotIssued
		default:
			return rules.Freshness(c, facts, accept.List{Held: true, Expired: v.At/1000 >= l.ValidUntil, At: l.KnownAt})
		}
	}
	return rules.Freshness(c, facts, accept.List{})
}

func TestVectors(t *testing.T) {
	f := readVectors(t)
	for _, v := range f.Cases {
		for _, cache := range []code.CredentialCache{nil, code.NewCredentials(64)} {
			for range 2 { // the second time, the cache is warm
				got := decideVector(t, f, v, cache)
				if (vectorWant{got.Outcome, got.Reason, got.Strength}) != v.Want {
					t.Errorf("%s (%s): %+v, want %+v", v.ID, v.Comment, got, v.Want)
				}
			}
		}
	}
}
