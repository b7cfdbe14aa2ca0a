package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// Two nodes that can only dial out meet at a third. The one that calls opens a
// tunnel to it, which it continues through the connection that the other keeps to
// it. TLS runs from end to end; the relay sees its records and nothing in them.

// errNoWay is what a relay says that does not lead to the peer.
var errNoWay = errors.New("it does not pass connections on to that party")

// relayed is the way to a peer through a relay.
func (n *Node) relayed(p identity.Peer, relay string) way {
	return way{key: p.Fingerprint() + " through " + relay, where: "the relay " + relay, relay: relay,
		dial: func(ctx context.Context) (net.Conn, ending) {
			q, err := n.opt.Peers.Get(relay)
			if err != nil {
				return nil, ending{err: err}
			}
			through := func(what, cure string, e ending) (net.Conn, ending) {
				if fault.KindOf(e.err) == fault.Cancelled {
					return nil, e
				}
				e.err = &fault.Error{Kind: fault.Peer, Party: p.Name, What: what, Err: e.err, Cure: cure}
				return nil, e
			}
			lost := "it cannot be reached, because the relay " + relay + " cannot"
			addr := n.address(q)
			if addr == "" {
				return through(lost, "give the address of "+relay+" where this node dials out to it", ending{err: errors.New("no address is known for it")})
			}
			r, e := n.route(ctx, q, n.direct(q, addr))
			if e.err != nil {
				return through(lost, "check that the relay is running", e)
			}
			defer n.release(r)
			t, e := n.openTunnel(ctx, r, relay, &peerv1.Through{Way: peerv1.Through_WAY_RELAY, Peer: p.Key})
			if errors.Is(e.err, errNoWay) {
				return through("no address is known for it, and there is no way through "+relay,
					"check that its node is running and dials out to "+relay+", and that "+relay+" is a relay", e)
			}
			if e.err != nil {
				return through(lost, "look at what its node has printed", e)
			}
			near, far := newPipe(p.Name+" through "+relay, t.under)
			n.wg.Go(func() { n.carry(n.tctx, t, far) })
			return near, ending{}
		}}
}

// passOn joins the tunnel of a caller to one to the peer with that key.
func (n *Node) passOn(ctx context.Context, t *tunnel, from string, key []byte) error {
	// One answer for all cases: a caller learns nothing about peers it does not reach.
	none := refusal(codes.FailedPrecondition, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_NO_WAY, Text: "no way to that node"})
	if !n.opt.Relay {
		return none
	}
	to, err := n.opt.Peers.ByKey(key)
	if err != nil || to.Name == from {
		return none
	}
	r := n.takeReversed(to)
	if r == nil {
		return none
	}
	out, e := n.openTunnel(ctx, r, to.Name, &peerv1.Through{Way: peerv1.Through_WAY_DELIVER})
	n.release(r)
	if e.err != nil {
		n.refused(&fault.Error{Kind: fault.Peer, Party: to.Name, What: "a connection of " + from + " could not be passed on", Err: e.err,
			Cure: "check that its node still dials out to this one"})
		return none
	}
	defer out.cancel()
	if err := t.Send(opened); err != nil {
		return err
	}
	there, back := make(chan error, 1), make(chan error, 1)
	n.wg.Go(func() {
		there <- n.splice(out, t)
		out.closeSend()
	})
	n.wg.Go(func() { back <- n.splice(t, out) })
	select {
	case err = <-back:
	case err = <-there:
		if err == nil { // the caller is through; the other end still may say something
			err = <-back
		}
	case <-ctx.Done():
		return status.Error(codes.Unavailable, "the relay was stopped")
	}
	if err != nil {
		return status.Error(codes.Unavailable, fmt.Sprintf("the way to %s was lost", to.Name))
	}
	return nil
}

// splice passes on all that comes; nil if that ended in order.
func (n *Node) splice(to, from *tunnel) error {
	for {
		data, err := from.receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n.opt.tap != nil {
			n.opt.tap(data)
		}
		if err := to.give(data); err != nil {
			return err
		}
	}
}
