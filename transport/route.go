package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

const ioBuffer = 64 << 10

// way is one by which a peer may be reached.
type way struct {
	key   string // what is shared under it: peer and address
	where string // what is at the other end, for people
	relay string // the party that passes the connection on; empty if none
	dial  func(context.Context) (net.Conn, ending)
}

// direct is the way to a peer that listens at addr.
func (n *Node) direct(p identity.Peer, addr string) way {
	return way{key: p.Fingerprint() + " " + addr, where: addr, dial: func(ctx context.Context) (net.Conn, ending) {
		c, err := (&net.Dialer{Timeout: n.limit()}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, unreachable(ctx, p.Name, addr, err)
		}
		return c, ending{}
	}}
}

// limit is how long one step of connecting may take.
func (n *Node) limit() time.Duration { return max(n.opt.Silence, time.Second) }

// reach returns a connection to the peer by the first way that there is: the
// address given, a connection that the peer itself keeps to this node, the
// address known of it, a relay. Whoever gets it releases it.
func (n *Node) reach(ctx context.Context, p identity.Peer, addr string) (*route, ending) {
	if addr == "" {
		if r := n.takeReversed(p); r != nil {
			return r, ending{}
		}
		addr = n.address(p)
	}
	if addr != "" {
		return n.route(ctx, p, n.direct(p, addr))
	}
	var e ending
	for _, d := range n.opt.DialOut {
		if d.Peer == p.Name {
			continue
		}
		r, other := n.route(ctx, p, n.relayed(p, d.Peer))
		if other.err == nil {
			return r, other
		}
		if e.err == nil || !other.retry {
			e = other
		}
	}
	if e.err != nil {
		return nil, e
	}
	f := &fault.Error{Kind: fault.Peer, Party: p.Name, What: "no address is known for it", Cure: "give one, or have the peer open the connection"}
	if n.listener != nil {
		f.What += ", and it has not connected to this node"
		f.Cure = "give one, or check that its node is running and dials out to this one"
	}
	return nil, ending{err: f, retry: n.listener != nil} // it may still come
}

// address returns the address known of a peer, empty if there is none.
func (n *Node) address(p identity.Peer) string {
	for _, d := range n.opt.DialOut {
		if d.Peer == p.Name && d.Addr != "" {
			return d.Addr
		}
	}
	return p.Address
}

// route is the connection to a peer that its sessions share.
type route struct {
	ready  chan struct{} // closed when the rest is set
	end    ending
	wire   *wire
	cc     *grpc.ClientConn
	client peerv1.PeerClient
	theirs *peerv1.Greeting
	state  tls.ConnectionState
	way    way
	used   atomic.Bool     // a question was put before
	shown  tls.Certificate // of this node
	until  time.Time       // when it is too old for something new

	users   int  // who may open something on it, and what is open; guarded by Node.mu
	retired bool // nothing new begins on it; guarded by Node.mu
}

// speaks refuses a peer whose wire protocol is older than what is asked of it.
func (r *route) speaks(version uint32, peer string) error {
	if r.theirs.GetWireMax() >= version {
		return nil
	}
	return &fault.Error{Kind: fault.Version, Party: peer,
		What: fmt.Sprintf("it runs Kontor %s (wire protocol %s), which takes no questions and no tunnels", software(r.theirs), wires(r.theirs)),
		Cure: "upgrade Kontor at " + peer}
}

func (r *route) close() {
	<-r.ready
	if r.end.err == nil {
		r.cc.Close()
		r.wire.Close()
	}
}

// usable reports whether new sessions can be opened on it.
func (r *route) usable() bool {
	select {
	case <-r.wire.down:
		return false
	default:
		return !r.wire.silent.Load() && r.cc.GetState() == connectivity.Ready // a peer that is stopping takes no new ones
	}
}

