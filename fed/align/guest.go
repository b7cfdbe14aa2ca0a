package align

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"kontor/psi"
	"kontor/session"
)

// guest is the guest's side of one run.
type guest struct {
	s        *session.Session
	own      own
	random   io.Reader
	receiver *psi.Receiver
	hosts    []string
	rows     []int // of each host's table
	need     int   // the least number of joint rows all parties agree to
	stats    Stats
	matches  [][]psi.Match // with each host, sorted by item
}

// Guest runs the step at the guest, whose rows have the given distinct ids; ids is
// read only. random is crypto/rand.Reader but in tests. Where the data of any
// party end the step, the error is a [fault.Error] of kind [fault.Data] and comes
// with a Result; where a peer broke the protocol it is one of kind
// [fault.Protocol] that names the peer.
func Guest(ctx context.Context, s *session.Session, ids []string, o Options, random io.Reader) (*Result, error) {
	w, err := examine(ids, o)
	if err != nil {
		return nil, err
	}
	g := &guest{s: s, own: w, random: random, hosts: s.Hosts(), stats: Stats{Own: w.n, Peers: map[string]int{}}}
	if len(g.hosts) == 0 {
		return nil, errors.New("aligning rows: no host takes part")
	}
	g.receiver, err = psi.NewReceiver(s.ID().Derive("align/ids"), ids, random)
	if err := g.own.judge(err); err != nil {
		return nil, fmt.Errorf("preparing the ids: %w", err)
	}
	goOn, err := g.sizes(ctx)
	if err != nil {
		return nil, err
	}
	if goOn.unfit != fit {
		return g.stop(goOn)
	}
	if err := g.exchange(ctx); err != nil {
		return nil, err
	}
	return g.outcome(ctx)
}

// sizes receives every host's size and answers whether the step goes on.
func (g *guest) sizes(ctx context.Context) (verdict, error) {
	got := make([]size, len(g.hosts))
	gr, inner := newGroup(ctx)
	for i, h := range g.hosts {
		gr.Go(func() error { return g.s.Recv(inner, h, tagSize, sizeLen, &got[i]) })
	}
	if err := gr.Wait(); err != nil {
		return verdict{}, err
	}
	g.need = g.own.need
	all := map[string]size{g.s.Self().Name: {g.own.unfit, g.own.n, g.own.need}}
	for i, h := range g.hosts {
		all[h] = got[i]
		g.rows = append(g.rows, got[i].rows)
		g.stats.Peers[h] = got[i].rows
		g.need = max(g.need, got[i].need)
	}
	st := start{verdict: g.firstUnfit(all), guestRows: g.own.n}
	gr, inner = newGroup(ctx)
	for _, h := range g.hosts {
		gr.Go(func() error { return g.s.Send(inner, h, tagStart, st) })
	}
	return st.verdict, gr.Wait()
}

// firstUnfit returns the verdict on all parties' sizes: the first party in the
// order of the job that stands in the way, if one does.
func (g *guest) firstUnfit(all map[string]size) verdict {
	for i, p := range g.s.Parties() {
		switch sz := all[p.Name]; {
		case sz.unfit != fit:
			return verdict{sz.unfit, i, 0, g.need}
		case sz.rows < g.need:
			return verdict{fewRows, i, sz.rows, g.need}
		}
	}
	return verdict{need: g.need}
}

// exchange runs the private set intersection with all hosts at once.
func (g *guest) exchange(ctx context.Context) error {
	p := &progress{s: g.s, total: int64(g.own.n)}
	for _, n := range g.rows {
		p.total += int64(n) + int64(g.own.n)
	}
	g.matches = make([][]psi.Match, len(g.hosts))
	gr, ctx := newGroup(ctx)
	masked := newMasks(g.own.n)
	gr.Go(func() error { return masked.fill(ctx, g.receiver, p) })
	for i, h := range g.hosts {
		gr.Go(func() error { return g.sendMasked(ctx, h, masked) })
		gr.Go(func() (err error) {
			g.matches[i], err = g.receive(ctx, h, g.rows[i], p)
			return err
		})
	}
	return gr.Wait()
}

// masks are the guest's masked ids, computed once and ahead of the hosts, who may
// take them at different speeds. They need a byte for every byte sent to one host.
type masks struct {
	parts [][]byte
	ready []chan struct{}
	n     int
}

func newMasks(n int) *masks {
	m := &masks{n: n}
	for range (n + chunkItems - 1) / chunkItems {
		m.ready = append(m.ready, make(chan struct{}))
	}
	m.parts = make([][]byte, len(m.ready))
	return m
}

