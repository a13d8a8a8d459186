package main

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestRequiredFlags(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"none", "pay out needs --a, --b and --n (see 'citygate pay out --help')", nil},
		{"all", "", []string{"--a=x", "--b=y", "--n=0"}},
		{"one is empty", "pay out needs --b (see 'citygate pay out --help')", []string{"--a=x", "--b= ", "--n=1"}},
		{"two are missing", "pay out needs --b and --n (see 'citygate pay out --help')", []string{"--a=x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, pay := &cobra.Command{Use: "citygate", SilenceErrors: true, SilenceUsage: true}, &cobra.Command{Use: "pay"}
			out := &cobra.Command{Use: "out", RunE: func(*cobra.Command, []string) error { return nil }}
			out.Flags().String("a", "", "one")
			out.Flags().String("b", "", "another")
			out.Flags().Int("n", 0, "how many")
			checked := false
			out.PreRunE = func(*cobra.Command, []string) error { checked = true; return nil }
			required(out, "a", "b", "n")
			root.AddCommand(pay)
			pay.AddCommand(out)
			root.SetArgs(append([]string{"pay", "out"}, c.args...))
			got := ""
			if err := root.Execute(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("said %q, want %q", got, c.want)
			}
			if checked != (c.want == "") {
				t.Errorf("the command's own check ran: %v", checked)
			}
			if usage := out.Flags().Lookup("a").Usage; usage != "one (required)" {
				t.Errorf("help says %q", usage)
			}
		})
	}
}
