package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// A tunnel is a connection inside a connection: the bytes of a TLS connection
// between two nodes as chunks of a gRPC stream between one of them and the next.
// What comes out at the end is treated as a connection that came in from outside,
// with a handshake of its own, so that a tunnel gives no rights to anybody.

// Tunnels of one peer, by what they are for.
var maxTunnels = map[peerv1.Through_Way]int{
	// One is due; those of a connection that was cut may not be noticed yet, and
	// those that aged stay while sessions run in them.
	peerv1.Through_WAY_REVERSE: 16,
	peerv1.Through_WAY_RELAY:   32,
	peerv1.Through_WAY_DELIVER: 128,
}

type tunnelKey struct {
	peer string
	way  peerv1.Through_Way
}

// tunnel is one end of a tunnel.
type tunnel struct {
	stream
	closeSend func() error // nil at the callee
	cancel    context.CancelFunc
	under     *wire // the connection that it goes through
}

// openTunnel opens a tunnel on the connection to a peer.
func (n *Node) openTunnel(ctx context.Context, r *route, peer string, way *peerv1.Through) (*tunnel, ending) {
	if err := r.speaks(wireAsk, peer); err != nil {
		return nil, ending{err: err}
	}
	way.Greeting = n.greeting
	sctx, cancel := context.WithCancel(context.Background())
	ctx, over := context.WithTimeout(ctx, n.limit())
	defer over()
	defer context.AfterFunc(ctx, cancel)()
	st, err := r.client.Tunnel(sctx)
	if err == nil {
		n.keep(st.Context(), r)
		err = st.Send(&peerv1.Packet{Body: &peerv1.Packet_Through{Through: way}})
	}
	var p *peerv1.Packet
	if p, err = first(st, err); err != nil {
		cancel()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && r.wire.quiet() >= n.opt.Silence {
			r.wire.giveUp()
		}
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return nil, ending{err: interrupted(ctx, peer)}
		}
		return nil, n.ended(peer, err)
	}
	if p.GetOpened() == nil {
		cancel()
		return nil, ending{err: violation(peer, errors.New("it did not take the tunnel that it should"))}
	}
	t := &tunnel{stream: st, closeSend: st.CloseSend, cancel: cancel, under: r.wire}
	return t, ending{}
}

// first receives the first packet. Where sending failed, receiving says why.
func first(st stream, sent error) (*peerv1.Packet, error) {
	if st == nil {
		return nil, sent
	}
	return st.Recv()
}

// receive returns the next piece.
func (t *tunnel) receive() ([]byte, error) {
	p, err := t.Recv()
	if err != nil {
		return nil, err
	}
	c := p.GetChunk()
	if c == nil || len(c.Data) == 0 || len(c.Data) > maxChunk {
		return nil, errors.New("transport: a packet that is not due in a tunnel")
	}
	return c.Data, nil
}

func (t *tunnel) give(data []byte) error {
	return t.Send(&peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: data, Last: true}}})
}

// carry passes bytes between the tunnel and far until one of them ends or ctx
// does, and closes far. At the caller it ends the stream too; at the callee the
// handler that returns does.
func (n *Node) carry(ctx context.Context, t *tunnel, far net.Conn) {
	done := make(chan struct{}, 2)
	n.wg.Go(func() {
		buf := make([]byte, ioBuffer)
		for {
			k, err := far.Read(buf)
			if err != nil || t.give(buf[:k]) != nil {
				break
			}
		}
		if t.closeSend != nil {
			t.closeSend()
		}
		done <- struct{}{}
	})
	n.wg.Go(func() {
		for {
			data, err := t.receive()
			if err == nil {
				_, err = far.Write(data)
			}
			if err != nil {
				break
			}
		}
		done <- struct{}{}
	})
	ended := 0
	select {
	case <-done:
		ended++
	case <-ctx.Done():
	}
	far.Close()
	if t.cancel == nil {
		return
	}
	// What was given last is still to arrive there; then the callee ends it.
	timer := time.AfterFunc(goodbyeTime, t.cancel)
	for ; ended < 2; ended++ {
		<-done
	}
	timer.Stop()
	t.cancel()
}

