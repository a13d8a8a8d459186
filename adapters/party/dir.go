package party

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cashlesscity/citygate"
)

// ErrKeys refuses a directory that cannot be met over, by the file that is wrong.
var ErrKeys = &citygate.Code{Name: "adapter.keys", Kind: citygate.Invalid,
	Title: "The directory of keys cannot be used as it is. Correct what is named; a file that is absent is made."}

// A Dir is the directory over which a merchant and a provider meet: the RSA key
// pairs of both (PKCS #8, SPKI) and account.json.
type Dir struct {
	root    *os.Root
	account map[string]any
}

// The parties of a Dir.
const (
	App      = "app" // the merchant
	Provider = "provider"
)

const keyBits = 2048

// Open makes what is absent in root: of a pair of which nothing is there a new
// one, of a private key its public half. Several processes may do so at once:
// the first private key stays. account is what account.json says by default.
func Open(root *os.Root, account map[string]string, random io.Reader) (*Dir, error) {
	d := &Dir{root: root}
	for _, party := range []string{App, Provider} {
		if err := d.ensurePair(party, random); err != nil {
			return nil, err
		}
	}
	text, err := json.MarshalIndent(account, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := d.Ensure("account.json", append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	if text, err = root.ReadFile("account.json"); err != nil {
		return nil, err
	}
	decode := json.NewDecoder(bytes.NewReader(text))
	decode.UseNumber()
	if err := decode.Decode(&d.account); err != nil || d.account == nil {
		return nil, ErrKeys.Explain("account.json: want a JSON object") // what the file holds may be a secret
	}
	for name, value := range account { // a file that names only some things leaves the rest as it is by default
		if _, said := d.account[name]; !said {
			d.account[name] = value
		}
	}
	return d, nil
}

// Text gives a value of account.json, or "".
func (d *Dir) Text(name string) string {
	switch v := d.account[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func (d *Dir) ensurePair(party string, random io.Reader) error {
	private, public := party+"_private.pem", party+"_public.pem"
	if d.Has(public) {
		return nil // the private half is here, or the other side has it
	}
	if !d.Has(private) {
		key, err := rsa.GenerateKey(random, keyBits)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := d.Ensure(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return err
		}
	}
	key, err := d.Private(party)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return d.Ensure(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

// Has reports whether a file is there.
func (d *Dir) Has(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

// Ensure writes a file whole, unless it is there.
func (d *Dir) Ensure(name string, text []byte, mode fs.FileMode) error {
	if d.Has(name) {
		return nil
	}
	temp := "." + name + "." + rand.Text()
	if err := d.root.WriteFile(temp, text, mode); err != nil {
		return err
	}
	defer func() { _ = d.root.Remove(temp) }() // a second name of the file, or a loser's
	if err := d.root.Link(temp, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Read gives a file of the directory.
func (d *Dir) Read(name string) ([]byte, error) { return d.root.ReadFile(name) }

// The files of products that meet over certificates, beside the keys.
const (
	AppCert      = "app_cert.pem"
	ProviderCert = "provider_cert.pem"
	RootCert     = "provider_root_cert.pem"
)

// Certificates reads the three files.
func (d *Dir) Certificates() (app, provider, roots []byte, err error) {
	for name, text := range map[string]*[]byte{AppCert: &app, ProviderCert: &provider, RootCert: &roots} {
		if *text, err = d.Read(name); err != nil {
			return nil, nil, nil, err
		}
	}
	return app, provider, roots, nil
}

// Keys reads a side's own private key and the other side's public one.
func (d *Dir) Keys(own, other string) (*rsa.PrivateKey, *rsa.PublicKey, error) {
	private, err := d.Private(own)
	if err != nil {
		return nil, nil, err
	}
	public, err := d.Public(other)
	return private, public, err
}

// Private reads a party's private key.
func (d *Dir) Private(party string) (*rsa.PrivateKey, error) {
	name := party + "_private.pem"
	text, err := d.Read(name)
	if err != nil {
		return nil, ErrKeys.Explain("the private key of this side is missing: %v", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, ErrKeys.Explain("%s: no PEM", name)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, ErrKeys.Explain("%s: not a PKCS #8 private key", name) // the parser's error could hold a part of it
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, ErrKeys.Explain("%s: not an RSA key", name)
	}
	return private, nil
}

// Public reads a party's public key.
func (d *Dir) Public(party string) (*rsa.PublicKey, error) {
	name := party + "_public.pem"
	text, err := d.Read(name)
	if err != nil {
		return nil, ErrKeys.Explain("the public key of the other side is missing: %v", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, ErrKeys.Explain("%s: no PEM", name)
	}
	if strings.Contains(block.Type, "CERTIFICATE") {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, ErrKeys.Explain("%s: %v", name, err)
		}
		return rsaOnly(name, cert.PublicKey)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, ErrKeys.Explain("%s: %v", name, err)
	}
	return rsaOnly(name, key)
}

func rsaOnly(name string, key any) (*rsa.PublicKey, error) {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, ErrKeys.Explain("%s: not an RSA key", name)
	}
	return public, nil
}