// route returns a connection to the peer on which both sides have agreed about
// versions, a new one if there is none. Whoever gets it releases it.
func (n *Node) route(ctx context.Context, p identity.Peer, by way) (*route, ending) {
	for {
		n.mu.Lock()
		if n.closing {
			n.mu.Unlock()
			return nil, ending{err: stopped(p.Name)}
		}
		r := n.routes[by.key]
		if r == nil {
			r = &route{ready: make(chan struct{}), way: by, users: 1}
			n.routes[by.key], n.live[r] = r, struct{}{}
			n.wg.Add(1)
			n.mu.Unlock()
			n.connect(ctx, r, p)
			close(r.ready)
			if r.end.err != nil {
				n.forgetRoute(r)
				n.wg.Done()
				return nil, r.end
			}
			go func() {
				defer n.wg.Done()
				<-r.wire.down
				n.forgetRoute(r)
				r.cc.Close()
			}()
			return r, ending{}
		}
		r.users++
		n.mu.Unlock()
		select {
		case <-r.ready:
		case <-ctx.Done():
			n.release(r)
			return nil, ending{err: interrupted(ctx, p.Name)}
		}
		if r.end.err == nil && r.usable() && !n.stale(r) {
			return r, ending{}
		}
		n.retire(r)
		n.release(r)
		if r.end.err != nil && fault.KindOf(r.end.err) != fault.Cancelled {
			return nil, r.end // others tried at the same time
		}
	}
}

// forgetRoute drops a connection that has ended, or did not come about.
func (n *Node) forgetRoute(r *route) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.routes[r.way.key] == r {
		delete(n.routes, r.way.key)
	}
	delete(n.live, r)
}

// connect fills r, whose way is set: a connection, TLS with the pinned key, Hello.
func (n *Node) connect(ctx context.Context, r *route, p identity.Peer) {
	limit, by := n.limit(), r.way
	raw, e := by.dial(ctx)
	if e.err != nil {
		r.end = e
		return
	}
	w, config := newWire(raw, nil), n.clientTLS(p)
	secured := tls.Client(w, config)
	hctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := secured.HandshakeContext(hctx); err != nil {
		w.Close()
		r.end = handshakeFailed(ctx, p.Name, by.where, err)
		return
	}
	if secured.ConnectionState().NegotiatedProtocol != "h2" {
		w.Close()
		r.end = ending{err: &fault.Error{Kind: fault.Peer, Party: p.Name, What: "what answers at " + by.where + " is no Kontor node", Cure: "check the address"}}
		return
	}
	var taken atomic.Bool
	cc, err := grpc.NewClient("passthrough:///peer",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if taken.Swap(true) {
				// gRPC must not connect by itself: a new connection is a new route.
				return nil, errors.New("the connection was lost")
			}
			return secured, nil
		}),
		grpc.WithTransportCredentials(handedOver{info: newAuthInfo(secured.ConnectionState(), w)}),
		grpc.WithAuthority("kontor"), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(wireWindow),
		grpc.WithReadBufferSize(ioBuffer), grpc.WithWriteBufferSize(ioBuffer), grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxPacket), grpc.MaxCallSendMsgSize(maxPacket)),
	)
	if err != nil {
		w.Close()
		r.end = ending{err: fmt.Errorf("transport: making a client: %w", err)}
		return
	}
	r.wire, r.cc, r.client, r.state = w, cc, peerv1.NewPeerClient(cc), secured.ConnectionState()
	r.shown, r.until = config.Certificates[0], n.opt.Now().Add(lifetime(n.opt.age))
	if r.theirs, r.end = n.hello(ctx, r.client, p.Name, limit); r.end.err != nil {
		cc.Close()
		w.Close() // if gRPC never took it
	}
}

func (n *Node) hello(ctx context.Context, client peerv1.PeerClient, peer string, limit time.Duration) (*peerv1.Greeting, ending) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reply, err := client.Hello(ctx, &peerv1.HelloRequest{Greeting: n.greeting})
	if err != nil {
		return nil, n.ended(peer, err)
	}
	theirs := reply.GetGreeting()
	if err := checkGreeting(theirs); err != nil {
		return nil, ending{err: violation(peer, err)}
	}
	if err := fits(n.greeting, theirs, peer); err != nil {
		return nil, ending{err: err}
	}
	if theirs.Name != peer {
		return nil, ending{err: &fault.Error{Kind: fault.Trust, Party: peer, What: fmt.Sprintf("it calls itself %q", clean(theirs.Name, 32)),
			Cure: "agree on one name and add its invitation again"}}
	}
	return theirs, ending{}
}
