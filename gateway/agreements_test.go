package gateway

import (
	"errors"
	"net/http"
	"testing"

	"github.com/cashlesscity/citygate/adapters/driver"
	"github.com/cashlesscity/citygate/gateway/credential"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// A rider is invited, confirms on Alipay's page, and is known to have agreed; when the
// agreement is ended, whoever ended it, he is denied before he is charged in vain.
func TestRidersAgreeAndLeave(t *testing.T) {
	o := open(t)
	o.onboard()
	sim := o.alipayWithholding()
	ctx := t.Context()
	ask := func() driver.Agreement {
		t.Helper()
		a, err := o.RiderAgreement(ctx, bus, "alipay", driver.Agreement{OurID: "AGR1"})
		o.must(err)
		return a
	}
	invitation, err := o.InviteRider(ctx, actor, bus, "alipay", "AGR1", "")
	o.must(err)
	if a := ask(); a.State != driver.AgreementUnknown || a.ID != "" {
		t.Errorf("before the rider confirmed: %+v", a)
	}
	resp, err := http.Get(invitation.URL) // the rider opens the page and confirms
	o.must(err)
	o.must(resp.Body.Close())
	agreed := ask()
	if agreed.State != driver.AgreementActive || agreed.ID == "" {
		t.Fatalf("after the rider confirmed: %+v", agreed)
	}
	o.accountsOf("alipay", agreed.ID)
	denied := func(want bool) {
		t.Helper()
		o.in(bus, func(tx *pg.Tx) error {
			got, err := credential.DeniedRider(t.Context(), tx, "alipay", agreed.ID)
			if got != want {
				t.Errorf("the rider is denied: %t; want %t", got, want)
			}
			return err
		})
	}
	ask()
	denied(false)
	for range 2 { // twice is once
		ended, err := o.EndAgreement(ctx, actor, bus, "alipay", driver.Agreement{OurID: "AGR1"})
		o.must(err)
		if ended.State != driver.AgreementEnded {
			t.Errorf("ended: %+v", ended)
		}
		denied(true)
	}
	if a := ask(); a.State != driver.AgreementEnded {
		t.Errorf("asked after the end: %+v", a)
	}
	if n := o.audit.Count(bus, `SELECT count(*) FROM audit_log WHERE verb IN ('agreement.invite', 'agreement.end')`); n != 3 {
		t.Errorf("%d audit rows; want 3", n)
	}

	for what, err := range map[string]error{
		"a name that is none":           second(o.InviteRider(ctx, actor, bus, "alipay", "a b", "")),
		"no agreement":                  second(o.RiderAgreement(ctx, bus, "alipay", driver.Agreement{})),
		"nothing to end":                second(o.EndAgreement(ctx, actor, bus, "alipay", driver.Agreement{})),
		"a contract without agreements": second(o.InviteRider(ctx, actor, bus, "sandbox", "AGR2", "")),
	} {
		if !errors.Is(err, ErrAgreement) {
			t.Errorf("%s: %v; want ErrAgreement", what, err)
		}
	}
	sim.Close()
	if a, err := o.RiderAgreement(ctx, bus, "alipay", driver.Agreement{OurID: "AGR1"}); err == nil || a.State != driver.AgreementUnknown {
		t.Errorf("nobody is there: %+v, %v", a, err)
	}
}

func second[T any](_ T, err error) error { return err }
