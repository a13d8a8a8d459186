package terminal_test

import (
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/terminal"
)

// moment is a scheme whose codes say no time: 'M', then the number of the ten
// seconds they are good in and for ten seconds around, which only Verify looks
// at. 'D' in its place is deferred.
type moment struct{}

func (moment) ID() code.SchemeID { return "moment" }

func (moment) Sniff(raw []byte) code.Match {
	if len(raw) == 3 && (raw[0] == 'M' || raw[0] == 'D') {
		return code.Sure
	}
	return code.No
}

func (moment) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{Scheme: "moment", Raw: raw, Rider: citygate.Rider{Issuer: issuer, List: 1, Index: 77}, Timeless: true, Window: 20, CapMinor: code.CapNone, Party: 1}
	c.Once = [32]byte{'?', raw[2]} // what it is before anybody has looked
	return nil
}

func (moment) Verify(c *code.Code, _ code.KeySource, _ code.CredentialCache) code.Verdict {
	if c.Raw[0] == 'D' {
		return code.Deferred(0)
	}
	step := start/10 + int64(c.Raw[1])
	if tap := c.GeneratedAt / 10; tap < step-1 || tap > step+1 {
		return code.Refuse(code.BadSecret)
	}
	c.GeneratedAt, c.Once = step*10, [32]byte{'!', c.Raw[1]}
	return code.Verdict{Outcome: code.Accept, Strength: code.SecretBound, Checked: code.SharedSecret}
}

func momentTerminal(t *testing.T, files terminal.Files) *terminal.Verifier {
	t.Helper()
	c := config(files)
	c.Schemes = code.NewDispatcher(moment{})
	v, err := terminal.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	r := rules(1)
	r.Schemes = []code.SchemeID{"moment"}
	if err := v.InstallBundle(start*1000, signedBundle(t, 1, [32]byte{}, r)); err != nil {
		t.Fatal(err)
	}
	if err := v.InstallList(start*1000, signedList(t, 1, start-60, 13)); err != nil {
		t.Fatal(err)
	}
	return v
}

// Which display such a code was shows only when it is verified; it opens once all
// the same, in whatever form and step it is shown again, and after a crash.
func TestCodeWithoutATimeOpensOnce(t *testing.T) {
	files := newDisk()
	v := momentTerminal(t, files)
	if d := mustTap(t, v, 0, []byte{'M', 0, 1}); !d.Open {
		t.Fatalf("first: %q", d.Reason)
	}
	again := []struct {
		seconds int64
		raw     []byte
		want    code.Reason
	}{{1, []byte{'M', 0, 1}, code.Replayed}, {15, []byte{'M', 0, 2}, code.Replayed}, {15, []byte{'M', 9, 3}, code.BadSecret}, {35, []byte{'M', 0, 1}, code.BadSecret}}
	for _, a := range again {
		if d := mustTap(t, v, a.seconds, a.raw); d.Reason != a.want {
			t.Errorf("after %d s, %v: %q, want %q", a.seconds, a.raw, d.Reason, a.want)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = momentTerminal(t, files)
	if d := mustTap(t, v, 16, []byte{'M', 0, 4}); d.Reason != code.Replayed {
		t.Errorf("after a restart: %q", d.Reason)
	}
	if d := mustTap(t, v, 17, []byte{'M', 2, 5}); !d.Open {
		t.Errorf("the next one: %q", d.Reason)
	}
}

// A deferred code is nobody's promise yet: a terminal on its own keeps shut.
func TestDeferredCodeDoesNotOpen(t *testing.T) {
	v := momentTerminal(t, newDisk())
	if d := mustTap(t, v, 0, []byte{'D', 0, 1}); d.Open || !d.Reason.Known() {
		t.Errorf("%+v", d)
	}
}
