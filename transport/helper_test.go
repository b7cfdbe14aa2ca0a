package transport

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"kontor/identity"
)

// deadline bounds a test that would hang if it failed.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newIdentity(t testing.TB, name string) *identity.Identity {
	t.Helper()
	id, err := identity.Ephemeral(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func know(t testing.TB, ids ...*identity.Identity) *identity.Peers {
	t.Helper()
	ps := identity.MemoryPeers()
	for _, id := range ids {
		if err := ps.Add(&identity.Invitation{Name: id.Name(), Key: id.PublicKey()}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return ps
}

func listen(t testing.TB, o Options) *Node {
	t.Helper()
	if o.Listen == "" && o.Listener == nil {
		o.Listen = "127.0.0.1:0"
	}
	n, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// twoNodes returns nodes of bank and telecom that know each other. change may
// alter their options.
func twoNodes(t testing.TB, change func(bank, telecom *Options)) (bank, telecom *Node) {
	t.Helper()
	a, b := newIdentity(t, "bank"), newIdentity(t, "telecom")
	oa, ob := Options{Identity: a, Peers: know(t, b)}, Options{Identity: b, Peers: know(t, a)}
	if change != nil {
		change(&oa, &ob)
	}
	return listen(t, oa), listen(t, ob)
}

func sessionID(i int) (id [32]byte) {
	copy(id[:], fmt.Sprintf("session %d", i))
	return id
}

// connect opens session i from bank to telecom.
func connect(t testing.TB, bank, telecom *Node, addr string, i int) (atBank, atTelecom *Conn) {
	t.Helper()
	ctx := deadline(t)
	a, err := bank.Dial(ctx, "telecom", addr, sessionID(i), "align")
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	b, err := telecom.Accept(ctx, "bank", sessionID(i))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return a, b
}

// goroutines returns the stacks of goroutines that run code of this package or
// of gRPC, the caller's own left out.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for i, g := range bytes.Split(buf, []byte("\n\n")) {
		s := string(g)
		if i > 0 && (strings.Contains(s, "kontor/transport.(") || strings.Contains(s, "google.golang.org/grpc")) && !strings.Contains(s, "testing.tRunner") {
			found = append(found, s)
		}
	}
	return found
}