func (m *masks) fill(ctx context.Context, r *psi.Receiver, p *progress) error {
	st := stream{n: m.n}
	for k := range m.parts {
		lo, hi := st.take()
		b, err := r.Mask(ctx, lo, hi)
		if err != nil {
			return err
		}
		m.parts[k] = b
		close(m.ready[k])
		p.add(hi - lo)
	}
	return nil
}

func (g *guest) sendMasked(ctx context.Context, host string, m *masks) error {
	for k, ready := range m.ready {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		// All of it belongs to the round of the start message: it waits for nothing.
		if err := g.s.SendMore(ctx, host, tagGuest, session.Bytes(m.parts[k])); err != nil {
			return err
		}
	}
	return nil
}

// receive takes both streams of one host and returns the rows it has too.
func (g *guest) receive(ctx context.Context, host string, rows int, p *progress) ([]psi.Match, error) {
	m, err := g.receiver.Match(rows)
	if err != nil {
		return nil, blame(g.s, host, err)
	}
	masked, doubled := stream{n: rows}, stream{n: g.own.n}
	for !masked.done() || !doubled.done() {
		var c part
		if err := g.s.Recv(ctx, host, tagHost, 1+chunkItems*psi.ElementLen, &c); err != nil {
			return nil, err
		}
		st, width := &masked, psi.ElementLen
		if c.stream == streamDoubled {
			st, width = &doubled, psi.TagLen
		}
		lo, hi := st.take()
		if hi == lo || len(c.data) != (hi-lo)*width {
			return nil, g.s.Violation(host, fmt.Sprintf("it sent %d bytes where ids %d to %d of %d have %d", len(c.data), lo, hi, st.n, (hi-lo)*width))
		}
		if c.stream == streamDoubled {
			err = m.TakeDoubled(lo, c.data)
		} else {
			err = m.TakeMasked(ctx, lo, c.data)
		}
		if err != nil {
			return nil, blame(g.s, host, err)
		}
		p.add(hi - lo)
	}
	return m.Matches()
}

// outcome intersects over all hosts, draws the common order and tells each host
// its positions.
func (g *guest) outcome(ctx context.Context) (*Result, error) {
	joint, at := intersect(g.matches)
	g.stats.Compared, g.stats.Joint, g.stats.Pairs = true, len(joint), map[string]int{}
	for i, h := range g.hosts {
		g.stats.Pairs[h] = len(g.matches[i])
	}
	v := verdict{rows: len(joint), need: g.need}
	if len(joint) < g.need {
		v.unfit = fewJoint
		joint = nil
	}
	order, err := psi.Permutation(len(joint), g.random)
	if err != nil {
		return nil, fmt.Errorf("drawing the common order: %w", err)
	}
	gr, ctx := newGroup(ctx)
	for i, h := range g.hosts {
		gr.Go(func() error {
			if err := g.s.Send(ctx, h, tagOutcome, v); err != nil {
				return err
			}
			for part := range slices.Chunk(order, chunkRows) {
				ps := make(positions, len(part))
				for k, j := range part {
					ps[k] = uint32(at[i][j])
				}
				if err := g.s.SendMore(ctx, h, tagRows, ps); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := gr.Wait(); err != nil {
		return nil, err
	}
	if v.unfit != fit {
		return g.stop(v)
	}
	r := &Result{Rows: make([]int, len(order)), Stats: g.stats}
	for k, j := range order {
		r.Rows[k] = joint[j]
	}
	return r, nil
}

// stop ends the step for a reason that lies in the parties' data.
func (g *guest) stop(v verdict) (*Result, error) {
	return &Result{Stats: g.stats}, g.own.stop(g.s, v)
}

// intersect returns the items that are in every list and, for each list, their
// positions. The lists are sorted by item, and so is the result.
func intersect(lists [][]psi.Match) (joint []int, at [][]int) {
	for _, m := range lists[0] {
		joint = append(joint, m.Item)
	}
	for _, ms := range lists[1:] {
		joint = slices.DeleteFunc(joint, func(item int) bool {
			for len(ms) > 0 && ms[0].Item < item {
				ms = ms[1:]
			}
			return len(ms) == 0 || ms[0].Item != item
		})
	}
	for _, ms := range lists {
		ps := make([]int, 0, len(joint))
		for _, m := range ms {
			if len(ps) < len(joint) && joint[len(ps)] == m.Item {
				ps = append(ps, m.Position)
			}
		}
		at = append(at, ps)
	}
	return joint, at
}

// blame turns an error of package psi about what a peer sent into one that names
// the peer.
func blame(s *session.Session, peer string, err error) error {
	if errors.Is(err, psi.ErrPeer) {
		return s.Violation(peer, err.Error())
	}
	return err
}
