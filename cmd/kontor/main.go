// Command kontor is Kontor's command line: it parses, calls package node, and
// prints. It holds no logic of its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/node"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// app is what every command shares.
type app struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	told     bool             // what went wrong has been said already
	node     nodeCalls        // what needs more than a node's API
	tap      func(flow.Event) // sees every event of kontor run after it is shown; for tests
}

func run(args []string, in io.Reader, out, errw io.Writer) int {
	return (&app{in: in, out: out, err: errw, node: joined()}).run(args)
}

func (a *app) run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if f := new(fault.Error); !errors.As(err, &f) {
		// Commands return faults; what is none, cobra has found in the words.
		text := strings.NewReplacer("\n\nDid you mean this?\n\t", ", did you mean ", "\n", " ").Replace(err.Error())
		err = fault.New(fault.Usage, strings.TrimSpace(text), "see kontor --help")
	}
	if !a.told {
		a.fail(err)
	}
	return fault.KindOf(err).ExitCode()
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kontor",
		Short: "Institutions learn from data together without showing one another their rows",
		Long: `Kontor is one program that a financial institution runs so that several institutions
can learn from data together without showing one another their rows.

Try it:      kontor demo
             kontor sim JOB.yaml --party bank=bank.csv --party telecom=telecom.csv
Run a node:  kontor init --name bank, then kontor up`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       node.Version,
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print one JSON object instead of text")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.Wrap(fault.Usage, err, "", "see "+c.CommandPath()+" --help")
	})
	root.AddGroup(&cobra.Group{ID: "node", Title: "A node:"}, &cobra.Group{ID: "work", Title: "Data, jobs, models:"}, &cobra.Group{ID: "try", Title: "Without a node:"})
	group(root, "node", a.initCmd(), a.upCmd(), a.statusCmd(), a.doctorCmd(), a.peerCmd(), a.policyCmd(), a.tokenCmd(), a.auditCmd())
	group(root, "work", a.dataCmd(), a.jobCmd(), a.modelCmd())
	group(root, "try", a.demoCmd(), a.simCmd(), a.runCmd(), a.benchCmd())
	root.AddCommand(a.versionCmd())
	for _, c := range root.Commands() {
		asFaults(c)
	}
	return root
}

func group(root *cobra.Command, id string, cs ...*cobra.Command) {
	for _, c := range cs {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// asFaults makes every error of a command a fault: wrong arguments are of kind
// usage, anything else that has no kind is a defect.
func asFaults(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fault.Wrap(fault.Usage, err, "", "see "+cmd.CommandPath()+" --help")
			}
			return nil
		}
	}
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error { return fault.At(run(cmd, args), "", "") }
	}
	for _, sub := range c.Commands() {
		asFaults(sub)
	}
}

// fail prints an error: one line of text, or a JSON object on standard output.
func (a *app) fail(err error) {
	var f *fault.Error
	if !a.json || !errors.As(err, &f) {
		fmt.Fprintln(a.err, "kontor: "+clean(err.Error()))
		return
	}
	what := fault.Wrap(f.Kind, f.Err, f.What, "").Error()
	a.printJSON(map[string]any{"error": map[string]any{"kind": f.Kind.String(), "exit_code": f.Kind.ExitCode(),
		"party": f.Party, "step": f.Step, "what": what, "cure": f.Cure}})
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version and what this node can take part in", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := node.Describe()
			if a.json {
				return a.printJSON(v)
			}
			fmt.Fprintf(a.out, "kontor %s\ncan: %v\n", v.Version, v.Capabilities)
			return nil
		},
	}
}
