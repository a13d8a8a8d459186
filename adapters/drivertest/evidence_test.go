package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

func (h *toyHarness) Record() []byte { return []byte(toyRecord) }

func (d *toyDriver) CheckEvidence(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
	if len(record) == 0 || len(record) > driver.EvidenceMost {
		return driver.EvidenceUnknown, "", driver.ErrNotPerformed
	}
	got, err := d.items(ctx, "/record", []item{{ID: "looked", Record: record}})
	if err != nil || len(got) != 1 {
		return driver.EvidenceUnknown, "", err
	}
	switch got[0].State {
	case "genuine":
		return driver.EvidenceGenuine, "", nil
	case "forged":
		return driver.EvidenceRefused, "forged", nil
	}
	return driver.EvidenceUnknown, "", nil
}

func (m *mutant) CheckEvidence(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
	if m.evidence == nil {
		return m.toyDriver.CheckEvidence(ctx, record)
	}
	return m.evidence(ctx, record)
}

// looks makes a mutant that says something else of a record than was said of it.
func looks(other func(record []byte, v driver.EvidenceVerdict, err error) (driver.EvidenceVerdict, error)) func(*toyDriver) driver.Provider {
	return func(d *toyDriver) driver.Provider {
		return &mutant{toyDriver: d, evidence: func(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
			v, why, err := d.CheckEvidence(ctx, record)
			v, err = other(record, v, err)
			return v, why, err
		}}
	}
}

var evidenceMutants = map[string]func(*toyDriver) driver.Provider{
	"evidence_genuine": looks(func(_ []byte, v driver.EvidenceVerdict, err error) (driver.EvidenceVerdict, error) {
		if v == driver.EvidenceGenuine { // only a no says something to it
			v = driver.EvidenceUnknown
		}
		return v, err
	}),
	"evidence_changed": func(d *toyDriver) driver.Provider { // shows the far side what it thinks was meant
		return &mutant{toyDriver: d, evidence: func(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
			if len(record) == len(toyRecord) && record[0] == toyRecord[0] {
				record = append(record[:len(record)-1:len(record)-1], toyRecord[len(toyRecord)-1])
			}
			return d.CheckEvidence(ctx, record)
		}}
	},
	"evidence_again": func(d *toyDriver) driver.Provider { // takes the second look for a replay
		seen := map[string]bool{}
		return looks(func(record []byte, v driver.EvidenceVerdict, err error) (driver.EvidenceVerdict, error) {
			if seen[string(record)] {
				v = driver.EvidenceRefused
			}
			seen[string(record)] = true
			return v, err
		})(d)
	},
	"evidence_free": func(d *toyDriver) driver.Provider { // looks by asking for a cent
		asked := 0
		return &mutant{toyDriver: d, evidence: func(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
			asked++
			cent := driver.Debit{OurID: fmt.Sprint("look", asked), RiderRef: "rider", Amount: citygate.Money{Minor: 1, Currency: "HKD"}}
			if _, err := d.Submit(ctx, []driver.Debit{cent}); err != nil {
				return driver.EvidenceUnknown, "", err
			}
			return d.CheckEvidence(ctx, record)
		}}
	},
	"evidence_lost_reply": looks(func(_ []byte, v driver.EvidenceVerdict, err error) (driver.EvidenceVerdict, error) {
		if err != nil && !errors.Is(err, driver.ErrNotPerformed) && !strings.Contains(err.Error(), "no sense") { // no answer is a no
			return driver.EvidenceRefused, nil
		}
		return v, err
	}),
	"evidence_garbled": looks(func(_ []byte, v driver.EvidenceVerdict, err error) (driver.EvidenceVerdict, error) {
		if err != nil && strings.Contains(err.Error(), "no sense") { // what is no yes is a no
			return driver.EvidenceRefused, nil
		}
		return v, err
	}),
	"evidence_gone": looks(func(_ []byte, v driver.EvidenceVerdict, err error) (driver.EvidenceVerdict, error) {
		if err != nil && strings.Contains(err.Error(), "refused") { // rather takes it than stop a rider
			return driver.EvidenceGenuine, nil
		}
		return v, err
	}),
	"evidence_size": func(d *toyDriver) driver.Provider { // sends what fits
		return &mutant{toyDriver: d, evidence: func(ctx context.Context, record []byte) (driver.EvidenceVerdict, string, error) {
			return d.CheckEvidence(ctx, record[:min(len(record), driver.EvidenceMost)])
		}}
	},
}
