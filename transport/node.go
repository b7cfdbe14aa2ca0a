package transport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// Options are what a node is made with.
type Options struct {
	Identity *identity.Identity // with a node certificate
	Peers    *identity.Peers    // whom to talk to
	Version  VersionInfo

	Listen   string       // host:port to listen on, port 0 for any; empty for a node that only dials
	Listener net.Listener // instead of Listen; the node closes it

	// OnAsk answers the questions of peers, see [Node.Ask]; nil for a node that
	// takes none. ctx ends when the peer is gone or waits no more. The error goes
	// to the peer, its text only as far as [Tell] allows. At most 64 calls for one
	// peer run at the same time.
	OnAsk func(ctx context.Context, peer, method string, body []byte) ([]byte, error)

	DialOut []DialOut // peers to which this node keeps a connection through which they reach it
	Relay   bool      // pass connections on between peers that dial out to this node

	Silence      time.Duration // how long a peer may be silent before it is given up; zero means 6 s
	Heartbeat    time.Duration // how often this node says that it lives; zero means 1 s, at most a quarter of Silence
	DialPatience time.Duration // how long Dial tries to reach a peer that is not there; zero: until its context ends, negative: once
	Linger       time.Duration // how long Close waits for peers to take what was sent to them; zero means 10 s

	// Both may be nil. They are called from any goroutine and should return soon.
	OnRefused func(error)                  // a caller was refused
	OnWaiting func(peer string, err error) // Dial, or what keeps [Options.DialOut], could not reach the peer or lost it, and will try again

	Now func() time.Time // the date for certificates and the age of connections; nil means time.Now

	age time.Duration // for tests, of a connection; zero means maxAge
	tap func([]byte)  // for tests: sees what a relay sees
}

const (
	defaultSilence   = 6 * time.Second
	defaultHeartbeat = time.Second
	defaultLinger    = 10 * time.Second

	maxEarly     = 256     // sessions of one peer that wait for their owner
	maxUsed      = 4096    // sessions of one peer that are remembered as used
	maxPacket    = 1 << 20 // bytes of one gRPC message
	streamWindow = 8 << 20
	wireWindow   = 16 << 20
)

// DialOut is a peer with an open port, to which a node that takes no connections
// keeps one, by which it can be called. That peer may also be a relay, by which
// the node reaches and is reached by others that dial out to it.
type DialOut struct {
	Peer string
	Addr string // host:port; empty for the one pinned with the peer
}

// Node is this institution's end of all connections. It is safe for concurrent use.
type Node struct {
	opt      Options
	greeting *peerv1.Greeting
	server   *grpc.Server // nil for a node that takes no calls
	listener *listener    // nil for a node that only dials
	inner    *listener    // of connections that come in tunnels
	arrivals *arrivals
	failed   chan error // of the server

	ctx        context.Context // ends when the node closes
	cancel     context.CancelFunc
	tctx       context.Context // ends when what goes through tunnels is done too
	endTunnels context.CancelFunc
	wg         sync.WaitGroup
	closed     chan struct{} // all is over
	once       sync.Once

	mu      sync.Mutex
	closing bool
	conns   map[*Conn]struct{}
	early   map[string][]*Conn // by peer: sessions that nobody asked for yet, oldest first
	waiting map[sessionKey]chan *Conn
	used    map[string][]([32]byte) // by peer: sessions that were accepted, oldest first
	routes  map[string]*route       // by peer and address
	live    map[*route]struct{}     // those, and others that still are in use
	asks    map[string]int          // by peer: questions that are being answered
	tunnels map[tunnelKey]int       // by peer and way: tunnels that it opened
	back    map[string][]*route     // by fingerprint: connections that peers keep to this node, oldest first
	outs    []DialOutState          // as Options.DialOut
}

type sessionKey struct {
	peer string
	id   [32]byte
}

