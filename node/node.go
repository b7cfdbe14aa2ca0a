// Package node joins everything into what an institution runs: its identity, its
// listener, the peers that it trusts, and the jobs that it takes part in. It is
// the composition root: nothing but the command line imports it.
package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/transport"
)

// Version is Kontor's own version; the build sets it.
var Version = "0.1.0-dev"

// Options is what a node is made from.
type Options struct {
	Identity *identity.Identity
	Peers    *identity.Peers
	Listen   string        // address for peers; port 0 takes a free one
	Wait     time.Duration // how long a job waits for its peers to be there; 0 is ten minutes
	Log      func(text string)

	// For tests.
	Transport    func(*transport.Options)
	Rand         io.Reader
	Capabilities []string // what this node can take part in; nil is all that this version can
}

// Node is one institution's process.
type Node struct {
	o Options
	t *transport.Node

	mu     sync.Mutex
	awaits map[string][]context.CancelCauseFunc // jobs that wait for a peer to connect
	told   map[string]string                    // why a peer cannot be reached, as last logged
	turned map[string]turnedDown                // peers that were refused lately
}

// turnedDown is a refusal. It counts for a job that begins to wait for the peer
// shortly after it: the peer called before the job was ready and does not call again.
type turnedDown struct {
	err error
	at  time.Time
}

const refusalCounts = 10 * time.Second

// New opens the listener. The node answers peers once [Node.Run] runs.
func New(o Options) (*Node, error) {
	if o.Wait == 0 {
		o.Wait = 10 * time.Minute
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Capabilities == nil {
		o.Capabilities = flow.AllCapabilities()
	}
	n := &Node{o: o, awaits: map[string][]context.CancelCauseFunc{}, told: map[string]string{}, turned: map[string]turnedDown{}}
	t := transport.Options{
		Identity:  o.Identity,
		Peers:     o.Peers,
		Listen:    o.Listen,
		Version:   transport.VersionInfo{Software: Version, Capabilities: o.Capabilities},
		OnRefused: n.refused,
		OnWaiting: n.waiting,
	}
	if o.Transport != nil {
		o.Transport(&t)
	}
	var err error
	if n.t, err = transport.Listen(t); err != nil {
		return nil, err
	}
	return n, nil
}

// refused hears of every caller that was turned down. Where it has proved to be
// a peer, a job that waits for it need not wait on: it ends with the reason. A
// caller that is nobody we know has no such power.
func (n *Node) refused(err error) {
	n.o.Log("refused a connection: " + err.Error())
	var f *fault.Error
	proved := errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrNotYet) || fault.KindOf(err) == fault.Version
	if !proved || !errors.As(err, &f) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.turned[f.Party] = turnedDown{err, time.Now()}
	for _, cancel := range n.awaits[f.Party] {
		cancel(err)
	}
}

// waiting logs why a peer cannot be reached, once for each reason.
func (n *Node) waiting(peer string, err error) {
	n.mu.Lock()
	known := n.told[peer] == err.Error()
	n.told[peer] = err.Error()
	n.mu.Unlock()
	if !known {
		n.o.Log(fmt.Sprintf("trying again for %v to reach a peer: %v", n.o.Wait, err))
	}
}

// awaiting returns a context that ends when peer is refused, or was a moment ago.
func (n *Node) awaiting(ctx context.Context, peer string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.awaits[peer] = append(n.awaits[peer], cancel)
	i := len(n.awaits[peer]) - 1
	if t, ok := n.turned[peer]; ok && time.Since(t.at) < refusalCounts {
		delete(n.turned, peer)
		cancel(t.err)
	}
	return ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.awaits[peer][i] = func(error) {}
		cancel(nil)
	}
}

// Addr returns the address that the node listens on.
func (n *Node) Addr() string { return n.t.Addr() }

// Run answers peers until ctx ends; it returns when everything it started has.
func (n *Node) Run(ctx context.Context) error { return n.t.Run(ctx) }

// Close ends the node without a run.
func (n *Node) Close() error { return n.t.Close() }

// pinned returns the key that was accepted for a peer, if there is one.
func (n *Node) pinned(peer string) (ed25519.PublicKey, bool) {
	p, err := n.o.Peers.Get(peer)
	return p.Key, err == nil
}
