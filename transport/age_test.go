package transport

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kontor/identity"
	"kontor/internal/fault"
)

const day = 24 * time.Hour

// calendar is a date that tests move.
type calendar struct{ ahead atomic.Int64 }

func (c *calendar) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *calendar) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// ways are pairs of nodes of which the first reaches the second by a way each,
// without an address, and all nodes that it takes.
var ways = map[string]func(t *testing.T, change func(...*Options)) (from, to *Node, all []*Node){
	"direct": func(t *testing.T, change func(...*Options)) (*Node, *Node, []*Node) {
		a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
		ob := Options{Identity: b, Peers: know(t, a)}
		change(&ob)
		telecom := listen(t, ob)
		oa := Options{Identity: a, Peers: identity.MemoryPeers()}
		if err := oa.Peers.Add(&identity.Invitation{Name: "telecom", Key: b.PublicKey(), Address: telecom.Addr()}, time.Now()); err != nil {
			t.Fatal(err)
		}
		change(&oa)
		bank := listen(t, oa)
		return bank, telecom, []*Node{bank, telecom}
	},
	"reverse": func(t *testing.T, change func(...*Options)) (*Node, *Node, []*Node) {
		bank, telecom, _ := outbound(t, func(a, b *Options) { change(a, b) })
		return telecom, bank, []*Node{bank, telecom}
	},
	"relay": func(t *testing.T, change func(...*Options)) (*Node, *Node, []*Node) {
		bank, shop, telecom, _ := relayed(t, func(a, b, c *Options) { change(a, b, c) })
		return bank, shop, []*Node{bank, shop, telecom}
	},
}

// noisy are options of nodes that fail the test when somebody is refused or lost.
func noisy(t *testing.T, more func(*Options)) func(...*Options) {
	return func(all ...*Options) {
		for _, o := range all {
			o.Silence, o.Heartbeat = 1500*time.Millisecond, 50*time.Millisecond
			o.OnAsk = echo
			o.OnRefused = func(err error) {
				// The date moves under the probe of a connection that is kept for its sessions.
				if !strings.Contains(err.Error(), "by its reverse connection was refused: the certificate of its node expired") {
					t.Errorf("refused: %v", err)
				}
			}
			o.OnWaiting = func(peer string, err error) { t.Errorf("lost %s: %v", peer, err) }
			more(o)
		}
	}
}

// exchange sends something each way of a session.
func exchange(t *testing.T, a, b *Conn) {
	t.Helper()
	ctx := deadline(t)
	for _, c := range [][2]*Conn{{a, b}, {b, a}} {
		msg := random(100_000, 1)
		if err := c[0].Send(ctx, msg); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if m, err := c[1].Recv(ctx, len(msg)); err != nil || !bytes.Equal(m, msg) {
			t.Fatalf("got %d bytes, %v", len(m), err)
		}
	}
}

func pair(t *testing.T, from, to *Node, i int) (a, b *Conn) {
	t.Helper()
	ctx := deadline(t)
	a, err := from.Dial(ctx, to.opt.Identity.Name(), "", sessionID(i), "align")
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	b, err = to.Accept(ctx, from.opt.Identity.Name(), sessionID(i))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return a, b
}

// routesInUse returns how many connections a node uses as a caller.
func (n *Node) routesInUse() (live int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	live = len(n.live)
	for _, b := range n.back {
		live += len(b)
	}
	return live
}

func ask(t *testing.T, from, to *Node) {
	t.Helper()
	r, err := from.Ask(deadline(t), to.opt.Identity.Name(), "", "x", []byte("y"))
	if err != nil || string(r) != from.opt.Identity.Name()+" x y" {
		t.Fatalf("got %q, %v", r, err)
	}
}

// replaced waits until each connection that peers keep to these nodes was made
// with the certificates of today.
func replaced(t *testing.T, all []*Node) {
	t.Helper()
	until(t, "new reverse connections", func() bool {
		for _, n := range all {
			n.mu.Lock()
			for key := range n.back {
				if r := n.newest(key); r == nil || n.stale(r) {
					n.mu.Unlock()
					return false
				}
			}
			n.mu.Unlock()
		}
		return true
	})
}

// A node runs for a year: it renews its certificate as it should and loses no
// peer; a session that is open all the time goes on; and what is old is closed.
func TestNodeRunsForAYear(t *testing.T) {
	t.Parallel()
	for name, build := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var date calendar
			from, to, all := build(t, noisy(t, func(o *Options) { o.Now = date.now }))
			ask(t, from, to)
			before := make([]int, len(all))
			for i, n := range all {
				before[i] = n.routesInUse()
			}
			a, b := pair(t, from, to, 0)
			for i := 1; i <= 12; i++ {
				date.forward(30 * day)
				for _, n := range all {
					if renew, _ := identity.Due(n.opt.Identity.NotBefore(), n.opt.Identity.NotAfter(), date.now()); renew {
						if err := n.opt.Identity.Renew(date.now()); err != nil {
							t.Fatal(err)
						}
					}
				}
				replaced(t, all)
				ask(t, from, to)
				ask(t, from, to)
				if name != "direct" { // who has no port calls too
					ask(t, to, from)
				}
				exchange(t, a, b)
				c, d := pair(t, from, to, i)
				exchange(t, c, d)
				c.Close()
				d.Close()
			}
			if p, err := from.Probe(deadline(t), to.opt.Identity.Name(), ""); err != nil || !p.CertNotAfter.After(date.now().Add(20*day)) {
				t.Errorf("got %+v, %v", p, err)
			}
			a.Close()
			b.Close()
			until(t, "old connections are closed", func() bool {
				for i, n := range all {
					// The node without a port that was called only called too, in between.
					if n.routesInUse() > before[i]+1 {
						return false
					}
				}
				return true
			})
		})
	}
}

