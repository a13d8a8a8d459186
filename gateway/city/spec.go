package city

import (
	"fmt"
	"time"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/city/data"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/tenants"
)

// The tenants of the two cities.
const (
	harbourCity citygate.TenantID = 1 + iota
	harbourMetro
	peakMinibus // flat fares
	bayMinibus  // section fares
	harbourTaxi
	hillside
	hillsideBus
)

// The issuer numbers on their codes.
const (
	harbourIssuer  citygate.Issuer = 101
	metroIssuer    citygate.Issuer = 102
	hillsideIssuer citygate.Issuer = 201
)

// Prices and limits, in minor units unless said otherwise.
const (
	capUnit       = 10    // one step of a code's cap field
	tapCap        = 12000 // highest fare for one tap: just under the two highest of the table doubled
	overCapFare   = 18000
	peakFare      = 650
	hillsideFare  = 580
	taxiLowest    = 2700
	taxiHighest   = 11500
	feePPM        = 6000 // 0.6 %
	sandboxFeePPM = 5000
)

// The contracts tenants collect under.
const (
	alipayContract  = "alipay"
	sandboxContract = "sandbox"
)

// serviceDay is the played business date: a Monday.
var serviceDay = citygate.Date{Year: 2026, Month: time.March, Day: 2}

const cutMinutes = 4 * 60

func cityTenants() []tenants.Tenant {
	member := func(id citygate.TenantID, slug, name string, kind tenants.Kind, parent citygate.TenantID, issuer citygate.Issuer) tenants.Tenant {
		t := tenants.Tenant{
			ID: id, Slug: slug, Name: name, Kind: kind, Parent: parent, Mode: tenants.Sandbox, Issuer: issuer,
			Currency: "CNY", TimeZone: "Asia/Shanghai", CutMinutes: cutMinutes, CalendarVersion: 1, CapUnit: capUnit, State: tenants.Active,
		}
		if id >= hillside {
			t.Currency, t.TimeZone = "HKD", "Asia/Hong_Kong"
		}
		return t
	}
	return []tenants.Tenant{
		member(harbourCity, "harbour-city", "Harbour City", tenants.Authority, 0, harbourIssuer),
		member(harbourMetro, "harbour-metro", "Harbour Metro", tenants.Metro, harbourCity, metroIssuer),
		member(peakMinibus, "peak-minibus", "Peak Minibus", tenants.Minibus, harbourCity, 0),
		member(bayMinibus, "bay-minibus", "Bay Minibus", tenants.Minibus, harbourCity, 0),
		member(harbourTaxi, "harbour-taxi", "Harbour Taxi", tenants.Taxi, harbourCity, 0),
		member(hillside, "hillside", "Hillside", tenants.Authority, 0, hillsideIssuer),
		member(hillsideBus, "hillside-bus", "Hillside Bus", tenants.Bus, hillside, 0),
	}
}

// stations are the stops of the played metro: ids of the MTR table, among them
// both ends of the longest rides.
var stations = []string{
	"1", "2", "3", "5", "6", "7", "8", "11", "12", "13", "14", "15", "17", "21", "25", "26",
	"27", "28", "29", "31", "36", "37", "48", "50", "64", "68", "71", "73", "74", "76",
}

// A place is one validator: where it stands or what it rides on.
type place struct {
	operator citygate.TenantID
	name     string
	kind     placeKind
	stop     string
	route    string
	vehicle  string
	driver   string
	bus      bool // the vehicle is a bus; else a vehicle with a reader is a minibus
}

type placeKind int

const (
	gate placeKind = iota
	vehicleReader
	taximeter
)

const (
	peakVehicles = 8
	bayVehicles  = 6
	taxis        = 10
	buses        = 5
)

// baySections are the boarding sections of the Bay minibus line with their fares.
var baySections = []struct {
	name   string
	amount int64
}{{"pier", 980}, {"market", 760}, {"hill", 540}}

// places lists every validator of both cities in the order of their numbers.
func places() []place {
	var list []place
	for _, s := range stations {
		list = append(list, place{operator: harbourMetro, name: "gate-" + s, kind: gate, stop: s})
	}
	vehicles := func(operator citygate.TenantID, prefix, route string, n int) {
		for i := range n {
			id := fmt.Sprintf("%s-%02d", prefix, i+1)
			list = append(list, place{operator: operator, name: id, kind: vehicleReader, route: route, vehicle: id, bus: operator == hillsideBus})
		}
	}
	vehicles(peakMinibus, "peak", "P1", peakVehicles)
	vehicles(bayMinibus, "bay", "B7", bayVehicles)
	for i := range taxis {
		id := fmt.Sprintf("taxi-%02d", i+1)
		list = append(list, place{operator: harbourTaxi, name: id, kind: taximeter, route: "taxi", vehicle: id, driver: fmt.Sprintf("driver-%02d", i+1)})
	}
	vehicles(hillsideBus, "hill", "H2", buses)
	return list
}

// tariffOf gives the operator's prices. Products 1, 2 and 3 are adult, student
// and elderly everywhere.
func tariffOf(operator citygate.TenantID) (*fare.Tariff, error) {
	categories := fare.Categories{Products: map[uint16]fare.Category{1: data.Adult, 2: data.Student, 3: data.Elderly}, Default: data.Adult}
	amounts := func(adult int64) fare.Amounts {
		return fare.Amounts{data.Adult: adult, data.Student: adult, data.Elderly: 200}
	}
	t := &fare.Tariff{Version: 1, Currency: "CNY", Categories: categories}
	switch operator {
	case harbourMetro:
		return data.MTRTariff("CNY", 1, data.Adult, data.Student, data.Elderly)
	case peakMinibus:
		t.Name, t.Rules = "Peak flat fare", []fare.Rule{{ID: "flat", Flat: amounts(peakFare)}}
	case bayMinibus:
		sections := map[string]fare.Amounts{}
		for _, s := range baySections {
			sections[s.name] = amounts(s.amount)
		}
		t.Name, t.Rules = "Bay section fares", []fare.Rule{{ID: "sections", Sections: &fare.Sections{Amounts: sections}}}
	case harbourTaxi:
		t.Name, t.Rules = "Taxi meter", []fare.Rule{{ID: "meter", Entered: &fare.Entered{Min: 100, Max: 100000}}}
	case hillsideBus:
		t.Name, t.Currency, t.Rules = "Hillside flat fare", "HKD", []fare.Rule{{ID: "flat", Flat: amounts(hillsideFare)}}
	default:
		return nil, fmt.Errorf("tenant %d has no prices of its own", operator)
	}
	return t, t.Compile()
}
