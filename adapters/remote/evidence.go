package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// Looking at records of the provider's own codes: capability evidence.

const pathEvidence = "/v1/evidence"

type (
	evidenceCall struct {
		Contract contractPart `json:"contract"`
		Record   []byte       `json:"record"`
	}
	evidenceAnswer struct {
		Record  string `json:"record_sha256"` // of the record that was looked at
		Verdict string `json:"verdict"`
		Reason  string `json:"reason,omitempty"`
	}
)

func recordName(record []byte) string {
	sum := sha256.Sum256(record)
	return hex.EncodeToString(sum[:])
}

// CheckEvidence is driver.EvidenceCheck's. An answer about another record is none.
func (d *Driver) CheckEvidence(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
	if len(record) == 0 || len(record) > driver.EvidenceMost {
		return driver.EvidenceUnknown, "", fmt.Errorf("%w: a record of %d bytes; want 1 to %d", driver.ErrNotPerformed, len(record), driver.EvidenceMost)
	}
	var a evidenceAnswer
	if err := d.call(ctx, pathEvidence, evidenceCall{d.part, record}, &a); err != nil {
		return driver.EvidenceUnknown, "", err
	}
	if a.Record != recordName(record) {
		return driver.EvidenceUnknown, "", errors.New("remote: the answer is about another record")
	}
	return ofWord[driver.EvidenceVerdict](a.Verdict), a.Reason, nil
}

func serveEvidence(ctx context.Context, p driver.EvidenceCheck, c evidenceCall) (any, error) {
	if len(c.Record) == 0 || len(c.Record) > driver.EvidenceMost {
		return nil, errBody
	}
	v, reason, err := p.CheckEvidence(ctx, c.Record)
	return evidenceAnswer{recordName(c.Record), wordOf(v), reason}, err
}
