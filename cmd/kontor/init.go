package main

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) initCmd() *cobra.Command {
	var home, name, listen, api string
	c := &cobra.Command{
		Use: "init --name NAME [--home DIR]", Short: "Make a node: identity, configuration, policy and state in a new folder", Args: cobra.NoArgs,
		Long: `Make a node in a new folder: the institution's identity, kontor.yaml with its settings, policy.yaml, which
denies everything until it is edited, and a token for the administrator of its API.

The folder holds private keys. Nobody but the user who runs the node may read it, and it belongs into the backup.`,
		RunE: func(*cobra.Command, []string) error {
			dir := cmp.Or(home, os.Getenv("KONTOR_HOME"), defaultHome)
			m, err := a.node.create(dir, name, listen, api)
			if err != nil {
				return err
			}
			return a.show(m, func(w io.Writer) {
				fmt.Fprintf(w, "%s has a node in %s\n", m.Name, m.Home)
				pairs(w, "  fingerprint:", m.Fingerprint, "  in words:", m.Words)
				at := ""
				if m.Home != defaultHome {
					at = " --home " + m.Home
				}
				fmt.Fprintf(w, "Next: kontor up%s, and in another terminal kontor peer invite%s\n", at, at)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&home, "home", "", "the folder to make (default $KONTOR_HOME, else ./"+defaultHome+")")
	f.StringVar(&name, "name", "", "the institution's name: a-z, 0-9 and -")
	f.StringVar(&listen, "listen", "", "address to listen on for peers (default 127.0.0.1:7700)")
	f.StringVar(&api, "api", "", "address to listen on for the HTTP API (default 127.0.0.1:7701)")
	c.MarkFlagRequired("name")
	return c
}
