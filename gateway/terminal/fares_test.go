package terminal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/tap"
	"github.com/cashlesscity/citygate/gateway/terminal"
	"github.com/cashlesscity/citygate/keys/bundle"
)

const boarded = `{"name":"bus","version":VERSION,"currency":"CNY","categories":{"default":"adult"},
	"rules":[{"id":"gates","routes":["M"],"table":{"stops":["A","B"],"amounts":{"adult":[-1,300,300,-1]}}},{"id":"bus","flat":{"adult":AMOUNT}}],
	"incomplete":{},"same_stop":{},"rounding":{}}`

// TestReadersChangeTariffOffline: the price of a tap that the caller gives none for is
// that of the version in force at its event time, to the millisecond, over a restart
// too; a price that needs the exit is not known; what the bundle says in a form that
// this build does not read opens gates as before.
func TestReadersChangeTariffOffline(t *testing.T) {
	begins := start*1000 + 5000
	var versions []fare.EntryVersion
	for i, from := range []int64{0, begins} {
		text := strings.NewReplacer("VERSION", string(rune('1'+i)), "AMOUNT", []string{"250", "260"}[i]).Replace(boarded)
		tariff, err := fare.ParseTariff([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, fare.EntryVersion{From: from, Tariff: tariff})
	}
	fares, err := fare.EncodeEntry(citygate.Calendar{}, versions, nil, time.Unix(start, 0), time.Unix(start, 0).AddDate(1, 0, 0), bundle.FaresMax)
	if err != nil {
		t.Fatal(err)
	}
	disk := newDisk()
	told := func(files terminal.Files, fares []byte) *terminal.Verifier {
		v := mustOpen(t, files)
		if err := v.InstallBundle(start*1000, bundleWith(t, 1, func(b *bundle.Bundle) { b.Tenants[1].Fares = fares })); err != nil {
			t.Fatal(err)
		}
		if err := v.InstallList(start*1000, signedList(t, 1, start-60, 13)); err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := told(disk, fares)
	next := uint32(0)
	want := func(at int64, in terminal.Input, version uint64, minor int64) {
		t.Helper()
		next++
		in.MonotonicMS, in.Clock = uint64(at-start*1000)+1, tap.ClockGNSS
		if in.Kind == 0 {
			in.Kind = tap.Single
		}
		d, err := v.Tap(at, toyCode(next, 1, start, true), in)
		if err != nil {
			t.Fatal(err)
		}
		if d.Reason == code.ProductNotValidHere {
			d.Open = true // the kind is not taken here; the record tells the fare all the same
		}
		if !d.Open || d.Record.TariffVersion != version || d.Record.Entered.Minor != minor {
			t.Errorf("at %d: %q, version %d, %v; want %d, %d", at, d.Reason, d.Record.TariffVersion, d.Record.Entered, version, minor)
		}
	}
	want(begins-1, terminal.Input{Route: "7"}, 1, 250)
	want(begins, terminal.Input{Route: "7"}, 2, 260)
	want(begins+1, terminal.Input{Route: "7", Riders: 3}, 2, 780)
	want(begins+2, terminal.Input{Route: "M"}, 2, 0)
	want(begins+3, terminal.Input{Route: "7", Kind: tap.On}, 2, 0)
	want(begins+4, terminal.Input{Route: "7", Fare: citygate.Money{Minor: 111, Currency: "CNY"}, TariffVersion: 9}, 9, 111)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v = mustOpen(t, disk)
	want(begins+5, terminal.Input{Route: "7"}, 2, 260)

	v = told(newDisk(), []byte(`{"calendar":[],"of tomorrow":1}`))
	want(begins, terminal.Input{Route: "7"}, 0, 0)
}
