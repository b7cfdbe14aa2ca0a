package transport

import (
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between two nodes and can misbehave.
type proxy struct {
	l      net.Listener
	to     string
	slow   time.Duration // between pieces of 4 KiB, if set
	refuse int           // connections to be closed at once, to begin with

	mu      sync.Mutex
	conns   []net.Conn
	stalled chan struct{} // closed: nothing is forwarded any more on today's connections
	over    chan struct{}
	wg      sync.WaitGroup
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, stalled: make(chan struct{}), over: make(chan struct{})}
	t.Cleanup(func() {
		l.Close()
		close(p.over)
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) start() *proxy {
	p.wg.Go(func() {
		for {
			c, err := p.l.Accept()
			if err != nil {
				return
			}
			if p.refuse > 0 {
				p.refuse--
				c.Close()
				continue
			}
			d, err := net.Dial("tcp", p.to)
			if err != nil {
				c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, d)
			p.mu.Unlock()
			p.mu.Lock()
			stalled := p.stalled
			p.mu.Unlock()
			p.wg.Go(func() { p.forward(c, d, stalled) })
			p.wg.Go(func() { p.forward(d, c, stalled) })
		}
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) forward(to, from net.Conn, stalled <-chan struct{}) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	var tick <-chan time.Time
	if p.slow > 0 {
		t := time.NewTicker(p.slow)
		defer t.Stop()
		tick, buf = t.C, buf[:4<<10]
	}
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if tick != nil {
			select {
			case <-tick:
			case <-p.over:
				return
			}
		}
		select {
		case <-stalled:
			<-p.over
			return
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// stall keeps the connections open and forwards nothing more on them, as a
// firewall that has forgotten them. New ones work.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.stalled)
	p.stalled = make(chan struct{})
}

// cut resets the connections, as when a machine dies.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	p.conns = nil
}
