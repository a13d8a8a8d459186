package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
)

func newCodeCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "code",
		Short: "Issue, show, verify and inspect ride codes, without a server",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newCodeIssueCommand(sys), newCodeShowCommand(sys), newCodeVerifyCommand(sys), newCodeInspectCommand(sys), newCodeSchemesCommand(sys))
	return c
}

// A codeFile is an issuer and a device in one file, for trying codes out. A
// file without the private keys still verifies.
type codeFile struct {
	Issuer struct {
		Number  citygate.Issuer `json:"number"`
		KeyID   uint8           `json:"kid"`
		Public  hexBytes        `json:"public"`
		Private hexBytes        `json:"private,omitempty"` // Ed25519 seed
	} `json:"issuer"`
	Device struct {
		Suite   uint8    `json:"suite"`
		Public  hexBytes `json:"public,omitempty"`
		Private hexBytes `json:"private,omitempty"` // Ed25519 seed, P-256 scalar or seed of a hash chain
	} `json:"device"`
	Credential hexBytes `json:"credential,omitempty"`
	Counter    uint16   `json:"counter"` // of the last display
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { //nolint:unparam // encoding.TextMarshaler
	return hex.AppendEncode(nil, h), nil
}

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func readCodeFile(path string) (*codeFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var k codeFile
	d := json.NewDecoder(io.LimitReader(f, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(k.Issuer.Public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%s: issuer.public has %d bytes, want %d", path, len(k.Issuer.Public), ed25519.PublicKeySize)
	}
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if len(k.Issuer.Private)+len(k.Device.Private) > 0 && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds private keys and others may read it; run: chmod 600 %s", path, path)
	}
	return &k, nil
}

// write replaces the file in one step, so that a counter is never torn.
func (k *codeFile) write(path string) error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".citygate-code-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(append(data, '\n'))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// newKeys fills in the key pairs of an issuer and a device.
func (k *codeFile) newKeys(random io.Reader, suite uint8) error {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return err
	}
	k.Issuer.Private = seed
	k.Issuer.Public = hexBytes(ed25519.NewKeyFromSeed(seed)[32:])
	for range 100 { // a P-256 scalar may be out of range, once in 2^32
		scalar := make([]byte, 32)
		if _, err := io.ReadFull(random, scalar); err != nil {
			return err
		}
		k.Device.Suite, k.Device.Private = suite, scalar
		if suite == ct1.SuiteChain {
			k.Device.Private = scalar[:16]
			anchor, err := ct1.ChainAnchor(k.Device.Private)
			k.Device.Public = anchor
			return err
		}
		private, err := k.device()
		if err != nil {
			continue
		}
		_, public, err := ct1.DeviceKey(private.Public())
		k.Device.Public = public
		return err
	}
	return errors.New("no device key in 100 tries; the randomness is broken")
}

func (k *codeFile) device() (crypto.Signer, error) {
	switch {
	case len(k.Device.Private) != 32:
		return nil, errors.New("the key file has no private device key")
	case k.Device.Suite == ct1.SuiteP256:
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), k.Device.Private)
	case k.Device.Suite == ct1.SuiteEd25519:
		return ed25519.NewKeyFromSeed(k.Device.Private), nil
	}
	return nil, fmt.Errorf("suite %d is not known", k.Device.Suite)
}

// sign gives what the device signs its displays with.
func (k *codeFile) sign() (func(msg []byte) ([]byte, error), error) {
	if k.Device.Suite == ct1.SuiteChain {
		return ct1.ChainSigner(k.Device.Private)
	}
	private, err := k.device()
	if err != nil {
		return nil, err
	}
	return ct1.Signer(private)
}

type codeIssueFlags struct {
	keys, at              string
	issuer, list, product uint16
	index                 uint32
	kid, suite            uint8
	ttl, cap              uint16
	taps, window          uint8
}

