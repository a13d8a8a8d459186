package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/access"
	"github.com/cashlesscity/citygate/gateway/city"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/issuance"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/keys/vault"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
	"github.com/spf13/cobra"
)

// gatewayFlags say where an installation lies: its database, keys and files.
type gatewayFlags struct {
	databaseFlags
	keyFile string // opens keyDir
	keyDir  string
	files   string
	vault   vaultFlags

	publicURL  string             // where providers reach this gateway; "" = nowhere
	issuerNets []netip.Prefix     // private networks where OpenID Connect issuers may be
	statuses   *issuance.Statuses // of makers' attestation certificates; nil = none
}

// databaseOnly registers the flags of commands that need no keys.
func (f *gatewayFlags) databaseOnly(c *cobra.Command) {
	c.Flags().StringVar(&f.data, "data", "", "data directory (default: that of \"citygate serve\")")
	c.Flags().StringVar(&f.url, "database-url", "", "PostgreSQL prepared with deploy/roles.sql, instead of the data directory's own (or DATABASE_URL)")
}

// withKeys registers the flags of commands that sign.
func (f *gatewayFlags) withKeys(c *cobra.Command) {
	f.databaseOnly(c)
	c.Flags().StringVar(&f.keyDir, "keys", "", "directory of the sealed private keys (default: keys in the data directory)")
	c.Flags().StringVar(&f.keyFile, "key-file", "", "file that opens --keys, outside the data directory; made on first use (default: /etc/citygate or the user's configuration)")
	f.vault.register(c)
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if err := f.vault.check(c); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// settle fills what was not given. A demo's directory has everything inside,
// its key file too, and says so.
func (f *gatewayFlags) settle(sys *system) error {
	if f.data == "" {
		f.data = defaultData(sys, "serve")
	}
	data, err := filepath.Abs(f.data)
	if err != nil {
		return err
	}
	f.data = data
	keyDir, keyFile, files := filepath.Join(data, "keys"), defaultKeyFile(sys), filepath.Join(data, "files")
	if f.isDemo() {
		keyDir, keyFile, files = city.KeyDir(data), city.KeyFile(data), city.FilesDir(data)
	}
	for at, otherwise := range map[*string]string{&f.keyDir: keyDir, &f.keyFile: keyFile, &f.files: files} {
		if *at == "" {
			*at = otherwise
		}
	}
	if !f.isDemo() && local.Inside(f.keyFile, data) {
		return &usageError{fmt.Errorf("the key file %s lies in the data directory that it opens: name a place outside by --key-file", f.keyFile)}
	}
	return nil
}

func (f *gatewayFlags) isDemo() bool { return exists(filepath.Join(f.data, demoMarker)) }

// private reports whether the database is the data directory's own.
func (f *gatewayFlags) private(sys *system) bool { return f.url == "" && sys.Env("DATABASE_URL") == "" }

// mustExist refuses a data directory that nothing was ever served from: a
// command that only looks must not make one.
func (f *gatewayFlags) mustExist(sys *system) error {
	if err := f.settle(sys); err != nil {
		return err
	}
	if f.private(sys) && !exists(filepath.Join(f.data, "postgresql")) {
		return fmt.Errorf("there is no installation in %s: name its directory by --data, or start one by 'citygate serve --data %s'", f.data, f.data)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// defaultKeyFile lies outside every data directory.
func defaultKeyFile(sys *system) string {
	if os.Geteuid() == 0 {
		return "/etc/citygate/keys.key"
	}
	if dir := sys.Env("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "citygate", "keys.key")
	}
	return filepath.Join(sys.Env("HOME"), ".config", "citygate", "keys.key")
}

// An installation is an open gateway that works nothing until told to.
type installation struct {
	*gateway.Gateway
	flags gatewayFlags
	db    *database
	files *os.Root
	vault *vault.Store // nil = the keys are in files
}

// reading opens an installation for commands that need neither keys nor files.
func (f gatewayFlags) reading(ctx context.Context, sys *system) (*installation, error) {
	if err := f.mustExist(sys); err != nil {
		return nil, err
	}
	return f.build(ctx, sys, gateway.Config{Log: slog.New(slog.DiscardHandler)})
}

// readingSecrets is reading with the installation's secrets, where they are at hand.
func (f gatewayFlags) readingSecrets(ctx context.Context, sys *system) (*installation, error) {
	if err := f.mustExist(sys); err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	if f.vault.addr != "" {
		return f.signing(ctx, sys, log)
	}
	if !exists(f.keyFile) {
		return f.reading(ctx, sys)
	}
	store, err := f.localKeys(sys)
	if err != nil {
		return nil, err
	}
	return f.build(ctx, sys, gateway.Config{Signer: store, Secrets: store, Log: log})
}

// importing opens an installation that may be new, without its keys.
func (f gatewayFlags) importing(ctx context.Context, sys *system) (*installation, error) {
	return f.build(ctx, sys, gateway.Config{Log: slog.New(slog.DiscardHandler)})
}

// providerCalls is how many contracts are collected at once: each waits for its
// provider, and costs nothing else meanwhile.
const providerCalls = 64

// signing opens an installation with its keys. The first use makes the key file.
func (f gatewayFlags) signing(ctx context.Context, sys *system, log *slog.Logger) (*installation, error) {
	if err := f.settle(sys); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(f.data, 0o711); err != nil { //nolint:gosec // root's database user passes through
		return nil, err
	}
	if f.vault.addr == "" {
		store, err := f.localKeys(sys)
		if err != nil {
			return nil, err
		}
		return f.build(ctx, sys, gateway.Config{Signer: store, Secrets: store, Log: log, Calls: providerCalls})
	}
	store, err := f.vault.open(ctx, sys, log)
	if err != nil {
		return nil, err
	}
	in, err := f.build(ctx, sys, gateway.Config{Signer: store, Secrets: store, Log: log, Calls: providerCalls})
	if err != nil {
		return nil, errors.Join(err, store.Close(ctx))
	}
	in.vault = store
	return in, nil
}

func (f *gatewayFlags) localKeys(sys *system) (*local.Store, error) {
	if _, err := os.Stat(f.keyFile); errors.Is(err, fs.ErrNotExist) {
		if sealed, _ := os.ReadDir(f.keyDir); len(sealed) > 0 {
			return nil, fmt.Errorf("the keys in %s need their key file, and there is none at %s: name it by --key-file, or restore it", f.keyDir, f.keyFile)
		}
		if err := local.CreateKeyFile(f.keyFile, rand.Reader); err != nil {
			return nil, err
		}
		say(sys, fmt.Sprintf("made the key file %s: keep a copy in a safe place, apart from the data; without it the private keys are lost", f.keyFile))
	}
	return local.Open(local.Config{Dir: f.keyDir, KeyFile: f.keyFile, Random: rand.Reader, Clock: sys.Now})
}

// build opens the database and puts a gateway on it. c has what differs.
func (f gatewayFlags) build(ctx context.Context, sys *system, c gateway.Config) (in *installation, err error) {
	db, err := f.open(ctx, sys, func(step string) { say(sys, step) })
	if err != nil {
		return nil, err
	}
	in = &installation{flags: f, db: db}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close(ctx))
		}
	}()
	c.AppURL, c.JobsURL = db.url(pglocal.App), db.url(pglocal.Jobs)
	c.Clock, c.Random, c.HTTP, c.Products = sys.Now, rand.Reader, providersWay(), gateway.Products()
	c.PublicURL = f.publicURL
	c.Issuers, c.Revoked = access.Client(f.issuerNets), f.statuses
	c.Collect, c.Served = collect.DefaultRules(), sys.served
	if f.isDemo() {
		c.Collect = city.CollectRules()
	}
	if c.Signer != nil {
		if err := os.MkdirAll(f.files, 0o750); err != nil {
			return in, err
		}
		if in.files, err = os.OpenRoot(f.files); err != nil {
			return in, err
		}
		c.Files = in.files
	}
	in.Gateway, err = gateway.New(ctx, c)
	return in, err
}

