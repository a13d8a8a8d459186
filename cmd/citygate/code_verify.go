package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

type codeVerifyFlags struct {
	keys, bundle, at string
	roots            []string
	threshold        int
	skew             int64

	scheme, params, trust string
	amount                int64
}

func newCodeVerifyCommand(sys *system) *cobra.Command {
	var f codeVerifyFlags
	c := &cobra.Command{
		Use:   "verify [CODE|-] (--keys FILE | --bundle FILE --root KEY | --scheme ID)",
		Short: "Verify a code offline; exits 0 accept, 1 reject, 3 defer",
		Long: `Verify a code offline and print {"outcome","reason","strength"}.

CODE is the text form ("CT1:..."), hexadecimal or, on standard input, raw bytes.
The keys come from a file of code issue (its private keys may be removed) or
from a trust bundle, whose root keys are given in hexadecimal. Checked are the
form, the credential's life, the display's window, the tap budget and both
signatures, in this order. Not checked is what only a validator knows: fare and
cap, deny list, replay.

Without any keys the answer for a well-formed code inside its window is defer:
only the issuer can prove it.

With --scheme the code is of that scheme and given in hexadecimal, whatever its
form is on a screen; the answer names in "checked" what held. --params is the
scheme's parameters and --trust its keys and secrets, both files of one JSON
object that 'citygate code schemes' and the scheme's package describe. The skew
is then "skew_s" of the parameters, 0 if it is not there, and --amount is held
against the code's highest fare.

Exits 0 for accept, 1 for reject, 3 for defer, 2 for wrong usage.`,
		Example: `  citygate code show --keys demo.json --quiet | citygate code verify - --keys demo.json`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if f.scheme != "" {
				return codeVerifyScheme(sys, f, args, c.Flags().Changed)
			}
			for _, name := range []string{"params", "trust", "amount"} {
				if c.Flags().Changed(name) {
					return &usageError{fmt.Errorf("code verify: --%s needs --scheme", name)}
				}
			}
			return codeVerify(sys, f, args)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.keys, "keys", "", "key file that code issue wrote")
	flags.StringVar(&f.bundle, "bundle", "", "trust bundle")
	flags.StringArrayVar(&f.roots, "root", nil, "platform root key that the bundle is signed with, hexadecimal; may be repeated")
	flags.IntVar(&f.threshold, "root-threshold", 1, "root signatures the bundle needs")
	flags.StringVar(&f.at, "at", "", "time of the tap, RFC 3339 or unix seconds (default now)")
	flags.StringVar(&f.scheme, "scheme", "", "code scheme, such as ct1 or mot-sm2; CODE is then hexadecimal")
	flags.StringVar(&f.params, "params", "", "JSON file with the scheme's parameters")
	flags.StringVar(&f.trust, "trust", "", "JSON file with the scheme's keys and secrets")
	flags.Int64Var(&f.amount, "amount", 0, "fare in minor units, to hold against the code's highest fare")
	flags.Int64Var(&f.skew, "skew", 30, "seconds allowed between the clocks of device and validator")
	return c
}

func codeVerify(sys *system, f codeVerifyFlags, args []string) error {
	at, err := instant(sys, f.at)
	if err != nil {
		return err
	}
	source, err := f.source(at.Unix())
	if err != nil {
		return err
	}
	raw, err := readCode(sys, args)
	if err != nil {
		return err
	}
	verdict := verdictOf(raw, at.UnixMilli(), f.skew, source)
	if err := printJSON(sys, map[string]any{"outcome": verdict.Outcome, "reason": verdict.Reason, "strength": verdict.Strength}); err != nil {
		return err
	}
	return exitFor(verdict)
}

// exitFor gives the exit status that says the verdict: 0, 1 or 3.
func exitFor(verdict code.Verdict) error {
	switch verdict.Outcome {
	case code.Reject:
		return &exitError{code: 1}
	case code.Defer:
		return &exitError{code: 3}
	case code.Accept:
	}
	return nil
}

// parseCode reads what was scanned, text or bytes, and gives the dispatcher that
// knows its scheme.
func parseCode(scanned []byte) (*code.Dispatcher, *code.Code, error) {
	d, c := code.NewDispatcher(ct1.Scheme{}), &code.Code{}
	raw, err := d.Binary(nil, scanned)
	if err == nil {
		err = d.Parse(raw, c)
	}
	return d, c, err
}

func verdictOf(scanned []byte, atMillis, skew int64, source code.KeySource) code.Verdict {
	d, c, err := parseCode(scanned)
	if err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	// The acceptance rules of a validator that would take anything genuine. The
	// issuer is known if there is a key for it, which the signatures decide.
	rules := accept.Rules{
		Issuers: []accept.IssuerRule{{Issuer: c.Rider.Issuer}},
		Schemes: []code.SchemeID{ct1.ID},
		Modes:   []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},

		SkewSeconds: skew, MaxWindowSeconds: accept.WindowMax, MaxTTLHours: accept.TTLMax,
	}
	if reason := rules.BeforeSignatures(c, accept.Facts{At: atMillis, ClockOK: true, Mode: accept.Bus, Kind: tap.Single}); reason != "" {
		return code.Refuse(reason)
	}
	if source == nil {
		return code.Verdict{Outcome: code.Defer, Reason: code.UnknownIssuer, Strength: code.Unverified}
	}
	return d.Verify(c, source, nil)
}

