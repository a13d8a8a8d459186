package city

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/alipay/alipaysim"
	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/adapters/sandbox"
	"github.com/cashlesscity/citygate/gateway"
	"github.com/cashlesscity/citygate/gateway/collect"
	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/cashlesscity/citygate/keys/local"
)

// parts are the programs around the riders: gateway, its HTTP server, and the
// providers' simulators.
type parts struct {
	gateway *gateway.Gateway
	server  *http.Server
	files   *os.Root
	network network
	token   string // of a platform administrator
	calls   int    // made with it

	sim       *alipaysim.Server
	simKeys   lateKeys
	sandboxes map[string]*sandbox.Provider // by directory: one for each contract
	faults    []seededFault
}

// KeyFile and KeyDir say where a played city's keys lie in its data directory.
// The file that opens them lies beside them: these keys are for play.
func KeyFile(data string) string { return filepath.Join(data, "keys.key") }

// KeyDir is the directory of the sealed keys.
func KeyDir(data string) string { return filepath.Join(data, "keys") }

// FilesDir is the directory of payout files, bills and the sandbox's book.
func FilesDir(data string) string { return filepath.Join(data, "files") }

// collectRules let accounts that reach 20.00 be collected during the day, so
// that a decline can still reach the validators the same evening.
var collectRules = collect.Rules{AmountLimit: 2000, CountLimit: 12, CloseAfter: 6 * time.Hour, MaxTries: 2, RetryEvery: 24 * time.Hour}

// CollectRules are the played tenants' rules, for whoever serves them later.
func CollectRules() collect.Rules { return collectRules }

// build starts the simulators, the gateway and its server.
func (w *world) build(ctx context.Context) error {
	for _, dir := range []string{FilesDir(w.Data), filepath.Join(w.Data, "validators")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // payout files are for people to read
			return err
		}
	}
	var err error
	if w.files, err = os.OpenRoot(FilesDir(w.Data)); err != nil {
		return err
	}
	if err := local.CreateKeyFile(KeyFile(w.Data), rand.Reader); err != nil {
		return err
	}
	store, err := local.Open(local.Config{Dir: KeyDir(w.Data), KeyFile: KeyFile(w.Data), Random: rand.Reader, Clock: w.clock.now})
	if err != nil {
		return err
	}
	w.sim, err = alipaysim.Start(alipaysim.Config{ //nolint:contextcheck // it serves until tearDown closes it
		Clock: w.clock.now, Keys: &w.simKeys, FindOffline: w.Seed%2 == 1, Seed: w.Seed,
		Faults: alipaysim.Faults{
			LoseReply:  w.loses(),
			Unsigned:   alipaysim.Pick(w.Seed, "unsigned", 1),
			Unknown:    alipaysim.Pick(w.Seed, "unknown", 10),
			RetryLater: alipaysim.Pick(w.Seed, "later", 10),
			RetryAfter: 20 * time.Minute,
		},
	})
	if err != nil {
		return err
	}
	w.sim.SetOutage(w.outage())
	products := gateway.Products()
	var openSandbox adapters.Constructor
	w.sandboxes = map[string]*sandbox.Provider{}
	openSandbox = products.Replace("sandbox", func(d adapters.Deps) (driver.Provider, error) {
		p, err := openSandbox(d)
		if book, ok := p.(*sandbox.Provider); ok && err == nil {
			w.sandboxes[d.Files.Name()] = book // the score compares their books with ours
			book.SetScript(w.sandboxScript())
		}
		return p, err
	})
	w.gateway, err = gateway.New(ctx, gateway.Config{
		AppURL: w.AppURL, JobsURL: w.JobsURL, Clock: w.clock.now, Random: rand.Reader, Signer: store, Secrets: store,
		Files: w.files, Products: products, HTTP: &http.Client{Timeout: 10 * time.Second}, Collect: collectRules,
		Workers: 4, Ordered: true, Exclusive: true, Log: w.Log, Served: w.Served,
	})
	if err != nil {
		return err
	}
	there, err := w.gateway.Tenants.All(ctx)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("the database holds %d tenants already: a city is played on an empty one", len(there))
	}
	if err := w.gateway.Start(ctx); err != nil {
		return err
	}
	return w.serve(ctx)
}

// loses chooses the payments whose reply is lost after the provider acted, and
// counts them. A small city has a larger share, so that it has any.
func (w *world) loses() func(string) bool {
	pick := alipaysim.Pick(w.Seed, "lose", 2+1500/w.Riders)
	return func(id string) bool {
		if !pick(id) {
			return false
		}
		w.lost.Add(1)
		return true
	}
}

// serve puts the gateway's API on a loopback port and gives the player a token.
func (w *world) serve(ctx context.Context) error {
	if _, err := w.gateway.EnsurePlatform(ctx, player); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.server = &http.Server{Handler: w.gateway.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = w.server.Serve(listener) }() // ends with Close below
	w.network = network{url: "http://" + listener.Addr().String(), client: &http.Client{Timeout: time.Minute}}
	w.token, err = w.gateway.Tokens.Mint(ctx, edge.Caller{Subject: player, Scopes: []string{edge.ScopePlatform}}, 30*24*time.Hour)
	return err
}

// player is how the audit log names who set the city up.
const player = "user:player"

// tearDown stops everything that build started.
func (w *world) tearDown(ctx context.Context) error {
	var err error
	for _, v := range w.validators {
		if v.sdk != nil {
			err = errors.Join(err, v.close())
		}
	}
	if w.server != nil {
		err = errors.Join(err, w.server.Close())
		w.network.client.CloseIdleConnections()
	}
	if w.gateway != nil {
		err = errors.Join(err, w.gateway.Close(context.WithoutCancel(ctx)))
	}
	if w.sim != nil {
		w.sim.Close()
	}
	if w.files != nil {
		err = errors.Join(err, w.files.Close())
	}
	if err != nil {
		return fmt.Errorf("tearing down: %w", err)
	}
	return nil
}
