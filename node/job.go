package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kontor/flow"
	"kontor/internal/fault"
	"kontor/session"
	"kontor/transport"
)

// Job is one party's part in a job.
type Job struct {
	Spec  *flow.Spec
	Data  string            // this party's file; empty takes the specification's
	Addrs map[string]string // where peers listen, by name; the guest dials the hosts
	Out   string            // folder for the result; empty leaves none
	// Observe is told how the job goes on; it may be nil.
	Observe func(flow.Event)
	// Input takes the place of Data where the table is in memory already.
	Input *flow.Input
}

// Outcome is what a job leaves at one party.
type Outcome struct {
	Consent *Consent
	*flow.Result
}

// Job takes part in a job as this node's institution and returns when the job
// has ended at all parties. It leaves either the whole result or nothing.
func (n *Node) Job(ctx context.Context, j Job) (*Outcome, error) {
	party, err := j.Spec.Party(n.o.Identity.Name())
	if err != nil {
		return nil, err
	}
	if j.Data == "" {
		j.Data = party.Data
	}
	r := &run{n: n, j: j, party: party, self: party.Name, conns: map[string]*transport.Conn{}}
	// What is wrong here at first sight is said before any peer is bothered.
	if j.Input == nil && j.Spec.NeedsData() {
		if err := flow.CheckInput(ctx, party, j.Data); err != nil {
			return nil, fault.At(err, r.self, "load")
		}
	}
	if j.Out != "" {
		if err := checkOut(j.Out); err != nil {
			return nil, fault.At(err, r.self, "")
		}
	}
	out, err := r.whole(ctx)
	for _, c := range r.conns {
		if err != nil {
			c.Abort(err)
		} else {
			c.Close()
		}
	}
	r.watchers.Wait()
	return out, err
}

// run is one job under way at one party.
type run struct {
	n        *Node
	j        Job
	party    flow.Party
	self     string                     // its name
	conns    map[string]*transport.Conn // control connections: open as long as the run
	control  *session.Session
	watchers sync.WaitGroup
}

func (r *run) note(format string, args ...any) {
	if r.j.Observe != nil {
		r.j.Observe(flow.Event{Kind: flow.EventNote, Party: r.self, Text: fmt.Sprintf(format, args...)})
	}
}

func (r *run) whole(parent context.Context) (*Outcome, error) {
	if err := r.connect(parent); err != nil {
		return nil, fault.At(err, r.self, "connect")
	}
	cons := &consenting{s: r.control, spec: r.j.Spec, id: r.n.o.Identity, rand: r.n.o.Rand, pinned: r.n.pinned, can: r.n.o.Capabilities}
	consent, err := cons.run(parent)
	if err != nil {
		return nil, fault.At(err, r.self, "consent")
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	r.watch(ctx, cancel)
	res, err := r.steps(ctx, consent)
	if err != nil {
		return nil, err
	}
	cancel(errors.New("the steps have ended")) // the watchers stop before the connections close
	out := &Outcome{consent, res}
	if err := r.finish(parent, out); err != nil {
		return nil, fault.At(err, r.self, "finish")
	}
	return out, nil
}

// connect opens the control connections: the guest dials the hosts.
func (r *run) connect(ctx context.Context) error {
	spec := r.j.Spec
	peers := []string{spec.Guest()}
	if r.self == spec.Guest() {
		peers = slices.DeleteFunc(spec.PartyNames(), func(p string) bool { return p == r.self })
	} else {
		r.note("waiting for %s to connect at %s", spec.Guest(), r.n.Addr())
	}
	for _, peer := range peers {
		c, err := r.connectTo(ctx, peer)
		if err != nil {
			return fault.At(err, peer, "connect")
		}
		r.conns[peer] = c
	}
	var err error
	r.control, err = r.open(session.ID{}, "consent", nil, r.conns)
	return err
}

func (r *run) connectTo(ctx context.Context, peer string) (c *transport.Conn, err error) {
	missing := fault.New(fault.Peer, fmt.Sprintf("it was not there within %v", r.n.o.Wait), "start the job at every party, with addresses that reach them")
	ctx, stop := context.WithTimeoutCause(ctx, r.n.o.Wait, missing)
	defer stop()
	ctx, stop = r.n.awaiting(ctx, peer)
	defer stop()
	// One control connection joins two parties, under a name that both know beforehand.
	if r.self == r.j.Spec.Guest() {
		addr := r.j.Addrs[peer]
		if addr == "" {
			return nil, fault.New(fault.Usage, "no address is known for it", fmt.Sprintf("accept an invitation that has one or give --peer %s=HOST:PORT", peer))
		}
		c, err = r.n.t.Dial(ctx, peer, addr, session.ID{}.Derive("control\x00"+r.self+"\x00"+peer), "control")
	} else {
		c, err = r.n.t.Accept(ctx, peer, session.ID{}.Derive("control\x00"+peer+"\x00"+r.self))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause // why the wait ended, not that it did
	}
	return c, err
}

func (r *run) open(id session.ID, step string, progress func(done, total int64, unit string), conns map[string]*transport.Conn) (*session.Session, error) {
	links := map[string]session.Conn{}
	for p, c := range conns {
		links[p] = c
	}
	return session.New(session.Config{ID: id, Step: step, Self: r.self, Parties: r.j.Spec.SessionParties(), Conns: links, Progress: progress})
}

// watch cancels the run when a control connection ends, so that a step that
// computes or waits for somebody else stops too.
func (r *run) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for _, c := range r.conns {
		r.watchers.Go(func() {
			select {
			case <-c.Done():
				cancel(c.Err())
			case <-ctx.Done():
			}
		})
	}
}

