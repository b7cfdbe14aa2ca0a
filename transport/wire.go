package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"kontor/identity"
	"kontor/internal/fault"
)

// wire is the TCP connection to a peer, below TLS. It knows when something last
// arrived, which is what decides whether a peer is alive, and when it broke,
// which gRPC does not tell to somebody who is not reading from it.
type wire struct {
	net.Conn
	heard atomic.Int64 // nanoseconds after epoch
	down  chan struct{}
	once  sync.Once
	gone  func() // called once when down
	under *wire  // of a tunnel: the connection that it goes through

	peer   string      // at the callee: whose it is once pinned is set
	pinned atomic.Bool // at the callee: the caller was known when it connected
	silent atomic.Bool // a session gave the peer up; no other may begin here
}

var epoch = time.Now() // monotonic

func newWire(c net.Conn, gone func()) *wire {
	w := &wire{Conn: c, down: make(chan struct{}), gone: gone}
	if p, ok := c.(pipeEnd); ok {
		w.under = p.under
	}
	w.heard.Store(int64(time.Since(epoch)))
	return w
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.heard.Store(int64(time.Since(epoch)))
	}
	if err != nil {
		w.broke()
	}
	return n, err
}

func (w *wire) Close() error {
	err := w.Conn.Close()
	w.broke()
	return err
}

func (w *wire) broke() {
	w.once.Do(func() {
		close(w.down)
		if w.gone != nil {
			w.gone()
		}
	})
}

// goodbyeTime is how long a silent peer's connection stays open for a last word,
// which a peer that only stopped sending may still read.
const goodbyeTime = 300 * time.Millisecond

// giveUp is for a connection on which a peer fell silent: nothing new begins on
// it, and it is closed as soon as those who use it can have said goodbye.
func (w *wire) giveUp() {
	if !w.silent.Swap(true) {
		time.AfterFunc(goodbyeTime, func() { w.Close() })
	}
}

// quiet returns for how long nothing has arrived. What arrives on the connection
// below a tunnel counts: on a slow link the tunnel may have to wait behind it. If
// the far end of the tunnel is lost, whoever is at the near end of the last
// connection notices and ends it.
func (w *wire) quiet() time.Duration {
	q := time.Since(epoch) - time.Duration(w.heard.Load())
	if w.under != nil {
		q = min(q, w.under.quiet())
	}
	return q
}

// authInfo is what gRPC hands to a handler about a connection.
type authInfo struct {
	credentials.CommonAuthInfo
	chain [][]byte
	wire  *wire
}

func (authInfo) AuthType() string { return "kontor" }

func newAuthInfo(state tls.ConnectionState, w *wire) authInfo {
	return authInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		chain: rawChain(state), wire: w}
}

func rawChain(state tls.ConnectionState) [][]byte {
	var raw [][]byte
	for _, c := range state.PeerCertificates {
		raw = append(raw, c.Raw)
	}
	return raw
}

// noCredentials is the part of credentials.TransportCredentials that neither
// side needs.
type noCredentials struct{}

func (noCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("transport: not a client")
}

func (noCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("transport: not a server")
}

func (noCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (noCredentials) OverrideServerName(string) error { return nil }

// handedOver are client credentials for a connection on which this package has
// done the handshake itself, so that its errors keep their types.
type handedOver struct {
	noCredentials
	info authInfo
}

func (h handedOver) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, h.info, nil
}

func (h handedOver) Clone() credentials.TransportCredentials { return h }

// serverCredentials does the callee's handshake.
type serverCredentials struct {
	noCredentials
	node *Node
}

func (s serverCredentials) Clone() credentials.TransportCredentials { return s }

