package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// stream is what both ends of a gRPC stream have in common.
type stream interface {
	Send(*peerv1.Packet) error
	Recv() (*peerv1.Packet, error)
	Context() context.Context
}

// abortTime is how long Abort tries to tell the peer why.
const abortTime = 2 * time.Second

// Conn is one session with one peer. Send and Recv may be called at the same
// time, each from one goroutine at a time; the other methods at any time.
//
// Whoever has a Conn calls Close or Abort in the end, also after it failed.
type Conn struct {
	in    *inbox
	node  *Node
	id    [32]byte
	label string
	wire  *wire

	stream    stream
	closeSend func() error       // nil at the callee
	cancel    context.CancelFunc // nil at the callee
	status    error              // what the callee's handler returns; set before released

	sending chan struct{} // 1: a Send is under way
	broken  bool          // a message was cut off; guarded by sending

	out      chan *peerv1.Packet // chunks for the writer
	closing  chan struct{}       // closed by Close
	aborting chan struct{}       // closed by Abort
	farewell *peerv1.Packet      // set before aborting is closed
	once     sync.Once           // closing or aborting

	opened   chan struct{} // the peer took the session
	stuck    chan struct{} // the writer failed
	written  chan struct{} // the writer ended
	gone     chan struct{} // the reader ended
	released chan struct{} // the stream may be torn down
	release  sync.Once

	owned          atomic.Bool                  // somebody has it who will call Close or Abort
	retry          atomic.Bool                  // it failed before anything was settled
	asks           bool                         // it carries a question to this node, whose asker may be told more
	last           atomic.Pointer[peerv1.Abort] // the peer's, if it ended with one
	sent, received atomic.Int64
}

func (n *Node) newConn(peer string, w *wire, s stream) *Conn {
	return &Conn{in: newInbox(peer, earlyBytes), node: n, wire: w, stream: s,
		sending: make(chan struct{}, 1), out: make(chan *peerv1.Packet),
		closing: make(chan struct{}), aborting: make(chan struct{}), opened: make(chan struct{}), stuck: make(chan struct{}),
		written: make(chan struct{}), gone: make(chan struct{}), released: make(chan struct{})}
}

// Peer returns the name of the party at the other end.
func (c *Conn) Peer() string { return c.in.peer }

// Label returns what the caller named the session, for people.
func (c *Conn) Label() string { return c.label }

// WireBytes returns the bytes of all packets sent and received, heartbeats and
// gRPC framing included, HTTP/2 and TLS framing (0.2 %) not.
func (c *Conn) WireBytes() (sent, received int64) { return c.sent.Load(), c.received.Load() }

// Done is closed when the connection failed, because the peer was lost, fell
// silent or aborted, and when it was closed here. It is not closed when the peer
// merely closed in order: then what it sent can still be received.
func (c *Conn) Done() <-chan struct{} { return c.in.done }

// Err returns why the connection failed; nil while it works and after an orderly
// end. It is a [fault.Error] that names the peer.
func (c *Conn) Err() error { return c.in.failure() }

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, maxChunk); return &b }}

// Send sends one message, the concatenation of its parts, and returns when the
// transport has taken it over; the parts may be reused then. It blocks while the
// peer does not receive. If ctx ends in the middle of a message, no further
// message can be sent, but the connection can still be received from and aborted.
func (c *Conn) Send(ctx context.Context, parts ...[]byte) error {
	select {
	case c.sending <- struct{}{}:
	case <-c.in.done:
		return c.in.state()
	case <-ctx.Done():
		return interrupted(ctx, c.in.peer)
	}
	defer func() { <-c.sending }()
	if c.broken {
		return cutOff(c.in.peer)
	}
	first := true
	return cut(parts, func() []byte { return (*buffers.Get().(*[]byte))[:0] }, func(data []byte, last bool) error {
		err := c.hand(ctx, &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: data, Last: last}}})
		c.broken = err != nil && !first
		first = false
		return err
	})
}

// hand gives one packet to the writer.
func (c *Conn) hand(ctx context.Context, p *peerv1.Packet) error {
	if err := c.in.state(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return interrupted(ctx, c.in.peer)
	}
	select {
	case c.out <- p:
		return nil
	case <-c.in.done:
		return c.in.state()
	case <-c.in.end:
		return c.in.state()
	case <-ctx.Done():
		return interrupted(ctx, c.in.peer)
	}
}

// Recv returns the next message. One longer than limit bytes fails the
// connection. If ctx ends first, nothing is lost: the next call goes on.
func (c *Conn) Recv(ctx context.Context, limit int) ([]byte, error) { return c.in.recv(ctx, limit) }

