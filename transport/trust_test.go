package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// refusals collects what a node's OnRefused is told.
type refusals chan error

func (r refusals) hook() func(error) { return func(err error) { r <- err } }

func (r refusals) want(t *testing.T, kind fault.Kind, party, says string) {
	t.Helper()
	select {
	case err := <-r:
		wantFault(t, err, kind, party, says)
	case <-deadline(t).Done():
		t.Error("OnRefused was not called")
	}
}

func at(t *testing.T, name string, when time.Time) *identity.Identity {
	t.Helper()
	id, err := identity.Ephemeral(name, when)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Both sides say in words what is wrong with a certificate.
func TestCertificates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old, young := now.Add(-identity.NodeValidity-time.Hour), now.Add(4*time.Hour)
	for name, c := range map[string]struct {
		bank, telecom  time.Time // when their certificates were made
		stranger       bool      // telecom does not know bank
		dialler        string    // what bank's Dial says
		refused, party string    // what telecom's OnRefused says and names
	}{
		"unknown caller": {bank: now, telecom: now, stranger: true, dialler: "it does not know this institution (bank, fingerprint ", refused: "is not known here"},
		"expired caller": {bank: old, telecom: now, dialler: "it refused the certificate of this node, which expired on ", refused: "expired on", party: "bank"},
		"early caller":   {bank: young, telecom: now, dialler: "not valid yet", refused: "one of the two clocks is wrong", party: "bank"},
		"expired callee": {bank: now, telecom: old, dialler: "the certificate of its node expired on", refused: "a caller at"},
		"early callee":   {bank: now, telecom: young, dialler: "one of the two clocks is wrong", refused: "a caller at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(refusals, 10)
			a, b := at(t, "bank", c.bank), at(t, "telecom", c.telecom)
			known := know(t, a)
			if c.stranger {
				known = know(t, at(t, "bank", now))
			}
			bank := listen(t, Options{Identity: a, Peers: know(t, b)})
			telecom := listen(t, Options{Identity: b, Peers: known, OnRefused: told.hook()})
			// Patience is without end: a refusal must not be tried again.
			_, err := bank.Dial(deadline(t), "telecom", telecom.Addr(), sessionID(1), "align")
			wantFault(t, err, fault.Trust, "telecom", c.dialler)
			var f *fault.Error
			if errors.As(err, &f); f.Cure == "" {
				t.Error("no cure")
			}
			told.want(t, fault.Trust, c.party, c.refused)
			if c.stranger && !strings.Contains(err.Error(), a.Fingerprint()) {
				t.Errorf("no fingerprint in %v", err)
			}
		})
	}
}

func TestWrongPeerAtAddress(t *testing.T) {
	t.Parallel()
	a, b, s := newIdentity(t, "bank"), newIdentity(t, "telecom"), newIdentity(t, "shop")
	told := make(refusals, 10)
	shop := listen(t, Options{Identity: s, Peers: know(t, a), OnRefused: told.hook()})
	bank := listen(t, Options{Identity: a, Peers: know(t, b, s)})
	_, err := bank.Dial(deadline(t), "telecom", shop.Addr(), sessionID(1), "align")
	wantFault(t, err, fault.Trust, "telecom", "the node at its address is that of shop")
	told.want(t, fault.Trust, "", "bad certificate")
	bank = listen(t, Options{Identity: a, Peers: know(t, b)})
	_, err = bank.Dial(deadline(t), "telecom", shop.Addr(), sessionID(1), "align")
	wantFault(t, err, fault.Trust, "telecom", "is not the pinned telecom (fingerprint "+b.Fingerprint())
	_, err = bank.Dial(deadline(t), "shop", shop.Addr(), sessionID(1), "align")
	wantFault(t, err, fault.Trust, "shop", "does not know the party")
}

// A peer that is removed, or whose certificate expires, has no more calls on a
// connection that it has already.
func TestTrustEndsOnOpenConnection(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	known := know(t, a)
	bank := listen(t, Options{Identity: a, Peers: know(t, b)})
	telecom := listen(t, Options{Identity: b, Peers: known})
	c, _ := connect(t, bank, telecom, telecom.Addr(), 1)
	defer c.Close()
	if err := known.Remove("bank"); err != nil {
		t.Fatal(err)
	}
	_, err := bank.Dial(deadline(t), "telecom", telecom.Addr(), sessionID(2), "align")
	wantFault(t, err, fault.Trust, "telecom", "does not know this institution")
}

