package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release build with -ldflags.
var version = "development"

func newVersionCommand(sys *system) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			revision := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if !asJSON {
				_, err := fmt.Fprintf(sys.Stdout, "citygate %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(map[string]string{
				"version": version, "revision": revision, "go": runtime.Version(),
				"os": runtime.GOOS, "arch": runtime.GOARCH,
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object on one line")
	return c
}