// Listen returns a node that takes connections from now on. The error is a
// [fault.Error], of kind [fault.Local] if it cannot listen.
func Listen(o Options) (*Node, error) {
	if o.Identity == nil || o.Peers == nil {
		return nil, errors.New("transport: a node needs an identity and peers")
	}
	if len(o.Identity.TLSCertificate().Certificate) == 0 {
		return nil, fault.New(fault.Trust, "this node has no certificate", "renew it")
	}
	o.defaults()
	n := &Node{opt: o, greeting: o.Version.greeting(o.Identity.Name()), failed: make(chan error, 1), closed: make(chan struct{}),
		conns: map[*Conn]struct{}{}, early: map[string][]*Conn{}, waiting: map[sessionKey]chan *Conn{},
		used: map[string][]([32]byte){}, routes: map[string]*route{}, live: map[*route]struct{}{},
		asks: map[string]int{}, tunnels: map[tunnelKey]int{}, back: map[string][]*route{}}
	if err := checkGreeting(n.greeting); err != nil {
		return nil, fmt.Errorf("transport: own version: %w", err)
	}
	l := o.Listener
	if l == nil && o.Listen != "" {
		var err error
		if l, err = net.Listen("tcp", o.Listen); err != nil {
			return nil, cannotListen(o.Listen, err)
		}
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.tctx, n.endTunnels = context.WithCancel(context.Background())
	if l != nil || len(o.DialOut) > 0 {
		n.serve(l)
	}
	n.dialOut()
	return n, nil
}

func (o *Options) defaults() {
	if o.Silence <= 0 {
		o.Silence = defaultSilence
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = defaultHeartbeat
	}
	o.Heartbeat = max(min(o.Heartbeat, o.Silence/4), time.Millisecond)
	if o.Linger <= 0 {
		o.Linger = defaultLinger
	}
	if o.age <= 0 {
		o.age = maxAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Version.WireMin == 0 {
		o.Version.WireMin = WireMin
	}
	if o.Version.WireMax == 0 {
		o.Version.WireMax = WireMax
	}
}

func cannotListen(address string, err error) error {
	what, cure := "this node cannot listen on "+address, "choose another address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		what = "the address " + address + " is in use by another program"
		cure = "stop that program, or choose another address to listen on"
		err = nil
	case errors.Is(err, os.ErrPermission):
		cure = "choose a port above 1023, or let this program use lower ones"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		cure = "choose an address that this machine has"
	}
	return fault.Wrap(fault.Local, err, what, cure)
}

func (n *Node) serve(l net.Listener) {
	n.server = grpc.NewServer(
		grpc.Creds(serverCredentials{node: n}),
		grpc.UnaryInterceptor(n.checkUnary), grpc.StreamInterceptor(n.checkStream),
		grpc.MaxRecvMsgSize(maxPacket), grpc.MaxSendMsgSize(maxPacket), grpc.MaxHeaderListSize(16<<10),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(wireWindow),
		grpc.ReadBufferSize(ioBuffer), grpc.WriteBufferSize(ioBuffer),
		grpc.ConnectionTimeout(max(n.opt.Silence, strangerTime)), grpc.MaxConcurrentStreams(4096),
		grpc.WaitForHandlers(true),
	)
	peerv1.RegisterPeerServer(n.server, service{node: n})
	if len(n.opt.DialOut) > 0 {
		n.arrivals = newArrivals()
		n.inner = newListener(n.arrivals)
		n.wg.Go(func() { n.server.Serve(n.inner) })
	}
	if l == nil {
		return
	}
	n.listener = newListener(l)
	n.wg.Go(func() {
		if err := n.server.Serve(n.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.failed <- fault.Wrap(fault.Local, err, "this node can take no more connections", "look at the system's log and start it again")
		}
	})
}

// Addr returns the address that the node listens on; empty if it does not.
func (n *Node) Addr() string {
	if n.listener == nil {
		return ""
	}
	return n.listener.Addr().String()
}

// Run waits until ctx ends or the node cannot go on, closes it and returns the
// error that stopped it; nil if ctx did.
func (n *Node) Run(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
	case <-n.closed:
	case err = <-n.failed:
	}
	n.Close()
	return err
}

