package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"kontor/internal/fault"
)

const (
	maxChunk   = 256 << 10 // data bytes in one packet
	minChunk   = 16 << 10  // data bytes in a packet that does not end its message
	chunkCost  = 64        // what a queued chunk costs beside its data
	queueBytes = 16 << 20  // data that waits for Recv before the reader stops
	earlyBytes = 512 << 10 // the same while the session has no owner yet
)

// Errors that callers may match with errors.Is; they come inside a [fault.Error].
var (
	ErrEnded  = errors.New("it ended the session early")    // the peer closed in order and sent nothing more
	ErrClosed = errors.New("the connection is closed here") // Close or Abort was called on this side
)

type chunk struct {
	data []byte
	last bool
}

// inbox is the receiving half of a connection: chunks that wait for Recv,
// bounded in bytes, and how the connection ended. Both transports use it.
type inbox struct {
	peer string

	mu      sync.Mutex
	queue   []chunk
	bytes   int
	limit   int
	ended   bool  // the peer closed; what is queued may still be received
	closed  bool  // this side closed; what arrives is dropped
	err     error // the connection failed; what is queued may still be received
	started assembler

	ready chan struct{} // 1: something changed for Recv
	space chan struct{} // 1: something changed for push
	done  chan struct{} // closed once failed or closed here
	end   chan struct{} // closed once the peer closed
}

func newInbox(peer string, limit int) *inbox {
	return &inbox{peer: peer, limit: limit, ready: make(chan struct{}, 1), space: make(chan struct{}, 1),
		done: make(chan struct{}), end: make(chan struct{})}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stops are what ends a push that waits; nil ones never do.
type stops [4]<-chan struct{}

// push queues a chunk, which it keeps. It waits while the queue is full and
// returns false if a stop came first or nobody will receive it any more.
func (in *inbox) push(c chunk, stop *stops) bool {
	for {
		in.mu.Lock()
		switch {
		case in.closed:
			in.mu.Unlock()
			return true // dropped: whoever closed does not want it
		case in.err != nil || in.ended:
			in.mu.Unlock()
			return false
		}
		cost := len(c.data) + chunkCost
		if in.bytes == 0 || in.bytes+cost <= in.limit {
			in.queue = append(in.queue, c)
			in.bytes += cost
			in.mu.Unlock()
			signal(in.ready)
			return true
		}
		in.mu.Unlock()
		select {
		case <-in.space:
		case <-in.done:
		case <-stop[0]:
			return false
		case <-stop[1]:
			return false
		case <-stop[2]:
			return false
		case <-stop[3]:
			return false
		}
	}
}

// widen raises the bound of the queue.
func (in *inbox) widen(limit int) {
	in.mu.Lock()
	in.limit = limit
	in.mu.Unlock()
	signal(in.space)
}

// finish notes that the peer closed in order.
func (in *inbox) finish() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.ended {
		in.ended = true
		close(in.end)
	}
	signal(in.ready)
}

// fail ends the connection with err unless it has ended already. What is queued
// is dropped if drop is set, else Recv gives it out before the error.
func (in *inbox) fail(err error, drop bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil || in.closed {
		return
	}
	in.err = err
	if drop {
		in.queue, in.bytes, in.started = nil, 0, assembler{}
	}
	close(in.done)
}

// close notes that this side wants nothing more. It returns the error that the
// connection failed with before.
func (in *inbox) close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil && !in.closed {
		in.closed = true
		in.queue, in.bytes, in.started = nil, 0, assembler{}
		close(in.done)
		signal(in.space)
	}
	return in.err
}

// state returns why nothing can be sent, nil if it can.
func (in *inbox) state() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.err != nil:
		return in.err
	case in.closed:
		return closedHere(in.peer)
	case in.ended:
		return endedEarly(in.peer)
	}
	return nil
}

// failure returns what the connection failed with, nil while it works and after
// an orderly end.
func (in *inbox) failure() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// over reports whether one side has closed in order.
func (in *inbox) over() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closed || in.ended
}

// recv returns the next message. If ctx ends first, what has come of a message
// stays for the next call.
func (in *inbox) recv(ctx context.Context, limit int) ([]byte, error) {
	for {
		in.mu.Lock()
		if len(in.queue) > 0 {
			c := in.queue[0]
			in.queue[0] = chunk{}
			in.queue = in.queue[1:]
			in.bytes -= len(c.data) + chunkCost
			msg, complete, err := in.started.add(c, limit)
			in.mu.Unlock()
			signal(in.space)
			if err != nil {
				err = violation(in.peer, err)
				in.fail(err, true)
				return nil, err
			}
			if complete {
				return msg, nil
			}
			continue
		}
		err, closed, ended := in.err, in.closed, in.ended
		in.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case closed:
			return nil, closedHere(in.peer)
		case ended:
			return nil, endedEarly(in.peer)
		}
		select {
		case <-in.ready:
		case <-in.done:
		case <-ctx.Done():
			return nil, interrupted(ctx, in.peer)
		}
	}
}

