package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

// watch follows a job until it has ended, visibly or not, and returns how it
// ended: nil only for one that is done.
func (a *app) watch(ctx context.Context, n *conn, id string, visible bool) error {
	j, err := n.Job(ctx, id)
	if err != nil {
		return err
	}
	see := a.viewer(n, j, visible)
	if !j.State.Final() {
		if n.still {
			return fault.New(fault.Local, "the node does not run, so job "+short(j.ID)+" does not move", "start it with kontor up, in another terminal or as a service")
		}
		err := n.Watch(ctx, j.ID, j.LastEvent, see.event)
		if ctx.Err() != nil {
			see.end()
			return fault.New(fault.Cancelled, "no longer following job "+short(j.ID)+", which goes on", "kontor job watch "+short(j.ID)+" takes it up again, kontor job cancel "+short(j.ID)+" stops the job")
		}
		if err == nil {
			j, err = n.Job(ctx, j.ID)
		}
		if err != nil {
			see.end()
			return err
		}
	}
	see.end()
	return a.ended(j, visible)
}

// viewer is what shows the events of a job.
type viewer interface {
	event(rest.Event) error
	end() // nothing follows
}

func (a *app) viewer(n *conn, j *rest.Job, visible bool) viewer {
	switch {
	case !visible:
		return silent{}
	case a.json:
		return &eventLines{a}
	}
	v := newView(a.out, j)
	n.Retry = v.broken
	v.begin()
	return v
}

type silent struct{}

func (silent) event(rest.Event) error { return nil }
func (silent) end()                   {}

// eventLines prints events as they come, one JSON object a line.
type eventLines struct{ a *app }

func (l *eventLines) event(e rest.Event) error { return l.a.printJSON(e) }
func (l *eventLines) end()                     {}

// ended prints what became of a job and returns the fault that it ended with.
func (a *app) ended(j *rest.Job, visible bool) error {
	err := outcome(j)
	if a.json {
		a.told = true // the job says how it ended
		if perr := a.printJSON(j); perr != nil {
			return perr
		}
		return err
	}
	if err != nil {
		return err
	}
	return a.show(nil, func(w io.Writer) {
		if !visible {
			fmt.Fprintf(w, "job %s %s: %s\n", short(j.ID), line(j.Name), j.State)
		}
		short := *j
		short.Spec = ""
		describeOutcome(w, &short)
		fmt.Fprintf(w, "Next: kontor job files %s\n", j.ID[:min(len(j.ID), 12)])
	})
}

// outcome is nil for a job that is done, else the fault by which it ended.
func outcome(j *rest.Job) error {
	which := "job " + short(j.ID)
	switch j.State {
	case rest.Done:
		return nil
	case rest.Rejected:
		f := fault.New(fault.Consent, which+" was refused", "see kontor job show "+short(j.ID)+"; agree with the party and submit it again")
		if j.Error != nil {
			f = jobFault(j.Error)
			f.Kind, f.What = fault.Consent, which+" was refused: "+f.What
		}
		for _, p := range j.Parties {
			if p.Consent == "denied" && f.Party == "" {
				f.Party = p.Name
				if j.Error == nil && p.Reason != "" {
					f.What += ": " + p.Reason
				}
			}
		}
		return f
	case rest.Cancelled:
		f := fault.New(fault.Cancelled, which+" was cancelled", "kontor job rerun "+short(j.ID)+" submits it again")
		if j.Error != nil && j.Error.What != "" {
			f.Party, f.What = j.Error.Party, f.What+": "+j.Error.What
		}
		return f
	case rest.Failed:
		if j.Error != nil {
			f := jobFault(j.Error)
			f.What = which + " failed: " + f.What
			return f
		}
		return fault.New(fault.Internal, which+" failed without a reason", "see kontor job logs "+short(j.ID))
	}
	return fault.New(fault.Internal, fmt.Sprintf("%s has not ended but is %s", which, j.State), "see kontor job show "+short(j.ID))
}

func (a *app) logsCmd() *cobra.Command {
	var after int64
	var followIt bool
	c := a.nodeCmd("logs JOB", "Print a job's log at this node", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		j, err := n.Job(ctx, args[0])
		if err != nil {
			return err
		}
		last, err := a.printLog(ctx, n, j.ID, after)
		if err != nil || !followIt || j.State.Final() || n.still {
			return err
		}
		err = n.Watch(ctx, j.ID, 0, func(e rest.Event) error {
			if e.Type != rest.EventLog {
				return nil
			}
			var l rest.LogLine
			if err := json.Unmarshal(e.Data, &l); err != nil || l.Seq <= last {
				return nil // what cannot be read here is in the log all the same
			}
			last = l.Seq
			return a.logLine(l)
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	c.Flags().Int64Var(&after, "after", 0, "only lines after this number")
	c.Flags().BoolVarP(&followIt, "follow", "f", false, "go on with lines as they come, until the job has ended")
	c.Long = "Print a job's log at this node, oldest line first. With --json each line is an object of its own."
	return c
}

// printLog prints the log there is and returns the number of its last line.
func (a *app) printLog(ctx context.Context, n *conn, id string, after int64) (int64, error) {
	for {
		page, err := n.JobLog(ctx, id, after, 0)
		if err != nil {
			return after, err
		}
		for _, l := range page.Lines {
			if err := a.logLine(l); err != nil {
				return after, err
			}
			after = max(after, l.Seq)
		}
		if page.Next <= 0 {
			return after, nil
		}
		after = max(after, page.Next)
	}
}

func (a *app) logLine(l rest.LogLine) error {
	return a.show(l, func(w io.Writer) {
		where := strings.Trim(l.Party+"/"+l.Step, "/")
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(w, "%s %-5s %s\n", when(l.Time), l.Level, line(where+l.Text))
	})
}
