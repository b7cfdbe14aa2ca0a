package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

const (
	ioBuffer  = 64 << 10
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
)

// Dial opens the session id with a peer. addr is host:port; empty means the
// address pinned with the peer. label names the session for people, such as the
// step of the job. While the peer cannot be reached it tries again, see
// [Options.DialPatience]; a refusal for its certificate or version is final. The
// error is a [fault.Error] that names the peer.
func (n *Node) Dial(ctx context.Context, peer, addr string, id [32]byte, label string) (*Conn, error) {
	p, err := n.opt.Peers.Get(peer)
	if err != nil {
		return nil, err
	}
	if addr == "" {
		addr = p.Address
	}
	if addr == "" {
		return nil, &fault.Error{Kind: fault.Peer, Party: peer, What: "no address is known for it", Cure: "give one, or have the peer open the connection"}
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
	r, e := n.route(ctx, p, addr)
	if e.err != nil {
		return nil, e
	}
	// The stream outlives ctx, which is only for opening it, and the closing of
	// the node until its last packets have arrived.
	sctx, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, cancel)()
	st, err := r.client.Exchange(sctx)
	if err != nil {
		cancel()
		return nil, n.ended(p.Name, err)
	}
	c := n.newConn(p.Name, r.wire, st)
	c.id, c.label, c.cancel, c.closeSend = id, label, cancel, st.CloseSend
	c.in.widen(queueBytes)
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		cancel()
		return nil, ending{err: stopped(p.Name)}
	}
	n.conns[c] = struct{}{}
	n.wg.Add(2)
	n.mu.Unlock()
	go c.write(&peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: label, Greeting: n.greeting}}})
	go c.read()
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

// route is the connection to a peer that its sessions share.
type route struct {
	ready  chan struct{} // closed when the rest is set
	end    ending
	wire   *wire
	cc     *grpc.ClientConn
	client peerv1.PeerClient
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
// versions, a new one if there is none.
func (n *Node) route(ctx context.Context, p identity.Peer, addr string) (*route, ending) {
	key := p.Fingerprint() + " " + addr
	for {
		n.mu.Lock()
		if n.closing {
			n.mu.Unlock()
			return nil, ending{err: stopped(p.Name)}
		}
		r := n.routes[key]
		if r == nil {
			r = &route{ready: make(chan struct{})}
			n.routes[key] = r
			n.wg.Add(1)
			n.mu.Unlock()
			n.connect(ctx, r, p, addr)
			close(r.ready)
			if r.end.err != nil {
				n.unroute(key, r)
				n.wg.Done()
				return nil, r.end
			}
			go func() {
				defer n.wg.Done()
				<-r.wire.down
				n.unroute(key, r)
				r.cc.Close()
			}()
			return r, ending{}
		}
		n.mu.Unlock()
		select {
		case <-r.ready:
		case <-ctx.Done():
			return nil, ending{err: interrupted(ctx, p.Name)}
		}
		if r.end.err == nil && r.usable() {
			return r, ending{}
		}
		if r.end.err != nil && fault.KindOf(r.end.err) != fault.Cancelled {
			return nil, r.end // others tried at the same time
		}
		n.unroute(key, r)
	}
}

func (n *Node) unroute(key string, r *route) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.routes[key] == r {
		delete(n.routes, key)
	}
}

// connect fills r: TCP, TLS with the pinned key, Hello.
func (n *Node) connect(ctx context.Context, r *route, p identity.Peer, addr string) {
	limit := max(n.opt.Silence, time.Second)
	raw, err := (&net.Dialer{Timeout: limit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		r.end = unreachable(ctx, p.Name, addr, err)
		return
	}
	w := newWire(raw, nil)
	secured := tls.Client(w, n.clientTLS(p))
	hctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := secured.HandshakeContext(hctx); err != nil {
		w.Close()
		r.end = handshakeFailed(ctx, p.Name, addr, err)
		return
	}
	if secured.ConnectionState().NegotiatedProtocol != "h2" {
		w.Close()
		r.end = ending{err: &fault.Error{Kind: fault.Peer, Party: p.Name, What: "what answers at " + addr + " is no Kontor node", Cure: "check the address"}}
		return
	}
	var taken atomic.Bool
	cc, err := grpc.NewClient("passthrough:///"+addr,
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
	r.wire, r.cc, r.client = w, cc, peerv1.NewPeerClient(cc)
	if r.end = n.hello(ctx, r.client, p.Name, limit); r.end.err != nil {
		cc.Close()
		w.Close() // if gRPC never took it
	}
}

func (n *Node) hello(ctx context.Context, client peerv1.PeerClient, peer string, limit time.Duration) ending {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reply, err := client.Hello(ctx, &peerv1.HelloRequest{Greeting: n.greeting})
	if err != nil {
		return n.ended(peer, err)
	}
	theirs := reply.GetGreeting()
	if err := checkGreeting(theirs); err != nil {
		return ending{err: violation(peer, err)}
	}
	if err := fits(n.greeting, theirs, peer); err != nil {
		return ending{err: err}
	}
	if theirs.Name != peer {
		return ending{err: &fault.Error{Kind: fault.Trust, Party: peer, What: fmt.Sprintf("it calls itself %q", clean(theirs.Name, 32)),
			Cure: "agree on one name and add its invitation again"}}
	}
	return ending{}
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