func newCodeIssueCommand(sys *system) *cobra.Command {
	var f codeIssueFlags
	c := &cobra.Command{
		Use:   "issue --keys FILE [flags]",
		Short: "Issue a sample credential; FILE gets the keys of an issuer and a device",
		Long: `Issue a sample CT1 credential and print one line of JSON.

FILE is made with mode 0600 when it is not there; else its keys are used again
and only the credential is new. It is for trying codes out: a tenant's real
issuer key never leaves its signer, a phone's real key never leaves the phone.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return codeIssue(sys, f, c.Flags().Changed) },
	}
	flags := c.Flags()
	flags.StringVar(&f.keys, "keys", "", "key file (required)")
	flags.StringVar(&f.at, "at", "", "time of issue, RFC 3339 or unix seconds (default now)")
	flags.Uint16Var(&f.issuer, "issuer", 1, "issuer number")
	flags.Uint8Var(&f.kid, "kid", 1, "issuer key id")
	flags.Uint16Var(&f.list, "list", 1, "status list")
	flags.Uint32Var(&f.index, "index", 0, "index in the list (default one after the last)")
	flags.Uint8Var(&f.suite, "suite", ct1.SuiteP256, "3 = P-256 device (phone), 0 = Ed25519 device (band), 4 = hash chain (band without keys)")
	flags.Uint16Var(&f.product, "product", 1, "product or concession class")
	flags.Uint16Var(&f.cap, "cap", 1000, "highest fare for one tap, in the issuer's cap units")
	flags.Uint8Var(&f.taps, "taps", 0, "highest counter accepted, 0 = unlimited")
	flags.Uint8Var(&f.window, "window", 30, "seconds a display lives")
	flags.Uint16Var(&f.ttl, "ttl", 168, "hours the credential lives")
	return c
}

func codeIssue(sys *system, f codeIssueFlags, changed func(string) bool) error {
	if f.keys == "" {
		return &usageError{errors.New("code issue: --keys FILE is required")}
	}
	if f.suite != ct1.SuiteP256 && f.suite != ct1.SuiteEd25519 && f.suite != ct1.SuiteChain {
		return &usageError{fmt.Errorf("code issue: --suite %d: sample codes are of suite 3, 0 or 4; gateway/code/ct1 makes the others", f.suite)}
	}
	at, err := instant(sys, f.at)
	if err != nil {
		return err
	}
	k, err := readCodeFile(f.keys)
	if errors.Is(err, os.ErrNotExist) {
		k = new(codeFile)
		err = k.newKeys(sys.Random, f.suite)
		k.Issuer.Number, k.Issuer.KeyID = citygate.Issuer(f.issuer), f.kid
	} else if err == nil {
		err = f.fit(k, changed)
	}
	if err != nil {
		return err
	}
	if len(k.Issuer.Private) != ed25519.SeedSize {
		return fmt.Errorf("%s: has no private issuer key", f.keys)
	}
	toSign, err := ct1.BuildCredential(ct1.Credential{
		Suite: k.Device.Suite, Rider: citygate.Rider{Issuer: k.Issuer.Number, List: f.list, Index: f.index}, KeyID: k.Issuer.KeyID,
		IssuedAt: at.Unix(), TTLHours: f.ttl, Product: f.product, Cap: f.cap, Taps: f.taps, Window: f.window, DeviceKey: k.Device.Public,
	})
	if err != nil {
		return err
	}
	credential, err := ct1.Assemble(toSign, ed25519.Sign(ed25519.NewKeyFromSeed(k.Issuer.Private), toSign))
	if err != nil {
		return err
	}
	k.Credential, k.Counter = credential, 0
	if err := k.write(f.keys); err != nil {
		return err
	}
	return printJSON(sys, map[string]any{
		"credential": hexBytes(credential), "rider": fmt.Sprintf("%d/%d/%d", k.Issuer.Number, f.list, f.index),
		"issued_at": at.Unix(), "expires_at": at.Unix() + int64(f.ttl)*3600,
		"issuer_public": k.Issuer.Public, "device_public": k.Device.Public,
	})
}

// fit keeps to the keys of an existing file and moves to the next index.
func (f *codeIssueFlags) fit(k *codeFile, changed func(string) bool) error {
	switch {
	case changed("suite") && f.suite != k.Device.Suite:
		return fmt.Errorf("%s: its device key is of suite %d", f.keys, k.Device.Suite)
	case changed("issuer") && citygate.Issuer(f.issuer) != k.Issuer.Number, changed("kid") && f.kid != k.Issuer.KeyID:
		return fmt.Errorf("%s: its issuer is %d with kid %d", f.keys, k.Issuer.Number, k.Issuer.KeyID)
	}
	var last code.Code
	if len(k.Credential) == 0 || changed("index") {
		return nil
	}
	if err := ct1.ParseCredential(k.Credential, &last); err != nil {
		return fmt.Errorf("%s: credential: %w", f.keys, err)
	}
	if !changed("list") {
		f.list = last.Rider.List
	}
	if f.list == last.Rider.List {
		f.index = last.Rider.Index + 1
	}
	return nil
}

// instant reads RFC 3339 or unix seconds; "" is now.
func instant(sys *system, s string) (time.Time, error) {
	if s == "" {
		return sys.Now(), nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, &usageError{fmt.Errorf("time %q: want RFC 3339 or unix seconds", s)}
	}
	return t, nil
}

func printJSON(sys *system, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(sys.Stdout, "%s\n", line)
	return err
}
