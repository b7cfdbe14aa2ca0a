package transport

import (
	"bytes"
	"sync"
	"testing"
	"time"

	peerv1 "kontor/api/peer/v1"
	"kontor/identity"
	"kontor/internal/fault"
)

// seen is what went through a relay.
type seen struct {
	mu sync.Mutex
	b  []byte
}

func (s *seen) tap(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, b...)
}

// relayed returns bank and shop, which only dial out to telecom, a relay.
func relayed(t testing.TB, change func(bank, shop, telecom *Options)) (bank, shop, telecom *Node, through *seen) {
	t.Helper()
	a, s, b := newIdentity(t, "bank"), newIdentity(t, "shop"), newIdentity(t, "telecom")
	through = &seen{}
	oa := Options{Identity: a, Peers: know(t, s, b), OnAsk: echo}
	os := Options{Identity: s, Peers: know(t, a, b), OnAsk: echo}
	ob := Options{Identity: b, Peers: know(t, a, s), Relay: true, tap: through.tap}
	if change != nil {
		change(&oa, &os, &ob)
	}
	telecom = listen(t, ob)
	oa.DialOut = []DialOut{{Peer: "telecom", Addr: telecom.Addr()}}
	os.DialOut = oa.DialOut
	bank, shop = dialOnly(t, oa), dialOnly(t, os)
	until(t, "both are there", func() bool { return reachable(telecom, "bank")() && reachable(telecom, "shop")() })
	return bank, shop, telecom, through
}

// Two nodes without ports meet at a third, which learns nothing of what they say.
func TestRelay(t *testing.T) {
	t.Parallel()
	bank, shop, _, through := relayed(t, nil)
	secret := []byte("the quick brown fox jumps over the lazy dog")
	ctx := deadline(t)
	r, err := bank.Ask(ctx, "shop", "", "job.begin", secret)
	if err != nil || string(r) != "bank job.begin "+string(secret) {
		t.Fatalf("got %q, %v", r, err)
	}
	c, err := bank.Dial(ctx, "shop", "", sessionID(1), "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := shop.Accept(ctx, "bank", sessionID(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, secret); err != nil {
		t.Fatal(err)
	}
	if m, err := d.Recv(ctx, 100); err != nil || !bytes.Equal(m, secret) {
		t.Errorf("got %q, %v", m, err)
	}
	c.Close()
	d.Close()
	talk(t, shop, bank, 2, 3_000_000)
	if r, err := bank.Probe(ctx, "shop", ""); err != nil || r.Way != "relay telecom" || r.TLS[:7] != "TLS 1.3" {
		t.Errorf("got %+v, %v", r, err)
	}
	through.mu.Lock()
	defer through.mu.Unlock()
	if len(through.b) < 6_000_000 {
		t.Fatalf("only %d bytes went through the relay", len(through.b))
	}
	for _, s := range []string{string(secret), "job.begin", "kontor.peer.v1", "shop", "bank"} {
		where := through.b
		if len(s) < 8 { // by chance it is in so much ciphertext now and then; a handshake comes first
			where = where[:16<<10]
		}
		if bytes.Contains(where, []byte(s)) {
			t.Errorf("the relay sees %q", s)
		}
	}
}

