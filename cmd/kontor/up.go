package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"kontor/internal/fault"
)

func (a *app) upCmd() *cobra.Command {
	var t target
	var log string
	var attached bool
	c := &cobra.Command{
		Use: "up [--home DIR]", Short: "Run the node: take peers' connections, serve the API, run jobs", Args: cobra.NoArgs,
		Long: `Run the node of a folder until it is interrupted (SIGINT or SIGTERM). It stops in good order: jobs go on where
they stopped when the node is started again. A second interrupt ends it at once, which loses nothing that was complete.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if log != "" && !slices.Contains([]string{"text", "json"}, log) {
				return fault.New(fault.Usage, fmt.Sprintf("--log %q is neither text nor json", log), "use one of the two")
			}
			home, err := t.folder()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if attached {
				go func() {
					io.Copy(io.Discard, a.in)
					cancel()
				}()
			}
			var taken error // by a node that answers, so there is nothing to wait for
			err = patiently(ctx, home, func() error {
				if api, ok := a.node.running(home); ok {
					taken = fault.New(fault.Local, fmt.Sprintf("the node of %s runs already: process %s, at %s", home, holder(home), api), "stop it first, or use the one that runs")
					return nil
				}
				return a.node.up(ctx, upOptions{Home: home, Log: a.err, LogFormat: log, Ready: a.ready})
			})
			if taken != nil {
				return taken
			}
			if ctx.Err() != nil && fault.KindOf(err) == fault.Cancelled {
				return nil
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&t.home, "home", "", "the node's folder (default $KONTOR_HOME, else ./"+defaultHome+")")
	f.StringVar(&log, "log", "", "format of the log on standard error: text or json (default as kontor.yaml says)")
	f.BoolVar(&attached, "attached", false, "also stop when standard input ends, for programs that start a node")
	return c
}

// ready says where the node is reached, once it is.
func (a *app) ready(at upAddresses) {
	// Nobody may read standard output any more; the node runs all the same.
	_ = a.show(at, func(w io.Writer) {
		fmt.Fprintf(w, "%s is up\n", at.Name)
		pairs(w, "  peers:", orNone(at.Peer, "it takes no connections, it only dials"), "  API:", at.API)
	})
}
