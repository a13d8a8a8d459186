package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/city/riders"
)

func newBenchFlagsCommand(sys *system) *cobra.Command {
	var seed uint64
	var rides, cases int
	c := &cobra.Command{
		Use:   "flags",
		Short: "Hide copied, relayed and passed-on codes among honest taps and count what is flagged",
		Long: `Plays riders on the embedded network for four weeks and hides so many cases of each kind among their taps:
credentials copied to a second device, codes relayed to somebody elsewhere faster than anybody travels, and codes
shown to a queue of people. Readers' clocks are up to 20 seconds wrong. Prints one line of JSON: how many of each
were found, how many riders were flagged who had no case, and how many flags there are without any abuser.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if rides < 1 || cases < 1 {
				return fmt.Errorf("want at least one journey and one case")
			}
			town, err := riders.Play(seed, rides)
			if err != nil {
				return err
			}
			r := town.Find(seed, town.Abuse(seed, cases))
			return json.NewEncoder(sys.Stdout).Encode(struct {
				riders.AbuseReport
				CloneShare  float64 `json:"clones_found_share"`
				TravelShare float64 `json:"impossible_travel_found_share"`
			}{r, share(r.ClonesFound, r.Clones), share(r.ImpossibleFound, r.Impossible)})
		},
	}
	c.Flags().Uint64Var(&seed, "seed", 1, "what everything follows from")
	c.Flags().IntVar(&rides, "journeys", 20_000, "journeys to play")
	c.Flags().IntVar(&cases, "cases", 50, "cases of each kind")
	return c
}
