package manifest

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs"
	"github.com/cashlesscity/citygate/gateway/fare/gtfs/exchange"
)

// A Feed says that a tariff's file is the folder or zip file of a GTFS feed with fares v2,
// and what ties the feed to the tenant; see [exchange.As]. What the tariff has beside it
// (caps, what a ride that lacks a tap costs) takes the place of what the feed gives.
type Feed struct {
	Name     string                   `json:"name"`
	Version  uint64                   `json:"version"`
	PauseMin int64                    `json:"pause_min,omitempty"`
	Products map[uint16]fare.Category `json:"products,omitempty"` // product numbers of credentials
	Riders   map[string]string        `json:"riders,omitempty"`   // rider categories of the feed by ours
	Media    map[string]string        `json:"media,omitempty"`    // fare media of the feed by ours
}

// feedBytes bounds a zip file.
const feedBytes = 64 << 20

// tariff makes the JSON of a tariff of the feed that lies at name in files.
func (f *Feed) tariff(files fs.FS, name string, beside Raw) (Raw, error) {
	switch {
	case name == "":
		return nil, errors.New("feed: it goes with file, the folder or zip file of the feed")
	case files == nil:
		return nil, errors.New("a file cannot be read here: give the tariff that citygate fare import --name makes of the feed")
	}
	read, err := readFeed(files, name)
	if err != nil {
		return nil, err
	}
	as := exchange.As{Name: f.Name, Version: f.Version, Pause: f.PauseMin, Products: f.Products, Media: f.Media}
	for ours, theirs := range f.Riders {
		if as.Riders == nil {
			as.Riders = make(map[fare.Category]string, len(f.Riders))
		}
		as.Riders[fare.Category(ours)] = theirs
	}
	made, err := exchange.Import(read, as)
	if err != nil {
		return nil, err
	}
	raw, err := made.Encode()
	if err != nil || len(beside) == 0 {
		return raw, err
	}
	var all, more map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(beside, &more); err != nil {
		return nil, errors.New("tariff: want an object")
	}
	for _, given := range []string{"name", "version", "currency", "rules"} {
		if _, twice := more[given]; twice {
			return nil, fmt.Errorf("tariff: %s is the feed's: leave it out", given)
		}
	}
	maps.Copy(all, more)
	return json.Marshal(all)
}

// readFeed reads a feed from a folder or a zip file.
func readFeed(files fs.FS, name string) (*gtfs.Feed, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		inner, err := fs.Sub(files, name)
		if err != nil {
			return nil, err
		}
		return gtfs.Read(inner)
	}
	if info.Size() > feedBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", feedBytes)
	}
	raw, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, errors.New("neither a folder nor a zip file")
	}
	return gtfs.Read(archive)
}
