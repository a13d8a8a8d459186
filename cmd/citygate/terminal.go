package main

import "github.com/spf13/cobra"

func newTerminalCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "terminal",
		Short: "Play terminals that run the SDK, measure what one holds and spends, and give one a profile of its own",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newTerminalBudgetCommand(sys), newTerminalSimCommand(sys), newTerminalBenchCommand(sys), newTerminalProfileCommand(sys))
	return c
}
