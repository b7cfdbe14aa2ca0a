package transport

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// MaxAsk bounds the body of a question, and of an answer, in bytes.
const MaxAsk = 4 << 20

const (
	maxAsks   = 64  // questions of one peer that are being answered
	maxMethod = 64  // bytes
	maxTold   = 500 // bytes of a text that a peer wrote for us
)

// ErrBusy is wrapped by the error of [Node.Ask] where the peer is answering too
// many questions of this node. Ask again a moment later.
var ErrBusy = errors.New("it is busy with other questions of this node")

// Remote is what a peer says of an error of its own. The errors of [Node.Ask]
// hold one where the peer answered with an error, and none where there is no
// answer. Its text is cut and cleaned.
type Remote struct {
	Kind fault.Kind // as the peer classed it
	Text string
	Told bool // the peer wrote the text for this node; otherwise it is one of fixed sentences
}

// Error implements error.
func (r *Remote) Error() string { return r.Text }

// told is an error whose text a peer may read.
type told struct{ f *fault.Error }

func (t told) Error() string { return t.f.Error() }
func (t told) Unwrap() error { return t.f }

// Tell marks the text of err, What, Cure and Step but never its cause, as written
// for the peer that asked. Only a fault of kind Usage, Spec, Data, Version,
// Consent or Local is told; of any other a peer learns what [fault.Public] gives.
func Tell(err *fault.Error) error { return told{err} }

// tellable returns the abort by which an error of the handler reaches the asker.
func tellable(err error) *peerv1.Abort {
	kind, text := fault.Public(err)
	var t told
	if errors.As(err, &t) {
		switch t.f.Kind {
		case fault.Usage, fault.Spec, fault.Data, fault.Version, fault.Consent, fault.Local:
			return &peerv1.Abort{Kind: kind, Told: true, Text: clean(t.f.What, maxTold), Cure: clean(t.f.Cure, maxTold), Step: clean(t.f.Step, maxMethod)}
		}
	}
	return &peerv1.Abort{Kind: kind, Text: text}
}

// remoteError is what the asker makes of it.
func remoteError(peer string, a *peerv1.Abort) error {
	r := &Remote{Kind: kindOf(a.Kind), Text: clean(a.Text, maxTold), Told: a.Told}
	f := &fault.Error{Kind: fault.Peer, Party: peer, Err: r, Cure: "look there for the reason"}
	if !a.Told {
		return f
	}
	switch r.Kind {
	case fault.Usage, fault.Spec, fault.Data, fault.Version, fault.Consent, fault.Local:
		f.Kind = r.Kind
	}
	f.Step = clean(a.Step, maxMethod)
	if a.Cure != "" {
		f.Cure = clean(a.Cure, maxTold)
	}
	return f
}

// kindOf returns the kind that a word on the wire stands for.
func kindOf(word string) fault.Kind {
	for k := fault.Internal; k <= fault.Cancelled; k++ {
		if k.String() == word {
			return k
		}
	}
	return fault.Internal
}

// Ask puts a question to a peer, whose [Options.OnAsk] answers it. addr is as in
// [Node.Dial]. The peer may take as long as it likes, until ctx ends; it is given
// up when it falls silent. Ask does not wait for a peer that cannot be reached:
// that is an error of kind [fault.Peer] soon.
//
// The error is a [fault.Error] that names the peer. It holds a [Remote] if the
// peer answered with an error, and has the kind of that if the peer told it, see
// [Tell]. After an error without a Remote the question may have been handled
// nevertheless, and where a connection was lost it may be put twice: what it asks
// for should bear that.
func (n *Node) Ask(ctx context.Context, peer, addr, method string, body []byte) ([]byte, error) {
	p, err := n.opt.Peers.Get(peer)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxAsk || len(method) > maxMethod {
		return nil, &fault.Error{Kind: fault.Internal, Party: peer, What: fmt.Sprintf("the question %.64q is longer than %d bytes", method, MaxAsk),
			Cure: "this is a defect of Kontor, please report it"}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(n.ctx, func() { stop(stopped(peer)) })()
	for again := false; ; again = true {
		reply, e := n.ask(ctx, p, addr, method, body)
		if e.err == nil {
			return reply, nil
		}
		// A connection that had been idle may turn out to be dead; a new one is
		// worth one more attempt.
		if !e.retry || again || ctx.Err() != nil {
			return nil, e.err
		}
	}
}

// ask makes one attempt.
func (n *Node) ask(ctx context.Context, p identity.Peer, addr, method string, body []byte) ([]byte, ending) {
	r, e := n.reach(ctx, p, addr)
	if e.err != nil {
		return nil, ending{err: e.err}
	}
	defer n.release(r)
	if err := r.speaks(wireAsk, p.Name); err != nil {
		return nil, ending{err: err}
	}
	idle := r.used.Swap(true)
	sctx, cancel := context.WithCancel(context.Background())
	st, err := r.client.Ask(sctx)
	if err != nil {
		cancel()
		e := n.ended(p.Name, err)
		e.retry = e.retry && idle
		return nil, e
	}
	n.keep(st.Context(), r)
	c := n.newConn(p.Name, r.wire, st)
	c.label, c.cancel, c.closeSend = method, cancel, st.CloseSend
	first := &peerv1.Packet{Body: &peerv1.Packet_Question{Question: &peerv1.Question{Method: method, Greeting: n.greeting}}}
	if !n.begin(c, first) {
		cancel()
		return nil, ending{err: stopped(p.Name)}
	}
	c.owned.Store(true)
	err = c.Send(ctx, body)
	var reply []byte
	if err == nil {
		reply, err = c.Recv(ctx, MaxAsk)
	}
	if err == nil {
		c.Close()
		return reply, ending{}
	}
	if failed := c.Err(); failed != nil { // says more than what Send noticed of it
		err = failed
	}
	// The peer learns from the end of the stream that nobody waits any more.
	c.in.fail(err, true)
	c.letGo(nil)
	if a := c.last.Load(); a != nil {
		return nil, ending{err: remoteError(p.Name, a)}
	}
	select {
	case <-c.opened: // it may have been handled
		return nil, ending{err: err}
	default:
		return nil, ending{err: err, retry: idle && c.retry.Load()}
	}
}

// begin starts the goroutines of a stream that this node opened; false if the
// node is being closed.
func (n *Node) begin(c *Conn, first *peerv1.Packet) bool {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return false
	}
	n.conns[c] = struct{}{}
	n.wg.Add(2)
	n.mu.Unlock()
	go c.write(first)
	go c.read()
	return true
}

