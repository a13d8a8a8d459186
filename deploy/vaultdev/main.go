// Command vaultdev is a real Vault server for development and tests: Vault's
// own core and HTTP handler on storage in memory, with the parts that Citygate
// uses (transit, kv, approle, jwt).
//
// It listens on a free port of 127.0.0.1, or on the address of -listen, writes
// one line of JSON to standard output when it is initialised and unsealed, and
// ends when its standard input does, so that it cannot outlive whoever started
// it. Everything it held is gone then.
//
//	{"address":"http://127.0.0.1:40123","root_token":"...","unseal_key":"..."}
//
// It is a module of its own because the Vault server is under the BUSL and
// brings hundreds of modules: nothing of it is linked into Citygate. Other
// versions of Vault than the pinned one do not build as a library.
//
// It is not for production: no TLS, no audit device, keys that die with it.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	authjwt "github.com/hashicorp/vault-plugin-auth-jwt"
	secretskv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

var (
	engines = map[string]logical.Factory{"transit": transit.Factory, "kv": secretskv.Factory}
	logins  = map[string]logical.Factory{"approle": approle.Factory, "jwt": authjwt.Factory}
)

// registry tells the plug-in catalogue what is built in. Without one, mounting
// anything panics.
type registry struct{}

func (registry) of(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return engines
	case consts.PluginTypeCredential:
		return logins
	default:
		return nil
	}
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.of(kind)[name]
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	f, ok := r.of(kind)[name]
	return func() (any, error) { return f, nil }, ok
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r.of(kind) {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

// A greeting is the line that says the server is up.
type greeting struct {
	Address   string `json:"address"`
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"` // base64, for sys/unseal
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "loopback address to listen on; port 0 takes a free one")
	verbose := flag.Bool("v", false, "write Vault's log to standard error")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "vaultdev:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, verbose bool) error {
	log := hclog.NewNullLogger()
	if verbose {
		log = hclog.New(&hclog.LoggerOptions{Name: "vaultdev", Output: os.Stderr, Level: hclog.Info})
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	if a, ok := listener.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return errors.Join(fmt.Errorf("%s is not a loopback address: this server has no TLS and no lasting storage", listen), listener.Close())
	}
	core, hello, err := start(ctx, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	hello.Address = "http://" + listener.Addr().String()
	server := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode(hello); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	case err := <-ended:
		return err
	}
	return server.Close() // storage is memory: there is nothing to finish
}

// start makes a core, initialises it with one unseal key and unseals it.
func start(ctx context.Context, log hclog.Logger) (*vault.Core, greeting, error) {
	storage, err := inmem.NewInmem(nil, log)
	if err != nil {
		return nil, greeting{}, err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage, StorageType: "inmem", Logger: log, DisableMlock: true,
		LogicalBackends: engines, CredentialBackends: logins, BuiltinRegistry: registry{},
	})
	if err != nil {
		return nil, greeting{}, err
	}
	made, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig:  &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
		RecoveryConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return nil, greeting{}, err
	}
	key := base64.StdEncoding.EncodeToString(made.SecretShares[0]) // Unseal wipes what it is given
	unsealed, err := core.Unseal(made.SecretShares[0])
	if err != nil {
		return nil, greeting{}, err
	}
	if !unsealed {
		return nil, greeting{}, errors.New("the new server stayed sealed")
	}
	return core, greeting{RootToken: made.RootToken, UnsealKey: key}, nil
}
