package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// quick makes nodes that notice silence soon.
func quick(a, b *Options) {
	a.Silence, b.Silence = 400*time.Millisecond, 400*time.Millisecond
	a.Heartbeat, b.Heartbeat = 50*time.Millisecond, 50*time.Millisecond
}

// patient makes nodes that notice nothing by silence.
func patient(a, b *Options) {
	a.Silence, b.Silence = time.Hour, time.Hour
	a.Heartbeat, b.Heartbeat = time.Hour/4, time.Hour/4
}

func TestPeerKilledMidMessage(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	p := newProxy(t, telecom.Addr()).start()
	a, b := connect(t, bank, telecom, p.addr(), 1)
	ctx := deadline(t)
	sent := make(chan error, 1)
	go func() { sent <- a.Send(ctx, make([]byte, 100_000_000)) }()
	received := make(chan error, 1)
	go func() { _, err := b.Recv(ctx, 1<<30); received <- err }()
	for _, r := b.WireBytes(); r < 1<<20; _, r = b.WireBytes() {
		runtime.Gosched()
	}
	p.cut()
	wantFault(t, <-sent, fault.Peer, "telecom", "it went away (connection lost)")
	wantFault(t, <-received, fault.Peer, "bank", "it went away (connection lost)")
	<-a.Done()
	<-b.Done()
	wantFault(t, a.Err(), fault.Peer, "telecom", "check that its node is running")
	a.Abort(a.Err())
	b.Close()
	// The next session makes a new connection.
	c, d := connect(t, bank, telecom, p.addr(), 2)
	c.Close()
	d.Close()
}

// Nobody receives, so the reader waits for room and not for the network; the
// loss is noticed nevertheless.
func TestPeerKilledWhileQueueIsFull(t *testing.T) {
	t.Parallel()
	for _, sender := range []string{"bank", "telecom"} {
		t.Run(sender+" sends", func(t *testing.T) {
			t.Parallel()
			// Without heartbeats, of which one that cannot be sent tells it too.
			bank, telecom := twoNodes(t, patient)
			p := newProxy(t, telecom.Addr()).start()
			a, b := connect(t, bank, telecom, p.addr(), 1)
			if sender == "telecom" {
				a, b = b, a
			}
			ctx := deadline(t)
			sent := make(chan error, 1)
			go func() { sent <- a.Send(ctx, make([]byte, 100_000_000)) }()
			waitFull(b.in)
			p.cut()
			<-b.Done()
			wantFault(t, b.Err(), fault.Peer, a.node.opt.Identity.Name(), "it went away")
			wantFault(t, <-sent, fault.Peer, b.node.opt.Identity.Name(), "it went away")
			a.Close()
			b.Close()
		})
	}
}

func waitFull(in *inbox) {
	for {
		in.mu.Lock()
		full := in.bytes+maxChunk+chunkCost > in.limit
		in.mu.Unlock()
		if full {
			return
		}
		runtime.Gosched()
	}
}

// waitHeldUp waits until b's queue is full, b's reader waits for room in it, the
// window is full and a's writer waits for room in that.
func waitHeldUp(a, b *Conn) {
	waitFull(b.in)
	for still, last := 0, int64(0); still < 20_000; still++ {
		sent, _ := a.WireBytes()
		_, received := b.WireBytes()
		if sent-received < streamWindow*3/4 || sent+received > last {
			still, last = 0, sent+received
		}
		runtime.Gosched()
	}
}

func TestPeerSilent(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, quick)
	p := newProxy(t, telecom.Addr()).start()
	a, b := connect(t, bank, telecom, p.addr(), 1)
	p.stall()
	_, err := a.Recv(deadline(t), 100)
	wantFault(t, err, fault.Peer, "telecom", "it has been silent for 400ms; check that its node is running")
	_, err = b.Recv(deadline(t), 100)
	wantFault(t, err, fault.Peer, "bank", "it has been silent for 400ms")
	a.letGo(nil) // nothing of Abort could arrive; the test need not wait for that
	b.letGo(nil)
}

// A connection that died unnoticed between two sessions is replaced.
func TestIdleConnectionForgotten(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, quick)
	p := newProxy(t, telecom.Addr()).start()
	a, b := connect(t, bank, telecom, p.addr(), 1)
	a.Close()
	b.Close()
	<-a.gone
	<-b.gone
	p.stall()
	a, b = connect(t, bank, telecom, p.addr(), 2)
	a.Close()
	b.Close()
}

// Callers that never finish their handshake do not keep peers out.
func TestFloodOfStrangers(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	var first []net.Conn
	for range 2 * maxStrangers {
		c, err := net.Dial("tcp", telecom.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		first = append(first, c)
	}
	a, b := connect(t, bank, telecom, telecom.Addr(), 1)
	a.Close()
	b.Close()
	l := telecom.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wires) > maxStrangers+2 {
		t.Errorf("%d connections are held for %d strangers", len(l.wires), len(first))
	}
}