// Close ends the node. Sessions that are open are aborted; those that were
// closed get [Options.Linger] to reach their peers. It returns when every
// goroutine of the node has ended.
func (n *Node) Close() error {
	n.once.Do(func() {
		defer close(n.closed)
		n.shut()
	})
	<-n.closed
	return nil
}

func (n *Node) shut() {
	n.mu.Lock()
	n.closing = true
	conns := make([]*Conn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	n.cancel() // ends Accept and Dial

	deadline, stop := context.WithTimeout(context.Background(), n.opt.Linger)
	defer stop()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			if !c.in.over() {
				c.Abort(fault.New(fault.Cancelled, "this node was stopped", ""))
			}
			select {
			case <-c.gone:
			case <-deadline.Done():
			}
			c.letGo(nil)
		})
	}
	wg.Wait()
	if n.server != nil {
		// What handlers have returned is written out, then nobody is waited for.
		t := time.AfterFunc(time.Second, func() { n.cut(true) })
		u := time.AfterFunc(time.Second/5, n.endTunnels)
		n.cut(false)
		n.server.GracefulStop()
		t.Stop()
		u.Stop()
	}
	n.endTunnels()
	n.mu.Lock()
	live := slices.Collect(maps.Keys(n.live))
	n.mu.Unlock()
	for _, r := range live {
		r.close()
	}
	n.wg.Wait()
}

// cut closes the listeners and the connections that they took; see [listener.cut].
func (n *Node) cut(all bool) {
	for _, l := range []*listener{n.listener, n.inner} {
		if l != nil {
			l.Close()
			l.cut(all)
		}
	}
}

func (n *Node) refused(err error) {
	if n.opt.OnRefused != nil {
		n.opt.OnRefused(err)
	}
}

// caller is who makes a call, as its handler sees it.
type caller struct {
	peer string
	wire *wire
}

type callerKey struct{}

// authenticate refuses callers that are not pinned. It runs for every call, so
// that a certificate that expires or a peer that is removed counts at once.
func (n *Node) authenticate(ctx context.Context) (context.Context, error) {
	p, _ := grpcpeer.FromContext(ctx)
	var info authInfo
	if p != nil {
		info, _ = p.AuthInfo.(authInfo)
	}
	peer, err := identity.VerifyPeer(info.chain, n.opt.Peers, n.opt.Now())
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			told := *f
			told.What = fmt.Sprintf("a caller at %s was refused", p.Addr)
			n.refused(&told)
		}
		return nil, certificateRefusal(err)
	}
	return context.WithValue(ctx, callerKey{}, caller{peer.Name, info.wire}), nil
}

func (n *Node) checkUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, err := n.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (n *Node) checkStream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, err := n.authenticate(s.Context())
	if err != nil {
		return err
	}
	return handle(srv, authenticated{s, ctx})
}

// authenticated is a stream whose context holds its caller.
type authenticated struct {
	grpc.ServerStream
	ctx context.Context
}

func (s authenticated) Context() context.Context { return s.ctx }

// greet checks what a caller says of itself; the error is a refusal.
func (n *Node) greet(peer string, g *peerv1.Greeting) error {
	if err := checkGreeting(g); err != nil {
		n.refused(violation(peer, err))
		return refusal(codes.InvalidArgument, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_PROTOCOL, Text: "the greeting makes no sense"})
	}
	if err := fits(n.greeting, g, peer); err != nil {
		n.refused(err)
		return refusal(codes.FailedPrecondition, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_VERSION,
			Text: "versions or capabilities do not fit", Greeting: n.greeting})
	}
	if g.Name != peer {
		n.refused(&fault.Error{Kind: fault.Trust, Party: peer, What: fmt.Sprintf("it calls itself %q", clean(g.Name, 32)),
			Cure: "agree on one name and add its invitation again"})
		return refusal(codes.FailedPrecondition, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_NAME,
			Text: "the caller is known here as " + peer, Name: peer})
	}
	return nil
}
