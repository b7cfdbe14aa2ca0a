package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	peerv1 "kontor/api/peer/v1"
	"kontor/internal/fault"
)

// quick makes nodes that notice silence soon.
func quick(a, b *Options) {
	a.Silence, b.Silence = 400*time.Millisecond, 400*time.Millisecond
	a.Heartbeat, b.Heartbeat = 50*time.Millisecond, 50*time.Millisecond
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
			bank, telecom := twoNodes(t, nil)
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
			waitFull(b.in)
			for still, last := 0, int64(0); still < 2000; still++ { // the window is full too
				if n, _ := a.WireBytes(); n > last {
					still, last = 0, n
				}
				runtime.Gosched()
			}
			cancel()
			err := <-sent
			wantFault(t, err, fault.Cancelled, b.node.opt.Identity.Name(), "")
			wantFault(t, a.Send(deadline(t), nil), fault.Cancelled, b.node.opt.Identity.Name(), "stopped half way")
			a.Abort(err)
			for err = nil; err == nil; {
				_, err = b.Recv(deadline(t), 1<<30)
			}
			wantFault(t, err, fault.Peer, a.node.opt.Identity.Name(), "")
			b.Abort(err)
		})
	}
}

func TestEarlySessions(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	ctx := deadline(t)
	dial := func(i int) *Conn {
		t.Helper()
		c, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(i), "align")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// Data, an orderly end and an abort wait for the owner.
	c := dial(0)
	big := random(3_000_000, 1) // more than an early session may hold
	go func() { c.Send(ctx, big); c.Close() }()
	dial(1).Abort(&fault.Error{Kind: fault.Data, Step: "align"})
	d, err := telecom.Accept(ctx, "bank", sessionID(0))
	if err != nil || d.Label() != "align" || d.Peer() != "bank" {
		t.Fatal(err)
	}
	if m, err := d.Recv(ctx, len(big)); err != nil || !bytes.Equal(m, big) {
		t.Errorf("got %d bytes, %v", len(m), err)
	}
	d.Close()
	_, err = telecom.Accept(ctx, "bank", sessionID(1))
	wantFault(t, err, fault.Data, "bank", "does not fit the job in step align")
	// A session is accepted once, also by two at the same time.
	_, err = telecom.Accept(ctx, "bank", sessionID(0))
	wantFault(t, err, fault.Internal, "bank", "accepted twice")
	short, cancel := context.WithCancel(ctx)
	cancel()
	_, err = telecom.Accept(short, "bank", sessionID(7))
	wantFault(t, err, fault.Cancelled, "bank", "")
	// An id that another peer opened is not this peer's.
	dial(8)
	_, err = telecom.Accept(short, "shop", sessionID(8))
	wantFault(t, err, fault.Cancelled, "shop", "")
}

func TestEarlySessionsAreBounded(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	ctx := deadline(t)
	conns := make([]*Conn, maxEarly)
	for i := range conns {
		var err error
		if conns[i], err = bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(1000), "")
	wantFault(t, err, fault.Peer, "telecom", "too many sessions wait")
	// One that ended makes room.
	conns[5].Abort(errors.New("given up"))
	if _, err = bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(1000), ""); err != nil {
		t.Error(err)
	}
	// So does one that is accepted; nobody waits for the one that was dropped.
	if _, err = telecom.Accept(ctx, "bank", sessionID(6)); err != nil {
		t.Error(err)
	}
	if _, err = bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(1001), ""); err != nil {
		t.Error(err)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	ctx := deadline(t)
	replay := func(when string) {
		t.Helper()
		_, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(1), "")
		wantFault(t, err, fault.Protocol, "telecom", "it has seen this session before")
		if err == nil {
			t.Error(when)
		}
	}
	c, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(1), "")
	if err != nil {
		t.Fatal(err)
	}
	replay("while it waits")
	d, err := telecom.Accept(ctx, "bank", sessionID(1))
	if err != nil {
		t.Fatal(err)
	}
	replay("while it runs")
	c.Close()
	d.Close()
	<-c.gone
	<-d.gone
	replay("after it ended")
}

