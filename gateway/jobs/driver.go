package jobs

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// A watched driver tells what was fetched, in its order: River then begins every
// job at once, and which is first is up to the machine.
type watched struct {
	riverdriver.Driver[pgx.Tx]
	turns *turns
}

// GetExecutor implements [riverdriver.Driver].
func (d watched) GetExecutor() riverdriver.Executor {
	return watchedExecutor{d.Driver.GetExecutor(), d.turns}
}

type watchedExecutor struct {
	riverdriver.Executor
	turns *turns
}

// JobGetAvailable implements [riverdriver.Executor].
func (e watchedExecutor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	result, err := e.Executor.JobGetAvailable(ctx, params)
	if err == nil {
		e.turns.fetched(result.Jobs)
	}
	return result, err
}
