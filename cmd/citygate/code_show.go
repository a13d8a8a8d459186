package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

type codeShowFlags struct {
	keys, at, png  string
	bytes, quiet   bool
	party, medium  uint8
	clock          uint8
	context        uint16
	counterSetting uint16
}

func newCodeShowCommand(sys *system) *cobra.Command {
	var f codeShowFlags
	c := &cobra.Command{
		Use:   "show --keys FILE [flags]",
		Short: "Show a code as the device does: a QR in the terminal, its text on the last line",
		Long: `Show a code as the device does, with the next counter: a QR in the terminal
(light on dark), and on the last line its text form, or hexadecimal with --bytes.

The QR carries the text form by default, which every reader can take. With
--bytes it carries the bytes, which is smaller; some phone cameras and keyboard
readers mangle them.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return codeShow(sys, f, c.Flags().Changed("counter")) },
	}
	flags := c.Flags()
	flags.StringVar(&f.keys, "keys", "", "key file that code issue wrote (required)")
	flags.StringVar(&f.at, "at", "", "time of the display, RFC 3339 or unix seconds (default now)")
	flags.StringVar(&f.png, "png", "", "also write the QR to this PNG file")
	flags.BoolVar(&f.bytes, "bytes", false, "put bytes into the QR, not text")
	flags.BoolVar(&f.quiet, "quiet", false, "print the code only, no QR")
	flags.Uint8Var(&f.party, "party", 1, "riders on the code, 1 to 15; 0 makes a proof of its rider for the gateway, which no reader takes")
	flags.Uint8Var(&f.medium, "medium", code.MediumPhone, "0 phone, 1 band, 2 server batch, 3 other")
	flags.Uint8Var(&f.clock, "clock", code.ClockNetwork, "clock quality: 0 network, 1 recently synced, 2 unknown")
	flags.Uint16Var(&f.context, "context", 0, "vehicle binding, 0 = none")
	flags.Uint16Var(&f.counterSetting, "counter", 0, "counter to show (default one after the last)")
	return c
}

func codeShow(sys *system, f codeShowFlags, counterGiven bool) error {
	if f.keys == "" {
		return &usageError{errors.New("code show: --keys FILE is required")}
	}
	at, err := instant(sys, f.at)
	if err != nil {
		return err
	}
	k, err := readCodeFile(f.keys)
	if err != nil {
		return err
	}
	sign, err := k.sign()
	if err != nil {
		return err
	}
	k.Counter++
	if counterGiven {
		k.Counter = f.counterSetting
	} else if k.Counter == 0 {
		return errors.New("the counter is used up; issue a new credential")
	}
	display := ct1.Dynamic{
		GeneratedAt: at.Unix(), Counter: k.Counter, Context: f.context, Party: f.party, ClockQuality: f.clock, Medium: f.medium,
	}
	if k.Device.Suite == ct1.SuiteChain { // which counts time itself and can state nothing else
		k.Counter, display.Counter, display.ClockQuality, display.Medium = 0, 0, code.ClockUnknown, code.MediumBand
	}
	show := ct1.Display
	if f.party == 0 {
		show = ct1.DisplayProof
	}
	raw, err := show(k.Credential, display, sign)
	if err != nil {
		return err
	}
	if err := k.write(f.keys); err != nil { // before it is seen: a counter never shows twice
		return err
	}
	return drawCode(sys, f, raw)
}

func drawCode(sys *system, f codeShowFlags, raw []byte) error {
	content, line := ct1.Text(raw), ct1.Text(raw)
	if f.bytes {
		content, line = string(raw), hex.EncodeToString(raw)
	}
	symbol, err := qr.Encode(content, qr.M)
	if err != nil {
		return err
	}
	if f.png != "" {
		if err := os.WriteFile(f.png, symbol.PNG(), 0o644); err != nil { //nolint:gosec // a picture to be shown around
			return err
		}
	}
	if !f.quiet {
		if _, err := fmt.Fprint(sys.Stdout, blocks(symbol)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(sys.Stdout, line)
	return err
}

// blocks draws two rows of modules a line. A light module is a drawn block:
// terminals are dark. The quiet zone of 4 modules belongs to the symbol.
func blocks(symbol *qr.Code) string {
	const quiet = 4
	var b strings.Builder
	for y := -quiet; y < symbol.Size+quiet; y += 2 {
		for x := -quiet; x < symbol.Size+quiet; x++ {
			upper, lower := !symbol.Black(x, y), !symbol.Black(x, y+1) && y+1 < symbol.Size+quiet
			switch {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
