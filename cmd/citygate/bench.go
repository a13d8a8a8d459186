package main

import "github.com/spf13/cobra"

// benchmarks lists the sub-commands of bench; each lives in bench_<name>.go.
var benchmarks = []func(*system) *cobra.Command{
	newBenchVerifyCommand,
	newBenchDenylistCommand,
	newBenchSchemesCommand,
	newBenchIngestCommand,
	newBenchSendCommand,
	newBenchDayCommand,
	newBenchRotateCommand,
	newBenchAuthzCommand,
	newBenchTenantsCommand,
	newBenchNeighboursCommand,
	newBenchJourneysCommand,
	newBenchFareCommand,
	newBenchCollectCommand,
	newBenchFlagsCommand,
}

func newBenchCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine, as ratios to limits taken in the same run",
		Args:  cobra.NoArgs,
	}
	for _, b := range benchmarks {
		c.AddCommand(b(sys))
	}
	return c
}
