package load

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/code/schemes"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A station is a reader that runs the SDK over a directory.
type station struct {
	id    uint32
	bus   string
	key   ed25519.PrivateKey
	ahead time.Duration // of the true time, its clock is
	setup terminal.Config
	root  *os.Root
	sdk   *terminal.Verifier

	booted time.Time
	said   []said // by sequence number, from 1
}

// station sets reader i up in a directory that is made.
func (o *Operator) station(ctx context.Context, dir string, i int) (*station, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &station{id: terminalID(i), bus: bus(i), key: terminalKey(o.Seed, i), root: root}
	s.setup = terminal.Config{
		Files: terminal.Dir(root), Tenant: Tenant, KeyID: s.id, Mode: accept.Bus, Software: "sim/1", BootID: 1,
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(s.key, m), nil },
		Schemes: code.NewDispatcher(ct1.Scheme{}), Plugins: schemes.All(), Credentials: code.NewCredentials(4096),
	}
	roots, err := o.Gateway.Bundles.Roots(ctx)
	if err == nil {
		s.setup.Roots, s.setup.Threshold = roots.Roots, int(roots.Threshold)
		s.sdk, err = terminal.Open(s.setup)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *station) close() error { return errors.Join(s.sdk.Close(), s.root.Close()) }

// powerCut starts the reader again from what is on its disk.
func (s *station) powerCut(now time.Time) error {
	if err := s.sdk.Close(); err != nil {
		return err
	}
	s.setup.BootID++
	s.booted = now
	var err error
	s.sdk, err = terminal.Open(s.setup)
	return err
}

// sync fetches the trust bundle and the issuer's deny lists.
func (s *station) sync(ctx context.Context, url string, now time.Time) error {
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	get := func(format string, args ...any) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+fmt.Sprintf(format, args...), nil)
		if err != nil {
			return nil, err
		}
		return fetch(client, req)
	}
	clock := now.Add(s.ahead).UnixMilli()
	raw, err := get("/v1/tenants/%d/bundle", Tenant)
	if err != nil {
		return err
	}
	if err := s.sdk.InstallBundle(clock, raw); err != nil {
		return err
	}
	if raw, err = get("/v1/issuers/%d/lists", Issuer); err != nil {
		return err
	}
	var index struct {
		Lists []struct {
			List uint16 `json:"list"`
		} `json:"lists"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("load: lists of issuer %d: %w", Issuer, err)
	}
	for _, l := range index.Lists {
		if raw, err = get("/v1/issuers/%d/lists/%d", Issuer, l.List); err != nil {
			return err
		}
		if err := s.sdk.InstallList(clock, raw); err != nil {
			return err
		}
	}
	return nil
}

// tap shows something at the reader and keeps what it said.
func (s *station) tap(at time.Time, scanned []byte) (said, error) {
	d, err := s.sdk.Tap(at.Add(s.ahead).UnixMilli(), scanned, terminal.Input{
		MonotonicMS: uint64(at.Sub(s.booted).Milliseconds()), Clock: tap.ClockGNSS, Kind: tap.Single, Route: route, Vehicle: s.bus,
		Fare: citygate.Money{Minor: Fare, Currency: Currency}, TariffVersion: 1,
	})
	if err != nil {
		return said{}, err
	}
	s.said = append(s.said, said{d.Open, d.Reason})
	if d.Record.Seq != uint64(len(s.said)) {
		return said{}, fmt.Errorf("load: %s numbered presentation %d as %d", s.bus, len(s.said), d.Record.Seq)
	}
	return said{d.Open, d.Reason}, nil
}
