package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fleet"
	"github.com/cashlesscity/citygate/keys"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/keys/local"
	"github.com/cashlesscity/citygate/tenants"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/cashlesscity/citygate/tenants/pg/pglocal"
)

// rotateActor is how the audit log of the benchmark's database names it.
const rotateActor = "system:bench"

type rotateOptions struct {
	tenants int
	workers int
	data    string
	vault   vaultFlags
}

func newBenchRotateCommand(sys *system) *cobra.Command {
	var o rotateOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Rotate the credential key of every tenant while codes are verified",
		Long: `Makes tenants, each with a key, a trust bundle and a terminal, on a private PostgreSQL, and then rotates
every tenant's credential key as in operation: a new version is made and announced, a bundle with it is
published, the tenant's terminal fetches it and says so, and only then the new key signs.

All the while messages are signed with whatever key is active and verified with the bundle that the terminal
holds at that moment, as are signatures from before. One that does not verify is a failed verification, and
the exit code is 1. Keys are in files, or with --vault-addr in Vault.`,
		Example: `  citygate bench rotate --json
  citygate bench rotate --tenants 1000 --vault-addr http://127.0.0.1:8200 ...`,
		Args: cobra.NoArgs,
		PreRunE: func(c *cobra.Command, _ []string) error {
			if err := o.vault.check(c); err != nil {
				return &usageError{err}
			}
			if o.tenants < 1 || o.tenants > 60_000 || o.workers < 1 || o.workers > 64 {
				return &usageError{errors.New("bench rotate: want --tenants of 1 to 60000, issuer numbers have 16 bits, and --workers of 1 to 64")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := benchRotate(cmd.Context(), sys, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(sys, f)
			} else {
				err = f.print(sys.Stdout)
			}
			if err == nil && f.Failed > 0 {
				err = &exitError{code: 1}
			}
			return err
		},
	}
	f := c.Flags()
	f.IntVar(&o.tenants, "tenants", 10_000, "how many")
	f.IntVar(&o.workers, "workers", 8, "how many are rotated at a time")
	f.StringVar(&o.data, "data", "", "directory for a database of this run (default: beside the demo's)")
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	o.vault.register(c)
	return c
}

type rotateFigures struct {
	Tenants         int     `json:"tenants"`
	Keys            string  `json:"keys"` // files or vault
	Seconds         float64 `json:"seconds"`
	PublishSeconds  float64 `json:"publish_seconds"`
	ActivateSeconds float64 `json:"activate_seconds"`
	Verifications   int64   `json:"verifications"`
	ByNewKeys       int64   `json:"verifications_by_new_keys"`
	Failed          int64   `json:"failed_verifications"`
}

func (f *rotateFigures) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `tenants                  %10d  (keys in %s)
seconds                  %10.1f  (published in %.1f, activated in %.1f)
verifications            %10d  (%d by new keys)
failed verifications     %10d
`, f.Tenants, f.Keys, f.Seconds, f.PublishSeconds, f.ActivateSeconds, f.Verifications, f.ByNewKeys, f.Failed)
	return err
}

// A rotation is the benchmark's world.
type rotation struct {
	rotateOptions
	now       citygate.Clock
	db        *pg.DB
	ring      *keys.Ring
	fleet     *fleet.Fleet
	publisher *fleet.Publisher
	directory *tenants.Directory
	roots     bundle.RootSet
	terminals []terminalTrust // by tenant
}

// A terminalTrust is what one tenant's terminal holds.
type terminalTrust struct {
	held atomic.Pointer[bundle.Bundle]
	old  []byte // a signature from before, by kid 1
}

// newKey is the kid that every tenant signs with in the end.
const newKey = 3

// The tenants of the benchmark are numbered from 1, and so are their issuers.
func tenantOf(i int) citygate.TenantID { return citygate.TenantID(i + 1) }

