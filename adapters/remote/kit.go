package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// A Fault is what [Faults] does to one exchange.
type Fault int

// The faults. The far side got the request, but for the last two.
const (
	NoFault Fault = iota
	Lose          // the answer is dropped
	Die           // the answer is dropped, and later dials are refused
	Delay         // the answer takes two seconds
	Garble        // a byte of the answer is another one
	Busy          // the far side got nothing: what stands before it answers 429
	Drop          // the far side got nothing, and nobody answers
)

// BusyFor is what Busy asks to wait.
const BusyFor = 30 * time.Second

// Faults is a driver.Doer that plays a bad line to a program that runs
// elsewhere, for conformance kits. It is safe for concurrent use.
type Faults struct {
	HTTP driver.Doer // a *http.Client whose transport dials for itself
	Dead driver.Doer // a client that reaches nobody

	mu   sync.Mutex
	next Fault
	dead bool
}

// Arm has the next exchange have the fault.
func (f *Faults) Arm(fault Fault) { f.mu.Lock(); defer f.mu.Unlock(); f.next = fault }

func (f *Faults) take() (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault, dead := f.next, f.dead
	f.next = NoFault
	if fault == Die {
		f.dead = true
	}
	return fault, dead
}

var errDropped = errors.New("connection reset by the kit")

// Do sends the request and spoils the answer if a fault is armed.
func (f *Faults) Do(req *http.Request) (*http.Response, error) {
	fault, dead := f.take()
	if dead {
		return f.Dead.Do(req)
	}
	if fault == Drop {
		return nil, errDropped
	}
	if fault == Busy {
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {strconv.Itoa(int(BusyFor / time.Second))}}, Body: io.NopCloser(strings.NewReader("too many requests")), Request: req,
		}, nil
	}
	resp, err := f.HTTP.Do(req)
	if err != nil || fault == NoFault {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	if err != nil {
		return nil, err
	}
	switch fault {
	case Lose, Die:
		return nil, errDropped
	case Delay:
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(2 * time.Second):
		}
	case Garble:
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
	case NoFault, Busy, Drop:
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// FetchManifest reads what a program says it can do. It is not signed: show it
// to a person before it becomes part of a contract.
func FetchManifest(ctx context.Context, doer driver.Doer, program string) (Manifest, error) {
	base, err := programURL(program)
	if err != nil {
		return Manifest{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(pathManifest).String(), nil)
	if err != nil {
		return Manifest{}, err
	}
	resp, err := doer.Do(req)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it goes
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &m) != nil {
		return Manifest{}, fmt.Errorf("%s answers status %d without a manifest", base.JoinPath(pathManifest), resp.StatusCode)
	}
	return m, m.Check()
}

// A TestClient asks a program's test system, over the driver's own line.
type TestClient struct{ d *Driver }

// TestClient gives the client of the program's test system, if it has one.
func (d *Driver) TestClient() (*TestClient, bool) {
	return &TestClient{d}, d.config.Manifest.Test != nil
}

func (t *TestClient) do(ctx context.Context, what string) (a testAnswer, err error) {
	err = t.d.call(ctx, pathTest, testCall{Contract: t.d.part, Do: what}, &a)
	return a, err
}

// Reset has the test system forget all payments and faults.
func (t *TestClient) Reset(ctx context.Context) error { _, err := t.do(ctx, testReset); return err }

// DeclineNext has the next debit get a final no.
func (t *TestClient) DeclineNext(ctx context.Context) error {
	_, err := t.do(ctx, testDecline)
	return err
}

// PartialNext has the next three debits get a yes, nothing, and a final no.
func (t *TestClient) PartialNext(ctx context.Context) error {
	_, err := t.do(ctx, testPartial)
	return err
}

// EndDay ends the test system's day and says which it was.
func (t *TestClient) EndDay(ctx context.Context) (citygate.Date, error) {
	a, err := t.do(ctx, testEndDay)
	if err != nil {
		return citygate.Date{}, err
	}
	return citygate.ParseDate(a.Day)
}

// Moves lists what moved since the last reset, in order.
func (t *TestClient) Moves(ctx context.Context) ([]Move, error) {
	a, err := t.do(ctx, testMoves)
	return movesOf(a.Moves), err
}

// Holds lists what is held of cards now.
func (t *TestClient) Holds(ctx context.Context) ([]Move, error) {
	a, err := t.do(ctx, testMoves)
	return movesOf(a.Holds), err
}

func movesOf(list []testMove) (moves []Move) {
	for _, m := range list {
		moves = append(moves, Move{m.ID, m.Refund, m.Amount.money()})
	}
	return moves
}
