package uicdosipas

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"
)

type sample struct {
	Name, Hex string
	Level1    struct {
		SecurityProviderNum, KeyID                                     int
		EndOfValidityYear, EndOfValidityDay, EndOfValidityTime         int
		ValidityDuration                                               int
		Level2PublicKey                                                string
		Level2KeyAlg, Level2SigningAlg, Level1KeyAlg, Level1SigningAlg string
		Data                                                           []struct{ Format, Hex string }
	}
	Level1Signature, Level1SignedBytes, Level2Signature, Level2SignedBytes string
	Level2Data                                                             struct{ Format, Hex string }
	Expect                                                                 struct {
		Level2SignatureValid bool `json:"level2_signature_valid"`
	}
}

func samples(t testing.TB) []sample {
	t.Helper()
	var file struct{ Tests []sample }
	data, err := os.ReadFile("testdata/uic-dosipas.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil || len(file.Tests) != 4 {
		t.Fatal(err, len(file.Tests))
	}
	return file.Tests
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSamplesGiveTheirFields(t *testing.T) {
	for _, s := range samples(t) {
		var b Barcode
		raw := unhex(t, s.Hex)
		if err := b.Parse(raw); err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		d := b.Display()
		w := s.Level1
		if int(b.ProviderNum) != w.SecurityProviderNum || int(b.KeyID) != w.KeyID || int(b.EndYear) != w.EndOfValidityYear || int(b.EndDay) != w.EndOfValidityDay ||
			int(b.EndMinute) != w.EndOfValidityTime || int(b.Duration) != w.ValidityDuration || hex.EncodeToString(d.Level2Key) != w.Level2PublicKey {
			t.Errorf("%s: %+v", s.Name, b)
		}
		if hex.EncodeToString(b.AppendLevel1(nil)) != s.Level1SignedBytes || hex.EncodeToString(b.AppendLevel2(nil)) != s.Level2SignedBytes {
			t.Errorf("%s: the signed bytes are others", s.Name)
		}
		if back, err := d.Marshal(); err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%s: marshals to %x, %v", s.Name, back, err)
		}
		t.Logf("%s %+v", s.Name, b.Dynamic)
		t.Logf("%s %+v %v pnr %q ref %q", s.Name, b.Rail, time.Unix(b.Rail.Issued, 0).UTC(), b.Rail.pnr.appendTo(nil, raw), b.Rail.reference.appendTo(nil, raw))
		t.Log(time.Unix(b.Rail.from(time.UTC), 0).UTC(), time.Unix(b.Rail.until(time.UTC), 0).UTC())
	}
}