func benchRotate(ctx context.Context, sys *system, o rotateOptions) (f *rotateFigures, err error) {
	dir, server, remove, err := benchDatabase(ctx, sys, o.data, "rotate-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	db, err := pg.Open(ctx, pg.Config{URL: server.url(pglocal.App), Clock: sys.Now, Random: rand.Reader, MaxConns: int32(o.workers) + 2})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	r := &rotation{rotateOptions: o, now: sys.Now, db: db, terminals: make([]terminalTrust, o.tenants)}
	signer, end, err := r.signer(ctx, sys, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	r.ring, r.fleet, r.directory = keys.NewRing(db, signer), fleet.New(db), tenants.NewDirectory(db, sys.Now)
	r.ring.Wait(r.fleet)
	r.publisher = fleet.NewPublisher(db, r.ring, r.directory)
	say(sys, fmt.Sprintf("making %d tenants, each with a key, a bundle and a terminal", o.tenants))
	if _, err := r.publisher.EnsureRoots(ctx, rotateActor); err != nil {
		return nil, err
	}
	if r.roots, err = r.publisher.Roots(ctx); err != nil {
		return nil, err
	}
	if err := r.each(ctx, r.begin); err != nil {
		return nil, err
	}
	say(sys, "rotating")
	return r.run(ctx)
}

// signer opens the key store.
func (r *rotation) signer(ctx context.Context, sys *system, dir string) (s keys.Signer, end func() error, err error) {
	if r.vault.addr != "" {
		store, err := r.vault.open(ctx, sys, slog.New(slog.NewTextHandler(sys.Stderr, nil)))
		return store, func() error { return store.Close(context.WithoutCancel(ctx)) }, err
	}
	keyFile := filepath.Join(dir, "keys.key")
	if err := local.CreateKeyFile(keyFile, rand.Reader); err != nil {
		return nil, nil, err
	}
	store, err := local.Open(local.Config{Dir: filepath.Join(dir, "keys"), KeyFile: keyFile, Random: rand.Reader, Clock: sys.Now})
	return store, func() error { return nil }, err
}

// each does work for every tenant, several at a time. The first error ends it.
func (r *rotation) each(ctx context.Context, work func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var workers sync.WaitGroup
	var next atomic.Int64
	for range r.workers {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < r.tenants && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := patiently(ctx, func() error { return work(ctx, i) }); err != nil {
					fail(fmt.Errorf("tenant %d: %w", tenantOf(i), err))
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// patiently does work again where the key store could not be asked, when it
// says, as an operator's job would. Each step of a rotation may be repeated.
func patiently(ctx context.Context, work func() error) error {
	const tries = 30
	for try := 1; ; try++ {
		err := work()
		var away *keys.Unavailable
		if err == nil || try == tries || !errors.As(err, &away) {
			return err
		}
		select {
		case <-time.After(away.RetryAfter()):
		case <-ctx.Done():
			return err
		}
	}
}

// begin makes a tenant whose terminal holds its first bundle.
func (r *rotation) begin(ctx context.Context, i int) error {
	id := tenantOf(i)
	err := r.directory.Create(ctx, rotateActor, tenants.Tenant{
		ID: id, Slug: fmt.Sprintf("bench-%d", id), Name: fmt.Sprintf("Bench %d", id), Kind: tenants.Authority, Issuer: citygate.Issuer(id),
		Currency: "CNY", CapUnit: 50, Mode: tenants.Sandbox, TimeZone: "Asia/Hong_Kong", CutMinutes: 240,
	})
	if err != nil {
		return err
	}
	if _, err := r.ring.Ensure(ctx, rotateActor, id, keys.Credential, keys.Ed25519); err != nil {
		return err
	}
	if r.terminals[i].old, err = r.sign(ctx, id, 1, oldMessage); err != nil {
		return err
	}
	// Key 2 was announced with key 1. It signs from now on, so that what is measured
	// is what a rotation costs: a key to be made, and a bundle that brings it.
	if _, err := r.ring.Activate(ctx, rotateActor, id, keys.Credential, 2); err != nil && !errors.Is(err, keys.ErrState) {
		return err
	}
	seed := sha256.Sum256([]byte(fmt.Sprintf("terminal of %d", id))) // the same when this is repeated
	public := ed25519.NewKeyFromSeed(seed[:]).Public()
	terminal := fleet.Terminal{ID: 1, Name: "gate 1", Kind: fleet.Gate, Mode: fleet.OnOff, Stop: "Central"}
	if _, err := r.fleet.Enrol(ctx, rotateActor, id, terminal, public); err != nil {
		return err
	}
	return r.publish(ctx, i)
}

func (r *rotation) sign(ctx context.Context, id citygate.TenantID, version int, message []byte) ([]byte, error) {
	out, err := r.ring.Signer().Sign(ctx, id, keys.Credential, version, [][]byte{message})
	if err != nil {
		return nil, err
	}
	return out[0].Bytes, out[0].Err
}

// publish publishes the tenant's bundle; its terminal fetches it and says so.
func (r *rotation) publish(ctx context.Context, i int) error {
	id := tenantOf(i)
	published, err := r.publisher.Publish(ctx, rotateActor, fleet.Profile{Operator: id})
	if err != nil {
		return err
	}
	held, err := bundle.Open(published.Body, r.roots.Roots, int(r.roots.Threshold), r.now().Unix(), published.Version)
	if err != nil {
		return err
	}
	r.terminals[i].held.Store(held)
	return r.db.InTenant(ctx, id, func(tx *pg.Tx) error {
		_, err := fleet.Reported(ctx, tx, 1, fleet.Report{Software: "bench", Taps: []fleet.Sighting{{Seq: published.Version, At: tx.Now, Bundle: published.Version}}})
		return err
	})
}

// rotate makes the tenant's next key and announces it.
func (r *rotation) rotate(ctx context.Context, i int) error {
	if _, err := r.ring.EnsureNext(ctx, rotateActor, tenantOf(i), keys.Credential); err != nil {
		return err
	}
	return r.publish(ctx, i)
}

func (r *rotation) activate(ctx context.Context, i int) error {
	_, err := r.ring.Activate(ctx, rotateActor, tenantOf(i), keys.Credential, newKey)
	return err
}

// run rotates, and verifies meanwhile.
func (r *rotation) run(ctx context.Context) (*rotateFigures, error) {
	f := &rotateFigures{Tenants: r.tenants, Keys: "files"}
	if r.vault.addr != "" {
		f.Keys = "vault"
	}
	verifying, stop := context.WithCancel(ctx)
	var verifier sync.WaitGroup
	var verifyErr error
	verifier.Go(func() { verifyErr = r.verify(verifying, f) })
	start := r.now()
	err := r.each(ctx, r.rotate)
	published := r.now()
	if err == nil {
		err = r.each(ctx, r.activate)
	}
	end := r.now()
	if err == nil { // and with every new key, once
		err = r.each(ctx, func(ctx context.Context, i int) error { return r.verifyOne(ctx, i, f) })
	}
	stop()
	verifier.Wait()
	f.PublishSeconds, f.ActivateSeconds, f.Seconds = published.Sub(start).Seconds(), end.Sub(published).Seconds(), end.Sub(start).Seconds()
	return f, errors.Join(err, verifyErr)
}

// verify verifies the codes of tenants drawn at random until ctx ends.
func (r *rotation) verify(ctx context.Context, f *rotateFigures) error {
	for ctx.Err() == nil {
		i := mathrand.IntN(r.tenants)
		if err := patiently(ctx, func() error { return r.verifyOne(ctx, i, f) }); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

var oldMessage = []byte("a code from before")

// verifyOne has a tenant sign and its terminal verify.
func (r *rotation) verifyOne(ctx context.Context, i int, f *rotateFigures) error {
	kid, version, err := r.ring.Active(ctx, tenantOf(i), keys.Credential)
	if err != nil {
		return err
	}
	message := []byte(rand.Text())
	signature, err := r.sign(ctx, tenantOf(i), version, message)
	if err != nil {
		return err
	}
	t := &r.terminals[i]
	for _, c := range []struct {
		kid                uint8
		message, signature []byte
	}{{kid, message, signature}, {1, oldMessage, t.old}} {
		public, reason := t.held.Load().IssuerKey(citygate.Issuer(tenantOf(i)), c.kid, r.now().Unix())
		atomic.AddInt64(&f.Verifications, 1)
		if reason != code.Reason("") || keys.Verify(public, c.message, c.signature) != nil {
			atomic.AddInt64(&f.Failed, 1)
		}
		if c.kid == newKey {
			atomic.AddInt64(&f.ByNewKeys, 1)
		}
	}
	return nil
}
