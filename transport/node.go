package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

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

	Silence      time.Duration // how long a peer may be silent before it is given up; zero means 6 s
	Heartbeat    time.Duration // how often this node says that it lives; zero means 1 s, at most a quarter of Silence
	DialPatience time.Duration // how long Dial tries to reach a peer that is not there; zero: until its context ends, negative: once
	Linger       time.Duration // how long Close waits for peers to take what was sent to them; zero means 10 s

	// Both may be nil. They are called from any goroutine and should return soon.
	OnRefused func(error)                  // a caller was refused
	OnWaiting func(peer string, err error) // Dial could not reach the peer and will try again

	Now func() time.Time // the date for certificates; nil means time.Now
}

const (
	defaultSilence   = 6 * time.Second
	defaultHeartbeat = time.Second
	defaultLinger    = 10 * time.Second

	maxEarly     = 64      // sessions of one peer that wait for their owner
	maxUsed      = 4096    // sessions of one peer that are remembered as used
	maxPacket    = 1 << 20 // bytes of one gRPC message
	streamWindow = 8 << 20
	wireWindow   = 16 << 20
)

// Node is this institution's end of all connections. It is safe for concurrent use.
type Node struct {
	opt      Options
	greeting *peerv1.Greeting
	server   *grpc.Server // nil for a node that only dials
	listener *listener
	failed   chan error // of the server

	ctx    context.Context // ends when the node closes
	cancel context.CancelFunc
	wg     sync.WaitGroup
	closed chan struct{} // all is over
	once   sync.Once

	mu      sync.Mutex
	closing bool
	conns   map[*Conn]struct{}
	early   map[string][]*Conn // by peer: sessions that nobody asked for yet, oldest first
	waiting map[sessionKey]chan *Conn
	used    map[string][]([32]byte) // by peer: sessions that were accepted, oldest first
	routes  map[string]*route       // by peer and address
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
		used: map[string][]([32]byte){}, routes: map[string]*route{}}
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
	if l != nil {
		n.serve(l)
	}
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
	n.listener = newListener(l)
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
		n.listener.Close()
		n.listener.cut(false)
		t := time.AfterFunc(time.Second, func() { n.listener.cut(true) })
		n.server.GracefulStop()
		t.Stop()
	}
	n.mu.Lock()
	routes := n.routes
	n.routes = nil
	n.mu.Unlock()
	for _, r := range routes {
		r.close()
	}
	n.wg.Wait()
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

// service is the callee's side of the protocol.
type service struct {
	peerv1.UnimplementedPeerServer
	node *Node
}

// Hello implements peerv1.PeerServer.
func (s service) Hello(ctx context.Context, r *peerv1.HelloRequest) (*peerv1.HelloReply, error) {
	if err := s.node.greet(ctx.Value(callerKey{}).(caller).peer, r.GetGreeting()); err != nil {
		return nil, err
	}
	return &peerv1.HelloReply{Greeting: s.node.greeting}, nil
}

// Exchange implements peerv1.PeerServer. The goroutines of the session do the
// work; the handler keeps the stream for them.
func (s service) Exchange(st grpc.BidiStreamingServer[peerv1.Packet, peerv1.Packet]) error {
	n := s.node
	from := st.Context().Value(callerKey{}).(caller)
	c := n.newConn(from.peer, from.wire, st)
	n.wg.Add(1)
	go c.answer()
	<-c.released
	return c.status
}

// answer reads the packet that opens the session, registers it and reads on.
func (c *Conn) answer() {
	defer c.node.wg.Done()
	alarm := newAlarm(c)
	alarm.arm()
	p, err := c.stream.Recv()
	alarm.disarm()
	if err != nil {
		c.letGo(status.Error(codes.Aborted, "no session was opened"))
		return
	}
	c.received.Add(size(p))
	open := p.GetOpen()
	if open == nil || len(open.Session) != len(c.id) || len(open.Step) > maxLabel {
		c.node.refused(violation(c.in.peer, errors.New("its first packet opens no session")))
		c.letGo(refusal(codes.InvalidArgument, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_PROTOCOL, Text: "the first packet opens no session"}))
		return
	}
	if err := c.node.greet(c.in.peer, open.Greeting); err != nil {
		c.letGo(err)
		return
	}
	c.id, c.label = [32]byte(open.Session), clean(open.Step, maxLabel)
	if r := c.node.register(c); r != nil {
		c.letGo(refusal(codes.FailedPrecondition, r))
		return
	}
	go c.write(&peerv1.Packet{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}})
	c.read()
}

