package transport

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

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

// first reads the packet that opens a stream; nil if none comes.
func (c *Conn) first() *peerv1.Packet {
	alarm := newAlarm(c)
	alarm.arm()
	p, err := c.stream.Recv()
	alarm.disarm()
	if err != nil {
		c.letGo(status.Error(codes.Aborted, "no session was opened"))
		return nil
	}
	c.received.Add(size(p))
	return p
}

// answer reads the packet that opens the session, registers it and reads on.
func (c *Conn) answer() {
	defer c.node.wg.Done()
	p := c.first()
	if p == nil {
		return
	}
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