// Ask implements peerv1.PeerServer.
func (s service) Ask(st grpc.BidiStreamingServer[peerv1.Packet, peerv1.Packet]) error {
	n := s.node
	from := st.Context().Value(callerKey{}).(caller)
	c := n.newConn(from.peer, from.wire, st)
	c.asks = true
	n.wg.Go(c.answerQuestion)
	<-c.released
	return c.status
}

// answerQuestion reads the packet that opens an Ask, has it answered and sends
// the answer.
func (c *Conn) answerQuestion() {
	n := c.node
	p := c.first()
	if p == nil {
		return
	}
	q := p.GetQuestion()
	if q == nil || len(q.Method) > maxMethod {
		n.refused(violation(c.in.peer, errors.New("its first packet asks no question")))
		c.letGo(refusal(codes.InvalidArgument, &peerv1.Refusal{Reason: peerv1.Refusal_REASON_PROTOCOL, Text: "the first packet asks no question"}))
		return
	}
	if err := n.greet(c.in.peer, q.Greeting); err != nil {
		c.letGo(err)
		return
	}
	if n.opt.OnAsk == nil {
		c.letGo(status.Error(codes.Unimplemented, "this node takes no questions"))
		return
	}
	c.label = clean(q.Method, maxMethod)
	if r := n.takeQuestion(c); r != nil {
		c.letGo(refusal(codes.FailedPrecondition, r))
		return
	}
	defer n.questionDone(c.in.peer)
	go c.write(&peerv1.Packet{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}})
	go c.read()
	c.answerTo(q.Method)
}

// takeQuestion registers c, whose goroutines count from here on, or says why not.
func (n *Node) takeQuestion(c *Conn) *peerv1.Refusal {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_LOCAL, Text: "it is being stopped"}
	}
	if n.asks[c.in.peer] >= maxAsks {
		return &peerv1.Refusal{Reason: peerv1.Refusal_REASON_CROWDED, Text: "too many questions at once"}
	}
	n.asks[c.in.peer]++
	n.conns[c] = struct{}{}
	n.wg.Add(2)
	c.owned.Store(true)
	return nil
}

func (n *Node) questionDone(peer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asks[peer]--; n.asks[peer] <= 0 {
		delete(n.asks, peer)
	}
}

func (c *Conn) answerTo(method string) {
	ctx, cancel := context.WithCancel(c.stream.Context())
	defer cancel()
	defer context.AfterFunc(c.node.ctx, cancel)()
	go func() { // who answers need not go on when nobody waits any more
		select {
		case <-c.in.done:
		case <-c.in.end:
		case <-ctx.Done():
		}
		cancel()
	}()
	body, err := c.Recv(ctx, MaxAsk)
	if err == nil {
		body, err = c.handle(ctx, method, body)
	}
	if err == nil {
		err = c.Send(ctx, body)
	}
	if err != nil {
		c.Abort(err)
		return
	}
	c.Close()
}

// handle calls the owner's handler. A defect in it must not end the process.
func (c *Conn) handle(ctx context.Context, method string, body []byte) (reply []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, 4<<10)
			stack = stack[:runtime.Stack(stack, false)]
			err = &fault.Error{Kind: fault.Internal, Party: c.in.peer, What: fmt.Sprintf("answering its question %s met a defect", c.label),
				Err: fmt.Errorf("panic: %v, %s", p, stack), Cure: "please report it"}
			c.node.refused(err)
		}
	}()
	reply, err = c.node.opt.OnAsk(ctx, c.in.peer, method, body)
	if err == nil && len(reply) > MaxAsk {
		err = &fault.Error{Kind: fault.Internal, Party: c.in.peer, What: fmt.Sprintf("the answer to %s has %d bytes, at most %d can be sent", c.label, len(reply), MaxAsk),
			Cure: "please report it"}
		c.node.refused(err)
	}
	return reply, err
}
