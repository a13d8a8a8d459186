package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/keys/vault"
)

// vaultFlags say where Vault is and how to log in there. deploy/vault/README.md
// is the operator's page.
type vaultFlags struct {
	addr, namespace string
	ca              string // file of who may vouch for the server
	transit, kv     string
	loginMount      string
	jwtFile         string
	sign, admin     vaultIdentity
}

// A vaultIdentity is one of the two.
type vaultIdentity struct {
	role, roleID, secretFile string
}

func (f *vaultFlags) register(c *cobra.Command) {
	p := c.Flags()
	p.StringVar(&f.addr, "vault-addr", "", "keep keys and credentials in this Vault, instead of --keys; https://host:port")
	p.StringVar(&f.namespace, "vault-namespace", "", "namespace in Vault")
	p.StringVar(&f.ca, "vault-ca", "", "PEM file of who may vouch for Vault's server (default: those of the system)")
	p.StringVar(&f.transit, "vault-transit", vault.DefaultTransit, "mount of the transit engine")
	p.StringVar(&f.kv, "vault-kv", vault.DefaultKV, "mount of the key/value engine, version 2")
	p.StringVar(&f.loginMount, "vault-login-mount", "", "mount of the login (default: approle, or jwt with --vault-jwt-file)")
	p.StringVar(&f.jwtFile, "vault-jwt-file", "", "log in with the platform's token in this file, read anew each time, instead of AppRole")
	p.StringVar(&f.sign.role, "vault-sign-role", "gateway-sign", "role that signs and reads credentials")
	p.StringVar(&f.sign.roleID, "vault-sign-role-id", "", "its RoleID")
	p.StringVar(&f.sign.secretFile, "vault-sign-secret-id-file", "", "file with its response-wrapped SecretID, mode 0600, read anew at each login")
	p.StringVar(&f.admin.role, "vault-admin-role", "gateway-admin", "role that makes keys and stores credentials; \"\" = none")
	p.StringVar(&f.admin.roleID, "vault-admin-role-id", "", "its RoleID; without one this process makes no keys")
	p.StringVar(&f.admin.secretFile, "vault-admin-secret-id-file", "", "file with its response-wrapped SecretID")
}

// check finds what does not go together, before anything is begun.
func (f *vaultFlags) check(c *cobra.Command) error {
	given := func(name string) bool { return c.Flags().Changed(name) }
	switch {
	case f.addr == "" && f.any(c):
		return errors.New("the --vault- flags say nothing without --vault-addr")
	case f.addr == "":
		return nil
	case given("keys") || given("key-file"):
		return errors.New("--vault-addr and --keys or --key-file are two places for the keys: give one")
	case f.jwtFile != "" && (f.sign.secretFile != "" || f.admin.secretFile != ""):
		return errors.New("--vault-jwt-file and a SecretID are two ways to log in: give one")
	case f.jwtFile == "" && (f.sign.roleID == "" || f.sign.secretFile == ""):
		return errors.New("to log in give --vault-sign-role-id and --vault-sign-secret-id-file, or --vault-jwt-file")
	case f.jwtFile == "" && (f.admin.roleID == "") != (f.admin.secretFile == ""):
		return errors.New("--vault-admin-role-id and --vault-admin-secret-id-file go together")
	}
	return nil
}

func (f *vaultFlags) any(c *cobra.Command) bool {
	for _, name := range []string{"namespace", "ca", "transit", "kv", "login-mount", "jwt-file", "sign-role", "sign-role-id", "sign-secret-id-file",
		"admin-role", "admin-role-id", "admin-secret-id-file"} {
		if c.Flags().Changed("vault-" + name) {
			return true
		}
	}
	return false
}

// open logs in.
func (f *vaultFlags) open(ctx context.Context, sys *system, log *slog.Logger) (*vault.Store, error) {
	c := vault.Config{
		Address: f.addr, Namespace: f.namespace, Transit: f.transit, KV: f.kv,
		Clock: sys.Now, Random: rand.Reader, Log: log, Sign: f.login(f.sign),
	}
	if f.jwtFile != "" && f.admin.role != "" || f.admin.roleID != "" {
		c.Admin = f.login(f.admin)
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--vault-ca %s: no certificate in PEM", f.ca)
		}
	}
	return vault.Open(ctx, c)
}

func (f *vaultFlags) login(i vaultIdentity) vault.Login {
	if f.jwtFile != "" {
		return &vault.JWT{Mount: f.loginMount, Role: i.role, Token: func(context.Context) (citygate.Secret, error) { return readSecret(f.jwtFile, false) }}
	}
	return &vault.AppRole{Mount: f.loginMount, Role: i.role, RoleID: i.roleID, Wrapped: func(context.Context) (citygate.Secret, error) {
		return readSecret(i.secretFile, true)
	}}
}

// secretFileMax is more than any token has.
const secretFileMax = 64 << 10

// readSecret reads a token from a file. A private one must be its owner's alone.
func readSecret(path string, private bool) (citygate.Secret, error) {
	var none citygate.Secret
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return none, fmt.Errorf("there is no %s: deliver the wrapped SecretID there", path)
	case err != nil:
		return none, err
	case private && info.Mode().Perm()&0o077 != 0:
		return none, fmt.Errorf("%s can be read by others: 'chmod 600 %s', and deliver a new SecretID", path, path)
	case info.Size() > secretFileMax:
		return none, fmt.Errorf("%s has %d bytes: that is no token", path, info.Size())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return none, err
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return none, fmt.Errorf("%s is empty: deliver the wrapped SecretID there", path)
	}
	return citygate.NewSecret([]byte(text)), nil
}