// readCode gives what the argument or standard input holds: text stays text,
// hexadecimal becomes bytes.
func readCode(sys *system, args []string) ([]byte, error) {
	var scanned []byte
	if len(args) == 1 && args[0] != "-" {
		scanned = []byte(args[0])
	} else {
		var err error
		if scanned, err = io.ReadAll(io.LimitReader(sys.Stdin, 1<<16)); err != nil {
			return nil, err
		}
	}
	if len(scanned) > 0 && scanned[0] == 0x7d {
		return scanned, nil // raw: a line feed at its end may be part of the code
	}
	text := bytes.TrimRight(scanned, "\r\n") // not spaces: base45 has them
	if raw, err := hex.DecodeString(string(text)); err == nil {
		return raw, nil
	}
	return text, nil
}

// source gives the keys to verify with; nil if none were named.
func (f *codeVerifyFlags) source(now int64) (code.KeySource, error) {
	switch {
	case f.keys != "" && f.bundle != "":
		return nil, &usageError{errors.New("code verify: --keys or --bundle, not both")}
	case f.keys != "":
		k, err := readCodeFile(f.keys)
		if err != nil {
			return nil, err
		}
		return fileKeys{k}, nil
	case f.bundle == "":
		return nil, nil
	case len(f.roots) == 0:
		return nil, &usageError{errors.New("code verify: --bundle needs --root KEY: a bundle cannot vouch for itself")}
	}
	roots := make([]bundle.RootKey, len(f.roots))
	for i, r := range f.roots {
		key, err := hex.DecodeString(r)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, &usageError{fmt.Errorf("code verify: --root %q: want 64 hexadecimal digits", r)}
		}
		roots[i].Public = key
	}
	raw, err := os.ReadFile(f.bundle)
	if err != nil {
		return nil, err
	}
	return bundle.Open(raw, roots, f.threshold, now, 0)
}

// fileKeys is a key source with the one issuer of a key file.
type fileKeys struct{ *codeFile }

func (f fileKeys) Version() uint64 { return 1 }

func (f fileKeys) IssuerKey(issuer citygate.Issuer, kid uint8, _ int64) (crypto.PublicKey, code.Reason) {
	switch {
	case issuer != f.Issuer.Number:
		return nil, code.UnknownIssuer
	case kid != f.Issuer.KeyID:
		return nil, code.UnknownKey
	}
	return ed25519.PublicKey(f.Issuer.Public), ""
}

func newCodeInspectCommand(sys *system) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [CODE|-]",
		Short: "Print the fields of a code as JSON; says nothing about whether it is genuine",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			scanned, err := readCode(sys, args)
			if err != nil {
				return err
			}
			_, c, err := parseCode(scanned)
			if err != nil {
				return err
			}
			return printJSON(sys, inspected(c))
		},
	}
}

func inspected(c *code.Code) any {
	return struct {
		Scheme      code.SchemeID   `json:"scheme"`
		Bytes       int             `json:"bytes"`
		Suite       uint8           `json:"suite"`
		Issuer      citygate.Issuer `json:"issuer"`
		KeyID       uint8           `json:"kid"`
		List        uint16          `json:"list"`
		Index       uint32          `json:"index"`
		IssuedAt    int64           `json:"issued_at"`
		ExpiresAt   int64           `json:"expires_at"`
		GeneratedAt int64           `json:"generated_at"`
		Window      int64           `json:"window_seconds"`
		Product     uint16          `json:"product"`
		Cap         uint16          `json:"cap"`
		Taps        uint8           `json:"taps"`
		Counter     uint16          `json:"counter"`
		Party       uint8           `json:"party"`
		Clock       uint8           `json:"clock_quality"`
		Medium      uint8           `json:"medium"`
		Context     uint16          `json:"context"`
		DeviceKey   hexBytes        `json:"device_key"`
		Extensions  hexBytes        `json:"extensions"`
		IssuerSig   hexBytes        `json:"issuer_signature"`
		DeviceSig   hexBytes        `json:"device_signature"`
		Text        string          `json:"text"`
	}{
		c.Scheme, len(c.Raw), c.Suite, c.Rider.Issuer, c.KeyID, c.Rider.List, c.Rider.Index,
		c.IssuedAt, c.ExpiresAt, c.GeneratedAt, c.Window, c.Product, c.Cap, c.Taps, c.Counter,
		c.Party, c.ClockQuality, c.Medium, c.Context, c.DeviceKey, ct1.Extensions(c),
		c.Credential[len(c.Credential)-64:], ct1.Proof(c), ct1.Text(c.Raw),
	}
}