func TestManySessions(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	ctx := deadline(t)
	var wg sync.WaitGroup
	talk := func(c *Conn, i int) {
		defer c.Close()
		want := fmt.Append(nil, "of ", i)
		for range 3 {
			if err := c.Send(ctx, want); err != nil {
				t.Errorf("session %d: %v", i, err)
			}
			if m, err := c.Recv(ctx, 100); err != nil || !bytes.Equal(m, want) {
				t.Errorf("session %d: got %q, %v", i, m, err)
			}
		}
	}
	for i := range 400 {
		wg.Go(func() {
			c, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(i), "")
			if err != nil {
				t.Error(err)
				return
			}
			talk(c, i)
		})
		// Each is asked for before it is dialled or after, as it happens; the
		// bound on early ones must not matter, so all are asked for.
		w := telecom.expect(t, "bank", sessionID(i))
		wg.Go(func() {
			c, err := w(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			talk(c, i)
		})
	}
	wg.Wait()
	telecom.mu.Lock()
	defer telecom.mu.Unlock()
	if len(telecom.routes) != 0 || len(telecom.waiting) != 0 || len(telecom.early["bank"]) != 0 {
		t.Errorf("left over: %d routes, %d waiting, %d early", len(telecom.routes), len(telecom.waiting), len(telecom.early["bank"]))
	}
}

// expect is Accept in a goroutine that has begun to wait, or already has the
// session, when expect returns.
func (n *Node) expect(t *testing.T, peer string, id [32]byte) func(context.Context) (*Conn, error) {
	type result struct {
		c   *Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := n.Accept(deadline(t), peer, id)
		got <- result{c, err}
	}()
	for {
		n.mu.Lock()
		there := n.waiting[sessionKey{peer, id}] != nil || slices.Contains(n.used[peer], id)
		n.mu.Unlock()
		if there {
			break
		}
		runtime.Gosched()
	}
	return func(ctx context.Context) (*Conn, error) {
		r := <-got
		return r.c, r.err
	}
}

// What a peer sends against the protocol ends its session and names it.
func TestProtocolViolations(t *testing.T) {
	t.Parallel()
	chunkOf := func(n int, last bool) *peerv1.Packet {
		return &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: make([]byte, n), Last: last}}}
	}
	end := &peerv1.Packet{Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}}
	for name, c := range map[string]struct {
		packets []*peerv1.Packet
		says    string
	}{
		"chunk too large":  {[]*peerv1.Packet{chunkOf(maxChunk+1, true)}, "at most 262144 are allowed"},
		"packet too large": {[]*peerv1.Packet{chunkOf(maxPacket, true)}, "not allowed on the wire"},
		"tiny piece":       {[]*peerv1.Packet{chunkOf(minChunk-1, false)}, "at least 16384 are due"},
		"empty piece":      {[]*peerv1.Packet{chunkOf(maxChunk, false), chunkOf(0, false)}, "at least 16384 are due"},
		"empty packet":     {[]*peerv1.Packet{{}}, "not due"},
		"opened":           {[]*peerv1.Packet{{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}}}, "answered a call"},
		"second open":      {[]*peerv1.Packet{{Body: &peerv1.Packet_Open{Open: &peerv1.Open{}}}}, "not due"},
		"half a message":   {[]*peerv1.Packet{chunkOf(maxChunk, false), end}, "ended the session early"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bank, telecom := twoNodes(t, nil)
			client := rawClient(t, bank, telecom)
			ctx := deadline(t)
			st, err := client.Exchange(ctx, grpc.MaxCallSendMsgSize(1<<30))
			if err != nil {
				t.Fatal(err)
			}
			id := sessionID(1)
			st.Send(&peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Greeting: bank.greeting}}})
			if p, err := st.Recv(); err != nil || p.GetOpened() == nil {
				t.Fatalf("got %v, %v", p, err)
			}
			d, err := telecom.Accept(ctx, "bank", id)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range c.packets {
				st.Send(p)
			}
			_, err = d.Recv(ctx, 1<<20)
			kind := fault.Protocol
			if name == "half a message" {
				kind = fault.Peer
			}
			wantFault(t, err, kind, "bank", c.says)
			d.Abort(err)
			for err = nil; err == nil; {
				var p *peerv1.Packet
				if p, err = st.Recv(); p.GetAbort() != nil && p.GetAbort().GetKind() != kind.String() {
					t.Errorf("the peer was told %v", p)
				}
			}
		})
	}
}

