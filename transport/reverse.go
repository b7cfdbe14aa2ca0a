package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// A node that takes no connections calls a peer that does and offers it a tunnel.
// The peer makes its own connection through that tunnel, as a caller, and keeps
// it for its sessions and questions. It sends a probe now and then, by which both
// notice when the way is cut.

const (
	maxRedial   = 15 * time.Second // longest pause between two attempts to dial out
	steadyAfter = 10 * time.Second // a connection that lasted so long is tried again at once
)

// DialOutState is how it stands with one of [Options.DialOut].
type DialOutState struct {
	Peer      string
	Connected bool
	Since     time.Time // when that began
	Err       error     // why it is not connected; nil if it is
}

// DialedOut returns how it stands with [Options.DialOut], in that order.
func (n *Node) DialedOut() []DialOutState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.outs)
}

// Reachable returns the names of the peers that keep a connection to this node,
// sorted.
func (n *Node) Reachable() []string {
	all, err := n.opt.Peers.List()
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range all {
		if n.reversed(p) != nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// reversed returns a connection that the peer keeps to this node, nil if there is none.
func (n *Node) reversed(p identity.Peer) *route {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest(p.Fingerprint())
}

// takeReversed returns the same for use; whoever gets it releases it.
func (n *Node) takeReversed(p identity.Peer) *route {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.newest(p.Fingerprint())
	if r != nil {
		r.users++
	}
	return r
}

// newest returns the latest connection that the peer with that fingerprint keeps
// to this node and that can be used. n.mu is held.
func (n *Node) newest(key string) *route {
	for _, r := range slices.Backward(n.back[key]) {
		if r.usable() && !r.retired {
			return r
		}
	}
	return nil
}

// dialOut starts what keeps the connections of [Options.DialOut].
func (n *Node) dialOut() {
	n.outs = make([]DialOutState, len(n.opt.DialOut))
	for i, d := range n.opt.DialOut {
		n.outs[i] = DialOutState{Peer: d.Peer, Since: time.Now()}
		n.wg.Go(func() { n.keepDialing(i, d) })
	}
}

func (n *Node) note(i int, connected bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.outs[i]
	if s.Connected != connected {
		s.Since = time.Now()
	}
	s.Connected, s.Err = connected, err
}

// keepDialing offers the peer a tunnel, again and again when it was lost. The
// pauses grow and vary, so that many nodes do not all come back at one moment.
func (n *Node) keepDialing(i int, d DialOut) {
	for wait := firstWait; n.ctx.Err() == nil; {
		began := time.Now()
		err := n.stayConnected(d, func() { n.note(i, true, nil) })
		if n.ctx.Err() != nil {
			return
		}
		n.note(i, false, err)
		if n.opt.OnWaiting != nil {
			n.opt.OnWaiting(d.Peer, err)
		}
		if time.Since(began) > steadyAfter {
			wait = firstWait
		}
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-t.C:
		case <-n.ctx.Done():
			t.Stop()
		}
		wait = min(wait*2, maxRedial)
	}
}

// offered is a tunnel that a peer took.
type offered struct {
	peer  string
	shown tls.Certificate // of this node when it was opened
	until time.Time       // when it is due to be replaced
	ended chan struct{}   // closed when it has ended
}

// stayConnected offers the peer a tunnel, and another one before the first has
// aged for the peer, see [Node.superseded]; the first goes on until the peer ends
// it. It returns why the latest was lost.
func (n *Node) stayConnected(d DialOut, connected func()) error {
	o, err := n.offer(d)
	if err != nil {
		return err
	}
	connected()
	tick := time.NewTicker(min(n.opt.Silence/4, n.opt.age/16))
	defer tick.Stop()
	var failed time.Time
	for {
		select {
		case <-o.ended:
			return lost(o.peer, "the connection by which it reaches this node was lost")
		case <-n.ctx.Done():
			return nil
		case <-tick.C:
		}
		if !n.renewed(o.shown) && !n.opt.Now().After(o.until) || time.Since(failed) < min(maxRedial, n.opt.age/8) {
			continue
		}
		next, err := n.offer(d)
		if err != nil { // the tunnel that is there serves until it ends
			failed = time.Now()
			continue
		}
		o = next
	}
}

// offer opens a tunnel to the peer and carries on what comes through it.
func (n *Node) offer(d DialOut) (*offered, error) {
	p, err := n.opt.Peers.Get(d.Peer)
	if err != nil {
		return nil, err
	}
	addr := n.address(p)
	if addr == "" {
		return nil, &fault.Error{Kind: fault.Peer, Party: p.Name, What: "no address is known for it", Cure: "give one where this node dials out to it"}
	}
	r, e := n.route(n.ctx, p, n.direct(p, addr))
	if e.err != nil {
		return nil, e.err
	}
	defer n.release(r)
	o := &offered{peer: p.Name, shown: n.opt.Identity.TLSCertificate(), until: n.opt.Now().Add(lifetime(n.opt.age * 3 / 4)), ended: make(chan struct{})}
	t, e := n.openTunnel(n.ctx, r, p.Name, &peerv1.Through{Way: peerv1.Through_WAY_REVERSE})
	if e.err != nil {
		return nil, e.err
	}
	ctx, cancel := context.WithCancel(n.tctx)
	n.wg.Go(func() { n.watch(ctx, cancel, t.under) })
	n.wg.Go(func() {
		defer close(o.ended)
		defer cancel()
		n.surface(ctx, t, p.Name+" by its reverse connection")
	})
	return o, nil
}

// watch ends a tunnel through which nothing comes for too long: the peer sends a
// probe now and then.
func (n *Node) watch(ctx context.Context, end context.CancelFunc, w *wire) {
	tick := time.NewTicker(n.opt.Silence / 4)
	defer tick.Stop()
	for late := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.quiet() <= n.opt.Silence+n.pause() {
			late = 0
		} else if late++; late > 1 { // twice, in case this process was stopped for a while
			w.giveUp()
			end()
			return
		}
	}
}

