package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/ct1"
	"github.com/cashlesscity/citygate/gateway/tap"
)

// A Sim plays readers that run the terminal SDK through a time without a network
// and then drains them over a line that loses requests and replies.
type Sim struct {
	Operator *Operator
	Clock    *Clock
	Dir      string // for the readers' journals
	URL      string // of the gateway

	Count   int           // presentations
	Riders  int           // 0 = a fifth of Count
	Offline time.Duration // how long the network is away
	Skew    time.Duration // readers' and phones' clocks are wrong by up to this, either way
	Foreign int           // percent of presentations with codes of the Ministry's layout
	Loss    int           // percent of requests, and of replies, that are lost
	Seed    uint64
}

// What part of the presentations is not honest, in percent: a display shown
// twice at one reader, a forged one, and something that is no code at all.
const (
	simReplays = 2
	simForged  = 1
	simNoise   = 1
)

// SimReport is what a Sim came to.
type SimReport struct {
	Presented  int                 `json:"presented"`
	Opened     int                 `json:"opened"`
	Refused    map[code.Reason]int `json:"refused"`
	PowerCuts  int                 `json:"power_cuts"`
	MaxPending int                 `json:"max_pending"` // records on one reader when the network came back

	Batches      int `json:"batches"` // acknowledged
	LostRequests int `json:"lost_requests"`
	LostReplies  int `json:"lost_replies"`
	Repeated     int `json:"repeated"` // receipts for taps the gateway had already

	Recorded  int                 `json:"recorded"`   // rows in the database
	Missing   int                 `json:"missing"`    // presented and not recorded
	Extra     int                 `json:"extra"`      // recorded and not presented
	Disagreed map[code.Reason]int `json:"disagreed"`  // taken by the reader, refused by the gateway
	Changed   int                 `json:"changed"`    // recorded with another refusal than the reader's
	Unpriced  int64               `json:"unpriced"`   // accepted taps without a price
	StillHeld int                 `json:"still_held"` // records that readers have not got rid of
}

// Accounted reports whether every presentation is in the database once, as the
// reader said it, and every accepted one has a price.
func (r *SimReport) Accounted() bool {
	return r.Missing == 0 && r.Extra == 0 && r.Changed == 0 && len(r.Disagreed) == 0 && r.Unpriced == 0 && r.StillHeld == 0 &&
		r.Recorded == r.Presented && r.Batches > 0
}

// said is what a reader decided about one presentation.
type said struct {
	accepted bool
	reason   code.Reason
}

// a simulation is a Sim at work.
type simulation struct {
	*Sim
	random   *rand.Rand
	crowd    *Crowd
	counters []uint16
	behind   []time.Duration // of each phone's clock
	stations []*station
	ministry *ministry // nil = nobody has its codes
	shown    int       // of its codes
	report   SimReport
}

// Run plays it. The operator is onboarded and has no riders yet.
func (s *Sim) Run(ctx context.Context) (*SimReport, error) {
	if s.Riders == 0 {
		s.Riders = max(1, s.Count/5)
	}
	p := &simulation{Sim: s, random: rand.New(rand.NewPCG(s.Seed, 20_264)), counters: make([]uint16, s.Riders)}
	p.report.Refused, p.report.Disagreed = map[code.Reason]int{}, map[code.Reason]int{}
	defer p.closeAll()
	for _, step := range []func(context.Context) error{p.prepare, p.ride, p.drain, p.account} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return &p.report, nil
}

// prepare issues the credentials and brings every reader up to date.
func (p *simulation) prepare(ctx context.Context) error {
	var err error
	if p.crowd, err = p.Operator.Riders(ctx, 0, p.Riders); err != nil {
		return err
	}
	if p.Foreign > 0 {
		if p.ministry, err = p.Operator.ministry(ctx, max(64, p.Riders*p.Foreign/100)); err != nil {
			return err
		}
	}
	for range p.Riders {
		p.behind = append(p.behind, p.offset())
	}
	if _, err := p.Operator.Gateway.Credentials.PublishLists(ctx, Tenant); err != nil {
		return err
	}
	for i := range p.Operator.Terminals {
		st, err := p.Operator.station(ctx, filepath.Join(p.Dir, bus(i)), i)
		if err != nil {
			return err
		}
		st.ahead, st.booted = p.offset(), p.Clock.Now()
		p.stations = append(p.stations, st)
		if err := st.sync(ctx, p.URL, p.Clock.Now()); err != nil {
			return err
		}
	}
	return nil
}

// offset is by how much a clock is wrong.
func (p *simulation) offset() time.Duration {
	if p.Skew == 0 {
		return 0
	}
	return time.Duration(p.random.Int64N(2*int64(p.Skew)+1)) - p.Skew
}

// ride plays the time without a network. Half-way every reader loses its power.
func (p *simulation) ride(ctx context.Context) error {
	from := p.Clock.Now().Add(time.Minute)
	last := make([][]byte, len(p.stations))
	for i := range p.Count {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := from.Add(p.Offline * time.Duration(i) / time.Duration(p.Count))
		if i == p.Count/2 {
			for _, st := range p.stations {
				if err := st.powerCut(at); err != nil {
					return err
				}
				p.report.PowerCuts++
			}
		}
		n := p.random.IntN(len(p.stations))
		scanned, err := p.scanned(at, &last[n])
		if err != nil {
			return err
		}
		decision, err := p.stations[n].tap(at, scanned)
		if err != nil {
			return err
		}
		p.report.Presented++
		if decision.accepted {
			p.report.Opened++
		} else {
			p.report.Refused[decision.reason]++
		}
	}
	p.Clock.Set(from.Add(p.Offline + time.Minute))
	return nil
}

