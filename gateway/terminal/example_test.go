package terminal_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"testing"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// exampleT lets examples use the helpers of the tests.
type exampleT struct{ testing.TB }

func (exampleT) Helper()                      {}
func (exampleT) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (exampleT) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (exampleT) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func exampleDir() (root *os.Root, done func()) {
	path, err := os.MkdirTemp("", "validator-*")
	if err != nil {
		panic(err)
	}
	if root, err = os.OpenRoot(path); err != nil {
		panic(err)
	}
	return root, func() { _ = root.Close(); _ = os.RemoveAll(path) }
}

// A validator's life: it is set up, gets its trust, decides without a network,
// and uploads when there is one.
func Example() {
	root, done := exampleDir()
	defer done()
	enrolled := config(nil) // what enrolment gave: the platform's root keys

	v, err := terminal.Open(terminal.Config{
		Files: terminal.Dir(root), Tenant: tenant, KeyID: keyID, Mode: accept.Bus, Software: "acme-4.2", BootID: 1,
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(privateKey("terminal"), m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Credentials: code.NewCredentials(4096),
		Roots: enrolled.Roots, Threshold: enrolled.Threshold,
	})
	if err != nil {
		panic(err)
	}
	defer v.Close()

	// Signed objects, from the gateway's public URLs, a stick or a driver's phone.
	now := start * 1000
	if err := v.InstallBundle(now, signedBundle(exampleT{}, 1, [32]byte{}, rules(1))); err != nil {
		panic(err)
	}
	if err := v.InstallList(now, signedList(exampleT{}, 1, start-60, 13)); err != nil {
		panic(err)
	}

	show := phone(exampleT{})
	present := func(scanned []byte) {
		d, err := v.Tap(now, scanned, terminal.Input{
			MonotonicMS: 90_000, Clock: tap.ClockGNSS, Kind: tap.Single, Vehicle: "bus-7",
			Fare: citygate.Money{Minor: 200, Currency: "CNY"},
		})
		if err != nil {
			panic(err) // not on disk: the gate stays shut
		}
		fmt.Printf("record %d: open %v, reason %q\n", d.Record.Seq, d.Open, d.Reason)
	}
	present([]byte(ct1.Text(show(1)))) // a camera gives text
	present(show(1))                   // the same display, as bytes
	present(show(2))
	present([]byte("https://example.org/menu"))

	for {
		batch, err := v.NextBatch(0)
		if err != nil {
			panic(err)
		}
		if batch == nil {
			break
		}
		// POST it to /v1/tap-batches, and once the gateway said that it has it:
		parsed, err := tap.ParseBatch(batch)
		if err != nil {
			panic(err)
		}
		if err := v.Ack(parsed.Hash); err != nil {
			panic(err)
		}
		fmt.Println("uploaded", parsed.Count, "taps,", v.Pending(), "left")
	}
	// Output:
	// record 1: open true, reason ""
	// record 2: open false, reason "replayed"
	// record 3: open true, reason ""
	// record 4: open false, reason "unsupported"
	// uploaded 4 taps, 0 left
}

// After a power cut the terminal goes on from its disk: the same batch comes
// out, and what was accepted stays used.
func ExampleOpen_afterPowerCut() {
	root, done := exampleDir()
	defer done()
	c := config(terminal.Dir(root))
	c.Schemes = code.NewDispatcher(ct1.Scheme{})
	before, err := terminal.Open(c)
	if err != nil {
		panic(err)
	}
	if err := before.InstallBundle(start*1000, signedBundle(exampleT{}, 1, [32]byte{}, rules(1))); err != nil {
		panic(err)
	}
	if err := before.InstallList(start*1000, signedList(exampleT{}, 1, start-60)); err != nil {
		panic(err)
	}
	display := phone(exampleT{})(1)
	mustTap(exampleT{}, before, 0, display)
	sent, err := before.NextBatch(0) // went out; the answer never came
	if err != nil {
		panic(err)
	}

	after, err := terminal.Open(c) // nothing was closed
	if err != nil {
		panic(err)
	}
	defer after.Close()
	again, err := after.NextBatch(0)
	if err != nil {
		panic(err)
	}
	fmt.Println("same batch:", bytes.Equal(sent, again))
	fmt.Println("same display:", mustTap(exampleT{}, after, 1, display).Reason)
	// Output:
	// same batch: true
	// same display: replayed
}

// Where journal and lists live elsewhere, a Decider answers alone.
func ExampleDecider() {
	keys := new(code.Trust)
	keys.AddIssuer(issuer, 1, public("credential"))
	used := map[code.Use]bool{}
	d := terminal.Decider{
		Schemes: code.NewDispatcher(ct1.Scheme{}), Rules: rules(1), Keys: keys,
		Seen: func(u code.Use) bool { return used[u] },
	}
	facts := accept.Facts{At: start * 1000, ClockOK: true, Mode: accept.Bus, Kind: tap.Single}
	display := phone(exampleT{})(1)
	for range 2 {
		var c code.Code
		verdict := d.Decide(&c, display, facts)
		fmt.Println(verdict.Outcome, verdict.Reason, verdict.Strength)
		if verdict.Outcome == code.Accept {
			used[c.Use()] = true // on disk first, before a gate opens
		}
	}
	// Output:
	// accept  device_bound
	// reject replayed unverified
}
