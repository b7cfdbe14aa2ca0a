package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"kontor/internal/fault"
)

// channel is what both transports promise.
type channel interface {
	Send(ctx context.Context, parts ...[]byte) error
	Recv(ctx context.Context, limit int) ([]byte, error)
	Close() error
	Abort(err error)
	Done() <-chan struct{}
	Err() error
}

// conformance runs test over every transport, with the dialling and with the
// accepting end as a. The ends are at bank and at telecom.
func conformance(t *testing.T, test func(t *testing.T, bank, telecom channel)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		a, b := MemoryPair("bank", "telecom")
		test(t, a, b)
	})
	for _, dialler := range []string{"bank", "telecom"} {
		t.Run("grpc dialled by "+dialler, func(t *testing.T) {
			t.Parallel()
			one, two := twoNodes(t, nil)
			if dialler == "bank" {
				a, b := connect(t, one, two, two.Addr(), 1)
				test(t, a, b)
				return
			}
			ctx := deadline(t)
			b, err := two.Dial(ctx, "bank", one.Addr(), sessionID(1), "align")
			if err != nil {
				t.Fatal(err)
			}
			a, err := one.Accept(ctx, "telecom", sessionID(1))
			if err != nil {
				t.Fatal(err)
			}
			test(t, a, b)
		})
	}
}

func random(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	r.Read(b)
	return b
}

func wantFault(t *testing.T, err error, kind fault.Kind, party, says string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != kind || f.Party != party || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (%s), want a fault of kind %s that names %s and says %q", err, fault.KindOf(err), kind, party, says)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		const count = 2000
		var wg sync.WaitGroup
		for _, c := range []channel{a, b} {
			wg.Go(func() {
				for i := range count {
					if err := c.Send(ctx, []byte("message "), nil, fmt.Append(nil, i)); err != nil {
						t.Errorf("Send: %v", err)
						return
					}
				}
			})
			wg.Go(func() {
				for i := range count {
					m, err := c.Recv(ctx, 100)
					if err != nil || string(m) != fmt.Sprint("message ", i) {
						t.Errorf("got %q, %v for message %d", m, err, i)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestSizes(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		sizes := []int{0, 1, minChunk, maxChunk - 1, maxChunk, maxChunk + 1, 2 * maxChunk, 3*maxChunk + 7, 50_000_000}
		go func() {
			for i, n := range sizes {
				m := random(n, uint64(i))
				k := n / 3
				a.Send(ctx, m[:k], m[k:k], m[k:])
				clear(m) // the parts are ours again
			}
		}()
		for i, n := range sizes {
			m, err := b.Recv(ctx, n)
			if err != nil || m == nil || !bytes.Equal(m, random(n, uint64(i))) {
				t.Fatalf("message of %d bytes: got %d, %v", n, len(m), err)
			}
		}
	})
}

func TestBothSendMuch(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		const n = 40_000_000 // more than queue and window hold
		var wg sync.WaitGroup
		for i, c := range []channel{a, b} {
			wg.Go(func() {
				if err := c.Send(ctx, random(n, uint64(i))); err != nil {
					t.Errorf("Send: %v", err)
				}
			})
			wg.Go(func() {
				m, err := c.Recv(ctx, n)
				if err != nil || !bytes.Equal(m, random(n, uint64(1-i))) {
					t.Errorf("got %d bytes, %v", len(m), err)
				}
			})
		}
		wg.Wait()
	})
}

func TestLimit(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		sent := make(chan error, 1)
		go func() { sent <- a.Send(ctx, make([]byte, 30_000_000)) }()
		_, err := b.Recv(ctx, 1_000_000)
		wantFault(t, err, fault.Protocol, "bank", "longer than the 1000000 bytes")
		_, again := b.Recv(ctx, 100_000_000)
		wantFault(t, again, fault.Protocol, "bank", "longer than")
		<-b.Done()
		b.Abort(err)
		<-a.Done()
		wantFault(t, a.Err(), fault.Peer, "telecom", "does not allow")
		if err := <-sent; err != nil {
			wantFault(t, err, fault.Peer, "telecom", "")
		}
	})
}

func TestAbort(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		if err := a.Send(ctx, []byte("never received")); err != nil {
			t.Fatal(err)
		}
		cause := &fault.Error{Kind: fault.Data, Step: "align", What: "row 17 holds Ms Smith's salary"}
		a.Abort(cause)
		<-b.Done()
		_, err := b.Recv(ctx, 100)
		wantFault(t, err, fault.Peer, "bank", "its input does not fit the job in step align")
		wantFault(t, b.Err(), fault.Peer, "bank", "")
		if strings.Contains(err.Error(), "Smith") {
			t.Error("data of the aborting side was told")
		}
		wantFault(t, b.Send(ctx, []byte("x")), fault.Peer, "bank", "")
		// At the side that aborted, everything ends with the cause.
		wantFault(t, a.Send(ctx, []byte("x")), fault.Data, "telecom", "Smith")
		_, err = a.Recv(ctx, 100)
		wantFault(t, err, fault.Data, "telecom", "Smith")
		b.Abort(err)
		b.Close()
		a.Close()
	})
}

