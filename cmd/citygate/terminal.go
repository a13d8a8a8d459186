package main

import "github.com/spf13/cobra"

func newTerminalCommand(sys *system) *cobra.Command {
	c := &cobra.Command{
		Use:   "terminal",
		Short: "Pair terminals, give one a profile of its own, play terminals that run the SDK, and measure what one holds and spends",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(newTerminalBudgetCommand(sys), newTerminalSimCommand(sys), newTerminalBenchCommand(sys), newTerminalProfileCommand(sys),
		newTerminalPairCommand(sys), newTerminalRedeemCommand(sys))
	return c
}