// A link on which bytes flow is never too slow, though a chunk takes several
// times as long as silence is allowed to.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, quick)
	p := newProxy(t, telecom.Addr())
	p.slow = 10 * time.Millisecond // 400 kB/s: 650 ms a chunk
	a, b := connect(t, bank, telecom, p.start().addr(), 1)
	ctx := deadline(t)
	msg := random(500_000, 1)
	go func() {
		a.Send(ctx, msg)
		a.Close()
	}()
	m, err := b.Recv(ctx, len(msg))
	if err != nil || !bytes.Equal(m, msg) {
		t.Fatalf("got %d bytes, %v", len(m), err)
	}
	b.Close()
}

// While both owners compute, and while one sends more than the other takes,
// heartbeats keep the session alive longer than silence is allowed to last.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, func(a, b *Options) {
		quick(a, b)
		a.Heartbeat, b.Heartbeat = 20*time.Millisecond, 20*time.Millisecond
	})
	a, b := connect(t, bank, telecom, telecom.Addr(), 1)
	beat := size(&peerv1.Packet{Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}})
	// Fifty heartbeats take more than twice the silence allowed.
	wait := func(cs ...*Conn) {
		var until []int64
		for _, c := range cs {
			_, r := c.WireBytes()
			until = append(until, r+50*beat)
		}
		for i, c := range cs {
			for _, r := c.WireBytes(); r < until[i]; _, r = c.WireBytes() {
				select {
				case <-c.Done():
					t.Fatalf("given up: %v", c.Err())
				default:
					runtime.Gosched()
				}
			}
		}
	}
	wait(a, b)
	ctx := deadline(t)
	msg := make([]byte, 60_000_000)
	go a.Send(ctx, msg)
	waitFull(b.in)
	wait(a) // b lives though it takes nothing
	select {
	case <-b.Done():
		t.Fatalf("the blocked sender was given up: %v", b.Err())
	default:
	}
	if m, err := b.Recv(ctx, len(msg)); err != nil || len(m) != len(msg) {
		t.Errorf("got %d bytes, %v", len(m), err)
	}
	a.Close()
	b.Close()
}

