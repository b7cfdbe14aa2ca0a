package job_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kontor/audit"
	"kontor/fed/boost"
	"kontor/flow"
	"kontor/flow/job"
	"kontor/identity"
	"kontor/internal/fault"
	"kontor/store"
	"kontor/transport"
)

// denials is how many proposals of a peer are denied within an hour before no more are looked at.
const denials = 5

// network joins managers in this process.
type network struct {
	t     *testing.T
	mu    sync.Mutex
	nodes map[string]*node
	calls map[string]map[[32]byte]chan job.Conn                      // sessions that wait, by callee
	ask   func(from, to, method string, body []byte) ([]byte, error) // takes the place of an answer, if it gives one
}

type node struct {
	net  *network
	id   *identity.Identity
	dir  string
	site *site
	can  []string

	*job.Manager
	log  *audit.Log
	db   *store.DB
	stop func()
	up   bool
	asks sync.WaitGroup // questions that are being answered
}

func newNetwork(t *testing.T, names ...string) *network {
	n := &network{t: t, nodes: map[string]*node{}, calls: map[string]map[[32]byte]chan job.Conn{}}
	for i, name := range names {
		id, err := identity.Ephemeral(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		n.nodes[name] = &node{net: n, id: id, dir: t.TempDir(), site: &site{verdict: job.ByStanding, input: table(i)}, can: append(flow.AllCapabilities(), job.Capability)}
	}
	for _, name := range names {
		n.start(name)
	}
	t.Cleanup(func() {
		for _, name := range names {
			n.halt(name)
		}
	})
	return n
}

// table is a party's own: the guest's has the label.
func table(i int) *flow.Input {
	in := &flow.Input{}
	x := make([]float64, 240)
	for r := range x {
		in.IDs = append(in.IDs, fmt.Sprintf("id%04d", r))
		x[r] = math.Sin(float64(r*(i+3)) / 7)
	}
	in.Columns = []boost.Column{{Name: fmt.Sprintf("x%d", i), Values: x}}
	if i == 0 {
		in.Label = make([]float64, len(x))
		for r := range x {
			if math.Sin(float64(r*3)/7)+math.Sin(float64(r*4)/7) > 0.3 {
				in.Label[r] = 1
			}
		}
	}
	return in
}

func (n *network) start(name string) {
	n.t.Helper()
	nd := n.nodes[name]
	db, err := store.Open(nd.dir)
	if err != nil {
		n.t.Fatal(err)
	}
	log, err := audit.Open(db, nd.id)
	if err != nil {
		n.t.Fatal(err)
	}
	m, err := job.New(n.t.Context(), job.Options{Signer: nd.id, DB: db, Audit: log, Dir: nd.dir, Peers: peers{n, name}, Site: nd.site, Capabilities: nd.can,
		Version: "test", Denials: denials, Silence: 2 * time.Second, Pause: 50 * time.Millisecond, Patience: 30 * time.Second, Log: slog.New(slog.DiscardHandler), Rand: rand.Reader})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.mu.Lock()
	nd.Manager, nd.log, nd.db, nd.up = m, log, db, true
	n.calls[name] = map[[32]byte]chan job.Conn{}
	n.mu.Unlock()
	go func() { defer close(done); m.Run(ctx) }()
	nd.stop = func() { cancel(); <-done }
}

// halt stops a node as kontor up does when it is told to.
func (n *network) halt(name string) {
	n.mu.Lock()
	nd := n.nodes[name]
	up := nd.up
	nd.up = false
	n.mu.Unlock()
	if up {
		nd.stop()
		nd.asks.Wait()
		nd.db.Close()
	}
}

type peers struct {
	net  *network
	self string
}

func away(peer string) error {
	return &fault.Error{Kind: fault.Peer, Party: peer, What: "it is away", Cure: "start it"}
}

func (p peers) Ask(ctx context.Context, peer, method string, body []byte) ([]byte, error) {
	p.net.mu.Lock()
	to, from, hook := p.net.nodes[peer], p.net.nodes[p.self], p.net.ask
	m, up := to.Manager, to.up && from.up
	p.net.mu.Unlock()
	if !up {
		return nil, away(peer)
	}
	if hook != nil {
		if b, err := hook(p.self, peer, method, body); b != nil || err != nil {
			return b, err
		}
	}
	p.net.mu.Lock()
	if !to.up || to.Manager != m { // halted meanwhile
		p.net.mu.Unlock()
		return nil, away(peer)
	}
	to.asks.Add(1)
	p.net.mu.Unlock()
	b, err := m.Answer(ctx, p.self, method, body)
	to.asks.Done()
	var told job.ForPeer
	if errors.As(err, &told) {
		f := *told.Fault
		f.Party = peer
		return nil, &f
	}
	if err != nil {
		return nil, &fault.Error{Kind: fault.KindOf(err), Party: peer, What: "it failed", Err: err, Cure: "look there"}
	}
	return b, nil
}

func (p peers) slot(callee string, id [32]byte) chan job.Conn {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	ch := p.net.calls[callee][id]
	if ch == nil {
		ch = make(chan job.Conn, 1)
		p.net.calls[callee][id] = ch
	}
	return ch
}

func (p peers) Dial(ctx context.Context, peer string, id [32]byte, _ string) (job.Conn, error) {
	a, b := transport.MemoryPair(p.self, peer)
	p.slot(peer, id) <- b
	return a, nil
}

func (p peers) Accept(ctx context.Context, peer string, id [32]byte) (job.Conn, error) {
	select {
	case c := <-p.slot(p.self, id):
		return c, nil
	case <-ctx.Done():
		return nil, away(peer)
	}
}

func (p peers) Key(peer string) (ed25519.PublicKey, bool) {
	nd := p.net.nodes[peer]
	if nd == nil {
		return nil, false
	}
	return nd.id.PublicKey(), true
}

// site brings the table; its verdict stands for a policy.
type site struct {
	mu        sync.Mutex
	verdict   string
	input     *flow.Input
	inputErr  error
	published []string
}

func (s *site) Consider(context.Context, *flow.Spec, string, func(string, time.Time) (int, error)) (job.Opinion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return job.Opinion{Ruling: job.Ruling{Verdict: s.verdict, Rule: "data/rule (policy.yaml line 7)", Reason: "because", Cure: "ask"}, RuleID: "data/rule", Print: "print"}, nil
}

func (s *site) Input(context.Context, *job.Record) (*flow.Input, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.input, s.inputErr
}

func (s *site) Model(context.Context, string) (string, error) { return "", errors.New("none") }

func (s *site) Publish(_ context.Context, r *job.Record, _ map[string]string) (func(*store.Tx) error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.published, r.ID) {
		s.published = append(s.published, r.ID)
	}
	return func(*store.Tx) error { return nil }, nil
}

