package person

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// What is sealed opens with the same key and context alone, is sealed the same way
// twice, and shows neither what it says nor how long that is.
func TestSealed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := func(name string) *Key { return (*Key)(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name)) }
		k, other := key("key"), key("other key")
		context, plain := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "context"), rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "plain")
		sealed, err := k.seal(context, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.open(context, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened %q, %v", got, err)
		}
		if again, err := k.seal(context, plain); err != nil || !bytes.Equal(again, sealed) {
			t.Fatal("the same is sealed otherwise")
		}
		if (len(sealed)-12-16)%padTo != 0 {
			t.Fatalf("%d bytes tell how much was sealed", len(sealed))
		}
		elsewhere, err := k.seal(append(bytes.Clone(context), 0), plain)
		if err != nil || bytes.Equal(elsewhere[12:], sealed[12:]) {
			t.Fatal("equal content shows in two places")
		}
		if _, err := k.open(append(bytes.Clone(context), 0), sealed); err == nil {
			t.Fatal("it opens in another place")
		}
		if *other != *k {
			if _, err := other.open(context, sealed); err == nil {
				t.Fatal("it opens with another key")
			}
			if bytes.Equal(other.hash("device"), k.hash("device")) {
				t.Fatal("names do not depend on the key")
			}
		}
		broken := bytes.Clone(sealed)
		broken[rapid.IntRange(0, len(broken)-1).Draw(t, "at")] ^= 1
		if _, err := k.open(context, broken); err == nil {
			t.Fatal("a changed byte is taken")
		}
		if _, err := k.open(context, sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a part of it is taken")
		}
	})
}
