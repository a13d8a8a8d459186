package gateway

import (
	"os"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/archive"
	"github.com/cashlesscity/citygate/gateway/pricing"
	"github.com/cashlesscity/citygate/tenants/pg"
)

// memberships gives what a tenant is part of.
func (o *office) memberships(tenant citygate.TenantID) (list []pricing.Member) {
	o.t.Helper()
	o.in(tenant, func(tx *pg.Tx) (err error) {
		list, err = pricing.Members(o.t.Context(), tx)
		return err
	})
	return list
}

// A part in an integrated tariff goes with those of its tenants that the export has: as it
// was agreed, ended or only proposed. Where the other party is not in the export nothing
// is agreed, whoever has its number there.
func TestMembershipsOfATariffMoveWithBothTheirTenants(t *testing.T) {
	o := open(t)
	o.found()
	ctx := t.Context()
	for operator, name := range map[citygate.TenantID]string{northBus: "north", southBus: "south"} {
		_, err := o.Pricing.ProposeMember(ctx, actor, county, operator, name, time.Time{})
		o.must(err)
		m, err := o.Pricing.AgreeMember(ctx, actor, operator, 1)
		o.must(err)
		if m.Operator != operator || m.AgreedAt.IsZero() {
			t.Fatalf("agreed: %+v", m)
		}
	}
	o.move(time.Hour)
	_, err := o.Pricing.EndMember(ctx, actor, county, northBus, time.Time{})
	o.must(err)
	o.move(time.Hour)
	_, err = o.Pricing.ProposeMember(ctx, actor, county, northBus, "north", time.Time{})
	o.must(err)
	was := map[citygate.TenantID][]pricing.Member{county: nil, northBus: o.memberships(northBus)}
	if len(was[northBus]) != 2 || was[northBus][0].EndedBy == "" || !was[northBus][1].AgreedAt.IsZero() {
		t.Fatalf("before: %+v", was[northBus])
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	o.must(err)
	t.Cleanup(func() { _ = root.Close() })
	_, err = archive.Exporter{DB: o.DB, Tenants: o.Tenants, Ring: o.Ring, PayoutFiles: o.Files.FS(), Clock: o.now}.Export(ctx, root, county, northBus)
	o.must(err)

	other := open(t)
	other.micro.Store(o.micro.Load())
	if _, err := archive.Import(ctx, other.DB, other.Tenants, actor, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []citygate.TenantID{county, northBus} {
		if got, want := asJSON(t, other.memberships(tenant)), asJSON(t, was[northBus]); got != want {
			t.Errorf("tenant %d has elsewhere\n%s, want\n%s", tenant, got, want)
		}
	}
}
