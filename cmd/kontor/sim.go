package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/node"
)

func (a *app) simCmd() *cobra.Command {
	var parties []string
	var out string
	var compare bool
	c := &cobra.Command{
		Use:   "sim JOB.yaml --party NAME=FILE[,id=COLUMN][,label=COLUMN]...",
		Short: "Run a job with all its parties in this process, over real sockets and TLS",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := flow.Load(args[0])
			if err != nil {
				return err
			}
			data := map[string]string{}
			for _, p := range parties {
				name, file, err := applyParty(spec, p)
				if err != nil {
					return err
				}
				data[name] = file
			}
			relativeTo(spec, filepath.Dir(args[0]))
			pr := newProgress(a.err)
			sum, err := node.Simulation{Spec: spec, Data: data, Out: out, Compare: compare, Observe: pr.event}.Run(cmd.Context())
			pr.end()
			if err != nil {
				return err
			}
			if out != "" {
				sum.Report = filepath.Join(out, spec.Guest(), node.ReportFile)
			}
			return a.printSummary(sum)
		},
	}
	c.Flags().StringArrayVar(&parties, "party", nil, "a party's file: NAME=FILE[,id=COLUMN][,label=COLUMN][,positive=VALUE]")
	c.Flags().StringVar(&out, "out", "", "folder for the results, one folder a party beneath")
	c.Flags().BoolVar(&compare, "compare", false, "also train the guest alone and the pooled columns, in plaintext")
	return c
}

// applyParty puts NAME=FILE[,id=…][,label=…][,positive=…] into the job.
func applyParty(spec *flow.Spec, arg string) (name, file string, err error) {
	name, rest, _ := strings.Cut(arg, "=")
	if _, err := spec.Party(name); err != nil {
		return "", "", err
	}
	i := slices.IndexFunc(spec.Parties, func(p flow.Party) bool { return p.Name == name })
	p := &spec.Parties[i]
	parts := strings.Split(rest, ",")
	file = parts[0]
	for _, part := range parts[1:] {
		key, value, ok := strings.Cut(part, "=")
		switch {
		case !ok: // a comma of the file's name
			file += "," + part
		case key == "id":
			p.ID = value
		case key == "label":
			p.Label = value
		case key == "positive":
			p.Positive = value
		default:
			return "", "", fault.New(fault.Usage, fmt.Sprintf("--party %s: there is no setting %q", name, key), "use id=, label= or positive=")
		}
	}
	return name, file, nil
}

// relativeTo reads relative data paths of a job from the job's own folder.
func relativeTo(spec *flow.Spec, dir string) {
	for i := range spec.Parties {
		if p := &spec.Parties[i]; p.Data != "" && !filepath.IsAbs(p.Data) {
			p.Data = filepath.Join(dir, p.Data)
		}
	}
}
