package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// dialOnly returns a node that takes no connections.
func dialOnly(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// until waits for something that comes by itself.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx := deadline(t); !ok(); <-tick.C {
		if ctx.Err() != nil {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func reachable(n *Node, peer string) func() bool {
	return func() bool { return slices.Contains(n.Reachable(), peer) }
}

// outbound returns telecom, which listens, and bank, which only dials out to it,
// through a proxy. change may alter their options.
func outbound(t testing.TB, change func(bank, telecom *Options)) (bank, telecom *Node, between *proxy) {
	t.Helper()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	oa := Options{Identity: a, Peers: know(t, b), OnAsk: echo}
	ob := Options{Identity: b, Peers: know(t, a), OnAsk: echo}
	if change != nil {
		change(&oa, &ob)
	}
	telecom = listen(t, ob)
	between = newProxy(t, telecom.Addr()).start()
	oa.DialOut = []DialOut{{Peer: "telecom", Addr: between.addr()}}
	bank = dialOnly(t, oa)
	until(t, "bank is reachable", reachable(telecom, "bank"))
	return bank, telecom, between
}

// talk opens a session from one node to another without an address and sends
// something both ways.
func talk(t testing.TB, from, to *Node, i, size int) {
	t.Helper()
	ctx := deadline(t)
	a, err := from.Dial(ctx, to.opt.Identity.Name(), "", sessionID(i), "align")
	if err != nil {
		t.Errorf("Dial: %v", err)
		return
	}
	b, err := to.Accept(ctx, from.opt.Identity.Name(), sessionID(i))
	if err != nil {
		t.Errorf("Accept: %v", err)
		return
	}
	msg := random(size, uint64(i))
	var wg sync.WaitGroup
	for _, c := range [][2]*Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			if err := c[0].Send(ctx, msg); err != nil {
				t.Errorf("Send: %v", err)
			}
		})
		wg.Go(func() {
			if m, err := c[1].Recv(ctx, size); err != nil || !bytes.Equal(m, msg) {
				t.Errorf("got %d bytes, %v", len(m), err)
			}
		})
	}
	wg.Wait()
	a.Close()
	b.Close()
}