// maxLabel bounds the label of a session in bytes.
const maxLabel = 128

// register takes in a session that a peer opened: it goes to the Accept that
// waits for it, or waits itself. Both goroutines of c count from here on.
func (n *Node) register(c *Conn) *peerv1.Refusal {
	n.mu.Lock()
	defer n.mu.Unlock()
	peer := c.in.peer
	if n.closing {
		return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_LOCAL, Text: "it is being stopped"}
	}
	early := n.early[peer]
	if i := slices.IndexFunc(early, func(e *Conn) bool { return e.id == c.id }); i >= 0 && early[i].in.failure() != nil && early[i].finished() {
		early = slices.Delete(early, i, i+1) // the caller lost that connection before it knew it had one
		n.early[peer] = early
	} else if i >= 0 || slices.Contains(n.used[peer], c.id) {
		return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_REPLAY, Text: "the session was opened before"}
	}
	key := sessionKey{peer, c.id}
	if w := n.waiting[key]; w != nil {
		delete(n.waiting, key)
		n.own(c)
		w <- c
	} else {
		if len(early) >= maxEarly {
			// One that has ended makes room; it was kept only to say how it ended.
			i := slices.IndexFunc(early, func(e *Conn) bool { return e.finished() })
			if i < 0 {
				return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_BUSY, Text: "too many sessions wait"}
			}
			early = slices.Delete(early, i, i+1)
		}
		n.early[peer] = append(early, c)
	}
	n.conns[c] = struct{}{}
	n.wg.Add(2)
	return nil
}

// own gives c to whoever accepts it. n.mu is held.
func (n *Node) own(c *Conn) {
	c.owned.Store(true)
	c.in.widen(queueBytes)
	peer := c.in.peer
	used := append(n.used[peer], c.id)
	if len(used) > maxUsed {
		used = slices.Delete(used, 0, len(used)-maxUsed)
	}
	n.used[peer] = used
}

// forget drops a connection whose reader has ended.
func (n *Node) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// Accept waits until that peer opens that session. The error is a [fault.Error]
// that names the peer; if the peer opened the session and ended it with an error
// before, it is that error. A session can be accepted once.
func (n *Node) Accept(ctx context.Context, peer string, id [32]byte) (*Conn, error) {
	key := sessionKey{peer, id}
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return nil, stopped(peer)
	}
	if i := slices.IndexFunc(n.early[peer], func(e *Conn) bool { return e.id == id }); i >= 0 {
		c := n.early[peer][i]
		n.early[peer] = slices.Delete(n.early[peer], i, i+1)
		n.own(c)
		n.mu.Unlock()
		return accepted(c)
	}
	if n.waiting[key] != nil || slices.Contains(n.used[peer], id) {
		n.mu.Unlock()
		return nil, &fault.Error{Kind: fault.Internal, Party: peer, What: "the session is accepted twice", Cure: "this is a defect of Kontor, please report it"}
	}
	w := make(chan *Conn, 1)
	n.waiting[key] = w
	n.mu.Unlock()
	var err error
	select {
	case c := <-w:
		return accepted(c)
	case <-ctx.Done():
		err = interrupted(ctx, peer)
	case <-n.ctx.Done():
		err = stopped(peer)
	}
	n.mu.Lock()
	delete(n.waiting, key)
	n.mu.Unlock()
	select {
	case c := <-w: // it came at the last moment
		c.Abort(err)
	default:
	}
	return nil, err
}

// accepted turns a connection that failed while it waited into its error.
func accepted(c *Conn) (*Conn, error) {
	if err := c.in.failure(); err != nil {
		c.letGo(nil)
		return nil, err
	}
	return c, nil
}