func (s serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	n := s.node
	w, ok := raw.(*wire) // made by our listener
	if !ok {
		w = newWire(raw, nil)
	}
	c := tls.Server(w, n.serverTLS())
	err := c.Handshake()
	if err == nil && c.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("no application protocol in common") // crypto/tls lets HTTP/1.1 through
	}
	if err != nil {
		w.Close()
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) { // somebody who only tried whether the port is open
			n.refused(fault.Wrap(fault.Trust, err, fmt.Sprintf("a caller at %s was refused", raw.RemoteAddr()),
				"it is no Kontor node, or it does not trust this one"))
		}
		return nil, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	info := newAuthInfo(c.ConnectionState(), w)
	if p, err := identity.VerifyPeer(info.chain, n.opt.Peers, n.opt.Now()); err != nil {
		// It stays long enough to be told why. Nothing it sends reaches a handler.
		t := time.AfterFunc(strangerTime, func() { w.Close() })
		go func() { <-w.down; t.Stop() }()
	} else if !n.admit(w, p.Name) {
		w.Close()
		n.refused(&fault.Error{Kind: fault.Peer, Party: p.Name, What: fmt.Sprintf("it has more than %d connections to this node", maxWires),
			Cure: "check what its node does; one connection is enough"})
		return nil, nil, errors.New("too many connections of one peer")
	}
	return c, info, nil
}

// maxWires bounds the connections of one peer to each listener. One is in use,
// and those that were lost are there until TCP or silence gives them up.
const maxWires = 64

// admit takes in the connection of a peer unless it has too many.
func (n *Node) admit(w *wire, peer string) bool {
	for _, l := range []*listener{n.listener, n.inner} {
		if l == nil {
			continue
		}
		l.mu.Lock()
		_, here := l.wires[w]
		count := 0
		for o := range l.wires {
			if o.pinned.Load() && o.peer == peer {
				count++
			}
		}
		if here && count < maxWires {
			w.peer = peer
			w.pinned.Store(true)
		}
		l.mu.Unlock()
		if here {
			return count < maxWires
		}
	}
	return false // it was shed meanwhile
}

// strangerTime is how long a caller that is not pinned may stay connected.
const strangerTime = 10 * time.Second

// serverTLS and clientTLS are made anew for every connection, so that a renewed
// certificate counts at once.
func (n *Node) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{n.opt.Identity.TLSCertificate()},
		ClientAuth:             tls.RequireAnyClientCert,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true, // every connection proves its keys
	}
}

// clientTLS accepts the peer of that name and nobody else.
func (n *Node) clientTLS(peer identity.Peer) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{n.opt.Identity.TLSCertificate()},
		NextProtos:         []string{"h2"},
		InsecureSkipVerify: true, // system authorities and host names mean nothing here; VerifyConnection decides
		VerifyConnection: func(state tls.ConnectionState) error {
			p, err := identity.VerifyPeer(rawChain(state), n.opt.Peers, n.opt.Now())
			switch {
			case errors.Is(err, identity.ErrUnknown):
				return &fault.Error{Kind: fault.Trust, Party: peer.Name, Err: err,
					What: fmt.Sprintf("the node at its address is not the pinned %s (fingerprint %s)", peer.Name, peer.Fingerprint()),
					Cure: "check the address; if the institution changed its identity, ask it by telephone"}
			case err != nil:
				return err
			case p.Name != peer.Name:
				return &fault.Error{Kind: fault.Trust, Party: peer.Name,
					What: fmt.Sprintf("the node at its address is that of %s", p.Name), Cure: "correct the address of " + peer.Name}
			}
			return nil
		},
	}
}

// listener keeps track of the connections it accepted, so that closing the node
// ends those too that are stuck in a handshake.
type listener struct {
	net.Listener
	mu    sync.Mutex
	wires map[*wire]struct{}
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, wires: map[*wire]struct{}{}}
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var w *wire
	w = newWire(c, func() {
		l.mu.Lock()
		delete(l.wires, w)
		l.mu.Unlock()
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shed()
	l.wires[w] = struct{}{}
	return w, nil
}

// maxStrangers bounds the connections of callers that are in their handshake or
// did not turn out to be peers.
const maxStrangers = 256

// shed closes a stranger's connection if there are too many. Which one is left to
// chance (the order of a map), so that whoever floods the port mostly hits
// itself, and a peer in its handshake soon gets through. l.mu is held.
func (l *listener) shed() {
	strangers := 0
	for w := range l.wires {
		if w.pinned.Load() {
			continue
		}
		if strangers++; strangers >= maxStrangers {
			delete(l.wires, w)
			w.Conn.Close() // its reader notices and calls broke
			return
		}
	}
}

// cut closes all connections; those of strangers only, and of callers still in
// their handshake, if all is not set.
func (l *listener) cut(all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.wires {
		if all || !w.pinned.Load() {
			w.Conn.Close() // its reader notices and calls broke
		}
	}
}
