// Package node joins everything into what an institution runs: its identity, its
// listener, the peers that it trusts, and the jobs that it takes part in. It is
// the composition root: nothing but the command line imports it.
package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"time"

	"kontor/flow"
	"kontor/identity"
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
	Transport func(*transport.Options)
	Rand      io.Reader
}

// Node is one institution's process.
type Node struct {
	o Options
	t *transport.Node
}

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
	t := transport.Options{
		Identity:  o.Identity,
		Peers:     o.Peers,
		Listen:    o.Listen,
		Version:   transport.VersionInfo{Software: Version, Capabilities: flow.AllCapabilities()},
		OnRefused: func(err error) { o.Log("refused a connection: " + err.Error()) },
		OnWaiting: func(peer string, err error) { o.Log("waiting for " + peer + ": " + err.Error()) },
	}
	if o.Transport != nil {
		o.Transport(&t)
	}
	tn, err := transport.Listen(t)
	if err != nil {
		return nil, err
	}
	return &Node{o: o, t: tn}, nil
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
