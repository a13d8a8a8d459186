package city

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
	"github.com/cashlesscity/citygate/policies/accept"
)

// A validator is a terminal of the played city: the SDK with its journal in a
// directory, and HTTP when it has a network. It knows the gateway by its URL.
type validator struct {
	place
	index  int
	keyID  uint32
	key    ed25519.PrivateKey
	skew   time.Duration // its clock is this far ahead
	dir    *os.Root
	sdk    *terminal.Verifier
	booted time.Time

	etags   map[string]string // of what it holds
	fetched map[string]int    // objects of deny lists, by kind
	last    []byte            // the batch sent last, for duplicates
}

var modes = map[placeKind]accept.Mode{gate: accept.Metro, vehicleReader: accept.Minibus, taximeter: accept.Taxi}

// mode gives the mode of transport the validator is set up for.
func (p place) mode() accept.Mode {
	if p.bus {
		return accept.Bus
	}
	return modes[p.kind]
}

func validatorKey(seed uint64, index int) ed25519.PrivateKey {
	material := sha256.Sum256(fmt.Appendf(nil, "citygate played validator %d %d", seed, index))
	return ed25519.NewKeyFromSeed(material[:])
}

// start opens the validator's journal and gives it what it needs to verify its
// first bundle.
func (v *validator) start(dir string, roots bundle.RootSet, now time.Time) error {
	path := filepath.Join(dir, v.name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	schemes := code.NewDispatcher(ct1.Scheme{})
	v.dir, v.booted, v.etags, v.fetched = root, now, map[string]string{}, map[string]int{}
	v.sdk, err = terminal.Open(terminal.Config{
		Files: terminal.Dir(root), Tenant: v.operator, KeyID: v.keyID, Mode: v.mode(), Software: "citygate-sdk/1",
		Sign:    func(m []byte) ([]byte, error) { return ed25519.Sign(v.key, m), nil },
		Schemes: schemes, Credentials: code.NewCredentials(4096), Roots: roots.Roots, Threshold: int(roots.Threshold), BootID: 1,
	})
	return err
}

func (v *validator) close() error {
	return errors.Join(v.sdk.Close(), v.dir.Close())
}

// present shows a code at the validator. Both may be offline.
func (v *validator) present(at time.Time, raw []byte, visit visit) (terminal.Decision, error) {
	in := terminal.Input{
		MonotonicMS: uint64(at.Sub(v.booted).Milliseconds()), Clock: tap.ClockGNSS, Kind: visit.kind,
		Stop: v.stop, Route: v.route, Vehicle: v.vehicle, Driver: v.driver, TariffVersion: 1,
	}
	if visit.stop != "" {
		in.Stop = visit.stop
	}
	switch {
	case v.kind == taximeter:
		in.Fare = citygate.Money{Minor: visit.entered, Currency: "CNY"}
	case v.operator == peakMinibus:
		in.Fare = citygate.Money{Minor: peakFare, Currency: "CNY"}
	}
	return v.sdk.Tap(at.Add(v.skew).UnixMilli(), raw, in)
}

// A network is the way to the gateway while a validator or phone is online.
type network struct {
	url    string
	client *http.Client
}

// get fetches a public signed object; nil means that what is held is current.
func (n *network) get(ctx context.Context, path string, etags map[string]string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, nil)
	if err != nil {
		return nil, err
	}
	if etag := etags[path]; etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotModified:
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	if etags != nil {
		etags[path] = resp.Header.Get("ETag")
	}
	return body, nil
}

// sync brings bundle and deny lists up to date.
func (v *validator) sync(ctx context.Context, n *network, now time.Time, issuers []citygate.Issuer) error {
	raw, err := n.get(ctx, fmt.Sprintf("/v1/tenants/%d/bundle", v.operator), v.etags)
	if err != nil {
		return err
	}
	clock := now.Add(v.skew).UnixMilli()
	if raw != nil {
		if err := v.sdk.InstallBundle(clock, raw); err != nil {
			return fmt.Errorf("validator %s: %w", v.name, err)
		}
	}
	for _, issuer := range issuers {
		if err := v.syncLists(ctx, n, clock, issuer); err != nil {
			return fmt.Errorf("validator %s: %w", v.name, err)
		}
	}
	return nil
}

// syncLists fetches what an issuer says that the validator lacks, an object a
// list, and the heartbeat.
func (v *validator) syncLists(ctx context.Context, n *network, clock int64, issuer citygate.Issuer) error {
	var have []string
	for _, l := range v.sdk.Status().Lists {
		if l.Issuer == issuer {
			have = append(have, fmt.Sprintf("%d.%d", l.List, l.Seq))
		}
	}
	index, err := n.get(ctx, fmt.Sprintf("/v1/issuers/%d/updates?have=%s", issuer, strings.Join(have, ",")), nil)
	if err != nil {
		return err
	}
	var needs struct {
		Objects []struct {
			List uint16 `json:"list"`
			Kind string `json:"kind"`
			Path string `json:"path"`
		} `json:"objects"`
		Heartbeat string `json:"heartbeat"`
	}
	if err := json.Unmarshal(index, &needs); err != nil {
		return fmt.Errorf("lists of issuer %d: %w", issuer, err)
	}
	for _, o := range needs.Objects {
		raw, err := n.get(ctx, o.Path, nil)
		if err != nil {
			return err
		}
		if err := v.sdk.Install(clock, raw); err != nil {
			return fmt.Errorf("%s: %w", o.Path, err) // a delta that did not fit would show a fault of the gateway's
		}
		v.fetched[o.Kind]++
	}
	raw, err := n.get(ctx, needs.Heartbeat, v.etags)
	if err != nil || raw == nil {
		return err
	}
	return v.sdk.InstallHeartbeat(clock, raw)
}

// A receipt is the gateway's answer to one uploaded record.
type receipt struct {
	Seq     uint64      `json:"seq"`
	Outcome string      `json:"outcome"`
	Reason  code.Reason `json:"reason"`
}

// upload sends everything the journal holds, batch by batch.
func (v *validator) upload(ctx context.Context, n *network) (sent int, err error) {
	for {
		batch, err := v.sdk.NextBatch(0)
		if err != nil || batch == nil {
			return sent, err
		}
		receipts, err := n.send(ctx, batch)
		if err != nil {
			return sent, fmt.Errorf("validator %s: %w", v.name, err)
		}
		sent += len(receipts)
		v.last = batch
		parsed, err := tap.ParseBatch(batch)
		if err != nil {
			return sent, err
		}
		if err := v.sdk.Ack(parsed.Hash); err != nil {
			return sent, err
		}
	}
}

// again sends the last batch once more, as a validator does that never saw the answer.
func (v *validator) again(ctx context.Context, n *network) error {
	if v.last == nil {
		return nil
	}
	receipts, err := n.send(ctx, v.last)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(receipts, func(r receipt) bool { return r.Outcome != "duplicate" }); i >= 0 {
		return fmt.Errorf("validator %s: record %d of a repeated batch was %s, want duplicate", v.name, receipts[i].Seq, receipts[i].Outcome)
	}
	return nil
}

func (n *network) send(ctx context.Context, batch []byte) ([]receipt, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+"/v1/tap-batches", bytes.NewReader(batch))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("POST /v1/tap-batches: %s: %s", resp.Status, body)
	}
	var answer struct {
		Results []receipt `json:"results"`
	}
	return answer.Results, json.Unmarshal(body, &answer)
}