func (r *run) steps(ctx context.Context, consent *Consent) (*flow.Result, error) {
	in := r.j.Input
	if in == nil && r.j.Spec.NeedsData() {
		var err error
		if in, err = flow.LoadInput(ctx, r.party, r.j.Data); err != nil {
			return nil, r.blame(ctx, err, "load")
		}
	}
	return flow.Run(ctx, flow.Options{Spec: r.j.Spec, Self: r.self, Input: in, Rand: r.n.o.Rand, Observe: r.j.Observe,
		Open: func(ctx context.Context, step string, progress func(done, total int64, unit string)) (*session.Session, func(error), error) {
			return r.openStep(ctx, consent.Run.Derive("step\x00"+step), step, progress)
		}})
}

func (r *run) blame(ctx context.Context, err error, step string) error {
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	return fault.At(err, r.self, step)
}

// openStep opens the session of a step to every peer; the guest dials.
func (r *run) openStep(ctx context.Context, id session.ID, step string, progress func(done, total int64, unit string)) (*session.Session, func(error), error) {
	conns := map[string]*transport.Conn{}
	done := func(err error) {
		for _, c := range conns {
			if err != nil {
				c.Abort(err)
			} else {
				c.Close()
			}
		}
	}
	for peer := range r.conns {
		var c *transport.Conn
		var err error
		if r.self == r.j.Spec.Guest() {
			c, err = r.n.t.Dial(ctx, peer, r.j.Addrs[peer], id, step)
		} else {
			c, err = r.n.t.Accept(ctx, peer, id)
		}
		if err != nil {
			done(err)
			return nil, nil, err
		}
		conns[peer] = c
	}
	s, err := r.open(id, step, progress, conns)
	if err != nil {
		done(err)
		return nil, nil, err
	}
	return s, done, nil
}

// finish puts the result in its place once all parties have theirs complete on
// disk: a job that failed anywhere leaves nothing anywhere.
func (r *run) finish(ctx context.Context, out *Outcome) error {
	if r.j.Out == "" {
		return r.barrier(ctx)
	}
	files := resultFiles(out, r.j.Spec)
	st, err := stage(r.j.Out, files)
	if err != nil {
		return err
	}
	if err := r.barrier(ctx); err != nil {
		st.discard()
		return err
	}
	if err := st.publish(); err != nil {
		st.discard()
		return err
	}
	return nil
}

// barrier returns once every party has said that it is done.
func (r *run) barrier(ctx context.Context) error {
	hear := func(peer string) error { return r.control.Recv(ctx, peer, "done", 0, &session.Bytes{}) }
	tell := func(peer string) error { return r.control.Send(ctx, peer, "done", session.Bytes{}) }
	first, second := tell, hear // a host
	if r.self == r.j.Spec.Guest() {
		first, second = hear, tell
	}
	for _, f := range []func(string) error{first, second} {
		for peer := range r.conns {
			if err := f(peer); err != nil {
				return err
			}
		}
	}
	return nil
}