// Tunnel implements peerv1.PeerServer.
func (s service) Tunnel(st grpc.BidiStreamingServer[peerv1.Packet, peerv1.Packet]) error {
	n := s.node
	from := st.Context().Value(callerKey{}).(caller)
	p, err := n.firstThrough(st)
	if err != nil {
		return err
	}
	if p == nil || maxTunnels[p.Way] == 0 || (len(p.Peer) == 32) != (p.Way == peerv1.Through_WAY_RELAY) {
		n.refused(violation(from.peer, errors.New("its first packet opens no tunnel")))
		return refusal(codes.InvalidArgument, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_PROTOCOL, Text: "the first packet opens no tunnel"})
	}
	if err := n.greet(from.peer, p.Greeting); err != nil {
		return err
	}
	key := tunnelKey{from.peer, p.Way}
	if r := n.takeTunnel(key); r != nil {
		return refusal(codes.FailedPrecondition, r)
	}
	defer n.tunnelDone(key)
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	defer context.AfterFunc(n.tctx, cancel)()
	t := &tunnel{stream: st, under: from.wire}
	switch p.Way {
	case peerv1.Through_WAY_REVERSE:
		return n.takeReverse(ctx, t, from.peer)
	case peerv1.Through_WAY_RELAY:
		return n.passOn(ctx, t, from.peer, p.Peer)
	}
	return n.takeDelivered(ctx, t, from.peer)
}

// firstThrough reads the packet that opens a tunnel, for which there is not for
// ever; nil if it is another one.
func (n *Node) firstThrough(st stream) (*peerv1.Through, error) {
	type result struct {
		p   *peerv1.Packet
		err error
	}
	got := make(chan result, 1)
	go func() { // ends with the stream at the latest
		p, err := st.Recv()
		got <- result{p, err}
	}()
	timer := time.NewTimer(n.limit())
	defer timer.Stop()
	select {
	case r := <-got:
		return r.p.GetThrough(), r.err
	case <-timer.C:
		return nil, nil
	}
}

func (n *Node) takeTunnel(key tunnelKey) *peerv1.Refusal {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_LOCAL, Text: "it is being stopped"}
	}
	if n.tunnels[key] >= maxTunnels[key.way] {
		return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_CROWDED, Text: "too many tunnels"}
	}
	n.tunnels[key]++
	return nil
}

func (n *Node) tunnelDone(key tunnelKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tunnels[key]--; n.tunnels[key] <= 0 {
		delete(n.tunnels, key)
	}
}

var opened = &peerv1.Packet{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}}

// takeDelivered takes in a connection that a relay passes on. Only the relays
// that this node dials out to may do so.
func (n *Node) takeDelivered(ctx context.Context, t *tunnel, relay string) error {
	if !slices.ContainsFunc(n.opt.DialOut, func(d DialOut) bool { return d.Peer == relay }) {
		n.refused(&fault.Error{Kind: fault.Trust, Party: relay, What: "it passes connections on to this node, which does not use it as a relay",
			Cure: "if it should, have this node dial out to it"})
		return refusal(codes.FailedPrecondition, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_NO_WAY, Text: "this node uses no such relay"})
	}
	if err := t.Send(opened); err != nil {
		return err
	}
	n.surface(ctx, t, "relay "+relay)
	return nil
}

// surface has the node's server take a connection that came through a tunnel, and
// returns when it has ended.
func (n *Node) surface(ctx context.Context, t *tunnel, where string) {
	near, far := newPipe(where, t.under)
	if !n.arrivals.add(near) {
		return
	}
	n.carry(ctx, t, far)
}

// arrivals are connections that came through tunnels, as a listener.
type arrivals struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func newArrivals() *arrivals {
	return &arrivals{conns: make(chan net.Conn), over: make(chan struct{})}
}

func (a *arrivals) add(c net.Conn) bool {
	select {
	case a.conns <- c:
		return true
	case <-a.over:
		c.Close()
		return false
	}
}

// Accept implements net.Listener.
func (a *arrivals) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.over:
		return nil, fmt.Errorf("transport: no more arrivals: %w", net.ErrClosed)
	}
}

// Close implements net.Listener.
func (a *arrivals) Close() error {
	a.once.Do(func() { close(a.over) })
	return nil
}

// Addr implements net.Listener.
func (a *arrivals) Addr() net.Addr { return tunnelAddr("tunnels") }

// tunnelAddr stands for an address where there is none.
type tunnelAddr string

// Network implements net.Addr.
func (tunnelAddr) Network() string { return "tunnel" }

// String implements net.Addr.
func (a tunnelAddr) String() string { return string(a) }

// pipeEnd is the end of a pipe that says where the other end is.
type pipeEnd struct {
	net.Conn
	remote tunnelAddr
	under  *wire
}

// RemoteAddr implements net.Conn.
func (p pipeEnd) RemoteAddr() net.Addr { return p.remote }

// newPipe returns the end for a node and the end for a tunnel.
func newPipe(where string, under *wire) (near, far net.Conn) {
	a, b := net.Pipe()
	return pipeEnd{a, tunnelAddr(where), under}, b
}