func TestAbortByUser(t *testing.T) {
	t.Parallel()
	// That a user stopped a job there must not look like one who stopped it here.
	conformance(t, func(t *testing.T, a, b channel) {
		ctx, cancel := context.WithCancel(deadline(t))
		cancel()
		_, err := a.Recv(ctx, 1)
		wantFault(t, err, fault.Cancelled, "telecom", "")
		a.Abort(err)
		_, err = b.Recv(deadline(t), 1)
		wantFault(t, err, fault.Peer, "bank", "its user stopped the job")
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		for i := range 3 {
			if err := a.Send(ctx, fmt.Append(nil, "last words ", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		<-a.Done()
		if a.Err() != nil {
			t.Errorf("Err after Close: %v", a.Err())
		}
		for i := range 3 {
			if m, err := b.Recv(ctx, 100); err != nil || string(m) != fmt.Sprint("last words ", i) {
				t.Fatalf("got %q, %v", m, err)
			}
		}
		_, err := b.Recv(ctx, 100)
		wantFault(t, err, fault.Peer, "bank", "ended the session early")
		if !errors.Is(err, ErrEnded) {
			t.Errorf("%v is not ErrEnded", err)
		}
		select {
		case <-b.Done():
			t.Error("an orderly end counts as a failure")
		default:
		}
		if err := b.Send(ctx, []byte("x")); !errors.Is(err, ErrEnded) {
			t.Errorf("Send to one who closed: %v", err)
		}
		if _, err := a.Recv(ctx, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("Recv after own Close: %v", err)
		}
		if err := a.Send(ctx, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Send after own Close: %v", err)
		}
		b.Close()
		if b.Err() != nil || a.Close() != nil || b.Close() != nil {
			t.Error("closing again fails")
		}
	})
}

// What was sent before Close arrives, though the peer takes it much later.
func TestCloseDelivers(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx := deadline(t)
		const n, count = 7_000_000, 5
		go func() {
			for i := range count {
				a.Send(ctx, random(n, uint64(i)))
			}
			a.Close()
		}()
		for i := range count {
			if i == count-2 {
				<-a.Done() // closed with 14 MB still to be received
			}
			if m, err := b.Recv(ctx, n); err != nil || !bytes.Equal(m, random(n, uint64(i))) {
				t.Fatalf("message %d: %d bytes, %v", i, len(m), err)
			}
		}
		b.Close()
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	conformance(t, func(t *testing.T, a, b channel) {
		ctx, cancel := context.WithCancelCause(deadline(t))
		got := make(chan error, 2)
		go func() { _, err := b.Recv(ctx, 10); got <- err }()
		go func() { got <- a.Send(ctx, make([]byte, 100_000_000)) }() // blocks: nobody receives
		cancel(nil)
		for range 2 {
			if err := <-got; fault.KindOf(err) != fault.Cancelled || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		// A cause that is a fault is what the caller sees.
		ctx, cancel = context.WithCancelCause(deadline(t))
		cancel(&fault.Error{Kind: fault.Peer, Party: "shop", What: "it went away"})
		_, err := a.Recv(ctx, 10)
		wantFault(t, err, fault.Peer, "shop", "went away")
		// The other direction still works.
		if err := b.Send(deadline(t), []byte("x")); err != nil {
			t.Error(err)
		}
		if m, err := a.Recv(deadline(t), 10); err != nil || string(m) != "x" {
			t.Errorf("got %q, %v", m, err)
		}
		a.Close()
		b.Close()
	})
}

// A sender that nobody receives from blocks; memory stays bounded.
func TestQueueBound(t *testing.T) {
	conformance(t, func(t *testing.T, a, b channel) {
		ctx, cancel := context.WithCancel(deadline(t))
		blocked := make(chan int, 1)
		block := make([]byte, 1<<20)
		go func() {
			sent := 0
			for a.Send(ctx, block) == nil {
				sent += len(block)
				if sent > 1<<30 {
					break
				}
			}
			blocked <- sent
		}()
		// It has blocked once its progress stops over many looks.
		in := inboxOf(b)
		for full := 0; full < 50; {
			in.mu.Lock()
			bytes, limit := in.bytes, in.limit
			in.mu.Unlock()
			if bytes > limit {
				t.Fatalf("%d bytes in a queue of %d", bytes, limit)
			}
			if bytes+maxChunk+chunkCost > limit {
				full++
			}
			runtime.Gosched()
		}
		cancel()
		if sent := <-blocked; sent > queueBytes+streamWindow+wireWindow {
			t.Errorf("sent %d bytes that nobody received", sent)
		}
		a.Close()
		b.Close()
	})
}

func inboxOf(c channel) *inbox {
	switch c := c.(type) {
	case *Conn:
		return c.in
	case *MemConn:
		return c.in
	}
	return nil
}
