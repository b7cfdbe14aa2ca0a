package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/internal/suggest"
)

func (a *app) stepsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "steps [KIND...]", Short: "List the kinds of steps: parameters, inputs, what they let whom learn", ValidArgs: flow.Kinds(),
		RunE: func(_ *cobra.Command, args []string) error {
			docs := []flow.ComponentDoc{}
			for _, d := range flow.Components() {
				if len(args) == 0 || slices.Contains(args, d.Kind) {
					docs = append(docs, d)
				}
			}
			for _, kind := range args {
				if flow.Describe(kind) == nil {
					return fault.New(fault.Usage, fmt.Sprintf("there is no step of kind %q", kind), suggest.For(kind, flow.Kinds()))
				}
			}
			return a.show(docs, func(w io.Writer) {
				for _, d := range docs {
					describeStep(w, d, len(args) > 0)
				}
			})
		},
	}
}

func describeStep(w io.Writer, d flow.ComponentDoc, whole bool) {
	fmt.Fprintf(w, "%s: %s\n", d.Kind, d.Doc)
	for _, p := range d.Params {
		fmt.Fprintf(w, "    %-18s %s (%s to %s, default %s)\n", p.Name, p.Doc, flow.Number(p.Min), flow.Number(p.Max), flow.Number(p.Default))
	}
	for _, t := range d.Texts {
		fmt.Fprintf(w, "    %-18s %s\n", t.Name, t.Doc)
	}
	if !whole {
		return
	}
	for _, in := range d.Inputs {
		optional := ""
		if in.Optional {
			optional = ", may be missing"
		}
		fmt.Fprintf(w, "    takes %s: %s%s; by default of the nearest step before that makes some\n", in.Name, in.Type, optional)
	}
	if d.Output != "" {
		fmt.Fprintf(w, "    makes %s\n", d.Output)
	}
	for _, x := range d.Discloses {
		fmt.Fprintln(w, strings.TrimRight(wrap(fmt.Sprintf("    lets %s learn (%s): ", x.To, x.Kind), x.Text, 110), " "))
	}
}
