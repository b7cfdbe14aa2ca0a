package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"kontor/fed/metric"
	"kontor/node"
)

// printSummary shows a result as text or JSON.
func (a *app) printSummary(s *node.Summary) error {
	if a.json {
		return a.printJSON(s)
	}
	w := &failing{w: a.out}
	printMetrics(w, s)
	printSteps(w, s)
	printLearned(w, s)
	for _, x := range s.Warnings {
		fmt.Fprintln(w, "note:", x)
	}
	if s.Report != "" {
		fmt.Fprintf(w, "\nReport: %s\n", s.Report)
	}
	return w.err
}

// failing keeps the first write error.
type failing struct {
	w   io.Writer
	err error
}

func (f *failing) Write(b []byte) (int, error) {
	if f.err == nil {
		_, f.err = f.w.Write(b)
	}
	return len(b), nil
}

func printMetrics(out io.Writer, s *node.Summary) {
	if len(s.Metrics) == 0 {
		return
	}
	sets := []string{}
	for _, n := range []string{"train", "valid", "test"} {
		if _, ok := s.Metrics[n]; ok {
			sets = append(sets, n)
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\n")
	for _, n := range sets {
		fmt.Fprintf(w, "\t%s AUC\t%s KS", n, n)
	}
	fmt.Fprintln(w, "\t")
	row := func(name string, m map[string]metric.Summary) {
		fmt.Fprint(w, name)
		for _, n := range sets {
			fmt.Fprintf(w, "\t%.4f\t%.4f", m[n].AUC, m[n].KS)
		}
		fmt.Fprintln(w, "\t")
	}
	for i, b := range s.Baselines {
		if i == len(s.Baselines)-1 {
			row("federation", s.Metrics)
		}
		row(b.Name, b.Metrics)
	}
	if len(s.Baselines) == 0 {
		row("federation", s.Metrics)
	}
	w.Flush()
	last := sets[len(sets)-1]
	m := s.Metrics[last]
	fmt.Fprintf(out, "95 %% interval of the federation's %s AUC, from %d rows of which %d are positive: %.4f to %.4f\n", last, m.Rows, m.Positives, m.AUCLow, m.AUCHigh)
}

func printSteps(out io.Writer, s *node.Summary) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\nstep\tseconds")
	for _, p := range s.Parties {
		fmt.Fprintf(w, "\t%s sent", p.Name)
	}
	fmt.Fprintln(w, "\trounds\t")
	for _, st := range s.Steps {
		fmt.Fprintf(w, "%s\t%.2f", st.Name, st.Seconds)
		for _, p := range s.Parties {
			fmt.Fprintf(w, "\t%s", bytesText(st.SentBy[p.Name]))
		}
		fmt.Fprintf(w, "\t%d\t\n", st.Rounds)
	}
	w.Flush()
}

func printLearned(out io.Writer, s *node.Summary) {
	fmt.Fprintln(out, "\nWhat each party learned")
	names := []string{}
	for _, p := range s.Parties {
		if s.Learned[p.Name] != nil {
			names = append(names, p.Name)
		}
	}
	for _, n := range slices.Compact(names) {
		fmt.Fprintln(out, " ", n)
		for _, l := range s.Learned[n] {
			for _, f := range l.Facts {
				fmt.Fprintln(out, wrap("    "+l.Step+": ", f, 100))
			}
		}
	}
}

// wrap breaks text into lines of up to width, the first after lead, the others
// indented to it.
func wrap(lead, text string, width int) string {
	var b strings.Builder
	line := lead
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > width && len(line) > len(lead) {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = strings.Repeat(" ", len(lead))
		}
		line += word + " "
	}
	return b.String() + strings.TrimRight(line, " ")
}

func bytesText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
