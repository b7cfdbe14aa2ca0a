package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/flow"
	"kontor/internal/fault"
)

func (a *app) jobCmd() *cobra.Command {
	c := &cobra.Command{Use: "job", Short: "Check, submit, follow and decide on jobs"}
	c.AddCommand(a.checkJobCmd(), a.stepsCmd(), a.submitCmd(), a.listJobsCmd(),
		a.nodeCmd("show JOB", "Show a job: parties, consent, steps, what it lets whom learn", cobra.ExactArgs(1), a.showJob),
		a.nodeCmd("watch JOB", "Follow a job until it has ended", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
			return a.watch(ctx, n, args[0], true)
		}),
		a.logsCmd(), a.approveCmd(), a.rejectCmd(), a.cancelCmd(), a.rerunCmd(),
		a.documentCmd("manifest JOB", "Print a job's privacy manifest: what each party learned, the same at all", (*rest.Client).Manifest),
		a.documentCmd("result JOB", "Print what a job gave this party, as JSON: metrics, importances, curves", (*rest.Client).Result),
		a.filesCmd(), a.getCmd())
	return c
}

func (a *app) checkJobCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check JOB.yaml", Short: "Say whether a job file is valid; no node is needed", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			spec, err := flow.Load(args[0])
			if err != nil {
				return err
			}
			hash := spec.Hash()
			return a.show(map[string]any{"job": spec.Job, "valid": true, "hash": fmt.Sprintf("%x", hash)}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is a valid job for %s; specification %x\n", args[0], strings.Join(spec.PartyNames(), " and "), hash[:8])
			})
		},
	}
}

// follow says what happens after a job was submitted.
type follow struct{ watch, wait bool }

func (f *follow) flags(c *cobra.Command) {
	c.Flags().BoolVar(&f.watch, "watch", false, "follow the job until it has ended")
	c.Flags().BoolVar(&f.wait, "wait", false, "wait in silence until the job has ended")
	c.MarkFlagsMutuallyExclusive("watch", "wait")
}

func keyFlag(c *cobra.Command, key *string) {
	c.Flags().StringVar(key, "idempotency-key", "", "the same key with the same request makes one job, however often it is sent")
}

func (a *app) submitCmd() *cobra.Command {
	var note, key string
	var fresh bool
	var f follow
	c := a.nodeCmd("submit JOB.yaml", "Sign a job and propose it to its parties", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		spec, err := readSpec(args[0])
		if err != nil {
			return err
		}
		reuse := !fresh
		r := rest.SubmitRequest{Spec: spec, Note: note, Reuse: &reuse}
		j, err := a.insist(ctx, key, func(key string) (*rest.Job, error) { return n.Submit(ctx, r, key) })
		if err != nil {
			return err
		}
		return a.submitted(ctx, n, j, f)
	})
	c.Long = `Sign a job and propose it to its parties; this node must be its guest. Each party's policy refuses it, allows it by a
standing rule, or has a person asked. It runs when all have agreed. The exit code says that it was submitted; with
--watch or --wait, how it ended: 0 done, 9 refused, 130 cancelled, otherwise as docs/errors.md has it.`
	c.Flags().StringVar(&note, "note", "", "a note to the people who are asked to approve")
	c.Flags().BoolVar(&fresh, "no-reuse", false, "compute every step anew, even where an earlier job has the same result")
	keyFlag(c, &key)
	f.flags(c)
	return c
}

// readSpec returns a job file byte for byte, as it is signed, once it is known to be
// valid: errors then name the file and line that the user sees.
func readSpec(path string) (string, error) {
	spec, err := flow.Load(path)
	if err != nil {
		return "", err
	}
	if len(spec.Bytes) > 0 {
		return string(spec.Bytes), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Wrap(fault.Spec, err, "the job file cannot be read", "name an existing YAML file")
	}
	return string(b), nil
}

// insist makes a job under a key, so that an answer that was lost on the way can
// be asked for again without a second job.
func (a *app) insist(ctx context.Context, key string, submit func(key string) (*rest.Job, error)) (*rest.Job, error) {
	if key == "" {
		key = "cli-" + rand.Text()
	}
	j, err := submit(key)
	if err != nil && fault.KindOf(err) == fault.Local && ctx.Err() == nil && !errors.Is(err, rest.ErrConflict) {
		j, err = submit(key)
	}
	return j, err
}

// submitted says what became of a job that was just made, and follows it where
// the user wants that.
func (a *app) submitted(ctx context.Context, n *conn, j *rest.Job, f follow) error {
	if f.watch || f.wait {
		return a.watch(ctx, n, j.ID, f.watch)
	}
	return a.show(j, func(w io.Writer) {
		fmt.Fprintf(w, "job %s %s: %s\n", short(j.ID), line(j.Name), stateText(j))
		fmt.Fprintf(w, "Next: kontor job watch %s\n", short(j.ID))
	})
}

func (a *app) rerunCmd() *cobra.Command {
	var key string
	var f follow
	c := a.nodeCmd("rerun JOB", "Submit the specification of a job again; every party must agree again", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		j, err := a.insist(ctx, key, func(key string) (*rest.Job, error) { return n.Rerun(ctx, args[0], key) })
		if err != nil {
			return err
		}
		return a.submitted(ctx, n, j, f)
	})
	keyFlag(c, &key)
	f.flags(c)
	return c
}

// noteFlag makes a command that decides on a job with a word why.
func (a *app) noteFlag(c *cobra.Command, into *string, name, usage string) *cobra.Command {
	c.Flags().StringVar(into, name, "", usage)
	return c
}

func (a *app) approveCmd() *cobra.Command {
	var note string
	return a.noteFlag(a.nodeCmd("approve JOB", "Allow a job that waits for a person at this node", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		return a.decided(n.Approve(ctx, args[0], note))
	}), &note, "note", "a note for the record, which the other parties see")
}

func (a *app) rejectCmd() *cobra.Command {
	var why string
	return a.noteFlag(a.nodeCmd("reject JOB", "Refuse a job that waits for a person at this node", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		return a.decided(n.Reject(ctx, args[0], why))
	}), &why, "reason", "why, which the other parties see")
}

func (a *app) cancelCmd() *cobra.Command {
	var why string
	return a.noteFlag(a.nodeCmd("cancel JOB", "Stop a job at all its parties", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		return a.decided(n.Cancel(ctx, args[0], why))
	}), &why, "reason", "why, which the other parties see")
}

func (a *app) decided(j *rest.Job, err error) error {
	if err != nil {
		return err
	}
	return a.show(j, func(w io.Writer) { fmt.Fprintf(w, "job %s %s: %s\n", short(j.ID), line(j.Name), stateText(j)) })
}

// stateText says where a job stands in a clause.
func stateText(j *rest.Job) string {
	switch {
	case j.Error != nil && j.State.Final():
		return string(j.State) + ", " + line(errorText(j.Error))
	case j.WaitingFor != "" && !j.State.Final():
		return string(j.State) + ", " + line(j.WaitingFor)
	}
	return string(j.State)
}

func errorText(e *rest.JobError) string { return jobFault(e).Error() }

// jobFault is the fault by which a job failed.
func jobFault(e *rest.JobError) *fault.Error {
	return &fault.Error{Kind: fault.KindOfExit(e.ExitCode), Party: e.Party, Step: e.Step, What: e.What, Cure: e.Cure}
}
