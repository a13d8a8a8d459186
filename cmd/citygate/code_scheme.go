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

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/policies/accept"
)

// codeVerifyScheme tries one code of one scheme by hand.
func codeVerifyScheme(sys *system, f codeVerifyFlags, args []string, changed func(string) bool) error {
	for _, name := range []string{"keys", "bundle", "root", "root-threshold", "skew"} {
		if changed(name) {
			return &usageError{fmt.Errorf("code verify: --%s does not go with --scheme; use --params and --trust", name)}
		}
	}
	at, err := instant(sys, f.at)
	if err != nil {
		return err
	}
	t, err := newTrial(code.SchemeID(f.scheme), f.params, f.trust)
	if err != nil {
		return err
	}
	t.At = at.UnixMilli()
	if changed("amount") {
		t.Amount = &f.amount
	}
	raw, err := readHex(sys, args)
	verdict := code.Refuse(code.Malformed) // what is not hexadecimal is no code either
	if err == nil {
		verdict = t.Judge(raw, new(code.Code))
		if err := explained(t.Scheme, raw); err != nil {
			if _, err := fmt.Fprintln(sys.Stderr, err); err != nil {
				return err
			}
		}
	}
	if err := printJSON(sys, verdict); err != nil {
		return err
	}
	return exitFor(verdict)
}

// explained gives what a scheme has to say of a code that it does not take,
// beyond the reason: that it is another party's code, for example.
func explained(s code.Scheme, raw []byte) error {
	err := s.Parse(raw, new(code.Code))
	if err == code.ErrMalformed || err == code.ErrUnsupported { //nolint:errorlint // the bare reasons, which the verdict says
		return nil
	}
	return err
}

// newTrial makes a scheme from the files of its parameters and its keys.
func newTrial(id code.SchemeID, paramsFile, trustFile string) (*accept.Trial, error) {
	plugin, err := schemes.Find(id)
	if err != nil {
		return nil, &usageError{fmt.Errorf("code verify: %w", err)}
	}
	params, err := readSmall(paramsFile)
	if err != nil {
		return nil, err
	}
	t := new(accept.Trial)
	if t.Scheme, err = plugin.New(params); err != nil {
		return nil, fmt.Errorf("%s: %w", paramsFile, err)
	}
	if len(params) > 0 { // the scheme has refused what is wrong; the rest of the object is its own
		if err := json.Unmarshal(params, &t.Common); err != nil {
			return nil, fmt.Errorf("%s: %w", paramsFile, err)
		}
	}
	trust, err := readSmall(trustFile)
	if err != nil {
		return nil, err
	}
	if t.Keys, err = plugin.Trust(trust); err != nil {
		return nil, fmt.Errorf("%s: %w", trustFile, err)
	}
	return t, nil
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
