package drivertest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/adapters/driver"
)

// CertifyDevice is the toy's: it asks, and the certificate is a digest.
func (d *toyDriver) CertifyDevice(ctx context.Context, ourID string, key []byte) ([]byte, error) {
	if _, err := d.call(ctx, "/feed", nil); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte(ourID), key...))
	return sum[:], nil
}

func (d *toyDriver) SyncArrear(ctx context.Context, _ driver.Ref) error {
	_, err := d.call(ctx, "/feed", nil)
	return err
}

// A deviceMutant does one of the two in its own way.
type deviceMutant struct {
	*toyDriver
	certify func(context.Context, string, []byte) ([]byte, error)
	arrear  func(context.Context, driver.Ref) error
}

func (m *deviceMutant) CertifyDevice(ctx context.Context, id string, key []byte) ([]byte, error) {
	if m.certify == nil {
		return m.toyDriver.CertifyDevice(ctx, id, key)
	}
	return m.certify(ctx, id, key)
}

func (m *deviceMutant) SyncArrear(ctx context.Context, r driver.Ref) error {
	if m.arrear == nil {
		return m.toyDriver.SyncArrear(ctx, r)
	}
	return m.arrear(ctx, r)
}

var deviceMutants = map[string]breakage{
	"device_certified": func(d *toyDriver) driver.Provider { // another one each time
		return &deviceMutant{toyDriver: d, certify: func(context.Context, string, []byte) ([]byte, error) { return []byte(rand.Text()), nil }}
	},
	"device_gone": func(d *toyDriver) driver.Provider { // leaves out what went wrong
		return &deviceMutant{toyDriver: d, certify: func(ctx context.Context, id string, key []byte) ([]byte, error) {
			c, _ := d.CertifyDevice(ctx, id, key)
			return c, nil
		}}
	},
	"arrears_again": func(d *toyDriver) driver.Provider { // asks for the money instead
		return &deviceMutant{toyDriver: d, arrear: func(ctx context.Context, r driver.Ref) error {
			_, err := d.Submit(ctx, []driver.Debit{{OurID: r.OurID + "again", Amount: citygate.Money{Minor: 470, Currency: "HKD"}}})
			return err
		}}
	},
	"arrears_gone": func(d *toyDriver) driver.Provider {
		return &deviceMutant{toyDriver: d, arrear: func(context.Context, driver.Ref) error { return nil }}
	},
}
