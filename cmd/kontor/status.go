package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) statusCmd() *cobra.Command {
	var words bool
	c := a.nodeCmd("status", "Say what this node is: fingerprint and words, addresses, whether it runs", cobra.NoArgs, func(ctx context.Context, n *conn, _ []string) error {
		s, err := n.Node(ctx)
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) {
			if words {
				fmt.Fprintln(w, s.Words)
				return
			}
			running := "no; kontor up starts it"
			if s.Running {
				running = "since " + when(s.Started)
			}
			pairs(w, "name", s.Name+", Kontor "+s.Version, "words", s.Words, "fingerprint", s.Fingerprint, "running", running,
				"peers", orNone(s.Listen, "it takes no connections, it only dials"), "API", s.API, "folder", s.Home, "certificate", "until "+when(s.CertExpires),
				"you", s.You.Name+", with the role "+string(s.You.Role))
		})
	})
	c.Flags().BoolVar(&words, "words", false, "print only the words of the fingerprint, to be read out to a peer")
	return c
}
