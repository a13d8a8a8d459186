package code_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
)

// prefixScheme takes codes of the given length that begin with prefix, and is
// as sure as it is told to be.
type prefixScheme struct {
	id     code.SchemeID
	prefix string
	length int
	match  code.Match
}

func (p prefixScheme) ID() code.SchemeID { return p.id }

func (p prefixScheme) Sniff(raw []byte) code.Match {
	if bytes.HasPrefix(raw, []byte(p.prefix)) {
		return p.match
	}
	return code.No
}

func (p prefixScheme) Parse(raw []byte, c *code.Code) error {
	*c = code.Code{Scheme: p.id, Raw: raw}
	if len(raw) != p.length {
		return code.ErrMalformed // and leaves c dirty: the dispatcher must not
	}
	return nil
}

func (p prefixScheme) Verify(c *code.Code, _ code.KeySource, _ code.CredentialCache) code.Verdict {
	return code.Verdict{Outcome: code.Accept, Strength: code.Strength(p.id)}
}

func (p prefixScheme) AppendText(dst, scanned []byte) ([]byte, bool, error) {
	text, ok := bytes.CutPrefix(scanned, []byte(p.id+":"))
	if !ok {
		return dst, false, nil
	}
	if len(text) == 0 {
		return dst, true, code.ErrMalformed
	}
	return append(dst, text...), true, nil
}

func TestDispatcherFindsTheOneScheme(t *testing.T) {
	d := code.NewDispatcher(
		prefixScheme{"a", "x", 4, code.Maybe},
		prefixScheme{"b", "x", 5, code.Maybe},
		prefixScheme{"c", "x", 4, code.Maybe},
		prefixScheme{"sure", "y", 3, code.Sure},
		prefixScheme{"late", "y", 3, code.Sure},
		prefixScheme{"d", "y", 3, code.Maybe},
	)
	for _, test := range []struct {
		raw  string
		want code.SchemeID
		err  error
	}{
		{"x2345", "b", nil},
		{"x234", "", code.ErrMalformed}, // a and c would both take it
		{"x", "", code.ErrMalformed},    // nobody's
		{"y23", "sure", nil},            // the first that is sure
		{"y2", "", code.ErrMalformed},   // sure, hence final
		{"z", "", code.ErrUnsupported},
		{"", "", code.ErrUnsupported},
	} {
		c := code.Code{Scheme: "left over"}
		if err := d.Parse([]byte(test.raw), &c); !errors.Is(err, test.err) || c.Scheme != test.want {
			t.Errorf("Parse(%q) = %q, %v; want %q, %v", test.raw, c.Scheme, err, test.want, test.err)
		} else if err != nil && c.Raw != nil {
			t.Errorf("Parse(%q) leaves %+v behind", test.raw, c)
		}
	}
}

func TestDispatcherVerifiesByTheSchemeThatParsed(t *testing.T) {
	d := code.NewDispatcher(prefixScheme{id: "a"}, prefixScheme{id: "b"})
	if v := d.Verify(&code.Code{Scheme: "b"}, nil, nil); v.Strength != "b" {
		t.Errorf("%+v", v)
	}
	if v := d.Verify(&code.Code{Scheme: "not allowed here"}, nil, nil); v != code.Refuse(code.Unsupported) {
		t.Errorf("%+v", v)
	}
	var none code.Dispatcher
	if err := none.Parse([]byte("x"), &code.Code{}); !errors.Is(err, code.ErrUnsupported) {
		t.Errorf("the zero dispatcher: %v", err)
	}
}

func TestDispatcherDecodesTheTextOfAllowedSchemes(t *testing.T) {
	d := code.NewDispatcher(prefixScheme{id: "a"}, prefixScheme{id: "b"})
	for scanned, want := range map[string]string{"b:xyz": "xyz", "xyz": "xyz", "c:xyz": "c:xyz"} {
		if got, err := d.Binary(nil, []byte(scanned)); err != nil || string(got) != want {
			t.Errorf("Binary(%q) = %q, %v; want %q", scanned, got, err, want)
		}
	}
	if _, err := d.Binary(nil, []byte("a:")); !errors.Is(err, code.ErrMalformed) {
		t.Errorf("broken text: %v", err)
	}
}

func TestReasonsAreClosed(t *testing.T) {
	seen := map[code.Reason]bool{}
	for _, r := range code.Reasons() {
		if seen[r] || !r.Known() || r == "" {
			t.Errorf("reason %q is listed twice or unknown", r)
		}
		seen[r] = true
	}
	if len(seen) != 31 || code.Reason("").Known() || code.Reason("other").Known() {
		t.Errorf("%d reasons", len(seen))
	}
	if code.ReasonOf(nil) != "" || code.ReasonOf(code.ErrUnsupported) != code.Unsupported || code.ReasonOf(code.ErrMalformed) != code.Malformed {
		t.Error("ReasonOf gives other words")
	}
}
