package schemes_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/code/emvcpm"
)

// A wallet's text and a merchant's sticker look like much else. With everything
// allowed, and in either order, the text is a wallet's code and the sticker is
// named: nobody takes it for a pass or a token.
func TestPaymentTextsAreNobodyElses(t *testing.T) {
	data, err := os.ReadFile("../emvcpm/testdata/emvco-qr.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		CPM []struct {
			Text  string `json:"payload_base64"`
			Valid bool
		}
		MPM []struct {
			Payload string
			Valid   bool
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	list := all(t)
	backwards := slices.Clone(list)
	slices.Reverse(backwards)
	for _, d := range []*code.Dispatcher{code.NewDispatcher(list...), code.NewDispatcher(backwards...)} {
		for _, v := range file.CPM {
			var c code.Code
			raw, err := d.Binary(nil, []byte(v.Text))
			if err == nil {
				err = d.Parse(raw, &c)
			}
			if v.Valid != (err == nil) || v.Valid != (c.Scheme == emvcpm.ID) {
				t.Errorf("%s: %q, %v", v.Text, c.Scheme, err)
			}
		}
		for _, v := range file.MPM {
			var c code.Code
			raw, err := d.Binary(nil, []byte(v.Payload))
			if err == nil {
				err = d.Parse(raw, &c)
			}
			if err == nil || v.Valid != errors.Is(err, emvcpm.ErrMerchantCode) {
				t.Errorf("%s: %q, %v", v.Payload, c.Scheme, err)
			}
		}
	}
}
