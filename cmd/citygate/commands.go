package main

import "github.com/spf13/cobra"

// commands lists every sub-command; each lives in a file of its own name.
var commands = []func(*system) *cobra.Command{
	newAccessCommand,
	newAdapterCommand,
	newApplyCommand,
	newAuditCommand,
	newBenchCommand,
	newDemoCommand,
	newDiffCommand,
	newDumpCommand,
	newInitCommand,
	newBundleCommand,
	newClockCommand,
	newCodeCommand,
	newFareCommand,
	newKeyCommand,
	newLedgerCommand,
	newMigrateCommand,
	newPolicyCommand,
	newProductCommand,
	newReconCommand,
	newRidershipCommand,
	newRiskCommand,
	newSchemaCommand,
	newServeCommand,
	newSettleCommand,
	newTenantCommand,
	newTerminalCommand,
	newTillCommand,
	newValidateCommand,
	newVersionCommand,
}
