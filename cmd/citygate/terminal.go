package main

import "github.com/spf13/cobra"

func newTerminalCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "terminal",
		Short: "Measure what a terminal holds",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newTerminalBudgetCommand(sys))
	return c
}
