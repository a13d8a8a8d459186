package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/tenants/pg"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// The failures of this package.
var (
	ErrConfig  = &citygate.Code{Name: "jobs.config", Kind: citygate.Internal, Title: "The job queue is not usable. Check the URL of the role citygate_jobs."}
	ErrSchema  = &citygate.Code{Name: "jobs.schema", Kind: citygate.Internal, Title: "The job queue's tables do not fit this program. Run \"citygate migrate\" with the same release."}
	ErrFailed  = &citygate.Code{Name: "jobs.failed", Kind: citygate.Unavailable, Title: "Some jobs failed and wait for their next try. The log says why."}
	ErrUnknown = &citygate.Code{Name: "jobs.unknown_kind", Kind: citygate.Internal, Title: "This program has no handler for the job. Run the release that asked for it."}
)

// A Handler does one kind of job. args is the JSON of the pg.Job. It may run
// more than once for one job, and beside others.
type Handler func(ctx context.Context, args json.RawMessage) error

// A Config says how to reach the queue and what to do with it.
type Config struct {
	URL      string             // of the role citygate_jobs
	Handlers map[string]Handler // by the kind of pg.Job
	Workers  int                // jobs at a time; 0 = 1: one after another
	Logger   *slog.Logger       // nil = silent
	// Together says which kinds of jobs that wait here can be done at once; nil =
	// none.
	Together map[string]Together
	// Lanes gives the lanes of a job. Jobs that meet in one have their turns in the
	// order in which they were asked for. It holds within a process, so it takes
	// an exclusive one. nil = every job beside every other.
	Lanes func(name string, args json.RawMessage) []Lane
	// Exclusive says that no other process works this queue. Jobs that a killed
	// process left half-done then run at once when this one starts, and not only
	// after River's hour of patience; and jobs are fetched before there is a worker
	// for them, which other processes would wait for.
	Exclusive bool
	// CompletedRetention is how long finished jobs are kept to look at; 0 = one
	// hour.
	CompletedRetention time.Duration
	// Patience is how long [Client.Yield] waits at most; 0 = one second.
	Patience time.Duration
}

// schema is where River's tables lie.
const schema = "river"

// envelope is the one kind of job River sees. Ours is inside.
type envelope struct {
	Name    string          `json:"name"`
	Payload json.RawMessage `json:"payload"`
}

// Kind names the envelope to River.
func (envelope) Kind() string { return "citygate" }

// A Client puts jobs into the queue and works them. It is safe for concurrent use.
type Client struct {
	river     *river.Client[pgx.Tx]
	pool      *pgxpool.Pool
	handlers  map[string]Handler
	exclusive bool
	started   bool
	ran       *history
	stopSweep func() // ends the sweeper and waits for it
	workers   int
	patience  time.Duration
	gate      gate
	turns     *turns
}

var _ pg.Enqueuer = (*Client)(nil)

// New opens the queue. It works nothing until [Client.Start]; a process that
// only asks for work never calls that.
func New(ctx context.Context, c Config) (*Client, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, ErrConfig.Because(nil, "%v", err) // pgx leaves the password out
	}
	pc.ConnConfig.RuntimeParams["application_name"] = "citygate jobs"
	pc.ConnConfig.RuntimeParams["jit"] = "off"
	pc.MaxConns = 6 // fetching, finishing, listening, leading, and our own questions
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, ErrConfig.Because(nil, "%v", err)
	}
	client := &Client{pool: pool, handlers: c.Handlers, exclusive: c.Exclusive, ran: newHistory(), workers: max(c.Workers, 1), patience: c.Patience}
	if client.patience == 0 {
		client.patience = defaultPatience
	}
	client.turns = &turns{laneOf: c.Lanes, together: c.Together, free: client.workers}
	if err := client.open(ctx, c); err != nil {
		pool.Close()
		return nil, err
	}
	return client, nil
}

func (c *Client) open(ctx context.Context, config Config) error {
	driver := riverpgxv5.New(c.pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: config.Logger})
	if err != nil {
		return ErrSchema.Because(err, "")
	}
	state, err := migrator.Validate(ctx, nil)
	if err != nil {
		return ErrSchema.Because(err, "")
	}
	if !state.OK {
		return ErrSchema.Because(nil, "%v", state.Messages)
	}
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &worker{client: c}); err != nil {
		return ErrConfig.Because(err, "")
	}
	if config.CompletedRetention == 0 {
		config.CompletedRetention = time.Hour
	}
	slots := c.workers
	if c.exclusive {
		slots += ahead
	}
	c.river, err = river.NewClient(watched{driver, c.turns}, &river.Config{
		Schema: schema,
		Logger: slog.New(troubles{config.Logger.Handler()}),
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}},
		// A job follows the commit that asked for it within milliseconds: the
		// commit's notification wakes a fetch, and polling covers a lost one.
		FetchCooldown:     time.Millisecond,
		FetchPollInterval: 50 * time.Millisecond,
		// The time of a job is that of the turns before its own and of that one,
		// which has a bound of its own.
		JobTimeout:           4 * turnTimeout,
		RescueStuckJobsAfter: 5 * turnTimeout,
		// Rebuilding indexes takes their owner, and the workers own nothing.
		ReindexerSchedule:           river.NeverSchedule(),
		CompletedJobRetentionPeriod: config.CompletedRetention,
		Workers:                     workers,
	})
	if err != nil {
		return ErrConfig.Because(err, "")
	}
	return nil
}

// Enqueue puts jobs into the queue within tx; pg.Tx.Enqueue calls it.
func (c *Client) Enqueue(ctx context.Context, tx pgx.Tx, jobs []pg.Job) error {
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		payload, err := json.Marshal(j)
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Kind(), err)
		}
		params[i].Args = envelope{Name: j.Kind(), Payload: payload}
	}
	if _, err := c.river.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("enqueueing %d jobs: %w", len(jobs), err)
	}
	return nil
}

// rescue has jobs run again that a process was working when it was killed.
const rescue = `UPDATE river.river_job SET state = 'available' WHERE state = 'running'`

// Start works the queue until [Client.Stop]. Ending ctx stops it too.
func (c *Client) Start(ctx context.Context) error {
	if c.exclusive {
		if _, err := c.pool.Exec(ctx, rescue); err != nil {
			return ErrConfig.Because(err, "")
		}
	}
	if err := c.river.Start(ctx); err != nil {
		return ErrConfig.Because(err, "")
	}
	c.started = true
	c.sweepUntilStopped(ctx)
	return nil
}

// Stop takes no new jobs, waits for those at work and closes the queue. When
// ctx ends first their contexts are cancelled.
func (c *Client) Stop(ctx context.Context) error {
	defer c.pool.Close()
	if !c.started {
		return nil
	}
	c.stopSweep()
	err := c.river.Stop(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = c.river.StopAndCancel(hard)
	}
	return err
}

// worker hands River's jobs to the handlers.
type worker struct {
	river.WorkerDefaults[envelope]
	client *Client
}

// Work runs one job.
func (w *worker) Work(ctx context.Context, job *river.Job[envelope]) (err error) {
	run := w.client.ran.begin(job.ID, job.Attempt)
	ok := false // stays so when the handler panics; River turns that into an error
	defer func() { run.end(ok) }()
	handle := w.client.handlers[job.Args.Name]
	if handle == nil {
		return ErrUnknown.Because(nil, "%q", job.Args.Name)
	}
	if err := w.client.turns.do(ctx, run.id, job.Args, handle); err != nil {
		return fmt.Errorf("job %s: %w", job.Args.Name, err)
	}
	ok = true
	return nil
}
