package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/city/data"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/journey"
	"github.com/cashlesscity/citygate/gateway/tap"
)

func newFareCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "fare",
		Short: "Price journeys by a tariff",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newFarePriceCommand(sys), newFareImportCommand(sys), newFareExportCommand(sys), newFareRecomputeCommand(sys), newFareGiveCommand(sys), newFareEndCommand(sys),
		newFareRefundCommand(sys), newFareMembersCommand(sys), newFareExplainCommand(sys), newFareSimulateCommand(sys), newFareVerifyExplanationCommand(sys))
	return c
}

// fareFlags are the flags of fare price: one journey.
type fareFlags struct {
	tariff, from, to, route, category, kind, at, currency, medium string
	product                                                       uint16
	party                                                         uint8
	amount                                                        int64
}

func newFarePriceCommand(sys *system) *cobra.Command {
	var f fareFlags
	var forms formFlags
	c := &cobra.Command{
		Use:   "price --tariff FILE|mtr [flags] | --gtfs DIR --journey FILE | --case FILE | --distance FILE --tariff ID --km KM | --taps FILE",
		Short: "Price a journey, or what a rider tapped over days, and print one line of JSON",
		Long: `Price one journey, or what one rider tapped over days, and print one line of JSON.

By the fares of a GTFS feed (--gtfs with --journey), a case in one file (--case)
or a distance tariff (--distance with --tariff and --km):

  {"effective_legs":1,"total_minor":500,"currency":"CAD","products":["PS-500"],"explanation":[...]}

effective_legs counts the rides after join rules, total_minor is in minor units,
or null with currency null where the tables do not say (an unknown fare is never
0; the explanation says why), products are those of every rule that matches the
first effective leg, before rider and medium choose. A journey is
{"legs":[{"network_id":..,"from":..,"to":..,"dep":..,"arr":..}],"rider":..,"media":..}
with stops or areas and RFC 3339 times; "route_id" may stand for network_id.
Kilometres are decimals.

Exit codes: 0 a line was printed, also with a null total; 1 a file cannot be
read or priced, and standard error names file, row (the header of a table is
row 1) and column; 2 wrong flags.

By a tariff of ours (--tariff) the line has total_minor, currency, the
explanation (every step from the rule to the amount) and inputs_hash. The tariff is a JSON file, or "mtr" for the embedded Hong Kong fare table.
Stops are ids or, where the tariff knows names, names. --kind is ride (an on
and an off), single (bus, minibus, taxi), on (the off is missing) or off (the
on is missing); without it a journey with --to is a ride, any other a single.

This form exits 1 with the reason on standard error if the tariff does not say
what the journey costs: an unknown fare is never 0.

By --taps everything that depends on other rides counts: transfers, caps of days,
weeks, months and rolling days, cumulative discounts, n-th rides, products, and how
operators share what was paid. The file is

  {"time_zone":"Asia/Shanghai","cut":"04:00","category":"adult","taps":[
    {"at":"2026-11-02T08:00:00+08:00","kind":"on","stop":"A","route":"M1","operator":"metro"},
    {"at":"2026-11-02T08:20:00+08:00","kind":"off","stop":"B","route":"M1"}, ...]}

with taps in any order; kind is on, off or single. Also known: product (in place of
category), medium, proofs ([{"category","from","until"}]), products that the rider holds
([{"product","at","given"}], of the tariff's products), journey_rules (a version as
tenants publish it; without it an off ends an on within four hours), tariffs
([{"from","file"}], versions that take over from --tariff), now (what lacks a tap and may
still get it is open then), and of a tap medium, product, party, amount and currency.
The line is {"total_minor":..,"currency":..,"rides":[..],"shares":[..]}: each ride with
its taps, explanation (caps before and after, those not applied too) and shares. The total
is null if the fare of a ride is unknown or still open; its explanation says why.`,
		Example: `  citygate fare price --tariff mtr --from "Lo Wu" --to "Yuen Long" --category adult
  citygate fare price --tariff mtr --kind on --from 76 --category student
  citygate fare price --tariff minibus.json --route 61S --from market --party 2
  citygate fare price --tariff taxi.json --amount 6580
  citygate fare price --gtfs feed/ --journey journey.json
  citygate fare price --distance metros.json --tariff wuhan-metro --km 17.15
  citygate fare price --tariff city.json --taps month.json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if handled, err := forms.price(sys, c.Flags().Changed, f.tariff); handled {
				return err
			}
			if forms.taps != "" {
				return priceTaps(sys, forms.taps, f, c.Flags().Changed)
			}
			return farePrice(sys, f, c.Flags().Changed("amount"), c.Flags().Changed("product"))
		},
	}
	flags := c.Flags()
	forms.add(c)
	flags.StringVar(&f.tariff, "tariff", "", "tariff file, or mtr; with --distance the id of a tariff")
	flags.StringVar(&f.from, "from", "", "stop or section where the rider boards")
	flags.StringVar(&f.to, "to", "", "stop where the rider leaves")
	flags.StringVar(&f.route, "route", "", "route of the taps")
	flags.StringVar(&f.category, "category", "", "rider category (default: what --product maps to)")
	flags.Uint16Var(&f.product, "product", 0, "product number of the credential")
	flags.StringVar(&f.kind, "kind", "", "ride, single, on or off")
	flags.StringVar(&f.at, "at", "", "time of the first tap, RFC 3339; its offset is the wall clock of peaks (default now, UTC)")
	flags.StringVar(&f.medium, "medium", "", "what the code is shown on, for prices by medium: phone, band, server, other, or a code scheme")
	flags.Uint8Var(&f.party, "party", 1, "riders on the code, 1 to 16")
	flags.Int64Var(&f.amount, "amount", 0, "amount the driver entered, in minor units")
	flags.StringVar(&f.currency, "currency", "", "currency of --amount (default the tariff's), and of mtr (default HKD)")
	return c
}

func farePrice(sys *system, f fareFlags, hasAmount, hasProduct bool) error {
	if f.tariff == "" {
		return &usageError{fmt.Errorf("fare price needs --tariff FILE, or --tariff mtr")}
	}
	tariff, err := readTariff(f)
	if err != nil {
		return err
	}
	category := fare.Category(f.category)
	switch {
	case category != "" && hasProduct:
		return &usageError{fmt.Errorf("give --category or --product, not both")}
	case category == "":
		category, _ = tariff.Category(f.product)
	}
	at, err := f.time(sys)
	if err != nil {
		return err
	}
	j, err := f.journey(at, tariff, hasAmount)
	if err != nil {
		return err
	}
	d := tariff.PriceTrip(&fare.Trip{Journey: j, Category: category, Medium: f.medium},
		fare.Calendar{Calendar: citygate.Calendar{Version: 1, Location: at.Location()}})
	if !d.Known {
		return fmt.Errorf("the fare is unknown: %s (tariff %s version %d)", d.Reason, tariff.Name, tariff.Version)
	}
	return json.NewEncoder(sys.Stdout).Encode(struct {
		TotalMinor  int64             `json:"total_minor"`
		Currency    citygate.Currency `json:"currency"`
		Explanation fare.Explanation  `json:"explanation"`
		InputsHash  string            `json:"inputs_hash"`
	}{d.Amount.Minor, d.Amount.Currency, d.Explanation, fmt.Sprintf("%x", d.InputsHash)})
}

func readTariff(f fareFlags) (*fare.Tariff, error) {
	if f.tariff == "mtr" {
		currency := citygate.Currency(f.currency)
		if currency == "" {
			currency = "HKD"
		}
		return data.MTRTariff(currency, 1)
	}
	raw, err := os.ReadFile(f.tariff)
	if err != nil {
		return nil, fmt.Errorf("read the tariff: %w", err)
	}
	return fare.ParseTariff(raw)
}

// time gives the time of the first tap, in the time zone whose wall clock prices it.
func (f fareFlags) time(sys *system) (time.Time, error) {
	if f.at == "" {
		return sys.Now().UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, f.at)
	if err != nil {
		return at, &usageError{fmt.Errorf("--at %q: want a time such as 2026-11-21T08:30:00+08:00", f.at)}
	}
	_, offset := at.Zone()
	return at.In(time.FixedZone("", offset)), nil
}

// journey makes the journey the flags describe.
func (f fareFlags) journey(at time.Time, tariff *fare.Tariff, hasAmount bool) (*journey.Journey, error) {
	if f.party < 1 || f.party > 16 {
		return nil, &usageError{fmt.Errorf("--party %d: want 1 to 16", f.party)}
	}
	kind := f.kind
	if kind == "" {
		kind = "single"
		if f.to != "" {
			kind = "ride"
		}
	}
	on := journey.Tap{ID: citygate.TapID{Terminal: 1, Seq: 1}, Kind: tap.On, At: at.UnixMilli(), Stop: stopID(tariff, f.from),
		Route: f.route, Party: f.party}
	off := on
	off.ID.Seq, off.Kind, off.At, off.Stop = 2, tap.Off, on.At+1, stopID(tariff, f.to)
	if hasAmount {
		on.Entered = citygate.Money{Minor: f.amount, Currency: tariff.Currency}
		if f.currency != "" {
			on.Entered.Currency = citygate.Currency(f.currency)
		}
	}
	j := &journey.Journey{First: on.ID, State: journey.Complete}
	switch kind {
	case "ride":
		j.Taps = []journey.Tap{on, off}
	case "single":
		on.Kind = tap.Single
		j.Taps = []journey.Tap{on}
	case "on":
		j.Taps, j.State, j.Missing = []journey.Tap{on}, journey.Incomplete, journey.MissingOff
	case "off":
		j.Taps, j.State, j.Missing = []journey.Tap{off}, journey.Incomplete, journey.MissingOn
	default:
		return nil, &usageError{fmt.Errorf("--kind %q: want ride, single, on or off", f.kind)}
	}
	if (kind == "ride" || kind == "on") && f.from == "" || (kind == "ride" || kind == "off") && f.to == "" {
		return nil, &usageError{fmt.Errorf("--kind %s needs --from and --to as far as it has them", kind)}
	}
	return j, nil
}

// stopID gives the id of a stop that a person named; what no rule knows stays
// as it is and is refused by the price.
func stopID(tariff *fare.Tariff, name string) string {
	for _, r := range tariff.Rules {
		if r.Table == nil {
			continue
		}
		for i, known := range r.Table.Names {
			if strings.EqualFold(known, name) {
				return r.Table.Stops[i]
			}
		}
	}
	return name
}
