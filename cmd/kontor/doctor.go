package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kontor/api/rest"
	"kontor/internal/fault"
)

func (a *app) doctorCmd() *cobra.Command {
	return a.nodeCmd("doctor", "Look at disk, clock, ports, certificates and every peer, and say what to do", cobra.NoArgs, a.doctor)
}

func (a *app) doctor(ctx context.Context, n *conn, _ []string) error {
	d, err := n.Doctor(ctx)
	if err != nil {
		return err
	}
	bad := 0
	err = a.show(d, func(w io.Writer) {
		for _, c := range d.Checks {
			doctorLine(w, c)
		}
	})
	for _, c := range d.Checks {
		if !c.OK {
			bad++
		}
	}
	if err != nil || d.OK && bad == 0 {
		return err
	}
	a.told = a.json
	return fault.New(fault.Local, fmt.Sprintf("%d of %d checks failed", bad, len(d.Checks)), "do what stands at each, then look again")
}

// doctorLine is a check as a person reads it.
func doctorLine(w io.Writer, c rest.Check) {
	mark := "ok  "
	switch {
	case !c.OK:
		mark = "FAIL"
	case c.Warning:
		mark = "warn"
	}
	fmt.Fprintf(w, "%s  %s: %s\n", mark, line(c.Name), line(c.What))
	if c.Cause != "" {
		fmt.Fprintf(w, "        because: %s\n", line(c.Cause))
	}
	if c.Cure != "" {
		fmt.Fprintf(w, "        do:      %s\n", line(c.Cure))
	}
	if c.Detail != "" {
		fmt.Fprintf(w, "        %s\n", line(c.Detail))
	}
}