func TestRelayRefuses(t *testing.T) {
	t.Parallel()
	ask := func(n *Node, peer string) error {
		_, err := n.Ask(deadline(t), peer, "", "x", nil)
		return err
	}
	// A relay that is none; a peer that it does not know; one that is not there.
	noWay := "no address is known for it, and there is no way through telecom"
	bank, _, _, _ := relayed(t, func(_, _, telecom *Options) { telecom.Relay = false })
	wantFault(t, ask(bank, "shop"), fault.Peer, "shop", noWay)
	far := newIdentity(t, "far")
	bank, shop, telecom, _ := relayed(t, func(bank, _, _ *Options) {
		if err := bank.Peers.Add(&identity.Invitation{Name: "far", Key: far.PublicKey()}, time.Now()); err != nil {
			t.Fatal(err)
		}
	})
	wantFault(t, ask(bank, "far"), fault.Peer, "far", noWay)
	shop.Close()
	until(t, "shop is gone", func() bool { return !reachable(telecom, "shop")() })
	wantFault(t, ask(bank, "shop"), fault.Peer, "shop", noWay)
	telecom.Close()
	wantFault(t, ask(bank, "shop"), fault.Peer, "shop", "because the relay telecom cannot")
	// One that does not know the caller says so itself, from end to end.
	told := make(refusals, 100)
	bank, _, _, _ = relayed(t, func(_, shop, telecom *Options) {
		shop.Peers, shop.OnRefused = know(t, telecom.Identity), told.hook()
	})
	wantFault(t, ask(bank, "shop"), fault.Trust, "shop", "it does not know this institution (bank")
	told.want(t, fault.Trust, "", "a caller at relay telecom was refused")
	// A stranger passes nothing on.
	stranger, known := newIdentity(t, "stranger"), newIdentity(t, "telecom")
	relay := listen(t, Options{Identity: known, Peers: know(t, newIdentity(t, "shop")), Relay: true})
	waits := make(chan error, 1000)
	n := dialOnly(t, Options{Identity: stranger, Peers: know(t, known, far), DialOut: []DialOut{{"telecom", relay.Addr()}},
		OnWaiting: func(_ string, err error) { waits <- err }})
	wantFault(t, <-waits, fault.Trust, "telecom", "does not know this institution")
	wantFault(t, ask(n, "far"), fault.Peer, "far", "does not know this institution")
}

// A relay that passes on a stranger, or garbage, or itself, gets no further than a
// handshake; nor can it stand in for the peer.
func TestHostileRelay(t *testing.T) {
	t.Parallel()
	told := make(refusals, 100)
	bank, shop, telecom, _ := relayed(t, func(_, shop, _ *Options) { shop.OnRefused = told.hook() })
	ctx := deadline(t)
	r := telecom.reversed(peerOf(t, telecom, "shop"))
	st, err := rawTunnel(t, r.client, throughOf(telecom, peerv1.Through_WAY_DELIVER, nil))
	if err != nil {
		t.Fatal(err)
	}
	st.Send(&peerv1.Packet{Body: &peerv1.Packet_Chunk{Chunk: &peerv1.Chunk{Data: []byte("GET / HTTP/1.1\r\n\r\n"), Last: true}}})
	told.want(t, fault.Trust, "", "a caller at relay telecom was refused")
	// telecom answers in place of shop.
	p := peerOf(t, bank, "shop")
	if _, e := bank.route(ctx, p, bank.direct(p, telecom.Addr())); fault.KindOf(e.err) != fault.Trust {
		t.Errorf("got %v", e.err)
	}
	talk(t, bank, shop, 1, 1000)
}

// The relay goes down: sessions through it fail and name the peer.
func TestRelayLost(t *testing.T) {
	t.Parallel()
	bank, shop, telecom, _ := relayed(t, func(a, b, c *Options) { quick(a, b); quick(c, c) })
	ctx := deadline(t)
	c, err := bank.Dial(ctx, "shop", "", sessionID(1), "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := shop.Accept(ctx, "bank", sessionID(1))
	if err != nil {
		t.Fatal(err)
	}
	// Heartbeats go through for longer than silence is allowed to last.
	beat := size(&peerv1.Packet{Body: &peerv1.Packet_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}})
	until(t, "heartbeats", func() bool { _, r := c.WireBytes(); return r > 20*beat })
	if c.Err() != nil || d.Err() != nil {
		t.Fatalf("%v, %v", c.Err(), d.Err())
	}
	telecom.Close()
	_, err = c.Recv(ctx, 1)
	wantFault(t, err, fault.Peer, "shop", "")
	_, err = d.Recv(ctx, 1)
	wantFault(t, err, fault.Peer, "bank", "")
	c.letGo(nil)
	d.letGo(nil)
}