// pause is the time between two probes of a reverse connection.
func (n *Node) pause() time.Duration { return 2 * n.opt.Heartbeat }

// takeReverse makes a connection to the peer through the tunnel that it offers
// and keeps it until it ends.
func (n *Node) takeReverse(ctx context.Context, t *tunnel, peer string) error {
	p, err := n.opt.Peers.Get(peer)
	if err != nil {
		return err
	}
	if err := t.Send(opened); err != nil {
		return err
	}
	near, far := newPipe(peer+" by its reverse connection", t.under)
	cctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.wg.Go(func() {
		n.carry(cctx, t, far)
		cancel()
	})
	r := &route{ready: make(chan struct{}), way: way{where: "its reverse connection", dial: func(context.Context) (net.Conn, ending) { return near, ending{} }}}
	n.connect(cctx, r, p)
	close(r.ready)
	if r.end.err != nil {
		near.Close()
		if ctx.Err() == nil {
			n.refused(fault.At(r.end.err, peer, ""))
		}
		return errors.New("no connection through the tunnel")
	}
	defer r.close()
	key := p.Fingerprint()
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return nil
	}
	n.back[key] = append(n.back[key], r)
	n.mu.Unlock()
	n.keepAlive(cctx, r, key)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.back[key] = slices.DeleteFunc(n.back[key], func(o *route) bool { return o == r })
	if len(n.back[key]) == 0 {
		delete(n.back, key)
	}
	return nil
}

// keepAlive probes a reverse connection until it ends. A probe without an answer
// ends it only if nothing else came either: on a slow link it may have to wait
// behind data.
func (n *Node) keepAlive(ctx context.Context, r *route, key string) {
	tick := time.NewTicker(n.pause())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wire.down:
			return
		case <-tick.C:
		}
		if err := n.checkReverse(r, key); err != nil {
			n.refused(err) // such as that the peer was removed
			return
		}
		if n.opt.Now().After(r.shown.Leaf.NotAfter) {
			n.retire(r) // a probe would be refused; what runs on it looks after itself
			continue
		}
		pctx, cancel := context.WithTimeout(ctx, n.opt.Silence)
		_, err := r.client.Probe(pctx, &peerv1.ProbeRequest{})
		late := pctx.Err() != nil
		cancel()
		if expired(err) { // in this moment, or by the peer's clock
			n.retire(r)
			continue
		}
		if err != nil && (!late || r.wire.quiet() >= n.opt.Silence) {
			return
		}
	}
}
