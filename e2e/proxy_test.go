package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a wire between two nodes that can be broken: cut, so that its
// connections end at once and new ones are refused; a black hole, so that nothing
// arrives any more and nobody is told; or slow.
type Proxy struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	change *sync.Cond
	state  wire
	rate   [2]float64 // bytes a second in each direction, 0 for no limit
	free   [2]time.Time
	bytes  int64
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

type wire int

const (
	whole wire = iota
	severed
	hole
	gone // the test has ended
)

func newProxy(t *testing.T, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{l: l, to: to, conns: map[net.Conn]bool{}}
	p.change = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.set(gone)
		l.Close()
		p.drop()
		p.wg.Wait()
	})
	return p
}

// Addr is where the wire begins.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// Cut ends all connections and takes no new ones.
func (p *Proxy) Cut() { p.set(severed); p.drop() }

// Drop ends all connections; new ones are taken.
func (p *Proxy) Drop() { p.drop() }

// Blackhole holds back everything from now on.
func (p *Proxy) Blackhole() { p.set(hole) }

// Heal makes the wire whole: what a black hole has held back arrives, as TCP
// would send it again.
func (p *Proxy) Heal() { p.set(whole) }

// Throttle lets so many bits a second pass in each direction; 0 ends it.
func (p *Proxy) Throttle(bits float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = [2]float64{bits / 8, bits / 8}
}

// Bytes is how many have passed so far, in both directions.
func (p *Proxy) Bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

func (p *Proxy) set(s wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	p.change.Broadcast()
}

func (p *Proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.(*net.TCPConn).SetLinger(0) // a reset, not a farewell
		c.Close()
	}
	clear(p.conns)
	p.change.Broadcast()
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.carry(c) })
	}
}

// holds keeps a connection for [Proxy.drop]; false if there can be none now.
func (p *Proxy) holds(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == severed || p.state == gone {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *Proxy) carry(in net.Conn) {
	if !p.holds(in) {
		return
	}
	defer p.forget(in)
	if !p.pass(in) {
		return
	}
	out, err := net.DialTimeout("tcp", p.to, 5*time.Second)
	if err != nil {
		in.(*net.TCPConn).SetLinger(0)
		return
	}
	if !p.holds(out) {
		return
	}
	defer p.forget(out)
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(out, in, 0) })
	wg.Go(func() { p.copy(in, out, 1) })
	wg.Wait()
}

// pass waits while the wire is a black hole; false if the connection was dropped.
func (p *Proxy) pass(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.state == hole && p.conns[c] {
		p.change.Wait()
	}
	return p.conns[c]
}

func (p *Proxy) copy(to, from net.Conn, way int) {
	// Small buffers, so that what is on its way is on the wire and not in them.
	to.(*net.TCPConn).SetWriteBuffer(32 << 10)
	from.(*net.TCPConn).SetReadBuffer(32 << 10)
	b := make([]byte, 8<<10)
	for {
		n, err := from.Read(b)
		if !p.pass(from) {
			return
		}
		if n > 0 {
			p.delay(n, way)
			if !p.pass(from) {
				return
			}
			if _, werr := to.Write(b[:n]); werr != nil {
				from.(*net.TCPConn).CloseRead()
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				to.(*net.TCPConn).SetLinger(0)
			}
			to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// delay takes as long as n bytes need on the wire, after those before them.
func (p *Proxy) delay(n, way int) {
	p.mu.Lock()
	p.bytes += int64(n)
	rate := p.rate[way]
	if rate == 0 {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	if p.free[way].Before(now) {
		p.free[way] = now
	}
	p.free[way] = p.free[way].Add(time.Duration(float64(n) / rate * float64(time.Second)))
	until := p.free[way]
	p.mu.Unlock()
	time.Sleep(time.Until(until))
}
