package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A partyDir is the directory over which a merchant and a provider meet.
type partyDir struct {
	path    string
	account map[string]any
}

// The parties of a partyDir.
const (
	partyApp      = "app"
	partyProvider = "provider"
)

const partyKeyBits = 2048

// openPartyDir makes what is absent: of a pair of which nothing is there a new
// one, of a private key its public half. Several processes may do so at once:
// the first private key stays.
func openPartyDir(path string, account map[string]string, random io.Reader) (partyDir, error) {
	d := partyDir{path: path}
	for _, party := range []string{partyApp, partyProvider} {
		if err := d.ensurePair(party, random); err != nil {
			return d, err
		}
	}
	text, err := json.MarshalIndent(account, "", "  ")
	if err != nil {
		return d, err
	}
	if err := d.ensure("account.json", append(text, '\n'), 0o644); err != nil {
		return d, err
	}
	if text, err = os.ReadFile(filepath.Join(path, "account.json")); err != nil {
		return d, err
	}
	decode := json.NewDecoder(bytes.NewReader(text))
	decode.UseNumber()
	if err := decode.Decode(&d.account); err != nil {
		return d, fmt.Errorf("%s: %w", filepath.Join(path, "account.json"), err)
	}
	for name, value := range account { // a file that names only some things leaves the rest as it is by default
		if _, said := d.account[name]; !said {
			d.account[name] = value
		}
	}
	return d, nil
}

// text gives a value of account.json, or "".
func (d partyDir) text(name string) string {
	switch v := d.account[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func (d partyDir) ensurePair(party string, random io.Reader) error {
	private, public := party+"_private.pem", party+"_public.pem"
	if d.has(public) {
		return nil // the private half is here, or the other side has it
	}
	if !d.has(private) {
		key, err := rsa.GenerateKey(random, partyKeyBits)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := d.ensure(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return err
		}
	}
	key, err := d.private(party)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return d.ensure(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

func (d partyDir) has(name string) bool { return exists(filepath.Join(d.path, name)) }

// ensure writes a file whole, unless it is there.
func (d partyDir) ensure(name string, text []byte, mode fs.FileMode) error {
	target := filepath.Join(d.path, name)
	if exists(target) {
		return nil
	}
	temp := filepath.Join(d.path, "."+name+"."+rand.Text())
	if err := os.WriteFile(temp, text, mode); err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp) }() // a second name of the file, or a loser's
	if err := os.Link(temp, target); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// private reads a party's private key.
func (d partyDir) private(party string) (*rsa.PrivateKey, error) {
	name := filepath.Join(d.path, party+"_private.pem")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("the private key of this side is missing: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM", name)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS #8 private key", name) // the parser's error could hold a part of it
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an RSA key", name)
	}
	return private, nil
}

// public reads a party's public key.
func (d partyDir) public(party string) (*rsa.PublicKey, error) {
	name := filepath.Join(d.path, party+"_public.pem")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("the public key of the other side is missing: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM", name)
	}
	if strings.Contains(block.Type, "CERTIFICATE") {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return rsaOnly(name, cert.PublicKey)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rsaOnly(name, key)
}

func rsaOnly(name string, key any) (*rsa.PublicKey, error) {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an RSA key", name)
	}
	return public, nil
}
