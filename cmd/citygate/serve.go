package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/cashlesscity/citygate/gateway/edge"
	"github.com/spf13/cobra"
)

// The limits of the HTTP server. A tap batch of 2 MiB over a slow mobile link
// must still come through; everything else is small.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 90 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 16 << 10
)

// firstTokenLife is how long the token of the first start works. More are made
// by key token.
const firstTokenLife = 24 * time.Hour

// sealEvery is how often audit logs are sealed that this process added to.
const sealEvery = time.Second

type serveFlags struct {
	gatewayFlags
	listen string
	tick   time.Duration
	nets   []string
	status statusFlags
}

func newServeCommand(sys *system) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway: its HTTP API and all of its work",
		Long: `Runs the gateway until it is interrupted: the HTTP API of /openapi.yaml, and everything that becomes due
(pricing, collecting, lists, bills, settlement windows, payouts).

Without --database-url or DATABASE_URL it runs a private PostgreSQL in the data directory, which it makes
on the first start. The private keys lie sealed in --keys and open with --key-file, which lies elsewhere:
back up both, apart from each other. The directory of a finished "citygate demo" can be served as it is;
the payment provider that the demo simulated is not there any more, and what is asked of it waits.
With --vault-addr private keys and provider credentials are in Vault instead: see deploy/vault/README.md.
Environment variables of Vault's tools count for nothing.

The first start prints the platform administrator's first token, once. On SIGTERM and SIGINT it takes no
new requests, answers those it has for up to 10 seconds, finishes its jobs and stops the database.

Android attestations of riders' phones are held against the list of --attestation-status, which is read
again within seconds of a change. Fetch Google's daily and put it in place by a rename: its age is that of
the file. Without a list, or with an old one, attested phones count as vouched for by their issuer only, or
are refused where its policy says so.

It speaks plain HTTP: put a proxy that does TLS in front of anything but the local machine.`,
		Example: `  citygate serve
  citygate serve --data /var/lib/citygate/serve --listen :8080
  citygate serve --database-url postgres://db.example/citygate
  citygate serve --vault-addr https://vault.example:8200 --vault-sign-role-id ID --vault-sign-secret-id-file /run/citygate/sign`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.tick < time.Second {
				return &usageError{fmt.Errorf("--tick %s: want at least 1s", f.tick)}
			}
			for _, text := range f.nets {
				net, err := netip.ParsePrefix(text)
				if err != nil {
					return &usageError{fmt.Errorf("--issuer-network %q: want an address range such as 10.0.0.0/8", text)}
				}
				f.issuerNets = append(f.issuerNets, net)
			}
			if u, err := url.Parse(f.publicURL); f.publicURL != "" && (err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http")) {
				return &usageError{fmt.Errorf("--public-url %q: want an address such as https://pay.city.example", f.publicURL)}
			}
			if f.status.maxAge <= 0 {
				return &usageError{fmt.Errorf("--attestation-status-max-age %s: want more than 0", f.status.maxAge)}
			}
			return serve(cmd.Context(), sys, f)
		},
	}
	f.withKeys(c)
	c.Flags().StringVar(&f.files, "files", "", "directory of payout files and bills (default: files in the data directory)")
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8080", "address of the HTTP API; port 0 takes a free one")
	c.Flags().StringSliceVar(&f.nets, "issuer-network", nil, "private address ranges in which OpenID Connect issuers may be asked, such as 10.0.0.0/8 (default: public addresses alone, port 443)")
	c.Flags().DurationVar(&f.tick, "tick", 30*time.Second, "how often to look for what is due")
	c.Flags().StringVar(&f.publicURL, "public-url", "", "what this gateway is called from outside, such as https://pay.city.example: payment providers are told to send their notifications there")
	f.status.register(c)
	return c
}

func serve(ctx context.Context, sys *system, f serveFlags) (err error) {
	log := slog.New(slog.NewTextHandler(sys.Stderr, nil))
	status := f.status.open(sys, log)
	f.statuses = status.statuses
	in, err := f.signing(ctx, sys, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close(ctx)) }()
	first, err := in.EnsurePlatform(ctx, "system:serve")
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("%w: choose another --listen", err)
	}
	// An interrupt stops the work by Close, which lets jobs finish first.
	if err := in.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{
		Handler: in.Handler(), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := in.greet(ctx, sys, listener.Addr(), first); err != nil {
		return errors.Join(err, server.Close())
	}
	var inspecting sync.WaitGroup
	defer inspecting.Wait() // before the key store is closed
	inspect, stop := context.WithCancel(ctx)
	defer stop()
	inspecting.Go(func() { in.inspectKeys(inspect, log) })
	inspecting.Go(func() { status.watch(inspect) })
	in.workDue(ctx, log, f.tick, ended)
	return shutdown(ctx, server)
}

// demoProvidersGone is said once; what is asked of a provider that is away waits
// for it and fails nothing else.
const demoProvidersGone = "these are the cities of a demo: the simulated Alipay ended with it, so what is charged, refunded or asked there waits; the sandbox of Hillside works"

// greet says where the API is and how to get a token.
func (in *installation) greet(ctx context.Context, sys *system, address net.Addr, first bool) error {
	text := fmt.Sprintf("listening on http://%s\n", address)
	if first {
		admin := edge.Caller{Subject: "user:admin", Scopes: []string{edge.ScopePlatform}}
		token, expires, err := in.mint(ctx, "system:serve", admin, firstTokenLife)
		if err != nil {
			return err
		}
		text += fmt.Sprintf("platform administrator's token, shown this once, works until %s:\n%s\n", expires.Format(time.RFC3339), token)
	}
	if _, err := io.WriteString(sys.Stdout, text); err != nil {
		return err
	}
	if in.flags.isDemo() {
		say(sys, demoProvidersGone)
	}
	if !first {
		say(sys, "for a token: citygate key token "+in.flags.where(sys)+" --scope platform")
	}
	return nil
}

// where gives the flags that name this installation to another command.
func (f *gatewayFlags) where(sys *system) string {
	if f.private(sys) {
		return "--data " + f.data
	}
	return "--data " + f.data + " --database-url ..." // the URL may hold a password
}

// workDue asks for what is due, at once and then every so often, until ctx ends
// or the server does.
func (in *installation) workDue(ctx context.Context, log *slog.Logger, every time.Duration, ended <-chan error) {
	ticker, sealing := time.NewTicker(every), time.NewTicker(sealEvery)
	defer ticker.Stop()
	defer sealing.Stop()
	for due := true; ; {
		ask := in.SealSoon
		if due {
			ask = in.Tick
		}
		if err := errors.Join(ask(ctx), in.TillsSoon(ctx)); err != nil && ctx.Err() == nil {
			log.Error("cannot look for what is due", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case err := <-ended:
			log.Error("the HTTP server ended", "error", err)
			return
		case <-ticker.C:
			due = true
		case <-sealing.C:
			due = false
		}
	}
}

// shutdown lets requests under way finish, for a while.
func shutdown(ctx context.Context, server *http.Server) error {
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(fmt.Errorf("requests that took longer than %s to finish were cut off", stopWithin), server.Close())
	}
	if err == nil && !interrupted {
		return errors.New("the HTTP server ended by itself; the log says why")
	}
	return err
}
