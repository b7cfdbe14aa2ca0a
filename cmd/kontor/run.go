package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/node"
)

func (a *app) runCmd() *cobra.Command {
	var o runFlags
	c := &cobra.Command{
		Use:   "run JOB.yaml --party NAME[=FILE] --home DIR",
		Short: "Take part in a job as one institution, from this machine",
		Long: `Take part in a job as one institution. Every party runs this with its own copy of the job file,
which is how it consents: the parties' nodes compare and sign the specification before anything moves.
The guest dials the hosts; the hosts wait for it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runJob(cmd.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.party, "party", "", "who this is, and its file: NAME[=FILE][,id=COLUMN][,label=COLUMN][,positive=VALUE]")
	f.StringVar(&o.home, "home", "", "this institution's folder, made by kontor init")
	f.StringVar(&o.listen, "listen", "", "address to listen on for peers (default: the one of kontor init)")
	f.StringArrayVar(&o.peers, "peer", nil, "where a peer listens: NAME=HOST:PORT (default: its invitation's)")
	f.StringVar(&o.out, "out", "", "folder for this party's result")
	f.DurationVar(&o.wait, "wait", 10*time.Minute, "how long to wait for the peers to be there")
	f.BoolVar(&o.events, "events", false, "print events as JSON lines on standard output, and stop when standard input ends")
	c.MarkFlagRequired("party")
	c.MarkFlagRequired("home")
	return c
}

type runFlags struct {
	party, home, listen, out string
	peers                    []string
	wait                     time.Duration
	events                   bool
}

func (a *app) runJob(ctx context.Context, path string, o runFlags) error {
	spec, err := flow.Load(path)
	if err != nil {
		return err
	}
	name, file, err := applyParty(spec, o.party)
	if err != nil {
		return err
	}
	relativeTo(spec, filepath.Dir(path))
	h, err := node.OpenHome(o.home)
	if err != nil {
		return err
	}
	if h.Identity.Name() != name {
		return fault.New(fault.Usage, fmt.Sprintf("%s is the folder of %s, not of %s", o.home, h.Identity.Name(), name), "name the party's own folder with --home")
	}
	addrs, err := h.Addresses(o.peers)
	if err != nil {
		return err
	}
	if o.listen == "" {
		o.listen = h.Listen
	}
	show, stop := a.events(&ctx, o.events)
	defer stop()
	ev := func(e flow.Event) {
		show(e)
		if a.tap != nil {
			a.tap(e)
		}
	}
	n, err := node.New(node.Options{Identity: h.Identity, Peers: h.Peers, Listen: o.listen, Wait: o.wait,
		Log: func(s string) { ev(flow.Event{Kind: flow.EventNote, Party: name, Text: s}) }})
	if err != nil {
		return fault.At(err, name, "listen")
	}
	serve, end := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { n.Run(serve) })
	defer func() { end(); serving.Wait() }()
	ev(flow.Event{Kind: "listening", Party: name, Text: n.Addr()})
	out, err := n.Job(ctx, node.Job{Spec: spec, Data: file, Addrs: addrs, Out: o.out, Observe: ev})
	if err != nil {
		return err
	}
	stop()
	sum := node.Summarise(spec, out)
	if o.out != "" && name == spec.Guest() {
		sum.Report = filepath.Join(o.out, node.ReportFile)
	}
	if o.events {
		return a.printJSON(map[string]any{"event": "result", "result": sum})
	}
	return a.printSummary(sum)
}

// events returns where a job's events go: JSON lines for a program, progress
// for a person. A program that starts us holds our standard input open; when it
// dies, so do we.
func (a *app) events(ctx *context.Context, lines bool) (func(flow.Event), func()) {
	if !lines {
		p := newProgress(a.err)
		return p.event, p.end
	}
	c, cancel := context.WithCancel(*ctx)
	*ctx = c
	go func() {
		io.Copy(io.Discard, a.in)
		cancel()
	}()
	var mu sync.Mutex
	enc := json.NewEncoder(a.out)
	return func(e flow.Event) {
		mu.Lock()
		defer mu.Unlock()
		enc.Encode(e)
	}, func() {}
}
