package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kontor/api/rest"
)

func (a *app) modelCmd() *cobra.Command {
	c := &cobra.Command{Use: "model", Short: "The registry of models: this party's part of each"}
	c.AddCommand(
		a.nodeCmd("ls", "List the models, newest first", cobra.NoArgs, a.models),
		a.nodeCmd("show MODEL", "Show a model: where it comes from and how good it was", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
			m, err := n.Model(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(m, func(w io.Writer) { describeModel(w, m) })
		}),
		a.nodeCmd("tag MODEL TAG", "Give a model a tag; a tag names one model", cobra.ExactArgs(2), func(ctx context.Context, n *conn, args []string) error {
			return a.tagged(n.TagModel(ctx, args[0], args[1]))
		}),
		a.nodeCmd("untag MODEL TAG", "Take a tag from a model", cobra.ExactArgs(2), func(ctx context.Context, n *conn, args []string) error {
			return a.tagged(n.UntagModel(ctx, args[0], args[1]))
		}),
		a.exportModelCmd(), a.predictCmd())
	return c
}

func (a *app) models(ctx context.Context, n *conn, _ []string) error {
	ms, err := n.Models(ctx)
	if err != nil {
		return err
	}
	return a.show(ms, func(w io.Writer) {
		rows := [][]string{{"model", "kind", "job", "role", "with", "created", "tags"}}
		for _, m := range ms.Models {
			rows = append(rows, []string{short(m.ID), m.Kind, m.JobName + " " + short(m.Job), m.Role, others(m.Parties, m.Party), when(m.Created), strings.Join(m.Tags, ", ")})
		}
		grid(w, rows...)
	})
}

// others lists the parties but for one.
func others(parties []string, but string) string {
	var out []string
	for _, p := range parties {
		if p != but {
			out = append(out, p)
		}
	}
	return strings.Join(out, ", ")
}

func describeModel(w io.Writer, m *rest.Model) {
	pairs(w, "model", m.ID, "kind", m.Kind, "job", m.JobName+" "+m.Job, "step", m.Step, "party", m.Party+", "+m.Role, "parties", strings.Join(m.Parties, ", "),
		"created", when(m.Created), "by", "Kontor "+m.Software, "specification", m.Spec, "tags", strings.Join(m.Tags, ", "), "files", strings.Join(m.Files, ", "), "sha-256", m.SHA256)
	if len(m.Data) > 0 {
		fmt.Fprintln(w, "trained on")
		var rows [][]string
		for _, d := range m.Data {
			rows = append(rows, []string{"  " + d.Party, d.Name, d.Fingerprint})
		}
		grid(w, rows...)
	}
	if len(m.Metrics) > 0 && string(m.Metrics) != "null" {
		fmt.Fprintf(w, "metrics\n  %s\n", line(string(m.Metrics)))
	}
}

func (a *app) tagged(m *rest.Model, err error) error {
	if err != nil {
		return err
	}
	return a.show(m, func(w io.Writer) {
		fmt.Fprintf(w, "model %s has the tags: %s\n", short(m.ID), orNone(strings.Join(m.Tags, ", "), "none"))
	})
}

func (a *app) exportModelCmd() *cobra.Command {
	var out string
	c := a.nodeCmd("export MODEL", "Write this party's part of a model with its record as a zip file", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) error {
		return a.save(out, func(w io.Writer) error { return n.ExportModel(ctx, args[0], w) })
	})
	c.Flags().StringVar(&out, "out", "", "file to write; - is standard output")
	c.MarkFlagRequired("out")
	return c
}

func (a *app) predictCmd() *cobra.Command {
	var r rest.PredictRequest
	var data, ids []string
	var priority int
	var key string
	var f follow
	var c *cobra.Command
	c = a.nodeCmd("predict MODEL --data PARTY=DATASET...", "Score rows with a model: a job that every party must allow, like any other", cobra.ExactArgs(1), func(ctx context.Context, n *conn, args []string) (err error) {
		if r.Data, err = splitAll("data", data); err != nil {
			return err
		}
		if r.IDs, err = splitAll("id", ids); err != nil {
			return err
		}
		if c.Flags().Changed("priority") {
			r.Priority = &priority
		}
		j, err := a.insist(ctx, key, func(key string) (*rest.Job, error) { return n.Predict(ctx, args[0], r, key) })
		if err != nil {
			return err
		}
		return a.submitted(ctx, n, j, f)
	})
	fl := c.Flags()
	fl.StringArrayVar(&data, "data", nil, "PARTY=DATASET, by its name in that party's catalogue; once for each party")
	fl.StringArrayVar(&ids, "id", nil, "PARTY=COLUMN that identifies rows, where it is not the one of the training")
	fl.StringVar(&r.Name, "name", "", "name of the job")
	fl.StringVar(&r.Purpose, "purpose", "", "purpose that the policies are asked about (default: the training's)")
	fl.StringVar(&r.Note, "note", "", "a note to the people who are asked to approve")
	fl.IntVar(&priority, "priority", 5, "0 to 9, higher first")
	keyFlag(c, &key)
	f.flags(c)
	c.MarkFlagRequired("data")
	return c
}
