package gtfs

import "slices"

// A spec is what the reference says of one file. The columns of a file that
// decides prices are closed: any other refuses to price.
type spec struct {
	columns  []string
	required []string // columns that must exist and whose cells must not be empty
	present  []string // columns that should exist; a breach where they do not
	key      []string
	fare     bool // a file of fares: its columns are closed
}

// specs are the files that are read, from the GTFS Schedule reference.
var specs = map[string]spec{
	"fare_leg_rules": {
		columns:  []string{"leg_group_id", "network_id", "from_area_id", "to_area_id", "from_timeframe_group_id", "to_timeframe_group_id", "fare_product_id", "rule_priority"},
		required: []string{"fare_product_id"},
		key:      []string{"network_id", "from_area_id", "to_area_id", "from_timeframe_group_id", "to_timeframe_group_id", "fare_product_id"},
		fare:     true,
	},
	"fare_products": {
		columns:  []string{"fare_product_id", "fare_product_name", "rider_category_id", "fare_media_id", "amount", "currency"},
		required: []string{"fare_product_id", "amount", "currency"},
		key:      []string{"fare_product_id", "rider_category_id", "fare_media_id"},
		fare:     true,
	},
	"fare_transfer_rules": {
		columns:  []string{"from_leg_group_id", "to_leg_group_id", "transfer_count", "duration_limit", "duration_limit_type", "fare_transfer_type", "fare_product_id"},
		required: []string{"fare_transfer_type"},
		key:      []string{"from_leg_group_id", "to_leg_group_id", "fare_product_id", "transfer_count", "duration_limit"},
		fare:     true,
	},
	"fare_leg_join_rules": {
		columns: []string{"from_network_id", "to_network_id", "from_stop_id", "to_stop_id"},
		present: []string{"from_network_id", "to_network_id"},
		key:     []string{"from_network_id", "to_network_id", "from_stop_id", "to_stop_id"},
		fare:    true,
	},
	"timeframes": {
		columns:  []string{"timeframe_group_id", "start_time", "end_time", "service_id"},
		required: []string{"timeframe_group_id", "service_id"},
		key:      []string{"timeframe_group_id", "start_time", "end_time", "service_id"},
		fare:     true,
	},
	"rider_categories": {
		columns:  []string{"rider_category_id", "rider_category_name", "is_default_fare_category", "eligibility_url"},
		required: []string{"rider_category_id"},
		present:  []string{"rider_category_name"},
		key:      []string{"rider_category_id"},
		fare:     true,
	},
	"fare_media": {
		columns:  []string{"fare_media_id", "fare_media_name", "fare_media_type"},
		required: []string{"fare_media_id", "fare_media_type"},
		key:      []string{"fare_media_id"},
		fare:     true,
	},
	"areas":          {columns: []string{"area_id", "area_name"}, required: []string{"area_id"}, key: []string{"area_id"}, fare: true},
	"stop_areas":     {columns: []string{"area_id", "stop_id"}, required: []string{"area_id", "stop_id"}, key: []string{"area_id", "stop_id"}, fare: true},
	"networks":       {columns: []string{"network_id", "network_name"}, required: []string{"network_id"}, key: []string{"network_id"}, fare: true},
	"route_networks": {columns: []string{"network_id", "route_id"}, required: []string{"network_id", "route_id"}, key: []string{"route_id"}, fare: true},

	"agency":         {required: []string{"agency_timezone"}},
	"stops":          {required: []string{"stop_id"}, key: []string{"stop_id"}},
	"routes":         {required: []string{"route_id"}, key: []string{"route_id"}},
	"calendar":       {required: append([]string{"service_id", "start_date", "end_date"}, weekdays[:]...), key: []string{"service_id"}},
	"calendar_dates": {required: []string{"service_id", "date", "exception_type"}, key: []string{"service_id", "date"}},
	"feed_info":      {},
}

// weekdays are the columns of calendar.txt in the order of time.Weekday.
var weekdays = [7]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// order is the order in which files are read, reported and written.
var order = []string{
	"agency", "stops", "routes", "calendar", "calendar_dates", "feed_info", "areas", "stop_areas", "networks", "route_networks",
	"timeframes", "rider_categories", "fare_media", "fare_products", "fare_leg_rules", "fare_leg_join_rules", "fare_transfer_rules",
}

// unread are the files of the reference that say nothing about fares v2. Any
// other .txt file whose name begins like those of fares refuses to price.
var unread = []string{
	"trips", "stop_times", "shapes", "frequencies", "transfers", "pathways", "levels", "location_groups", "location_group_stops",
	"booking_rules", "translations", "attributions", "fare_attributes", "fare_rules",
}

// farePrefixes are how the names of fare files begin, those of proposals and of
// single producers too.
var farePrefixes = []string{"fare_", "rider_", "area_", "timeframe", "network", "route_network", "stop_area"}

func known(name string) bool {
	_, ok := specs[name]
	return ok || slices.Contains(unread, name)
}