// Connections are replaced while many calls are under way, and no call notices.
func TestNobodyNoticesAgeing(t *testing.T) {
	t.Parallel()
	for name, build := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to, all := build(t, noisy(t, func(o *Options) { o.age = 600 * time.Millisecond }))
			ctx := deadline(t)
			peer := peerOf(t, from, to.opt.Identity.Name())
			var seen []*route
			see := func() bool {
				r, e := from.reach(ctx, peer, "")
				if e.err != nil {
					t.Error(e.err)
					return true
				}
				defer from.release(r)
				if !slices.Contains(seen, r) {
					seen = append(seen, r)
				}
				return len(seen) >= 6
			}
			a, b := pair(t, from, to, 0)
			over, stop := context.WithCancel(ctx)
			defer stop()
			done := make(chan error, 4)
			for w := range cap(done) {
				go func() { done <- keepCalling(ctx, over, w, from, to) }()
			}
			for !see() {
				exchange(t, a, b)
			}
			stop()
			for range cap(done) {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			exchange(t, a, b)
			a.Close()
			b.Close()
			until(t, "old connections are closed", func() bool {
				return !slices.ContainsFunc(all, func(n *Node) bool { return n.routesInUse() > 5 })
			})
		})
	}
}

// keepCalling asks questions, or opens sessions, until over ends.
func keepCalling(ctx, over context.Context, worker int, from, to *Node) error {
	for i := 1; over.Err() == nil; i++ {
		if worker%2 == 0 {
			if _, err := from.Ask(ctx, to.opt.Identity.Name(), "", "x", random(10_000, 1)); err != nil {
				return fmt.Errorf("Ask: %w", err)
			}
			continue
		}
		id := sessionID(worker<<20 + i)
		c, err := from.Dial(ctx, to.opt.Identity.Name(), "", id, "")
		if err != nil {
			return fmt.Errorf("Dial: %w", err)
		}
		d, err := to.Accept(ctx, from.opt.Identity.Name(), id)
		if err != nil {
			return fmt.Errorf("Accept: %w", err)
		}
		c.Close()
		d.Close()
	}
	return nil
}

// Two machines slept for so long that the certificates on their connections have
// expired. What runs goes on; what is new begins on a new connection.
func TestExpiredOverNight(t *testing.T) {
	t.Parallel()
	var date calendar
	bank, telecom, _ := outbound(t, func(a, b *Options) { quick(a, b); a.Now, b.Now = date.now, date.now })
	a, b := pair(t, telecom, bank, 1)
	old := telecom.reversed(peerOf(t, telecom, "bank"))
	date.forward(95 * day)
	for _, n := range []*Node{bank, telecom} {
		if err := n.opt.Identity.Renew(date.now()); err != nil {
			t.Fatal(err)
		}
	}
	replaced(t, []*Node{telecom})
	ask(t, telecom, bank)
	ask(t, bank, telecom)
	exchange(t, a, b)
	// A peer that is removed has no time to finish anything.
	if err := telecom.opt.Peers.Remove("bank"); err != nil {
		t.Fatal(err)
	}
	_, err := a.Recv(deadline(t), 1)
	wantFault(t, err, fault.Peer, "bank", "")
	<-old.wire.down
	a.letGo(nil)
	b.letGo(nil)
}

// Nothing is left running of connections that were replaced, when sessions on the
// old ones are still open as the nodes are closed.
func TestNoGoroutineLeftOfAgeing(t *testing.T) {
	bank, shop, telecom, _ := relayed(t, func(a, b, c *Options) {
		for _, o := range []*Options{a, b, c} {
			o.Heartbeat, o.age = 50*time.Millisecond, 400*time.Millisecond
		}
	})
	var routes []*route
	for i := 0; len(routes) < 3; i++ {
		r, e := bank.reach(deadline(t), peerOf(t, bank, "shop"), "")
		if e.err != nil {
			t.Fatal(e.err)
		}
		if !slices.Contains(routes, r) {
			routes = append(routes, r)
			pair(t, bank, shop, i)
		}
		bank.release(r)
	}
	var wg sync.WaitGroup
	for _, n := range []*Node{telecom, bank, shop} {
		wg.Go(func() { n.Close() })
	}
	wg.Wait()
	var left []string
	for ctx := deadline(t); ctx.Err() == nil; runtime.Gosched() {
		if left = goroutines(); len(left) == 0 {
			return
		}
	}
	t.Fatalf("%d goroutines are left, such as\n%s", len(left), strings.Join(left, "\n\n"))
}