// Close ends the session in order. What was sent before is still delivered, in
// the background; [Node.Close] waits for that. The peer, if it waits for more,
// gets an error that wraps [ErrEnded]. On a connection that failed it is Abort.
func (c *Conn) Close() error {
	if err := c.in.close(); err != nil {
		c.Abort(err)
		return nil
	}
	c.once.Do(func() { close(c.closing) })
	return nil
}

// Abort ends the session with an error, of which the peer is told no more than
// [fault.Public] gives. It tries for up to two seconds and returns.
func (c *Conn) Abort(err error) {
	c.in.fail(asFault(err, c.in.peer), true)
	c.once.Do(func() {
		kind, text := fault.Public(err)
		a := &peerv1.Abort{Kind: kind, Text: text}
		if c.asks {
			a = tellable(err)
		}
		c.farewell = &peerv1.Packet{Body: &peerv1.Packet_Abort{Abort: a}}
		close(c.aborting)
		t := time.NewTimer(abortTime)
		defer t.Stop()
		select {
		case <-c.written:
		case <-t.C:
			// The packet is stuck behind data that the peer does not take. The
			// callee can still say it in the status of the stream.
			c.letGo(farewellStatus(c.farewell.GetAbort()))
			return
		}
		if c.cancel != nil {
			select {
			case <-c.gone:
			case <-t.C:
			}
		}
		c.letGo(nil)
	})
}

func farewellStatus(a *peerv1.Abort) error {
	s, err := status.New(codes.Aborted, a.Text).WithDetails(a)
	if err != nil {
		return status.Error(codes.Aborted, a.Text)
	}
	return s.Err()
}

// letGo ends the stream: it cancels the caller's, or has the callee's handler
// return with the status.
func (c *Conn) letGo(status error) {
	c.release.Do(func() {
		c.status = status
		close(c.released)
		if c.cancel != nil {
			c.cancel()
		}
	})
}

// finished reports whether the reader has ended, so that nothing more arrives.
func (c *Conn) finished() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// fail ends the connection with a cause that was found here. While nobody owns
// it, nobody will abort it either.
func (c *Conn) fail(err error, drop bool) {
	c.in.fail(err, drop)
	if !c.owned.Load() {
		c.letGo(nil)
	}
}

func (c *Conn) send(p *peerv1.Packet) error {
	c.sent.Add(size(p))
	return c.stream.Send(p)
}

// size returns the length of p on a stream, with the prefix of a gRPC message.
func size(p *peerv1.Packet) int64 { return int64(proto.Size(p)) + 5 }

// write is the goroutine that alone sends on the stream. first is sent first.
func (c *Conn) write(first *peerv1.Packet) {
	defer c.node.wg.Done()
	defer close(c.written)
	beat := time.NewTicker(c.node.opt.Heartbeat)
	defer beat.Stop()
	heartbeat := &peerv1.Packet{Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}}
	p, last, busy := first, false, false
	for {
		if p != nil {
			err := c.send(p)
			if d := p.GetChunk().GetData(); cap(d) == maxChunk {
				buffers.Put(&d)
			}
			if err != nil {
				close(c.stuck) // the reader knows why, or finds out
				return
			}
		}
		if last {
			c.halfClose()
			return
		}
		p = nil
		select {
		case <-c.aborting: // before data that waits
			p, last = c.farewell, true
			continue
		default:
		}
		select {
		case p = <-c.out:
			busy = true
		case <-beat.C:
			if !busy {
				p = heartbeat
			}
			busy = false
		case <-c.aborting:
			p, last = c.farewell, true
		case <-c.closing:
			p, last = &peerv1.Packet{Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}}, true
		case <-c.in.end: // the peer closed; nothing we send is wanted
			last = true
		case <-c.released:
			return
		}
	}
}

// halfClose tells the callee that nothing follows. The callee's own end of the
// stream closes when its handler returns.
func (c *Conn) halfClose() {
	if c.closeSend != nil {
		c.closeSend()
	}
}

// read is the goroutine that alone receives from the stream, so that the peer's
// heartbeats are seen while nobody calls Recv.
func (c *Conn) read() {
	defer c.node.wg.Done()
	defer c.node.forget(c)
	defer close(c.gone)
	alarm := newAlarm(c)
	defer alarm.disarm()
	for {
		alarm.arm()
		p, err := c.stream.Recv()
		alarm.disarm()
		if err != nil {
			c.streamEnded(err)
			return
		}
		c.received.Add(size(p))
		switch c.take(p) {
		case stop:
			return
		case drain:
			// The connection failed here. What the peer still sends is thrown
			// away until the owner's Abort has reached it and it ends the stream.
			for err == nil {
				_, err = c.stream.Recv()
			}
			c.letGo(nil)
			return
		}
	}
}