func TestOpenViolations(t *testing.T) {
	t.Parallel()
	told := make(refusals, 10)
	bank, telecom := twoNodes(t, func(_, b *Options) { b.OnRefused = told.hook() })
	client := rawClient(t, bank, telecom)
	id := sessionID(1)
	for name, p := range map[string]*peerv1.Packet{
		"chunk first": {Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Last: true}}},
		"empty":       {},
		"short id":    {Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:31], Greeting: bank.greeting}}},
		"long label":  {Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: strings.Repeat("x", maxLabel+1), Greeting: bank.greeting}}},
	} {
		st, err := client.Exchange(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		st.Send(p)
		_, err = st.Recv()
		wantFault(t, bank.ended("telecom", err).err, fault.Protocol, "telecom", "the first packet opens no session")
		told.want(t, fault.Protocol, "bank", "opens no session")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	// A stream on which nothing ever comes is not held for ever.
	a, b := twoNodes(t, quick)
	st, err := rawClient(t, a, b).Exchange(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.ended("telecom", second(st.Recv())).err; fault.KindOf(err) != fault.Peer {
		t.Errorf("got %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

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

// fakeStream gives out packets and takes any.
type fakeStream struct {
	ctx     context.Context
	packets []*peerv1.Packet
}

func (s *fakeStream) Send(*peerv1.Packet) error { return nil }
func (s *fakeStream) Context() context.Context  { return s.ctx }
func (s *fakeStream) Recv() (*peerv1.Packet, error) {
	if len(s.packets) == 0 {
		return nil, io.EOF
	}
	p := s.packets[0]
	s.packets = s.packets[1:]
	return p, nil
}

// FuzzPackets feeds a session with packets of any content, at either end.
func FuzzPackets(f *testing.F) {
	encode := func(ps ...*peerv1.Packet) []byte {
		var b []byte
		for _, p := range ps {
			e, err := proto.Marshal(p)
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, byte(len(e)), byte(len(e)>>8)), e...)
		}
		return b
	}
	id := sessionID(1)
	bank := newIdentity(f, "bank")
	greeting := VersionInfo{WireMin: 1, WireMax: 1}.greeting("bank")
	open := &peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Step: "align", Greeting: greeting}}}
	word := &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: []byte("word"), Last: true}}}
	half := &peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: make([]byte, minChunk)}}}
	end := &peerv1.Packet{Body: &peerv1.Packet_Close{Close: &peerv1.Close{}}}
	abort := &peerv1.Packet{Body: &peerv1.Packet_Abort{Abort: &peerv1.Abort{Kind: "data", Text: "\x1b[31m"}}}
	beat := &peerv1.Packet{Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}}
	f.Add(encode(open, word, beat, end), true)
	f.Add(encode(open, half, word, abort), true)
	f.Add(encode(open, open), true)
	f.Add(encode(word), true)
	f.Add(encode(&peerv1.Packet{Body: &peerv1.Packet_Opened{Opened: &peerv1.Opened{}}}, word, end, word), false)
	f.Add(encode(half, beat, abort), false)
	peers := know(f, bank)
	f.Fuzz(func(t *testing.T, data []byte, callee bool) {
		var packets []*peerv1.Packet
		for len(data) >= 2 {
			n := min(int(data[0])|int(data[1])<<8, len(data)-2)
			p := &peerv1.Packet{}
			if proto.Unmarshal(data[2:2+n], p) == nil {
				packets = append(packets, p)
			}
			data = data[2+n:]
		}
		n, err := Listen(Options{Identity: bank, Peers: peers})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		ctx, cancel := context.WithCancel(n.ctx)
		defer cancel()
		c := n.newConn("bank", newWire(near, nil), &fakeStream{ctx, packets})
		if callee {
			n.wg.Add(1)
			c.answer()
			if len(n.early["bank"]) == 0 {
				return // it opened no session
			}
		} else {
			c.cancel = cancel
			n.conns[c] = struct{}{}
			n.wg.Add(2)
			go c.write(nil)
			c.read()
		}
		var total int
		for {
			m, err := c.Recv(ctx, 100_000)
			if err != nil {
				break
			}
			if total += len(m); len(m) > 100_000 || total > 1<<26 {
				t.Fatal("more than allowed")
			}
		}
		if c.in.bytes > queueBytes || c.in.bytes < 0 {
			t.Errorf("%d bytes in the queue", c.in.bytes)
		}
		c.Close()
	})
}

// FuzzAssembler checks messages put together against their plain concatenation.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{1, 0, 0xff, 3}, 100_000)
	f.Add([]byte{0xfe, 0xfe, 1}, 1<<20)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, plan []byte, limit int) {
		limit = max(0, min(limit, 1<<20))
		var a assembler
		var want []byte
		for i, p := range plan {
			// The lowest bit says "last", the rest how long.
			c := chunk{bytes.Repeat([]byte{byte(i)}, int(p>>1)*2200), p&1 == 1}
			msg, complete, err := a.add(c, limit)
			if err != nil {
				if len(want)+len(c.data) <= limit && c.check() == nil {
					t.Fatalf("refused without reason: %v", err)
				}
				return
			}
			want = append(want, c.data...)
			if len(want) > limit || c.check() != nil || complete != c.last || a.size > limit {
				t.Fatal("taken without reason")
			}
			if complete {
				if msg == nil || !bytes.Equal(msg, want) {
					t.Fatal("not what was put in")
				}
				want = want[:0]
			}
		}
	})
}
