package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kontor/api/rest"
)

func (a *app) listJobsCmd() *cobra.Command {
	var f rest.JobFilter
	var ids bool
	c := a.nodeCmd("ls", "List jobs, newest first", cobra.NoArgs, func(ctx context.Context, n *conn, _ []string) error {
		js, err := n.Jobs(ctx, f)
		if err != nil {
			return err
		}
		return a.show(js, func(w io.Writer) {
			if ids {
				for _, j := range js.Jobs {
					fmt.Fprintln(w, j.ID)
				}
				return
			}
			rows := [][]string{{"job", "name", "role", "asked by", "created", "state"}}
			for i := range js.Jobs {
				j := &js.Jobs[i]
				rows = append(rows, []string{short(j.ID), j.Name, j.Role, j.Initiator, when(j.Created), stateText(j)})
			}
			grid(w, rows...)
			if js.Next != "" {
				fmt.Fprintf(w, "there are more: --before %s\n", short(js.Next))
			}
		})
	})
	fl := c.Flags()
	fl.StringVar(&f.State, "state", "", "only jobs in one state, or active (not ended), or attention (somebody here has to act)")
	fl.StringVar(&f.Role, "role", "", "only jobs in which this node is guest or host")
	fl.IntVar(&f.Limit, "limit", 50, "so many at most, up to 500")
	fl.BoolVar(&ids, "ids", false, "print identifiers only, one a line")
	fl.StringVar(&f.Before, "before", "", "only jobs older than this one")
	return c
}

func (a *app) showJob(ctx context.Context, n *conn, args []string) error {
	j, err := n.Job(ctx, args[0])
	if err != nil {
		return err
	}
	return a.show(j, func(w io.Writer) { describeJob(w, j) })
}

func describeJob(w io.Writer, j *rest.Job) {
	by := j.Initiator
	if j.By != "" {
		by += " (" + j.By + ")"
	}
	pairs(w, "job", j.ID, "name", j.Name, "state", stateText(j), "role here", j.Role, "asked by", by, "purpose", j.Purpose, "note", j.Note,
		"priority", fmt.Sprint(j.Priority), "created", when(j.Created), "started", when(j.Started), "finished", when(j.Finished),
		"specification", j.SpecHash, "run", j.Run, "rerun of", j.RerunOf)
	if j.Resumed > 0 {
		fmt.Fprintf(w, "went on %d times after a restart or a lost connection\n", j.Resumed)
	}
	describeConsent(w, j)
	fmt.Fprintln(w, "steps")
	var rows [][]string
	for _, s := range j.Steps {
		rows = append(rows, []string{"  " + s.Name, s.State, stepDetail(s)})
	}
	grid(w, rows...)
	if len(j.Discloses) > 0 {
		fmt.Fprintln(w, "what it lets whom learn")
		for _, d := range j.Discloses {
			io.WriteString(w, wrap(fmt.Sprintf("  %s, to %s (%s): ", line(d.Step), line(d.To), line(d.Kind)), d.Text, 110)+"\n")
		}
	}
	if len(j.Columns) > 0 {
		fmt.Fprintln(w, "columns of this node that it uses")
		for _, use := range slices.Sorted(maps.Keys(j.Columns)) {
			io.WriteString(w, wrap("  as "+line(use)+": ", strings.Join(j.Columns[use], ", "), 110)+"\n")
		}
	}
	describeOutcome(w, j)
}

func describeConsent(w io.Writer, j *rest.Job) {
	fmt.Fprintln(w, "parties")
	var rows [][]string
	for _, p := range j.Parties {
		rows = append(rows, []string{"  " + p.Name, p.Role, orNone(p.Data, "-"), consentText(p)})
	}
	grid(w, rows...)
}

// consentText says whether a party agreed, and by what.
func consentText(p rest.JobParty) string {
	text := map[string]string{"none": "not asked yet", "waiting": "waits for a person", "standing": "agreed by a standing rule", "person": "agreed by a person", "initiator": "asks for it", "denied": "refused"}[p.Consent]
	text = orNone(text, p.Consent)
	for _, s := range []struct{ word, value string }{{"by", p.By}, {"rule", p.Rule}, {"who says:", p.Reason}} {
		if s.value != "" {
			text += ", " + s.word + " " + line(s.value)
		}
	}
	return text
}

// describeOutcome says what an ended job has left.
func describeOutcome(w io.Writer, j *rest.Job) {
	for _, step := range slices.Sorted(maps.Keys(j.Metrics)) {
		var figures []string
		for _, name := range shown(j.Metrics[step]) {
			figures = append(figures, fmt.Sprintf("%s %.6g", name, j.Metrics[step][name]))
		}
		io.WriteString(w, wrap(line(step)+": ", strings.Join(figures, ", "), 110)+"\n")
	}
	for _, m := range j.Models {
		fmt.Fprintf(w, "model %s\n", m)
	}
	for _, x := range j.Warnings {
		fmt.Fprintf(w, "note: %s\n", line(x))
	}
	if j.Spec != "" {
		fmt.Fprintf(w, "specification as signed\n    %s\n", strings.ReplaceAll(strings.TrimRight(j.Spec, "\n"), "\n", "\n    "))
	}
}

// headlines are the figures that people look at first; all are in the JSON.
var headlines = []string{"auc", "auc_low", "auc_high", "ks", "gini", "log_loss", "rows", "positives"}

// shown returns the names of the figures to show: the headlines, or all where there
// are none of them.
func shown(figures map[string]float64) []string {
	var names []string
	for _, n := range headlines {
		if _, ok := figures[n]; ok {
			names = append(names, n)
		}
	}
	if names == nil {
		names = slices.Sorted(maps.Keys(figures))
	}
	return names
}

// stepDetail says how far a step is, or what it took.
func stepDetail(s rest.JobStep) string {
	switch {
	case s.Error != nil:
		return errorText(s.Error)
	case s.State == "reused":
		return "as in job " + short(s.ReusedOf)
	case s.State == "done":
		return fmt.Sprintf("%.2f s, sent %s", s.Seconds, bytesText(s.Sent))
	case s.State == "running":
		text := bar(s, 24)
		if s.Attempt > 1 {
			text = strings.TrimSpace(fmt.Sprintf("%s attempt %d", text, s.Attempt))
		}
		if s.LastError != "" {
			text += " after: " + line(s.LastError)
		}
		return text
	}
	return ""
}