// What the reader does after a packet.
type next int

const (
	more next = iota
	drain
	stop
)

// take handles one packet.
func (c *Conn) take(p *peerv1.Packet) next {
	select {
	case <-c.in.end:
		return c.violated(errors.New("it sent something after it had closed the session"))
	default:
	}
	switch b := p.Body.(type) {
	case *peerv1.Packet_Heartbeat:
		return more
	case *peerv1.Packet_Chunk:
		return c.takeChunk(chunk{b.Chunk.GetData(), b.Chunk.GetLast()})
	case *peerv1.Packet_Opened:
		select {
		case <-c.opened:
			return c.violated(errors.New("it took the session twice"))
		default:
		}
		if c.cancel == nil {
			return c.violated(errors.New("it answered a call that it made itself"))
		}
		close(c.opened)
		return more
	case *peerv1.Packet_Abort:
		c.last.Store(b.Abort)
		c.in.fail(aborted(c.in.peer, b.Abort.GetText()), true)
		c.letGo(nil)
		return stop
	case *peerv1.Packet_Close:
		c.in.finish()
		if c.cancel != nil {
			return more // until the callee has seen our half-close
		}
		// The caller sees the end of the stream as the receipt for all it sent.
		select {
		case <-c.written:
		case <-c.stream.Context().Done():
		}
		c.letGo(nil)
		return stop
	}
	return c.violated(fmt.Errorf("it sent a packet of a kind that is not due (%T)", p.Body))
}

func (c *Conn) takeChunk(k chunk) next {
	if err := k.check(); err != nil {
		return c.violated(err)
	}
	// While this waits for room nobody reads from the stream; these say that it ended.
	if c.in.push(k, &stops{c.released, c.stuck, c.wire.down, c.stream.Context().Done()}) {
		return more
	}
	if c.in.failure() == nil {
		c.streamEnded(status.Error(codes.Unavailable, ""))
		return stop
	}
	return drain
}

// violated fails the connection.
func (c *Conn) violated(err error) next {
	c.fail(violation(c.in.peer, err), true)
	return drain
}

// streamEnded notes that nothing more will come from the stream.
func (c *Conn) streamEnded(err error) {
	select {
	case <-c.in.end: // as it should
	default:
		s, _ := status.FromError(err)
		for _, d := range s.Details() {
			if a, ok := d.(*peerv1.Abort); ok {
				c.last.Store(a)
			}
		}
		e := c.node.ended(c.in.peer, err)
		c.retry.Store(e.retry)
		c.in.fail(e.err, false)
	}
	c.letGo(nil)
}

// alarm fails a connection whose peer is silent while the reader waits for it.
// While the reader does not wait, because its queue is full, silence is our own.
type alarm struct {
	c     *Conn
	mu    sync.Mutex
	timer *time.Timer
	since time.Duration // after epoch, when the reader began to wait; negative while it does not
	late  bool          // the limit was passed once
}

func newAlarm(c *Conn) *alarm {
	a := &alarm{c: c, since: -1}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(c.node.opt.Silence, a.ring)
	return a
}

func (a *alarm) arm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since, a.late = time.Since(epoch), false
	a.timer.Reset(a.c.node.opt.Silence)
}

func (a *alarm) disarm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = -1
	a.timer.Stop()
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since < 0 {
		return
	}
	limit := a.c.node.opt.Silence
	quiet := min(a.c.wire.quiet(), time.Since(epoch)-a.since)
	if quiet < limit { // something arrived, of this session or of another
		a.late = false
		a.timer.Reset(limit - quiet)
		return
	}
	if !a.late {
		// If this process was stopped or starved, what the peer sent meanwhile
		// is still to be read. It gets the time for that.
		a.late = true
		a.timer.Reset(limit / 8)
		return
	}
	a.since = -1
	a.c.wire.giveUp()
	if a.c.in.over() { // only the end of the stream is missing
		a.c.letGo(nil)
		return
	}
	a.c.retry.Store(true) // if it was not open yet: a firewall may have forgotten an idle connection
	a.c.fail(&fault.Error{Kind: fault.Peer, Party: a.c.in.peer, What: fmt.Sprintf("it has been silent for %s", limit),
		Cure: "check that its node is running and that the network between lets data through, then run the job again"}, false)
}
