package transport

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/internal/fault"
)

// A hundred jobs at once: all sessions are opened before the first is asked for,
// from both sides, directly and through a reverse connection.
func TestHundredSessions(t *testing.T) {
	t.Parallel()
	const many = 100
	bank, telecom, _ := outbound(t, nil)
	ctx := deadline(t)
	for s, side := range [][2]*Node{{bank, telecom}, {telecom, bank}} {
		dialled := make([]*Conn, many)
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				c, err := side[0].Dial(ctx, side[1].opt.Identity.Name(), "", sessionID(s*many+i), "boost")
				if err != nil {
					t.Error(err)
					return
				}
				dialled[i] = c
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for i, c := range dialled {
			want := random(20_000, uint64(i))
			wg.Go(func() {
				defer c.Close()
				if err := c.Send(ctx, want); err != nil {
					t.Error(err)
				}
				if m, err := c.Recv(ctx, 100_000); err != nil || !bytes.Equal(m, want) {
					t.Errorf("session %d: got %d bytes, %v", i, len(m), err)
				}
			})
			wg.Go(func() {
				d, err := side[1].Accept(ctx, side[0].opt.Identity.Name(), sessionID(s*many+i))
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Close()
				m, err := d.Recv(ctx, 100_000)
				if err == nil {
					err = d.Send(ctx, m)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// On a link of 1 Mbit/s nothing times out while bytes flow, though one chunk
// takes five times as long as silence may last: no session, no question, and not
// the reverse connection, whose probes wait behind the data.
func TestMegabitLink(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	oa, ob := Options{Identity: a, Peers: know(t, b)}, Options{Identity: b, Peers: know(t, a), OnAsk: echo}
	quick(&oa, &ob)
	telecom := listen(t, ob)
	p := newProxy(t, telecom.Addr())
	p.slow = 32 * time.Millisecond // 4 KiB each
	oa.DialOut = []DialOut{{Peer: "telecom", Addr: p.start().addr()}}
	bank := dialOnly(t, oa)
	until(t, "bank is reachable", reachable(telecom, "bank"))
	ctx := deadline(t)
	first := telecom.reversed(peerOf(t, telecom, "bank"))
	c, err := telecom.Dial(ctx, "bank", "", sessionID(1), "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := bank.Accept(ctx, "telecom", sessionID(1))
	if err != nil {
		t.Fatal(err)
	}
	msg := random(200_000, 1)
	asked := make(chan error, 1)
	go func() {
		_, err := bank.Ask(ctx, "telecom", "", "x", msg[:60_000])
		asked <- err
	}()
	go c.Send(ctx, msg)
	if m, err := d.Recv(ctx, len(msg)); err != nil || !bytes.Equal(m, msg) {
		t.Errorf("got %d bytes, %v", len(m), err)
	}
	if err := <-asked; err != nil {
		t.Error(err)
	}
	if telecom.reversed(peerOf(t, telecom, "bank")) != first {
		t.Error("the reverse connection was given up though bytes flowed")
	}
	c.Close()
	d.Close()
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const ahead = 30 * time.Minute
	bank, telecom := twoNodes(t, func(_, b *Options) {
		b.Now = func() time.Time { return time.Now().Add(ahead) }
		b.Version = VersionInfo{Software: "0.3.0", Capabilities: []string{"boost/1"}}
	})
	p := newProxy(t, telecom.Addr())
	p.slow = 10 * time.Millisecond // 400 kB/s
	r, err := bank.Probe(deadline(t), "telecom", p.start().addr())
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != "0.3.0" || r.Wire != WireMax || r.Way != "direct" || !strings.HasPrefix(r.TLS, "TLS 1.3 ") || fmt.Sprint(r.Capabilities) != "[boost/1]" ||
		!r.CertNotAfter.Equal(telecom.opt.Identity.NotAfter()) {
		t.Errorf("got %+v", r)
	}
	if r.RTT <= 0 || r.Bandwidth <= 0 || r.Bandwidth > 1_000_000 {
		t.Errorf("RTT %s, %d B/s through a link of 400 kB/s", r.RTT, r.Bandwidth)
	}
	if off := r.ClockSkew - ahead; off.Abs() > r.RTT+time.Second {
		t.Errorf("skew %s, want %s", r.ClockSkew, ahead)
	}
	_, err = bank.Probe(deadline(t), "telecom", "")
	wantFault(t, err, fault.Peer, "telecom", "no address is known")
}

// A known peer may not open connections without end.
func TestConnectionsOfPeerAreBounded(t *testing.T) {
	t.Parallel()
	told := make(refusals, 100)
	bank, telecom := twoNodes(t, func(_, b *Options) { b.OnRefused = told.hook() })
	for range maxWires {
		c, err := tls.Dial("tcp", telecom.Addr(), bank.clientTLS(peerOf(t, bank, "telecom")))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, "all are in", func() bool {
		telecom.listener.mu.Lock()
		defer telecom.listener.mu.Unlock()
		n := 0
		for w := range telecom.listener.wires {
			if w.pinned.Load() {
				n++
			}
		}
		return n == maxWires
	})
	c, err := tls.Dial("tcp", telecom.Addr(), bank.clientTLS(peerOf(t, bank, "telecom")))
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if err == nil {
		t.Error("one more was taken")
	}
	told.want(t, fault.Peer, "bank", "it has more than 64 connections")
}
