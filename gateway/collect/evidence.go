package collect

import (
	"context"
	"sync"

	"github.com/cashlesscity/citygate/adapters"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// EvidenceRefused begins the reason of a charge that was not sent because its provider
// says that what it rests on is not genuine.
const EvidenceRefused = "evidence_refused"

// wantsEvidence reports whether a contract wants its provider asked about evidence.
func wantsEvidence(contract Contract, provider *adapters.Provider) bool {
	_, able := provider.EvidenceCheck()
	f, err := adapters.FollowingOf(contract.Adapter, contract.Config)
	return able && err == nil && f.CheckEvidence
}

// checkEvidence asks a contract's provider about what charges rest on before they are
// sent, where the contract wants it. One that it refuses for good is declined and not
// sent. Where nobody can say, the charge is sent: the provider looks at it again. A
// charge that may have been sent before is sent as it was, whatever is said now.
func (r *run) checkEvidence(ctx context.Context, contract Contract, provider *adapters.Provider, batch []charge) (ready []charge, refused []outcome) {
	check, able := provider.EvidenceCheck()
	if !able || !wantsEvidence(contract, provider) {
		return batch, nil
	}
	ctx, done := context.WithTimeout(ctx, evidenceWithin)
	defer done()
	reasons := make([]string, len(batch))
	var asking sync.WaitGroup
	for first := range min(queriesAtOnce, len(batch)) {
		asking.Go(func() {
			for i := first; i < len(batch); i += queriesAtOnce {
				if batch[i].State == adapters.Created {
					reasons[i] = refusedEvidence(ctx, check, batch[i].Evidence)
				}
			}
		})
	}
	asking.Wait()
	for i := range batch {
		if reasons[i] == "" {
			ready = append(ready, batch[i])
			continue
		}
		refused = append(refused, outcome{batch[i].OurID, adapters.Submitted, driver.Result{OurID: batch[i].OurID, Outcome: driver.Declined, ReasonCode: reasons[i]}})
	}
	return ready, refused
}

// refusedEvidence gives why a charge rests on something that is not genuine, or "".
func refusedEvidence(ctx context.Context, check *adapters.EvidenceCheck, evidence [][]byte) string {
	for _, record := range evidence {
		verdict, reason, err := check.CheckEvidence(ctx, record)
		if err == nil && verdict == driver.EvidenceRefused {
			return clipped(EvidenceRefused+" "+reason, 64)
		}
	}
	return ""
}
