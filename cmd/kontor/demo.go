package main

import (
	"os"

	"github.com/spf13/cobra"

	"kontor/demo"
)

func (a *app) demoCmd() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Two institutions train one credit model on this machine, each in a process of its own",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			p := newProgress(a.err)
			o.Kontor, o.Observe = exe, p.event
			sum, err := demo.Run(cmd.Context(), o)
			p.end()
			if err != nil {
				return err
			}
			return a.printSummary(sum)
		},
	}
	c.Flags().StringVar(&o.Dir, "out", "demo-out", "folder for data, identities, results and the report")
	c.Flags().StringVar(&o.Data, "data", "", "folder with the parties' own CSV files instead of the made-up population")
	c.Flags().Uint64Var(&o.Seed, "seed", 7, "seed of the made-up population")
	c.Flags().IntVar(&o.Customers, "customers", 40_000, "size of the made-up population")
	return c
}