// close ends what was begun, the database last. It works on after an interrupt.
func (in *installation) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	var err error
	if in.Gateway != nil {
		err = in.Close(ctx)
	}
	if in.files != nil {
		err = errors.Join(err, in.files.Close())
	}
	if in.vault != nil {
		err = errors.Join(err, in.vault.Close(ctx))
	}
	return errors.Join(err, in.db.stop(ctx))
}

// stopWithin bounds each part of stopping: answers under way, jobs and the
// database.
const stopWithin = 10 * time.Second

// A providerWay is the way to payment providers. A call that has a deadline of its own
// (a list, a bill) ends by that, any other with the time of a payment.
type providerWay struct{ calls, fetches *http.Client }

// Do implements [driver.Doer].
func (w providerWay) Do(r *http.Request) (*http.Response, error) {
	if adapters.HasOwnDeadline(r.Context()) {
		return w.fetches.Do(r) //nolint:gosec // a contract names where its provider is
	}
	return w.calls.Do(r) //nolint:gosec // a contract names where its provider is
}

// providersWay makes the way to payment providers.
func providersWay() providerWay {
	fetches := providerClient()
	fetches.Timeout = fetchMost
	if t, ok := fetches.Transport.(*http.Transport); ok {
		t.ResponseHeaderTimeout = 0 // a bill may be made while it is waited for
	}
	return providerWay{providerClient(), fetches}
}

// fetchMost is above any deadline that a contract can name.
const fetchMost = 2 * time.Hour

// providerClient goes where a contract says and nowhere else: a redirect is an answer
// and no order, and no environment variable puts a proxy between.
func providerClient() *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: 20 * time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   16,
			ForceAttemptHTTP2:     true,
		},
	}
}

// say tells what happens, beside the results.
func say(sys *system, what string) { _, _ = fmt.Fprintf(sys.Stderr, "citygate: %s\n", what) }

// actor is how the audit log names whoever runs a command.
func actor(sys *system) string {
	if name := sys.Env("USER"); name != "" {
		return "user:" + name
	}
	return fmt.Sprintf("user:uid-%d", os.Getuid())
}
