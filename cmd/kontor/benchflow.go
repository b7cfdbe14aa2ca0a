package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kontor/bench"
	"kontor/flow"
	"kontor/internal/fault"
)

func (a *app) benchFlowCmd() *cobra.Command {
	cfg := bench.FlowConfig{Runs: 9, Steps: 3, Settle: 2 * time.Second}
	c := &cobra.Command{
		Use: "flow", Short: "Measure two nodes: their start, their memory, a job that computes nothing", Args: cobra.NoArgs,
		Long: `Run two nodes on this machine, in processes and folders of their own that are removed afterwards, and measure: the
time from the start of a node until it is ready; the memory that it holds when it has nothing to do; and the time
that a job of a few steps takes which do nothing but exchange a message. No step is taken from an earlier job.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			exe, err := os.Executable()
			if err != nil {
				return fault.Wrap(fault.Local, err, "the kontor binary cannot be found", "run it by its full path")
			}
			cfg.Exe = exe
			p := newProgress(a.err)
			r, err := bench.Flow(cmd.Context(), cfg, func(stage string, done, total int) {
				p.event(flow.Event{Kind: flow.EventProgress, Step: stage, Done: int64(done), Total: int64(total)})
			})
			p.end()
			if errors.Is(err, bench.ErrConfig) {
				return fault.Wrap(fault.Usage, err, "", "choose other numbers")
			}
			if err != nil {
				return err
			}
			return a.show(r, func(w io.Writer) { printFlow(w, r) })
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.Runs, "runs", cfg.Runs, "how many starts and jobs to measure")
	f.IntVar(&cfg.Steps, "steps", cfg.Steps, "steps of a job")
	f.DurationVar(&cfg.Settle, "settle", cfg.Settle, "how long a node has nothing to do before its memory is read")
	return c
}

func printFlow(w io.Writer, r bench.FlowResult) {
	pairs(w,
		"start", fmt.Sprintf("%.0f ms, at most %.0f, of %d", r.StartupMs, r.StartupMaxMs, r.Runs),
		"idle", bytesText(r.IdleRSSBytes)+" of memory, after the jobs "+bytesText(r.BusyRSSBytes),
		"job", fmt.Sprintf("%.0f ms for %d steps, the first %.0f, at most %.0f, of %d; %.0f ms of a processor", r.JobOverheadMs, r.Steps, r.JobFirstMs, r.JobMaxMs, r.Runs, r.JobCPUMs),
		"disk", fmt.Sprintf("%.2f ms for 4 KiB and fsync", r.SyncMs),
		"request", fmt.Sprintf("%.2f ms to the node's API and back", r.RoundTripMs))
}