// The last words reach a peer that takes them long after Close, even if its
// queue and the window were full then.
func TestCloseLingersWhileQueueIsFull(t *testing.T) {
	t.Parallel()
	for _, sender := range []string{"bank", "telecom"} {
		t.Run(sender+" sends", func(t *testing.T) {
			t.Parallel()
			bank, telecom := twoNodes(t, nil)
			a, b := connect(t, bank, telecom, telecom.Addr(), 1)
			if sender == "telecom" {
				a, b = b, a
			}
			ctx := deadline(t)
			const n, count = 1 << 20, 22 // more than the queue holds
			for range count {
				if err := a.Send(ctx, make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}
			waitFull(b.in)
			a.Close()
			over := make(chan struct{})
			go func() { a.node.Close(); close(over) }()
			for i := range count {
				if m, err := b.Recv(ctx, n); err != nil || len(m) != n {
					t.Fatalf("message %d: %d bytes, %v", i, len(m), err)
				}
			}
			if _, err := b.Recv(ctx, n); !errors.Is(err, ErrEnded) {
				t.Errorf("after the last: %v", err)
			}
			b.Close()
			<-over
		})
	}
}

// One orderly end is enough to end the stream; the other owner takes its time.
func TestCloseEndsTheStream(t *testing.T) {
	t.Parallel()
	for _, closer := range []string{"bank", "telecom"} {
		bank, telecom := twoNodes(t, patient)
		a, b := connect(t, bank, telecom, telecom.Addr(), 1)
		if closer == "bank" {
			a.Close()
		} else {
			b.Close()
		}
		for _, c := range []*Conn{a, b} {
			select {
			case <-c.gone:
			case <-deadline(t).Done():
				t.Fatalf("%s closed, the stream of %s goes on", closer, c.node.opt.Identity.Name())
			}
		}
	}
}

// Abort reaches a peer whose data fills the queue of the one who aborts.
func TestAbortWhileQueueIsFull(t *testing.T) {
	t.Parallel()
	for _, sender := range []string{"bank", "telecom"} {
		t.Run(sender+" sends", func(t *testing.T) {
			t.Parallel()
			bank, telecom := twoNodes(t, patient)
			a, b := connect(t, bank, telecom, telecom.Addr(), 1)
			if sender == "telecom" {
				a, b = b, a
			}
			sent := make(chan error, 1)
			go func() { sent <- a.Send(deadline(t), make([]byte, 100_000_000)) }()
			waitHeldUp(a, b)
			b.Abort(&fault.Error{Kind: fault.Data, Step: "boost"})
			wantFault(t, <-sent, fault.Peer, b.node.opt.Identity.Name(), "in step boost")
			a.Close()
		})
	}
}

// Abort gets through to a peer that takes nothing: the sender is held up, so the
// packet cannot be sent.
func TestAbortWhileSendIsBlocked(t *testing.T) {
	t.Parallel()
	for _, sender := range []string{"bank", "telecom"} {
		t.Run(sender+" sends", func(t *testing.T) {
			t.Parallel()
			bank, telecom := twoNodes(t, nil)
			a, b := connect(t, bank, telecom, telecom.Addr(), 1)
			if sender == "telecom" {
				a, b = b, a
			}
			ctx, cancel := context.WithCancel(deadline(t))
			sent := make(chan error, 1)
			go func() { sent <- a.Send(ctx, make([]byte, 100_000_000)) }()
			waitHeldUp(a, b)
			cancel()
			err := <-sent
			wantFault(t, err, fault.Cancelled, b.node.opt.Identity.Name(), "")
			wantFault(t, a.Send(deadline(t), nil), fault.Cancelled, b.node.opt.Identity.Name(), "stopped half way")
			a.Abort(err)
			for err = nil; err == nil; {
				_, err = b.Recv(deadline(t), 1<<30)
			}
			says := "its user stopped the job" // in the status of the stream
			if sender == "bank" {
				says = "" // a caller has none; the packet may or may not get through
			}
			wantFault(t, err, fault.Peer, a.node.opt.Identity.Name(), says)
			b.Abort(err)
		})
	}
}

// A callee that answers nonsense is the caller's to judge.
func TestCalleeGoesQuietly(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	a, b := connect(t, bank, telecom, telecom.Addr(), 1)
	b.letGo(nil) // the handler returns without Close or Abort
	_, err := a.Recv(deadline(t), 10)
	wantFault(t, err, fault.Peer, "telecom", "without a word")
	a.Close()
}

func TestNodeClose(t *testing.T) {
	t.Parallel()
	for _, closer := range []string{"bank", "telecom"} {
		bank, telecom := twoNodes(t, nil)
		a, b := connect(t, bank, telecom, telecom.Addr(), 1)
		waiting := telecom.expect(t, "bank", sessionID(2))
		ctx, cancel := context.WithCancel(deadline(t))
		ran := make(chan error, 1)
		other := a
		if closer == "bank" {
			other = b
			go func() { ran <- bank.Run(ctx) }()
		} else {
			go func() { ran <- telecom.Run(ctx) }()
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		_, err := other.Recv(deadline(t), 1)
		wantFault(t, err, fault.Peer, closer, "its user stopped the job")
		other.Close()
		if closer == "telecom" {
			if _, err := waiting(ctx); !errors.Is(err, ErrClosed) {
				t.Errorf("Accept on a node that closed: %v", err)
			}
			if _, err := telecom.Dial(deadline(t), "bank", bank.Addr(), sessionID(9), ""); !errors.Is(err, ErrClosed) {
				t.Errorf("Dial on a node that closed: %v", err)
			}
			if _, err := net.Dial("tcp", telecom.Addr()); err == nil {
				t.Error("it still listens")
			}
		}
	}
}

// Nothing is left running after Close, whatever state the node was in.
func TestNoGoroutineLeft(t *testing.T) {
	bank, telecom := twoNodes(t, quick)
	ctx := deadline(t)
	p := newProxy(t, telecom.Addr()).start()
	a, b := connect(t, bank, telecom, telecom.Addr(), 1) // open
	connect(t, bank, telecom, p.addr(), 2)               // to be lost
	c, d := connect(t, bank, telecom, telecom.Addr(), 3) // closed
	c.Close()
	d.Close()
	if _, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(4), ""); err != nil { // never accepted
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { b.Recv(ctx, 1) })
	wg.Go(func() { telecom.Accept(ctx, "bank", sessionID(5)) })
	wg.Go(func() { a.Send(ctx, make([]byte, 100_000_000)) })
	wg.Go(func() { bank.Dial(ctx, "telecom", "127.0.0.1:1", sessionID(6), "") })
	mute, err := net.Dial("tcp", telecom.Addr()) // stuck in its handshake
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	p.cut()
	bank.Close()
	telecom.Close()
	wg.Wait()
	var left []string
	for ctx.Err() == nil {
		if left = goroutines(); len(left) == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%d goroutines are left, such as\n%s", len(left), left[0])
}

// A message's bytes on the wire are little more than its own.
func TestWireBytes(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	a, b := connect(t, bank, telecom, telecom.Addr(), 1)
	ctx := deadline(t)
	const n = 10_000_000
	go a.Send(ctx, make([]byte, n))
	if _, err := b.Recv(ctx, n); err != nil {
		t.Fatal(err)
	}
	sent, _ := a.WireBytes()
	_, received := b.WireBytes()
	if sent < n || sent > n+n/1000 || received < n || received > n+n/1000 {
		t.Errorf("%d sent, %d received for %d", sent, received, n)
	}
	a.Close()
	b.Close()
}