// A node without a port is called through the connection that it keeps.
func TestReverse(t *testing.T) {
	t.Parallel()
	bank, telecom, _ := outbound(t, nil)
	talk(t, telecom, bank, 1, 3_000_000)
	talk(t, bank, telecom, 2, 3_000_000)
	if r, err := telecom.Ask(deadline(t), "bank", "", "job.begin", []byte("x")); err != nil || string(r) != "telecom job.begin x" {
		t.Errorf("got %q, %v", r, err)
	}
	if r, err := bank.Ask(deadline(t), "telecom", "", "job.begin", []byte("x")); err != nil || string(r) != "bank job.begin x" {
		t.Errorf("got %q, %v", r, err)
	}
	if s := bank.DialedOut(); len(s) != 1 || !s[0].Connected || s[0].Peer != "telecom" || s[0].Err != nil {
		t.Errorf("state %+v", s)
	}
	if r, err := telecom.Probe(deadline(t), "bank", ""); err != nil || r.Way != "reverse" || r.Bandwidth <= 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// It comes back after the wire was cut, and after a firewall forgot it.
func TestReverseComesBack(t *testing.T) {
	t.Parallel()
	waits := make(chan error, 1000)
	bank, telecom, p := outbound(t, func(a, b *Options) {
		quick(a, b)
		a.OnWaiting = func(_ string, err error) { waits <- err }
	})
	ctx := deadline(t)
	for i, lose := range []func(){p.cut, p.stall} {
		c, err := telecom.Dial(ctx, "bank", "", sessionID(i), "")
		if err != nil {
			t.Fatal(err)
		}
		d, err := bank.Accept(ctx, "telecom", sessionID(i))
		if err != nil {
			t.Fatal(err)
		}
		old := telecom.reversed(peerOf(t, telecom, "bank"))
		lose()
		if _, err := c.Recv(ctx, 1); fault.KindOf(err) != fault.Peer {
			t.Errorf("got %v", err)
		}
		if _, err := d.Recv(ctx, 1); fault.KindOf(err) != fault.Peer {
			t.Errorf("got %v", err)
		}
		c.letGo(nil)
		d.letGo(nil)
		wantFault(t, <-waits, fault.Peer, "telecom", "was lost")
		until(t, "a new connection", func() bool {
			r := telecom.reversed(peerOf(t, telecom, "bank"))
			return r != nil && r != old
		})
		talk(t, telecom, bank, 100+i, 1000)
	}
}

func peerOf(t testing.TB, n *Node, name string) identity.Peer {
	t.Helper()
	p, err := n.opt.Peers.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Dial waits for a peer that is to come by itself, Ask does not.
func TestDialWaitsForReverse(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	waits := make(chan error, 1000)
	telecom := listen(t, Options{Identity: b, Peers: know(t, a), OnWaiting: func(_ string, err error) { waits <- err }})
	_, err := telecom.Ask(deadline(t), "bank", "", "x", nil)
	wantFault(t, err, fault.Peer, "bank", "no address is known for it, and it has not connected to this node")
	done := make(chan error, 1)
	go func() { _, err := telecom.Dial(deadline(t), "bank", "", sessionID(1), ""); done <- err }()
	wantFault(t, <-waits, fault.Peer, "bank", "it has not connected")
	dialOnly(t, Options{Identity: a, Peers: know(t, b), DialOut: []DialOut{{"telecom", telecom.Addr()}}})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Whoever is not known, or no longer, keeps no connection.
func TestReverseTrust(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	waits := make(chan error, 1000)
	telecom := listen(t, Options{Identity: b, Peers: know(t)})
	bank := dialOnly(t, Options{Identity: a, Peers: know(t, b), DialOut: []DialOut{{"telecom", telecom.Addr()}},
		OnWaiting: func(_ string, err error) { waits <- err }})
	wantFault(t, <-waits, fault.Trust, "telecom", "it does not know this institution (bank")
	if s := bank.DialedOut()[0]; s.Connected || fault.KindOf(s.Err) != fault.Trust {
		t.Errorf("state %+v", s)
	}
	bank.Close()
	// A peer that is removed loses the connection that it has.
	bank, telecom, _ = outbound(t, quick)
	if err := telecom.opt.Peers.Remove("bank"); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection ends", func() bool {
		telecom.mu.Lock()
		defer telecom.mu.Unlock()
		return len(telecom.back) == 0
	})
	until(t, "bank is told", func() bool { return fault.KindOf(bank.DialedOut()[0].Err) == fault.Trust })
}

// rawTunnel opens a tunnel by hand; the error is that of its first answer.
func rawTunnel(t testing.TB, client peerv1.PeerClient, p *peerv1.Packet) (stream, error) {
	t.Helper()
	st, err := client.Tunnel(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	st.Send(p)
	r, err := st.Recv()
	if err == nil && r.GetOpened() == nil {
		t.Fatalf("got %v", r)
	}
	return st, err
}

func throughOf(n *Node, w peerv1.Through_Way, key []byte) *peerv1.Packet {
	return &peerv1.Packet{Body: &peerv1.Packet_Through{Through: &peerv1.Through{Way: w, Peer: key, Greeting: n.greeting}}}
}

// A peer that opens tunnels without end, or sends what is no TLS, harms itself.
func TestTunnelsAreBounded(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	client := rawClient(t, bank, telecom)
	w := throughOf(bank, peerv1.Through_WAY_REVERSE, nil)
	var held []stream
	for range maxTunnels[peerv1.Through_WAY_REVERSE] {
		st, err := rawTunnel(t, client, w)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, st)
	}
	_, err := rawTunnel(t, client, w)
	if e := bank.ended("telecom", err); !errors.Is(e.err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	// Each kind of garbage ends its tunnel, and makes room.
	for i, p := range []*peerv1.Packet{
		{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), Last: true}}},
		{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Last: true}}},
		{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: make([]byte, maxChunk+1), Last: true}}},
		{Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}},
	} {
		held[i].Send(p)
		for err = nil; err == nil; {
			_, err = held[i].Recv()
		}
	}
	until(t, "room", func() bool {
		telecom.mu.Lock()
		defer telecom.mu.Unlock()
		return len(telecom.tunnels) == 0
	})
	for name, p := range map[string]*peerv1.Packet{
		"chunk":       {Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Last: true}}},
		"no way":      throughOf(bank, 0, nil),
		"unknown way": throughOf(bank, 9, nil),
		"short key":   throughOf(bank, peerv1.Through_WAY_RELAY, make([]byte, 31)),
		"needless":    throughOf(bank, peerv1.Through_WAY_REVERSE, make([]byte, 32)),
		"no greeting": {Body: &peerv1.Packet_Through{Through: &peerv1.Through{Way: peerv1.Through_WAY_REVERSE}}},
		"delivered":   throughOf(bank, peerv1.Through_WAY_DELIVER, nil), // bank is no relay of telecom
		"not a relay": throughOf(bank, peerv1.Through_WAY_RELAY, bank.opt.Identity.PublicKey()),
	} {
		if _, err := rawTunnel(t, client, p); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing is left running after the nodes with tunnels are closed.
func TestNoGoroutineLeftOfTunnels(t *testing.T) {
	bank, shop, telecom, _ := relayed(t, nil)
	ctx := deadline(t)
	c, err := bank.Dial(ctx, "shop", "", sessionID(1), "")
	if err != nil {
		t.Fatal(err)
	}
	go c.Send(ctx, make([]byte, 50_000_000))
	asked := make(chan error, 1)
	go func() { _, err := shop.Ask(ctx, "bank", "", "x", make([]byte, MaxAsk)); asked <- err }()
	began := time.Now()
	var wg sync.WaitGroup
	for _, n := range []*Node{shop, bank, telecom} {
		wg.Go(func() { n.Close() })
	}
	wg.Wait()
	<-asked
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("closing took %s", took)
	}
	var left []string
	for ctx.Err() == nil {
		if left = goroutines(); len(left) == 0 {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%d goroutines are left, such as\n%s", len(left), strings.Join(left, "\n\n"))
}

// The last words of a session that was closed reach the peer through a tunnel
// though the node is closed at once.
func TestReverseCloseLingers(t *testing.T) {
	t.Parallel()
	bank, telecom, _ := outbound(t, nil)
	ctx := deadline(t)
	for i, side := range [][2]*Node{{telecom, bank}, {bank, telecom}} {
		a, err := side[0].Dial(ctx, side[1].opt.Identity.Name(), "", sessionID(i), "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := side[1].Accept(ctx, side[0].opt.Identity.Name(), sessionID(i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 { // the node without a port says the last word of both sessions
			a, b = b, a
		}
		go func() {
			b.Send(ctx, make([]byte, 2_000_000))
			b.Close()
		}()
		if m, err := a.Recv(ctx, 2_000_000); err != nil || len(m) != 2_000_000 {
			t.Errorf("got %d bytes, %v", len(m), err)
		}
		a.Close()
	}
	c, err := telecom.Dial(ctx, "bank", "", sessionID(9), "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := bank.Accept(ctx, "telecom", sessionID(9))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Send(ctx, make([]byte, 2_000_000)); err != nil {
		t.Fatal(err)
	}
	d.Close()
	go bank.Close()
	if m, err := c.Recv(context.WithoutCancel(ctx), 2_000_000); err != nil || len(m) != 2_000_000 {
		t.Errorf("got %d bytes, %v", len(m), err)
	}
	c.Close()
}
