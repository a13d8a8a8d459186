package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/policies/accept"
)

// codeVerifyScheme tries one code of one scheme by hand.
func codeVerifyScheme(sys *system, f codeVerifyFlags, args []string, changed func(string) bool) error {
	for _, name := range []string{"keys", "bundle", "root", "root-threshold", "skew"} {
		if changed(name) {
			return &usageError{fmt.Errorf("code verify: --%s does not go with --scheme; use --params and --trust", name)}
		}
	}
	t := trial{amount: f.amount, amountGiven: changed("amount")}
	at, err := instant(sys, f.at)
	if err != nil {
		return err
	}
	t.at = at.UnixMilli()
	if err := t.load(code.SchemeID(f.scheme), f.params, f.trust); err != nil {
		return err
	}
	raw, err := readHex(sys, args)
	verdict := code.Refuse(code.Malformed) // bytes that are not hexadecimal are no code either
	if err == nil {
		verdict = t.judge(raw)
	}
	if err := printJSON(sys, verdict); err != nil {
		return err
	}
	return exitFor(verdict)
}

// A trial is a scheme with what one code is held against.
type trial struct {
	scheme      code.Scheme
	common      code.Common
	keys        code.KeySource
	at          int64 // unix milliseconds
	amount      int64 // minor units
	amountGiven bool
}

func (t *trial) load(id code.SchemeID, paramsFile, trustFile string) error {
	plugin, err := schemes.Find(id)
	if err != nil {
		return &usageError{fmt.Errorf("code verify: %w", err)}
	}
	params, err := readSmall(paramsFile)
	if err != nil {
		return err
	}
	if t.scheme, err = plugin.New(params); err != nil {
		return fmt.Errorf("%s: %w", paramsFile, err)
	}
	if len(params) > 0 { // the scheme has refused what is wrong; the rest of the object is its own
		if err := json.Unmarshal(params, &t.common); err != nil {
			return fmt.Errorf("%s: %w", paramsFile, err)
		}
	}
	trust, err := readSmall(trustFile)
	if err != nil {
		return err
	}
	if t.keys, err = plugin.Trust(trust); err != nil {
		return fmt.Errorf("%s: %w", trustFile, err)
	}
	return nil
}

// judge runs the order of a validator that holds no lists: form, life, window
// and amount, then what the scheme itself proves.
func (t *trial) judge(raw []byte) code.Verdict {
	if text, ok := t.scheme.(code.TextScheme); ok {
		decoded, _, err := text.AppendText(nil, raw)
		if err != nil {
			return code.Refuse(code.ReasonOf(err))
		}
		if len(decoded) > 0 {
			raw = decoded
		}
	}
	var c code.Code
	if err := t.scheme.Parse(raw, &c); err != nil {
		return code.Refuse(code.ReasonOf(err))
	}
	const currency = "XXX" // none: the code's cap and the amount are of one currency here
	rules := accept.Rules{
		Issuers: []accept.IssuerRule{{Issuer: c.Rider.Issuer, Currency: currency, CapUnitMinor: max(1, t.common.CapUnitMinor)}},
		Schemes: []code.SchemeID{c.Scheme},
		Modes:   []accept.ModeRule{{Mode: accept.Bus, Kinds: accept.Kinds{tap.Single}}},

		SkewSeconds: t.common.SkewSeconds, MaxWindowSeconds: accept.WindowMax, MaxTTLHours: accept.TTLMax,
	}
	facts := accept.Facts{At: t.at, ClockOK: true, Mode: accept.Bus, Kind: tap.Single}
	held := code.InWindow
	if t.amountGiven {
		facts.Fare = citygate.Money{Minor: t.amount, Currency: currency}
		if c.CapMinor != code.CapNone {
			held |= code.WithinCap
		}
	}
	if reason := rules.BeforeSignatures(&c, facts); reason != "" {
		return code.Refuse(reason)
	}
	if c.Timeless {
		held &^= code.InWindow // the code says no time: if it proves one, Verify says so
	}
	return t.scheme.Verify(&c, t.keys, nil).After(held)
}

// readHex gives the bytes of the argument or of standard input.
func readHex(sys *system, args []string) ([]byte, error) {
	var text []byte
	if len(args) == 1 && args[0] != "-" {
		text = []byte(args[0])
	} else {
		var err error
		if text, err = io.ReadAll(io.LimitReader(sys.Stdin, 1<<16)); err != nil {
			return nil, err
		}
	}
	return hex.DecodeString(string(bytes.TrimSpace(text)))
}

// readSmall reads a file of parameters or keys; "" is none.
func readSmall(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	const most = 1 << 20
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(raw) > most {
		err = errors.New("larger than a megabyte")
	}
	if err == nil && len(bytes.TrimSpace(raw)) == 0 {
		err = errors.New("empty; want one JSON object")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}

func newCodeSchemesCommand(sys *system) *cobra.Command {
	return &cobra.Command{
		Use:   "schemes",
		Short: "List the code schemes this build knows",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, p := range schemes.All() {
				if _, err := fmt.Fprintln(sys.Stdout, p.ID); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