// A renewed certificate counts without a new node.
func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	a, b := at(t, "bank", time.Now().Add(-2*identity.NodeValidity)), newIdentity(t, "telecom")
	bank := listen(t, Options{Identity: a, Peers: know(t, b)})
	telecom := listen(t, Options{Identity: b, Peers: know(t, a)})
	_, err := bank.Dial(deadline(t), "telecom", telecom.Addr(), sessionID(1), "align")
	wantFault(t, err, fault.Trust, "telecom", "expired")
	if err := a.Renew(time.Now()); err != nil {
		t.Fatal(err)
	}
	c, _ := connect(t, bank, telecom, telecom.Addr(), 1)
	c.Close()
}

// What is not TLS 1.3 with a client certificate gets no further than the handshake.
func TestHandshakeRefuses(t *testing.T) {
	t.Parallel()
	cert := newIdentity(t, "bank").TLSCertificate()
	for name, c := range map[string]struct {
		config *tls.Config // nil for plaintext
		says   string
	}{
		"plaintext":      {nil, "does not look like a TLS handshake"},
		"TLS 1.2":        {&tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}, "unsupported versions"},
		"no certificate": {&tls.Config{NextProtos: []string{"h2"}}, "client didn't provide a certificate"},
		"other protocol": {&tls.Config{NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{cert}}, "application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(refusals, 10)
			id := newIdentity(t, "telecom")
			n := listen(t, Options{Identity: id, Peers: know(t), OnRefused: told.hook()})
			conn, err := net.Dial("tcp", n.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.config != nil {
				c.config.InsecureSkipVerify = true
				conn = tls.Client(conn, c.config)
			}
			io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			io.Copy(io.Discard, conn) // returns: the connection is closed
			told.want(t, fault.Trust, "", c.says)
		})
	}
}

// A stranger reaches no handler, whatever it calls, and learns why.
func TestStrangerReachesNoHandler(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	bank := listen(t, Options{Identity: a, Peers: know(t, b)})
	told := make(refusals, 10)
	known := know(t, a)
	telecom := listen(t, Options{Identity: b, Peers: known, OnRefused: told.hook()})
	client := rawClient(t, bank, telecom)
	if err := known.Remove("bank"); err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t)
	_, err := client.Hello(ctx, &peerv1.HelloRequest{})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), a.Fingerprint()) {
		t.Errorf("Hello: %v", err)
	}
	st, err := client.Exchange(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), a.Fingerprint()) {
		t.Errorf("Exchange: %v", err)
	}
	told.want(t, fault.Trust, "", a.Fingerprint())
	told.want(t, fault.Trust, "", a.Fingerprint())
	telecom.mu.Lock()
	defer telecom.mu.Unlock()
	if len(telecom.conns)+len(telecom.early) != 0 {
		t.Error("a stranger's session was taken")
	}
}

// rawClient returns the generated client on a connection from one node to the
// other, for tests that break the protocol above it.
func rawClient(t *testing.T, from, to *Node) peerv1.PeerClient {
	t.Helper()
	p, err := from.opt.Peers.Get(to.opt.Identity.Name())
	if err != nil {
		t.Fatal(err)
	}
	r, e := from.route(deadline(t), p, from.direct(p, to.Addr()))
	if e.err != nil {
		t.Fatal(e.err)
	}
	return r.client
}

func TestVersions(t *testing.T) {
	t.Parallel()
	v1 := VersionInfo{Software: "0.1.0", Capabilities: []string{"psi-ecdh/1"}}
	v2 := VersionInfo{Software: "0.2.0", WireMin: 3, WireMax: 4, Capabilities: []string{"psi-ecdh/1", "boost/1"}}
	needy := VersionInfo{Software: "0.3.0", Capabilities: []string{"psi-ecdh/1", "boost/1"}, Required: []string{"psi-ecdh/1", "boost/1"}}
	for name, c := range map[string]struct {
		bank, telecom VersionInfo
		atBank        string
		atTelecom     string
	}{
		"newer callee": {v1, v2, "it runs Kontor 0.2.0 (wire protocol 3 to 4), this is Kontor 0.1.0 (wire protocol 1 to 2); upgrade this Kontor to 0.2.0 or later",
			"it runs Kontor 0.1.0 (wire protocol 1 to 2), this is Kontor 0.2.0 (wire protocol 3 to 4); upgrade Kontor at bank to 0.2.0 or later"},
		"newer caller": {v2, v1, "upgrade Kontor at telecom to 0.2.0 or later", "upgrade this Kontor to 0.2.0 or later"},
		"callee lacks": {needy, v1, "lacks boost/1; upgrade Kontor at telecom to 0.3.0 or later", "needs boost/1, which is not here; upgrade this Kontor to 0.3.0 or later"},
		"caller lacks": {v1, needy, "needs boost/1, which is not here; upgrade this Kontor to 0.3.0 or later", "lacks boost/1; upgrade Kontor at bank to 0.3.0 or later"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(refusals, 10)
			bank, telecom := twoNodes(t, func(a, b *Options) {
				a.Version, b.Version, b.OnRefused = c.bank, c.telecom, told.hook()
			})
			_, err := bank.Dial(deadline(t), "telecom", telecom.Addr(), sessionID(1), "align")
			wantFault(t, err, fault.Version, "telecom", c.atBank)
			told.want(t, fault.Version, "bank", c.atTelecom)
		})
	}
	bank, telecom := twoNodes(t, func(a, b *Options) { a.Version, b.Version = needy, needy })
	c, _ := connect(t, bank, telecom, telecom.Addr(), 1)
	c.Close()
}