// assembler puts the chunks of a message together. It keeps them as they came
// and copies once at the end, so that memory follows what has arrived, never
// what a peer says will arrive.
type assembler struct {
	chunks [][]byte
	size   int
}

// add takes the next chunk, which it keeps. complete says that msg is a whole
// message, of at most limit bytes.
func (a *assembler) add(c chunk, limit int) (msg []byte, complete bool, err error) {
	if err := c.check(); err != nil {
		return nil, false, err
	}
	if len(c.data) > limit-a.size {
		return nil, false, fmt.Errorf("it sent a message longer than the %d bytes allowed here", limit)
	}
	a.size += len(c.data)
	if c.last && len(a.chunks) == 0 {
		a.size = 0
		if c.data == nil {
			c.data = []byte{}
		}
		return c.data, true, nil
	}
	a.chunks = append(a.chunks, c.data)
	if !c.last {
		return nil, false, nil
	}
	msg = make([]byte, 0, a.size)
	for i, d := range a.chunks {
		msg = append(msg, d...)
		a.chunks[i] = nil
	}
	*a = assembler{}
	return msg, true, nil
}

// check refuses sizes that the protocol does not allow. The lower bound keeps a
// peer from spending our memory on the bookkeeping of tiny pieces.
func (c chunk) check() error {
	switch {
	case len(c.data) > maxChunk:
		return fmt.Errorf("it sent a chunk of %d bytes, at most %d are allowed", len(c.data), maxChunk)
	case !c.last && len(c.data) < minChunk:
		return fmt.Errorf("it sent a chunk of %d bytes in the middle of a message, at least %d are due", len(c.data), minChunk)
	}
	return nil
}

// cut calls emit with the concatenation of parts in chunks of maxChunk bytes,
// the last one marked. buffer gives an empty slice of that capacity for each.
// emit's error ends it and is returned.
func cut(parts [][]byte, buffer func() []byte, emit func(data []byte, last bool) error) error {
	rest := 0
	for _, p := range parts {
		rest += len(p)
	}
	part, at := 0, 0
	for {
		b := buffer()
		n := min(rest, maxChunk)
		for len(b) < n {
			k := min(n-len(b), len(parts[part])-at)
			b = append(b, parts[part][at:at+k]...)
			if at += k; at == len(parts[part]) {
				part, at = part+1, 0
			}
		}
		rest -= n
		if err := emit(b, rest == 0); err != nil || rest == 0 {
			return err
		}
	}
}

func closedHere(peer string) error {
	return &fault.Error{Kind: fault.Internal, Party: peer, Err: ErrClosed}
}

// stopped is the error of a call on a node that was closed.
func stopped(peer string) error {
	return &fault.Error{Kind: fault.Cancelled, Party: peer, What: "this node is being stopped", Err: ErrClosed, Cure: "run the job again"}
}

func endedEarly(peer string) error {
	return &fault.Error{Kind: fault.Peer, Party: peer, Err: ErrEnded, Cure: "look at what its node has printed, then run the job again"}
}

func violation(peer string, err error) error {
	return &fault.Error{Kind: fault.Protocol, Party: peer, Err: err,
		Cure: "check that the peer runs an unmodified Kontor of the same version, then run the job again"}
}

// interrupted is the error of a call whose context ended. A cause that is a
// fault already (another party was lost) says more than ours.
func interrupted(ctx context.Context, peer string) error {
	cause := context.Cause(ctx)
	var f *fault.Error
	switch {
	case errors.As(cause, &f):
		return cause
	case errors.Is(cause, context.DeadlineExceeded):
		return &fault.Error{Kind: fault.Peer, Party: peer, What: "it did not do its part in the time given", Err: cause, Cure: "run the job again"}
	}
	return &fault.Error{Kind: fault.Cancelled, Party: peer, What: "stopped while waiting for it", Err: cause, Cure: "run the job again"}
}

// aborted is the error of a session that the peer ended with an error of its
// own. Whatever kind that was there, here it is a peer that stopped. The text is
// the peer's: it is cut and cleaned before anybody sees it.
func aborted(peer, text string) error {
	return &fault.Error{Kind: fault.Peer, Party: peer, What: "it ended the session: " + clean(text, 200), Cure: "look there for the reason, then run the job again"}
}

// clean makes a text from a peer fit for a log line and a terminal.
func clean(s string, limit int) string {
	b := make([]byte, 0, min(len(s), limit))
	for i := 0; i < len(s) && len(b) < limit; i++ {
		c := s[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return string(b)
}
