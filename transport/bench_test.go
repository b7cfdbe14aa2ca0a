package transport

import (
	"fmt"
	"testing"
)

// BenchmarkThroughput sends messages of a size one way over loopback, TLS
// included, both nodes in this process.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			bank, telecom := twoNodes(b, nil)
			throughput(b, bank, telecom, telecom.Addr(), size)
		})
	}
}

// BenchmarkTunnels is the same to a node without a port, and between two such.
func BenchmarkTunnels(b *testing.B) {
	b.Run("reverse", func(b *testing.B) {
		bank, telecom, _ := outbound(b, nil)
		throughput(b, telecom, bank, "", 1<<20)
	})
	b.Run("relay", func(b *testing.B) {
		bank, shop, _, _ := relayed(b, func(_, _, telecom *Options) { telecom.tap = nil })
		throughput(b, shop, bank, "", 1<<20)
	})
}

func throughput(b *testing.B, from, to *Node, addr string, size int) {
	ctx := b.Context()
	a, err := from.Dial(ctx, to.opt.Identity.Name(), addr, sessionID(1), "")
	if err != nil {
		b.Fatal(err)
	}
	c, err := to.Accept(ctx, from.opt.Identity.Name(), sessionID(1))
	if err != nil {
		b.Fatal(err)
	}
	msg := random(size, 1)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	done := make(chan error, 1)
	b.ResetTimer()
	go func() {
		for range b.N {
			if err := a.Send(ctx, msg); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range b.N {
		if _, err := c.Recv(ctx, size); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	a.Close()
	c.Close()
}

// BenchmarkRoundTrip is a small message there and back.
func BenchmarkRoundTrip(b *testing.B) {
	bank, telecom := twoNodes(b, nil)
	a, c := connect(b, bank, telecom, telecom.Addr(), 1)
	ctx := b.Context()
	go func() {
		for {
			m, err := c.Recv(ctx, 100)
			if err != nil || c.Send(ctx, m) != nil {
				return
			}
		}
	}()
	for b.Loop() {
		if err := a.Send(ctx, []byte("ping")); err != nil {
			b.Fatal(err)
		}
		if _, err := a.Recv(ctx, 100); err != nil {
			b.Fatal(err)
		}
	}
	a.Close()
	c.Close()
}

// BenchmarkAsk is a small question and its answer.
func BenchmarkAsk(b *testing.B) {
	bank, telecom := twoNodes(b, answering(echo))
	for b.Loop() {
		if _, err := bank.Ask(b.Context(), "telecom", telecom.Addr(), "x", []byte("ping")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSession opens and closes a session on a connection that exists.
func BenchmarkSession(b *testing.B) {
	bank, telecom := twoNodes(b, nil)
	ctx := b.Context()
	i := 0
	for b.Loop() {
		i++
		a, err := bank.Dial(ctx, "telecom", telecom.Addr(), sessionID(i), "align")
		if err != nil {
			b.Fatal(err)
		}
		c, err := telecom.Accept(ctx, "bank", sessionID(i))
		if err != nil {
			b.Fatal(err)
		}
		a.Close()
		c.Close()
	}
}
