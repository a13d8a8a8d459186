package main

import "github.com/spf13/cobra"

func newTerminalCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "terminal",
		Short: "Play terminals that run the SDK, and measure what one holds and spends",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newTerminalBudgetCommand(sys), newTerminalSimCommand(sys), newTerminalBenchCommand(sys))
	return c
}
