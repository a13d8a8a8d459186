package main

import (
	"errors"
	"testing"

	"github.com/spf13/cobra"
)

func TestChosenFlags(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"not given", "", []string{"--tenant=1"}},
		{"one of them", "", []string{"--tenant=1", "--state=lost"}},
		{"none of them", `--state "los": want open, lost`, []string{"--tenant=1", "--state=los"}},
		{"other case", `--state "Open": want open, lost`, []string{"--tenant=1", "--state=Open"}},
		{"empty is any", "", []string{"--tenant=1", "--state="}},
		{"the check before goes on", "list needs --tenant (see 'list --help')", []string{"--state=lost"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran := false
			list := &cobra.Command{Use: "list", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { ran = true; return nil }}
			list.Flags().String("tenant", "", "whose")
			list.Flags().String("state", "", "which")
			required(list, "tenant")
			choice(list, "state", "open", "lost")
			list.SetArgs(c.args)
			err := list.Execute()
			got := ""
			if err != nil {
				got = err.Error()
			}
			if usage := new(usageError); got != c.want || ran != (c.want == "") || err != nil && !errors.As(err, &usage) {
				t.Errorf("said %q and ran %v, want %q", got, ran, c.want)
			}
		})
	}
}
