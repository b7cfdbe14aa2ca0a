package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kontor/internal/fault"
	"kontor/policy"
)

func (a *app) policyCmd() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Who may use which data for what: the node's policy"}
	c.AddCommand(
		a.nodeCmd("show", "Print the policy file and whether it is in force", cobra.NoArgs, a.showPolicy),
		&cobra.Command{Use: "check FILE", Short: "Say whether a policy file is valid; no node is needed", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.checkPolicy(args[0]) }})
	return c
}

func (a *app) showPolicy(ctx context.Context, n *conn, _ []string) error {
	p, err := n.Policy(ctx)
	if err != nil {
		return err
	}
	return a.show(p, func(w io.Writer) {
		fmt.Fprint(w, p.Text)
		if p.Text != "" && !strings.HasSuffix(p.Text, "\n") {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "\n# %s\n", p.Path)
		switch {
		case p.Error != "":
			fmt.Fprintf(w, "# NOT in force: %s\n", line(p.Error))
		case !p.Loaded.IsZero():
			fmt.Fprintf(w, "# in force since %s, hash %s\n", when(p.Loaded), p.Hash)
		}
	})
}

func (a *app) checkPolicy(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fault.Wrap(fault.Spec, err, "the policy cannot be read", "name an existing YAML file")
	}
	p, err := policy.Parse(path, b)
	if err != nil {
		return err
	}
	return a.show(map[string]any{"policy": path, "valid": true, "hash": p.Hash()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is a valid policy; hash %s\n", path, p.Hash())
	})
}
