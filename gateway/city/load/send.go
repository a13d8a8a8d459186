package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Sender uploads batches over HTTP, several at a time; those of one reader in
// their order, each after the answer to the one before.
type Sender struct {
	URL   string        // of the gateway
	Lanes int           // uploads at a time
	Rate  int           // taps a second at most; 0 = as fast as they are taken
	For   time.Duration // sends nothing more after this; 0 = sends everything
	Clock citygate.Clock
}

// Sent is what a Sender did.
type Sent struct {
	Batches  int           `json:"batches"`
	Taps     int           `json:"taps"`
	Recorded int           `json:"recorded"` // receipts that say so
	Took     time.Duration `json:"took_ns"`  // from the first upload to the last answer
}

// Send uploads the batches of a stream.
func (s *Sender) Send(ctx context.Context, batches io.Reader) (Sent, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: s.Lanes}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sent Sent
	var mu sync.Mutex
	var queued atomic.Int64 // taps, for the rate
	start := s.Clock()
	over := func() bool { return s.For > 0 && s.Clock().Sub(start) >= s.For }
	lanes := make([]chan []byte, s.Lanes)
	var wg sync.WaitGroup
	for i := range lanes {
		lanes[i] = make(chan []byte, 4)
		wg.Go(func() {
			for raw := range lanes[i] {
				if over() || ctx.Err() != nil {
					continue // the reader is told to stop; drain what it has put
				}
				taps, recorded, err := upload(ctx, client, s.URL, raw)
				if err != nil {
					cancel(err)
					continue
				}
				mu.Lock()
				sent.Batches, sent.Taps, sent.Recorded = sent.Batches+1, sent.Taps+taps, sent.Recorded+recorded
				sent.Took = s.Clock().Sub(start)
				mu.Unlock()
			}
		})
	}
	err := Read(batches, func(raw []byte) (bool, error) {
		b, err := tap.ParseBatch(raw)
		if err != nil {
			return false, err
		}
		if s.Rate > 0 {
			due := time.Duration(queued.Add(int64(b.Count))) * time.Second / time.Duration(s.Rate)
			s.wait(ctx, due-s.Clock().Sub(start))
		}
		select {
		case lanes[int(b.Terminal)%s.Lanes] <- raw:
		case <-ctx.Done():
		}
		return !over() && ctx.Err() == nil, nil
	})
	for _, lane := range lanes {
		close(lane)
	}
	wg.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	return sent, err
}

func (s *Sender) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// upload sends one batch and counts its receipts.
func upload(ctx context.Context, client *http.Client, url string, raw []byte) (taps, recorded int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/tap-batches", bytes.NewReader(raw))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, 0, fmt.Errorf("load: %s: %.300s", resp.Status, body)
	}
	return bytes.Count(body, []byte(`"seq":`)), bytes.Count(body, []byte(`"outcome":"recorded"`)), nil
}
