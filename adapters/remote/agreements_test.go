package remote

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
)

// keeping is a line that keeps the last request's body and answers nothing.
type keeping struct{ body string }

func (k *keeping) Do(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	k.body = string(text)
	return nil, errors.Join(errors.New("nobody answers"), err)
}

// A program that reads no notifications is given no address for them: what it had sent
// there nobody could prove.
func TestWhoReadsNoNotificationsIsGivenNoAddress(t *testing.T) {
	const address = "https://city.example/v1/notify/http/1-token"
	for _, reads := range []bool{false, true} {
		c, line := config(t), &keeping{}
		c.HTTP = line
		c.Manifest.Capabilities = []driver.Capability{driver.CapBill, driver.CapContract}
		if reads {
			c.Manifest.Capabilities = append(c.Manifest.Capabilities, driver.CapNotify)
		}
		d, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if i, err := d.OpenAgreement(t.Context(), driver.AgreementRequest{OurID: "a", NotifyURL: address}); err == nil || !strings.Contains(line.body, `"id":"a"`) {
			t.Fatalf("%+v, %v after %s", i, err, line.body)
		}
		if strings.Contains(line.body, address) != reads {
			t.Errorf("reads notifications: %v; it was sent %s", reads, line.body)
		}
	}
}
