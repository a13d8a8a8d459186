package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cashlesscity/citygate/gateway/city/load"
	"github.com/cashlesscity/citygate/gateway/code"
	"github.com/cashlesscity/citygate/gateway/collect"
)

type simOptions struct {
	load.Sim
	terminals int
	data      string
}

func newTerminalSimCommand(sys *system) *cobra.Command {
	var o simOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "sim",
		Short: "Play readers through an hour without a network, drain them, and account for every tap",
		Long: `Plays readers that run the terminal SDK, each with its journal in a directory, against a gateway on a
private PostgreSQL. They fetch trust bundle and deny lists; then the network goes away for --offline while
--count codes are shown to them, most honest, some shown twice, some forged, some no codes at all. The clocks
of readers and phones are wrong by up to --skew, either way, and half-way every reader loses its power. When
the network is back the journals are uploaded over a line that loses --loss percent of the requests, and of
the replies, so that the gateway gets taps that it has already.

Then every presentation is looked for in the database: it must be there once, accepted or refused for the
reason that the reader gave, and every accepted one must have a price. Exits 1 if that is not so.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Count < 1 || o.Count > 1_000_000:
				return &usageError{errors.New("terminal sim: --count: want 1 to 1000000")}
			case o.terminals < 1 || o.terminals > 1000:
				return &usageError{errors.New("terminal sim: --terminals: want 1 to 1000")}
			case o.Riders < 0 || o.Riders > 1_000_000:
				return &usageError{errors.New("terminal sim: --riders: want 1 to 1000000")}
			case o.Offline < time.Second || o.Offline > 48*time.Hour:
				return &usageError{errors.New("terminal sim: --offline: want 1s to 48h, the life of a credential is 72h")}
			case o.Skew < 0 || o.Skew > time.Hour:
				return &usageError{errors.New("terminal sim: --skew: want 0 to 1h")}
			case o.Foreign < 0 || o.Foreign > 100:
				return &usageError{errors.New("terminal sim: --foreign: want 0 to 100 percent")}
			case o.Loss < 0 || o.Loss > 90:
				return &usageError{errors.New("terminal sim: --loss: want 0 to 90 percent")}
			}
			r, took, err := terminalSim(cmd.Context(), sys, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(sys, r)
			} else {
				err = printSim(sys.Stdout, r, took)
			}
			if err == nil && !r.Accounted() {
				return &exitError{code: 1, err: errors.New("terminal sim: not every tap is accounted for once")}
			}
			return err
		},
	}
	f := c.Flags()
	f.IntVar(&o.Count, "count", 5000, "presentations")
	f.IntVar(&o.terminals, "terminals", 8, "readers")
	f.IntVar(&o.Riders, "riders", 0, "riders with a phone each (default a fifth of --count)")
	f.DurationVar(&o.Offline, "offline", time.Hour, "how long the network is away, in played time")
	f.DurationVar(&o.Skew, "skew", 10*time.Second, "by how much clocks are wrong at most; the operator's rules allow 30s between two")
	f.IntVar(&o.Foreign, "foreign", 0, "percent of the codes that are of the Ministry of Transport's layout (mot-sm2) and not the operator's own")
	f.IntVar(&o.Loss, "loss", 5, "percent of requests lost, and of replies")
	f.Uint64Var(&o.Seed, "seed", 1, "the same seed plays the same taps")
	f.StringVar(&o.data, "data", "", "directory for the database and the journals of this run (default: beside the demo's)")
	f.BoolVar(&asJSON, "json", false, "print one line of JSON")
	return c
}

func terminalSim(ctx context.Context, sys *system, o simOptions) (r *load.SimReport, took time.Duration, err error) {
	started := sys.Now()
	b, err := openBench(ctx, sys, o.data, load.Config{
		Terminals: o.terminals, Seed: o.Seed, Connections: 16, Workers: 2, Collect: collect.Rules{CloseAfter: 6 * time.Hour},
	})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	server := &http.Server{Handler: b.Gateway.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer func() { err = errors.Join(err, server.Close()) }()
	o.Operator, o.Clock, o.Dir, o.URL = b.Operator, b.clock, filepath.Join(b.data, "terminals"), "http://"+listener.Addr().String()
	r, err = o.Run(ctx)
	return r, sys.Now().Sub(started), err
}

func printSim(w io.Writer, r *load.SimReport, took time.Duration) error {
	table := func(counts map[code.Reason]int) (s string) {
		for _, reason := range slices.Sorted(maps.Keys(counts)) {
			s += fmt.Sprintf("  %-26s %7d\n", reason, counts[reason])
		}
		return s
	}
	verdict := "every tap accounted for once"
	if !r.Accounted() {
		verdict = "NOT every tap is accounted for once"
	}
	_, err := fmt.Fprintf(w, `presented                    %7d
gate opened                  %7d
refused
%spower cuts                   %7d
on one reader at most        %7d
batches acknowledged         %7d
requests lost                %7d
replies lost                 %7d
taps sent again              %7d
rows in the database         %7d
missing                      %7d
never presented              %7d
refused for another reason   %7d
taken, then refused
%swithout a price              %7d
still on a reader            %7d
%s (%.1f s)
`, r.Presented, r.Opened, table(r.Refused), r.PowerCuts, r.MaxPending, r.Batches, r.LostRequests, r.LostReplies, r.Repeated, r.Recorded,
		r.Missing, r.Extra, r.Changed, table(r.Disagreed), r.Unpriced, r.StillHeld, verdict, took.Seconds())
	return err
}
