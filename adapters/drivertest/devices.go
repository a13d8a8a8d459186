package drivertest

import (
	"bytes"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// The cases of products that certify validators' keys, and of those that look at debts
// again.

var deviceCases = []testCase{
	{"device_certified", "a validator's key gets a certificate, the same one when it is asked for again, and asking moves nothing", certifies, deviceCertified},
	{"device_gone", "a certificate that nobody could be asked for is an error", certifies, deviceGone},
	{"arrears_again", "a debt is looked at again as often as that is asked for, and asking moves nothing", syncs, arrearsAgain},
	{"arrears_gone", "a debt that nobody could be asked to look at is an error", syncs, arrearsGone},
}

func certifies(h Harness) bool {
	_, ok := driver.As[driver.DeviceEnroller](h.Provider())
	return ok
}
func syncs(h Harness) bool { _, ok := driver.As[driver.ArrearSync](h.Provider()); return ok }

func deviceCertified(t TB, h Harness) {
	by, _ := driver.As[driver.DeviceEnroller](h.Provider())
	first, err := by.CertifyDevice(t.Context(), "validator1", []byte("a public key"))
	if err != nil || len(first) == 0 {
		t.Fatalf("CertifyDevice = %d bytes, %v", len(first), err)
	}
	again, err := by.CertifyDevice(t.Context(), "validator1", []byte("a public key"))
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("CertifyDevice of the same key again = %x, %v; want %x", again, err, first)
	}
	other, err := by.CertifyDevice(t.Context(), "validator2", []byte("another public key"))
	if err != nil || bytes.Equal(other, first) {
		t.Errorf("CertifyDevice of another key = %x, %v; want a certificate of its own", other, err)
	}
	moved(t, h)
}

func deviceGone(t TB, h Harness) {
	by, _ := driver.As[driver.DeviceEnroller](h.Provider())
	die(t, h)
	if certificate, err := by.CertifyDevice(t.Context(), "validator1", []byte("a public key")); err == nil || len(certificate) > 0 {
		t.Errorf("CertifyDevice of nobody = %d bytes, %v; want an error", len(certificate), err)
	}
}

func arrearsAgain(t TB, h Harness) {
	by, _ := driver.As[driver.ArrearSync](h.Provider())
	owed := declinedDebit(t, h, "debt", 470)
	for range 2 {
		if err := by.SyncArrear(t.Context(), ref(owed)); err != nil {
			t.Errorf("SyncArrear of a declined debit: %v", err)
		}
	}
	moved(t, h)
}

func arrearsGone(t TB, h Harness) {
	by, _ := driver.As[driver.ArrearSync](h.Provider())
	if err := by.SyncArrear(t.Context(), ref(die(t, h))); err == nil {
		t.Errorf("SyncArrear to nobody = no error")
	}
}
