package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/city/riders"
)

// A journeysReport is what bench journeys prints.
type journeysReport struct {
	riders.LossReport
	CompletedShare float64 `json:"completed_share"`
	RightShare     float64 `json:"right_share"`
	Seconds        float64 `json:"seconds"`
}

func newBenchJourneysCommand(sys *system) *cobra.Command {
	var seed uint64
	var rides, permille int
	c := &cobra.Command{
		Use:   "journeys",
		Short: "Delete taps of played journeys and count how many are completed, and rightly",
		Long: `Plays riders on the embedded network for four weeks (60 % commuters, 30 % who ride now and then, 10 % visitors),
deletes taps at random, builds the journeys of the rest in a shuffled order and prints one line of JSON: of the
journeys that lack one tap, the share that inference completed, of those the share whose missing end is the true one,
by method, and how many of them would have cost less as an incomplete journey, which must be none.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if rides < 1 || permille < 1 || permille > 500 {
				return fmt.Errorf("want at least one journey, and 1 to 500 permille of its taps deleted")
			}
			started := time.Now()
			town, err := riders.Play(seed, rides)
			if err != nil {
				return err
			}
			price, err := riders.MTRPrice()
			if err != nil {
				return err
			}
			loss, err := town.Lose(seed, permille, price)
			if err != nil {
				return err
			}
			return json.NewEncoder(sys.Stdout).Encode(journeysReport{
				LossReport: loss, CompletedShare: share(loss.Completed, loss.Missing), RightShare: share(loss.Right, loss.Completed),
				Seconds: time.Since(started).Seconds(),
			})
		},
	}
	c.Flags().Uint64Var(&seed, "seed", 1, "what everything follows from")
	c.Flags().IntVar(&rides, "journeys", 20_000, "journeys to play")
	c.Flags().IntVar(&permille, "delete", 30, "permille of the taps that are deleted")
	return c
}

func share(part, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}