// scanned is what somebody shows: mostly a rider's next display.
func (p *simulation) scanned(at time.Time, last *[]byte) ([]byte, error) {
	dice := p.random.IntN(100)
	if dice < simNoise {
		return []byte("https://example.org/menu"), nil
	}
	if dice < simNoise+simReplays && *last != nil {
		return *last, nil
	}
	if p.Foreign > 0 && p.random.IntN(100) < p.Foreign {
		// In turn: a display is of a second, and a card shows one in it.
		card := p.shown % len(p.ministry.cards)
		p.shown++
		raw, err := p.ministry.show(card, at.Add(p.behind[card%p.Riders]))
		if err != nil {
			return nil, err
		}
		if dice >= 100-simForged {
			raw[len(raw)-1] ^= 1
			return raw, nil
		}
		*last = raw
		return raw, nil
	}
	i := p.random.IntN(p.Riders)
	p.counters[i]++
	key, err := deviceKey(p.crowd.seed, p.crowd.first+i)
	if err != nil {
		return nil, err
	}
	sign, err := ct1.Signer(key)
	if err != nil {
		return nil, err
	}
	raw, err := ct1.Display(p.crowd.partsA[i], ct1.Dynamic{
		GeneratedAt: at.Add(p.behind[i]).Unix(), Counter: p.counters[i], Party: 1, ClockQuality: code.ClockSynced, Medium: code.MediumPhone,
	}, sign)
	if err != nil {
		return nil, err
	}
	if dice >= 100-simForged {
		raw[len(raw)-1] ^= 1
		return raw, nil
	}
	*last = raw
	if p.random.IntN(2) == 0 {
		return []byte(ct1.Text(raw)), nil
	}
	return raw, nil
}

// drain uploads every journal over a line that loses requests on their way there
// and replies on their way back. A reader cannot tell one from the other.
func (p *simulation) drain(ctx context.Context) error {
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for _, st := range p.stations {
		p.report.MaxPending = max(p.report.MaxPending, st.sdk.Pending())
		const most = 50 // taps in a batch: many batches, for the line to lose
		for tries := 0; ; tries++ {
			if tries > 10_000 {
				return fmt.Errorf("load: %s does not get its taps through", st.bus)
			}
			batch, err := st.sdk.NextBatch(most)
			if err != nil {
				return err
			}
			if batch == nil {
				break
			}
			if err := p.carry(ctx, client, st, batch); err != nil {
				return err
			}
		}
		p.report.StillHeld += st.sdk.Pending()
	}
	return nil
}

// carry sends one batch once.
func (p *simulation) carry(ctx context.Context, client *http.Client, st *station, batch []byte) error {
	if p.random.IntN(100) < p.Loss {
		p.report.LostRequests++
		return nil
	}
	receipts, err := receiptsOf(ctx, client, p.URL, batch)
	if err != nil {
		return err
	}
	for _, r := range receipts {
		if r.Outcome == "duplicate" {
			p.report.Repeated++
		}
	}
	if p.random.IntN(100) < p.Loss {
		p.report.LostReplies++
		return nil
	}
	parsed, err := tap.ParseBatch(batch)
	if err != nil {
		return err
	}
	p.report.Batches++
	return st.sdk.Ack(parsed.Hash)
}

// account compares what the readers said with the rows, tap by tap, and has the
// accepted ones priced.
func (p *simulation) account(ctx context.Context) error {
	rows, err := p.Operator.received(ctx)
	if err != nil {
		return err
	}
	p.report.Recorded = len(rows)
	for _, st := range p.stations {
		for i, was := range st.said {
			key := received{st.id, uint64(i + 1)}
			now, ok := rows[key]
			delete(rows, key)
			switch {
			case !ok:
				p.report.Missing++
			case was.accepted && !now.accepted:
				p.report.Disagreed[now.reason]++
			case was != now:
				p.report.Changed++
			}
		}
	}
	p.report.Extra = len(rows)
	if err := p.Operator.Gateway.Start(ctx); err != nil {
		return err
	}
	if err := p.Operator.Gateway.Drain(ctx); err != nil {
		return err
	}
	progress, err := p.Operator.Progress(ctx)
	p.report.Unpriced = progress.Backlog()
	return err
}

func (p *simulation) closeAll() {
	for _, st := range p.stations {
		_ = st.close() // everything that counts was synced
	}
}

// A simReceipt is the gateway's answer to one tap.
type simReceipt struct {
	Outcome string `json:"outcome"`
}

func receiptsOf(ctx context.Context, client *http.Client, url string, batch []byte) ([]simReceipt, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/tap-batches", bytes.NewReader(batch))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	body, err := fetch(client, req)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []simReceipt `json:"results"`
	}
	return answer.Results, json.Unmarshal(body, &answer)
}

func fetch(client *http.Client, req *http.Request) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("load: %s %s: %s: %.300s", req.Method, req.URL.Path, resp.Status, body)
	}
	return body, nil
}
