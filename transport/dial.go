package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

const (
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
)

// Dial opens the session id with a peer. addr is host:port; empty means whatever
// way there is: a connection that the peer keeps to this node, the address pinned
// with it, a relay to which this node dials out. label names the session for people, such as the
// step of the job. While the peer cannot be reached it tries again, see
// [Options.DialPatience]; a refusal for its certificate or version is final. The
// error is a [fault.Error] that names the peer.
func (n *Node) Dial(ctx context.Context, peer, addr string, id [32]byte, label string) (*Conn, error) {
	p, err := n.opt.Peers.Get(peer)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(n.ctx, func() { stop(stopped(peer)) })()
	began, wait := time.Now(), firstWait
	for {
		c, e := n.open(ctx, p, addr, id, label)
		if e.err == nil {
			return c, nil
		}
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return nil, interrupted(ctx, peer)
		}
		patience := n.opt.DialPatience
		if !e.retry || ctx.Err() != nil || patience < 0 || patience > 0 && time.Since(began)+wait > patience {
			return nil, e.err
		}
		if n.opt.OnWaiting != nil {
			n.opt.OnWaiting(peer, e.err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return nil, e.err // says more than that the time is over
			}
			return nil, interrupted(ctx, peer)
		}
		wait = min(wait*2, maxWait)
	}
}

// open makes one attempt.
func (n *Node) open(ctx context.Context, p identity.Peer, addr string, id [32]byte, label string) (*Conn, ending) {
	r, e := n.reach(ctx, p, addr)
	if e.err != nil {
		return nil, e
	}
	defer n.release(r)
	// The stream outlives ctx, which is only for opening it, and the closing of
	// the node until its last packets have arrived.
	sctx, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, cancel)()
	st, err := r.client.Exchange(sctx)
	if err != nil {
		cancel()
		return nil, n.ended(p.Name, err)
	}
	n.keep(st.Context(), r)
	c := n.newConn(p.Name, r.wire, st)
	c.id, c.label, c.cancel, c.closeSend = id, label, cancel, st.CloseSend
	c.in.widen(queueBytes)
	if !n.begin(c, &peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: label, Greeting: n.greeting}}}) {
		cancel()
		return nil, ending{err: stopped(p.Name)}
	}
	select {
	case <-c.opened:
		c.owned.Store(true)
		return c, ending{}
	case <-c.in.done:
		c.letGo(nil)
		return nil, ending{err: c.in.failure(), retry: c.retry.Load()}
	case <-ctx.Done():
		c.in.fail(interrupted(ctx, p.Name), true)
		c.letGo(nil)
		return nil, ending{err: interrupted(ctx, p.Name)}
	}
}

// unreachable says why no TCP connection came about, in words.
func unreachable(ctx context.Context, peer, addr string, err error) ending {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ending{err: interrupted(ctx, peer)}
	}
	f := &fault.Error{Kind: fault.Peer, Party: peer, What: "it cannot be reached at " + addr, Err: err,
		Cure: "check that its node is running and that the address is right"}
	var dns *net.DNSError
	var op net.Error
	switch {
	case errors.As(err, &dns):
		f.Err = fmt.Errorf("the host name %s is not known", clean(dns.Name, maxLabel))
		if dns.IsTemporary || dns.IsTimeout {
			f.Err = fmt.Errorf("the host name %s could not be looked up", clean(dns.Name, maxLabel))
		}
		f.Cure = "check the address and this machine's DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Err = errors.New("connection refused")
		f.Cure = "check that its node is running there"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		f.Err = errors.New("no route to it")
		f.Cure = "check the address, the network and the firewalls between"
	case errors.As(err, &op) && op.Timeout():
		f.Err = errors.New("no answer")
		f.Cure = "check the address and that the firewalls between let its port through"
	}
	return ending{err: f, retry: true}
}

func handshakeFailed(ctx context.Context, peer, addr string, err error) ending {
	var f *fault.Error
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &f): // from VerifyConnection
		return ending{err: fault.At(err, peer, "")}
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return ending{err: interrupted(ctx, peer)}
	case errors.As(err, &record):
		return ending{err: &fault.Error{Kind: fault.Peer, Party: peer, What: "what answers at " + addr + " does not speak TLS", Cure: "check the address"}}
	case errors.As(err, &alert):
		return ending{err: &fault.Error{Kind: fault.Trust, Party: peer, What: "no secure connection to " + addr, Err: err, Cure: "check that the address is that of a Kontor node"}}
	}
	return ending{retry: true, err: &fault.Error{Kind: fault.Peer, Party: peer, What: "the connection to " + addr + " was lost while it was being secured", Err: err,
		Cure: "check that its node is running and that nothing between cuts connections"}}
}
