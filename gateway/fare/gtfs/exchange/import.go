package exchange

import (
	"maps"
	"slices"
	"strings"

	"github.com/cashlesscity/citygate"
	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
)

// As says what a feed becomes.
type As struct {
	Name    string
	Version uint64
	Pause   int64 // fare.Feed.Pause
	// Products are the categories of product numbers of credentials; Riders and Media tie our categories and media to those of the feed.
	Products map[uint16]fare.Category
	Riders   map[fare.Category]string
	Media    map[string]string
}

// RuleID is the id of the one rule that an imported tariff has.
const RuleID = "feed"

// Import makes a tariff of a feed: its own rider categories, the default one of which
// is that of riders whose product says nothing. It fails with [gtfs.ErrRefused] for a
// feed that cannot be priced and with [fare.ErrTariff] for one that our tariffs cannot
// hold, such as one with prices in several currencies. Rides that lack a tap, and those
// that end where they began, are set aside until the tariff says what they cost.
func Import(feed *gtfs.Feed, as As) (*fare.Tariff, error) {
	if err := feed.Priceable(); err != nil {
		return nil, err
	}
	currencies := feed.Currencies()
	if len(currencies) != 1 {
		return nil, fare.ErrTariff.Explain("the feed has prices in %d currencies (%s); a tariff has one", len(currencies), strings.Join(currencies, ", "))
	}
	files, err := feed.Text()
	if err != nil {
		return nil, err
	}
	category := fare.Category(feed.DefaultRider())
	for _, ours := range slices.Sorted(maps.Keys(as.Riders)) {
		if as.Riders[ours] == feed.DefaultRider() {
			category = ours
			break
		}
	}
	if category == "" {
		category = "adult"
	}
	t := &fare.Tariff{
		Name: as.Name, Version: as.Version, Currency: citygate.Currency(currencies[0]), Categories: fare.Categories{Products: as.Products, Default: category},
		Rules: []fare.Rule{{ID: RuleID, Feed: &fare.Feed{Files: files, Pause: as.Pause, Riders: as.Riders, Media: as.Media}}},
	}
	return t, t.Compile()
}
