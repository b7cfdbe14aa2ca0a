package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kontor/bench"
	"kontor/flow"
	"kontor/internal/fault"
)

func (a *app) benchCmd() *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure this machine"}
	c.AddCommand(a.benchMatvecCmd(), a.benchFlowCmd())
	return c
}

func (a *app) benchMatvecCmd() *cobra.Command {
	cfg := bench.MatvecConfig{Rows: 200_000, Features: 50, Bins: 32, Queries: 16, Seed: 1}
	c := &cobra.Command{
		Use: "matvec", Short: "Measure the encrypted histogram against the plaintext one", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := newProgress(a.err)
			r, err := bench.Matvec(cmd.Context(), cfg, func(stage string, done, total int) {
				p.event(flow.Event{Kind: flow.EventProgress, Step: stage, Done: int64(done), Total: int64(total)})
			})
			p.end()
			if errors.Is(err, bench.ErrConfig) {
				return fault.Wrap(fault.Usage, err, "", "choose other sizes")
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			return printMatvec(a.out, r)
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.Rows, "rows", cfg.Rows, "rows of the table")
	f.IntVar(&cfg.Features, "features", cfg.Features, "features, one-hot by bin")
	f.IntVar(&cfg.Bins, "bins", cfg.Bins, "bins a feature")
	f.IntVar(&cfg.Queries, "queries", cfg.Queries, "secret vectors in one batch")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of the made-up table")
	return c
}

func printMatvec(out io.Writer, r bench.MatvecResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range []struct{ name, value string }{
		{"table", fmt.Sprintf("%d rows x %d features x %d bins, %d queries", r.Rows, r.Features, r.Bins, r.Queries)},
		{"set-up", fmt.Sprintf("%.2f s, %s", r.SetupSeconds, bytesText(int64(r.BytesSetup)))},
		{"encrypt", fmt.Sprintf("%.3f s, %s", r.EncryptSeconds, bytesText(int64(r.BytesQuery)))},
		{"answer", fmt.Sprintf("%.3f s, %s", r.AnswerSeconds, bytesText(int64(r.BytesAnswer)))},
		{"open", fmt.Sprintf("%.3f s", r.OpenSeconds)},
		{"plaintext", fmt.Sprintf("%.3f s for the same sums, ratio %.1f", r.PlaintextSeconds, r.Ratio)},
		{"wrong", fmt.Sprintf("%d of %d sums", r.Wrong, r.Sums)},
		{"distance", fmt.Sprintf("2^%.1f, failure 2^%.1f", r.LogDistance, r.LogFailure)},
		{"memory", bytesText(r.PeakRSSBytes)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", l.name, l.value)
	}
	return w.Flush()
}