// A node that fits, or that has said Hello, may still not open a session with
// a greeting that does not.
func TestVersionCheckedAgainOnOpen(t *testing.T) {
	t.Parallel()
	bank, telecom := twoNodes(t, nil)
	client := rawClient(t, bank, telecom)
	for name, g := range map[string]*peerv1.Greeting{
		"version": {Name: "bank", WireMin: 7, WireMax: 7}, "name": {Name: "shop", WireMin: 1, WireMax: 1}, "none": nil, "nonsense": {Name: "bank", WireMin: 3, WireMax: 2},
	} {
		st, err := client.Exchange(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		id := sessionID(1)
		st.Send(&peerv1.Packet{Body: &peerv1.Packet_Open{Open: &peerv1.Open{Session: id[:], Greeting: g}}})
		if _, err := st.Recv(); status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNamesMustAgree(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	known := identity.MemoryPeers()
	if err := known.Add(&identity.Invitation{Name: "savings-bank", Key: a.PublicKey()}, time.Now()); err != nil {
		t.Fatal(err)
	}
	told := make(refusals, 10)
	bank := listen(t, Options{Identity: a, Peers: know(t, b)})
	telecom := listen(t, Options{Identity: b, Peers: known, OnRefused: told.hook()})
	_, err := bank.Dial(deadline(t), "telecom", telecom.Addr(), sessionID(1), "align")
	wantFault(t, err, fault.Trust, "telecom", "it knows this institution as savings-bank, here it is bank")
	told.want(t, fault.Trust, "savings-bank", `calls itself "bank"`)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "bank")
	n := listen(t, Options{Identity: id, Peers: know(t)})
	_, err := Listen(Options{Identity: id, Peers: know(t), Listen: n.Addr()})
	wantFault(t, err, fault.Local, "", "the address "+n.Addr()+" is in use by another program; stop that program")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	bank := listen(t, Options{Identity: a, Peers: know(t, b), DialPatience: -1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Close()
		}
	}()
	for _, c := range []struct{ addr, says string }{
		{gone, "it cannot be reached at " + gone + ": connection refused; check that its node is running"},
		{"host.invalid:1", "host name host.invalid"},
		{plain.Addr().String(), "does not speak TLS"},
		{"", "no address is known for it"},
	} {
		_, err := bank.Dial(deadline(t), "telecom", c.addr, sessionID(1), "align")
		wantFault(t, err, fault.Peer, "telecom", c.says)
	}
	_, err = bank.Dial(deadline(t), "shop", gone, sessionID(1), "align")
	wantFault(t, err, fault.Trust, "shop", "does not know the party")
}

func TestDialPatience(t *testing.T) {
	t.Parallel()
	attempts := make(chan error, 100)
	bank, telecom := twoNodes(t, func(a, _ *Options) {
		a.OnWaiting = func(peer string, err error) { attempts <- err }
	})
	p := newProxy(t, telecom.Addr())
	p.refuse = 3
	c, _ := connect(t, bank, telecom, p.start().addr(), 1)
	c.Close()
	if len(attempts) != 3 {
		t.Errorf("OnWaiting was called %d times, want 3", len(attempts))
	}
	wantFault(t, <-attempts, fault.Peer, "telecom", "was lost while it was being secured")
	// A cancelled wait ends at once, with what the caller asked for.
	q := newProxy(t, telecom.Addr())
	q.refuse = 1 << 30
	ctx, cancel := context.WithCancel(deadline(t))
	go func() { <-attempts; <-attempts; <-attempts; cancel() }()
	_, err := bank.Dial(ctx, "telecom", q.start().addr(), sessionID(2), "align")
	wantFault(t, err, fault.Cancelled, "telecom", "stopped while waiting")
}
