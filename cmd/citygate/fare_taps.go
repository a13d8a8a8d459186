package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cashlesscity/citygate/gateway/fare"
	"github.com/cashlesscity/citygate/gateway/fare/diary"
)

// priceTaps prices what one rider tapped over days and prints it as one line.
func priceTaps(sys *system, path string, f fareFlags, changed func(flag string) bool) error {
	for _, name := range ofTariffs {
		if name != "currency" && changed(name) || name == "currency" && f.tariff != "mtr" && changed(name) {
			return &usageError{fmt.Errorf("--%s is of one journey: in a file of taps each tap says it, see citygate fare price --help", name)}
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the taps: %w", err)
	}
	d, err := diary.Parse(filepath.Base(path), raw)
	if err != nil {
		return err
	}
	if f.tariff == "" && len(d.Tariffs) == 0 {
		return &usageError{errors.New("fare price --taps needs --tariff FILE or mtr, or tariffs in the file")}
	}
	type version struct {
		from   int64
		tariff *fare.Tariff
	}
	var versions []version
	if f.tariff != "" {
		t, err := readTariff(f)
		if err != nil {
			return err
		}
		versions = append(versions, version{time.Time{}.UnixMilli(), t})
	}
	for _, change := range d.Tariffs {
		file := f
		if file.tariff = change.File; change.File != "mtr" && !filepath.IsAbs(change.File) {
			file.tariff = filepath.Join(filepath.Dir(path), change.File)
		}
		t, err := readTariff(file)
		if err != nil {
			return fmt.Errorf("%s: %w", change.File, err)
		}
		versions = append(versions, version{change.From.UnixMilli(), t})
	}
	at := func(ms int64) (t *fare.Tariff) {
		for _, v := range versions {
			if v.from <= ms {
				t = v.tariff
			}
		}
		return t
	}
	for i := range d.Taps {
		if t := at(d.Taps[i].At.UnixMilli()); t != nil {
			d.Taps[i].Stop = stopID(t, d.Taps[i].Stop)
		}
	}
	price, err := d.Price(at)
	if err != nil {
		return err
	}
	return json.NewEncoder(sys.Stdout).Encode(price)
}
