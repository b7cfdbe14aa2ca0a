package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
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

func (a *app) initCmd() *cobra.Command {
	var home, name, listen string
	c := &cobra.Command{
		Use: "init --home DIR --name NAME", Short: "Make an institution's identity in a new folder", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := node.CreateHome(home, name, listen)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"name": name, "home": home, "fingerprint": h.Identity.Fingerprint()})
			}
			fmt.Fprintf(a.out, "%s has an identity in %s\nfingerprint: %s\nNext: kontor peer invite --home %s, with --address HOST:PORT if peers are to reach this node\n", name, home, h.Identity.Fingerprint(), home)
			return nil
		},
	}
	c.Flags().StringVar(&home, "home", "", "the folder to make")
	c.Flags().StringVar(&name, "name", "", "the institution's name: a-z, 0-9 and -")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to listen on for peers")
	c.MarkFlagRequired("home")
	c.MarkFlagRequired("name")
	return c
}

func (a *app) peerCmd() *cobra.Command {
	c := &cobra.Command{Use: "peer", Short: "Exchange invitations with other institutions"}
	c.AddCommand(a.inviteCmd(), a.acceptCmd(), a.peersCmd(), a.removeCmd())
	return c
}

func homeFlag(c *cobra.Command, home *string) *cobra.Command {
	c.Flags().StringVar(home, "home", "", "this institution's folder")
	c.MarkFlagRequired("home")
	return c
}

func (a *app) inviteCmd() *cobra.Command {
	var home, address string
	c := &cobra.Command{
		Use: "invite --home DIR --address HOST:PORT", Short: "Print an invitation to hand to a peer", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := node.OpenHome(home)
			if err != nil {
				return err
			}
			inv, err := h.Invite(address)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"invitation": inv, "fingerprint": h.Identity.Fingerprint()})
			}
			fmt.Fprintln(a.out, inv)
			fmt.Fprintf(a.err, "fingerprint, to be read out over the phone: %s\n", h.Identity.Fingerprint())
			return nil
		},
	}
	c.Flags().StringVar(&address, "address", "", "where the peer reaches this node")
	return homeFlag(c, &home)
}

func (a *app) acceptCmd() *cobra.Command {
	var home, fingerprint string
	c := &cobra.Command{
		Use: "accept INVITATION --home DIR --fingerprint F", Short: "Trust the institution that an invitation names", Args: cobra.ExactArgs(1),
		Long: "Trust the institution that an invitation names. The fingerprint must be the one that the institution reads out itself: it is what makes the invitation genuine.",
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := node.OpenHome(home)
			if err != nil {
				return err
			}
			p, err := h.Accept(args[0], fingerprint)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(p)
			}
			fmt.Fprintf(a.out, "%s%s is trusted now\n", p.Name, at(p.Address))
			return nil
		},
	}
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the fingerprint that the peer has told you")
	return homeFlag(c, &home)
}

func at(address string) string {
	if address == "" {
		return ""
	}
	return " at " + address
}

func (a *app) peersCmd() *cobra.Command {
	var home string
	return homeFlag(&cobra.Command{
		Use: "ls --home DIR", Short: "List the peers that are trusted", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h, err := node.OpenHome(home)
			if err != nil {
				return err
			}
			ps, err := h.List()
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ps)
			}
			for _, p := range ps {
				fmt.Fprintf(a.out, "%s\t%s\t%s\n", p.Name, cmp.Or(p.Address, "(dials only)"), p.Fingerprint)
			}
			return nil
		},
	}, &home)
}

func (a *app) removeCmd() *cobra.Command {
	var home string
	return homeFlag(&cobra.Command{
		Use: "rm NAME --home DIR", Short: "No longer trust a peer", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := node.OpenHome(home)
			if err != nil {
				return err
			}
			if err := h.Remove(args[0]); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"removed": args[0]})
			}
			fmt.Fprintf(a.out, "%s is no longer trusted\n", args[0])
			return nil
		},
	}, &home)
}

func (a *app) jobCmd() *cobra.Command {
	c := &cobra.Command{Use: "job", Short: "Check a job file, list the steps there are"}
	c.AddCommand(&cobra.Command{
		Use: "check JOB.yaml", Short: "Say whether a job file is valid", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			spec, err := flow.Load(args[0])
			if err != nil {
				return err
			}
			hash := spec.Hash()
			if a.json {
				return a.printJSON(map[string]any{"job": spec.Job, "valid": true, "hash": fmt.Sprintf("%x", hash)})
			}
			fmt.Fprintf(a.out, "%s is a valid job for %s; specification %x\n", args[0], strings.Join(spec.PartyNames(), " and "), hash[:8])
			return nil
		},
	}, &cobra.Command{
		Use: "steps", Short: "List the kinds of steps with their parameters", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(flow.Components())
			}
			for _, k := range flow.Kinds() {
				d := flow.Describe(k)
				fmt.Fprintf(a.out, "%s: %s\n", d.Kind, d.Doc)
				for _, p := range d.Params {
					fmt.Fprintf(a.out, "    %-18s %s (%s to %s, default %s)\n", p.Name, p.Doc, flow.Number(p.Min), flow.Number(p.Max), flow.Number(p.Default))
				}
			}
			return nil
		},
	})
	return c
}
