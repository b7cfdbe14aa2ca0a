package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"kontor/internal/fault"
)

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
	wantFault(t, err, fault.Peer, "bank", "does not fit the job in step align")
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
