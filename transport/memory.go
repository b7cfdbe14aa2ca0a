package transport

import (
	"context"
	"sync"

	"kontor/internal/fault"
)

// MemConn is one end of a connection within the process, for tests of what runs
// above a transport. It behaves as [Conn] does, without a network to lose.
type MemConn struct {
	in, out *inbox // out is the other end's in
	sending chan struct{}
	broken  bool // a message was cut off; guarded by sending
	end     sync.Once
}

// MemoryPair returns the two ends of a connection between the parties a and b:
// the first is a's, whose peer is b.
func MemoryPair(a, b string) (*MemConn, *MemConn) {
	atA, atB := newInbox(b, queueBytes), newInbox(a, queueBytes)
	return &MemConn{in: atA, out: atB, sending: make(chan struct{}, 1)}, &MemConn{in: atB, out: atA, sending: make(chan struct{}, 1)}
}

// Send implements session.Conn, as [Conn.Send].
func (c *MemConn) Send(ctx context.Context, parts ...[]byte) error {
	select {
	case c.sending <- struct{}{}:
	case <-ctx.Done():
		return interrupted(ctx, c.in.peer)
	}
	defer func() { <-c.sending }()
	first := true
	return cut(parts, func() []byte { return make([]byte, 0, min(maxChunk, total(parts))) }, func(data []byte, last bool) error {
		err := c.hand(ctx, chunk{data, last})
		c.broken = c.broken || err != nil && !first
		first = false
		return err
	})
}

// hand gives one chunk to the other end.
func (c *MemConn) hand(ctx context.Context, k chunk) error {
	if err := c.in.state(); err != nil {
		return err
	}
	if c.broken {
		return cutOff(c.in.peer)
	}
	if ctx.Err() == nil && c.out.push(k, &stops{ctx.Done(), c.in.done, c.in.end}) {
		return nil
	}
	// The other end may have failed without having told this one yet; over a
	// network the sender would be held up here.
	select {
	case <-c.in.done:
	case <-c.in.end:
	case <-ctx.Done():
		return interrupted(ctx, c.in.peer)
	}
	return c.in.state()
}

func total(parts [][]byte) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// Recv implements session.Conn, as [Conn.Recv].
func (c *MemConn) Recv(ctx context.Context, limit int) ([]byte, error) { return c.in.recv(ctx, limit) }

// Close ends the session in order, as [Conn.Close].
func (c *MemConn) Close() error {
	if err := c.in.close(); err != nil {
		c.Abort(err)
		return nil
	}
	c.end.Do(c.out.finish)
	return nil
}

// Abort ends the session with an error, as [Conn.Abort].
func (c *MemConn) Abort(err error) {
	c.in.fail(asFault(err, c.in.peer), true)
	c.end.Do(func() {
		_, text := fault.Public(err)
		c.out.fail(aborted(c.out.peer, text), true)
	})
}

// Done is closed when the connection failed or was closed here, as [Conn.Done].
func (c *MemConn) Done() <-chan struct{} { return c.in.done }

// Err returns why the connection failed, as [Conn.Err].
func (c *MemConn) Err() error { return c.in.failure() }
