package node

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"kontor/flow"
	"kontor/identity"
	"kontor/internal/fault"
)

// Simulation is a job with all its parties in this process: each is a node of
// its own with its own identity, and they talk over real sockets with real TLS.
type Simulation struct {
	Spec    *flow.Spec
	Data    map[string]string // file by party; empty takes the specification's
	Out     string            // a folder for each party's result beneath; empty leaves none
	Compare bool              // also train the guest alone and the pooled columns, in plaintext
	Observe func(flow.Event)
	Options func(party string, o *Options) // for tests
}

// Run carries the simulation out.
func (s Simulation) Run(ctx context.Context) (*Summary, error) {
	nodes, addrs, err := s.nodes()
	if err != nil {
		return nil, err
	}
	var serving sync.WaitGroup
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer func() { stop(); serving.Wait() }()
	for _, n := range nodes {
		serving.Go(func() { n.Run(serve) })
	}
	outs, err := s.jobs(ctx, nodes, addrs)
	if err != nil {
		return nil, err
	}
	sum := Summarise(s.Spec, outs...)
	if s.Compare {
		if err := s.compare(ctx, sum); err != nil {
			return nil, err
		}
	}
	if s.Out != "" {
		err = AddToResult(filepath.Join(s.Out, s.Spec.Guest()), Addition{sum.Baselines, sum.Learned, sum.Parties})
	}
	return sum, err
}

func (s Simulation) nodes() (map[string]*Node, map[string]string, error) {
	ids := map[string]*identity.Identity{}
	for _, p := range s.Spec.Parties {
		id, err := identity.Ephemeral(p.Name, time.Now())
		if err != nil {
			return nil, nil, err
		}
		ids[p.Name] = id
	}
	nodes, addrs := map[string]*Node{}, map[string]string{}
	for _, p := range s.Spec.Parties {
		o := Options{Identity: ids[p.Name], Peers: identity.MemoryPeers(), Listen: "127.0.0.1:0", Wait: time.Minute}
		for name, id := range ids {
			if name == p.Name {
				continue
			}
			if err := introduce(o.Peers, id); err != nil {
				return nil, nil, err
			}
		}
		if s.Options != nil {
			s.Options(p.Name, &o)
		}
		n, err := New(o)
		if err != nil {
			for _, n := range nodes {
				n.Close()
			}
			return nil, nil, fault.At(err, p.Name, "listen")
		}
		nodes[p.Name], addrs[p.Name] = n, n.Addr()
	}
	return nodes, addrs, nil
}

// introduce pins id by an invitation, as two institutions would.
func introduce(ps *identity.Peers, id *identity.Identity) error {
	text, err := id.Invite("", time.Now())
	if err != nil {
		return err
	}
	inv, err := identity.ParseInvitation(text)
	if err != nil {
		return err
	}
	return ps.Add(inv, time.Now())
}

func (s Simulation) jobs(ctx context.Context, nodes map[string]*Node, addrs map[string]string) ([]*Outcome, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex // events of all parties reach the observer one at a time
	observe := func(e flow.Event) {
		if s.Observe != nil {
			mu.Lock()
			defer mu.Unlock()
			s.Observe(e)
		}
	}
	ctx, cancel := context.WithCancel(ctx) // a party that fails before it is connected ends the others' wait
	defer cancel()
	outs, errs := make([]*Outcome, len(s.Spec.Parties)), make([]error, len(s.Spec.Parties))
	for i, p := range s.Spec.Parties {
		j := Job{Spec: s.Spec, Data: s.Data[p.Name], Addrs: addrs, Observe: observe}
		if s.Out != "" {
			j.Out = filepath.Join(s.Out, p.Name)
		}
		wg.Go(func() {
			if outs[i], errs[i] = nodes[p.Name].Job(ctx, j); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return outs, RootCause(errs)
}

// RootCause picks among the parties' errors the one that the others followed
// from: a fault of a party's own before the news of a peer that stopped, and
// that before a party that was merely stopped.
func RootCause(errs []error) error {
	rank := func(err error) int {
		switch fault.KindOf(err) {
		case fault.Cancelled:
			return 1
		case fault.Peer:
			return 2
		}
		return 3
	}
	var worst error
	for _, err := range errs {
		if err != nil && (worst == nil || rank(err) > rank(worst)) {
			worst = err
		}
	}
	return worst
}

func (s Simulation) compare(ctx context.Context, sum *Summary) error {
	inputs := map[string]*flow.Input{}
	for _, p := range s.Spec.Parties {
		path := s.Data[p.Name]
		if path == "" {
			path = p.Data
		}
		in, err := flow.LoadInput(ctx, p, path)
		if err != nil {
			return fault.At(err, p.Name, "compare")
		}
		inputs[p.Name] = in
	}
	base, err := flow.Compare(ctx, s.Spec, inputs, func(name string, done, total int) {
		if s.Observe != nil {
			s.Observe(flow.Event{Kind: flow.EventProgress, Step: "compare: " + name, Done: int64(done), Total: int64(total), Unit: "trees"})
		}
	})
	if err != nil {
		return fault.At(err, "", "compare")
	}
	sum.Baselines = base
	return nil
}