// await waits until a job is in a state at a node; it fails the test if the job
// ends otherwise.
func (n *network) await(name, id string, want job.State) *job.Record {
	n.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	for {
		nd := n.nodes[name]
		r, err := nd.Get(ctx, id)
		if err == nil && r.State == want {
			return r
		}
		if err == nil && r.State.Final() {
			n.t.Fatalf("at %s the job is %s (%+v), want %s", name, r.State, r.Error, want)
		}
		select {
		case <-ctx.Done():
			n.t.Fatalf("at %s the job did not become %s: %+v, %v", name, want, r, err)
		case <-time.After(5 * time.Millisecond): // a poll, not a wait
		}
	}
}

// told waits until every party has been told how a job of bank ended.
func (n *network) told(id string) {
	n.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) { // a poll
		r, err := n.nodes["bank"].Get(context.Background(), id)
		if err == nil && len(r.Told) == len(n.nodes)-1 {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("not all parties have been told: %v, %v", r.Told, err)
		}
	}
}

// awaitWaits waits until a job says that it waits for something with these words.
func (n *network) awaitWaits(name, id, words string) {
	n.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) { // a poll
		r, err := n.nodes[name].Get(context.Background(), id)
		if err == nil && strings.Contains(r.Waits, words) {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the job does not wait for %q: %+v, %v", words, r, err)
		}
	}
}
